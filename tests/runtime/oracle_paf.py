"""The pose decoder loop by loop, as slow and plain as its definition: what `runtime.paf` is compared with.

Maps are already on the decoding grid. There are no caps. Arithmetic is float32 where the reference's is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

f32 = np.float32

LIMB_JOINTS = [
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
    (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17),
]  # fmt: skip
LIMB_CHANNELS = [
    (12, 13), (20, 21), (14, 15), (16, 17), (22, 23), (24, 25), (0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11),
    (28, 29), (30, 31), (34, 35), (32, 33), (36, 37), (18, 19), (26, 27),
]  # fmt: skip

Peak = tuple[int, int, float, int]  # x, y, height, id


def decode(heatmaps: NDArray[Any], pafs: NDArray[Any]) -> tuple[list[list[float]], list[Peak]]:
    """Return entries (18 ids, score, count) and peaks of (19, H, W) and (38, H, W) float32 maps."""
    parts: list[list[Peak]] = []
    total = 0
    for part in range(18):
        parts.append(peaks(heatmaps[part], total))
        total += len(parts[-1])
    everybody = [peak for part in parts for peak in part]
    entries: list[list[float]] = []
    for number, (a, b) in enumerate(LIMB_JOINTS):
        x, y = LIMB_CHANNELS[number]
        for start, end, affinity in connections(pafs[x], pafs[y], parts[a], parts[b]):
            attach(entries, number, a, b, start, end, affinity, everybody)
    return [entry for entry in entries if entry[19] >= 3 and entry[18] / entry[19] >= 0.2], everybody


def peaks(heatmap: NDArray[Any], first_id: int) -> list[Peak]:
    height, width = heatmap.shape
    threshold = float(f32(0.1))
    values = [[v if v >= threshold else 0.0 for v in row] for row in heatmap.tolist()]

    def value(x: int, y: int) -> float:
        return values[y][x] if 0 <= x < width and 0 <= y < height else 0.0

    maxima = [
        (x, y)
        for x in range(width)
        for y in range(height)
        if all(value(x, y) > value(x + dx, y + dy) for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)))
    ]
    kept: list[tuple[int, int]] = []
    for x, y in maxima:
        if all(math.hypot(x - other_x, y - other_y) >= 6 for other_x, other_y in kept):
            kept.append((x, y))
    return [(x, y, float(value(x, y)), first_id + place) for place, (x, y) in enumerate(kept)]


def connections(
    field_x: NDArray[Any], field_y: NDArray[Any], starts: list[Peak], ends: list[Peak]
) -> list[tuple[int, int, float]]:
    found = []
    for end in ends:
        for start in starts:
            affinity = score(field_x, field_y, start, end)
            if affinity is not None:
                length = (end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2
                found.append((affinity, length, start[3], end[3]))
    found.sort(key=lambda item: (-item[0], item[1]))
    chosen: list[tuple[int, int, float]] = []
    for affinity, _, start_id, end_id in found:
        if all(start_id != other[0] and end_id != other[1] for other in chosen):
            chosen.append((start_id, end_id, affinity))
    return chosen


def score(field_x: NDArray[Any], field_y: NDArray[Any], start: Peak, end: Peak) -> float | None:
    dx, dy = f32(end[0] - start[0]), f32(end[1] - start[1])
    norm = np.sqrt(dx * dx + dy * dy) + f32(1e-6)
    good = np.zeros(10, np.float32)
    count = 0
    for i in range(10):
        x = int(np.rint(f32(1 / 9) * dx * f32(i) + f32(start[0])))
        y = int(np.rint(f32(1 / 9) * dy * f32(i) + f32(start[1])))
        product = field_x[y, x] * (dx / norm) + field_y[y, x] * (dy / norm)
        if product > f32(0.05):
            good[i] = product
            count += 1
    affinity = float(good.sum() / (count + 1e-6))
    return affinity if affinity > 0 and count / 10 > 0.8 else None


def attach(
    entries: list[list[float]],
    number: int,
    a: int,
    b: int,
    start: int,
    end: int,
    affinity: float,
    all_peaks: list[Peak],
) -> None:
    if number in (17, 18):
        for entry in entries:
            if entry[a] == start and entry[b] == -1:
                entry[b] = end
            elif entry[b] == end and entry[a] == -1:
                entry[a] = start
        return
    owners = [entry for entry in entries if entry[a] == start]
    for entry in owners:
        entry[b] = end
        entry[18] += all_peaks[end][2] + affinity
        entry[19] += 1
    if not owners:
        entry = [-1.0] * 18 + [all_peaks[start][2] + all_peaks[end][2] + affinity, 2]
        entry[a], entry[b] = start, end
        entries.append(entry)
