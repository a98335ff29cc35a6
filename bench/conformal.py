"""Distribution-free prediction intervals over families: cross-conformal CV+, on ratios of measured to predicted.

A family is left out as a whole, since networks of one family err together. A family weighs the root of its number of
rows, as it does in the fit.

Source:
    Barber, Candes, Ramdas, Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 49, 2021,
    section 3 (CV+), here with log ratios as residuals and weights for families.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["NOMINAL", "cv_plus", "family_weights", "weighted_quantile"]

Float64 = NDArray[np.float64]

NOMINAL = 0.90  # coverage that intervals aim at


def cv_plus(
    centres: Mapping[str, float], scores: Mapping[str, Sequence[float]], nominal: float = NOMINAL
) -> tuple[float, float]:
    """Return the low and the high end of an interval.

    Args:
        centres: family -> prediction of the model that was fitted without that family, above 0.
        scores: family -> |log(measured / predicted)| of its rows, by that same model.
        nominal: coverage that is aimed at, 0..1.
    """
    lows, highs, weights = [], [], []
    for family, centre in centres.items():
        own = np.asarray(scores.get(family, ()), float)
        lows.append(centre * np.exp(-own))
        highs.append(centre * np.exp(own))
        weights.append(np.full(len(own), max(len(own), 1) ** -0.5))
    weight = np.concatenate(weights)
    low = -weighted_quantile(-np.concatenate(lows), weight, nominal)
    return low, weighted_quantile(np.concatenate(highs), weight, nominal)


def weighted_quantile(values: Float64, weights: Float64, share: float) -> float:
    """Return the least value that at least `share` of the weight does not exceed."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    where = int(np.searchsorted(total, share * total[-1] - 1e-12))
    return float(values[order][min(where, len(values) - 1)])


def family_weights(families: Sequence[str]) -> Float64:
    """Return a weight for each row, so that a family weighs the root of its rows and none drowns the others."""
    return np.array([families.count(family) ** -0.5 for family in families])
