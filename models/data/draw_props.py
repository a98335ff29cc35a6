"""Things that hide faces, and things that look a little like faces: hands, objects, discs with two dots, dials."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["draw_distractor", "draw_hand", "draw_object"]

UInt8 = NDArray[np.uint8]
Colour = tuple[int, int, int]

FINER = 3  # drawn so many times larger and reduced, for smooth edges


def draw_object(rng: np.random.Generator, size: float) -> UInt8:
    """Return an object of one colour, about `size` pixels wide: (h, w, 4) uint8 RGBA."""
    image, draw, side = _canvas(size)
    half_w, half_h = side / 2 * rng.uniform(0.4, 1.0), side / 2 * rng.uniform(0.4, 1.0)
    colour, tilt = _any_colour(rng), rng.uniform(0, math.pi)
    kind = rng.integers(3)
    if kind == 0:
        draw.ellipse((side / 2 - half_w, side / 2 - half_h, side / 2 + half_w, side / 2 + half_h), fill=colour)
    else:
        half_h *= 0.3 if kind == 1 else 0.8  # a bar or a board
        draw.polygon([_turned(side / 2, x * half_w, y * half_h, tilt) for x, y in BOX], fill=colour)
    return _finished(rng, image, size)


def draw_hand(rng: np.random.Generator, size: float, skin: NDArray[np.float32]) -> UInt8:
    """Return a hand, about `size` pixels long: (h, w, 4) uint8 RGBA."""
    image, draw, side = _canvas(size)
    dark, light = _colour(skin * 0.7), _colour(skin * rng.uniform(0.85, 1.05))
    tilt, spread = rng.uniform(0, 2 * math.pi), rng.uniform(0.06, 0.16)
    palm, width = 0.17 * side, 0.085 * side
    for finger in range(4):
        angle = tilt + (finger - 1.5) * spread * 2
        root = _turned(side / 2, 0.1 * side, (finger - 1.5) * width, tilt)
        tip = (root[0] + math.cos(angle) * 0.34 * side, root[1] + math.sin(angle) * 0.34 * side)
        for colour, wide in ((dark, width), (light, width * 0.72)):
            draw.line((root, tip), fill=colour, width=max(1, round(wide)))
            draw.ellipse((tip[0] - wide / 2, tip[1] - wide / 2, tip[0] + wide / 2, tip[1] + wide / 2), fill=colour)
    for colour, reach in ((dark, 1.0), (light, 0.88)):
        corners = [_turned(side / 2, x * palm * reach, y * palm * 1.1 * reach, tilt) for x, y in BOX]
        draw.polygon(corners, fill=colour)
        wrist = _turned(side / 2, -0.48 * side, 0.0, tilt)
        draw.line((_turned(side / 2, 0.0, 0.0, tilt), wrist), fill=colour, width=max(1, round(1.7 * palm * reach)))
    return _finished(rng, image, size)


def draw_distractor(rng: np.random.Generator, size: float, skin: NDArray[np.float32]) -> UInt8:
    """Return a disc with two or three dots, a dial, or a plain ball, `size` pixels wide: (h, w, 4) uint8 RGBA."""
    image, draw, side = _canvas(size)
    colour = _colour(skin) if rng.random() < 0.5 else _any_colour(rng)
    ink = _colour(np.asarray(colour, np.float32) * rng.uniform(0.1, 0.5))
    centre, radius, stretch = side / 2, side / 2 * 0.98, rng.uniform(0.75, 1.0)
    draw.ellipse((centre - radius * stretch, centre - radius, centre + radius * stretch, centre + radius), fill=colour)
    kind = rng.integers(3)
    if kind == 0:
        dot, tilt, apart = radius * rng.uniform(0.08, 0.18), rng.uniform(0, 2 * math.pi), radius * 0.4
        for x, y in [(0.0, -apart), (0.0, apart), (apart * 1.2, 0.0)][: int(rng.integers(2, 4))]:
            spot = _turned(centre, x, y, tilt)
            draw.ellipse((spot[0] - dot, spot[1] - dot, spot[0] + dot, spot[1] + dot), fill=ink)
    elif kind == 1:
        for hour in range(12):
            ends = [_turned(centre, radius * r * stretch, 0.0, hour * math.pi / 6) for r in (0.75, 0.9)]
            draw.line((*ends[0], *ends[1]), fill=ink, width=max(1, round(0.05 * side)))
        for length in (0.4, 0.65):
            hand = _turned(centre, radius * length * stretch, 0.0, rng.uniform(0, 2 * math.pi))
            draw.line((centre, centre, *hand), fill=ink, width=max(1, round(0.05 * side)))
    return _finished(rng, image, size)


BOX = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))


def _canvas(size: float) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
    side = max(8, round(size * FINER))
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    return image, ImageDraw.Draw(image), side


def _finished(rng: np.random.Generator, image: Image.Image, size: float) -> UInt8:
    """Return the drawing reduced, lighter on one side than on the other."""
    side = max(3, round(size))
    pixels = np.array(image.resize((side, side), Image.Resampling.BILINEAR))
    angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 0.6)
    line = np.linspace(-1.0, 1.0, side)
    slope = np.exp(strength * (math.cos(angle) * line[None, :] + math.sin(angle) * line[:, None]))
    pixels[:, :, :3] = np.clip(pixels[:, :, :3] * slope[:, :, None], 0.0, 255.0)
    return pixels


def _turned(centre: float, x: float, y: float, angle: float) -> tuple[float, float]:
    cos, sin = math.cos(angle), math.sin(angle)
    return centre + x * cos - y * sin, centre + x * sin + y * cos


def _any_colour(rng: np.random.Generator) -> Colour:
    return _colour(np.asarray(rng.uniform(10, 245, 3), np.float32))


def _colour(rgb: NDArray[np.float32]) -> Colour:
    red, green, blue = (int(value) for value in np.clip(rgb, 0.0, 255.0))
    return red, green, blue
