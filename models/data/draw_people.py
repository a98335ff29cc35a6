"""Drawn people: jointed bodies that stand, walk, sit and reach, clothed, hide each other, in cluttered scenes.

The truth comes from the drawing itself: a joint is visible where the pixel at its place was painted last by one of the
parts that meet in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .body_poses import HEAD, LEFT_HAND, LEFT_TOE, RIGHT_HAND, RIGHT_TOE, Body, random_body
from .draw_head import SPRITE_DOWN, SPRITE_HALF_W, SPRITE_UP, Head, random_skin
from .draw_scenes import draw_scene, smooth_noise
from .layers import SCALE, Canvas, Layer

__all__ = ["People", "draw_people"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

MOST_PEOPLE = 5
LOW_SHARE, HIGH_SHARE = 0.35, 1.2  # standing height, fraction of the picture's
SMALL_CHANCE, SMALLEST_SHARE = 0.07, 0.22
MOST_COVERED = 0.45  # of the smaller box of two people, when places are tried
PLACES_TRIED = 8
OBJECT_CHANCE = 0.35  # that something stands in front of a person
LEAST_SEEN, FEWEST_JOINTS = 0.25, 4  # less of a person is neither trained on nor scored

FACE_HALF_WIDTH = 0.052  # the rest of the head is about as wide again
LEAST_DETAIL, MOST_DETAIL = 12.0, 80.0
SIDE_YAW, FAR_SIDE = 0.45, 0.8  # see `_face_points` and `_joint_truth`
PART_STEP = 32  # owner numbers of one person

# Parts: torso, head, neck; upper and lower arm, upper and lower leg, right then left.
TORSO, HEAD_PART, NECK = 1, 2, 3
# From, to, width at both ends (fractions of the height), what it wears, number, how much nearer it counts.
BARS = (
    (10, RIGHT_TOE, 0.05, 0.035, "shoes", 9, 0.0),
    (9, 10, 0.068, 0.046, "legs", 9, 0.0),
    (8, 9, 0.092, 0.068, "trousers", 8, 0.0),
    (13, LEFT_TOE, 0.05, 0.035, "shoes", 11, 0.0),
    (12, 13, 0.068, 0.046, "legs", 11, 0.0),
    (11, 12, 0.092, 0.068, "trousers", 10, 0.0),
    (1, HEAD, 0.058, 0.055, "skin", NECK, -0.01),
    (2, 3, 0.062, 0.05, "shirt", 4, 0.03),
    (3, 4, 0.05, 0.036, "sleeves", 5, 0.032),
    (4, RIGHT_HAND, 0.036, 0.03, "skin", 5, 0.034),
    (5, 6, 0.062, 0.05, "shirt", 6, 0.03),
    (6, 7, 0.05, 0.036, "sleeves", 7, 0.032),
    (7, LEFT_HAND, 0.036, 0.03, "skin", 7, 0.034),
)
TORSO_NEARER, HEAD_NEARER = 0.02, 0.04
# Parts that meet in each keypoint.
OWN = (
    (HEAD_PART,),
    (TORSO, NECK),
    (TORSO, 4),
    (4, 5),
    (5,),
    (TORSO, 6),
    (6, 7),
    (7,),
    (TORSO, 8),
    (8, 9),
    (9,),
    (TORSO, 10),
    (10, 11),
    (11,),
    *[(HEAD_PART,)] * 4,
)


@dataclass(frozen=True, kw_only=True)
class People:
    """Who is in a picture; the farthest first.

    Attributes:
        keypoints: (n, 18, 3) float32, x, y in pixels (the middle of the first pixel is 0.5), and visibility: 2 visible,
            1 hidden by somebody, something or the person's own body, 0 outside the picture, or part of the face and on
            the side of the head that is turned away, as in COCO.
        boxes: (n, 4) float32 x1, y1, x2, y2, of the silhouette within the picture, hidden parts included, pixels.
        areas: (n,) float32, pixels of that silhouette.
        crowd: (n,) bool, hardly to be seen.
        ignore: (h, w) bool, the pixels of those.
    """

    keypoints: Float32
    boxes: Float32
    areas: Float32
    crowd: Bools
    ignore: Bools


def draw_people(rng: np.random.Generator, hw: tuple[int, int]) -> tuple[Float32, People]:
    """Return a scene with 1 to 5 people, the nearest in front, and the truth about them.

    Args:
        rng: source of every choice.
        hw: height and width of the picture, pixels, each at least 32.

    Returns:
        (h, w, 3) float32 RGB, 0..255; and the people, of whom some may be hidden or, rarely, outside: n <= 5.
    """
    canvas = Canvas(draw_scene(rng, hw), smooth_noise(rng, hw, 6)[:, :, 0])
    for _ in range(int(rng.integers(0, 5))):
        _draw_stick(rng, canvas)
    drawn: list[_Drawn] = []
    for body, height, origin in _cast(rng, hw):
        truth = _draw_person(rng, canvas, body, height, origin, len(drawn) * PART_STEP)
        if truth is not None:
            drawn.append(truth)
            if rng.random() < OBJECT_CHANCE:
                _draw_object(rng, canvas, truth.box)
    return canvas.picture, _truth(canvas, drawn)


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """What is known of a person once drawn; `far` marks joints behind the person's own torso."""

    points: Float64
    labelled: Bools
    far: Bools
    box: tuple[float, float, float, float]
    area: int


def _cast(rng: np.random.Generator, hw: tuple[int, int]) -> list[tuple[Body, float, Float64]]:
    """Return pose, standing height and place of the pelvis of everybody, the smallest, which are far, first."""
    count = int(rng.choice(MOST_PEOPLE, p=(0.34, 0.29, 0.19, 0.11, 0.07))) + 1
    shares = np.where(
        rng.random(count) < SMALL_CHANCE,
        rng.uniform(SMALLEST_SHARE, LOW_SHARE, count),
        rng.uniform(LOW_SHARE, HIGH_SHARE, count),
    )
    cast: list[tuple[Body, float, Float64]] = []
    boxes: list[Float64] = []
    for height in np.sort(shares) * hw[0]:
        body = random_body(rng)
        extent = np.concatenate([body.points[1:14, :2], body.points[HEAD:, :2]]) * height
        low, high = extent.min(axis=0), extent.max(axis=0)
        for _ in range(PLACES_TRIED):
            # Most people are whole in the picture, some are cut by a border.
            slack = 0.35 * (high - low) * (rng.random(2) < 0.35)
            first, last = -low - slack, np.array([hw[1], hw[0]]) - high + slack
            origin = np.where(first < last, rng.uniform(np.minimum(first, last), np.maximum(first, last)), 0.0)
            origin = np.where(first < last, origin, rng.uniform(0.3, 0.6, 2) * (hw[1], hw[0]))
            box = np.concatenate([low + origin, high + origin])
            if all(_covered(box, other) < MOST_COVERED for other in boxes):
                cast.append((body, float(height), origin))
                boxes.append(box)
                break
    return cast


def _covered(a: Float64, b: Float64) -> float:
    """Return how much of the smaller box lies in the other."""
    inside = np.maximum(0.0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]))
    smaller = min(float(np.prod(a[2:] - a[:2])), float(np.prod(b[2:] - b[:2])))
    return float(np.prod(inside)) / max(smaller, 1e-6)


def _draw_person(
    rng: np.random.Generator, canvas: Canvas, body: Body, height: float, origin: Float64, base: int
) -> _Drawn | None:
    clothes = _clothes(rng)
    head = _Face(rng, body, height, clothes["skin"])
    points = body.points * height
    points[:, :2] += origin
    layer = canvas.layer(np.concatenate([points[1:14, :2], points[RIGHT_HAND:, :2]]), 0.13 * height)
    if layer is None:
        return None
    depth = body.points[:, 2]
    bars = [(0.5 * (depth[a] + depth[b]) + nearer, index) for index, (a, b, *_, nearer) in enumerate(BARS)]
    torso = (float(depth[[2, 5, 8, 11]].mean()) + TORSO_NEARER, -1)
    for _, index in sorted([*bars, torso, (depth[HEAD] + HEAD_NEARER, -2)]):
        if index == -1:
            _draw_torso(layer, points, height, clothes["shirt"])
        elif index == -2:
            head.paste(layer, points[HEAD, :2])
        else:
            a, b, from_width, to_width, wear, part, _ = BARS[index]
            layer.bar(points[a], points[b], (from_width * height, to_width * height), clothes[wear], part)
    box, area = canvas.compose(layer, base, 0.2)
    if area == 0:
        return None
    keypoints, labelled = points[:18, :2].copy(), np.ones(18, np.bool_)
    face, shown = head.points()
    keypoints[[0, 14, 15, 16, 17]] = points[HEAD, :2] + face
    labelled[[0, 14, 15, 16, 17]] = shown
    far = np.zeros(18, np.bool_)
    for pair in ((2, 5), (8, 11)):
        half = 0.5 * float(np.linalg.norm(body.points[pair[0]] - body.points[pair[1]]))
        for joint in pair:
            far[joint] = depth[joint] - depth[list(pair)].mean() < -FAR_SIDE * half
    return _Drawn(points=keypoints, labelled=labelled, far=far, box=box, area=area)


def _clothes(rng: np.random.Generator) -> dict[str, Float64 | Float32]:
    skin = random_skin(rng)
    shirt, trousers, shoes = _cloth(rng, 240.0), _cloth(rng, 180.0), _cloth(rng, 120.0)
    return {
        "skin": skin,
        "shirt": shirt,
        "sleeves": skin if rng.random() < 0.45 else shirt,
        "trousers": trousers,
        "legs": skin if rng.random() < 0.25 else trousers,
        "shoes": shoes,
    }


def _cloth(rng: np.random.Generator, brightest: float) -> Float64:
    """Return a colour, mostly as dull as those of the scene, RGB, 0..255."""
    if rng.random() < 0.3:
        return rng.uniform(8.0, brightest, 3)
    return np.clip(rng.uniform(8.0, brightest) * (1.0 + rng.normal(0.0, 0.2, 3)), 4.0, 250.0)


def _draw_torso(layer: Layer, points: Float64, height: float, shirt: Float64 | Float32) -> None:
    """Draw shoulders, hips and what is between, from all sides at least as thick as a chest."""
    right, left, hip_right, hip_left = (points[joint] for joint in (2, 5, 8, 11))
    chest, waist = 0.5 * (right + left), 0.5 * (hip_right + hip_left)
    layer.bar(hip_right, hip_left, (0.1 * height, 0.1 * height), shirt * 0.7, TORSO)
    layer.bar(right, left, (0.06 * height, 0.06 * height), shirt * 0.9, TORSO)
    layer.bar(chest + 0.16 * (waist - chest), waist, (0.13 * height, 0.11 * height), shirt, TORSO)
    for share, light in ((1.0, 0.72), (0.8, 0.88), (0.55, 1.0)):
        corners = [
            middle + share * (corner - middle)
            for corner, middle in ((right, chest), (left, chest), (hip_left, waist), (hip_right, waist))
        ]
        layer.block(np.stack(corners), shirt * light, TORSO)


class _Face:
    """A head as it is pasted, and where its keypoints are."""

    def __init__(self, rng: np.random.Generator, body: Body, height: float, skin: Float64 | Float32) -> None:
        self.half = FACE_HALF_WIDTH * height
        self.away = math.cos(body.head_yaw) < -0.25
        yaw = 0.0 if self.away else float(np.clip(math.sin(body.head_yaw), -0.85, 0.85))
        detail = float(np.clip(SCALE * self.half, LEAST_DETAIL, MOST_DETAIL))
        self.head = Head(rng, detail, np.asarray(skin, np.float32), yaw=yaw, roll=body.head_roll)
        self.head.paint(body=False, away=self.away)

    def paste(self, layer: Layer, centre: Float64) -> None:
        """Lay the head over a layer, the middle of its face at a point of the picture."""
        unit = SCALE * self.half
        size = (max(3, round(2 * SPRITE_HALF_W * unit)), max(3, round((SPRITE_UP + SPRITE_DOWN) * unit)))
        opacity = Image.fromarray((self.head.alpha * 255.0).astype(np.uint8)).resize(size, Image.Resampling.BOX)
        filled = np.where(self.head.alpha[:, :, None] > 0, self.head.rgb, self.head.hair).astype(np.uint8)
        sprite = Image.fromarray(filled).resize(size, Image.Resampling.BOX)
        x, y = layer.place(centre[None])[0] + 0.5
        layer.paste(sprite, opacity, (round(x - SPRITE_HALF_W * unit), round(y - SPRITE_UP * unit)), HEAD_PART)

    def points(self) -> tuple[Float64, Bools]:
        """Return nose, right and left eye, right and left ear, (5, 2), pixels from the middle, and which can be seen.

        Ears are at the sides of the head; one that a turned head shows moves inwards, the other one vanishes.
        """
        yaw, roll = self.head.yaw, self.head.roll
        turn = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
        ears = np.array([(-0.98, 0.05), (0.98, 0.05)])
        if self.away:
            place = np.concatenate([np.zeros((3, 2)), ears[::-1] @ turn])
            return self.half * place, np.array([False, False, False, True, True])
        shown = np.array([True, True, True, yaw > -SIDE_YAW, yaw < SIDE_YAW])
        if abs(yaw) > SIDE_YAW:
            near = 0 if yaw > 0 else 1
            edge = 0.15 + 0.42 * (abs(yaw) - SIDE_YAW) / (0.85 - SIDE_YAW)
            ears[near, 0] = math.copysign(0.78 - edge, -yaw)
        place = np.concatenate([self.head.landmarks[[2, 0, 1]], ears @ turn])
        return self.half * place, shown


def _draw_object(rng: np.random.Generator, canvas: Canvas, box: tuple[float, float, float, float]) -> None:
    """Draw a post, a crate, a table or a round thing in front of somebody."""
    x1, y1, x2, y2 = box
    wide, high = x2 - x1, y2 - y1
    middle = np.array([rng.uniform(x1, x2), rng.uniform(y1 + 0.1 * high, y2)])
    kind = rng.random()
    if kind < 0.3:
        half = np.array([rng.uniform(0.05, 0.14) * max(wide, 0.3 * high), rng.uniform(0.4, 1.2) * high])
    elif kind < 0.55:
        half = np.array([rng.uniform(0.4, 0.9) * wide, rng.uniform(0.03, 0.1) * high])
    else:
        half = np.array([rng.uniform(0.12, 0.4) * wide, rng.uniform(0.08, 0.22) * high])
    tilt = rng.normal(0.0, 0.1)
    along = np.array([math.cos(tilt), math.sin(tilt)]) * half[0]
    across = np.array([-math.sin(tilt), math.cos(tilt)]) * half[1]
    layer = canvas.layer(np.stack([middle - half, middle + half]), 0.2 * float(half.max()) + 2.0)
    if layer is None:
        return
    colour = rng.uniform(10, 235, 3)
    if rng.random() < 0.3:
        thick = 2.0 * float(half.min())
        reach = along if half[0] > half[1] else across
        layer.bar(middle - reach, middle + reach, (thick, thick), colour, 1)
    else:
        for share, light in ((1.0, 0.75), (0.92, 1.0)):
            signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
            corners = [middle + share * (a * along + b * across) for a, b in signs]
            layer.block(np.stack(corners), colour * light, 1)
    canvas.compose(layer, -1, 0.35)


def _draw_stick(rng: np.random.Generator, canvas: Canvas) -> None:
    """Draw what is like a limb and none: two or three bars that meet, in the colours of skin or cloth."""
    height, width = canvas.owner.shape
    length = rng.uniform(0.05, 0.22) * height
    points = [np.array([rng.uniform(0, width), rng.uniform(0, height)])]
    angle = rng.uniform(0.0, 2.0 * math.pi)
    for _ in range(int(rng.integers(1, 4))):
        angle += rng.normal(0.0, 0.7)
        points.append(points[-1] + length * rng.uniform(0.6, 1.2) * np.array([math.cos(angle), math.sin(angle)]))
    layer = canvas.layer(np.stack(points), 0.3 * length)
    if layer is None:
        return
    colour = random_skin(rng) if rng.random() < 0.4 else rng.uniform(8, 240, 3)
    thick = length * rng.uniform(0.15, 0.4)
    for a, b in pairwise(points):
        layer.bar(a, b, (thick, 0.8 * thick), colour, 1)
        thick *= 0.8
    canvas.compose(layer, -1, 0.2)


def _truth(canvas: Canvas, drawn: list[_Drawn]) -> People:
    keypoints = np.zeros((len(drawn), 18, 3), np.float32)
    crowd = np.zeros(len(drawn), np.bool_)
    ignore = np.zeros(canvas.owner.shape, np.bool_)
    for index, person in enumerate(drawn):
        keypoints[index] = _joint_truth(canvas.owner, person, index * PART_STEP)
        mine = (canvas.owner > index * PART_STEP) & (canvas.owner < (index + 1) * PART_STEP)
        seen = int((keypoints[index, :, 2] == 2).sum())
        if mine.sum() < LEAST_SEEN * person.area or seen < FEWEST_JOINTS:
            crowd[index] = True
            ignore |= mine
    return People(
        keypoints=keypoints,
        boxes=np.array([person.box for person in drawn], np.float32).reshape(-1, 4),
        areas=np.array([person.area for person in drawn], np.float32),
        crowd=crowd,
        ignore=ignore,
    )


def _joint_truth(owner: NDArray[np.int32], person: _Drawn, base: int) -> Float32:
    """Return (18, 3): a joint is visible where one of its own parts was painted last and the torso is not before it."""
    height, width = owner.shape
    truth = np.zeros((18, 3), np.float32)
    for joint, (x, y) in enumerate(person.points):
        if not (person.labelled[joint] and 0.0 <= x < width and 0.0 <= y < height):
            continue
        shown = owner[int(y), int(x)] - base in OWN[joint] and not person.far[joint]
        truth[joint] = x, y, 2.0 if shown else 1.0
    if truth[2, 2] and truth[5, 2]:
        truth[1] = (truth[2] + truth[5]) / 2.0
        truth[1, 2] = min(truth[2, 2], truth[5, 2])
    else:
        truth[1] = 0.0
    return truth
