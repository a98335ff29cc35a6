"""Seeded samples for calibration, parity and the search for a recipe, where the user gives none.

They are drawn and composed, not photographed or recorded, and every report calls them synthetic. Sample i of a seed
depends on nothing but family, seed, i and size: a longer list starts with the shorter one, and two seeds share no
sample, so that a recipe is never judged on what it was calibrated with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...runtime.card import AudioSpec
from ...runtime.errors import InputError
from ...runtime.resize import resize
from .compose_music import compose_clip, draw_cues
from .draw_faces import draw_faces
from .draw_people import draw_people
from .draw_scenes import as_photograph, draw_scene

__all__ = ["IMAGE_FAMILIES", "synthetic_clips", "synthetic_images"]

IMAGE_FAMILIES = ("custom", "face", "pose")
STREAMS = {"custom": 1, "face": 2, "pose": 3, "emotion": 4}  # keeps the families' generators apart
SMALLEST_SIDE = 32  # below it there is no room for a face or a person


def synthetic_images(family: str, count: int, hw: tuple[int, int], seed: int) -> list[NDArray[np.uint8]]:
    """Return drawn pictures with the statistics of photographs.

    Args:
        family: "face" (1 to 7 faces of 16 to 300 px), "pose" (1 to 5 people) or "custom" (scenes without either).
        count: number of pictures, >= 0.
        hw: height and width, pixels, each at least 1; a side below 32 is drawn at 32 and reduced.
        seed: >= 0; equal arguments give equal bytes with the same versions of NumPy and Pillow.

    Returns:
        `count` arrays (h, w, 3) uint8 RGB.

    Raises:
        InputError: the family draws no pictures, or count, size or seed is out of range.
    """
    if family not in IMAGE_FAMILIES:
        raise InputError(
            "no synthetic pictures for this family",
            expected=" | ".join(IMAGE_FAMILIES),
            got=family,
            hint="sound comes from `synthetic_clips`",
        )
    if min(hw) < 1:
        raise InputError("synthetic pictures need sides of at least 1 pixel", got=hw)
    drawn_hw = (max(hw[0], SMALLEST_SIDE), max(hw[1], SMALLEST_SIDE))
    pictures = []
    for rng in _generators(family, count, seed):
        if family == "face":
            scene, _ = draw_faces(rng, drawn_hw)
        else:
            scene = draw_people(rng, drawn_hw)[0] if family == "pose" else draw_scene(rng, drawn_hw)
        pictures.append(resize(as_photograph(rng, scene), hw, antialias=True))
    return pictures


def synthetic_clips(count: int, seed: int, spec: AudioSpec) -> list[tuple[NDArray[np.float32], int]]:
    """Return composed music of the length and rate that a card asks for.

    Args:
        count: number of clips, >= 0.
        seed: >= 0.
        spec: gives `sample_rate` and `seconds`.

    Returns:
        `count` pairs of samples, (n,) float32 mono within -1..1, and their rate, Hz.

    Raises:
        InputError: count or seed is out of range.
    """
    return [
        (compose_clip(rng, spec.sample_rate, spec.seconds, draw_cues(rng)), spec.sample_rate)
        for rng in _generators("emotion", count, seed)
    ]


def _generators(family: str, count: int, seed: int) -> list[np.random.Generator]:
    if count < 0 or seed < 0:
        raise InputError("count and seed of synthetic samples must not be negative", got=(count, seed))
    return [np.random.default_rng([STREAMS[family], seed, index]) for index in range(count)]
