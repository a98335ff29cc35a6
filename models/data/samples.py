"""What a data set holds: pictures with people, pictures with faces, sounds with an emotion. No torch here.

A `Source` gives samples by number, lazily; whatever is broken is a `SampleError` that names its file (and line), so
that `edge data check` can list it and a training run can skip and count it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError

__all__ = ["EmotionSample", "FaceSample", "PoseSample", "Sample", "SampleError", "Source", "SpectrogramSample"]

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]


class SampleError(InputError):
    """One sample cannot be used; the message names its file, and its line where there is one."""


@dataclass(frozen=True, kw_only=True)
class PoseSample:
    """A picture with people.

    Attributes:
        name: file, or place in a synthetic set.
        image: (h, w, 3) uint8 RGB.
        keypoints: (n, 18, 3) float32, x and y in pixels of `image` and visibility (0 not labelled, 1 hidden, 2
            visible), in the order of `runtime.skeleton.KEYPOINTS`; the neck is the middle of labelled shoulders.
        boxes: (n, 4) float32 x1, y1, x2, y2, pixels.
        areas: (n,) float32, the person's area, square pixels.
        crowd: (n,) bool; a group, or someone hardly to be seen: neither trained on nor scored, and anything found there
            is passed over. A person who is no crowd and has no labelled keypoint is neither trained on nor scored, but
            excuses a single find, as in COCO.
        ignore: (h, w) bool, True where no loss is taken.
    """

    name: str
    image: UInt8
    keypoints: Float32
    boxes: Float32
    areas: Float32
    crowd: Bools
    ignore: Bools


@dataclass(frozen=True, kw_only=True)
class FaceSample:
    """A picture with faces.

    Attributes:
        name: file, or place in a synthetic set.
        image: (h, w, 3) uint8 RGB.
        boxes: (n, 4) float32 x1, y1, x2, y2, pixels.
        landmarks: (n, 5, 2) float32, pixels: the eye at the picture's left, the other eye, nose, left and right corner
            of the mouth; 0 where there are none.
        has_landmarks: (n,) bool.
        ignore: (n,) bool; neither trained on nor scored.
    """

    name: str
    image: UInt8
    boxes: Float32
    landmarks: Float32
    has_landmarks: Bools
    ignore: Bools


@dataclass(frozen=True, kw_only=True)
class EmotionSample:
    """A piece of music and what it makes people feel.

    Attributes:
        name: file, or place in a synthetic set.
        sound: (n,) float32 mono, -1..1.
        rate: (1,) int32, Hz.
        target: (2,) float32, valence and arousal, -1..1 ((x - 5) / 4 of the scale 1..9).
    """

    name: str
    sound: Float32
    rate: NDArray[np.int32]
    target: Float32


@dataclass(frozen=True, kw_only=True)
class SpectrogramSample:
    """A piece of music as the network sees it.

    Attributes:
        name: as of the `EmotionSample`.
        tensor: (1, 224, 224) float32, one of the three equal channels before ImageNet's mean and deviation: z-scored.
        target: (2,) float32, valence and arousal, -1..1.
    """

    name: str
    tensor: Float32
    target: Float32


Sample = PoseSample | FaceSample | EmotionSample | SpectrogramSample
S_co = TypeVar("S_co", covariant=True)


class Source(Protocol[S_co]):
    """Samples by number.

    Attributes:
        family: "pose", "face" or "emotion".
        label: for people and cards, such as "synthetic people (seed 1, 500 pictures)"; synthetic sets say so.
        digest: hex name of the content that is cheap to compute; two sources with one digest give the same samples.
    """

    family: str
    label: str
    digest: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> S_co:
        """Return sample `index`, 0 <= index < len.

        Raises:
            SampleError: it cannot be read or makes no sense.
            IndexError: there is no such sample.
        """
        ...
