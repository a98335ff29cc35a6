"""The body model of OpenPose with 18 joints: names, limbs, and where COCO keeps the same joints.

Source:
    Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", CVPR 2017, arXiv:1611.08050;
    order and limb channels as in Osokin's Lightweight OpenPose, arXiv:1811.12004.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COCO_INDEX", "FILL_ONLY", "KEYPOINTS", "LIMBS", "Limb"]

# "right" and "left" are the person's own. Heatmap 18, after these, is the background.
KEYPOINTS = (
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
)

# Place of each joint among COCO's 17; the neck, the middle of the shoulders, is not one of them.
COCO_INDEX: tuple[int | None, ...] = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)


class Limb(NamedTuple):
    """Two joints, and the two channels of the affinity field that points from the first to the second."""

    start: int
    end: int
    channel_x: int
    channel_y: int


# In the order of processing, which the result depends on.
LIMBS = (
    Limb(1, 2, 12, 13),
    Limb(1, 5, 20, 21),
    Limb(2, 3, 14, 15),
    Limb(3, 4, 16, 17),
    Limb(5, 6, 22, 23),
    Limb(6, 7, 24, 25),
    Limb(1, 8, 0, 1),
    Limb(8, 9, 2, 3),
    Limb(9, 10, 4, 5),
    Limb(1, 11, 6, 7),
    Limb(11, 12, 8, 9),
    Limb(12, 13, 10, 11),
    Limb(1, 0, 28, 29),
    Limb(0, 14, 30, 31),
    Limb(14, 16, 34, 35),
    Limb(0, 15, 32, 33),
    Limb(15, 17, 36, 37),
    Limb(2, 16, 18, 19),
    Limb(5, 17, 26, 27),
)

# Shoulder to ear, by place in LIMBS: they complete a person, but neither start one nor add to a score.
FILL_ONLY = frozenset({17, 18})
