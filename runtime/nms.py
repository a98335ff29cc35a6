"""Greedy non-maximum suppression of boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ShapeError

__all__ = ["nms"]

Floats = NDArray[np.floating[Any]]


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
    valid = np.flatnonzero(np.isfinite(boxes).all(axis=1) & np.isfinite(scores))
    order = valid[np.argsort(-scores[valid], kind="stable")]
    truncated = len(order) > pre_nms
    order = order[:pre_nms]
    extra = boxes.dtype.type(1 if inclusive else 0)
    kept: list[int] = []
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        x1, y1, x2, y2 = np.ascontiguousarray(boxes[order].T)
        area = (x2 - x1 + extra) * (y2 - y1 + extra)
        place = np.arange(len(order))
        while len(place) and len(kept) < keep:
            best, rest = place[0], place[1:]
            kept.append(int(order[best]))
            width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]) + extra
            height = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]) + extra
            shared = np.maximum(width, 0) * np.maximum(height, 0)
            # Boxes of no area give 0 / 0, which compares false: they go, as in the reference.
            place = rest[shared / (area[best] + area[rest] - shared) <= iou_threshold]
    return np.array(kept, np.intp), truncated or len(place) > 0
