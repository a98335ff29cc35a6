"""Scenes with drawn faces in them.

They are no portraits. They are there so that a face network without a single photograph at hand still meets what makes
it answer; `tests/models/data/test_synthetic.py` holds them against a trained network.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .draw_head import FACE_CHIN, FACE_TOP, SPRITE_DOWN, SPRITE_HALF_W, SPRITE_UP, Head
from .draw_scenes import draw_scene

__all__ = ["draw_faces"]

Float32 = NDArray[np.float32]

SMALLEST_PX, LARGEST_PX = 16, 300  # width of a face
MOST_FACES = 7


def draw_faces(rng: np.random.Generator, hw: tuple[int, int]) -> tuple[Float32, Float32]:
    """Return a scene with 1 to 7 faces, which hardly hide each other, and their boxes.

    Args:
        rng: source of every choice.
        hw: height and width of the picture, pixels, each at least 32.

    Returns:
        (h, w, 3) float32 RGB, 0..255; and (n, 4) float32 (x1, y1, x2, y2), pixels, n >= 1.
    """
    picture = draw_scene(rng, hw)
    boxes: list[tuple[float, float, float, float]] = []
    largest = min(LARGEST_PX, 0.5 * min(hw))
    smallest = min(SMALLEST_PX, largest / 2)
    sizes = np.exp(rng.uniform(math.log(smallest), math.log(largest), int(rng.integers(1, MOST_FACES + 1))))
    for width in sorted(sizes):  # the near ones are painted over the far ones
        half = width / 2.0
        x = rng.uniform(half, hw[1] - half)
        y = rng.uniform(-FACE_TOP * half, hw[0] - FACE_CHIN * half)
        box = (x - half, y + FACE_TOP * half, x + half, y + FACE_CHIN * half)
        if any(_overlap(box, other) for other in boxes):
            continue
        sprite, opacity = _face_sprite(rng, half)
        _paste_head(picture, sprite, opacity, (x, y))
        boxes.append(box)
    return picture, np.array(boxes, np.float32)


def _face_sprite(rng: np.random.Generator, half_width: float) -> tuple[Float32, Float32]:
    """Return a drawn head with its shoulders, and its opacity; the face's middle is at (1.7, 1.8) half widths.

    Args:
        rng: source of every choice.
        half_width: half the width of the face, pixels.

    Returns:
        (h, w, 3) float32 RGB, 0..255, and (h, w) float32, 0..1; 3.4 half widths wide, 3.8 high.
    """
    detail = float(np.clip(half_width, 24.0, 90.0))  # small faces are drawn larger and reduced, as a lens does
    head = Head(rng, detail)
    head.paint(body=True, away=False)
    size = (max(4, round(2 * SPRITE_HALF_W * half_width)), max(4, round((SPRITE_UP + SPRITE_DOWN) * half_width)))
    layers = np.dstack([head.rgb * head.alpha[:, :, None], head.alpha * 255.0])  # premultiplied: no dark seams
    small = np.dstack(
        [np.asarray(Image.fromarray(layers[:, :, c]).resize(size, Image.Resampling.BILINEAR)) for c in range(4)]
    )
    opacity: Float32 = np.clip(small[:, :, 3] / np.float32(255.0), 0.0, 1.0)
    rgb: Float32 = np.clip(small[:, :, :3] / np.maximum(opacity, np.float32(1e-3))[:, :, None], 0.0, 255.0)
    return rgb, opacity


def _paste_head(picture: Float32, sprite: Float32, opacity: Float32, centre: tuple[float, float]) -> None:
    """Blend a sprite into the picture, in place, its face's middle at (x, y); what lies outside is cut."""
    height, width = opacity.shape
    left = round(centre[0] - width / 2)
    top = round(centre[1] - height * SPRITE_UP / (SPRITE_UP + SPRITE_DOWN))
    y1, x1 = max(0, top), max(0, left)
    y2, x2 = min(picture.shape[0], top + height), min(picture.shape[1], left + width)
    if y2 <= y1 or x2 <= x1:
        return
    cut = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
    place = picture[y1:y2, x1:x2]
    place += opacity[cut][:, :, None] * (sprite[cut] - place)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
