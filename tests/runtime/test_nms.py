"""Suppression of boxes: by hand, against the plain oracle, and its properties."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge.bench.face_scene import nms_candidates
from edge.runtime.errors import ShapeError
from edge.runtime.nms import nms

from . import oracle_nms


def crowd(seed: int, count: int, spread: float = 60.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-10, spread, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 30, (count, 2))], axis=1).astype(np.float32)
    return boxes, rng.permutation(count).astype(np.float32) / max(count, 1)


def test_of_two_boxes_with_three_quarters_in_common_the_better_one_stays() -> None:
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 6.5]], np.float32)

    assert nms(boxes, np.array([0.3, 0.9], np.float32))[0].tolist() == [1]


def test_the_inclusive_convention_counts_one_pixel_more_a_side() -> None:
    boxes = np.array([[0, 0, 1, 1], [1, 0, 2, 1]], np.float32)  # touch at x = 1: 2 of 6 pixels, or no area at all
    scores = np.array([0.9, 0.8], np.float32)

    assert nms(boxes, scores, 0.3, inclusive=True)[0].tolist() == [0]
    assert nms(boxes, scores, 0.3, inclusive=False)[0].tolist() == [0, 1]


def test_an_overlap_of_exactly_the_threshold_stays() -> None:
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 2]], np.float32)

    assert len(nms(boxes, np.array([0.9, 0.8], np.float32), 0.5, inclusive=False)[0]) == 2


def test_of_equal_scores_the_earlier_box_wins() -> None:
    boxes = np.zeros((3, 4), np.float32)

    assert nms(boxes, np.full(3, 0.5, np.float32))[0].tolist() == [0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_never_wins(bad: float) -> None:
    boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 9], [0, bad, 9, 9]], np.float32)

    assert nms(boxes, np.array([bad, 0.1, 0.9], np.float32))[0].tolist() == [1]
    assert nms(boxes[:2], np.array([bad, 0.1], np.float32))[0].tolist() == [1]
    assert nms(boxes[1:], np.array([0.1, 0.9], np.float32))[0].tolist() == [0]


def test_no_boxes_give_none() -> None:
    kept, truncated = nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    assert (kept.tolist(), truncated) == ([], False)


def test_caps_say_that_they_cut() -> None:
    boxes = np.arange(40, dtype=np.float32).reshape(10, 4) * [[100, 0, 100, 0]] + [[0, 0, 9, 9]]
    boxes = boxes.astype(np.float32)
    scores = np.linspace(1, 0.1, 10, dtype=np.float32)

    assert nms(boxes, scores, keep=3)[0].tolist() == [0, 1, 2]
    assert nms(boxes, scores, keep=3)[1]
    assert nms(boxes, scores, pre_nms=4)[0].tolist() == [0, 1, 2, 3]
    assert nms(boxes, scores, pre_nms=4)[1]
    assert not nms(boxes, scores, keep=10, pre_nms=10)[1]


def test_shapes_that_do_not_agree_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(3, 4\), \(2,\)"):
        nms(np.zeros((3, 4), np.float32), np.zeros(2, np.float32))


def test_a_cap_that_leaves_out_only_what_is_covered_cuts_nothing() -> None:
    boxes = np.array([[0, 0, 9, 9], [50, 0, 59, 9], [0, 0, 9, 8]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)

    assert nms(boxes, scores, keep=2)[0].tolist() == [0, 1]
    assert not nms(boxes, scores, keep=2)[1]
    assert nms(boxes, scores, keep=1)[1]


@pytest.mark.parametrize(("keep", "cut"), [(64, True), (128, True), (1024, True), (1099, True), (1100, False)])
def test_of_boxes_far_apart_the_best_stay_up_to_the_cap(keep: int, cut: bool) -> None:
    left = np.arange(1100, dtype=np.float32) * 20
    boxes = np.stack([left, 0 * left, left + 9, 0 * left + 9], axis=1)

    kept, truncated = nms(boxes, -left, keep=keep)

    assert (kept.tolist(), truncated) == (list(range(keep)), cut)


@pytest.mark.parametrize("kind", ["clustered", "scattered"])
@pytest.mark.parametrize(("pre_nms", "keep"), [(5000, 750), (10_000, 10_000), (5000, 63), (65, 64)])
def test_ten_thousand_candidates_are_no_problem(
    kind: Literal["clustered", "scattered"], pre_nms: int, keep: int
) -> None:
    boxes, scores = nms_candidates(kind, 10_000)

    kept, truncated = nms(boxes, scores, 0.4, pre_nms=pre_nms, keep=keep)

    assert (kept.tolist(), truncated) == oracle_nms.nms_by_rows(boxes, scores, 0.4, pre_nms=pre_nms, keep=keep)


def test_a_chain_in_which_each_box_covers_the_next_keeps_every_second() -> None:
    left = np.arange(300, dtype=np.float32) * 3  # of 10 x 10 boxes: neighbours share 7 of 13, the next but one 4 of 16
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1)

    kept, _ = nms(boxes, np.linspace(1, 0.1, 300, dtype=np.float32), inclusive=False)

    assert kept.tolist() == list(range(0, 300, 2))


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.integers(0, 10**6), st.integers(2, 150), st.booleans(), st.sampled_from([-1, 0, 1]))
def test_an_overlap_at_the_threshold_is_decided_by_float32_as_in_the_oracle(
    seed: int, count: int, inclusive: bool, ulps: int
) -> None:
    boxes, scores = crowd(seed, count, 20.0)
    found = [oracle_nms.iou(boxes[0], box, inclusive) for box in boxes[1:]]
    threshold = float(np.nextafter(max(found), np.float32(ulps * 2))) if ulps else float(max(found))

    kept, _ = nms(boxes, scores, threshold, inclusive=inclusive)

    assert kept.tolist() == oracle_nms.nms_by_rows(boxes, scores, threshold, inclusive=inclusive)[0]


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.integers(0, 10**6), st.integers(2, 200), st.sampled_from([0.2, 0.25, 1 / 3, 0.4, 0.5, 2 / 3, 0.75]))
def test_overlaps_that_are_fractions_of_small_numbers_are_decided_as_in_the_oracle(
    seed: int, count: int, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 6, (count, 2))
    boxes = np.concatenate([low, low + rng.integers(0, 6, (count, 2))], axis=1).astype(np.float32)
    scores = rng.integers(0, 9, count).astype(np.float32)

    for inclusive in (True, False):
        expected = oracle_nms.nms_by_rows(boxes, scores, threshold, inclusive=inclusive)[0]
        assert nms(boxes, scores, threshold, inclusive=inclusive)[0].tolist() == expected


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from([0.3, 0.4, 0.6]))
def test_it_equals_opencv(seed: int, count: int, threshold: float) -> None:
    """OpenCV, and torchvision, take x2 - x1 for the width and let an overlap of the threshold stay.

    OpenCV reckons in float64 and rounds one minus the overlap to float32, so that it may decide otherwise within some
    1e-7 of the threshold: such sets are left out. It takes scores above its score threshold only; here all are.
    """
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    boxes, scores = crowd(seed, count)
    wide = boxes.astype(np.float64)
    for place, box in enumerate(wide):
        assume(all(abs(oracle_nms.iou(box, other, False) - threshold) > 1e-6 for other in wide[:place]))
    corners_and_sides = np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1)

    expected = cv2.dnn.NMSBoxes(corners_and_sides.tolist(), (scores + 1).tolist(), 0.5, threshold)

    assert nms(boxes, scores, threshold, inclusive=False)[0].tolist() == list(expected)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.integers(0, 10**6), st.integers(0, 60), st.sampled_from([0.0, 0.3, 0.4, 0.9]), st.booleans())
def test_it_equals_the_oracle(seed: int, count: int, threshold: float, inclusive: bool) -> None:
    boxes, scores = crowd(seed, count)

    kept, truncated = nms(boxes, scores, threshold, inclusive=inclusive, pre_nms=50, keep=30)

    expected = oracle_nms.nms(boxes, scores, threshold, inclusive=inclusive, pre_nms=50, keep=30)
    assert (kept.tolist(), truncated) == expected
    assert oracle_nms.nms_by_rows(boxes, scores, threshold, inclusive=inclusive, pre_nms=50, keep=30) == expected


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_the_order_of_the_boxes_does_not_matter(seed: int, count: int) -> None:
    boxes, scores = crowd(seed, count)
    shuffle = np.random.default_rng(seed + 1).permutation(count)

    assert shuffle[nms(boxes[shuffle], scores[shuffle])[0]].tolist() == nms(boxes, scores)[0].tolist()


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_a_second_pass_changes_nothing(seed: int, count: int) -> None:
    boxes, scores = crowd(seed, count)
    kept, _ = nms(boxes, scores)

    assert nms(boxes[kept], scores[kept])[0].tolist() == list(range(len(kept)))


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.lists(st.floats(width=32), min_size=5, max_size=5), max_size=12))
def test_any_floats_give_distinct_finite_boxes(rows: list[list[float]]) -> None:
    table = np.array(rows, np.float32).reshape(-1, 5)

    kept, _ = nms(table[:, :4], table[:, 4])

    assert len(set(kept.tolist())) == len(kept)
    assert np.isfinite(table[kept]).all()
