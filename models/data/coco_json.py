"""The entries of COCO's JSON, checked one by one: whatever is wrong is a `ValueError` in plain words.

The parser drops what is not needed of an object as soon as it has read it, and turns lists of numbers into arrays, so
that the training set's 240 MB do not become gigabytes of Python objects.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError
from ...runtime.skeleton import COCO_INDEX, KEYPOINTS
from .coco_mask import slim

__all__ = ["COCO_NAMES", "Images", "Person", "check_categories", "parse", "people_of", "read_person"]

MAX_SIDE = 1 << 16  # pixels
COCO_NAMES = tuple(
    name for _, name in sorted((index, KEYPOINTS[ours]) for ours, index in enumerate(COCO_INDEX) if index is not None)
)


class Person(NamedTuple):
    """One annotation: (17, 3) keypoints, (x, y, w, h) box, area, whether it is a group, and the region to be masked."""

    keypoints: NDArray[np.float64]
    box: NDArray[np.float64]
    area: float
    crowd: bool
    region: Any


class Images:
    """The `images` of the JSON, in its order."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.ids: list[int] = []
        self.sizes: list[tuple[int, int]] = []
        self.place_of: dict[int, int] = {}
        self.broken: dict[int, str] = {}

    def add(self, entry: object) -> str:
        """Take an entry; return what is wrong where it is not even known which picture it is."""
        if not isinstance(entry, dict):
            return "not an object"
        number, name, width, height = (entry.get(key) for key in ("id", "file_name", "width", "height"))
        if not isinstance(number, int) or not isinstance(name, str):
            return "`id` or `file_name` is missing or of the wrong type"
        if number in self.place_of:
            self.broken[self.place_of[number]] = f"the id is used twice, again by `{name[:200]}`"
            return ""
        place = len(self.names)
        self.place_of[number] = place
        self.names.append(name)
        self.ids.append(number)
        if not (isinstance(width, int) and isinstance(height, int)) or not (
            0 < min(width, height) <= max(width, height) <= MAX_SIDE
        ):
            self.broken[place] = f"`width` and `height` of `{name[:200]}` are missing or senseless"
            width = height = 1
        self.sizes.append((height, width))
        return ""


def parse(file: Path, content: bytes) -> dict[str, Any]:
    """Return the JSON, its lists `images` and `annotations` for sure.

    Raises:
        InputError: it is not JSON, nested too deeply, or without these lists.
    """
    try:
        data = json.loads(content, object_hook=_slim)
    except RecursionError as exc:
        raise InputError(f"`{file}` is nested too deeply") from exc
    except ValueError as exc:  # JSONDecodeError, broken UTF-8, numbers of thousands of digits
        raise InputError(f"`{file}` is not JSON: {exc}") from exc
    if not isinstance(data, dict) or not all(isinstance(data.get(key), list) for key in ("images", "annotations")):
        raise InputError(f"`{file}` is not COCO's JSON", expected="an object with lists `images` and `annotations`")
    return data


def _slim(values: dict[str, Any]) -> dict[str, Any]:
    """Drop what is not needed of an object as soon as it is parsed: the file's text is a tenth of its objects."""
    if "image_id" in values:
        kept: dict[str, Any] = {
            key: values[key]
            for key in ("id", "image_id", "category_id", "iscrowd", "area", "bbox", "keypoints", "segmentation")
            if key in values
        }
        labels = kept.get("keypoints")
        try:
            kept["keypoints"] = np.array(labels, np.float64) if isinstance(labels, list) else labels
        except (TypeError, ValueError, OverflowError):
            kept["keypoints"] = "nonsense"
        if "segmentation" in kept:
            kept["segmentation"] = slim(kept["segmentation"]) if _without_joints(kept) else None
        return kept
    if "file_name" in values:
        return {key: values[key] for key in ("id", "file_name", "width", "height") if key in values}
    return values


def _without_joints(entry: dict[str, Any]) -> bool:
    labels = entry.get("keypoints")
    return bool(entry.get("iscrowd")) or not isinstance(labels, np.ndarray) or not labels[2::3].any()


def check_categories(file: Path, data: dict[str, Any]) -> None:
    """Raise InputError where the category person lists other joints than COCO's 17."""
    for category in _categories(data):
        names = category.get("keypoints")
        if category.get("name") == "person" and names is not None and names != list(COCO_NAMES):
            raise InputError(
                f"`{file}`: keypoints of the category person are not COCO's",
                expected=", ".join(COCO_NAMES),
                got=str(names)[:200],
            )


def people_of(data: dict[str, Any]) -> set[object] | None:
    """Return the numbers of the category person; None where the file names no such category, and all are people."""
    numbers = {category["id"] for category in _categories(data) if category.get("name") == "person"}
    return numbers or None


def _categories(data: dict[str, Any]) -> list[dict[str, Any]]:
    entries = data.get("categories")
    return [
        entry
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get("id"), int)
    ]


def read_person(entry: dict[str, Any], hw: tuple[int, int]) -> Person:
    """Return the numbers of one annotation.

    Args:
        entry: as `parse` gives it.
        hw: height and width of its picture, pixels.

    Raises:
        ValueError: something is missing, of the wrong length, not finite or outside the picture.
    """
    box = _numbers(entry.get("bbox"), 4, "bbox")
    if box[2:].min() < 0:
        raise ValueError(f"the box has a negative side, got {box[2:].tolist()}")
    height, width = hw
    far = np.abs(box).max() > 2 * MAX_SIDE
    if far or box[0] > width or box[1] > height or box[0] + box[2] < 0 or box[1] + box[3] < 0:
        raise ValueError(f"the box is outside the picture of {width}x{height} pixels, got {box.tolist()}")
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise ValueError(f"`iscrowd` must be 0 or 1, got {str(crowd)[:40]}")
    labels = entry.get("keypoints")
    joints = np.zeros((17, 3)) if labels is None else _joints(labels, hw)
    masked = bool(crowd) or not joints[:, 2].any()
    area = entry.get("area", 0)
    if isinstance(area, bool) or not isinstance(area, int | float) or not 0 <= area <= MAX_SIDE**2:  # NaN is neither
        raise ValueError(f"`area` must be a number of square pixels, got {str(area)[:40]}")
    area = float(area) or float(box[2] * box[3])
    if not masked and area == 0:
        raise ValueError("a person with joints has no area")
    region = entry.get("segmentation") if masked else None
    return Person(joints, box, area, bool(crowd), region or None)


def _joints(labels: Any, hw: tuple[int, int]) -> NDArray[np.float64]:
    joints = _numbers(labels, 51, "keypoints").reshape(17, 3)
    if not np.isin(joints[:, 2], (0, 1, 2)).all():
        raise ValueError(f"visibility of a keypoint must be 0, 1 or 2, got {sorted(set(joints[:, 2].tolist()))[:5]}")
    joints = np.where(joints[:, 2:] > 0, joints, 0.0)
    outside = (joints[:, :2] < 0).any(axis=1) | (joints[:, :2] > (hw[1], hw[0])).any(axis=1)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"keypoint {COCO_NAMES[first]} is outside the picture of {hw[1]}x{hw[0]} pixels, "
            f"got {joints[first, :2].tolist()}"
        )
    return joints


def _numbers(values: Any, count: int, name: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"`{name}` is not a list of {count} numbers") from None
    if array.shape != (count,):
        got = "nothing" if values is None else f"{array.size}"
        raise ValueError(f"`{name}` must be {count} numbers, got {got}")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` has a number that is not finite")
    return array
