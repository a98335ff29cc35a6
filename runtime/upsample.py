"""Maps enlarged by a whole factor, with the same bicubic curve as `resize.py`, as two small matrix products.

A whole factor makes the weights repeat: pixel k * i + p needs inputs i - 2 .. i + 2 with five weights that depend on p
only: one matrix product a direction, on maps that stay (C, H, W).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .errors import InputError, ShapeError

__all__ = ["MAX_FACTOR", "OVERSHOOT", "upsample"]

Float32 = NDArray[np.float32]

CUBIC_A = -0.75  # as OpenCV, in which the reference decoders were tuned
REACH = 2  # inputs either side of the nearest one
MAX_FACTOR = 32
# No result exceeds this times the largest magnitude of the input: (2 * 19/32 + 2 * 3/32) squared, half-way in x and y.
OVERSHOOT = 1.375**2


def upsample(maps: Float32, factor: int) -> Float32:
    """Return the maps at `factor` times their height and width.

    Half-pixel centres, border replicated: equal to OpenCV's INTER_CUBIC up to rounding.

    Args:
        maps: (C, H, W) float32.
        factor: 1..`MAX_FACTOR`; 1 returns `maps` itself.

    Returns:
        (C, H * factor, W * factor) float32.

    Raises:
        ShapeError: `maps` is not (C, H, W) with H, W >= 1.
        InputError: the factor is out of range.

    Source:
        Keys, "Cubic convolution interpolation", IEEE ASSP 29(6), 1981, eq. 4 with a = -0.75.
    """
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise ShapeError("maps must be (C, H, W) without an empty side", got=maps.shape)
    if not 1 <= factor <= MAX_FACTOR:
        raise InputError("upsampling factor out of range", expected=f"1..{MAX_FACTOR}", got=factor)
    if factor == 1:
        return maps
    channels, height, width = maps.shape
    weights = _weights(factor)
    padded = np.pad(maps, ((0, 0), (REACH, REACH), (0, 0)), mode="edge")
    windows = np.ascontiguousarray(sliding_window_view(padded, 2 * REACH + 1, axis=1).swapaxes(2, 3))  # (C, H, 5, W)
    tall = (weights @ windows).reshape(channels, height * factor, width)
    padded = np.pad(tall, ((0, 0), (0, 0), (REACH, REACH)), mode="edge")
    windows = np.ascontiguousarray(sliding_window_view(padded, 2 * REACH + 1, axis=2)).reshape(-1, 2 * REACH + 1)
    return (windows @ weights.T).reshape(channels, height * factor, width * factor)


@lru_cache(maxsize=8)
def _weights(factor: int) -> Float32:
    """Return (factor, 5): the weights of inputs -2..2 around pixel i, for each phase."""
    table = np.zeros((factor, 2 * REACH + 1))
    for phase in range(factor):
        offset = (phase + 0.5) / factor - 0.5  # of the result's centre from input i, in input pixels
        base = int(np.floor(offset))
        for tap in range(base - 1, base + 3):
            table[phase, tap + REACH] = _cubic(abs(offset - tap))
    result = table.astype(np.float32)
    result.setflags(write=False)
    return result


def _cubic(x: float) -> float:
    if x <= 1.0:
        return ((CUBIC_A + 2.0) * x - (CUBIC_A + 3.0)) * x * x + 1.0
    if x < 2.0:
        return ((CUBIC_A * x - 5.0 * CUBIC_A) * x + 8.0 * CUBIC_A) * x - 4.0 * CUBIC_A
    return 0.0
