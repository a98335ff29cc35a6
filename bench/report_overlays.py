"""The same pictures and sounds through every file of a bundle: what each one finds, drawn, and small enough to embed.

Files run on one thread, so that the same inputs give the same report. One that this machine does not know is tried in a
child process first, as `edge run` does; one that is not what its manifest lists is not run at all.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..runtime.embedded import read_card
from ..runtime.errors import EdgeError, one_line
from ..runtime.isolate import guard
from ..runtime.pipeline import Pipeline
from ..runtime.progress import Progress
from ..runtime.resize import resize
from ..runtime.results import Emotion
from ..runtime.trust import file_digest
from .report_facts import Bundle, Variant

if TYPE_CHECKING:
    from ..runtime.pipeline import TimedResult

__all__ = ["LONGER_SIDE", "Overlay", "Sample", "Seen", "embed", "look", "reduced"]

UInt8 = NDArray[np.uint8]
Sound = tuple[NDArray[np.float32], int]

LONGER_SIDE = 480  # pixels; pictures are reduced to it before they are decoded, and drawn on at that size
# Longer side and quality of the embedded pictures, from good to just enough; the first that fits is taken.
STEPS = ((480, 80), (400, 72), (400, 60), (320, 55), (280, 45), (240, 38), (200, 30), (160, 22))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A picture, (H, W, 3) uint8 RGB, or a sound, samples and rate; and what it is called."""

    name: str
    source: UInt8 | Sound


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one file made of one sample.

    Attributes:
        variant: the file.
        words: what it found, or why it could not look.
        picture: the overlay; None for sounds and failures.
        emotion: of a sound.
    """

    variant: Variant
    words: str
    picture: UInt8 | None = None
    emotion: Emotion | None = None


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """One sample, as all files of a bundle see or hear it."""

    sample: str
    seen: tuple[Seen, ...]


def look(bundle: Bundle, samples: Sequence[Sample], progress: Progress) -> list[Overlay]:
    """Return what a bundle's files find in the samples that they take; none where they take neither or find nothing.

    Args:
        bundle: whose files run, all of them in turn.
        samples: pictures and sounds; a file gets those of its card's kind.
        progress: told of every file.
    """
    found: dict[str, list[Seen]] = {}
    for variant in bundle.variants:
        progress.step(f"{variant.file}: looking at the samples")
        for name, seen in _look(bundle, variant, samples):
            found.setdefault(name, []).append(seen)
    overlays = [Overlay(sample=name, seen=tuple(seen)) for name, seen in found.items()]
    return [one for one in overlays if any(seen.picture is not None or seen.emotion for seen in one.seen)]


def _look(bundle: Bundle, variant: Variant, samples: Sequence[Sample]) -> list[tuple[str, Seen]]:
    path = bundle.folder / variant.file
    try:
        if file_digest(path) != variant.sha256:
            raise EdgeError("not run: it is not the file that the manifest lists")
        card = read_card(path)
        sounds = card.input.kind == "audio"
        fitting = [one for one in samples if isinstance(one.source, tuple) == sounds and card.input.kind != "tensor"]
        if not fitting:
            return []
        guard(path, card)
        with Pipeline.load(path, threads=1, card=card) as pipeline:
            return [(one.name, _seen(variant, one, pipeline(one.source))) for one in fitting]
    except EdgeError as exc:
        words = one_line(exc).removeprefix("error: ")
        return [(one.name, Seen(variant=variant, words=words)) for one in samples]


def _seen(variant: Variant, sample: Sample, result: TimedResult) -> Seen:
    if result.kind in ("faces", "people") and not isinstance(sample.source, tuple):
        from ..runtime.draw import draw

        return Seen(variant=variant, words=_words(result), picture=draw(sample.source, result))
    if result.emotion is not None:
        emotion = result.emotion
        return Seen(variant=variant, words=emotion.quadrant, emotion=emotion)
    return Seen(variant=variant, words="nothing to draw")


def _words(result: TimedResult) -> str:
    if result.kind == "faces":
        scores = [face.score for face in result.faces]
        mean = f", mean score {sum(scores) / len(scores):.2f}" if scores else ""
        return f"{_count(len(scores), 'face', 'faces')}{mean}"
    joints = sum(point is not None for person in result.people for point in person.keypoints)
    return f"{_count(len(result.people), 'person', 'people')}, {_count(joints, 'joint', 'joints')}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def reduced(picture: UInt8, longer: int = LONGER_SIDE) -> UInt8:
    """Return a picture whose longer side is at most `longer` pixels; a smaller one as it is."""
    height, width = picture.shape[:2]
    scale = longer / max(height, width)
    if scale >= 1:
        return picture
    return resize(picture, (max(1, round(height * scale)), max(1, round(width * scale))), antialias=True)


def embed(pictures: Sequence[UInt8], room: int) -> list[str] | None:
    """Return pictures as data URIs that take at most `room` characters together, as large and good as that allows.

    None where even the smallest are too large.
    """
    for side, quality in STEPS:
        found = []
        total = 0
        for picture in pictures:
            found.append(_uri(reduced(picture, side), quality))
            total += len(found[-1])
            if total > room:
                break
        else:
            return found
    return None


def _uri(picture: UInt8, quality: int) -> str:
    from PIL import Image, features

    kind = "WEBP" if features.check("webp") else "JPEG"
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format=kind, quality=quality)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
