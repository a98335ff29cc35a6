"""Parity figures: by hand on tiny arrays, and fail-closed on anything that is not a number."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from edge.runtime.card import ParityLimit
from edge.runtime.errors import ParityError, ShapeError
from edge.runtime.parity import MAX_SQNR_DB, OutputParity, compare, judge


def _one(reference: list[float], got: list[float]) -> OutputParity:
    return compare({"y": [np.array(reference, np.float32)]}, {"y": [np.array(got, np.float32)]})["y"]


def test_figures_of_a_case_small_enough_to_check_by_hand() -> None:
    item = _one([0.0, 3.0, 4.0], [0.0, 3.0, 3.0])

    assert item.max_abs_error == 1.0
    assert item.reference_range == 4.0
    assert item.max_error == 0.25
    assert item.sqnr_db == pytest.approx(10 * math.log10(25 / 1))
    assert item.cosine == pytest.approx(21 / (5 * math.sqrt(18)))


def test_samples_are_judged_together_and_not_averaged() -> None:
    a = [np.array([10.0], np.float32), np.array([0.0], np.float32)]
    b = [np.array([10.0], np.float32), np.array([1.0], np.float32)]
    item = compare({"y": a}, {"y": b})["y"]

    assert (item.samples, item.max_abs_error, item.max_error) == (2, 1.0, 0.1)
    assert item.sqnr_db == pytest.approx(20.0)


def test_equal_arrays_get_the_documented_cap_and_plain_json() -> None:
    item = _one([1.0, 2.0], [1.0, 2.0])

    assert item.sqnr_db == MAX_SQNR_DB
    assert json.loads(json.dumps(item.to_dict(), allow_nan=False))["cosine"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("reference", "got", "cosine", "sqnr_db"),
    [([0.0], [0.0], 1.0, MAX_SQNR_DB), ([0.0], [1.0], 0.0, -MAX_SQNR_DB), ([1.0], [0.0], 0.0, 0.0)],
)
def test_zero_signals_have_finite_figures(
    reference: list[float], got: list[float], cosine: float, sqnr_db: float
) -> None:
    item = _one(reference, got)
    assert (item.cosine, item.sqnr_db) == (cosine, sqnr_db)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["reference", "got"])
def test_one_non_finite_element_on_either_side_fails_whatever_the_limit(value: float, side: str) -> None:
    good, bad = [1.0, 2.0, 3.0], [1.0, value, 3.0]
    parity = {"y": _one(bad, good) if side == "reference" else _one(good, bad)}

    assert judge(parity, ParityLimit()) == ["output `y`: 1 non-finite elements"]
    json.dumps(parity["y"].to_dict(), allow_nan=False)


def test_every_broken_figure_is_named_with_output_value_and_limit() -> None:
    parity = {"good": _one([0.0, 1.0], [0.0, 1.0]), "bad": _one([0.0, 1.0], [0.5, 0.5])}
    complaints = judge(parity, ParityLimit(max_error=0.1, min_cosine=0.99, min_sqnr_db=20.0))

    assert complaints == [
        "output `bad`: max error 0.5 of the range, limit 0.1",
        "output `bad`: cosine 0.70711, limit 0.99",
        "output `bad`: SQNR 3.0 dB, limit 20 dB",
    ]


def test_a_figure_exactly_at_the_limit_holds_it() -> None:
    assert judge({"y": _one([0.0, 2.0], [0.0, 1.0])}, ParityLimit(max_error=0.5)) == []


def test_no_output_at_all_is_a_complaint() -> None:
    assert judge({}, ParityLimit()) == ["no output was compared"]


def test_sides_that_do_not_match_are_refused() -> None:
    x = np.zeros((1, 2), np.float32)
    with pytest.raises(ShapeError, match="other outputs"):
        compare({"a": [x]}, {"b": [x]})
    with pytest.raises(ShapeError, match="number of samples"):
        compare({"a": [x, x]}, {"a": [x]})
    with pytest.raises(ShapeError, match=r"\(1, 2\).*\(2, 1\)"):
        compare({"a": [x]}, {"a": [x.T]})
    with pytest.raises(ParityError, match="no sample"):
        compare({"a": []}, {"a": []})


def test_tiny_and_huge_signals_do_not_overflow() -> None:
    tiny = _one([1e-38, 0.0], [0.0, 1e-38])
    huge = _one([3e38, 0.0], [0.0, 3e38])
    assert tiny.sqnr_db == pytest.approx(huge.sqnr_db, abs=1e-3)
    assert math.isfinite(huge.cosine)
