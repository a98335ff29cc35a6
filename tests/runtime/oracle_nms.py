"""Greedy suppression as slow and plain as its definition: what `runtime.nms` is compared with.

`nms` goes box by box and is the authority; `nms_by_rows` is one box against all others, for thousands of boxes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def nms(
    boxes: NDArray[Any],
    scores: NDArray[Any],
    threshold: float,
    *,
    inclusive: bool = True,
    pre_nms: int = 5000,
    keep: int = 750,
) -> tuple[list[int], bool]:
    """Return the places of the boxes that stay, by descending score, and whether a cap left any out.

    Arithmetic is in the dtype of `boxes`.
    """
    usable = [i for i in range(len(boxes)) if np.isfinite(boxes[i]).all() and math.isfinite(scores[i])]
    waiting = sorted(usable, key=lambda i: -scores[i])
    truncated = len(waiting) > pre_nms
    waiting = waiting[:pre_nms]
    kept: list[int] = []
    while waiting and len(kept) < keep:
        best = waiting.pop(0)
        kept.append(best)
        waiting = [other for other in waiting if iou(boxes[best], boxes[other], inclusive) <= threshold]
    return kept, truncated or bool(waiting)


def nms_by_rows(
    boxes: NDArray[Any],
    scores: NDArray[Any],
    threshold: float,
    *,
    inclusive: bool = True,
    pre_nms: int = 5000,
    keep: int = 750,
) -> tuple[list[int], bool]:
    """Return what `nms` does, for finite values. After Girshick, Fast R-CNN, `py_cpu_nms`."""
    order = np.argsort(-scores, kind="stable")
    truncated = len(order) > pre_nms
    order = order[:pre_nms]
    one, zero = boxes.dtype.type(inclusive), boxes.dtype.type(0)
    kept: list[int] = []
    with np.errstate(all="ignore"):
        x1, y1, x2, y2 = boxes.T
        area = (x2 - x1 + one) * (y2 - y1 + one)
        while len(order) and len(kept) < keep:
            best, rest = order[0], order[1:]
            kept.append(int(best))
            width = np.maximum(zero, np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]) + one)
            height = np.maximum(zero, np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]) + one)
            shared = width * height
            order = rest[shared / (area[best] + area[rest] - shared) <= threshold]
    return kept, truncated or len(order) > 0


def iou(a: NDArray[Any], b: NDArray[Any], inclusive: bool) -> Any:
    """Return intersection over union; NaN for two boxes without area, and where the numbers are too large for it."""
    one, zero = a.dtype.type(inclusive), a.dtype.type(0)
    with np.errstate(all="ignore"):
        width = max(zero, min(a[2], b[2]) - max(a[0], b[0]) + one)
        height = max(zero, min(a[3], b[3]) - max(a[1], b[1]) + one)
        shared = width * height
        area_a = (a[2] - a[0] + one) * (a[3] - a[1] + one)
        area_b = (b[2] - b[0] + one) * (b[3] - b[1] + one)
        return shared / (area_a + area_b - shared)
