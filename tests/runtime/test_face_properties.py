"""Properties of the face decoder and of suppression, on heads and boxes that no trained network would put out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.bench.face_scene import face_outputs
from edge.runtime.errors import InputError
from edge.runtime.face import FaceParams, decode_boxes, decode_faces, decode_landmarks, priors
from edge.runtime.geometry import Geometry
from edge.runtime.nms import nms
from edge.runtime.results import Face

from . import oracle_nms

Float32 = NDArray[np.float32]
Heads = tuple[Float32, Float32, Float32]

PARAMS = FaceParams()
SEEDS = st.integers(0, 2**32 - 1)
BOXES = st.sampled_from(
    ["lattice", "crowd", "identical", "no area", "inside out", "huge", "tiny", "not finite", "mixed"]
)
quick = settings(deadline=None, derandomize=True, max_examples=120)


def slow_faces(heads: Heads, hw: tuple[int, int], params: FaceParams, geometry: Geometry | None = None) -> list[Face]:
    """Return what `decode_faces` does: every row is decoded, one by one, and the plain suppression chooses."""
    anchors = priors(hw, params.min_sizes, params.strides)
    scale = np.array([hw[1], hw[0]], np.float32)
    resize = np.array((1, 1) if geometry is None else geometry.scale_xy, np.float32)
    rows, scores, marks = [], [], []
    for loc, conf, landm, anchor in zip(*heads, anchors, strict=True):
        if conf[1] > params.score_threshold and np.isfinite([*loc, *conf, *landm]).all():
            rows.append((decode_boxes(loc[None], anchor[None]).reshape(2, 2) * scale / resize).reshape(4))
            marks.append(decode_landmarks(landm[None], anchor[None])[0] * scale / resize)
            scores.append(conf[1])
    kept, _ = oracle_nms.nms(
        np.array(rows, np.float32).reshape(-1, 4),
        np.array(scores),
        params.nms_iou,
        pre_nms=params.pre_nms,
        keep=params.keep,
    )
    return [
        Face(
            box_xyxy=(float(rows[place][0]), float(rows[place][1]), float(rows[place][2]), float(rows[place][3])),
            score=float(scores[place]),
            landmarks=tuple((x, y) for x, y in marks[place].tolist()),
        )
        for place in kept
    ]


def noise(rng: np.random.Generator, hw: tuple[int, int], fired: float = 0.3) -> Heads:
    """Return heads of which a share is above the threshold; scores are of few levels, as an INT8 head's."""
    count = len(priors(hw, PARAMS.min_sizes, PARAMS.strides))
    score = np.where(rng.random(count) < fired, rng.integers(1, 65, count) / 64, 0)
    loc, landm = (rng.normal(0, 3, (count, width)).astype(np.float32) for width in (4, 10))
    return loc, np.stack([1 - score, score], axis=1).astype(np.float32), landm


def some_boxes(rng: np.random.Generator, kind: str, count: int) -> Float32:
    low = rng.integers(0, 12, (count, 2)).astype(np.float64)
    size = rng.integers(1, 8, (count, 2)).astype(np.float64)
    if kind in ("crowd", "mixed"):
        low, size = low + rng.random((count, 2)), size * np.exp(rng.normal(0, 0.5, (count, 2)))
    boxes = np.concatenate([low, low + size], axis=1)
    odd = rng.random(count) < 0.3
    if kind == "identical":
        boxes[:] = boxes[:1]
    elif kind == "no area":
        boxes[odd, 2:] = boxes[odd, :2] - rng.integers(0, 2, (count, 2))[odd]  # none by either convention
    elif kind == "inside out":
        boxes[odd] = boxes[odd][:, [2, 3, 0, 1]]
    elif kind == "huge":
        boxes *= rng.choice([1e6, 1e17, 1e19, 1e30, 1e37], (count, 1))
    elif kind == "tiny":
        boxes *= rng.choice([1.0, 1e-20, 1e-40], (count, 1))
    elif kind in ("not finite", "mixed"):
        boxes[odd, rng.integers(4)] = rng.choice([np.nan, np.inf, -np.inf, 3e38, -3e38, 0])
    return boxes.astype(np.float32)


@quick
@given(SEEDS, BOXES, st.integers(0, 150), st.booleans(), st.sampled_from([0.0, 0.3, 0.4, 0.75, 1.0]))
def test_suppression_equals_the_oracle_on_any_boxes(
    seed: int, kind: str, count: int, inclusive: bool, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    boxes = some_boxes(rng, kind, count)
    scores = rng.integers(-3, 40, count).astype(np.float32) / 32
    if kind in ("not finite", "mixed"):
        scores[rng.random(count) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    keep = int(rng.integers(1, 80))

    kept, truncated = nms(boxes, scores, threshold, inclusive=inclusive, pre_nms=140, keep=keep)

    expected = oracle_nms.nms(boxes, scores, threshold, inclusive=inclusive, pre_nms=140, keep=keep)
    assert (kept.tolist(), truncated) == expected


@quick
@given(SEEDS, BOXES, st.integers(0, 150))
def test_suppression_does_not_depend_on_the_order_of_boxes_with_distinct_scores(
    seed: int, kind: str, count: int
) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores = some_boxes(rng, kind, count), rng.permutation(count).astype(np.float32)
    shuffle = rng.permutation(count)

    assert shuffle[nms(boxes[shuffle], scores[shuffle])[0]].tolist() == nms(boxes, scores)[0].tolist()


@quick
@given(SEEDS, st.sampled_from(["lattice", "crowd", "identical"]), st.integers(0, 150), st.booleans())
def test_a_second_suppression_changes_nothing(seed: int, kind: str, count: int, inclusive: bool) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores = some_boxes(rng, kind, count), rng.integers(0, 9, count).astype(np.float32)
    kept, _ = nms(boxes, scores, inclusive=inclusive)

    assert nms(boxes[kept], scores[kept], inclusive=inclusive)[0].tolist() == list(range(len(kept)))


@quick
@given(SEEDS, st.integers(0, 150), st.booleans())
def test_suppression_in_a_mirror_keeps_the_same_boxes(seed: int, count: int, inclusive: bool) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores = some_boxes(rng, "lattice", count), rng.integers(0, 9, count).astype(np.float32)
    mirrored = np.stack([64 - boxes[:, 2], boxes[:, 1], 64 - boxes[:, 0], boxes[:, 3]], axis=1)  # exact: whole numbers

    assert nms(mirrored, scores, inclusive=inclusive)[0].tolist() == nms(boxes, scores, inclusive=inclusive)[0].tolist()


@quick
@given(SEEDS, st.integers(0, 150), st.integers(-20, 20))
def test_suppression_at_another_scale_keeps_the_same_boxes(seed: int, count: int, power: int) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores = some_boxes(rng, "crowd", count), rng.integers(0, 9, count).astype(np.float32)

    scaled = nms(boxes * np.float32(2.0**power), scores, inclusive=False)[0]  # a power of two is exact

    assert scaled.tolist() == nms(boxes, scores, inclusive=False)[0].tolist()


@quick
@given(SEEDS, st.sampled_from([(64, 64), (32, 80), (33, 47)]), st.sampled_from([None, (0.5, 0.5), (1.3, 0.7)]))
def test_faces_equal_the_slow_decoder_s(seed: int, hw: tuple[int, int], scale_xy: tuple[float, float] | None) -> None:
    rng = np.random.default_rng(seed)
    heads = noise(rng, hw)
    for values in heads:
        broken = rng.random(values.shape) < 0.01
        values[broken] = rng.choice([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e10], int(broken.sum()))
    geometry = None
    if scale_xy is not None:
        geometry = Geometry(original_hw=hw, input_hw=hw, content_hw=hw, scale_xy=scale_xy)

    assert decode_faces(*heads, hw, PARAMS, geometry)[0] == slow_faces(heads, hw, PARAMS, geometry)


@quick
@given(SEEDS, st.floats(0, 1), st.sampled_from([1, 20, 750]), st.sampled_from([10, 40, 5000]))
def test_a_lowest_score_gives_what_leaving_out_the_others_gives(
    seed: int, lowest: float, keep: int, pre_nms: int
) -> None:
    heads = noise(np.random.default_rng(seed), (64, 64))
    lowest = round(lowest * 64) / 64  # levels of the scores, so that some are equal to it
    params = FaceParams(keep=keep, pre_nms=pre_nms)

    faces, truncated = decode_faces(*heads, (64, 64), params)

    expected = [face for face in faces if face.score >= lowest], truncated
    assert decode_faces(*heads, (64, 64), params, lowest=lowest) == expected


@quick
@given(SEEDS, st.integers(1, 12))
def test_faces_in_a_mirror_are_the_mirrored_faces(seed: int, faces: int) -> None:
    side = 128
    heads = face_outputs(faces, (side, side), seed=seed)[:3]
    found, _ = decode_faces(*heads, (side, side), PARAMS)

    loc, conf, landm = (mirror(head, side) for head in heads)
    mirrored, _ = decode_faces(loc, conf, landm, (side, side), PARAMS)

    assert len(found) >= faces  # none of them is lost
    assert [face.score for face in mirrored] == [face.score for face in found]
    for face, other in zip(found, mirrored, strict=True):
        x1, y1, x2, y2 = other.box_xyxy
        np.testing.assert_allclose((side - x2, y1, side - x1, y2), face.box_xyxy, atol=1e-3)  # float32 at 128: 1.5e-5
        marks = np.array(other.landmarks) * [-1, 1] + [side, 0]
        np.testing.assert_allclose(marks, face.landmarks, atol=1e-3)


def mirror(head: Float32, side: int) -> Float32:
    """Return a head as it is when the picture is mirrored: columns of cells turn round, shifts in x change sign."""
    levels, start = [], 0
    for stride, sizes in zip(PARAMS.strides, PARAMS.min_sizes, strict=True):
        cells = side // stride
        stop = start + cells * cells * len(sizes)
        level = head[start:stop].reshape(cells, cells, len(sizes), -1)[:, ::-1]
        levels.append(level.reshape(stop - start, -1))
        start = stop
    result = np.concatenate(levels)
    if result.shape[1] != 2:  # probabilities have no direction
        shifts = slice(0, 1) if result.shape[1] == 4 else slice(0, 10, 2)
        result[:, shifts] *= -1
    return result


@quick
@given(SEEDS, st.floats(0.001, 10), st.booleans(), st.sampled_from([(64, 64), (17, 90)]))
def test_a_saturated_int8_head_gives_what_the_slow_decoder_gives(
    seed: int, step: float, faces_everywhere: bool, hw: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    loc, conf, landm = noise(rng, hw)
    loc, landm = (np.where(values > 0, 127 * step, -127 * step).astype(np.float32) for values in (loc, landm))
    conf[:] = (0, 1) if faces_everywhere else (1, 0)

    faces, truncated = decode_faces(loc, conf, landm, hw, PARAMS)

    assert faces == slow_faces((loc, conf, landm), hw, PARAMS)
    assert not truncated
    assert bool(faces) == faces_everywhere
    assert np.isfinite([[*face.box_xyxy, *np.ravel(face.landmarks)] for face in faces]).all()


@quick
@given(SEEDS, st.sampled_from([(1, 1), (1, 9), (3, 1), (1, 40)]), st.floats(0, 1))
def test_inputs_of_one_pixel_are_decoded(seed: int, hw: tuple[int, int], fired: float) -> None:
    heads = noise(np.random.default_rng(seed), hw, fired)

    faces, _ = decode_faces(*heads, hw, PARAMS)

    assert faces == slow_faces(heads, hw, PARAMS)
    assert bool(faces) == bool((heads[1][:, 1] > PARAMS.score_threshold).any())


def test_a_picture_without_candidates_has_no_faces() -> None:
    loc, conf, landm = noise(np.random.default_rng(0), (64, 64), 0.0)

    assert decode_faces(loc, conf, landm, (64, 64), PARAMS) == ([], False)
    assert decode_faces(loc, conf * np.float32(np.nan), landm, (64, 64), PARAMS) == ([], False)


def test_a_head_of_which_no_row_is_finite_has_no_faces() -> None:
    loc, conf, landm = noise(np.random.default_rng(0), (64, 64), 1.0)

    assert decode_faces(loc, conf, landm * np.float32(np.inf), (64, 64), PARAMS) == ([], False)


@pytest.mark.parametrize("faces", [0, 1, 50])
def test_each_face_of_a_synthetic_scene_is_found_once(faces: int) -> None:
    loc, conf, landm, truth = face_outputs(faces, (640, 640), seed=3)

    found, truncated = decode_faces(loc, conf, landm, (640, 640), PARAMS, lowest=0.5)

    assert not truncated
    assert len(found) == faces
    boxes = np.array([face.box_xyxy for face in found]).reshape(-1, 4)
    for box in truth.astype(np.float64):
        assert max(oracle_nms.iou(box, other, False) for other in boxes) > 0.6


def test_a_scene_with_more_faces_than_room_is_refused() -> None:
    with pytest.raises(InputError, match="400 faces find no room in 32 x 32"):
        face_outputs(400, (32, 32))
