"""Poses of a jointed body in three dimensions: who stands, walks, sits, squats, jumps or bends, and faces where.

Lengths are fractions of the standing height. x points right, y down and z towards the viewer; the pelvis is the origin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEAD", "LEFT_HAND", "LEFT_TOE", "POINTS", "RIGHT_HAND", "RIGHT_TOE", "Body", "random_body"]

Float64 = NDArray[np.float64]

# Segment lengths: Drillis and Contini (1966), rounded.
TORSO, SHOULDER_HALF, HIP_HALF, SHOULDERS_TO_FACE = 0.29, 0.115, 0.07, 0.12
UPPER_ARM, FOREARM, HAND, THIGH, SHIN, FOOT = 0.175, 0.15, 0.045, 0.24, 0.24, 0.09

# Places in a body's points: the keypoints first, in the order of `runtime.skeleton`.
RIGHT_HAND, LEFT_HAND, RIGHT_TOE, LEFT_TOE, HEAD = 18, 19, 20, 21, 22
POINTS = 23
NECK = 1
ARMS = {-1.0: (2, 3, 4, RIGHT_HAND), 1.0: (5, 6, 7, LEFT_HAND)}  # by side: -1 the person's right, 1 the left
LEGS = {-1.0: (8, 9, 10, RIGHT_TOE), 1.0: (11, 12, 13, LEFT_TOE)}

KINDS = ("stand", "walk", "sit", "squat", "jump", "bend")
KIND_SHARES = (0.3, 0.25, 0.15, 0.08, 0.1, 0.12)


@dataclass(frozen=True, kw_only=True)
class Body:
    """One pose, seen from the front of the scene.

    Attributes:
        points: (23, 3) float64, the 18 keypoints but those of the face, which are 0, then hands, toes and the middle
            of the head.
        head_yaw: where the face looks, radians: 0 at the viewer, positive to the picture's right, pi away.
        head_roll: tilt of the head in the picture, radians, positive clockwise.
    """

    points: Float64
    head_yaw: float
    head_roll: float


class _Limb(NamedTuple):
    """Angles of an arm or leg, radians: forward, outward, at the elbow or knee, and the lower part's own outward."""

    forward: float
    outward: float
    bend: float
    lower_outward: float


def random_body(rng: np.random.Generator) -> Body:
    """Return a pose; about half of all people face the viewer, a fifth turn away, the others to one side."""
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    yaw = _facing(rng)
    pitch = {"bend": rng.uniform(0.3, 1.1), "squat": rng.uniform(0.1, 0.6)}.get(kind, rng.normal(0.03, 0.1))
    lean, twist = rng.normal(0.0, 0.1), rng.normal(0.0, 0.18)
    points = np.zeros((POINTS, 3))
    hips = _frame(yaw, 0.0, 0.0)
    chest = _frame(yaw + twist, pitch, lean)
    points[NECK] = -TORSO * chest[1]
    steps = _legs(rng, kind)
    for index, side in enumerate((-1.0, 1.0)):
        hip, knee, ankle, toe = LEGS[side]
        points[hip] = side * HIP_HALF * hips[0]
        angles = steps[index]
        points[knee] = points[hip] + THIGH * _bone(hips, side, angles.forward, angles.outward)
        lower = _bone(hips, side, angles.forward - angles.bend, angles.lower_outward)
        points[ankle] = points[knee] + SHIN * lower
        sole = _bone(hips, side, angles.forward - angles.bend + rng.uniform(1.1, 1.6), rng.uniform(0.05, 0.4))
        points[toe] = points[ankle] + FOOT * sole
        shoulder, elbow, wrist, hand = ARMS[side]
        points[shoulder] = points[NECK] + side * SHOULDER_HALF * chest[0]
        angles = _arm(rng, kind, -steps[index].forward)
        points[elbow] = points[shoulder] + UPPER_ARM * _bone(chest, side, angles.forward, angles.outward)
        lower = _bone(chest, side, angles.forward + angles.bend, angles.lower_outward)
        points[wrist] = points[elbow] + FOREARM * lower
        points[hand] = points[wrist] + HAND * lower
    roll = lean * math.cos(yaw) + pitch * math.sin(yaw) * 0.7 + rng.normal(0.0, 0.12)
    up = _frame(yaw, 0.6 * pitch, lean)[1]
    points[HEAD] = points[NECK] - SHOULDERS_TO_FACE * up
    head_yaw = yaw + twist + rng.normal(0.0, 0.35)
    return Body(
        points=_seen_from(points, rng.normal(0.0, 0.1), rng.normal(0.0, 0.05)),
        head_yaw=math.remainder(head_yaw, 2.0 * math.pi),
        head_roll=float(np.clip(roll, -0.9, 0.9)),
    )


def _facing(rng: np.random.Generator) -> float:
    choice = rng.random()
    if choice < 0.48:
        return float(rng.normal(0.0, 0.4))
    if choice < 0.68:
        return float(math.pi + rng.normal(0.0, 0.4))
    return float(rng.choice((-1.0, 1.0)) * math.pi / 2.0 + rng.normal(0.0, 0.3))


def _legs(rng: np.random.Generator, kind: str) -> tuple[_Limb, _Limb]:
    """Return the angles of the right and the left leg."""
    if kind == "walk":
        stride, front = rng.uniform(0.25, 0.75), int(rng.integers(2))
        ahead = _Limb(stride, rng.uniform(0.0, 0.1), rng.uniform(0.05, 0.5), rng.uniform(0.0, 0.08))
        behind = _Limb(-0.8 * stride, rng.uniform(0.0, 0.1), rng.uniform(0.1, 1.0), rng.uniform(0.0, 0.08))
        return (ahead, behind) if front == 0 else (behind, ahead)
    if kind == "sit":
        high, apart = rng.uniform(1.2, 1.6), rng.uniform(0.05, 0.45)
        legs = [
            _Limb(high + rng.normal(0.0, 0.08), apart, high + rng.normal(0.0, 0.25), rng.normal(0.0, 0.2))
            for _ in range(2)
        ]
        return legs[0], legs[1]
    if kind == "squat":
        low, apart = rng.uniform(0.6, 1.5), rng.uniform(0.15, 0.7)
        legs = [_Limb(low + rng.normal(0.0, 0.1), apart, 1.7 * low, rng.normal(0.0, 0.12)) for _ in range(2)]
        return legs[0], legs[1]
    reach, loose = {"jump": (0.6, 0.35)}.get(kind, (0.16, 0.1))
    legs = [
        _Limb(
            rng.normal(0.0, loose),
            rng.uniform(-0.06, reach),  # below 0 the legs cross
            abs(rng.normal(0.0, 2.0 * loose)),
            rng.uniform(-0.06, reach),
        )
        for _ in range(2)
    ]
    return legs[0], legs[1]


def _arm(rng: np.random.Generator, kind: str, swing: float) -> _Limb:
    choice = rng.random()
    if kind == "jump":
        choice = 0.5 + 0.35 * choice
    if choice < 0.42:  # hanging, swinging against the leg of its side
        outward = abs(rng.normal(0.12, 0.12))
        lower = outward + rng.normal(0.0, 0.2)
        return _Limb(0.6 * swing + rng.normal(0.0, 0.2), outward, abs(rng.normal(0.25, 0.3)), lower)
    if choice < 0.54:  # reaching forward
        return _Limb(rng.uniform(0.6, 1.9), rng.uniform(-0.1, 0.5), rng.uniform(0.0, 1.0), rng.uniform(-0.5, 0.4))
    if choice < 0.74:  # out to the side or up
        outward = rng.uniform(0.7, 2.9)
        return _Limb(rng.normal(0.0, 0.2), outward, rng.normal(0.0, 0.25), outward + rng.uniform(-1.0, 0.9))
    if choice < 0.86:  # up in front: waving, holding a telephone
        return _Limb(rng.uniform(0.8, 2.6), rng.uniform(0.1, 0.8), rng.uniform(0.3, 2.2), rng.uniform(-0.6, 0.3))
    if choice < 0.93:  # hand on the hip
        return _Limb(rng.normal(-0.2, 0.15), rng.uniform(0.5, 0.9), rng.uniform(0.2, 0.7), rng.uniform(-1.1, -0.6))
    return _Limb(
        rng.uniform(0.1, 0.5), rng.uniform(0.0, 0.3), rng.uniform(0.9, 1.5), rng.uniform(-1.4, -0.8)
    )  # crossed


def _frame(yaw: float, pitch: float, lean: float) -> Float64:
    """Return the unit vectors to the person's left, down and forward, (3, 3), one a row."""
    left = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
    ahead = np.array([math.sin(yaw), 0.0, math.cos(yaw)])
    up = np.array([0.0, -1.0, 0.0])
    tilted = math.cos(pitch) * up + math.sin(pitch) * ahead
    sideways = math.cos(lean) * tilted + math.sin(lean) * left
    outward = math.cos(lean) * left - math.sin(lean) * tilted
    return np.stack([outward, -sideways, math.cos(pitch) * ahead - math.sin(pitch) * up])


def _bone(frame: Float64, side: float, forward: float, outward: float) -> Float64:
    """Return the direction of a bone: both angles 0 is down."""
    share = np.array([side * math.sin(outward), math.cos(outward) * math.cos(forward), 0.0])
    share[2] = math.cos(outward) * math.sin(forward)
    return np.asarray(share @ frame, np.float64)


def _seen_from(points: Float64, above: float, roll: float) -> Float64:
    """Return the points for a camera that looks down by `above` and is tilted by `roll`, radians."""
    x, y, z = points.T
    y, z = y * math.cos(above) + z * math.sin(above), z * math.cos(above) - y * math.sin(above)
    return np.stack([x * math.cos(roll) - y * math.sin(roll), x * math.sin(roll) + y * math.cos(roll), z], axis=1)
