"""Drawn people: jointed bodies that stand, walk, sit and reach, clothed, in front of cluttered scenes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from .draw_faces import face_sprite, paste_head, random_skin
from .draw_scenes import draw_scene, smooth_noise

__all__ = ["draw_people"]

Float32 = NDArray[np.float32]
Point = tuple[float, float]

MOST_PEOPLE = 4
# Lengths and widths as fractions of the standing height: Drillis and Contini's segment lengths (1966), rounded.
TORSO, SHOULDER_HALF, HIP_HALF = 0.29, 0.115, 0.075
UPPER_ARM, FOREARM, THIGH, SHIN, FOOT = 0.17, 0.155, 0.24, 0.24, 0.07
FACE_HALF_WIDTH, NECK_TO_FACE = 0.05, 0.085
ARM_WIDTH, LEG_WIDTH, NECK_WIDTH = 0.055, 0.085, 0.05


def draw_people(rng: np.random.Generator, hw: tuple[int, int]) -> Float32:
    """Return a scene with 1 to 4 people, the nearest in front: (h, w, 3) float32 RGB, 0..255.

    Args:
        rng: source of every choice.
        hw: height and width of the picture, pixels, each at least 32.
    """
    picture = draw_scene(rng, hw)
    heights = sorted(rng.uniform(0.3, 1.15, int(rng.integers(1, MOST_PEOPLE + 1))) * hw[0])
    for height in heights:
        hip = (rng.uniform(0.1, 0.9) * hw[1], rng.uniform(0.45, 0.7) * hw[0])
        picture = _draw_person(rng, picture, hip, height)
    return picture


def _draw_person(rng: np.random.Generator, picture: Float32, hip: Point, height: float) -> Float32:
    skin = random_skin(rng)
    shirt, trousers = rng.uniform(8, 240, 3), rng.uniform(8, 170, 3)
    shoes = rng.uniform(5, 120, 3)
    sleeves = skin if rng.random() < 0.5 else shirt
    legs = skin if rng.random() < 0.2 else trousers
    away, turn = rng.random() < 0.2, rng.uniform(0.35, 1.0)
    lean = rng.normal(0.0, 0.12)
    neck = _step(hip, math.pi + lean, TORSO * height)
    image = Image.fromarray(picture.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    before = np.asarray(image, np.float32)

    sides = [(-1.0, 1.0), (1.0, -1.0)][int(rng.integers(2))]  # which arm and leg are behind
    for order, side in enumerate(sides):
        joint = (hip[0] + side * HIP_HALF * height * turn, hip[1])
        _draw_leg(rng, draw, joint, side, height, (trousers, legs, shoes))
        if order == 0:
            _draw_arm(rng, draw, neck, side * turn, height, (shirt, sleeves, skin))
    _limb(draw, neck, _step(neck, math.pi + lean, 0.05 * height), NECK_WIDTH * height, skin * 0.8)
    _draw_torso(draw, neck, hip, turn, height, shirt)
    _draw_arm(rng, draw, neck, sides[1] * turn, height, (shirt, sleeves, skin))

    after = np.asarray(image.filter(ImageFilter.GaussianBlur(0.6)), np.float32)
    touched = np.asarray(image.convert("RGB"), np.float32) != before
    mask = Image.fromarray((touched.any(axis=2) * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
    share = np.asarray(mask, np.float32)[:, :, None] / 255.0
    folds = 1.0 + 0.16 * smooth_noise(rng, (picture.shape[0], picture.shape[1]), 6)
    result = np.asarray(picture + share * (np.clip(after * folds, 0.0, 255.0) - picture), np.float32)

    half_width = FACE_HALF_WIDTH * height
    sprite, opacity = face_sprite(rng, half_width, skin=skin, away=away)
    paste_head(result, sprite, opacity, _step(neck, math.pi + lean, NECK_TO_FACE * height))
    return result


def _draw_leg(
    rng: np.random.Generator,
    draw: ImageDraw.ImageDraw,
    joint: Point,
    side: float,
    height: float,
    colours: tuple[NDArray[np.float64], NDArray[np.float64] | Float32, NDArray[np.float64]],
) -> None:
    sitting = rng.random() < 0.15
    swing = side * rng.uniform(0.7, 1.3) if sitting else rng.normal(0.06 * side, 0.22)
    bend = -swing if sitting else rng.normal(0.0, 0.2)
    knee = _step(joint, swing, THIGH * height * (0.75 if sitting else 1.0))
    ankle = _step(knee, swing + bend, SHIN * height)
    toe = _step(ankle, side * rng.uniform(0.4, 1.4), FOOT * height)
    _limb(draw, ankle, toe, 0.045 * height, colours[2])
    _limb(draw, knee, ankle, LEG_WIDTH * 0.75 * height, colours[1])
    _limb(draw, joint, knee, LEG_WIDTH * height, colours[0])


def _draw_arm(
    rng: np.random.Generator,
    draw: ImageDraw.ImageDraw,
    neck: Point,
    side: float,
    height: float,
    colours: tuple[NDArray[np.float64], NDArray[np.float64] | Float32, Float32],
) -> None:
    shoulder = (neck[0] + side * SHOULDER_HALF * height, neck[1] + 0.035 * height)
    outward = math.copysign(1.0, side)
    raised = rng.random() < 0.3
    swing = outward * (rng.uniform(0.8, 2.8) if raised else abs(rng.normal(0.15, 0.2)))
    elbow = _step(shoulder, swing, UPPER_ARM * height)
    wrist = _step(elbow, swing + outward * rng.normal(0.1, 0.7), FOREARM * height)
    _limb(draw, shoulder, elbow, ARM_WIDTH * height, colours[0])
    _limb(draw, elbow, wrist, ARM_WIDTH * 0.8 * height, colours[1])
    hand = _step(wrist, swing, 0.025 * height)
    _limb(draw, wrist, hand, ARM_WIDTH * 0.85 * height, colours[2])


def _draw_torso(
    draw: ImageDraw.ImageDraw, neck: Point, hip: Point, turn: float, height: float, shirt: NDArray[np.float64]
) -> None:
    top, low = SHOULDER_HALF * height * turn, (HIP_HALF + 0.03) * height * max(turn, 0.6)
    drop = 0.03 * height
    for share, factor in ((1.0, 0.72), (0.82, 0.88), (0.6, 1.0)):  # three nested shapes: light falls on the middle
        corners = [
            (neck[0] - top * share, neck[1] + drop),
            (neck[0] + top * share, neck[1] + drop),
            (hip[0] + low * share, hip[1] + drop),
            (hip[0] - low * share, hip[1] + drop),
        ]
        draw.polygon(corners, fill=_colour(shirt * factor))
    _limb(draw, (neck[0] - top, neck[1] + drop), (neck[0] + top, neck[1] + drop), ARM_WIDTH * height, shirt * 0.95)


def _limb(draw: ImageDraw.ImageDraw, a: Point, b: Point, width: float, colour: NDArray[np.float64] | Float32) -> None:
    """Draw a rounded bar that looks like a cylinder: dark edges under a light middle."""
    for share, factor in ((1.0, 0.68), (0.78, 0.86), (0.5, 1.0)):
        fill, half = _colour(colour * factor), max(0.6, width * share / 2.0)
        draw.line((a, b), fill=fill, width=max(1, round(2 * half)))
        for x, y in (a, b):
            draw.ellipse((x - half, y - half, x + half, y + half), fill=fill)


def _step(start: Point, angle: float, length: float) -> Point:
    """Return the point `length` away; angle 0 is down the picture, positive towards its right side."""
    return start[0] + math.sin(angle) * length, start[1] + math.cos(angle) * length


def _colour(rgb: NDArray[np.float64] | Float32) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in np.clip(rgb, 0.0, 255.0))
    return red, green, blue
