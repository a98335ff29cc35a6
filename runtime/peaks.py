"""Body joints as maxima of heatmaps, found on the small maps and refined below a cell, without enlarging a map.

The reference enlarges every map `upsample` times by bicubic and searches the pixels of that surface. But a maximum of
the surface lies beside a maximum of the map, so only there is the surface worth looking at:

1. A cell is a candidate when no neighbour of its four is higher. Of equal neighbours the one with the higher four
   around it counts, then the last by row and column, so that the plateau of a quantised head gives one joint; the
   strict rule of the reference gives several or none. A candidate may be as low as the threshold over `OVERSHOOT`:
   the surface can rise above its cells, by no more.
2. The surface up to the centres of the eight cells around a candidate is linear in the 5 x 5 cells about it: one
   matrix product gives it for all candidates of all parts. A pixel is a top when it is higher than its left and upper
   neighbours and not lower than the other two, outside the picture being zero; it cannot lie on the rim of this patch,
   where the surface may still climb. The highest top, at least `threshold` high, is the joint, and a parabola through
   it and its neighbours places it between pixels. A surface that is level but for rounding has none.
3. Of two joints of one part closer than `radius` pixels the higher one stays. (The reference keeps the left one, so
   that a mirrored picture has other joints.)

Along ridges and at the picture's border a bicubic surface ripples, and the reference finds joints there that belong to
no maximum of the map. Those are not found here.

With a factor of 1 the map is the surface, and the reference's rule holds to the letter: a maximum is strictly higher
than its neighbours, joints are whole pixels, and of two close ones the left one stays, whichever is higher.

Source:
    Lightweight OpenPose (Osokin, arXiv:1811.12004), `extract_keypoints`; bicubic: Keys, "Cubic convolution
    interpolation", IEEE ASSP 29(6), 1981, eq. 4 with a = -0.75, half-pixel centres and replicated border, as OpenCV.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import ShapeError
from .resize import cubic

__all__ = ["MAX_CANDIDATES", "MAX_FACTOR", "MAX_PEAKS", "OVERSHOOT", "Peaks", "find_peaks"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Index = NDArray[np.intp]

# A map of noise has tens of thousands of maxima; limb scoring takes pairs of peaks, so that it needs a bound.
MAX_PEAKS = 256  # of one joint: more people than fit into a picture that a network can see
MAX_CANDIDATES = 8 * MAX_PEAKS  # maxima of one joint before close ones are dropped
MAX_FACTOR = 32
# No pixel exceeds this times the largest magnitude of its cells: (2 * 19/32 + 2 * 3/32) squared, half-way in x and y.
OVERSHOOT = 1.375**2
BLOCK_PIXELS = 1 << 20  # of patches at a time, which bounds the temporaries
TINY = np.float32(1e-9)  # keeps a flat top from dividing by nothing
FLAT = np.float32(1e-5)  # of its height that a peak must fall to a neighbour: more than rounding, less than any blur
STEPS = 16  # neighbours by x that are compared at once; a column more crowded than that is left to the loop


class Peaks(NamedTuple):
    """Joints by part, then x, then y.

    Attributes:
        table: (K, 3) float64: x, y in pixels of the enlarged map, the first pixel's centre at 0; height.
        counts: joints of each part; they add up to K.
        truncated: a cap dropped some, which are then the lowest ones of their part.
    """

    table: Float64
    counts: list[int]
    truncated: bool


def find_peaks(
    heatmaps: Float32,
    threshold: float,
    radius: float,
    *,
    upsample: int = 1,
    content_hw: tuple[int, int] | None = None,
) -> Peaks:
    """Return the joints of all parts, at most `MAX_PEAKS` of each.

    Args:
        heatmaps: (C, h, w) float32, finite.
        threshold: lowest height of a joint, above 0.
        radius: enlarged pixels, at least 0: joints of a part are no closer.
        upsample: enlarged pixels a cell, 1..`MAX_FACTOR`.
        content_hw: height and width of the top-left part of the enlarged map that is searched; None: all of it.

    Raises:
        ShapeError: the heatmaps are not 3-D.
    """
    if heatmaps.ndim != 3:
        raise ShapeError("heatmaps must be (C, h, w)", got=heatmaps.shape)
    channels, height, width = heatmaps.shape
    rows, columns = content_hw or (height * upsample, width * upsample)
    part, row, column, value = _candidates(
        heatmaps[:, : math.ceil(rows / upsample), : math.ceil(columns / upsample)], threshold, exact=upsample == 1
    )
    counts = np.bincount(part, minlength=channels)
    truncated = bool(counts.size) and int(counts.max()) > MAX_CANDIDATES
    if truncated:
        chosen = _highest(part, value, MAX_CANDIDATES)
        part, row, column, value = part[chosen], row[chosen], column[chosen], value[chosen]
    if upsample > 1 and len(part):
        chosen, xy, value = _refine(heatmaps, part, row, column, threshold, upsample, (rows, columns))
        part, x, y = part[chosen], xy[0], xy[1]
    else:
        x, y = column.astype(np.float64), row.astype(np.float64)
    order = np.lexsort((y, x, part))
    part, x, y, value = part[order], x[order], y[order], value[order]
    kept = _thin(part, x, y, None if upsample == 1 else value, radius)
    if kept is not None:
        part, x, y, value = part[kept], x[kept], y[kept], value[kept]
    counts = np.bincount(part, minlength=channels)
    if counts.size and int(counts.max()) > MAX_PEAKS:
        chosen = _highest(part, value, MAX_PEAKS)
        part, x, y, value = part[chosen], x[chosen], y[chosen], value[chosen]
        counts, truncated = np.minimum(counts, MAX_PEAKS), True
    table = np.empty((len(part), 3))
    table[:, 0], table[:, 1], table[:, 2] = x, y, value
    return Peaks(table, counts.tolist(), truncated)


def _candidates(heatmaps: Float32, threshold: float, *, exact: bool) -> tuple[Index, Index, Index, Float32]:
    """Return part, row, column and value of the maxima among cells; only cells high enough look at their neighbours."""
    channels, height, width = heatmaps.shape
    stride = width + 2
    framed = np.full((channels, height + 2, stride), -np.inf, np.float32)  # a frame saves the questions at the border
    framed[:, 1:-1, 1:-1] = heatmaps
    flat = framed.ravel()
    # `place` counts from the cell above, so that each neighbour is the same index into another view.
    place = np.flatnonzero(flat[stride:] >= np.float32(threshold if exact else threshold / OVERSHOOT))
    value = flat[stride:].take(place)
    beats = np.greater if exact else np.greater_equal
    peak = beats(value, flat[stride + 1 :].take(place))
    peak &= beats(value, flat[stride - 1 :].take(place))
    rest = np.flatnonzero(peak)
    place, value = place[rest], value[rest]
    peak = beats(value, flat[2 * stride :].take(place))
    peak &= beats(value, flat.take(place))
    rest = np.flatnonzero(peak)
    place, value = place[rest] + stride, value[rest]
    if not exact:
        neighbours = np.array([[-stride], [-1], [1], [stride]])
        level = flat.take(place + neighbours) == value
        if level.any():
            rest = _middles(flat, place, level, neighbours)
            place, value = place[rest], value[rest]
    line, column = np.divmod(place, stride)
    part, row = np.divmod(line, height + 2)
    return part, row - 1, column - 1, value


def _middles(flat: Float32, place: Index, level: NDArray[np.bool_], neighbours: Index) -> Index:
    """Return which candidates stay, where `level` says to which of their four neighbours they are equal.

    Of equal cells the one with the higher surroundings stays, then the last by row and column: one for a plateau that
    is not wider than a joint.
    """
    around = flat.take(place + neighbours).sum(axis=0)
    rival = flat.take((place + neighbours)[:, None] + neighbours, mode="clip").sum(axis=1)  # (neighbour, place)
    later = neighbours > 0
    return np.flatnonzero(~(level & ((rival > around) | ((rival == around) & later))).any(axis=0))


def _refine(
    heatmaps: Float32,
    part: Index,
    row: Index,
    column: Index,
    threshold: float,
    factor: int,
    content_hw: tuple[int, int],
) -> tuple[Index, Float64, Float32]:
    """Return which candidates are peaks of the bicubic surface, their (2, K) x and y, and their heights."""
    patch = _patch(factor)
    block = max(BLOCK_PIXELS // patch.side**2, 1)
    found = [
        _refine_block(heatmaps, part[some], row[some], column[some], threshold, factor, content_hw, patch)
        for some in (slice(first, first + block) for first in range(0, len(part), block))
    ]
    if len(found) == 1:
        return found[0]
    chosen = [which + number * block for number, (which, _, _) in enumerate(found)]
    return np.concatenate(chosen), np.concatenate([xy for _, xy, _ in found], 1), np.concatenate([h for *_, h in found])


def _refine_block(
    heatmaps: Float32,
    part: Index,
    row: Index,
    column: Index,
    threshold: float,
    factor: int,
    content_hw: tuple[int, int],
    patch: _Patch,
) -> tuple[Index, Float64, Float32]:
    _, height, width = heatmaps.shape
    area = patch.weights.shape[1]
    lines, columns = _near(height, width, patch.reach), _near(width, 1, patch.reach)
    near = lines[row] + (part * (height * width))[:, None]
    cells = heatmaps.ravel().take(near[:, :, None] + columns[column][:, None, :])
    surface = cells.reshape(-1, patch.weights.shape[0]) @ patch.weights
    corner = np.array((column, row)) * factor
    size = np.array((content_hw[1], content_hw[0]))[:, None]
    outside = (corner < -patch.xy[0, 0]) | (corner + patch.xy[0, -1] >= size)
    if outside.any():
        at_rim = np.flatnonzero(outside[0] | outside[1])
        pixel = corner[:, at_rim, None] + patch.xy[:, None]
        surface[at_rim] *= ((pixel >= 0) & (pixel < size[:, :, None])).all(axis=0)  # zero outside, as the reference
    flat, side = surface.ravel(), patch.side
    climbs_right, climbs_down = flat[1:] > flat[:-1], flat[side:] > flat[:-side]
    # From the second row of the first patch to the last but one of the last, each pixel with its four neighbours.
    top = climbs_right[side - 1 : -side] & climbs_down[:-side]
    top &= ~(climbs_right[side:][: len(top)] | climbs_down[side:])
    place = np.flatnonzero(top) + side
    value = flat.take(place)
    which, pixel = np.divmod(place, area)
    kept = np.flatnonzero((value >= np.float32(threshold)) & patch.inner.take(pixel))
    if (which[kept[1:]] == which[kept[:-1]]).any():  # a plateau ripples: the highest top of each candidate
        kept = kept[np.lexsort((value[kept], which[kept]))]
        kept = kept[np.append(which[kept[1:]] != which[kept[:-1]], True)]
    place, value, which = place[kept], value[kept], which[kept]
    xy = corner.take(which, axis=1) + patch.xy.take(pixel[kept], axis=1)
    step = np.array([[1], [side]])
    before, after = flat.take(place - step), flat.take(place + step)
    inside = (xy > 0) & (xy < size - 1)  # at the picture's rim the surface has no other side
    lower = np.where(inside, np.minimum(before, after), np.maximum(before, after))
    steep = value - lower > FLAT * value  # a flat surface is not level to the last bit
    shift = inside * (0.5 * (after - before) / np.maximum(2 * value - before - after, TINY))
    if not steep.all():
        rest = np.flatnonzero(steep[0] & steep[1])
        which, xy, shift, value = which[rest], xy.take(rest, axis=1), shift.take(rest, axis=1), value[rest]
    return which, xy + shift, value


def _thin(part: Index, x: Float64, y: Float64, value: Float32 | None, radius: float) -> Index | None:
    """Return the places of the joints that stay, in order, or None for all.

    They come by part, x and y, and are taken in that order, or the highest first where there are heights.
    """
    reach = max(radius, 1e-3)  # two candidates may have climbed to one top
    key = x + part * (float(x.max(initial=0.0)) + reach + 1.0)
    crowded = np.zeros(len(part), bool)
    for step in range(1, STEPS + 1):
        gap = key[step:] - key[:-step]
        close = gap < reach
        if not close.any():
            break
        if step < STEPS:
            close &= gap * gap + np.square(y[step:] - y[:-step]) < reach * reach
        crowded[step:] |= close
        crowded[:-step] |= close
    if not crowded.any():
        return None
    stays = np.ones(len(part), bool)
    doubtful = np.flatnonzero(crowded)
    if value is not None:
        doubtful = doubtful[np.argsort(-value[doubtful], kind="stable")]
    # A square is so small that it holds one joint that stays, and a rival is at most two squares away.
    size = reach / math.sqrt(2)
    taken: dict[tuple[int, int], tuple[float, float]] = {}
    squares = zip(
        doubtful.tolist(),
        key[doubtful].tolist(),
        y[doubtful].tolist(),
        np.floor(key[doubtful] / size).astype(np.int64).tolist(),
        np.floor(y[doubtful] / size).astype(np.int64).tolist(),
        strict=True,
    )
    for place, at_x, at_y, i, j in squares:
        for near_i, near_j in _SQUARES:
            rival = taken.get((i + near_i, j + near_j))
            if rival is not None and (at_x - rival[0]) ** 2 + (at_y - rival[1]) ** 2 < reach * reach:
                stays[place] = False
                break
        else:
            taken[i, j] = (at_x, at_y)
    return np.flatnonzero(stays)


_SQUARES = [(i, j) for i in range(-2, 3) for j in range(-2, 3)]


def _highest(part: Index, value: Float32, count: int) -> Index:
    """Return the places of the `count` highest of each part, in order."""
    order = np.lexsort((-value, part))
    place_in_part = np.arange(len(part)) - np.searchsorted(part, part)  # by part already, as is `order`
    return np.sort(order[place_in_part < count])


@lru_cache(maxsize=16)
def _near(count: int, step: int, reach: int) -> Index:
    """Return (count, 2 * reach + 1): where cells i - reach .. i + reach begin, the border repeated."""
    cells = np.arange(count)[:, None] + np.arange(-reach, reach + 1)
    starts: Index = np.clip(cells, 0, count - 1) * step
    return starts


class _Patch(NamedTuple):
    """The surface around a cell, nearer than `reach` - 1.1 cells in x and y.

    Attributes:
        reach: cells either side that the patch depends on.
        side: pixels.
        weights: ((2 * reach + 1) ** 2, side * side).
        xy: (2, side * side), x and y of each pixel, from the cell's own first one.
        inner: (side * side), whether a pixel has all its neighbours.
    """

    reach: int
    side: int
    weights: Float32
    xy: Index
    inner: NDArray[np.bool_]


@lru_cache(maxsize=4)
def _patch(factor: int) -> _Patch:
    # A maximum may be a little nearer to the next cell's centre. With few pixels a cell that one's pixel is on the rim.
    reach = 2 if factor >= 4 else 3
    pixels = np.arange(-reach * factor, (reach + 1) * factor)
    offsets = (pixels + 0.5) / factor - 0.5  # from the cell's centre, cells
    near = np.abs(offsets) < reach - 1.1
    pixels, offsets = pixels[near], offsets[near]
    line = cubic(np.abs(offsets - np.arange(-reach, reach + 1)[:, None]))
    weights = np.einsum("ar,bc->abrc", line, line).reshape(line.shape[0] ** 2, -1).astype(np.float32)
    x, y = (grid.ravel() for grid in np.meshgrid(pixels, pixels))
    inner = (np.minimum(x, y) > pixels[0]) & (np.maximum(x, y) < pixels[-1])
    return _Patch(reach, len(pixels), weights, np.array((x, y)), inner)
