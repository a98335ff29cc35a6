"""Least squares with coefficients that cannot be negative, plain and robust. NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["nnls", "robust_relative"]

Float64 = NDArray[np.float64]

ROUNDS = 8  # of reweighting; the weights settle after five
NOISE = 0.03  # relative error below which all rows count the same: two TFLite versions on two Pis differ by as much


def nnls(matrix: Float64, target: Float64) -> Float64:
    """Return the x >= 0 that minimises |matrix @ x - target|.

    Args:
        matrix: (rows, columns).
        target: (rows,).

    Returns:
        (columns,), none negative.

    Source:
        Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23, on the normal equations.
    """
    gram, right = matrix.T @ matrix, matrix.T @ target
    count = len(right)
    x = np.zeros(count)
    active = np.zeros(count, bool)  # columns that may differ from 0
    tolerance = 1e-12 * max(float(np.abs(right).max(initial=0.0)), 1e-300)
    for _ in range(3 * count + 10):
        slope = right - gram @ x
        slope[active] = -np.inf
        best = int(np.argmax(slope)) if count else 0
        if not count or slope[best] <= tolerance:
            break
        active[best] = True
        while True:
            trial = np.zeros(count)
            chosen = np.flatnonzero(active)
            trial[chosen] = np.linalg.lstsq(gram[np.ix_(chosen, chosen)], right[chosen], rcond=None)[0]
            wrong = active & (trial <= 0)
            if not wrong.any():
                x = trial
                break
            step = float(np.min(x[wrong] / np.maximum(x[wrong] - trial[wrong], 1e-300)))
            x = np.maximum(x + step * (trial - x), 0.0)
            active &= x > tolerance
            if not active.any():
                break
    return x


def robust_relative(
    matrix: Float64,
    measured: Float64,
    *,
    weights: Float64 | None = None,
    prior: Float64 | None = None,
    strength: float = 0.0,
) -> Float64:
    """Return the x >= 0 whose relative errors |matrix @ x / measured - 1| are small, outliers counting less.

    The loss is squared below `NOISE` and linear above it; a column that no row needs stays at 0.

    Args:
        matrix: (rows, columns), any scale.
        measured: (rows,), above 0.
        weights: (rows,) of the rows; default: all the same.
        prior: (columns,) that x is drawn to, relative to its size; nothing is drawn where it is 0.
        strength: of that pull, in relative errors of an average row.
    """
    base = np.ones(len(measured)) if weights is None else weights / weights.mean()
    share = matrix / measured[:, None]
    pull = np.zeros((0, matrix.shape[1]))
    if prior is not None and strength > 0:
        drawn = np.flatnonzero(prior > 0)
        pull = np.zeros((len(drawn), matrix.shape[1]))
        pull[np.arange(len(drawn)), drawn] = strength * np.sqrt(base.sum()) / prior[drawn]
    goal = np.full(len(pull), strength * np.sqrt(base.sum()))
    current = base
    x = np.zeros(matrix.shape[1])
    for _ in range(ROUNDS):
        root = np.sqrt(current)
        stacked = np.vstack([share * root[:, None], pull])
        scale = np.sqrt(np.square(stacked).mean(axis=0))
        scale[scale == 0] = 1.0
        x = nnls(stacked / scale, np.concatenate([root, goal])) / scale
        miss = np.abs(share @ x - 1)
        current = base * NOISE / np.maximum(miss, NOISE)
        current *= base.sum() / current.sum()
    return x
