"""The face decoder: by hand, and against the recorded detections of two trained networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.runtime.errors import CardError, ShapeError
from edge.runtime.face import FaceParams, decode_boxes, decode_faces, decode_landmarks, priors
from edge.runtime.geometry import Geometry

GOLDEN = Path(__file__).parents[2] / ".." / "shared" / "golden" / "face"
CASES = sorted(GOLDEN.glob("*/*.npz"))
PRIOR = np.array([[0.5, 0.5, 0.2, 0.4]], np.float32)
PARAMS = FaceParams()
N64 = 2 * (8 * 8 + 4 * 4 + 2 * 2)


def test_zero_offsets_give_back_the_prior() -> None:
    box = decode_boxes(np.zeros((1, 4), np.float32), PRIOR)
    marks = decode_landmarks(np.zeros((1, 10), np.float32), PRIOR)

    np.testing.assert_allclose(box, [[0.4, 0.3, 0.6, 0.7]], atol=1e-6)
    np.testing.assert_allclose(marks, np.full((1, 5, 2), 0.5), atol=1e-6)


def test_offsets_are_scaled_by_variance_and_prior() -> None:
    box = decode_boxes(np.array([[1, -1, 5 * np.log(2), 0]], np.float32), PRIOR)  # 0.2 * 5 ln 2: twice as wide

    np.testing.assert_allclose(box, [[0.52 - 0.2, 0.46 - 0.2, 0.52 + 0.2, 0.46 + 0.2]], atol=1e-6)


def test_the_priors_of_a_32_pixel_input_can_be_counted_by_hand() -> None:
    table = priors((32, 64), ((16, 32), (64,)), (16, 32))

    assert table.shape == (2 * 4 * 2 + 1 * 2, 4)
    np.testing.assert_allclose(table[0], [8 / 64, 8 / 32, 16 / 64, 16 / 32])
    np.testing.assert_allclose(table[3], [24 / 64, 8 / 32, 32 / 64, 32 / 32])  # next column, second size
    np.testing.assert_allclose(table[8], [8 / 64, 24 / 32, 16 / 64, 16 / 32])  # second row
    np.testing.assert_allclose(table[17], [48 / 64, 16 / 32, 64 / 64, 64 / 32])


def test_a_map_that_does_not_divide_is_rounded_up() -> None:
    assert len(priors((33, 31), ((16,),), (16,))) == 3 * 2


def test_shared_priors_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        priors((32, 32), PARAMS.min_sizes, PARAMS.strides)[0, 0] = 1


@pytest.mark.parametrize("path", CASES or [None], ids=lambda path: path.stem if path else "none")
def test_recorded_outputs_give_the_recorded_detections(path: Path | None) -> None:
    if path is None:
        pytest.skip("golden data is not beside this checkout")
    data = np.load(path)
    hw = (int(data["input_hw"][0]), int(data["input_hw"][1]))
    scale = float(data["resize"])
    geometry = Geometry(original_hw=hw, input_hw=hw, content_hw=hw, scale_xy=(scale, scale))

    faces, truncated = decode_faces(data["loc"][0], data["conf"][0], data["landm"][0], hw, PARAMS, geometry)

    np.testing.assert_array_equal(priors(hw, PARAMS.min_sizes, PARAMS.strides), data["priors"])
    got = np.array([[*face.box_xyxy, face.score, *np.ravel(face.landmarks)] for face in faces])
    assert got.shape == data["dets"].shape
    # Two units in the last place of float32 at 512..1024 pixels; the largest difference seen is 3.1e-5.
    np.testing.assert_allclose(got, data["dets"], rtol=0, atol=1.3e-4)
    assert not truncated


def outputs(seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    face = rng.uniform(0, 1, N64)
    conf = np.stack([1 - face, face], axis=1).astype(np.float32)
    loc, landm = (rng.normal(0, scale, (N64, width)).astype(np.float32) for width in (4, 10))
    return loc, conf, landm


def test_a_row_that_is_not_finite_takes_no_part() -> None:
    loc, conf, landm = (np.zeros((N64, width), np.float32) for width in (4, 2, 10))
    conf[[0, 60, 160], 1] = 0.9, np.nan, 0.8
    landm[160, 3] = np.inf

    faces, _ = decode_faces(loc, conf, landm, (64, 64), PARAMS)

    assert [round(face.score, 3) for face in faces] == [0.9]


def test_too_many_faces_are_cut_and_said_so() -> None:
    faces, truncated = decode_faces(*outputs(1), (64, 64), FaceParams(keep=3))

    assert len(faces) == 3
    assert truncated


def test_outputs_of_another_input_size_are_refused() -> None:
    loc, conf, landm = outputs(1)
    with pytest.raises(ShapeError, match="168 rows of 4, 2 and 10 at 64 x 64"):
        decode_faces(loc[:-1], conf[:-1], landm[:-1], (64, 64), PARAMS)


def test_strides_without_sizes_are_refused() -> None:
    with pytest.raises(CardError, match="min_sizes"):
        FaceParams(strides=(8, 16))


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 3.0, 1e3, 1e20, 3e38]))
def test_any_head_gives_finite_faces_in_order(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    loc, conf, landm = outputs(seed, min(scale, 1e3))
    loc[rng.integers(N64, size=20)] = scale
    landm[rng.integers(N64, size=20)] = -scale
    conf[rng.integers(N64, size=9)] = np.nan

    faces, _ = decode_faces(loc, conf, landm, (64, 64), PARAMS)

    table = np.array([[*face.box_xyxy, face.score, *np.ravel(face.landmarks)] for face in faces])
    assert np.isfinite(table).all()
    assert (table[:, 0] <= table[:, 2]).all()
    assert (table[:, 1] <= table[:, 3]).all()
    assert (np.diff(table[:, 4]) <= 0).all()
