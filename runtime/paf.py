"""The pose decoder: heatmaps and part affinity fields to people.

Decoding happens on the grid of the network input: maps are enlarged by `upsample`, cropped to the part that the
picture fills, and joints found there are mapped to the picture. The origin enlarges the cropped maps once more, to the
size of the picture, and decodes there. That costs time with the size of the photograph (a 12-megapixel one: 700 times
a 128 x 128 grid), and its fixed suppression radius of 6 pixels then means another distance in every picture. Here the
radius is 6 input pixels always, and a joint of a picture s times the input is exact to s / 2 pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import CardError, ShapeError
from .geometry import Geometry
from .limbs import match_limbs
from .peaks import find_peaks
from .people import Connection, assemble
from .results import Keypoint, Person
from .skeleton import KEYPOINTS, LIMBS
from .upsample import MAX_FACTOR, OVERSHOOT, upsample

__all__ = ["HEATMAPS", "PAFS", "PafParams", "Skeletons", "decode_people", "find_skeletons"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

HEATMAPS = len(KEYPOINTS) + 1  # with the background, which is not read
PAFS = 2 * len(LIMBS)


@dataclass(frozen=True, kw_only=True)
class PafParams:
    """Constants of the pose decoder.

    Attributes:
        stride: input pixels a map cell.
        upsample: factor by which maps are enlarged before decoding.
        threshold: lowest peak of a joint.
        nms_radius: grid pixels; of two closer peaks the left one stays.
        paf_threshold, points, min_ratio: see `limbs.match_limbs`.
        min_keypoints, min_score: see `people.assemble`.

    Source:
        Lightweight OpenPose (Osokin, arXiv:1811.12004), the authors' code.
    """

    stride: int = 8
    upsample: int = 8
    threshold: float = 0.1
    nms_radius: float = 6.0
    paf_threshold: float = 0.05
    points: int = 10
    min_ratio: float = 0.8
    min_keypoints: int = 3
    min_score: float = 0.2

    def __post_init__(self) -> None:
        if not (1 <= self.stride <= 64 and 1 <= self.upsample <= MAX_FACTOR and 2 <= self.points <= 100):
            raise CardError(
                "pose decoder constants out of range",
                expected=f"stride 1..64, upsample 1..{MAX_FACTOR}, points 2..100",
                got=(self.stride, self.upsample, self.points),
            )
        if not (self.threshold > 0 and 0 <= self.nms_radius <= 1000 and 0 <= self.min_ratio < 1):
            raise CardError(
                "pose decoder constants out of range",
                expected="threshold above 0, nms_radius 0..1000, min_ratio 0..1",
                got=(self.threshold, self.nms_radius, self.min_ratio),
            )


@dataclass(frozen=True, kw_only=True)
class Skeletons:
    """People on the decoding grid, in the reference's own terms.

    Attributes:
        entries: (P, 20) float64: 18 joint ids (-1 absent), score, count.
        keypoints: (K, 4) float64 by joint id: x, y in whole grid pixels, peak height, id.
        truncated: a cap on peaks was hit.
    """

    entries: Float64
    keypoints: Float64
    truncated: bool


def decode_people(
    heatmaps: Float32, pafs: Float32, params: PafParams, geometry: Geometry | None = None
) -> tuple[list[Person], bool]:
    """Return the people in a picture, best first, and whether a cap was hit.

    Args:
        heatmaps: (19, h, w) float32, finite, about 0..1: 18 joints, then the background.
        pafs: (38, h, w) float32, finite, about -1..1.
        params: constants.
        geometry: maps to the original picture; None leaves input pixels.

    Raises:
        ShapeError: a map has the wrong shape, or is too small for the geometry.
    """
    cell = params.stride / params.upsample  # input pixels a grid pixel
    content = None
    scale_x = scale_y = 1.0
    if geometry is not None:
        content = (round(geometry.content_hw[0] / cell), round(geometry.content_hw[1] / cell))
        content = (max(content[0], 1), max(content[1], 1))
        scale_x, scale_y = geometry.scale_xy
    skeletons = find_skeletons(heatmaps, pafs, params, content)
    table = skeletons.keypoints

    def place(joint: float) -> Keypoint | None:
        if joint < 0:
            return None
        x, y, height, _ = table[int(joint)]
        return Keypoint(float((x + 0.5) * cell / scale_x), float((y + 0.5) * cell / scale_y), float(height))

    people = [
        # Times (count - 1): the ranking of the reference's COCO export.
        Person(keypoints=tuple(place(joint) for joint in entry[:-2]), score=float(entry[-2] * max(0.0, entry[-1] - 1)))
        for entry in skeletons.entries
    ]
    return sorted(people, key=lambda person: -person.score), skeletons.truncated


def find_skeletons(
    heatmaps: Float32, pafs: Float32, params: PafParams, content_hw: tuple[int, int] | None = None
) -> Skeletons:
    """Return the people on the grid that `params.upsample` makes of the maps.

    Args:
        heatmaps: (19, h, w) float32, finite.
        pafs: (38, h, w) float32, finite.
        params: constants; `stride` is not used.
        content_hw: height and width of the top-left part of the grid that the picture fills, grid pixels; None: all.

    Raises:
        ShapeError: the maps are not of these shapes, or the content is larger than the grid.
    """
    if heatmaps.ndim != 3 or heatmaps.shape[0] != HEATMAPS or pafs.shape != (PAFS, *heatmaps.shape[1:]):
        raise ShapeError(
            f"maps must be ({HEATMAPS}, h, w) and ({PAFS}, h, w)", got=f"{heatmaps.shape} and {pafs.shape}"
        )
    grid = (heatmaps.shape[1] * params.upsample, heatmaps.shape[2] * params.upsample)
    rows, columns = content_hw or grid
    if not (1 <= rows <= grid[0] and 1 <= columns <= grid[1]):
        raise ShapeError("the picture does not fit into the maps", expected=f"at most {grid}", got=content_hw)

    parts: list[Float64] = []
    truncated = False
    first_id = 0
    for heatmap in heatmaps[: len(KEYPOINTS)]:
        if np.abs(heatmap).max() * OVERSHOOT < params.threshold:
            parts.append(np.zeros((0, 4)))  # nothing can rise above the threshold: not worth enlarging
            continue
        peaks, capped = find_peaks(
            upsample(heatmap[None], params.upsample)[0, :rows, :columns], params.threshold, params.nms_radius
        )
        truncated |= capped
        ids = np.arange(first_id, first_id + len(peaks), dtype=np.float64)
        first_id += len(peaks)
        parts.append(np.concatenate([peaks, ids[:, None]], axis=1))
    keypoints = np.concatenate(parts)
    entries = assemble(
        _connections(pafs, parts, params),
        keypoints[:, 2].tolist(),
        min_keypoints=params.min_keypoints,
        min_score=params.min_score,
    )
    return Skeletons(entries=entries, keypoints=keypoints, truncated=truncated)


def _connections(pafs: Float32, parts: list[Float64], params: PafParams) -> Iterator[list[Connection]]:
    """Yield the connections of each limb, by joint id; fields are enlarged only where both ends have peaks."""
    for limb in LIMBS:
        starts, ends = parts[limb.start], parts[limb.end]
        if not len(starts) or not len(ends):
            yield []
            continue
        field = upsample(pafs[[limb.channel_x, limb.channel_y]], params.upsample)
        start, end, affinity = match_limbs(
            field[0],
            field[1],
            starts,
            ends,
            points=params.points,
            paf_threshold=params.paf_threshold,
            min_ratio=params.min_ratio,
        )
        start_ids, end_ids = starts[start, 3].astype(int).tolist(), ends[end, 3].astype(int).tolist()
        yield list(zip(start_ids, end_ids, affinity.tolist(), strict=True))
