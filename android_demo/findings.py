"""Whom two engines find in the same picture: people and faces, not tensors, are what a user sees.

Quantised networks round differently from engine to engine, and a finding near the threshold may come or go by that. One
that is clear in one engine must be there in the other, in the same place.
"""

from __future__ import annotations

import math

from edge.runtime.results import Face, Person, Result

__all__ = ["only_one_finds"]

CLEAR = 0.1  # a score so far above the threshold is clear; its partner may lie as far below
MIN_IOU = 0.8  # faces of 10 pixels and more: a step of INT8 moves a side by a few hundredths of it
MIN_JOINTS = 6  # of a clear person
MAX_JOINT_OFF = 0.02  # mean over joints that both have, of the picture's longer side


def only_one_finds(here: Result, there: Result, threshold: float, longer_side: float) -> tuple[int, list[str]]:
    """Return how many clear findings there are on either side, and those without a partner on the other, in words.

    Args:
        here, there: of one picture, decoded with a threshold `CLEAR` below the card's, so that partners are listed.
        threshold: the card's, lowest score of a face.
        longer_side: of the picture, pixels.
    """
    clear, lonely = 0, []
    for own, other, side in ((here, there, "the host"), (there, here, "the app's version")):
        for face in own.faces:
            if face.score >= threshold + CLEAR:
                clear += 1
                if not any(_iou(face, rival) >= MIN_IOU for rival in other.faces):
                    lonely.append(f"only {side} finds the face of score {face.score:.2f} at {_place(face)}")
        for person in own.people:
            if sum(point is not None for point in person.keypoints) >= MIN_JOINTS:
                clear += 1
                if not any(_joint_off(person, rival) <= MAX_JOINT_OFF * longer_side for rival in other.people):
                    lonely.append(f"only {side} finds a person of score {person.score:.1f}")
    return clear, lonely


def _iou(one: Face, other: Face) -> float:
    (left, top, right, bottom), (x1, y1, x2, y2) = one.box_xyxy, other.box_xyxy
    shared = max(0.0, min(right, x2) - max(left, x1)) * max(0.0, min(bottom, y2) - max(top, y1))
    union = (right - left) * (bottom - top) + (x2 - x1) * (y2 - y1) - shared
    return shared / union if union > 0 else 0.0


def _joint_off(one: Person, other: Person) -> float:
    pairs = [(a, b) for a, b in zip(one.keypoints, other.keypoints, strict=True) if a is not None and b is not None]
    if len(pairs) < MIN_JOINTS - 1:
        return math.inf
    return sum(math.hypot(a.x - b.x, a.y - b.y) for a, b in pairs) / len(pairs)


def _place(face: Face) -> str:
    return ", ".join(f"{side:.0f}" for side in face.box_xyxy)
