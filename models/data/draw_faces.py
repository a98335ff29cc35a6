"""Drawn faces: shaded skin, hair, eyes, brows, nose and mouth, of many skin tones, sizes, turns and lights.

They are no portraits. They are there so that a face network without a single photograph at hand still meets what makes
it answer; `tests/models/data/test_synthetic.py` holds them against a trained network.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .draw_scenes import draw_scene, smooth_noise

__all__ = ["draw_faces", "face_sprite", "paste_head", "random_skin"]

Float32 = NDArray[np.float32]

SMALLEST_PX, LARGEST_PX = 16, 300  # width of a face
MOST_FACES = 7
SPRITE_HALF_W, SPRITE_UP, SPRITE_DOWN = 1.7, 1.8, 2.0  # extent of the drawing, in half face widths
FACE_TOP, FACE_CHIN = -1.12, 1.22  # hairline and chin, the same unit; together the box that a detector draws

# From very light to very dark, spread like the ten tones of the Monk Skin Tone scale (Ellis Monk, 2022).
SKINS: Float32 = np.array(
    [
        (244, 222, 204),
        (236, 200, 172),
        (226, 180, 146),
        (208, 158, 120),
        (184, 132, 96),
        (156, 106, 74),
        (128, 84, 58),
        (100, 66, 48),
        (76, 52, 40),
    ],
    np.float32,
)
HAIRS: Float32 = np.array(  # black and brown first: they go with every skin
    [
        (24, 20, 18),
        (40, 28, 22),
        (66, 44, 30),
        (104, 70, 42),
        (150, 112, 66),
        (190, 158, 106),
        (150, 148, 146),
        (120, 56, 30),
    ],
    np.float32,
)
IRISES: Float32 = np.array([(44, 28, 18), (70, 46, 26), (70, 90, 110), (80, 90, 60)], np.float32)
RED: Float32 = np.array([168, 70, 70], np.float32)


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
        sprite, opacity = face_sprite(rng, half)
        paste_head(picture, sprite, opacity, (x, y))
        boxes.append(box)
    return picture, np.array(boxes, np.float32)


def random_skin(rng: np.random.Generator) -> Float32:
    """Return a skin colour, all tones alike often: (3,) float32 RGB, 0..255."""
    tone = rng.uniform(0, len(SKINS) - 1)
    below = int(tone)
    skin: Float32 = (SKINS[below] + (SKINS[below + 1] - SKINS[below]) * (tone - below)).astype(np.float32)
    return skin


def face_sprite(
    rng: np.random.Generator, half_width: float, *, skin: Float32 | None = None, away: bool = False
) -> tuple[Float32, Float32]:
    """Return one drawn head and its opacity, with the middle of the face at (1.7, 1.8) half widths.

    Args:
        rng: source of every choice.
        half_width: half the width of the face, pixels.
        skin: (3,) RGB of a person whose body is drawn elsewhere; None draws neck and shoulders too.
        away: show the back of the head.

    Returns:
        (h, w, 3) float32 RGB, 0..255, and (h, w) float32, 0..1; 3.4 half widths wide, 3.8 high.
    """
    detail = float(np.clip(half_width, 24.0, 90.0))  # small faces are drawn larger and reduced, as a lens does
    rgb, alpha = _Head(rng, detail, skin).paint(body=skin is None, away=away)
    size = (max(4, round(2 * SPRITE_HALF_W * half_width)), max(4, round((SPRITE_UP + SPRITE_DOWN) * half_width)))
    layers = np.dstack([rgb * alpha[:, :, None], alpha * 255.0])  # premultiplied: no dark seams
    small = np.dstack(
        [np.asarray(Image.fromarray(layers[:, :, c]).resize(size, Image.Resampling.BILINEAR)) for c in range(4)]
    )
    opacity: Float32 = np.clip(small[:, :, 3] / np.float32(255.0), 0.0, 1.0)
    rgb = np.clip(small[:, :, :3] / np.maximum(opacity, np.float32(1e-3))[:, :, None], 0.0, 255.0)
    return rgb, opacity


class _Head:
    """One head on its canvas: coordinates in half face widths, features painted from back to front."""

    def __init__(self, rng: np.random.Generator, detail: float, skin: Float32 | None) -> None:
        self.rng = rng
        width, height = round(2 * SPRITE_HALF_W * detail), round((SPRITE_UP + SPRITE_DOWN) * detail)
        v, u = np.mgrid[0:height, 0:width].astype(np.float32)
        u, v = (u + 0.5) / detail - SPRITE_HALF_W, (v + 0.5) / detail - SPRITE_UP
        roll = rng.normal(0.0, 0.12)
        self.u = u * math.cos(roll) + v * math.sin(roll)
        self.v = v * math.cos(roll) - u * math.sin(roll)
        self.soft = 1.2 / detail  # edge of a mask: about a pixel
        self.yaw = float(np.clip(rng.normal(0.0, 0.18), -0.4, 0.4))
        # A turned head shows its features off the middle, most in the middle of the face, which is nearest to us.
        self.fu = self.u - self.yaw * np.sqrt(np.maximum(0.0, 1.0 - self.u**2)) * 0.9
        self.skin = random_skin(rng) if skin is None else skin
        fair = self.skin[0] > 180.0
        self.hair = HAIRS[int(rng.integers(len(HAIRS) if fair else 3))] * rng.uniform(0.8, 1.2)
        self.rgb = np.zeros((height, width, 3), np.float32)
        self.alpha = np.zeros((height, width), np.float32)

    def paint(self, *, body: bool, away: bool) -> tuple[Float32, Float32]:
        rng = self.rng
        if body:
            self._body()
        long_hair = rng.random() < 0.45
        bald = not long_hair and rng.random() < 0.15
        if not bald:
            self._hair_behind(long_hair)
        self._face()
        if away:
            self._put(self.inside * np.asarray(self.v < 0.75, np.float32), self.hair)
        else:
            self._eyes()
            self._nose()
            self._mouth()
        if not bald:
            self._fringe()
        if not away and rng.random() < 0.15:
            self._glasses()
        self._light()
        return self.rgb, self.alpha

    def _put(self, mask: Float32, colour: Float32, strength: float = 1.0) -> None:
        """Blend a colour in; outside the head this also makes it opaque."""
        share = np.asarray(mask * np.float32(strength), np.float32)
        self.rgb += share[:, :, None] * (np.asarray(colour, np.float32) - self.rgb)
        self.alpha = np.maximum(self.alpha, share)

    def _tone(self, mask: Float32, factor: float | Float32) -> None:
        """Lighten or darken what is there."""
        self.rgb *= (1.0 + mask * (np.float32(factor) - np.float32(1.0)))[:, :, None]

    def _disc(self, x: float, y: float, rx: float, ry: float, *, tilt: float = 0.0, soft: float = 0.0) -> Float32:
        """Return the mask of an ellipse in feature coordinates, with an edge `soft` wide (at least a pixel)."""
        du, dv = self.fu - x, self.v - y - tilt * (self.fu - x)
        radius = np.sqrt((du / rx) ** 2 + (dv / ry) ** 2)
        edge = max(soft, self.soft) / min(rx, ry)
        return np.asarray(np.clip((1.0 - radius) / edge + 0.5, 0.0, 1.0), np.float32)

    def _glow(self, x: float, y: float, rx: float, ry: float) -> Float32:
        """Return a Gaussian spot."""
        return np.asarray(np.exp(-(((self.fu - x) / rx) ** 2) - ((self.v - y) / ry) ** 2), np.float32)

    def _outline(self) -> Float32:
        """Return how far each pixel is from the face's middle, 1 on its outline: round above, a jaw below."""
        jaw = np.clip(self.v / 1.2, 0.0, 1.0)
        half = 0.97 - 0.34 * jaw**2.2
        height = np.where(self.v < 0, -FACE_TOP * 1.05, FACE_CHIN)
        return np.asarray(np.sqrt((self.u / half) ** 2 + (self.v / height) ** 2), np.float32)

    def _body(self) -> None:
        cloth = self.rng.uniform(10, 235, 3).astype(np.float32)
        shoulders = ((self.u / 1.75) ** 2 + ((self.v - 2.25) / 0.85) ** 2) < 1.0
        neck = np.clip((0.55 + 0.05 * self.v - np.abs(self.u)) / self.soft, 0.0, 1.0) * (self.v > 0.5) * (self.v < 1.75)
        self._put(np.asarray(shoulders, np.float32), cloth)
        self._put(np.asarray(neck, np.float32), self.skin * 0.72)

    def _hair_behind(self, long_hair: bool) -> None:
        reach = 1.02 + self.rng.uniform(0.06, 0.2)
        cap = np.sqrt((self.u / reach) ** 2 + ((self.v + 0.35) / 1.12) ** 2)
        mask = np.clip((1.0 - cap) / self.soft, 0.0, 1.0)
        if not long_hair:
            mask *= np.clip((0.25 - self.v) / 0.2, 0.0, 1.0)
        else:
            end = self.rng.uniform(0.9, 1.9)
            fall = np.clip((reach + 0.05 - np.abs(self.u)) / 0.05, 0.0, 1.0) * np.clip((end - self.v) / 0.15, 0.0, 1.0)
            mask = np.maximum(mask, fall * (self.v > -0.4))
        self._put(np.asarray(mask, np.float32), self.hair)

    def _face(self) -> None:
        outline = self._outline()
        for side in (-1.0, 1.0):
            ear = np.sqrt(((self.u - side * 0.98) / 0.13) ** 2 + ((self.v - 0.05) / 0.27) ** 2)
            self._put(np.asarray(np.clip((1.0 - ear) / 0.2, 0.0, 1.0), np.float32), self.skin * 0.82)
        inside = np.asarray(np.clip((1.0 - outline) / self.soft, 0.0, 1.0), np.float32)
        self._put(inside, self.skin)
        round_off = np.sqrt(np.maximum(0.0, 1.0 - np.minimum(outline, 1.0) ** 2))
        self._tone(inside, np.asarray(0.66 + 0.36 * round_off**0.7, np.float32))
        blotches = smooth_noise(self.rng, inside.shape, 6)[:, :, 0]
        self._tone(inside, 1.0 + 0.06 * blotches)
        for side in (-1.0, 1.0):
            self._put(inside * self._glow(side * 0.5, 0.38, 0.26, 0.22), self.skin * 0.6 + RED * 0.4, 0.25)
            self._tone(inside * self._glow(side * 0.48, 0.22, 0.2, 0.12), 1.08)
        self._tone(inside * self._glow(0.0, -0.55, 0.5, 0.28), 1.07)
        self._tone(inside * self._glow(0.0, 1.0, 0.22, 0.13), 1.06)
        self.inside = inside
        if self.rng.random() < 0.2:
            beard = inside * np.clip((self.v - 0.45 + 0.25 * (1 - np.abs(self.u))) / 0.3, 0.0, 1.0)
            self._put(np.asarray(beard, np.float32), self.hair, float(self.rng.uniform(0.2, 0.75)))

    def _eyes(self) -> None:
        rng = self.rng
        apart, level = rng.uniform(0.37, 0.43), rng.uniform(-0.12, -0.04)
        open_by, lift = rng.uniform(0.05, 0.09), rng.uniform(0.22, 0.3)
        iris = IRISES[int(rng.integers(len(IRISES)))] if self.skin[0] > 200 else IRISES[0]
        gaze = rng.uniform(-0.04, 0.04)
        brow = np.minimum(self.hair, self.skin * 0.45)
        for side in (-1.0, 1.0):
            x = side * apart
            self._tone(self._glow(x, level - 0.02, 0.27, 0.16), 0.72)
            self._tone(self._glow(x - side * 0.2, level - 0.06, 0.1, 0.16), 0.8)
            white = self._disc(x, level, 0.17, open_by, soft=0.02)
            self._put(white, np.array([226, 220, 214], np.float32) * 0.88)
            self._put(white * self._disc(x + gaze, level - 0.01, 0.085, 0.085), iris)
            self._put(white * self._disc(x + gaze, level - 0.01, 0.042, 0.042), np.full(3, 10.0, np.float32))
            self._put(self._disc(x + gaze + 0.02, level - 0.03, 0.016, 0.016), np.full(3, 250.0, np.float32), 0.9)
            lid = self._disc(x, level - open_by * 0.85, 0.2, 0.035, tilt=0.1 * side, soft=0.03)
            self._put(lid, self.skin * 0.25, 0.85)
            self._put(self._disc(x, level + open_by, 0.17, 0.02, soft=0.03), self.skin * 0.5, 0.5)
            arch = self._disc(x + side * 0.03, level - lift, 0.25, 0.05, tilt=0.12 * side, soft=0.05)
            self._put(arch, brow, 0.85)

    def _nose(self) -> None:
        wide = self.rng.uniform(0.12, 0.18)
        self._tone(self._glow(0.0, 0.1, 0.06, 0.3), 1.13)
        self._tone(self._glow(0.0, 0.36, 0.09, 0.08), 1.16)
        for side in (-1.0, 1.0):
            self._tone(self._glow(side * 0.14, 0.12, 0.06, 0.25), 0.88)
            self._tone(self._glow(side * (wide + 0.06), 0.4, 0.05, 0.09), 0.74)
            self._put(self._disc(side * wide * 0.62, 0.46, 0.055, 0.03, soft=0.03), self.skin * 0.22, 0.85)
        self._tone(self._glow(0.0, 0.52, 0.2, 0.05), 0.76)

    def _mouth(self) -> None:
        rng = self.rng
        curve, wide = rng.uniform(0.0, 0.5), rng.uniform(0.28, 0.36)
        level, full = rng.uniform(0.72, 0.78), rng.uniform(0.045, 0.075)
        lips: Float32 = self.skin * np.float32(0.55) + RED * np.float32(rng.uniform(0.2, 0.45))
        bend = self.v
        self.v = self.v + curve * self.fu**2  # a smile lifts the corners
        self._put(self._disc(0.0, level - full * 0.6, wide, full, soft=0.03), lips * 0.78, 0.9)
        self._put(self._disc(0.0, level + full * 0.9, wide * 0.85, full * 1.1, soft=0.03), lips, 0.9)
        self._tone(self._glow(0.0, level + full, 0.12, 0.03), 1.18)
        if rng.random() < 0.4:
            gap = rng.uniform(0.03, 0.08)
            self._put(self._disc(0.0, level, wide * 0.85, gap + 0.02, soft=0.02), np.array([60, 24, 24], np.float32))
            self._put(self._disc(0.0, level - 0.01, wide * 0.75, gap, soft=0.02), np.array([232, 226, 214], np.float32))
        else:
            self._put(self._disc(0.0, level, wide * 1.02, 0.018, soft=0.02), self.skin * 0.22, 0.9)
        for side in (-1.0, 1.0):
            self._tone(self._glow(side * (wide + 0.03), level, 0.05, 0.06), 0.8)
        self._tone(self._glow(0.0, level + 0.2, 0.2, 0.05), 0.84)
        self.v = bend

    def _fringe(self) -> None:
        """Lay hair over the top of the forehead and down the temples."""
        part, line = self.rng.uniform(-0.5, 0.5), self.rng.uniform(-0.78, -0.6)
        edge = line + 0.18 * (self.u - part) ** 2 + 0.75 * np.maximum(0.0, np.abs(self.u) - 0.72) / 0.3
        mask = self.inside * np.clip((edge - self.v) / 0.06, 0.0, 1.0)
        self._put(np.asarray(mask, np.float32), self.hair)
        strands = smooth_noise(self.rng, (3, self.u.shape[1]), 6)[1, :, 0]
        hairy = np.asarray(np.abs(self.rgb - self.hair).sum(axis=2) < 12.0, np.float32)
        self._tone(hairy, np.asarray(1.0 + 0.35 * np.broadcast_to(strands, hairy.shape), np.float32))

    def _glasses(self) -> None:
        frame = self.rng.uniform(5, 70, 3).astype(np.float32)
        for side in (-1.0, 1.0):
            ring = self._disc(side * 0.4, -0.05, 0.29, 0.22) - self._disc(side * 0.4, -0.05, 0.25, 0.18)
            self._put(np.maximum(ring, 0.0), frame)
        self._put(self._disc(0.0, -0.08, 0.13, 0.025), frame)

    def _light(self) -> None:
        """Light the head from one side and from above."""
        side, above = self.rng.normal(0.0, 0.16), self.rng.uniform(0.0, 0.12)
        self.rgb *= np.exp(side * self.u - above * self.v + self.rng.normal(0.0, 0.08))[:, :, None].astype(np.float32)
        np.clip(self.rgb, 0.0, 255.0, out=self.rgb)


def paste_head(picture: Float32, sprite: Float32, opacity: Float32, centre: tuple[float, float]) -> None:
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
