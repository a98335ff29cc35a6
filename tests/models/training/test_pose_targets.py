"""Heatmaps and affinity fields: against a slow obvious reference, and back through the decoder that users run."""

import math

import numpy as np
import pytest

from edge.models.training.pose_targets import cells_of_mask, heatmaps_and_pafs
from edge.runtime.errors import ShapeError
from edge.runtime.metrics import keypoint_area, oks
from edge.runtime.paf import PafParams, decode_people
from edge.runtime.skeleton import COCO_INDEX, LIMBS

pytestmark = pytest.mark.torch  # `edge.models.training` imports torch

# A person of 100 pixels who stands facing us, in the order of `runtime.skeleton`.
STANDING = np.array(
    [(50, 12), (50, 26), (38, 26), (34, 43), (32, 58), (62, 26), (66, 43), (68, 58), (43, 54), (42, 75), (42, 97),
     (57, 54), (58, 75), (58, 97), (46, 8), (54, 8), (41, 10), (59, 10)], np.float32,
)  # fmt: skip


def person(x: float = 0.0, y: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.concatenate([STANDING * scale + (x, y), np.full((18, 1), 2.0)], axis=1).astype(np.float32)


def test_a_joint_in_the_middle_of_a_cell_is_1_there_and_a_gaussian_around_it() -> None:
    keypoints = np.zeros((1, 18, 3), np.float32)
    keypoints[0, 4] = 20.0, 12.0, 2.0  # cell 2, 1: the middle of pixels 16 to 23 is 20, of which 19.5 is the number
    heatmaps, pafs = heatmaps_and_pafs(keypoints, (64, 64))

    assert heatmaps[4, 1, 2] == 1.0
    assert heatmaps[4, 1, 3] == pytest.approx(math.exp(-(8**2) / (2 * 7**2)))
    assert heatmaps[4, 2, 3] == pytest.approx(math.exp(-(8**2 + 8**2) / (2 * 7**2)))
    assert heatmaps[4, 1, 5] == 0.0  # exponent 5.9, beyond 4.6052
    assert not heatmaps[[0, 1, 2, 3, 5, 17]].any()
    np.testing.assert_allclose(heatmaps[18], 1.0 - heatmaps[4], atol=1e-7)
    assert not pafs.any()


def test_maps_of_three_people_who_overlap_are_those_of_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    keypoints = np.stack([person(0, 0), person(12.3, 7.7, 0.9), person(-3.1, 40.0, 0.5)])
    keypoints[:, :, 2] = rng.integers(0, 3, (3, 18))
    heatmaps, pafs = heatmaps_and_pafs(keypoints, (128, 96))
    wanted_heatmaps, wanted_pafs = slow_maps(keypoints, (128, 96))

    assert (heatmaps.shape, pafs.shape) == ((19, 16, 12), (38, 16, 12))
    assert heatmaps.dtype == pafs.dtype == np.float32
    np.testing.assert_allclose(heatmaps, wanted_heatmaps, atol=1e-5)
    np.testing.assert_allclose(pafs, wanted_pafs, atol=1e-5)


def test_where_two_limbs_cross_the_field_is_their_mean() -> None:
    keypoints = np.zeros((2, 18, 3), np.float32)
    keypoints[0, 2], keypoints[0, 3] = (4, 36, 2), (68, 36, 2)  # to the right
    keypoints[1, 2], keypoints[1, 3] = (36, 4, 2), (36, 68, 2)  # down
    _, pafs = heatmaps_and_pafs(keypoints, (72, 72))

    assert pafs[14:16, 4, 4].tolist() == [0.5, 0.5]
    assert pafs[14:16, 4, 1].tolist() == [1.0, 0.0]
    assert pafs[14:16, 1, 4].tolist() == [0.0, 1.0]
    assert not pafs[14:16, 0, 0].any()


def test_nobody_gives_background_alone() -> None:
    heatmaps, pafs = heatmaps_and_pafs(np.zeros((0, 18, 3), np.float32), (64, 64))

    assert (heatmaps[18] == 1.0).all()
    assert not heatmaps[:18].any()
    assert not pafs.any()


def test_two_joints_in_one_place_make_no_field_and_no_nan() -> None:
    keypoints = person()[None]
    keypoints[0, 3, :2] = keypoints[0, 2, :2]
    _, pafs = heatmaps_and_pafs(keypoints, (128, 128))

    assert np.isfinite(pafs).all()
    assert not pafs[14:16].any()


@pytest.mark.parametrize("side", [128, 368])
def test_the_decoder_gives_back_the_people_whom_the_maps_were_made_of(side: int) -> None:
    """16 x 16 cells are enough for big people who do not overlap."""
    f = side / 128
    keypoints = np.stack([person(-8 * f, 5 * f, 0.85 * f), person(52.4 * f, 14.2 * f, 0.9 * f)])
    heatmaps, pafs = heatmaps_and_pafs(keypoints, (side, side))
    found, _ = decode_people(heatmaps, pafs, PafParams())

    assert len(found) == 2
    for truth in keypoints:
        assert max(similarity(person.coco17(), truth) for person in found) >= 0.9


def test_decoded_joints_are_not_shifted() -> None:
    """A half-pixel slip between targets and decoder would move every joint the same way."""
    errors = []
    for step in range(16):
        truth = person(3 + 0.5 * step, 6 + 0.25 * step)
        heatmaps, pafs = heatmaps_and_pafs(truth[None], (128, 128))
        found, _ = decode_people(heatmaps, pafs, PafParams())
        for joint, (x, y, _) in zip(found[0].keypoints, truth, strict=True):
            assert joint is not None
            errors.append((joint.x - x, joint.y - y))
    assert np.abs(np.mean(errors, axis=0)).max() < 0.3  # pixels; a cell is 8
    assert np.abs(errors).max() < 3.5


def test_a_cell_is_ignored_if_half_of_its_pixels_are() -> None:
    ignore = np.zeros((16, 24), np.bool_)
    ignore[:8, :4] = True  # half of the first cell
    ignore[8:, 16:19] = True  # less than half of the last
    mask = cells_of_mask(ignore)

    assert mask.dtype == np.float32
    np.testing.assert_array_equal(mask, [[[0, 1, 1], [1, 1, 1]]])


@pytest.mark.parametrize(("shape", "hw"), [((1, 17, 3), (64, 64)), ((18, 3), (64, 64)), ((1, 18, 3), (64, 60))])
def test_other_shapes_are_refused(shape: tuple[int, ...], hw: tuple[int, int]) -> None:
    with pytest.raises(ShapeError, match=r"\(n, 18, 3\)"):
        heatmaps_and_pafs(np.zeros(shape, np.float32), hw)


def similarity(found: list[tuple[float, float, float]] | object, truth: np.ndarray) -> float:
    coco = np.zeros((17, 3))
    for part, place in enumerate(COCO_INDEX):
        if place is not None:
            coco[place] = truth[part]
    there = coco[:, 2] > 0
    seen = np.array(found, np.float64)
    return oks(seen[:, :2], seen[:, 2] > 0, coco[:, :2], there, keypoint_area(coco[:, :2], there))


def slow_maps(keypoints: np.ndarray, hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Cell by cell, in pixels."""
    rows, columns = hw[0] // 8, hw[1] // 8
    heatmaps, pafs = np.zeros((19, rows, columns)), np.zeros((38, rows, columns))
    for row in range(rows):
        for column in range(columns):
            x, y = column * 8 + 4.0, row * 8 + 4.0
            for joint in range(18):
                for px, py, visibility in keypoints[:, joint].astype(float):
                    exponent = ((px - x) ** 2 + (py - y) ** 2) / (2 * 7.0**2)
                    if visibility > 0 and exponent <= 4.6052:
                        heatmaps[joint, row, column] = max(heatmaps[joint, row, column], math.exp(-exponent))
            heatmaps[18, row, column] = 1 - heatmaps[:18, row, column].max()
            for limb in LIMBS:
                directions = []
                for body in keypoints.astype(float):
                    a, b = body[limb.start], body[limb.end]
                    if a[2] == 0 or b[2] == 0:
                        continue
                    length = math.dist(a[:2], b[:2])
                    share = ((x - a[0]) * (b[0] - a[0]) + (y - a[1]) * (b[1] - a[1])) / length**2
                    nearest = a[:2] + min(max(share, 0.0), 1.0) * (b[:2] - a[:2])
                    if math.dist(nearest, (x, y)) <= 8.0:
                        directions.append((b[:2] - a[:2]) / length)
                if directions:
                    pafs[[limb.channel_x, limb.channel_y], row, column] = np.mean(directions, axis=0)
    return heatmaps, pafs
