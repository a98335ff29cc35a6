"""Segmentations of COCO as masks: polygons, and run lengths as numbers or as COCO's string.

Source:
    The format is that of COCO's own `pycocotools/mask.py` and `common/maskApi.c`: runs down the columns, the first of
    zeros; in the string, numbers in groups of five bits from character 48 on, from the fourth on as differences to the
    number two before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["mask_of", "slim"]

Bools = NDArray[np.bool_]
REACH = 1.0  # pixels that a polygon may leave the picture by; annotators' tools round


def slim(segmentation: Any) -> Any:
    """Return a segmentation as read from JSON with its numbers in arrays, a tenth of the memory; nonsense unchanged."""
    try:
        if isinstance(segmentation, list):
            with np.errstate(over="ignore"):  # to infinity, which `mask_of` refuses
                return [np.array(polygon, np.float32) for polygon in segmentation]
        if isinstance(segmentation, Mapping) and isinstance(segmentation.get("counts"), list):
            return {**segmentation, "counts": np.array(segmentation["counts"], np.int64)}
    except (TypeError, ValueError, OverflowError):
        pass
    return segmentation


def mask_of(segmentation: Any, hw: tuple[int, int]) -> Bools:
    """Return the pixels of a segmentation.

    Args:
        segmentation: a list of polygons (x, y, x, y, ...), pixels, or a mapping with `size` (height, width) and
            `counts`, a sequence of numbers or COCO's string; from JSON or from `slim`.
        hw: height and width of the picture.

    Returns:
        (h, w) bool.

    Raises:
        ValueError: it is neither, or does not fit the picture; the message says what is wrong.
    """
    if isinstance(segmentation, Mapping):
        return _from_runs(segmentation, hw)
    if isinstance(segmentation, Sequence) and not isinstance(segmentation, str | bytes):
        return _from_polygons(segmentation, hw)
    raise ValueError(f"segmentation is neither polygons nor run lengths but {type(segmentation).__name__}")


def _from_polygons(polygons: Sequence[Any], hw: tuple[int, int]) -> Bools:
    from PIL import Image, ImageDraw

    picture = Image.new("1", (hw[1], hw[0]))
    pen = ImageDraw.Draw(picture)
    for polygon in polygons:
        try:
            points = np.asarray(polygon, np.float64)
        except (TypeError, ValueError, OverflowError):
            raise ValueError("a polygon is not a list of numbers") from None
        if points.ndim != 1 or len(points) < 6 or len(points) % 2:
            raise ValueError(f"a polygon is not three or more pairs of numbers but of shape {points.shape}")
        points = points.reshape(-1, 2)
        low, high = points.min(axis=0), points.max(axis=0)
        if not (np.isfinite(points).all() and low.min() >= -REACH and (high <= np.array(hw[::-1]) + REACH).all()):
            raise ValueError(f"a polygon leaves the picture of {hw[1]}x{hw[0]} pixels")
        pen.polygon([(x, y) for x, y in points.tolist()], fill=1)
    return np.array(picture, dtype=np.bool_)


def _from_runs(runs: Mapping[str, Any], hw: tuple[int, int]) -> Bools:
    size, counts = runs.get("size"), runs.get("counts")
    if not isinstance(size, Sequence) or list(size) != list(hw):
        raise ValueError(f"run lengths are of size {_short(size)}, the picture is {list(hw)}")
    try:
        lengths = _decode(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
    except (TypeError, ValueError, OverflowError) as exc:
        raise ValueError(f"run lengths cannot be read: {_short(exc)}") from None
    pixels = hw[0] * hw[1]
    # Each is bounded first, so that a sum of huge ones cannot wrap around to the right number.
    if lengths.ndim != 1 or ((lengths < 0) | (lengths > pixels)).any() or int(lengths.sum()) != pixels:
        raise ValueError(f"run lengths do not add up to the {pixels} pixels of the picture")
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.ascontiguousarray(flat.reshape(hw[1], hw[0]).T)


def _decode(text: str) -> NDArray[np.int64]:
    """Return the run lengths in COCO's string."""
    counts: list[int] = []
    value = shift = 0
    for char in text.encode("ascii"):
        code = char - 48
        if not 0 <= code < 64 or shift > 30:
            raise ValueError("not a string of COCO run lengths")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:  # the sign of the last group
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the string of run lengths is cut short")
    return np.array(counts, np.int64)


def _short(value: object) -> str:
    return str(value)[:60]
