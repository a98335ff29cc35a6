"""A contact sheet: samples with their labels drawn over them, since people look rather than read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...runtime.audio import resample
from ...runtime.card import AudioSpec
from ...runtime.draw import draw
from ...runtime.errors import InputError
from ...runtime.mel import log_mel
from ...runtime.resize import resize
from ...runtime.results import Emotion, Keypoint, Person, Result
from .samples import EmotionSample, FaceSample, PoseSample

__all__ = ["contact_sheet", "draw_sample"]

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

TILE, GAP = 360, 6  # pixels
WIDE = 560  # pixels of a spectrogram before it is shrunk: below, the plane would cover most of it
PAPER = 250  # grey of the gaps
TINT = np.array((213, 94, 0), np.float32)  # over what is ignored: vermillion of Okabe and Ito
BLUE, VERMILLION = (86, 180, 233), (213, 94, 0)
POINTS = ((86, 180, 233), (240, 228, 66), (255, 255, 255), (204, 121, 167), (230, 159, 0))


def contact_sheet(samples: Sequence[PoseSample | FaceSample | EmotionSample]) -> UInt8:
    """Return samples as tiles of one picture, row by row.

    Args:
        samples: at least one.

    Returns:
        (h, w, 3) uint8 RGB; tiles of 360 x 360 pixels.

    Raises:
        InputError: there is none.
    """
    if not samples:
        raise InputError("there is no sample to draw")
    columns = math.ceil(math.sqrt(len(samples)))
    rows = math.ceil(len(samples) / columns)
    step = TILE + GAP
    sheet = np.full((rows * step + GAP, columns * step + GAP, 3), PAPER, np.uint8)
    for place, sample in enumerate(samples):
        tile = draw_sample(sample, TILE)
        top, left = (GAP + step * number for number in divmod(place, columns))
        top += (TILE - tile.shape[0]) // 2
        left += (TILE - tile.shape[1]) // 2
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def draw_sample(sample: PoseSample | FaceSample | EmotionSample, side: int) -> UInt8:
    """Return a sample with its labels, within `side` x `side` pixels.

    Skeletons as `runtime.draw` has them; faces as blue boxes with the five landmarks; what is ignored in vermillion; a
    piece of music as its mel spectrogram under its place in the plane of valence and arousal.
    """
    if isinstance(sample, EmotionSample):
        return _draw_music(sample, side)
    image = sample.image
    if isinstance(sample, PoseSample):
        image = np.where(sample.ignore[:, :, None], 0.5 * image + 0.5 * TINT, image).astype(np.uint8)
    zoom = side / max(image.shape[:2])
    hw = (max(1, round(image.shape[0] * zoom)), max(1, round(image.shape[1] * zoom)))
    small = resize(image, hw, antialias=True)
    if isinstance(sample, PoseSample):
        shown = sample.keypoints[~sample.crowd & sample.keypoints[:, :, 2].any(axis=1)]
        people = tuple(_person(keypoints * (zoom, zoom, 1)) for keypoints in shown)
        return draw(small, Result(kind="people", people=people), caption=_caption(sample.name))
    return draw(_draw_faces(small, sample, zoom), Result(kind="faces"), caption=_caption(sample.name))


def _person(keypoints: NDArray[np.floating]) -> Person:
    points = (Keypoint(x, y, 1.0) if seen else None for x, y, seen in keypoints.tolist())
    return Person(keypoints=tuple(points), score=1.0)


def _draw_faces(image: UInt8, sample: FaceSample, zoom: float) -> UInt8:
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    reach = 4.0 * max(picture.size)  # Pillow's integers are 32 bits
    for place, box in enumerate(np.clip(sample.boxes * zoom, -reach, reach).tolist()):
        pen.rectangle(box, outline=VERMILLION if sample.ignore[place] else BLUE)
        if sample.has_landmarks[place]:
            radius = max(0.5, (box[2] - box[0]) / 30)
            for (x, y), colour in zip((sample.landmarks[place] * zoom).tolist(), POINTS, strict=True):
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.array(picture)


def _draw_music(sample: EmotionSample, side: int) -> UInt8:
    spec = AudioSpec()
    sound = resample(sample.sound, int(sample.rate[0]), spec.sample_rate)
    decibels = log_mel(sound, spec)[::-1, : 1 + len(sound) // spec.hop]  # high notes on top, without the padding
    grey = ((decibels / spec.top_db + 1.0) * 255.0).astype(np.uint8)
    valence, arousal = (float(value) for value in sample.target)
    emotion = Emotion(
        valence=valence,
        arousal=arousal,
        valence_1to9=valence * 4 + 5,
        arousal_1to9=arousal * 4 + 5,
        quadrant=("excited" if valence >= 0 else "tense") if arousal >= 0 else ("calm" if valence >= 0 else "sad"),
    )
    shade = np.repeat(resize(grey[:, :, None], (WIDE, WIDE), antialias=True), 3, axis=2)
    plane = resize(draw(shade, Result(kind="emotion", emotion=emotion)), (side, side), antialias=True)
    return draw(plane, Result(kind="raw"), caption=_caption(sample.name))


def _caption(name: str) -> str:
    """Return the end of a name that is long, in characters that can be drawn."""
    shown = "".join(char if char.isprintable() else "?" for char in name)
    return shown if len(shown) <= 32 else "…" + shown[-31:]
