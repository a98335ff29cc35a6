"""What decoders find: faces, people, an emotion, or a summary of raw arrays.

Coordinates are pixels of the original picture and continuous: the picture spans 0..width and 0..height, and the pixel
in column i and row j has its centre at (i + 0.5, j + 0.5), as in COCO annotations. They may lie outside the picture
where a face is cut off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .skeleton import COCO_INDEX, KEYPOINTS

__all__ = ["SCHEMA", "Emotion", "Face", "Keypoint", "Person", "Raw", "Result", "summarise"]

SCHEMA = 1
LANDMARKS = ("eye_left", "eye_right", "nose", "mouth_left", "mouth_right")  # sides as seen in the picture


class Keypoint(NamedTuple):
    """A body joint: position in original pixels, and the height of its peak (about 0..1, not clipped)."""

    x: float
    y: float
    score: float


@dataclass(frozen=True, kw_only=True)
class Face:
    """A face.

    Attributes:
        box_xyxy: left, top, right, bottom, original pixels; not clipped to the picture.
        score: probability, 0..1.
        landmarks: (x, y) of eye, eye, nose, mouth corner, mouth corner, each pair from image left to right.
    """

    box_xyxy: tuple[float, float, float, float]
    score: float
    landmarks: tuple[tuple[float, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; pixels to 0.001, score to 1e-6."""
        return {
            "box_xyxy": [_pixel(value) for value in self.box_xyxy],
            "score": round(self.score, 6),
            "landmarks": {name: [_pixel(x), _pixel(y)] for name, (x, y) in zip(LANDMARKS, self.landmarks, strict=True)},
        }


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person.

    Attributes:
        keypoints: 18 entries in the order of `skeleton.KEYPOINTS`; None where the joint was not found.
        score: sum of peak heights and limb affinities, times the joints counted less one: what COCO evaluation ranks
            by. It grows with the number of joints, to about 600 for a whole person.
    """

    keypoints: tuple[Keypoint | None, ...]
    score: float

    @property
    def confidence(self) -> float:
        """Mean peak height of the joints that were found, about 0..1; 0 if there are none."""
        heights = [point.score for point in self.keypoints if point is not None]
        return math.fsum(heights) / len(heights) if heights else 0.0

    def coco17(self) -> NDArray[np.float64]:
        """Return (17, 3) float64 (x, y, visibility) in COCO order: pixels, 1 where found, and zeros elsewhere."""
        table = np.zeros((17, 3))
        for point, index in zip(self.keypoints, COCO_INDEX, strict=True):
            if point is not None and index is not None:
                table[index] = (point.x, point.y, 1.0)
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; pixels to 0.001, scores to 1e-6."""
        return {
            "score": round(self.score, 6),
            "confidence": round(self.confidence, 6),
            "keypoints": {
                name: None if point is None else [_pixel(point.x), _pixel(point.y), round(point.score, 6)]
                for name, point in zip(KEYPOINTS, self.keypoints, strict=True)
            },
        }


@dataclass(frozen=True, kw_only=True)
class Emotion:
    """What a piece of music sounds like.

    Attributes:
        valence, arousal: -1..1, unpleasant to pleasant and calm to excited.
        valence_1to9, arousal_1to9: the same on the scale of listeners' annotations.
        quadrant: "excited" (+, +), "tense" (-, +), "sad" (-, -) or "calm" (+, -), signs of valence, arousal; 0 is +.
    """

    valence: float
    arousal: float
    valence_1to9: float
    arousal_1to9: float
    quadrant: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, to 1e-6."""
        return {
            "valence": round(self.valence, 6),
            "arousal": round(self.arousal, 6),
            "valence_1to9": round(self.valence_1to9, 6),
            "arousal_1to9": round(self.arousal_1to9, 6),
            "quadrant": self.quadrant,
        }


@dataclass(frozen=True, kw_only=True)
class Raw:
    """Summary of one output array; the figures are of its finite values, None where there are none."""

    shape: tuple[int, ...]
    dtype: str
    minimum: float | None
    maximum: float | None
    mean: float | None
    nonfinite: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "shape": list(self.shape),
            "dtype": self.dtype,
            "min": self.minimum,
            "max": self.maximum,
            "mean": self.mean,
            "nonfinite": self.nonfinite,
        }


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one decoder made of one set of outputs.

    Attributes:
        kind: "faces", "people", "emotion" or "raw": which of the fields below counts.
        faces: by descending score.
        people: by descending score.
        emotion: None also where the network's numbers were not finite.
        raw: by output name.
        truncated: True where a cap was hit, so that something may be missing.
        nonfinite: NaN and infinite values among the outputs that were read; they took no part.
        original_hw: height and width that coordinates refer to, pixels; None without a picture.
    """

    kind: str
    faces: tuple[Face, ...] = ()
    people: tuple[Person, ...] = ()
    emotion: Emotion | None = None
    raw: Mapping[str, Raw] = field(default_factory=dict)
    truncated: bool = False
    nonfinite: int = 0
    original_hw: tuple[int, int] | None = None
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, all finite; of the four finds only the one that `kind` names."""
        finds: dict[str, Any] = {
            "faces": [face.to_dict() for face in self.faces],
            "people": [person.to_dict() for person in self.people],
            "emotion": None if self.emotion is None else self.emotion.to_dict(),
            "raw": {name: raw.to_dict() for name, raw in self.raw.items()},
        }
        return {
            "schema": self.schema,
            "kind": self.kind,
            self.kind: finds[self.kind],
            "truncated": self.truncated,
            "nonfinite": self.nonfinite,
            "original_hw": None if self.original_hw is None else list(self.original_hw),
        }


def summarise(array: NDArray[Any]) -> Raw:
    """Return shape, dtype and the range of an array's finite values.

    Args:
        array: any shape, numeric.
    """
    finite = array[np.isfinite(array)].astype(np.float64)
    some = finite.size > 0
    return Raw(
        shape=array.shape,
        dtype=str(array.dtype),
        minimum=float(finite.min()) if some else None,
        maximum=float(finite.max()) if some else None,
        # Halved before they are added and scaled back after: float64 extremes must not overflow to infinity.
        mean=_finite(float(np.mean(finite / max(finite.size, 1)) * finite.size)) if some else None,
        nonfinite=int(array.size - finite.size),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _pixel(value: float) -> float:
    return round(value, 3)
