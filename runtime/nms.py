"""Greedy non-maximum suppression of boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ShapeError

__all__ = ["nms"]

Floats = NDArray[np.floating[Any]]
Places = NDArray[np.intp]

BLOCK = 64  # boxes decided among themselves at once: bits of a word
PAIRS = 2**15  # overlaps at once: temporary arrays stay inside a small processor's second cache


def nms(
    boxes: Floats,
    scores: Floats,
    iou_threshold: float = 0.4,
    *,
    inclusive: bool = True,
    pre_nms: int = 5000,
    keep: int = 750,
) -> tuple[NDArray[np.intp], bool]:
    """Return the boxes that no better box covers, best first.

    The best box is kept and all that overlap it by more than the threshold go, and so on. Of equal scores the earlier
    box is the better one. A box or score that is not finite takes no part.

    Args:
        boxes: (N, 4) float (x1, y1, x2, y2), pixels.
        scores: (N,) float.
        iou_threshold: overlap, 0..1, that a worse box may have.
        inclusive: x2 and y2 are the last pixel inside, so that a box is x2 - x1 + 1 wide: the convention of the VOC
            tools and of all detectors that go back to them. False: x2 - x1.
        pre_nms: only that many best boxes are looked at.
        keep: only that many are returned.

    Returns:
        (K,) indices into `boxes`, K <= `keep`, by descending score; and whether a cap left any box out unseen.

    Raises:
        ShapeError: the arrays are not (N, 4) and (N,).

    Source:
        Girshick, Fast R-CNN, `py_cpu_nms`.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != (len(boxes),):
        raise ShapeError("boxes must be (N, 4) and scores (N,)", got=(boxes.shape, scores.shape))
    order = _ranking(boxes, scores)
    truncated = len(order) > pre_nms
    order = order[:pre_nms]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        kept = _greedy(_table(boxes, order, inclusive), boxes.dtype.type(inclusive), iou_threshold, keep)
    return order[kept[:keep]], truncated or len(kept) > keep


def _ranking(boxes: Floats, scores: Floats) -> Places:
    """Return the places of the finite boxes by descending score; of equal scores the earlier place comes first."""
    finite = np.isfinite(boxes)
    counted = np.isfinite(scores)
    if finite.all() and counted.all():
        return np.argsort(-scores, kind="stable")
    valid = np.flatnonzero(finite.all(axis=1) & counted)
    return valid[np.argsort(-scores[valid], kind="stable")]


def _table(boxes: Floats, order: Places, inclusive: bool) -> Floats:
    """Return (5, n): x1, y1, x2, y2 and area of the boxes in order. Columns, because NumPy's loops like long rows."""
    table = np.empty((5, len(order)), boxes.dtype)
    np.take(boxes.T, order, axis=1, out=table[:4])
    sides = table[2:4] - table[:2]
    sides += boxes.dtype.type(inclusive)
    np.multiply(sides[0], sides[1], out=table[4])
    return table


def _greedy(table: Floats, extra: Any, threshold: float, keep: int) -> Places:
    """Return the columns that no kept earlier column covers, up to the first beyond `keep` if there is one.

    Lazy: a column meets the kept ones when its turn comes, so that nothing is spent on those behind the last.
    """
    total = table.shape[1]
    kept: Places = np.empty(0, np.intp)
    start = 0
    while start < total and len(kept) <= keep:
        stop = start + max(PAIRS // max(len(kept), 32), 2 * BLOCK)
        waiting = np.arange(start, min(stop, total))
        if len(kept):
            waiting = _uncovered(table, kept, waiting, extra, threshold)
        while len(waiting) and len(kept) <= keep:
            block, waiting = waiting[:BLOCK], waiting[BLOCK:]
            fresh = block[_within(table.take(block, axis=1), extra, threshold)]
            kept = np.concatenate([kept, fresh])
            if len(waiting):
                waiting = _uncovered(table, fresh, waiting, extra, threshold)
        start = stop
    return kept


def _uncovered(table: Floats, kept: Places, waiting: Places, extra: Any, threshold: float) -> Places:
    apart = _apart(table.take(kept, axis=1), table.take(waiting, axis=1), extra, threshold)
    return waiting[np.logical_and.reduce(apart, axis=0)]


def _within(block: Floats, extra: Any, threshold: float) -> list[int]:
    """Return the columns of a block, at most 64, that no kept earlier column of it covers."""
    size = block.shape[1]
    bits = np.zeros((size, BLOCK), np.bool_)
    bits[:, :size] = _apart(block, block, extra, threshold)
    words = np.packbits(bits, axis=1, bitorder="little").view("<u8").ravel().tolist()
    alive, kept = (1 << size) - 1, []
    for place, word in enumerate(words):
        if alive >> place & 1:
            kept.append(place)
            alive &= word
    return kept


def _apart(best: Floats, others: Floats, extra: Any, threshold: float) -> NDArray[np.bool_]:
    """Return (K, R): the columns of two tables overlap by no more than the threshold."""
    low = np.maximum(best[:2, :, None], others[:2, None])
    sides = np.minimum(best[2:4, :, None], others[2:4, None])
    sides -= low
    sides += extra
    # A row of zeros: NumPy's loop over a row and a single number is half as fast.
    np.maximum(sides, np.zeros_like(others[0]), out=sides)
    shared = np.multiply(sides[0], sides[1], out=sides[0])
    union = np.add(best[4, :, None], others[4], out=low[0])
    union -= shared
    shared /= union
    # Boxes of no area give 0 / 0, which compares false: they go, as in the reference.
    result: NDArray[np.bool_] = shared <= threshold
    return result
