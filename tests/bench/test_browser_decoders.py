"""The page's preprocessing and decoders against Python's, on the same inputs, in a real browser."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.bench.browser import visit
from edge.runtime.card import Card, InputSpec, ResizeSpec
from edge.runtime.decode import decode
from edge.runtime.geometry import Geometry
from edge.runtime.preprocess import fit, prepare

from .browser_help import (
    EMOTION,
    FACES,
    PEOPLE,
    card_with,
    crowd_outputs,
    heap_outputs,
    need_browser,
    people_outputs,
)

pytestmark = pytest.mark.slow
NEAR = 1e-4  # of the side of the input

BGR: dict[str, Any] = {"colour": "BGR", "mean": (104.0, 117.0, 123.0), "std": (1.0, 1.0, 1.0)}
RGB: dict[str, Any] = {"colour": "RGB", "mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}
INPUTS = {
    "bilinear letterbox": InputSpec(shape=(1, 3, 64, 64), **BGR, resize=ResizeSpec(fill=(104.0, 117.0, 123.0))),
    "bicubic letterbox, rounded down": InputSpec(
        shape=(1, 3, 48, 64), **RGB, resize=ResizeSpec(interpolation="bicubic", rounding="truncate", fill=(128.0,))
    ),
    "stretched, channels last": InputSpec(
        shape=(1, 40, 56, 3), layout="NHWC", **RGB, resize=ResizeSpec(rule="stretch")
    ),
    "grey, never enlarged": InputSpec(
        shape=(1, 1, 64, 64), colour="GRAY", mean=(10.0,), std=(2.0,), resize=ResizeSpec(upscale=False, fill=(7.0,))
    ),
}
SIZES = ((97, 131), (100, 131), (128, 128), (31, 20), (49, 49), (480, 360))


def test_pictures_become_the_tensors_that_python_makes_of_them() -> None:
    program = need_browser()
    rng = np.random.default_rng(1)
    pictures = {hw: rng.integers(0, 256, (*hw, 3), dtype=np.uint8) for hw in SIZES}
    outputs = {"raw": np.zeros((1, 2), np.float32)}
    cases, files, most = [], {}, {}
    for number, (spec, (hw, picture)) in enumerate(
        (spec, item) for spec in INPUTS.values() for item in pictures.items()
    ):
        card = dataclasses.replace(card_with(outputs, family="custom", decoder=EMOTION, side=8), input=spec)
        files[f"picture-{number}"] = np.concatenate([picture, np.full((*hw, 1), 255, np.uint8)], axis=2).tobytes()
        most[f"tensor-{number}"] = 4 * int(np.prod(spec.shape))
        cases.append({"card": card.to_dict(), "picture": f"picture-{number}", "hw": hw, "tensor": f"tensor-{number}"})
    answers, blobs = _visited(program, cases, files, most)

    wanted = [(name, spec, picture) for name, spec in INPUTS.items() for picture in pictures.values()]
    for number, (name, spec, picture) in enumerate(wanted):
        tensor, geometry = prepare(picture, spec)
        got = np.frombuffer(blobs[f"tensor-{number}"], np.float32).reshape(spec.shape)
        assert tuple(answers[number]["geometry"]["contentHw"]) == geometry.content_hw, (name, picture.shape)
        # What is rounded after a float32 sum may lie on the other side of a half: one level of 255, now and then.
        share = 1e-3 if spec.resize.interpolation == "bicubic" or spec.colour == "GRAY" else 0
        off = np.abs(got - tensor) * min(spec.std)
        assert off.max() <= 1.001, (name, picture.shape)
        assert (off > 1e-3).mean() <= share, (name, picture.shape)


SCENES: dict[str, tuple[Any, Any, int, tuple[int, int] | None]] = {
    "a group": (people_outputs(5), PEOPLE, 128, None),
    "a group in a wide picture": (people_outputs(4), PEOPLE, 128, (300, 533)),
    "nobody": (people_outputs(0), PEOPLE, 128, None),
    "a noisy group": (people_outputs(3, noise=0.02), PEOPLE, 128, (200, 200)),
    "a group, maps as they are": (
        people_outputs(3),
        dataclasses.replace(PEOPLE, params={"stride": 8, "upsample": 1}),
        128,
        None,
    ),
    "a crowd": (crowd_outputs(20), FACES, 320, None),
    "a crowd in a tall picture": (crowd_outputs(20), FACES, 320, (900, 640)),
    "no face": (crowd_outputs(0), FACES, 320, None),
    "every candidate": (
        crowd_outputs(12),
        dataclasses.replace(FACES, params={"display_threshold": 0.0}),
        320,
        None,
    ),
    "a heap of overlapping boxes": (
        heap_outputs(),
        dataclasses.replace(FACES, params={"display_threshold": 0.0, "keep": 300}),
        320,
        None,
    ),
    "calm": ({"valence_arousal": np.array([[0.5, -0.25]], np.float32)}, EMOTION, 32, None),
    "beyond the scale": ({"valence_arousal": np.array([[-3.0, 1.5]], np.float32)}, EMOTION, 32, None),
    "no number": ({"valence_arousal": np.array([[np.nan, 0.0]], np.float32)}, EMOTION, 32, None),
}


def test_outputs_become_the_people_faces_and_emotions_that_python_finds() -> None:
    program = need_browser()
    cases, files, wanted = [], {}, []
    for number, (outputs, decoder, side, hw) in enumerate(SCENES.values()):
        card = card_with(outputs, family="custom", decoder=decoder, side=side)
        geometry = None if hw is None else _geometry(hw, card)
        wanted.append(decode(card, outputs, geometry).to_dict())
        names = []
        for name, array in outputs.items():
            files[f"{name}-{number}"] = np.ascontiguousarray(array).tobytes()
            names.append((name, f"{name}-{number}"))
        shape = geometry and {"contentHw": geometry.content_hw, "scaleXy": geometry.scale_xy}
        cases.append({"card": card.to_dict(), "outputs": names, "geometry": shape})
    answers, _ = _visited(program, cases, files, {})

    for name, answer, python, (_, _, side, hw) in zip(SCENES, answers, wanted, SCENES.values(), strict=True):
        result = answer["result"]
        assert result["kind"] == python["kind"], name
        near = NEAR * max(hw or (side, side))
        _compare(name, result, python, near)
    assert len(wanted[0]["people"]) >= 4  # the scenes are not empty
    assert len(wanted[5]["faces"]) >= 15


def _compare(name: str, result: Mapping[str, Any], python: Mapping[str, Any], near: float) -> None:
    if python["kind"] == "people":
        assert len(result["people"]) == len(python["people"]), name
        for found, person in zip(result["people"], python["people"], strict=True):
            points = list(person["keypoints"].values())
            assert [point is None for point in found["keypoints"]] == [point is None for point in points], name
            _near(name, [p for p in found["keypoints"] if p], [p for p in points if p], near)
            assert found["score"] == pytest.approx(person["score"], rel=1e-3), name
    elif python["kind"] == "faces":
        assert len(result["faces"]) == len(python["faces"]), name
        assert result["truncated"] == python["truncated"], name
        for found, face in zip(result["faces"], python["faces"], strict=True):
            _near(name, found["box"], face["box_xyxy"], near)
            _near(name, found["landmarks"], list(face["landmarks"].values()), near)
            assert found["score"] == pytest.approx(face["score"], abs=1e-5), name
    elif python["emotion"] is None:
        assert result["emotion"] is None, name
    else:
        assert result["emotion"]["quadrant"] == python["emotion"]["quadrant"], name
        for scale in ("valence", "arousal"):
            assert result["emotion"][scale] == pytest.approx(python["emotion"][scale], abs=1e-5), name


def _near(name: str, found: Any, wanted: Any, near: float) -> None:
    difference: NDArray[np.float64] = np.abs(np.array(found, np.float64) - np.array(wanted, np.float64))
    assert difference.size == 0 or difference.max() <= near, name


def _geometry(hw: tuple[int, int], card: Card) -> Geometry:
    content = fit(hw, card.input.hw, card.input.resize)
    return Geometry(
        original_hw=hw, input_hw=card.input.hw, content_hw=content, scale_xy=(content[1] / hw[1], content[0] / hw[0])
    )


def _visited(
    program: str, cases: list[dict[str, Any]], files: dict[str, bytes], most: dict[str, int]
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    job = {"kind": "decode", "schema": 1, "plan": {}, "cases": cases}
    files = {"job.json": json.dumps(job).encode(), **files}
    with visit(program, files, most) as page:
        answers = [event for event in page.events(180.0) if event["event"] == "answer"]
        assert page.server.refused == []
        return answers, dict(page.server.blobs)
