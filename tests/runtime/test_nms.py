"""Suppression of boxes: by hand, against the plain oracle, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(st.integers(0, 10**6), st.integers(0, 60), st.sampled_from([0.0, 0.3, 0.4, 0.9]), st.booleans())
def test_it_equals_the_oracle(seed: int, count: int, threshold: float, inclusive: bool) -> None:
    boxes, scores = crowd(seed, count)

    kept, _ = nms(boxes, scores, threshold, inclusive=inclusive, pre_nms=50)

    assert kept.tolist() == oracle_nms.nms(boxes, scores, threshold, inclusive=inclusive, pre_nms=50)


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_the_order_of_the_boxes_does_not_matter(seed: int, count: int) -> None:
    boxes, scores = crowd(seed, count)
    shuffle = np.random.default_rng(seed + 1).permutation(count)

    assert shuffle[nms(boxes[shuffle], scores[shuffle])[0]].tolist() == nms(boxes, scores)[0].tolist()


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_a_second_pass_changes_nothing(seed: int, count: int) -> None:
    boxes, scores = crowd(seed, count)
    kept, _ = nms(boxes, scores)

    assert nms(boxes[kept], scores[kept])[0].tolist() == list(range(len(kept)))


@given(st.lists(st.lists(st.floats(width=32), min_size=5, max_size=5), max_size=12))
def test_any_floats_give_distinct_finite_boxes(rows: list[list[float]]) -> None:
    table = np.array(rows, np.float32).reshape(-1, 5)

    kept, _ = nms(table[:, :4], table[:, 4])

    assert len(set(kept.tolist())) == len(kept)
    assert np.isfinite(table[kept]).all()
