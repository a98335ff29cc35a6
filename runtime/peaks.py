"""Body joints as local maxima of heatmaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .errors import ShapeError

__all__ = ["MAX_CANDIDATES", "MAX_PEAKS", "find_peaks"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# A map of noise has tens of thousands of maxima; limb scoring takes pairs of peaks, so that it needs a bound.
MAX_PEAKS = 256  # of one joint: more people than fit into a picture that a network can see
MAX_CANDIDATES = 8 * MAX_PEAKS  # maxima of one joint before close ones are dropped


def find_peaks(heatmap: Float32, threshold: float, radius: float) -> tuple[Float64, bool]:
    """Return the maxima of one heatmap, thinned out, from left to right.

    A pixel is a maximum when it is at least `threshold` and strictly greater than its four neighbours (outside counts
    as zero): two equal neighbours give none. Going by x, then y, a maximum closer than `radius` to one that was kept
    before is dropped, whichever is higher.

    Args:
        heatmap: (H, W) float32, finite.
        threshold: above 0.
        radius: pixels, at least 0.

    Returns:
        (K, 3) float64 (x, y, value), whole pixels, in the order they were kept, K <= `MAX_PEAKS`; and whether a cap
        dropped some, which are then the lowest ones.

    Raises:
        ShapeError: the heatmap is not 2-D.

    Source:
        Lightweight OpenPose, `extract_keypoints`.
    """
    if heatmap.ndim != 2:
        raise ShapeError("heatmap must be (H, W)", got=heatmap.shape)
    rows, columns = _maxima(heatmap, threshold)
    values = heatmap[rows, columns]
    truncated = len(values) > MAX_CANDIDATES
    if truncated:
        chosen = np.sort(_highest(values, MAX_CANDIDATES))
        rows, columns, values = rows[chosen], columns[chosen], values[chosen]
    order = np.lexsort((rows, columns))
    kept = order[_thin(columns[order].tolist(), rows[order].tolist(), radius)]
    if len(kept) > MAX_PEAKS:
        kept = kept[np.sort(_highest(values[kept], MAX_PEAKS))]
        truncated = True
    return np.stack([columns[kept], rows[kept], values[kept]], axis=1).astype(np.float64), truncated


def _maxima(heatmap: Float32, threshold: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the maxima, in row order; only pixels above the threshold look at their neighbours."""
    height, width = heatmap.shape
    rows, columns = np.nonzero(heatmap >= np.float32(threshold))
    centre = heatmap[rows, columns]
    peak = np.ones(len(rows), bool)
    for down, right in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        row, column = rows + down, columns + right
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        neighbour = heatmap[np.where(inside, row, rows), np.where(inside, column, columns)]
        peak &= ~inside | (centre > neighbour)
    return rows[peak], columns[peak]


def _highest(values: Float32, count: int) -> NDArray[np.intp]:
    return np.argsort(-values, kind="stable")[:count]


def _thin(columns: list[int], rows: list[int], radius: float) -> list[int]:
    """Return the places of the points that stay; they come by column, so only cells to the left can hold rivals."""
    if radius <= 0:
        return list(range(len(columns)))
    limit = radius * radius
    cells: dict[tuple[int, int], list[tuple[int, int]]] = {}
    kept: list[int] = []
    for place, (x, y) in enumerate(zip(columns, rows, strict=True)):
        column, row = int(x / radius), int(y / radius)
        near = (
            (x - kept_x) ** 2 + (y - kept_y) ** 2 < limit
            for i in (column - 1, column)
            for j in (row - 1, row, row + 1)
            for kept_x, kept_y in cells.get((i, j), ())
        )
        if not any(near):
            cells.setdefault((column, row), []).append((x, y))
            kept.append(place)
    return kept
