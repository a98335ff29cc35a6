"""Verdicts on two machines' outputs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edge.bench.agreement import agreement, nudged
from edge.runtime.errors import ShapeError

ONES = np.ones(100, np.float32)


def test_the_same_bytes_are_bit_equal_whatever_they_are() -> None:
    odd = np.array([np.nan, np.inf, -0.0, 1.0], np.float32)

    found = agreement("raw", [odd, ONES], [odd.copy(), ONES.copy()], own=[odd, ONES])

    assert (found.verdict, found.max_abs_error, found.sqnr_db) == ("bit-equal", 0.0, None)


@pytest.mark.parametrize(("error", "verdict"), [(0.9e-4, "close"), (1.1e-4, "differs")])
def test_a_float_output_may_be_off_by_one_in_ten_thousand_of_its_largest_value(error: float, verdict: str) -> None:
    large = ONES * np.float32(1000)
    found = large.copy()
    found[7] += np.float32(1000 * error)

    assert agreement("raw", [large], [found]).verdict == verdict


@pytest.mark.parametrize(("error", "verdict"), [(0.19, "close"), (0.21, "differs")])
def test_a_quantised_output_may_be_off_by_twice_what_rounding_does_here(error: float, verdict: str) -> None:
    found, own = ONES.copy(), ONES.copy()
    found[7] += np.float32(error)
    own[50] -= np.float32(0.1)  # of 100 ones: noise power 0.01 of 100 is 40 dB

    told = agreement("raw", [ONES], [found], own=[own])

    assert told.verdict == verdict
    assert told.own_sqnr_db == pytest.approx(40, abs=1e-3)


def test_a_quantised_output_that_rounding_does_not_move_here_must_be_bit_equal() -> None:
    assert agreement("raw", [ONES], [ONES * np.float32(1 + 1e-6)], own=[ONES]).verdict == "differs"


def test_a_nudge_moves_every_value_up_or_down_by_a_millionth() -> None:
    moved = nudged(ONES * 1024) / np.float32(1024) - 1

    assert set(np.round(moved * 1e6, 1).tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("own", [[ONES * 2], None])
def test_what_is_no_number_on_one_machine_only_differs(own: list[Any] | None) -> None:
    broken = ONES.copy()
    broken[3] = np.nan

    told = agreement("raw", [ONES], [broken], own=own)

    assert told.verdict == "differs"
    assert json.loads(json.dumps(told.to_dict(), allow_nan=False))["max_abs_error"] is None


def test_the_worst_of_all_inputs_decides() -> None:
    assert agreement("raw", [ONES, ONES], [ONES, ONES * 2]).max_abs_error == 1.0


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="`raw` has other shapes"):
        agreement("raw", [ONES], [ONES[:-1]])
