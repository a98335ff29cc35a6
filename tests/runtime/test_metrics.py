"""OKS by hand, and who is matched with whom."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.runtime.errors import InputError, ShapeError
from edge.runtime.metrics import COCO_SIGMAS, interval, keypoint_area, match_best, oks, resample

NOSE, LEFT_HIP = 0, 11
XY: NDArray[np.float64] = np.arange(34, dtype=np.float64).reshape(17, 2)
ALL = np.ones(17, np.bool_)


def only(*joints: int) -> NDArray[np.bool_]:
    visible = np.zeros(17, np.bool_)
    visible[list(joints)] = True
    return visible


def test_a_person_in_its_place_has_an_oks_of_one() -> None:
    assert oks(XY, ALL, XY, ALL, 100.0) == 1.0


def test_a_joint_off_by_two_sigmas_of_the_person_has_the_value_of_the_formula() -> None:
    area = 400.0
    moved = XY.copy()
    moved[NOSE, 0] += 2 * 0.026 * np.sqrt(area)  # d = 2 sigma sqrt(area): exp(-1/2)

    assert oks(moved, ALL, XY, only(NOSE), area) == pytest.approx(np.exp(-0.5))
    assert oks(moved, ALL, XY, ALL, area) == pytest.approx((16 + np.exp(-0.5)) / 17)


def test_the_same_distance_costs_a_nose_more_than_a_hip() -> None:
    moved = XY + 3.0

    assert oks(moved, ALL, XY, only(NOSE), 400.0) < oks(moved, ALL, XY, only(LEFT_HIP), 400.0)


def test_a_joint_that_was_not_found_counts_zero_and_one_too_many_not_at_all() -> None:
    assert oks(XY, only(NOSE), XY, only(NOSE, LEFT_HIP), 100.0) == 0.5
    assert oks(XY, only(NOSE, LEFT_HIP), XY, only(NOSE), 100.0) == 1.0
    assert oks(XY, only(NOSE), XY, only(LEFT_HIP), 100.0) == 0.0


def test_nan_in_joints_that_nobody_sees_does_no_harm() -> None:
    holes = XY.copy()
    holes[5:] = np.nan

    assert oks(holes, only(0, 1, 2), holes, only(0, 1, 2), 50.0) == 1.0


def test_a_person_without_a_joint_or_an_area_is_like_nobody_else() -> None:
    assert oks(XY, ALL, XY, np.zeros(17, np.bool_), 100.0) == 0.0
    assert oks(XY, ALL, XY, ALL, 0.0) == 1.0
    assert oks(XY + 1, ALL, XY, ALL, 0.0) == 0.0


def test_oks_does_not_depend_on_the_scale() -> None:
    moved = XY + np.array([1.0, -2.0])

    assert oks(moved * 7, ALL, XY * 7, ALL, 90.0 * 49) == pytest.approx(oks(moved, ALL, XY, ALL, 90.0))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(17, 2\)"):
        oks(XY[:, :1], ALL, XY, ALL, 1.0)


def test_the_area_is_that_of_the_box_around_visible_joints() -> None:
    xy = np.zeros((17, 2))
    xy[1], xy[2], xy[3] = (10, 4), (2, 9), (500, 500)

    assert keypoint_area(xy, only(1, 2)) == 8 * 5
    assert keypoint_area(xy, only(1)) == 0.0
    assert keypoint_area(xy, only()) == 0.0


def test_the_sigmas_are_cocos_and_equal_on_both_sides() -> None:
    left, right = COCO_SIGMAS[1::2], COCO_SIGMAS[2::2]

    assert COCO_SIGMAS.shape == (17,)
    np.testing.assert_array_equal(left, right)
    assert not COCO_SIGMAS.flags.writeable


def test_the_most_similar_pair_is_matched_first_and_nobody_twice() -> None:
    similarity = np.array([[0.9, 0.8], [0.95, 0.7], [0.6, 0.3]])

    assert match_best(similarity) == [(1, 0), (0, 1)]
    assert match_best(similarity, least=0.9) == [(1, 0)]
    assert match_best(np.zeros((0, 3))) == []
    assert match_best(np.zeros((2, 0))) == []
    with pytest.raises(ShapeError):
        match_best(np.zeros(3))


def test_every_round_of_a_bootstrap_draws_as_many_samples_as_there_are() -> None:
    draws = resample(7, 50, seed=3)

    assert draws.shape == (50, 7)
    assert (draws.sum(axis=1) == 7).all()
    assert (draws == 0).any(axis=1).mean() > 0.9  # with replacement: nearly every round misses one
    np.testing.assert_array_equal(draws, resample(7, 50, seed=3))
    assert (draws != resample(7, 50, seed=4)).any()


def test_a_bootstrap_of_nothing_is_refused() -> None:
    for arguments in ((0, 10, 0), (3, -1, 0), (3, 10, -1)):
        with pytest.raises(InputError, match="bootstrap needs samples"):
            resample(*arguments)


def test_the_interval_holds_95_of_100_values_and_is_unknown_without_any() -> None:
    low, high = interval(np.arange(1001.0))

    assert (low, high) == pytest.approx((25.0, 975.0))
    assert np.isnan(interval(np.empty(0))).all()


def test_the_interval_of_a_mean_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    draws = resample(60, 400, seed=1)
    covered = 0
    for _ in range(200):
        low, high = interval(draws @ rng.normal(2.0, 1.0, 60) / 60)
        covered += low <= 2.0 <= high

    assert 180 <= covered <= 199
