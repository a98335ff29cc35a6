"""Layers that are painted over a picture: drawn at twice the size and reduced, so that edges are smooth.

A layer knows which part of a drawing each of its pixels belongs to, so that it can be told afterwards who is seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["SCALE", "Canvas", "Layer"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

SCALE = 2  # layers are drawn at so many times the size
ROUND = ((1.0, 0.66), (0.76, 0.86), (0.46, 1.0))  # width and light of nested shapes: a cylinder lit from the front


class Canvas:
    """A picture, what painted each pixel last, and a texture for what is painted.

    Args:
        picture: (h, w, 3) float32 RGB, 0..255; painted on in place.
        texture: (h, w) float32, about -1..1.

    Attributes:
        owner: (h, w) int32, number of what was painted there last, 0 where nothing was.
    """

    def __init__(self, picture: Float32, texture: Float32) -> None:
        self.picture, self.texture = picture, texture
        self.owner: NDArray[np.int32] = np.zeros(picture.shape[:2], np.int32)

    def layer(self, points: Float64, margin: float) -> Layer | None:
        """Return an empty layer around points (n, 2), or None if all of it is outside."""
        height, width = self.owner.shape
        low, high = np.floor(points.min(axis=0) - margin), np.ceil(points.max(axis=0) + margin)
        left, top = max(0, int(low[0])), max(0, int(low[1]))
        right, bottom = min(width, int(high[0])), min(height, int(high[1]))
        return None if right <= left or bottom <= top else Layer(left, top, right - left, bottom - top)

    def compose(self, layer: Layer, base: int, grain: float) -> tuple[tuple[int, int, int, int], int]:
        """Paint a layer.

        Args:
            layer: made by `layer`.
            base: is added to the numbers of the layer's parts; below 0 it is the number of all of them.
            grain: strength of the texture, 0..1.

        Returns:
            x1, y1, x2, y2 of what was painted, pixels, and how many pixels it is.
        """
        left, top, width, height = layer.extent
        cut = (slice(top, top + height), slice(left, left + width))
        parts = np.asarray(layer.parts)
        cover = np.asarray(Image.fromarray((parts > 0) * np.uint8(255)).reduce(SCALE), np.float32) / np.float32(255.0)
        rgb = np.asarray(layer.rgb.reduce(SCALE), np.float32)  # over black: already multiplied by the cover
        light = np.float32(1.0) + np.float32(grain) * self.texture[cut]
        place = self.picture[cut]
        place *= (np.float32(1.0) - cover)[:, :, None]
        place += rgb * light[:, :, None]
        np.clip(place, 0.0, 255.0, out=place)
        solid = cover >= 0.5
        near = parts[1::SCALE, 1::SCALE].astype(np.int32)  # one of the four may be empty
        fullest = np.maximum(near, parts[::SCALE, ::SCALE])
        owner = np.where(near > 0, near, fullest)
        place_owner = self.owner[cut]
        place_owner[solid] = owner[solid] + base if base >= 0 else base
        rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
        if not len(rows):
            return (left, top, left, top), 0
        box = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
        return box, int(solid.sum())


class Layer:
    """A part of the picture at `SCALE` times its size, over black, and the number of the part at each pixel."""

    def __init__(self, left: int, top: int, width: int, height: int) -> None:
        self.extent = (left, top, width, height)
        self.rgb = Image.new("RGB", (SCALE * width, SCALE * height))
        self.parts = Image.new("L", (SCALE * width, SCALE * height))
        self._pens = ImageDraw.Draw(self.rgb), ImageDraw.Draw(self.parts)

    def place(self, points: Float64) -> Float64:
        """Return picture points (n, 2) as coordinates of the layer's images."""
        return np.asarray(SCALE * (points[:, :2] - self.extent[:2]) - 0.5, np.float64)  # Pillow's 0 is a pixel's middle

    def bar(self, a: Float64, b: Float64, widths: tuple[float, float], colour: Float64 | Float32, part: int) -> None:
        """Draw a rounded bar between two points of the picture that looks like a cylinder."""
        start, end = self.place(np.stack([a, b]))
        along = end - start
        length = max(float(np.hypot(*along)), 1e-6)
        across = np.array([-along[1], along[0]]) / length
        halves = [max(0.7, SCALE * width / 2.0) for width in widths]
        for share, light in ROUND:
            fill = _colour(colour * light)
            self._capsule(self._pens[0], start, end, across, [half * share for half in halves], fill)
        self._capsule(self._pens[1], start, end, across, halves, part)

    def block(self, corners: Float64, colour: Float64 | Float32, part: int) -> None:
        """Draw a polygon of picture points (n, 2) in one colour."""
        shape = [(float(x), float(y)) for x, y in self.place(corners)]
        self._pens[0].polygon(shape, fill=_colour(colour))
        self._pens[1].polygon(shape, fill=part)

    def paste(self, sprite: Image.Image, opacity: Image.Image, corner: tuple[int, int], part: int) -> None:
        """Lay a picture over the layer, its corner at a place of the layer's images."""
        self.rgb.paste(sprite, corner, opacity)
        self.parts.paste(part, corner, opacity.point(lambda value: 255 * (value > 127)))

    @staticmethod
    def _capsule(
        pen: ImageDraw.ImageDraw,
        start: Float64,
        end: Float64,
        across: Float64,
        halves: list[float],
        fill: int | tuple[int, int, int],
    ) -> None:
        near, far = across * halves[0], across * halves[1]
        corners = (start + near, end + far, end - far, start - near)
        pen.polygon([(float(x), float(y)) for x, y in corners], fill=fill)
        for (x, y), half in zip((start, end), halves, strict=True):
            pen.ellipse((x - half, y - half, x + half, y + half), fill=fill)


def _colour(rgb: Float64 | Float32) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in np.clip(rgb, 0.0, 255.0))
    return red, green, blue
