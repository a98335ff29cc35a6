"""The pose decoder as people run the reference: every map enlarged by bicubic, peaks and limbs found up there.

What `runtime.paf` is measured against, for speed and by OKS. Arithmetic is vectorised as in the published code (whole
maps for peaks, all pairs of one limb at a time), so that the comparison is with a reasonable program and not with
Python loops; `oracle_paf` is those. There are no caps.

Source:
    Lightweight OpenPose (Osokin, arXiv:1811.12004), as described in the project's model facts, section 1.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.runtime.resize import resize
from edge.runtime.results import Person

from .oracle_paf import LIMB_CHANNELS, LIMB_JOINTS, attach

Float32 = NDArray[np.float32]
Joint = tuple[int, int, float, int]  # x, y, height, id

# Of 18 joints, those of COCO by their 17 sigmas; the neck, which COCO lacks, counts like a shoulder.
SIGMAS = np.array(
    [.026, .079, .079, .072, .062, .079, .072, .062, .107, .087, .089, .107, .087, .089, .025, .025, .035, .035]
)  # fmt: skip


def decode(heatmaps: Float32, pafs: Float32, upsample: int = 8) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return people (P, 20: 18 joint ids or -1, score, count) and joints (K, 4: x, y, height, id), enlarged pixels.

    Args:
        heatmaps: (19, h, w) float32.
        pafs: (38, h, w) float32.
        upsample: factor; 1 leaves the maps as they are.
    """
    heatmaps, pafs = enlarge(heatmaps, upsample), enlarge(pafs, upsample)  # channels last, as published
    parts: list[list[Joint]] = []
    for part in range(18):
        parts.append(find_joints(heatmaps[:, :, part], sum(map(len, parts))))
    joints = [joint for part in parts for joint in part]
    entries: list[list[float]] = []
    for number, (a, b) in enumerate(LIMB_JOINTS):
        x, y = LIMB_CHANNELS[number]
        for start, end, affinity in connect(pafs[:, :, x], pafs[:, :, y], parts[a], parts[b]):
            attach(entries, number, a, b, start, end, affinity, joints)
    kept = [entry for entry in entries if entry[19] >= 3 and entry[18] / entry[19] >= 0.2]
    return np.array(kept, np.float64).reshape(-1, 20), np.array(joints, np.float64).reshape(-1, 4)


def enlarge(maps: Float32, factor: int) -> Float32:
    """Return (h * factor, w * factor, C) by bicubic, a = -0.75: OpenCV's where it is installed, else the runtime's."""
    channels_last = maps.transpose(1, 2, 0).copy()
    if factor == 1:
        return channels_last
    height, width = maps.shape[1] * factor, maps.shape[2] * factor
    try:
        import cv2
    except ImportError:
        return resize(channels_last, (height, width), "bicubic")
    return np.asarray(cv2.resize(channels_last, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def find_joints(heatmap: Float32, first_id: int) -> list[Joint]:
    """Return the strict maxima of one map from left to right, without those close to an earlier one.

    Low pixels become zero in the map itself, as in the published code.
    """
    heatmap[heatmap < 0.1] = 0
    framed = np.pad(heatmap, 1)
    centre = framed[1:-1, 1:-1]
    above, below, left, right = framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:]
    rows, columns = np.nonzero((centre > above) & (centre > below) & (centre > left) & (centre > right))
    order = np.argsort(columns, kind="stable")
    kept: list[tuple[int, int]] = []
    for x, y in zip(columns[order].tolist(), rows[order].tolist(), strict=True):
        if all(math.hypot(x - other_x, y - other_y) >= 6 for other_x, other_y in kept):
            kept.append((x, y))
    return [(x, y, float(heatmap[y, x]), first_id + place) for place, (x, y) in enumerate(kept)]


def connect(
    field_x: Float32, field_y: Float32, starts: Sequence[Joint], ends: Sequence[Joint]
) -> list[tuple[int, int, float]]:
    """Return the connections of one limb, best first: all pairs scored at once, at 10 pixels each."""
    if not starts or not ends:
        return []
    start = np.array([joint[:2] for joint in starts], np.float32)[None]
    end = np.array([joint[:2] for joint in ends], np.float32)[:, None]
    vector = end - start
    grid = np.arange(10, dtype=np.float32)[:, None]
    step = np.float32(1 / 9) * vector
    place = np.rint(step[:, :, None] * grid + start[:, :, None]).astype(np.intp)
    unit = vector / (np.sqrt(np.square(vector).sum(axis=-1, keepdims=True)) + np.float32(1e-6))
    along = (
        field_x[place[..., 1], place[..., 0]] * unit[..., :1] + field_y[place[..., 1], place[..., 0]] * unit[..., 1:]
    )
    counts = along > np.float32(0.05)
    number = counts.sum(axis=-1)
    affinity = (along * counts).sum(axis=-1) / (number + 1e-6)
    end_index, start_index = np.nonzero((affinity > 0) & (number / 10 > 0.8))
    values = affinity[end_index, start_index]
    length = np.square(vector[end_index, start_index]).sum(axis=-1)
    used: set[tuple[str, int]] = set()
    chosen = []
    for pair in np.lexsort((length, -values)).tolist():
        ends_of_pair = ("start", int(start_index[pair])), ("end", int(end_index[pair]))
        if used.isdisjoint(ends_of_pair):
            used.update(ends_of_pair)
            chosen.append((starts[start_index[pair]][3], ends[end_index[pair]][3], float(values[pair])))
    return chosen


def positions(person: Person) -> NDArray[np.float64]:
    """Return (18, 2) x, y of a person's joints, NaN where one is missing."""
    return np.array([(np.nan, np.nan) if point is None else point[:2] for point in person.keypoints])


def oks(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the object keypoint similarity of a person to a true one, 0..1, with COCO's sigmas.

    The area is that of the box around the true person's joints (COCO takes the segment's, which is not known here, and
    about half as large); the mean runs over the joints that the true person has, and one not found counts 0.

    Args:
        found, truth: (18, 2) x, y in the same pixels, NaN where a joint is missing.
    """
    there = np.isfinite(truth[:, 0])
    area = max(float(np.prod(np.ptp(truth[there], axis=0))), 1.0)
    squared = np.square(found[there] - truth[there]).sum(axis=1)
    close = np.exp(-squared / (2 * area * np.square(2 * SIGMAS[there])))
    return float(np.nan_to_num(close, nan=0.0).mean())
