"""A synthetic set of faces: crowds, groups, portraits and empty scenes, with boxes and five landmarks.

Drawn, not photographed, and every label says so. Boxes and landmarks are computed from the drawing, so they are exact;
what is hidden, cut off or out of focus is so because it was painted over, cut or blurred.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ...runtime.errors import InputError
from .draw_head import SPRITE_DOWN, SPRITE_HALF_W, SPRITE_UP, Head, random_skin
from .draw_props import draw_distractor, draw_hand, draw_object
from .draw_scenes import as_photograph, draw_scene
from .samples import FaceSample

__all__ = ["SyntheticFaces"]

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

VERSION = 1  # counts up when the pictures of a seed change
STREAM = 11  # keeps these generators apart from those of `synthetic.py`
SCENE, BANK = 0, 1
KINDS = ("face", "away", "blank")  # of heads
SMALLEST_SIDE = 64
NARROWEST_PX, WIDEST_PX = 8.0, 400.0  # width of a face
MOST_FACES = 40
BANK_HEADS, BANK_DETAIL_PX = 512, 24.0  # heads up to this half width come from a bank, which is drawn as needed
LARGEST_DETAIL_PX = 72.0  # larger heads are drawn at this half width and enlarged
LANDMARK_WIDTH_PX, LEAST_WIDTH_PX = 12.0, 6.0
LEAST_INSIDE, LEAST_VISIBLE = 0.5, 0.4  # shares of a face, below which it is neither trained on nor scored
LEAST_TRACE = 0.03


class SyntheticFaces:
    """Pictures with 0 to 40 faces, 8 to 400 pixels wide.

    A third are crowds of small heads that overlap; others hold a group, one or two large faces, or none. Heads turn,
    tilt, wear things, are hidden by hands, objects and each other, are cut by the border, and are badly lit or blurred;
    backs of heads, dummies, balls and dials are there without a box. Picture i depends on seed, i and `hw` only.

    Args:
        count: number of pictures, >= 0.
        seed: >= 0.
        hw: height and width, pixels, each at least 64.

    Raises:
        InputError: an argument is out of range.
    """

    family = "face"

    def __init__(self, count: int, seed: int, hw: tuple[int, int] = (640, 640)) -> None:
        if count < 0 or seed < 0 or min(hw) < SMALLEST_SIDE:
            raise InputError(
                "synthetic faces cannot be drawn so",
                expected=f"count and seed >= 0, sides >= {SMALLEST_SIDE}",
                got=(count, seed, hw),
            )
        self.count, self.seed, self.hw = count, seed, hw
        self.label = f"synthetic faces (seed {seed}, {count} pictures of {hw[1]}x{hw[0]})"
        self.digest = hashlib.sha256(f"faces {VERSION} {count} {seed} {hw}".encode()).hexdigest()[:16]
        self._bank: dict[tuple[int, int], _Sprite] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> FaceSample:
        """Draw picture `index`, 0 <= index < len.

        Raises:
            IndexError: there is no such picture.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"picture {index} of {self.count}")
        rng = np.random.default_rng([STREAM, self.seed, SCENE, index])
        scene = _Scene(rng, self.hw)
        plans = _plan(rng, self.hw)
        for plan in plans:
            if plan.kind == "thing":
                scene.paste(draw_distractor(rng, 2 * plan.half, random_skin(rng)), plan.x, plan.y)
                continue
            scene.add_head(self._sprite(rng, plan), plan)
        picture = _camera(rng, scene.picture)
        return scene.sample(f"synthetic-face-{self.seed}-{index}", as_photograph(rng, picture))

    def _sprite(self, rng: np.random.Generator, plan: _Plan) -> _Sprite:
        """Return a head of the planned kind: a new one, or for a small face one of the bank, perhaps mirrored."""
        if plan.half > BANK_DETAIL_PX:
            return _head(rng, min(plan.half, LARGEST_DETAIL_PX), plan.kind)
        key = (KINDS.index(plan.kind), int(rng.integers(BANK_HEADS)))
        if key not in self._bank:
            own = np.random.default_rng([STREAM, self.seed, BANK, *key])
            self._bank[key] = _head(own, BANK_DETAIL_PX, plan.kind)
        return self._bank[key].mirrored() if rng.random() < 0.5 else self._bank[key]


@dataclass(frozen=True)
class _Plan:
    """What stands where: kind "face", "away", "blank" or "thing"; half width and place of its middle, pixels."""

    half: float
    x: float
    y: float
    kind: str


@dataclass(frozen=True)
class _Sprite:
    """A head that can be pasted at any size.

    Attributes:
        rgba: (h, w, 4) uint8, `SPRITE_*` half face widths large.
        inside: (h, w) uint8, the face alone.
        box: x1, y1, x2, y2, half face widths from the middle of the face.
        landmarks: (5, 2), the same unit.
    """

    rgba: UInt8
    inside: UInt8
    box: tuple[float, float, float, float]
    landmarks: Float32

    def mirrored(self) -> _Sprite:
        x1, y1, x2, y2 = self.box
        points = self.landmarks[[1, 0, 2, 4, 3]] * np.array([-1.0, 1.0], np.float32)
        return _Sprite(self.rgba[:, ::-1], self.inside[:, ::-1], (-x2, y1, -x1, y2), points)


def _head(rng: np.random.Generator, detail: float, kind: str) -> _Sprite:
    yaw, roll = None, None
    turn = rng.random()
    if turn < 0.35:
        yaw = float(rng.uniform(-0.85, 0.85))
    if turn > 0.7:
        roll = float(rng.normal(0.0, 0.3))
    head = Head(rng, detail, yaw=yaw, roll=roll)
    head.paint(body=rng.random() < 0.8, away=kind == "away", blank=kind == "blank", dressed=True)
    rgba = np.dstack([head.rgb, 255.0 * head.alpha])
    return _Sprite(
        np.clip(rgba, 0.0, 255.0).astype(np.uint8),
        (255.0 * head.inside).astype(np.uint8),
        head.outline_box(),
        head.landmarks,
    )


def _plan(rng: np.random.Generator, hw: tuple[int, int]) -> list[_Plan]:
    """Return what a picture holds, far things first."""
    kind = rng.random()
    plans: list[_Plan] = []
    if kind < 0.34:
        plans = _crowd(rng, hw)
    elif kind < 0.5:
        for _ in range(int(rng.integers(1, 3))):
            half = 0.5 * min(WIDEST_PX, min(hw) * rng.uniform(0.3, 0.85))
            plans.append(_somewhere(rng, hw, half, "face"))
    elif kind < 0.9:
        widest = min(WIDEST_PX, 0.6 * min(hw))
        for _ in range(int(rng.integers(1, 13))):
            half = 0.5 * math.exp(rng.uniform(math.log(NARROWEST_PX), math.log(widest)))
            plans.append(_somewhere(rng, hw, half, "away" if rng.random() < 0.1 else "face"))
    plans = _spread(plans)
    for _ in range(int(rng.integers(0, 4))):
        half = 0.5 * math.exp(rng.uniform(math.log(NARROWEST_PX), math.log(0.3 * min(hw))))
        odd = rng.random() < 0.35
        dummy = ("blank" if half > 12.0 else "thing") if rng.random() < 0.4 else "away"
        plans.append(_somewhere(rng, hw, half, dummy if odd else "thing"))
    return sorted(plans, key=lambda plan: plan.half)


def _crowd(rng: np.random.Generator, hw: tuple[int, int]) -> list[_Plan]:
    """Return rows of heads, those in front larger and lower, each row hiding parts of the one behind it."""
    half = 0.5 * math.exp(rng.uniform(math.log(NARROWEST_PX), math.log(0.09 * min(hw) + 8.0)))
    growth, gap, rise = rng.uniform(1.0, 1.3), rng.uniform(2.0, 4.5), rng.uniform(1.6, 3.2)
    back_turned = rng.uniform(0.0, 0.3)
    y, x_from, x_to = rng.uniform(0.05, 0.6) * hw[0], rng.uniform(-0.1, 0.4) * hw[1], rng.uniform(0.6, 1.1) * hw[1]
    plans: list[_Plan] = []
    while y < 1.05 * hw[0] and len(plans) < MOST_FACES:
        x = x_from + rng.uniform(0.0, gap) * half
        while x < x_to and len(plans) < MOST_FACES:
            own = float(np.clip(half * math.exp(rng.normal(0.0, 0.12)), NARROWEST_PX / 2, WIDEST_PX / 2))
            kind = "away" if rng.random() < back_turned else "face"
            plans.append(_Plan(own, x + rng.normal(0.0, 0.25) * half, y + rng.normal(0.0, 0.35) * half, kind))
            x += gap * half * rng.uniform(0.7, 1.3)
        y += rise * half
        half *= growth
    return plans


def _spread(plans: list[_Plan]) -> list[_Plan]:
    """Return the plans without heads of which a nearer one would hide nearly everything."""
    kept: list[_Plan] = []
    for plan in sorted(plans, key=lambda plan: -plan.half):
        if all(math.hypot(plan.x - other.x, plan.y - other.y) > 0.9 * other.half for other in kept):
            kept.append(plan)
    return kept


def _somewhere(rng: np.random.Generator, hw: tuple[int, int], half: float, kind: str) -> _Plan:
    """Return a plan with its middle in the picture, or just outside now and then."""
    margin = 0.0 if rng.random() < 0.2 else min(half, 0.45 * min(hw))
    return _Plan(half, rng.uniform(margin, hw[1] - margin), rng.uniform(margin, hw[0] - margin), kind)


class _Scene:
    """A picture that fills up, and whose each pixel is."""

    def __init__(self, rng: np.random.Generator, hw: tuple[int, int]) -> None:
        self.rng, self.hw = rng, hw
        self.picture = draw_scene(rng, hw)
        self.owner = np.zeros(hw, np.int16)  # number of the face that is seen here, 0 for none
        self.boxes: list[tuple[float, float, float, float]] = []
        self.landmarks: list[Float32] = []
        self.sizes: list[int] = []  # pixels of each face, hidden and cut ones too

    def add_head(self, sprite: _Sprite, plan: _Plan) -> None:
        """Paste a head, lit and focused by chance, and perhaps something in front of it."""
        rng, half = self.rng, plan.half
        size = (max(4, round(2 * SPRITE_HALF_W * half)), max(4, round((SPRITE_UP + SPRITE_DOWN) * half)))
        rgba = Image.fromarray(sprite.rgba).resize(size, Image.Resampling.BILINEAR)
        if rng.random() < 0.12:
            rgba = rgba.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.03, 0.12) * half)))
        scale = np.array([size[0] / (2 * SPRITE_HALF_W), size[1] / (SPRITE_UP + SPRITE_DOWN)])
        left, top = round(plan.x - SPRITE_HALF_W * scale[0]), round(plan.y - SPRITE_UP * scale[1])
        light = np.exp(rng.normal(0.0, 0.18) + rng.normal(0.0, 0.05, 3))
        cut = self._blend(np.array(rgba), left, top, light.astype(np.float32), haze=0.3 * rng.random() ** 2)
        if plan.kind == "face":
            inside = np.asarray(Image.fromarray(sprite.inside).resize(size, Image.Resampling.BILINEAR)) > 127
            middle = np.array([left, top]) + (SPRITE_HALF_W, SPRITE_UP) * scale
            box = np.array(sprite.box).reshape(2, 2) * scale + middle
            self.boxes.append((float(box[0, 0]), float(box[0, 1]), float(box[1, 0]), float(box[1, 1])))
            self.landmarks.append((sprite.landmarks * scale + middle).astype(np.float32))
            self.sizes.append(max(1, int(inside.sum())))
            if cut is not None:
                place, part = cut
                self.owner[place][inside[part]] = len(self.boxes)
        if half > 6.0 and rng.random() < 0.15:
            self._hide(plan)

    def paste(self, rgba: UInt8, x: float, y: float) -> None:
        """Paste a thing with its middle at (x, y)."""
        self._blend(rgba, round(x - rgba.shape[1] / 2), round(y - rgba.shape[0] / 2), np.ones(3, np.float32), haze=0.0)

    def sample(self, name: str, image: UInt8) -> FaceSample:
        """Return the finished picture with its faces; those hardly to be seen are marked."""
        height, width = self.hw
        whole = np.array(self.boxes, np.float32).reshape(-1, 4)
        limit = np.array([width, height, width, height], np.float32)
        boxes = np.clip(whole, 0.0, limit)
        landmarks = np.array(self.landmarks, np.float32).reshape(-1, 5, 2)
        there = np.asarray(((landmarks >= 0) & (landmarks <= limit[:2])).all(axis=(1, 2)))
        seen = np.bincount(self.owner.ravel(), minlength=len(boxes) + 1)[1:] / np.array([*self.sizes, 1])[: len(boxes)]
        within = _areas(boxes) / np.maximum(_areas(whole), 1e-6)
        wide = boxes[:, 2] - boxes[:, 0]
        ignore = (within < LEAST_INSIDE) | (seen < LEAST_VISIBLE * within) | (wide < LEAST_WIDTH_PX)
        has = there & ~ignore & (wide >= LANDMARK_WIDTH_PX)
        kept = (within > LEAST_TRACE) & (seen > LEAST_TRACE)  # of the others nothing is in the picture
        return FaceSample(
            name=name,
            image=image,
            boxes=boxes[kept],
            landmarks=(landmarks * has[:, None, None])[kept],
            has_landmarks=has[kept],
            ignore=ignore[kept],
        )

    def _hide(self, plan: _Plan) -> None:
        """Put a hand or an object over one side of a head."""
        rng = self.rng
        angle, away = rng.uniform(0, 2 * math.pi), rng.uniform(0.6, 1.3) * plan.half
        size = rng.uniform(0.9, 2.0) * plan.half
        thing = draw_object(rng, size) if rng.random() < 0.6 else draw_hand(rng, 1.6 * size, random_skin(rng))
        self.paste(thing, plan.x + away * math.cos(angle), plan.y + away * math.sin(angle))

    def _blend(
        self, rgba: UInt8, left: int, top: int, light: Float32, *, haze: float
    ) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        """Blend pixels in, a share `haze` of the background's mean colour over them, and take ownership away.

        Returns the slices of the picture and of `rgba` that fell on each other, or None.
        """
        height, width = rgba.shape[:2]
        y1, x1 = max(0, top), max(0, left)
        y2, x2 = min(self.hw[0], top + height), min(self.hw[1], left + width)
        if y2 <= y1 or x2 <= x1:
            return None
        place = (slice(y1, y2), slice(x1, x2))
        part = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
        opacity = rgba[part][:, :, 3] * np.float32(1.0 / 255.0)
        below = self.picture[place]
        air = np.float32(haze) * below.mean(axis=(0, 1))
        below += opacity[:, :, None] * (rgba[part][:, :, :3] * (light * np.float32(1.0 - haze)) + air - below)
        self.owner[place][rgba[part][:, :, 3] > 127] = 0
        return place, part


def _camera(rng: np.random.Generator, picture: Float32) -> Float32:
    """Return the picture as a shaking, unfocused or underexposed camera sees it, now and then."""
    kind = rng.random()
    if kind < 0.08:
        picture = _shaken(picture, rng.uniform(0, math.pi), float(rng.uniform(2.0, 0.012 * min(picture.shape[:2]) + 4)))
    elif kind < 0.2:
        image = Image.fromarray(np.clip(picture, 0.0, 255.0).astype(np.uint8))
        picture = np.asarray(image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.6, 2.2)))), np.float32)
    if rng.random() < 0.12:
        dark = np.float32(rng.uniform(0.2, 0.6))
        noise = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(2.0, 8.0))
        picture = np.clip(picture * dark + noise, 0.0, 255.0) * np.float32(rng.uniform(1.0, 2.0))
    return np.asarray(picture, np.float32)


def _shaken(picture: Float32, angle: float, length: float) -> Float32:
    """Return the mean of the picture along a line, `length` pixels long."""
    steps = max(2, min(9, round(length)))
    reach = math.ceil(length / 2) + 1
    padded = np.pad(picture, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    height, width = picture.shape[:2]
    total: Float32 = np.zeros((height, width, 3), np.float32)
    for share in np.linspace(-0.5, 0.5, steps):
        y, x = reach + round(share * length * math.sin(angle)), reach + round(share * length * math.cos(angle))
        total += padded[y : y + height, x : x + width]
    total /= np.float32(steps)
    return total


def _areas(boxes: Float32) -> Float32:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.float32)
