"""Greedy suppression box by box, as slow and plain as its definition: what `runtime.nms` is compared with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def nms(boxes: NDArray[Any], scores: NDArray[Any], threshold: float, *, inclusive: bool, pre_nms: int) -> list[int]:
    """Return the places of the boxes that stay, by descending score; arithmetic in the dtype of `boxes`."""
    usable = [i for i in range(len(boxes)) if np.isfinite(boxes[i]).all() and math.isfinite(scores[i])]
    waiting = sorted(usable, key=lambda i: -scores[i])[:pre_nms]
    kept = []
    while waiting:
        best = waiting.pop(0)
        kept.append(best)
        waiting = [other for other in waiting if iou(boxes[best], boxes[other], inclusive) <= threshold]
    return kept


def iou(a: NDArray[Any], b: NDArray[Any], inclusive: bool) -> Any:
    """Return intersection over union; NaN for two boxes without area."""
    one, zero = a.dtype.type(1 if inclusive else 0), a.dtype.type(0)
    width = max(zero, min(a[2], b[2]) - max(a[0], b[0]) + one)
    height = max(zero, min(a[3], b[3]) - max(a[1], b[1]) + one)
    shared = width * height
    area_a = (a[2] - a[0] + one) * (a[3] - a[1] + one)
    area_b = (b[2] - b[0] + one) * (b[3] - b[1] + one)
    with np.errstate(all="ignore"):
        return shared / (area_a + area_b - shared)
