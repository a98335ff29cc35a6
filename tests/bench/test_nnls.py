"""The non-negative solver against a slow, obvious one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.bench.nnls import nnls, robust_relative

Float64 = NDArray[np.float64]


def slowest(matrix: Float64, target: Float64) -> float:
    """Return the least squared residual over all choices of columns that may be positive."""
    best = float(target @ target)
    for count in range(1, matrix.shape[1] + 1):
        for chosen in combinations(range(matrix.shape[1]), count):
            part = matrix[:, chosen]
            x = np.linalg.lstsq(part, target, rcond=None)[0]
            if (x >= 0).all():
                best = min(best, float(np.square(part @ x - target).sum()))
    return best


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 9))
def test_no_choice_of_columns_is_better(seed: int, columns: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, target = rng.normal(size=(rows, columns)), rng.normal(size=rows)

    x = nnls(matrix, target)

    assert (x >= 0).all()
    assert np.square(matrix @ x - target).sum() <= slowest(matrix, target) + 1e-8


def test_true_costs_come_back_from_clean_rows() -> None:
    matrix = np.random.default_rng(1).uniform(0.1, 1, (20, 4)) * [1e-3, 1, 1e3, 1]
    truth = np.array([2.0, 0.0, 0.5, 3.0])

    np.testing.assert_allclose(robust_relative(matrix, matrix @ truth), truth, atol=1e-6)


def test_one_wild_row_hardly_moves_the_costs() -> None:
    matrix = np.random.default_rng(2).uniform(0.1, 1, (30, 2))
    truth = np.array([2.0, 1.0])
    measured = matrix @ truth
    measured[3] *= 4

    np.testing.assert_allclose(robust_relative(matrix, measured), truth, rtol=0.03)


def test_a_prior_decides_between_columns_that_are_always_equal() -> None:
    matrix = np.ones((10, 2)) * np.arange(1, 11)[:, None]

    x = robust_relative(matrix, matrix @ [1.0, 1.0], prior=np.array([1.5, 0.5]), strength=0.01)

    np.testing.assert_allclose(x, [1.5, 0.5], rtol=1e-3)


def test_a_column_of_zeros_costs_nothing() -> None:
    matrix = np.stack([np.arange(1.0, 6), np.zeros(5)], axis=1)

    assert robust_relative(matrix, 2 * matrix[:, 0]) == pytest.approx([2.0, 0.0])
