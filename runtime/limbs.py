"""Limbs: pairs of joints that an affinity field connects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .errors import ShapeError

__all__ = ["match_limbs"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Index = NDArray[np.intp]

EPSILON = 1e-6  # added to norms and counts by the reference
PROBE_FROM = 512  # pairs; below that, looking at all points at once is faster
BLOCK_PAIRS = 1 << 14  # pairs scored at a time, which bounds the temporaries


def match_limbs(
    field_x: Float32,
    field_y: Float32,
    starts: Float64,
    ends: Float64,
    *,
    points: int = 10,
    paf_threshold: float = 0.05,
    min_ratio: float = 0.8,
) -> tuple[Index, Index, Float64]:
    """Return which starts and ends belong together, one to one, best first.

    Along each pair's line the field is read at evenly spaced pixels, both ends included, and multiplied with the unit
    vector of the line. A pair counts if more than `min_ratio` of the products exceed `paf_threshold`; its affinity is
    their mean. Pairs are taken by falling affinity while both ends are free.

    Args:
        field_x, field_y: (H, W) float32, finite, components of the affinity field, about -1..1.
        starts, ends: (N, >= 2), (M, >= 2), columns x, y in whole pixels inside the field.
        points: samples on a line, at least 2.
        paf_threshold: what a product must exceed.
        min_ratio: share of products that must do so, exclusive, 0..1.

    Returns:
        Indices into `starts`, into `ends`, and affinities, float64, each (L,), L <= min(N, M). Of equal affinities
        the shorter pair comes first, then that with the earlier end, then that with the earlier start.

    Raises:
        ShapeError: the two fields differ in shape.

    Source:
        Cao et al., arXiv:1611.08050, eq. 11; constants and order of Lightweight OpenPose, `group_keypoints`.
    """
    if field_x.shape != field_y.shape or field_x.ndim != 2:
        raise ShapeError("both field components must be (H, W)", got=(field_x.shape, field_y.shape))
    start_xy, end_xy = starts[:, :2].astype(np.float32), ends[:, :2].astype(np.float32)
    pairs = len(starts) * len(ends)
    found = [
        _score(field_x, field_y, start_xy, end_xy, np.arange(first, min(first + BLOCK_PAIRS, pairs)), points,
               paf_threshold, min_ratio)
        for first in range(0, pairs, BLOCK_PAIRS)
    ]  # fmt: skip
    if not found:
        return np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0)
    accepted = np.concatenate([pair for pair, _ in found])
    affinity = np.concatenate([value for _, value in found])
    end_index, start_index = np.divmod(accepted, max(len(starts), 1))
    # The reference leaves the order of equal affinities to the processor's sort. People come in another order then;
    # this rule gives the order of its recorded results on any machine.
    length = np.square(end_xy[end_index] - start_xy[start_index]).sum(axis=1)
    order = np.lexsort((accepted, length, -affinity))
    taken = _one_to_one(start_index[order].tolist(), end_index[order].tolist())
    chosen = order[taken]
    return start_index[chosen], end_index[chosen], affinity[chosen]


def _score(
    field_x: Float32,
    field_y: Float32,
    start_xy: Float32,
    end_xy: Float32,
    pairs: Index,
    points: int,
    paf_threshold: float,
    min_ratio: float,
) -> tuple[Index, Float64]:
    """Return the accepted pairs (end * number of starts + start) and their affinities."""
    needed = next(count for count in range(points + 2) if count > points or count / points > min_ratio)
    if len(pairs) >= PROBE_FROM:
        # Most pairs belong to two people. A few points tell: more misses than a limb may have, and it is none.
        probes = np.unique(np.linspace(1, points - 2, 4).round().astype(int)) if points >= 4 else np.arange(points)
        products = _products(field_x, field_y, start_xy, end_xy, pairs, points, probes)
        misses = (products <= paf_threshold).sum(axis=1)
        pairs = pairs[misses <= points - needed]
    products = _products(field_x, field_y, start_xy, end_xy, pairs, points, np.arange(points))
    counts = products > np.float32(paf_threshold)
    number = counts.sum(axis=1)
    affinity = (products * counts).sum(axis=1) / (number + EPSILON)
    accepted = (affinity > 0) & (number >= needed)
    return pairs[accepted], affinity[accepted]


def _products(
    field_x: Float32, field_y: Float32, start_xy: Float32, end_xy: Float32, pairs: Index, points: int, which: Index
) -> Float32:
    """Return (pairs, points) float32: the field at those points of each line, along the line's direction."""
    end_index, start_index = np.divmod(pairs, len(start_xy))
    start = start_xy[start_index]
    vector = end_xy[end_index] - start
    # float32 throughout and halves to even, as the reference: another rounding would read other pixels.
    step = np.float32(1 / (points - 1)) * vector
    grid = which.astype(np.float32)
    x = np.rint(step[:, :1] * grid + start[:, :1]).astype(np.intp)
    y = np.rint(step[:, 1:] * grid + start[:, 1:]).astype(np.intp)
    place = y * field_x.shape[1] + x
    unit = vector / (np.sqrt(np.square(vector).sum(axis=1, keepdims=True)) + np.float32(EPSILON))
    along: Float32 = field_x.ravel()[place] * unit[:, :1]
    along += field_y.ravel()[place] * unit[:, 1:]
    return along


def _one_to_one(starts: list[int], ends: list[int]) -> list[int]:
    used_starts: set[int] = set()
    used_ends: set[int] = set()
    taken = []
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start not in used_starts and end not in used_ends:
            used_starts.add(start)
            used_ends.add(end)
            taken.append(place)
    return taken
