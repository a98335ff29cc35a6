"""The pose decoder: heatmaps and part affinity fields to people.

Three steps, each a module with its rules: joints of all parts (`peaks`), limbs between them (`limbs`), people
(`people`). Positions are pixels of the grid that `upsample` pixels a cell make, cropped to the part that the picture
fills, and are mapped to the picture at the end; but maps are never enlarged: only the surface around a joint is, and
fields are read between their cells.

The origin enlarges all 57 maps to that grid, the cropped maps once more to the size of the picture, and decodes there.
That costs time with the size of the photograph (a 12-megapixel one: 700 times a 128 x 128 grid), and its fixed
suppression radius of 6 pixels then means another distance in every picture. Here the radius is 6 input pixels always.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import CardError, ShapeError
from .geometry import Geometry
from .limbs import match_limbs
from .peaks import MAX_FACTOR, Peaks, find_peaks
from .people import Entry, assemble
from .results import Keypoint, Person
from .skeleton import KEYPOINTS, LIMBS

__all__ = ["HEATMAPS", "PAFS", "PafParams", "Skeletons", "content_pixels", "decode_people", "find_skeletons"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

HEATMAPS = len(KEYPOINTS) + 1  # with the background, which is not read
PAFS = 2 * len(LIMBS)
PIXEL_CENTRE = np.array((0.5, 0.5, 0.0))  # of x, y and height: coordinates are continuous, see `results`


@dataclass(frozen=True, kw_only=True)
class PafParams:
    """Constants of the pose decoder.

    Attributes:
        stride: input pixels a map cell.
        upsample: pixels of the decoding grid a cell; 1: the maps are that grid, and the reference's rules hold exactly.
        threshold: lowest peak of a joint.
        nms_radius: grid pixels, the least distance of two joints of a part.
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
        keypoints: (K, 4) float64 by joint id: x, y in grid pixels (whole ones if `upsample` is 1), peak height, id.
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
    cell = params.stride / params.upsample  # input pixels an enlarged pixel
    content = None
    scale_x = scale_y = 1.0
    if geometry is not None:
        content = content_pixels(geometry, params)
        scale_x, scale_y = geometry.scale_xy
    entries, peaks = _find(heatmaps, pafs, params, content)
    placed = (peaks.table + PIXEL_CENTRE) * (cell / scale_x, cell / scale_y, 1.0)
    points: list[Keypoint | None] = list(map(Keypoint._make, placed.tolist()))
    points.append(None)  # found under ABSENT, which is -1
    people = [
        # Times (count - 1): the ranking of the reference's COCO export.
        Person(
            keypoints=tuple([points[joint] for joint in entry.joints]), score=entry.score * max(0.0, entry.count - 1)
        )
        for entry in entries
    ]
    people.sort(key=lambda person: -person.score)
    return people, peaks.truncated


def content_pixels(geometry: Geometry, params: PafParams) -> tuple[int, int]:
    """Return height and width of the part of the enlarged maps that the picture fills, enlarged pixels, at least 1."""
    cell = params.stride / params.upsample
    return max(round(geometry.content_hw[0] / cell), 1), max(round(geometry.content_hw[1] / cell), 1)


def find_skeletons(
    heatmaps: Float32, pafs: Float32, params: PafParams, content_hw: tuple[int, int] | None = None
) -> Skeletons:
    """Return the people on the grid of `params.upsample` pixels a cell, for comparison with the reference.

    Args:
        heatmaps: (19, h, w) float32, finite.
        pafs: (38, h, w) float32, finite.
        params: constants; `stride` is not used.
        content_hw: height and width of the top-left part of the grid that the picture fills, grid pixels; None: all.

    Raises:
        ShapeError: the maps are not of these shapes, or the content is larger than the grid.
    """
    people, peaks = _find(heatmaps, pafs, params, content_hw)
    entries = np.array([[*entry.joints, entry.score, entry.count] for entry in people], np.float64)
    ids = np.arange(len(peaks.table), dtype=np.float64)
    return Skeletons(
        entries=entries.reshape(len(people), len(KEYPOINTS) + 2),
        keypoints=np.concatenate([peaks.table, ids[:, None]], axis=1),
        truncated=peaks.truncated,
    )


def _find(
    heatmaps: Float32, pafs: Float32, params: PafParams, content_hw: tuple[int, int] | None
) -> tuple[list[Entry], Peaks]:
    if heatmaps.ndim != 3 or heatmaps.shape[0] != HEATMAPS or pafs.shape != (PAFS, *heatmaps.shape[1:]):
        raise ShapeError(
            f"maps must be ({HEATMAPS}, h, w) and ({PAFS}, h, w)", got=f"{heatmaps.shape} and {pafs.shape}"
        )
    grid = (heatmaps.shape[1] * params.upsample, heatmaps.shape[2] * params.upsample)
    rows, columns = content_hw or grid
    if not (1 <= rows <= grid[0] and 1 <= columns <= grid[1]):
        raise ShapeError("the picture does not fit into the maps", expected=f"at most {grid}", got=content_hw)
    peaks = find_peaks(
        heatmaps[: len(KEYPOINTS)],
        params.threshold,
        params.nms_radius,
        upsample=params.upsample,
        content_hw=(rows, columns),
    )
    connections = match_limbs(
        pafs,
        peaks.table[:, :2],
        peaks.counts,
        upsample=params.upsample,
        points=params.points,
        paf_threshold=params.paf_threshold,
        min_ratio=params.min_ratio,
    )
    entries = assemble(
        connections, peaks.table[:, 2].tolist(), min_keypoints=params.min_keypoints, min_score=params.min_score
    )
    return entries, peaks
