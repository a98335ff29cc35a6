"""People put together from joints and limbs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .skeleton import FILL_ONLY, KEYPOINTS, LIMBS

__all__ = ["Connection", "assemble"]

Float64 = NDArray[np.float64]

Connection = tuple[int, int, float]  # joint id at the start, joint id at the end, affinity
PARTS = len(KEYPOINTS)
ABSENT = -1


@dataclass(eq=False)  # two people may hold the same joints; `holders` tells them apart
class _Entry:
    joints: list[int]  # joint ids by part
    score: float = 0.0
    count: int = 0


def assemble(
    limbs: Iterable[Sequence[Connection]], heights: Sequence[float], *, min_keypoints: int = 3, min_score: float = 0.2
) -> Float64:
    """Return the people that the limbs form, in the order they were begun.

    Limb by limb, whoever holds the start joint gets the end joint, in place of one it had; nobody does: a new person.
    People are never merged, so that a missing neck leaves pieces, and an overwritten joint still counts. The two limbs
    from shoulder to ear only fill gaps.

    Args:
        limbs: for each of the 19 limbs, its connections, best first.
        heights: by joint id, the height of its peak.
        min_keypoints: a person counted fewer times is dropped.
        min_score: a person with a lower score a joint is dropped.

    Returns:
        (P, 20) float64: 18 joint ids (-1 absent), score, count.

    Source:
        Lightweight OpenPose, `group_keypoints`.
    """
    entries: list[_Entry] = []
    holders: dict[int, list[_Entry]] = {}  # joint id -> people that hold it, which replaces a search of all people

    def give(entry: _Entry, part: int, joint: int) -> None:
        if entry.joints[part] == joint:
            return
        if entry.joints[part] != ABSENT:
            holders[entry.joints[part]].remove(entry)
        entry.joints[part] = joint
        holders.setdefault(joint, []).append(entry)

    for number, (limb, connections) in enumerate(zip(LIMBS, limbs, strict=True)):
        for start, end, affinity in connections:
            if number in FILL_ONLY:
                at_start, at_end = list(holders.get(start, ())), list(holders.get(end, ()))
                for entry in at_start:
                    if entry.joints[limb.end] == ABSENT:
                        give(entry, limb.end, end)
                for entry in at_end:
                    if entry.joints[limb.start] == ABSENT:
                        give(entry, limb.start, start)
                continue
            owners = list(holders.get(start, ()))
            for entry in owners:
                give(entry, limb.end, end)
                entry.score += heights[end] + affinity
                entry.count += 1
            if not owners:
                entry = _Entry([ABSENT] * PARTS, heights[start] + heights[end] + affinity, 2)
                give(entry, limb.start, start)
                give(entry, limb.end, end)
                entries.append(entry)
    kept = [
        [*entry.joints, entry.score, entry.count]
        for entry in entries
        if entry.count >= min_keypoints and entry.score / entry.count >= min_score
    ]
    return np.array(kept, np.float64).reshape(len(kept), PARTS + 2)
