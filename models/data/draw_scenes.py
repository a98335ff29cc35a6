"""Backgrounds with the statistics of photographs, and the flaws of a camera, drawn from a seeded generator.

The scene is a "dead leaves" picture: shapes that hide each other, with sizes of a power law, over smooth noise of many
scales. Both have the 1/f amplitude spectrum and the sharp edges of natural images, which white noise lacks; ranges for
INT8 that come from them are therefore near those of photographs.

Source: Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 41, 2001.
"""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["as_photograph", "draw_scene", "smooth_noise"]

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

COARSEST_CELLS = 2  # of the first octave, along the shorter side
SHAPES_LOW, SHAPES_HIGH = 30, 140
SMALLEST_SHARE, LARGEST_SHARE = 0.01, 0.45  # radius of a shape, fraction of the shorter side


def smooth_noise(rng: np.random.Generator, hw: tuple[int, int], octaves: int, channels: int = 1) -> Float32:
    """Return noise whose amplitude halves when the frequency doubles: (h, w, channels) float32, about -1..1."""
    height, width = hw
    total = np.zeros((height, width, channels), np.float32)
    for octave in range(octaves):
        cells = COARSEST_CELLS * 2**octave
        rows, columns = (max(2, round(cells * side / min(hw))) for side in hw)
        grid = rng.standard_normal((rows, columns, channels), dtype=np.float32) * np.float32(0.5**octave)
        for channel in range(channels):
            plane = Image.fromarray(grid[:, :, channel])
            total[:, :, channel] += np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC))
        if cells >= min(hw):
            break
    return np.asarray(np.clip(total / 1.5, -1.0, 1.0), np.float32)


def draw_scene(rng: np.random.Generator, hw: tuple[int, int]) -> Float32:
    """Return a background of shapes, textures and light: (h, w, 3) float32 RGB, 0..255."""
    height, width = hw
    palette = _palette(rng)
    canvas = Image.new("RGB", (width, height), _colour(palette[0]))
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(SHAPES_LOW, SHAPES_HIGH))):
        _draw_shape(rng, draw, hw, palette[int(rng.integers(len(palette)))])
    scene = np.asarray(canvas.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.004 * min(hw) + 0.6)))))
    texture = smooth_noise(rng, hw, 9)
    tint = smooth_noise(rng, hw, 3, 3)
    light = np.exp(rng.uniform(0.15, 0.5) * texture + rng.uniform(0.02, 0.08) * tint + _gradient(rng, hw)[:, :, None])
    return np.asarray(np.clip(scene * light, 0.0, 255.0), np.float32)


def as_photograph(rng: np.random.Generator, picture: Float32) -> UInt8:
    """Return a picture as a camera would give it: exposure, colour cast, blur, noise and JPEG.

    Args:
        rng: source of every choice.
        picture: (h, w, 3) float32 RGB, 0..255.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    share = np.clip(picture / 255.0, 0.0, 1.0)
    cast = np.exp(rng.normal(0.0, 0.05, 3))
    exposed = 255.0 * share ** rng.uniform(0.8, 1.25) * cast * rng.uniform(0.8, 1.15) + rng.uniform(-4.0, 8.0)
    grain = rng.standard_normal(picture.shape[:2], dtype=np.float32)
    noise = grain[:, :, None] * np.float32(rng.uniform(0.5, 4.0))
    image = Image.fromarray(np.clip(exposed, 0.0, 255.0).astype(np.uint8))
    if rng.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.0))))
    noisy = np.clip(np.asarray(image, np.float32) + noise, 0.0, 255.0).astype(np.uint8)
    if rng.random() < 0.1:  # a grey photograph, as data sets hold some
        noisy = np.repeat(np.rint(noisy @ np.array([0.299, 0.587, 0.114]))[:, :, None], 3, axis=2).astype(np.uint8)
    if rng.random() < 0.3:
        return noisy
    stream = io.BytesIO()
    Image.fromarray(noisy).save(stream, "JPEG", quality=int(rng.integers(45, 96)))
    return np.array(Image.open(stream), np.uint8)


def _palette(rng: np.random.Generator) -> Float32:
    """Return a handful of colours that go together: (n, 3) float32, 0..255, mostly dull as in photographs."""
    count = int(rng.integers(4, 9))
    brightness = rng.beta(1.6, 1.8, count) * 255.0
    mood = rng.normal(0.0, 0.07, 3)
    colour = brightness[:, None] * (1.0 + mood + rng.normal(0.0, 0.13, (count, 3)))
    return np.clip(colour, 4.0, 251.0).astype(np.float32)


def _draw_shape(rng: np.random.Generator, draw: ImageDraw.ImageDraw, hw: tuple[int, int], colour: Float32) -> None:
    """Draw one leaf: an ellipse, a tilted box or a line, its radius from the density r**-3 that makes 1/f."""
    side = min(hw)
    low, high = SMALLEST_SHARE * side, LARGEST_SHARE * side
    radius = 1.0 / math.sqrt(rng.uniform(high**-2, (3.0 * low) ** -2))
    x, y = rng.uniform(0, hw[1]), rng.uniform(0, hw[0])
    stretch = math.exp(rng.normal(0.0, 0.5))
    half_x, half_y = radius * stretch, radius / stretch
    fill = _colour(colour * rng.uniform(0.75, 1.25))
    kind = rng.random()
    if kind < 0.4:
        draw.ellipse((x - half_x, y - half_y, x + half_x, y + half_y), fill=fill)
        return
    angle = rng.uniform(0, math.pi) if rng.random() < 0.4 else rng.normal(0.0, 0.04)
    if kind > 0.85:
        half_x, half_y = 3.0 * radius, max(1.0, 0.08 * radius)
    along = (math.cos(angle) * half_x, math.sin(angle) * half_x)
    across = (-math.sin(angle) * half_y, math.cos(angle) * half_y)
    corners = [
        (x + a * along[0] + b * across[0], y + a * along[1] + b * across[1])
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    draw.polygon(corners, fill=fill)


def _gradient(rng: np.random.Generator, hw: tuple[int, int]) -> Float32:
    """Return a slope of light over the picture, logarithm of a factor: (h, w) float32."""
    angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0.0, 0.5)
    rows = np.linspace(-1.0, 1.0, hw[0], dtype=np.float32)[:, None] * math.sin(angle)
    columns = np.linspace(-1.0, 1.0, hw[1], dtype=np.float32)[None, :] * math.cos(angle)
    return np.asarray(strength * (rows + columns), np.float32)


def _colour(rgb: Float32) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in np.clip(rgb, 0.0, 255.0))
    return red, green, blue
