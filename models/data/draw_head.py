"""One drawn head: shaded skin, hair, eyes, brows, nose and mouth, of many skin tones, turns and lights.

Coordinates are half face widths, origin in the middle of the face. A head remembers where it put its five landmarks.
"""

from __future__ import annotations

import copy
import math

import numpy as np
from numpy.typing import NDArray

from .draw_scenes import smooth_noise

__all__ = ["FACE_CHIN", "FACE_TOP", "SPRITE_DOWN", "SPRITE_HALF_W", "SPRITE_UP", "Head", "random_skin"]

Float32 = NDArray[np.float32]

SPRITE_HALF_W, SPRITE_UP, SPRITE_DOWN = 1.7, 1.8, 2.0  # extent of the drawing
FACE_TOP, FACE_CHIN = -1.12, 1.22  # hairline and chin; with -1 and 1 the box that a detector draws
DEPTH = 0.9  # how far features move when the head turns, a share of the sphere's radius
PROFILE = 0.45  # a head turned further than this shows its side
SPOT_REACH = 2.6  # radii at which a Gaussian spot ends: 0.1 % of its middle

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


def random_skin(rng: np.random.Generator) -> Float32:
    """Return a skin colour, all tones alike often: (3,) float32 RGB, 0..255."""
    tone = rng.uniform(0, len(SKINS) - 1)
    below = int(tone)
    skin: Float32 = (SKINS[below] + (SKINS[below + 1] - SKINS[below]) * (tone - below)).astype(np.float32)
    return skin


class Head:
    """One head on its canvas; features are painted from back to front.

    Args:
        rng: source of every choice.
        detail: half the width of the face, pixels of the canvas.
        skin: (3,) RGB; None chooses one.
        yaw: turn, -0.85 (to the picture's left) to 0.85, about the sine of the angle; None chooses a small one.
        roll: tilt, radians, positive clockwise; None chooses a small one.

    Attributes:
        rgb: (h, w, 3) float32, 0..255, 3.4 `detail` wide and 3.8 high, the middle of the face at (1.7, 1.8).
        alpha: (h, w) float32, 0..1, opacity.
        inside: (h, w) float32, 0..1, the face alone, without ears, hair and body; once painted.
        landmarks: (5, 2) float32, half face widths from the middle of the face: the eye at the picture's left, the
            other eye, nose, left and right corner of the mouth; once painted, and not from behind.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        detail: float,
        skin: Float32 | None = None,
        *,
        yaw: float | None = None,
        roll: float | None = None,
    ) -> None:
        self.rng, self.detail = rng, detail
        width, height = round(2 * SPRITE_HALF_W * detail), round((SPRITE_UP + SPRITE_DOWN) * detail)
        v, u = np.mgrid[0:height, 0:width].astype(np.float32)
        u, v = (u + 0.5) / detail - SPRITE_HALF_W, (v + 0.5) / detail - SPRITE_UP
        near_level, near_front = rng.normal(0.0, 0.12), float(np.clip(rng.normal(0.0, 0.18), -0.4, 0.4))
        self.roll = near_level if roll is None else roll
        self.yaw = near_front if yaw is None else yaw
        self.u = u * math.cos(self.roll) + v * math.sin(self.roll)
        self.v = v * math.cos(self.roll) - u * math.sin(self.roll)
        self.soft = 1.2 / detail  # edge of a mask: about a pixel
        # A turned head shows its features off the middle, most in the middle of the face, which is nearest to us.
        self.fu = self.u - self.yaw * DEPTH * np.sqrt(np.maximum(0.0, 1.0 - self.u**2))
        self.skin = random_skin(rng) if skin is None else skin
        fair = self.skin[0] > 180.0
        self.hair = HAIRS[int(rng.integers(len(HAIRS) if fair else 3))] * rng.uniform(0.8, 1.2)
        self.rgb = np.zeros((height, width, 3), np.float32)
        self.alpha = np.zeros((height, width), np.float32)
        self.inside = np.zeros((height, width), np.float32)
        self.landmarks = np.zeros((5, 2), np.float32)

    def paint(self, *, body: bool, away: bool = False, blank: bool = False, dressed: bool = False) -> None:
        """Paint everything.

        Args:
            body: neck and shoulders too.
            away: the back of the head.
            blank: the front without eyes, nose and mouth, as a dummy's.
            dressed: sunglasses, masks and hats now and then.
        """
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
        elif not blank:
            self._eyes()
            self._nose()
            self._mouth()
            if abs(self.yaw) > PROFILE:
                self._side()
        if not bald:
            self._fringe()
        if not away and rng.random() < 0.15:
            self._glasses()
        if dressed:
            self._clothe(away=away)
        self._light()

    def outline_box(self) -> tuple[float, float, float, float]:
        """Return the box of the face, x1, y1, x2, y2, half face widths: -1, FACE_TOP, 1, FACE_CHIN for a level head."""
        v = np.linspace(FACE_TOP, FACE_CHIN, 40)
        half = (0.97 - 0.34 * np.clip(v / 1.2, 0.0, 1.0) ** 2.2) / 0.97
        height = np.where(v < 0, FACE_TOP * 1.05, FACE_CHIN)
        u = half * np.sqrt(np.maximum(0.0, 1.0 - (v / height) ** 2))
        u, v = np.concatenate([u, -u]), np.concatenate([v, v])
        x, y = self._turned(u, v)
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def _turned(
        self, u: NDArray[np.float64], v: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where points of the level head are on the canvas, half face widths from the middle."""
        return u * math.cos(self.roll) - v * math.sin(self.roll), u * math.sin(self.roll) + v * math.cos(self.roll)

    def _place(self, fu: float | NDArray[np.float64], v: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where features are on the canvas, (..., 2): the inverse of `fu` and of the roll."""
        fu, v = np.asarray(fu, np.float64), np.asarray(v, np.float64)
        shift = self.yaw * DEPTH
        on_sphere = (fu + shift * np.sqrt(np.maximum(0.0, 1.0 + shift**2 - fu**2))) / (1.0 + shift**2)
        return np.stack(self._turned(np.where(np.abs(fu) < 1.0, on_sphere, fu), v), axis=-1)

    def _window(self, x1: float, y1: float, x2: float, y2: float) -> Head:
        """Return the part of the canvas around a box in feature coordinates, which shares its pixels with this head.

        Most features cover little of the canvas: to paint all of them on all of it takes five times as long.
        """
        corners = self._place(np.array([x1, x2, x1, x2, 0.5 * (x1 + x2)]), np.array([y1, y1, y2, y2, 0.5 * (y1 + y2)]))
        low, high = corners.min(axis=0), corners.max(axis=0)
        origin, (height, width) = np.array([SPRITE_HALF_W, SPRITE_UP]), self.alpha.shape
        left, top = ((low + origin) * self.detail).astype(int) - 1
        right, bottom = ((high + origin) * self.detail).astype(int) + 2
        cut = (slice(max(0, top), max(1, min(height, bottom))), slice(max(0, left), max(1, min(width, right))))
        part = copy.copy(self)
        for name in ("u", "v", "fu", "rgb", "alpha", "inside"):
            setattr(part, name, getattr(self, name)[cut])
        return part

    def _put(self, mask: Float32, colour: Float32, strength: float = 1.0) -> None:
        """Blend a colour in; outside the head this also makes it opaque."""
        share = np.asarray(mask * np.float32(strength), np.float32)
        self.rgb += share[:, :, None] * (np.asarray(colour, np.float32) - self.rgb)
        np.maximum(self.alpha, share, out=self.alpha)

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

    def _spot(self, x: float, y: float, rx: float, ry: float, factor: float) -> None:
        """Lighten or darken a Gaussian spot of the face."""
        reach_x, reach_y = SPOT_REACH * rx, SPOT_REACH * ry
        part = self._window(x - reach_x, y - reach_y, x + reach_x, y + reach_y)
        part._tone(part.inside * part._glow(x, y, rx, ry), factor)

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
        self.inside[:] = np.clip((1.0 - outline) / self.soft, 0.0, 1.0)
        self._put(self.inside, self.skin)
        round_off = np.sqrt(np.maximum(0.0, 1.0 - np.minimum(outline, 1.0) ** 2))
        blotches = smooth_noise(self.rng, self.inside.shape, 6)[:, :, 0]
        self._tone(self.inside, np.asarray((0.66 + 0.36 * round_off**0.7) * (1.0 + 0.06 * blotches), np.float32))
        for side in (-1.0, 1.0):
            cheek = self._window(side * 0.5 - 0.65, -0.19, side * 0.5 + 0.65, 0.95)
            cheek._put(cheek.inside * cheek._glow(side * 0.5, 0.38, 0.26, 0.22), self.skin * 0.6 + RED * 0.4, 0.25)
            self._spot(side * 0.48, 0.22, 0.2, 0.12, 1.08)
        self._spot(0.0, -0.55, 0.5, 0.28, 1.07)
        self._spot(0.0, 1.0, 0.22, 0.13, 1.06)
        if self.rng.random() < 0.2:
            beard = self.inside * np.clip((self.v - 0.45 + 0.25 * (1 - np.abs(self.u))) / 0.3, 0.0, 1.0)
            self._put(np.asarray(beard, np.float32), self.hair, float(self.rng.uniform(0.2, 0.75)))

    def _eyes(self) -> None:
        rng = self.rng
        apart, level = rng.uniform(0.37, 0.43), rng.uniform(-0.12, -0.04)
        open_by, lift = rng.uniform(0.05, 0.09), rng.uniform(0.22, 0.3)
        iris = IRISES[int(rng.integers(len(IRISES)))] if self.skin[0] > 200 else IRISES[0]
        gaze = rng.uniform(-0.04, 0.04)
        brow = np.minimum(self.hair, self.skin * 0.45)
        self.landmarks[:2] = self._place(np.array([-apart, apart]), np.array([level, level]))
        for side in (-1.0, 1.0):
            x = side * apart
            eye = self._window(x - 0.6, level - 0.5, x + 0.6, level + 0.45)
            eye._tone(eye._glow(x, level - 0.02, 0.27, 0.16), 0.72)
            eye._tone(eye._glow(x - side * 0.2, level - 0.06, 0.1, 0.16), 0.8)
            white = eye._disc(x, level, 0.17, open_by, soft=0.02)
            eye._put(white, np.array([226, 220, 214], np.float32) * 0.88)
            eye._put(white * eye._disc(x + gaze, level - 0.01, 0.085, 0.085), iris)
            eye._put(white * eye._disc(x + gaze, level - 0.01, 0.042, 0.042), np.full(3, 10.0, np.float32))
            eye._put(eye._disc(x + gaze + 0.02, level - 0.03, 0.016, 0.016), np.full(3, 250.0, np.float32), 0.9)
            lid = eye._disc(x, level - open_by * 0.85, 0.2, 0.035, tilt=0.1 * side, soft=0.03)
            eye._put(lid, self.skin * 0.25, 0.85)
            eye._put(eye._disc(x, level + open_by, 0.17, 0.02, soft=0.03), self.skin * 0.5, 0.5)
            arch = eye._disc(x + side * 0.03, level - lift, 0.25, 0.05, tilt=0.12 * side, soft=0.05)
            eye._put(arch, brow, 0.85)

    def _nose(self) -> None:
        wide = self.rng.uniform(0.12, 0.18)
        self.landmarks[2] = self._place(0.0, 0.4)
        nose = self._window(-0.55, -0.7, 0.55, 0.9)
        nose._tone(nose._glow(0.0, 0.1, 0.06, 0.3), 1.13)
        nose._tone(nose._glow(0.0, 0.36, 0.09, 0.08), 1.16)
        for side in (-1.0, 1.0):
            nose._tone(nose._glow(side * 0.14, 0.12, 0.06, 0.25), 0.88)
            nose._tone(nose._glow(side * (wide + 0.06), 0.4, 0.05, 0.09), 0.74)
            nose._put(nose._disc(side * wide * 0.62, 0.46, 0.055, 0.03, soft=0.03), self.skin * 0.22, 0.85)
        nose._tone(nose._glow(0.0, 0.52, 0.2, 0.05), 0.76)

    def _mouth(self) -> None:
        rng = self.rng
        curve, wide = rng.uniform(0.0, 0.5), rng.uniform(0.28, 0.36)
        level, full = rng.uniform(0.72, 0.78), rng.uniform(0.045, 0.075)
        lips: Float32 = self.skin * np.float32(0.55) + RED * np.float32(rng.uniform(0.2, 0.45))
        corner = level - curve * wide**2  # a smile lifts the corners
        self.landmarks[3:] = self._place(np.array([-wide, wide]), np.array([corner, corner]))
        mouth = self._window(-0.6, level - 0.35, 0.6, level + 0.4)
        mouth.v = mouth.v + curve * mouth.fu**2
        mouth._put(mouth._disc(0.0, level - full * 0.6, wide, full, soft=0.03), lips * 0.78, 0.9)
        mouth._put(mouth._disc(0.0, level + full * 0.9, wide * 0.85, full * 1.1, soft=0.03), lips, 0.9)
        mouth._tone(mouth._glow(0.0, level + full, 0.12, 0.03), 1.18)
        if rng.random() < 0.4:
            gap = rng.uniform(0.03, 0.08)
            throat, teeth = np.array([60, 24, 24], np.float32), np.array([232, 226, 214], np.float32)
            mouth._put(mouth._disc(0.0, level, wide * 0.85, gap + 0.02, soft=0.02), throat)
            mouth._put(mouth._disc(0.0, level - 0.01, wide * 0.75, gap, soft=0.02), teeth)
        else:
            mouth._put(mouth._disc(0.0, level, wide * 1.02, 0.018, soft=0.02), self.skin * 0.22, 0.9)
        for side in (-1.0, 1.0):
            mouth._tone(mouth._glow(side * (wide + 0.03), level, 0.05, 0.06), 0.8)
        mouth._tone(mouth._glow(0.0, level + 0.2, 0.2, 0.05), 0.84)

    def _side(self) -> None:
        """Show the side of a far-turned head: hair and an ear behind the cheek."""
        back = -math.copysign(1.0, self.yaw)
        edge = 0.15 + 1.2 * (abs(self.yaw) - PROFILE) / (0.85 - PROFILE) * 0.35
        behind = np.clip((self.u * back - 0.8 + edge) / 0.08, 0.0, 1.0) * np.clip((0.55 - self.v) / 0.3, 0.0, 1.0)
        self._put(self.inside * np.asarray(behind, np.float32), self.hair)
        ear = np.sqrt(((self.u - back * (0.78 - edge)) / 0.13) ** 2 + ((self.v - 0.05) / 0.24) ** 2)
        for size, shade in ((1.0, 0.9), (0.6, 0.68)):
            self._put(np.asarray(np.clip((size - ear) / 0.2, 0.0, 1.0), np.float32), self.skin * shade)

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
        near = self._window(-0.75, -0.35, 0.75, 0.25)
        for side in (-1.0, 1.0):
            ring = near._disc(side * 0.4, -0.05, 0.29, 0.22) - near._disc(side * 0.4, -0.05, 0.25, 0.18)
            near._put(np.maximum(ring, 0.0), frame)
        near._put(near._disc(0.0, -0.08, 0.13, 0.025), frame)

    def _clothe(self, *, away: bool) -> None:
        """Put on a hat, and on a face sunglasses or a mask, some of the time."""
        rng = self.rng
        if not away and rng.random() < 0.07:
            dark = rng.uniform(5, 60, 3).astype(np.float32)
            near = self._window(-0.75, -0.35, 0.75, 0.3)
            for side in (-1.0, 1.0):
                near._put(near._disc(side * 0.4, -0.05, 0.3, 0.2), dark)
            near._put(near._disc(0.0, -0.1, 0.2, 0.03), dark)
        if not away and rng.random() < 0.06:
            cover = self.inside * np.clip((self.v - 0.22 - 0.1 * self.fu**2) / 0.05, 0.0, 1.0)
            self._put(np.asarray(cover, np.float32), rng.choice([235.0, 190.0, 40.0]) * rng.uniform(0.85, 1.05, 3))
            self._spot(0.0, 0.5, 0.25, 0.3, 1.1)
        if rng.random() < 0.12:
            cloth = rng.uniform(10, 235, 3).astype(np.float32)
            brim = rng.uniform(-0.72, -0.55)
            crown = np.sqrt((self.u / 1.12) ** 2 + ((self.v - brim) / 0.95) ** 2)
            above = np.clip((brim - self.v) / self.soft, 0.0, 1.0)
            self._put(np.asarray(np.clip((1.0 - crown) / self.soft, 0.0, 1.0) * above, np.float32), cloth)
            edge = np.sqrt((self.u / 1.3) ** 2 + ((self.v - brim) / 0.1) ** 2)
            self._put(np.asarray(np.clip((1.0 - edge) / 0.2, 0.0, 1.0), np.float32), cloth * 0.7)

    def _light(self) -> None:
        """Light the head from one side and from above."""
        side, above = self.rng.normal(0.0, 0.16), self.rng.uniform(0.0, 0.12)
        self.rgb *= np.exp(side * self.u - above * self.v + self.rng.normal(0.0, 0.08))[:, :, None].astype(np.float32)
        np.clip(self.rgb, 0.0, 255.0, out=self.rgb)
