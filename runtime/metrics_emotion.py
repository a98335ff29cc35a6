"""Concordance of predicted valence and arousal with what listeners said.

NumPy only. A correlation that also punishes a wrong mean and a wrong spread: a network that answers the same to every
clip has 0, however well it hits the mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, ShapeError
from .metrics import Score

__all__ = ["AXES", "ccc", "emotion_score", "rmse"]

Float64 = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]

AXES = ("valence", "arousal")


def emotion_score(found: Floats, truth: Floats, draws: Float64) -> Score:
    """Return the mean concordance of valence and arousal; the parts are both, and their errors.

    Args:
        found: (n, 2) float, predicted valence and arousal, -1..1, finite.
        truth: (n, 2) float, the same of listeners; n at least 2.
        draws: (rounds, n), see `metrics.resample`; a round that draws one clip only counts 0.

    Returns:
        CCC, -1..1; parts "valence", "arousal" (CCC) and "rmse valence", "rmse arousal" (0..2).

    Raises:
        ShapeError: the arrays are not of these shapes.
        InputError: fewer than two clips, or a value is not finite.
    """
    x, y = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    if x.ndim != 2 or x.shape[1] != len(AXES) or x.shape != y.shape or draws.shape[1:] != (len(x),):
        raise ShapeError("valence and arousal must be (n, 2)", got=(x.shape, y.shape, draws.shape))
    if len(x) < 2:
        raise InputError("concordance needs at least two clips", got=len(x))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("valence and arousal must be finite")
    each = [ccc(x[:, axis], y[:, axis]) for axis in range(len(AXES))]
    rounds = [_weighted(x[:, axis], y[:, axis], draws) for axis in range(len(AXES))]
    errors = [rmse(x[:, axis], y[:, axis]) for axis in range(len(AXES))]
    parts = dict(zip(AXES, each, strict=True))
    parts |= {f"rmse {name}": error for name, error in zip(AXES, errors, strict=True)}
    return Score(value=float(np.mean(each)), parts=parts, resampled=np.mean(rounds, axis=0))


def ccc(found: Floats, truth: Floats) -> float:
    """Return the concordance correlation coefficient: 2 cov / (var + var + (difference of means)^2), -1..1.

    Args:
        found, truth: (n,) float, finite, n at least 1; variances are those of the population (divided by n).

    Returns:
        0 where one of the two is constant, for then nothing is told about the other.

    Source:
        Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45(1), 1989, eq. 2.
    """
    return float(_weighted(np.asarray(found, np.float64), np.asarray(truth, np.float64), np.ones((1, len(found))))[0])


def rmse(found: Floats, truth: Floats) -> float:
    """Return the root of the mean squared difference of two (n,) arrays, in their unit."""
    return float(np.sqrt(np.mean(np.square(np.asarray(found, np.float64) - np.asarray(truth, np.float64)))))


def _weighted(x: Float64, y: Float64, draws: Float64) -> Float64:
    """Return the concordance of each round, by five weighted moments."""
    # One shift for both leaves the value as it is, and keeps squares from cancelling.
    shift = float(np.mean(y))
    x, y = x - shift, y - shift
    moments = draws @ np.stack([x, y, x * x, y * y, x * y], axis=1) / draws.sum(axis=1, keepdims=True)
    mean_x, mean_y, xx, yy, xy = moments.T
    var_x, var_y, cov = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    # Rounding leaves a constant a variance of about one part in 10**16 of its square.
    steady = (var_x <= 1e-14 * xx) | (var_y <= 1e-14 * yy)
    spread = var_x + var_y + (mean_x - mean_y) ** 2
    return np.asarray(np.where(steady, 0.0, 2.0 * cov / np.where(steady, 1.0, spread)), np.float64)
