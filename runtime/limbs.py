"""Limbs: pairs of joints that an affinity field connects.

A limb type joins two parts, and its field holds unit vectors that run from the first to the second. All pairs of all
limb types are scored in one list (in blocks, which bounds memory):

1. `points` evenly spaced points divide the line from joint to joint, both ends included. The field is read there, from
   the small map, bilinearly, and multiplied with the unit vector of the line. The reference reads whole pixels of an
   enlarged field, which is bicubic and thus sharper: affinities of its recorded pictures are 2 to 8 per cent higher,
   the same limbs are accepted, and its people are found.
2. A pair counts if more than `min_ratio` of the products exceed `paf_threshold`; its affinity is their mean. Where
   there are many pairs, most belong to two people: as many points as a limb may miss, and one more, are looked at
   first, and where all of them miss there is no limb.
3. Limb by limb, pairs are taken by falling affinity while both ends are free; of equal affinities the shorter pair
   comes first, then that with the earlier end, then that with the earlier start.

With a factor of 1 points are rounded to whole cells, as the reference rounds them to pixels, and reading is exact.

Source:
    Cao et al., arXiv:1611.08050, eq. 11; constants and order of Lightweight OpenPose, `group_keypoints`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .skeleton import LIMBS, Limb

__all__ = ["Connection", "match_limbs"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Index = NDArray[np.intp]
Connection = tuple[int, int, float]  # joint id at the start, joint id at the end, affinity

EPSILON = 1e-6  # added to norms and counts by the reference
PROBE_FROM = 512  # pairs; below that, looking at all points at once is faster
BLOCK_PAIRS = 1 << 14  # pairs scored at a time, which bounds the temporaries


def match_limbs(
    pafs: Float32,
    xy: Float64,
    counts: Sequence[int],
    *,
    upsample: int = 1,
    points: int = 10,
    paf_threshold: float = 0.05,
    min_ratio: float = 0.8,
    limbs: tuple[Limb, ...] = LIMBS,
) -> list[list[Connection]]:
    """Return the connections of each limb, one to one, best first.

    Args:
        pafs: (C, h, w) float32, finite, components of the affinity fields, about -1..1.
        xy: (K, 2) joints by part: x, y in pixels of the enlarged field, the first pixel's centre at 0, inside it.
        counts: joints of each part; joint ids count on from part to part.
        upsample: enlarged pixels a cell.
        points: samples on a line, at least 2.
        paf_threshold: what a product must exceed.
        min_ratio: share of products that must do so, exclusive, 0..1.
        limbs: parts to join, and the channels of their fields.
    """
    connections: list[list[Connection]] = [[] for _ in limbs]
    channels, run, limb_of_row, start_of_row, end_of_row = _rows(counts, limbs)
    joints = np.ascontiguousarray(xy.T, np.float32)
    cells = _cells(joints, pafs, upsample)
    found = []
    for rows in _blocks(run):
        row = np.repeat(np.arange(rows.start, rows.stop), run[rows])
        start = np.arange(len(row)) + np.repeat(start_of_row[rows] - run[rows].cumsum() + run[rows], run[rows])
        limb, end = limb_of_row[row], end_of_row[row]
        accepted, affinity, length = _score(
            pafs,
            joints,
            cells,
            start,
            end,
            channels.take(limb, axis=1),
            points,
            paf_threshold,
            min_ratio,
            rounded=upsample == 1,
        )
        found.append((limb[accepted], start[accepted], end[accepted], affinity, length))
    if not found:
        return connections
    limb, start, end, affinity, length = found[0] if len(found) == 1 else map(np.concatenate, zip(*found, strict=True))
    # The reference leaves the order of equal affinities to the processor's sort. People come in another order then;
    # this rule gives the order of its recorded results on any machine. The list is by limb, end and start already.
    order = np.lexsort((length, -affinity, limb))
    used_starts: set[int] = set()
    used_ends: set[int] = set()
    number = -1
    for first in range(0, len(order), BLOCK_PAIRS):
        some = order[first : first + BLOCK_PAIRS]
        taken = zip(limb[some].tolist(), start[some].tolist(), end[some].tolist(), affinity[some].tolist(), strict=True)
        for now, start_id, end_id, value in taken:
            if now != number:
                number = now
                used_starts.clear()
                used_ends.clear()
            if start_id not in used_starts and end_id not in used_ends:
                used_starts.add(start_id)
                used_ends.add(end_id)
                connections[now].append((start_id, end_id, value))
    return connections


def _rows(counts: Sequence[int], limbs: tuple[Limb, ...]) -> tuple[Index, Index, Index, Index, Index]:
    """Return the (2, limbs) channels, and of each row of pairs (one end, all starts of its limb) what it consists of.

    Returns:
        channels; and by row: number of starts, limb, first start's id, end's id.
    """
    start_part, end_part, *channels = _columns(limbs)
    of_part = np.array(counts, np.intp)
    first = of_part.cumsum() - of_part
    ends = of_part[end_part]
    limb = np.repeat(np.arange(len(limbs)), ends)
    end = np.arange(len(limb)) + np.repeat(first[end_part] - ends.cumsum() + ends, ends)
    of_limb = start_part[limb]
    return np.array(channels), of_part[of_limb], limb, first[of_limb], end


@lru_cache(maxsize=4)
def _columns(limbs: tuple[Limb, ...]) -> Index:
    return np.array(limbs, np.intp).T


def _blocks(run: Index) -> list[slice]:
    """Return consecutive rows with about `BLOCK_PAIRS` pairs together, and none where there is no pair."""
    total = run.cumsum()
    pairs = int(total[-1]) if len(total) else 0
    if pairs <= BLOCK_PAIRS:
        return [slice(0, len(run))] if pairs else []
    edges = np.searchsorted(total, np.arange(BLOCK_PAIRS, pairs, BLOCK_PAIRS)).tolist()
    edges = sorted({0, *edges, len(run)})
    return [slice(first, last) for first, last in pairwise(edges)]


def _score(
    pafs: Float32,
    joints: Float32,
    cells: Float32,
    start_id: Index,
    end_id: Index,
    channels: Index,
    points: int,
    paf_threshold: float,
    min_ratio: float,
    *,
    rounded: bool,
) -> tuple[Index, Float64, Float32]:
    """Return which pairs count, and their affinities and squared lengths."""
    # float32 throughout, as the reference: another rounding would read other pixels.
    vector = joints.take(end_id, axis=1) - joints.take(start_id, axis=1)
    length = vector[0] * vector[0] + vector[1] * vector[1]
    unit = vector / (np.sqrt(length) + np.float32(EPSILON))
    start = cells.take(start_id, axis=1)
    step = (cells.take(end_id, axis=1) - start) * np.float32(1 / (points - 1))
    base = (channels * (pafs.shape[1] * pafs.shape[2])).astype(np.int32)  # 8 GB of fields would be needed to overflow
    needed, probes = _plan(points, min_ratio)
    pairs = np.arange(len(length))
    if len(pairs) >= PROBE_FROM:
        products = _products(pafs, start, step, unit, base, probes, rounded=rounded)
        pairs = np.flatnonzero(_count(products <= np.float32(paf_threshold)) <= points - needed)
        start, step, unit, base = (values.take(pairs, axis=1) for values in (start, step, unit, base))
    products = _products(pafs, start, step, unit, base, np.arange(points, dtype=np.float32), rounded=rounded)
    number = _count(products > np.float32(paf_threshold))
    chosen = np.flatnonzero(number >= needed)
    products = np.ascontiguousarray(products.take(chosen, axis=1).T)  # sums must run in the order of the reference's
    affinity = (products * (products > np.float32(paf_threshold))).sum(axis=1) / (number[chosen] + EPSILON)
    positive = affinity > 0
    pairs = pairs[chosen[positive]]
    return pairs, affinity[positive], length[pairs]


@lru_cache(maxsize=4)
def _plan(points: int, min_ratio: float) -> tuple[int, Float32]:
    """Return how many points must count, and the places of some that decide most pairs: all missed is too many."""
    needed = next(count for count in range(points + 2) if count > points or count / points > min_ratio)
    probes = np.unique(np.rint(np.linspace(0, points - 1, points - needed + 3)[1:-1]))
    return needed, probes.astype(np.float32)


def _count(those: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return how many of the first axis are true; there are at most 100, and whole bytes add up fastest."""
    number: NDArray[np.int8] = those.view(np.int8).sum(axis=0, dtype=np.int8)
    return number


def _cells(xy: Float32, pafs: Float32, upsample: int) -> Float32:
    """Return (2, N) enlarged pixels in cells, not beyond the centres of the outermost ones."""
    last = np.array([[pafs.shape[2] - 1], [pafs.shape[1] - 1]], np.float32)
    cells = xy * np.float32(1 / upsample) + np.float32(0.5 / upsample - 0.5)
    inside: Float32 = np.minimum(np.maximum(cells, np.float32(0)), last)
    return inside


def _products(
    pafs: Float32, start: Float32, step: Float32, unit: Float32, base: Index, which: Float32, *, rounded: bool
) -> Float32:
    """Return (points, pairs) float32: the field at those points of each line, along the line's direction."""
    width = pafs.shape[2]
    cell = step[:, None] * which[:, None] + start[:, None]  # (2, points, pairs)
    if rounded:
        np.rint(cell, out=cell)  # halves to even, as the reference
    whole = cell.astype(np.int32)
    right, down = cell - whole.astype(np.float32)
    place = (whole[1] * np.int32(width) + whole[0] + base[:, None]).astype(np.intp)
    # A neighbour is the same index into another view. Beyond the border it is some other value, and weighs nothing.
    flat = pafs.ravel()
    upper, lower = flat.take(place, mode="wrap"), flat[width:].take(place, mode="wrap")
    upper += right * (flat[1:].take(place, mode="wrap") - upper)
    lower += right * (flat[width + 1 :].take(place, mode="wrap") - lower)
    upper += down * (lower - upper)
    upper *= unit[:, None]
    along: Float32 = upper[0] + upper[1]
    return along
