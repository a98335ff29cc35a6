"""Verdicts on two machines' outputs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge.bench.agreement import agreement
from edge.runtime.errors import ShapeError

ONES = np.ones(100, np.float32)


def test_the_same_bytes_are_bit_equal_whatever_they_are() -> None:
    odd = np.array([np.nan, np.inf, -0.0, 1.0], np.float32)

    found = agreement("raw", [odd, ONES], [odd.copy(), ONES.copy()], quantised=True)

    assert (found.verdict, found.max_abs_error, found.sqnr_db) == ("bit-equal", 0.0, None)


@pytest.mark.parametrize(("error", "verdict"), [(0.9e-4, "close"), (1.1e-4, "differs")])
def test_a_float_output_may_be_off_by_one_in_ten_thousand_of_its_largest_value(error: float, verdict: str) -> None:
    large = ONES * np.float32(1000)
    found = large.copy()
    found[7] += np.float32(1000 * error)

    assert agreement("raw", [large], [found], quantised=False).verdict == verdict


@pytest.mark.parametrize(("error", "verdict"), [(0.09, "close"), (0.11, "differs")])
def test_a_quantised_output_is_close_at_40_db(error: float, verdict: str) -> None:
    found = ONES.copy()
    found[7] += np.float32(error)  # of 100 ones: noise power 0.01 of 100 is 40 dB

    told = agreement("raw", [ONES], [found], quantised=True)

    assert told.verdict == verdict
    assert told.sqnr_db == pytest.approx(20 - 20 * np.log10(error), abs=1e-3)


@pytest.mark.parametrize("quantised", [True, False])
def test_what_is_no_number_on_one_machine_only_differs(quantised: bool) -> None:
    broken = ONES.copy()
    broken[3] = np.nan

    told = agreement("raw", [ONES], [broken], quantised=quantised)

    assert told.verdict == "differs"
    assert json.loads(json.dumps(told.to_dict(), allow_nan=False))["max_abs_error"] is None


def test_the_worst_of_all_inputs_decides() -> None:
    assert agreement("raw", [ONES, ONES], [ONES, ONES * 2], quantised=False).max_abs_error == 1.0


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="`raw` has other shapes"):
        agreement("raw", [ONES], [ONES[:-1]], quantised=False)
