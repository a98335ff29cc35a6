"""People put together from joints and limbs.

Limb by limb in the order of `skeleton.LIMBS`, whoever holds the start joint gets the end joint, in place of one it had;
nobody does: a new person. People are never merged, so that a missing neck leaves pieces, and an overwritten joint still
counts. The two limbs from shoulder to ear only fill gaps. Who holds a joint is looked up, not searched for, so that the
time grows with the number of limbs only.

Source:
    Lightweight OpenPose (Osokin, arXiv:1811.12004), `group_keypoints`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .limbs import Connection
from .skeleton import FILL_ONLY, KEYPOINTS, LIMBS

__all__ = ["ABSENT", "Entry", "assemble"]

ABSENT = -1


@dataclass(eq=False, slots=True)  # two people may hold the same joints
class Entry:
    """A person in the reference's own terms.

    Attributes:
        joints: 18 joint ids by part, `ABSENT` where there is none.
        score: sum of peak heights and affinities.
        count: joints that were given, also those that took another's place.
    """

    joints: list[int]
    score: float
    count: int


def assemble(
    limbs: Sequence[Sequence[Connection]], heights: Sequence[float], *, min_keypoints: int = 3, min_score: float = 0.2
) -> list[Entry]:
    """Return the people that the limbs form, in the order they were begun.

    Args:
        limbs: for each of the 19 limbs, its connections, best first.
        heights: by joint id, the height of its peak.
        min_keypoints: a person counted fewer times is dropped.
        min_score: a person with a lower score a joint is dropped.
    """
    entries: list[Entry] = []
    holders: list[list[Entry]] = [[] for _ in heights]  # by joint id

    for number, (limb, connections) in enumerate(zip(LIMBS, limbs, strict=True)):
        start_part, end_part = limb.start, limb.end
        if number in FILL_ONLY:
            for start, end, _ in connections:
                at_end = list(holders[end])
                for entry in list(holders[start]):
                    if entry.joints[end_part] == ABSENT:
                        _give(entry, end_part, end, holders)
                for entry in at_end:
                    if entry.joints[start_part] == ABSENT:
                        _give(entry, start_part, start, holders)
            continue
        for start, end, affinity in connections:
            for entry in holders[start]:
                if entry.joints[end_part] != end:
                    _give(entry, end_part, end, holders)
                entry.score += heights[end] + affinity
                entry.count += 1
            if not holders[start]:
                joints = [ABSENT] * len(KEYPOINTS)
                joints[start_part], joints[end_part] = start, end
                entry = Entry(joints, heights[start] + heights[end] + affinity, 2)
                holders[start].append(entry)
                holders[end].append(entry)
                entries.append(entry)
    return [entry for entry in entries if entry.count >= min_keypoints and entry.score / entry.count >= min_score]


def _give(entry: Entry, part: int, joint: int, holders: list[list[Entry]]) -> None:
    before = entry.joints[part]
    if before != ABSENT:
        holders[before].remove(entry)
    entry.joints[part] = joint
    holders[joint].append(entry)
