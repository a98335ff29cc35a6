"""What tests of the browser device share: the skip where there is none, small files with known outputs, sources."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.bench.chromium import find_chromium
from edge.bench.face_scene import face_outputs
from edge.bench.pose_scene import pose_maps
from edge.bench.web_engines import FOLDER, engine_files
from edge.runtime.card import AudioSpec, Card, DecoderSpec, InputSpec, OutputSpec, ResizeSpec
from edge.runtime.errors import EdgeError, one_line
from edge.runtime.face import FaceParams, priors
from edge.runtime.trust import cache_folder

USERS_CACHE = cache_folder()  # when tests are collected, before they get one of their own
Arrays = Mapping[str, NDArray[np.float32]]


def need_browser(*engines: str) -> str:
    """Return the path of Chromium, or skip the test because it or an engine is not here."""
    users, own = USERS_CACHE / FOLDER, cache_folder() / FOLDER
    if engines and users.is_dir() and not own.exists():
        shutil.copytree(users, own)
    try:
        program = find_chromium()
        for engine in engines:
            engine_files(engine)
    except EdgeError as exc:
        pytest.skip(one_line(exc))
    return program


def card_with(outputs: Arrays, *, family: str, decoder: DecoderSpec, side: int, **changes: Any) -> Card:
    """Return the card of a network that gives those outputs, with a square picture as its input."""
    values: dict[str, Any] = {
        "model": f"{family}-known",
        "family": family,
        "input": InputSpec(
            shape=(1, 3, side, side),
            colour="BGR",
            mean=(104.0, 117.0, 123.0),
            std=(1.0, 1.0, 1.0),
            resize=ResizeSpec(interpolation="bicubic", rounding="truncate", fill=(128.0,)),
        ),
        "outputs": tuple(
            OutputSpec(name=name, shape=array.shape, layout="NCHW" if array.ndim == 4 else "any")
            for name, array in outputs.items()
        ),
        "decoder": decoder,
        "artifact": {"precision": "fp32"},
    }
    return Card(**{**values, **changes})


def people_outputs(people: int = 3, side: int = 128, noise: float = 0.0) -> dict[str, NDArray[np.float32]]:
    """Return heatmaps and fields of an invented scene, as a perfect network would give them."""
    heatmaps, pafs, _ = pose_maps(people, (side // 8, side // 8), noise=noise)
    return {"heatmaps": heatmaps[None], "pafs": pafs[None]}


def crowd_outputs(faces: int = 6, side: int = 320) -> dict[str, NDArray[np.float32]]:
    """Return the three heads of an imagined face detector."""
    loc, conf, landm, _ = face_outputs(faces, (side, side))
    return {"loc": loc[None], "conf": conf[None], "landm": landm[None]}


def heap_outputs(side: int = 320, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return heads in which every prior box is moved by chance and a candidate: nothing but overlaps."""
    rng = np.random.default_rng(seed)
    count = len(priors((side, side), FaceParams().min_sizes, FaceParams().strides))
    score = rng.uniform(0.03, 1.0, count)
    heads = {
        "loc": rng.normal(0, 1.0, (count, 4)),
        "conf": np.stack([1 - score, score], axis=1),
        "landm": rng.normal(0, 1, (count, 10)),
    }
    return {name: values[None].astype(np.float32) for name, values in heads.items()}


PEOPLE = DecoderSpec(name="openpose-paf", params={"stride": 8, "upsample": 8})
FACES = DecoderSpec(name="face-priors")
EMOTION = DecoderSpec(name="valence-arousal")


def sound_card() -> Card:
    """Return the card of a network that hears a second of sound."""
    outputs = {"valence_arousal": np.array([[0.5, -0.25]], np.float32)}
    return card_with(
        outputs,
        family="emotion",
        decoder=EMOTION,
        side=32,
        input=InputSpec(
            shape=(1, 3, 32, 32),
            kind="audio",
            colour="RGB",
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
            audio=AudioSpec(seconds=1.0),
        ),
    )


def write_known(path: Path, card: Card, outputs: Arrays) -> Path:
    """Write an ONNX file that gives the same outputs whatever it sees; it looks at its input all the same."""
    onnx = pytest.importorskip("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    # The mean of the input, times zero, is added to each output, so that no optimiser can leave the input out.
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "tiny"], ["nothing"]),
    ]
    constants = [onnx.numpy_helper.from_array(np.float32(1e-30), "tiny")]
    for name, array in outputs.items():
        constants.append(onnx.numpy_helper.from_array(array, f"{name}_known"))
        nodes.append(helper.make_node("Add", [f"{name}_known", "nothing"], [name]))
    graph = helper.make_graph(
        nodes,
        "known",
        [helper.make_tensor_value_info("input", floats, card.input.shape)],
        [helper.make_tensor_value_info(name, floats, array.shape) for name, array in outputs.items()],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"edge.card": card.to_json()})
    path.write_bytes(model.SerializeToString())
    return path


def write_picture(path: Path, hw: tuple[int, int] = (120, 160), seed: int = 0) -> Path:
    """Write the source of a benchmark: smooth random colours."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    picture = np.kron(coarse, np.ones((-(-hw[0] // 6), -(-hw[1] // 8), 1), np.uint8))[: hw[0], : hw[1]]
    np.savez(path, picture=picture)
    return path
