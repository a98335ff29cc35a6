"""From samples to a metric: the way through preprocessing, decoder and back, for each family and layout."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge.models.cards import emotion_card, face_card, pose_card
from edge.models.data.coco import CocoKeypoints
from edge.models.data.samples import EmotionSample, FaceSample, PoseSample, SampleError, SpectrogramSample
from edge.models.evaluate import Candidate, evaluate, evaluate_all, paired_drop
from edge.runtime.audio_input import prepare_audio
from edge.runtime.card import Budget, Card, OutputSpec
from edge.runtime.errors import InputError
from edge.runtime.face import priors
from edge.runtime.metrics_emotion import ccc
from edge.runtime.skeleton import COCO_INDEX, LIMBS

Float32 = NDArray[np.float32]
FACE_CARD = face_card("face", (64, 64), provenance={}, budget=Budget())
POSE_CARD = pose_card("pose", (128, 128), std=128.0, stages=1, provenance={}, budget=Budget())
EMOTION_CARD = emotion_card("emotion", None, provenance={}, budget=Budget())


class Listed:
    """A source of given samples; an error in their place is raised."""

    def __init__(self, family: str, samples: Sequence[Any], digest: str = "abc") -> None:
        self.family, self.label, self.digest = family, f"{len(samples)} made-up samples", digest
        self.samples = samples
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        self.asked.append(index)
        if isinstance(self.samples[index], SampleError):
            raise self.samples[index]
        return self.samples[index]


def face_sample(seed: int, hw: tuple[int, int] = (128, 96)) -> FaceSample:
    """Return a picture whose one face is a bright square of 32 px on black, at a multiple of 16."""
    rng = np.random.default_rng(seed)
    image = np.zeros((*hw, 3), np.uint8)
    y, x = (int(rng.integers(0, (side - 32) // 16 + 1)) * 16 for side in hw)
    image[y : y + 32, x : x + 32] = 255
    return FaceSample(
        name=f"{seed}",
        image=image,
        boxes=np.array([[x, y, x + 32, y + 32]], np.float32),
        landmarks=np.zeros((1, 5, 2), np.float32),
        has_landmarks=np.zeros(1, np.bool_),
        ignore=np.zeros(1, np.bool_),
    )


def sees_squares(card: Card, score: float = 0.9) -> Callable[[Float32], dict[str, Float32]]:
    """Return a detector that fits one box around all bright pixels of its input."""

    def run(tensor: Float32) -> dict[str, Float32]:
        plane = tensor[0, 0] if card.input.layout == "NCHW" else tensor[0, :, :, 0]
        rows, columns = (np.flatnonzero((plane > 20).any(axis=axis)) for axis in (1, 0))
        anchors = priors(card.input.hw, [[16, 32], [64, 128], [256, 512]], [8, 16, 32])
        outputs = {spec.name: np.zeros(spec.shape, np.float32) for spec in card.outputs}
        if len(rows):
            low = np.array([columns[0], rows[0]]) / card.input.hw[::-1]
            high = np.array([columns[-1] + 1, rows[-1] + 1]) / card.input.hw[::-1]
            outputs["loc"][0, 0, :2] = ((low + high) / 2 - anchors[0, :2]) / (0.1 * anchors[0, 2:])
            outputs["loc"][0, 0, 2:] = np.log((high - low) / anchors[0, 2:]) / 0.2
            outputs["conf"][0, 0, 1] = score
        return outputs

    return run


def nhwc(card: Card) -> Card:
    shape = tuple(card.input.shape[axis] for axis in (0, 2, 3, 1))
    outputs = tuple(
        OutputSpec(name=spec.name, shape=tuple(spec.shape[axis] for axis in (0, 2, 3, 1)), layout="NHWC")
        if spec.layout == "NCHW"
        else spec
        for spec in card.outputs
    )
    return dataclasses.replace(card, input=dataclasses.replace(card.input, shape=shape, layout="NHWC"), outputs=outputs)


@pytest.mark.parametrize("card", [FACE_CARD, nhwc(FACE_CARD)], ids=["NCHW", "NHWC"])
def test_faces_found_in_place_have_an_ap_of_one_whatever_the_picture_size(card: Card) -> None:
    source = Listed("face", [face_sample(0), face_sample(1, (64, 64)), face_sample(2, (80, 160))])

    metrics = evaluate(sees_squares(card), card, source, bootstrap=50)

    assert (metrics.name, metrics.value, metrics.low, metrics.high) == ("AP", 1.0, 1.0, 1.0)
    assert dict(metrics.parts) == {"medium": 1.0, "hard": 1.0}  # none is over 50 px
    assert (metrics.samples, metrics.skipped, metrics.data) == (3, 0, "3 made-up samples")


def test_faces_below_the_displayed_score_still_count() -> None:
    source = Listed("face", [face_sample(seed) for seed in range(3)])

    assert evaluate(sees_squares(FACE_CARD, 0.1), FACE_CARD, source, bootstrap=0).value == 1.0
    assert evaluate(sees_squares(FACE_CARD, 0.01), FACE_CARD, source, bootstrap=0).value == 0.0  # the card keeps > 0.02


def test_broken_samples_are_left_out_and_counted() -> None:
    source = Listed("face", [face_sample(0), SampleError("`b.jpg` is broken"), face_sample(1)])

    metrics = evaluate(sees_squares(FACE_CARD), FACE_CARD, source, bootstrap=0)

    assert (metrics.samples, metrics.skipped, metrics.value) == (2, 1, 1.0)


def test_a_limit_reads_no_further_and_progress_ends_at_it() -> None:
    source = Listed("face", [face_sample(seed) for seed in range(30)])
    told: list[tuple[int, int]] = []

    evaluate(sees_squares(FACE_CARD), FACE_CARD, source, limit=20, tick=lambda *far: told.append(far), bootstrap=0)

    assert source.asked == list(range(20))
    assert told == [(count + 1, 20) for count in range(20)]


def test_several_networks_read_each_sample_once_and_are_told_apart() -> None:
    source = Listed("face", [face_sample(seed) for seed in range(8)])
    card = nhwc(FACE_CARD)
    blind = Candidate(lambda _: {spec.name: np.zeros(spec.shape, np.float32) for spec in card.outputs}, card)

    sharp, dull = evaluate_all([Candidate(sees_squares(FACE_CARD), FACE_CARD), blind], source, bootstrap=20)

    assert source.asked == list(range(8))
    assert (sharp.value, dull.value) == (1.0, 0.0)
    drop = paired_drop(sharp, dull)
    assert (drop.value, drop.low, drop.high) == (1.0, 1.0, 1.0)


# A person that fills its picture: joints in pixels of a 128 x 128 map grid, drawn as peaks and limbs.
STANDING = np.array(
    [(64, 12), (64, 28), (48, 28), (40, 48), (36, 68), (80, 28), (88, 48), (92, 68), (54, 68), (52, 92), (50, 116),
     (74, 68), (76, 92), (78, 116), (60, 8), (68, 8), (54, 12), (74, 12)],
    np.float64,
)  # fmt: skip


def draws_people(card: Card, joints: NDArray[np.float64]) -> Callable[[Float32], dict[str, Float32]]:
    """Return a network that answers every picture with one person at `joints`, input pixels."""
    y, x = np.mgrid[0:16, 0:16] * 8.0 + 3.5
    heatmaps = np.zeros((1, 19, 16, 16), np.float32)
    pafs = np.zeros((1, 38, 16, 16), np.float32)
    for part, (px, py) in enumerate(joints):
        heatmaps[0, part] = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 7.0**2))
    for limb in LIMBS:
        a, b = joints[limb.start], joints[limb.end]
        unit = (b - a) / np.linalg.norm(b - a)
        offset = np.stack([x - a[0], y - a[1]], axis=-1)
        near = np.abs(offset @ np.array([-unit[1], unit[0]])) < 9
        along = (offset @ unit > -9) & (offset @ unit < np.linalg.norm(b - a) + 9)
        pafs[0, limb.channel_x] = np.where(near & along, unit[0], 0)
        pafs[0, limb.channel_y] = np.where(near & along, unit[1], 0)
    outputs = {"heatmaps": heatmaps, "pafs": pafs}
    if card.input.layout == "NHWC":
        outputs = {name: np.ascontiguousarray(maps.transpose(0, 2, 3, 1)) for name, maps in outputs.items()}
    return lambda _: outputs


def pose_sample(hw: tuple[int, int], move: float = 0.0) -> PoseSample:
    """Return a picture whose person is that of `STANDING`, letterboxed."""
    scale = max(hw) / 128
    joints = np.dstack([STANDING[None] * scale + move, np.full((1, 18), 2.0)]).astype(np.float32)
    return PoseSample(
        name="one",
        image=np.zeros((*hw, 3), np.uint8),
        keypoints=joints,
        boxes=np.array([[30, 0, 100, 120]], np.float32) * scale,
        areas=np.array([70 * 120 * scale**2], np.float32),
        crowd=np.zeros(1, np.bool_),
        ignore=np.zeros(hw, np.bool_),
    )


@pytest.mark.parametrize("card", [POSE_CARD, nhwc(POSE_CARD)], ids=["NCHW", "NHWC"])
def test_a_person_in_place_is_found_whatever_the_picture_size(card: Card) -> None:
    pytest.importorskip("faster_coco_eval")
    source = Listed("pose", [pose_sample((128, 128)), pose_sample((256, 240)), pose_sample((200, 192))])

    metrics = evaluate(draws_people(card, STANDING), card, source, bootstrap=20)

    assert metrics.name == "OKS-AP"
    assert metrics.parts["AP75"] == pytest.approx(1.0)
    assert metrics.value > 0.8
    assert evaluate(
        draws_people(card, STANDING), card, Listed("pose", [pose_sample((128, 128), 40.0)]), bootstrap=0
    ).value == pytest.approx(0.0)


# Joints in the middles of the map's cells, where the decoder finds them exactly: columns and rows.
CELLS = np.array(
    [(8, 3), (8, 5), (6, 5), (5, 7), (4, 9), (10, 5), (11, 7), (12, 9), (6, 9), (6, 11), (6, 13),
     (9, 9), (9, 11), (9, 13), (7, 2), (9, 2), (6, 3), (10, 3)],
    np.float64,
)  # fmt: skip


@pytest.mark.parametrize(("off", "value"), [(0.0, 1.0), (0.5, 0.9)])
def test_who_finds_cocos_people_to_the_pixel_has_an_ap_of_one(tmp_path: Path, off: float, value: float) -> None:
    pytest.importorskip("faster_coco_eval")
    indices = CELLS * 8 + 3.5  # of the pixel in the middle of a cell, from 0, as COCO counts
    joints = np.zeros((17, 3))
    for part, place in enumerate(COCO_INDEX):
        if place is not None:
            joints[place] = (*indices[part], 2)
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 200, "bbox": [30, 0, 70, 120]}
    data = {
        "images": [{"id": 1, "file_name": "1.png", "width": 128, "height": 128}],
        "annotations": [{**person, "keypoints": joints.ravel().tolist()}],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(data))
    (tmp_path / "val2017").mkdir()
    Image.new("RGB", (128, 128)).save(tmp_path / "val2017" / "1.png")

    metrics = evaluate(draws_people(POSE_CARD, indices + off), POSE_CARD, CocoKeypoints(tmp_path, "val"), bootstrap=0)

    assert metrics.value == pytest.approx(value)  # half a pixel off costs the strictest of the ten similarities


def sounds(count: int) -> list[EmotionSample]:
    rng = np.random.default_rng(0)
    return [
        EmotionSample(
            name=f"{index}",
            sound=rng.normal(0, 0.1, 4000).astype(np.float32),
            rate=np.array([8000], np.int32),
            target=rng.uniform(-1, 1, 2).astype(np.float32),
        )
        for index in range(count)
    ]


def hears(answers: Mapping[bytes, Float32]) -> Callable[[Float32], dict[str, Float32]]:
    return lambda tensor: {"valence_arousal": answers[tensor.tobytes()][None]}


def test_sound_and_its_spectrogram_enter_alike_and_are_judged_by_concordance() -> None:
    spec = EMOTION_CARD.input
    samples = sounds(4)
    noise = np.random.default_rng(1).normal(0, 0.3, (4, 2)).astype(np.float32)
    tensors = [prepare_audio(sample.sound, 8000, spec) for sample in samples]
    mean, std = spec.mean[0], spec.std[0]
    found = [np.clip(sample.target + n, -1, 1).astype(np.float32) for sample, n in zip(samples, noise, strict=True)]
    answers = {tensor.tobytes(): answer for tensor, answer in zip(tensors, found, strict=True)}

    heard = evaluate(hears(answers), EMOTION_CARD, Listed("emotion", samples), bootstrap=0)

    truth = np.stack([sample.target for sample in samples])
    each = [ccc(np.stack(found)[:, axis], truth[:, axis]) for axis in range(2)]
    assert heard.name == "CCC"
    assert heard.value == pytest.approx(np.mean(each))
    seen: list[Float32] = []
    spectrograms = [
        SpectrogramSample(
            name=sample.name, tensor=tensor[0, :1] * np.float32(std) + np.float32(mean), target=sample.target
        )
        for sample, tensor in zip(samples, tensors, strict=True)
    ]

    def listens(tensor: Float32) -> dict[str, Float32]:
        seen.append(tensor.copy())
        return {"valence_arousal": np.zeros((1, 2), np.float32)}

    for card in (EMOTION_CARD, nhwc(EMOTION_CARD)):
        evaluate(listens, card, Listed("emotion", spectrograms), bootstrap=0)
    for index, tensor in enumerate(tensors):
        np.testing.assert_allclose(seen[index], tensor, atol=1e-5)
        np.testing.assert_array_equal(seen[4 + index].transpose(0, 3, 1, 2), seen[index])


def test_an_answer_that_is_not_finite_counts_as_neutral_and_is_reported() -> None:
    nan = {"valence_arousal": np.full((1, 2), np.nan, np.float32)}

    metrics = evaluate(lambda _: nan, EMOTION_CARD, Listed("emotion", sounds(3)), bootstrap=0)

    assert (metrics.value, metrics.nonfinite) == (0.0, 3)


def noisy(seed: int) -> Callable[[Float32], dict[str, Float32]]:
    rng = np.random.default_rng(seed)
    return lambda _: {"valence_arousal": rng.uniform(-1, 1, (1, 2)).astype(np.float32)}


def spectrograms(count: int) -> list[SpectrogramSample]:
    targets = np.random.default_rng(3).uniform(-0.9, 0.9, (count, 2)).astype(np.float32)
    plane = np.zeros((1, 224, 224), np.float32)
    return [SpectrogramSample(name=f"{index}", tensor=plane, target=target) for index, target in enumerate(targets)]


def follows(samples: Sequence[SpectrogramSample], noise: float, off: float) -> Callable[[Float32], dict[str, Float32]]:
    """Return a network that gives the targets in turn, with the same errors for every `off`."""
    rng = np.random.default_rng(5)
    answers = iter([sample.target * (1 - off) + rng.normal(0, noise, 2) for sample in samples])
    return lambda _: {"valence_arousal": np.asarray(next(answers), np.float32)[None]}


def test_a_small_drop_is_seen_in_pairs_where_the_intervals_overlap() -> None:
    samples = spectrograms(60)
    source = Listed("emotion", samples)
    fp32, int8 = evaluate_all(
        [Candidate(follows(samples, 0.4, off), EMOTION_CARD) for off in (0.0, 0.1)], source, bootstrap=400
    )

    drop = paired_drop(fp32, int8)

    assert int8.high > fp32.low  # each by itself tells nothing
    assert 0.0 < drop.low < drop.value < drop.high
    assert drop.high - drop.low < (fp32.high - fp32.low) / 2
    assert drop.value == pytest.approx(fp32.value - int8.value)
    same = paired_drop(fp32, fp32)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_only_what_was_judged_on_the_same_samples_can_be_compared() -> None:
    samples = spectrograms(6)
    base, shorter, reseeded, coarse = (
        evaluate(noisy(0), EMOTION_CARD, Listed("emotion", samples), limit=limit, bootstrap=rounds, seed=seed)
        for limit, rounds, seed in ((None, 9, 0), (5, 9, 0), (None, 9, 1), (None, 8, 0))
    )
    elsewhere = evaluate(noisy(0), EMOTION_CARD, Listed("emotion", samples, digest="other"), bootstrap=9)

    for other, what in ((shorter, "`samples`"), (reseeded, "`seed`"), (coarse, "resampled"), (elsewhere, "`digest`")):
        with pytest.raises(InputError, match=what):
            paired_drop(base, other)


def test_the_same_call_gives_the_same_figures_and_plain_json() -> None:
    first, second = (
        evaluate(noisy(0), EMOTION_CARD, Listed("emotion", spectrograms(6)), bootstrap=30) for _ in range(2)
    )

    assert first == second
    np.testing.assert_array_equal(first.resampled, second.resampled)
    plain = json.loads(json.dumps(first.to_dict(), allow_nan=False))
    assert plain["low"] <= plain["value"] <= plain["high"]
    without = evaluate(noisy(0), EMOTION_CARD, Listed("emotion", spectrograms(6)), bootstrap=0)
    assert (without.to_dict()["low"], without.to_dict()["high"]) == (None, None)


def test_what_cannot_be_judged_is_refused() -> None:
    face = sees_squares(FACE_CARD)
    empty = dataclasses.replace(
        face_sample(0),
        boxes=np.zeros((0, 4), np.float32),
        landmarks=np.zeros((0, 5, 2), np.float32),
        has_landmarks=np.zeros(0, np.bool_),
        ignore=np.zeros(0, np.bool_),
    )
    cases: list[tuple[Card, Listed, str]] = [
        (FACE_CARD, Listed("custom", []), "no metric for this family"),
        (FACE_CARD, Listed("face", []), "nothing to judge"),
        (FACE_CARD, Listed("face", [SampleError("`a.jpg` is broken")]), "nothing to judge.*`a.jpg` is broken"),
        (FACE_CARD, Listed("face", [empty]), "no face to find"),
        (FACE_CARD, Listed("pose", [pose_sample((64, 64))]), "cannot be judged by OKS-AP.*face-priors"),
        (FACE_CARD, Listed("emotion", sounds(2)), "takes no sound"),
        (EMOTION_CARD, Listed("face", [face_sample(0)]), "takes no picture"),
    ]
    for card, source, message in cases:
        with pytest.raises(InputError, match=message):
            evaluate(face, card, source, bootstrap=0)


def test_judging_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import edge.models.evaluate, edge.commands.eval"

    subprocess.run([sys.executable, "-c", code], check=True)
