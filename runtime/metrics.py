"""Task metrics: how near a result is to the truth, and how sure a figure is.

NumPy only. Pure functions; keypoints are in COCO's order of 17, pixels. The metric of each family is a module of its
own: `metrics_pose`, `metrics_face`, `metrics_emotion`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, ShapeError

__all__ = ["COCO_SIGMAS", "Score", "interval", "keypoint_area", "match_best", "oks", "resample"]

Float64 = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

# Spread of human annotators by joint, in units of the root of a person's area: COCO's own evaluation code,
# `pycocotools/cocoeval.py`, Params.setKpParams.
COCO_SIGMAS: Float64 = np.array(
    [0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
     0.087, 0.087, 0.089, 0.089]
)  # fmt: skip
COCO_SIGMAS.setflags(write=False)
COVERED = 0.95  # share of resampled values inside an interval


@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric of one set of samples.

    Attributes:
        value: the headline figure.
        parts: further figures by name.
        resampled: (rounds,) float64, the headline figure of resampled sets; see `resample`.
    """

    value: float
    parts: Mapping[str, float]
    resampled: Float64 = field(repr=False, compare=False)


def resample(samples: int, rounds: int, seed: int) -> Float64:
    """Return how often each sample is drawn in each round of a bootstrap.

    Two networks that are scored with the same draws on the same samples can be compared round by round, which cancels
    what the samples have in common.

    Args:
        samples: number of pictures or clips, above 0.
        rounds: number of resampled sets; 0 gives none.
        seed: >= 0; equal arguments give equal draws.

    Returns:
        (rounds, samples) float64 whole numbers; every row sums to `samples`.

    Raises:
        InputError: an argument is out of range.

    Source:
        Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7(1), 1979.
    """
    if samples < 1 or rounds < 0 or seed < 0:
        raise InputError("a bootstrap needs samples, and rounds and seed of at least 0", got=(samples, rounds, seed))
    chances = np.full(samples, 1.0 / samples)
    return np.random.default_rng(seed).multinomial(samples, chances, size=rounds).astype(np.float64)


def interval(resampled: Float64) -> tuple[float, float]:
    """Return the ends of the 95 % percentile interval of resampled values; NaN where there are none.

    Args:
        resampled: (rounds,) float64, finite.
    """
    if not len(resampled):
        return float("nan"), float("nan")
    low, high = np.quantile(resampled, [(1.0 - COVERED) / 2.0, (1.0 + COVERED) / 2.0])
    return float(low), float(high)


def oks(person_xy: Floats, person_visible: Bools, truth_xy: Floats, truth_visible: Bools, area: float) -> float:
    """Return the object keypoint similarity of a person found to a person that is there.

    A joint of the truth that was not found counts as infinitely far; a joint found that the truth lacks does not
    count, as in COCO.

    Args:
        person_xy, truth_xy: (17, 2) float, pixels, COCO order.
        person_visible, truth_visible: (17,) bool, which joints were found, and which are there.
        area: of the true person, square pixels, above 0.

    Returns:
        0..1, where 1 is every joint in its place; 0 if the truth has no joint.

    Raises:
        ShapeError: the arrays are not of these shapes.

    Source:
        COCO keypoint evaluation, https://cocodataset.org/#keypoints-eval: exp(-d^2 / (2 area (2 sigma)^2)), mean over
        the visible joints of the truth.
    """
    joints = len(COCO_SIGMAS)
    shapes = (person_xy.shape, truth_xy.shape, person_visible.shape, truth_visible.shape)
    if shapes != ((joints, 2), (joints, 2), (joints,), (joints,)):
        raise ShapeError(f"keypoints must be ({joints}, 2) and visibility ({joints},)", got=shapes)
    both = person_visible & truth_visible
    there = int(truth_visible.sum())
    if there == 0:
        return 0.0
    squared = np.square(np.asarray(person_xy, np.float64)[both] - np.asarray(truth_xy, np.float64)[both]).sum(axis=1)
    spread = np.square(2.0 * COCO_SIGMAS[both])
    # COCO adds this epsilon too: an area of 0 gives 1 for joints in their place, and 0 for all others.
    exponent = squared / spread / (area + np.spacing(1)) / 2.0
    return float(np.exp(-exponent).sum() / there)


def keypoint_area(truth_xy: Floats, truth_visible: Bools) -> float:
    """Return the area of the box around a person's visible joints, square pixels; 0 for fewer than two joints.

    COCO takes the area of the annotated outline; where there is none, this box stands in. It is smaller or larger than
    the outline by pose, and 0 for joints on one horizontal or vertical line.
    """
    points = np.asarray(truth_xy, np.float64)[truth_visible]
    if len(points) < 2:
        return 0.0
    return float(np.prod(points.max(axis=0) - points.min(axis=0)))


def match_best(similarity: Floats, least: float = 0.5) -> list[tuple[int, int]]:
    """Return which row goes with which column, one to one, the most similar pair first.

    Args:
        similarity: (found, true), 0..1, such as `oks` gives.
        least: pairs below it are none.

    Returns:
        (row, column) pairs; of equal ones the lower row, then the lower column, comes first.
    """
    if similarity.ndim != 2:
        raise ShapeError("similarity must be (found, true)", got=similarity.shape)
    rows, columns = np.unravel_index(np.argsort(-similarity, axis=None, kind="stable"), similarity.shape)
    free_rows, free_columns = set(range(similarity.shape[0])), set(range(similarity.shape[1]))
    pairs = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if row in free_rows and column in free_columns and similarity[row, column] >= least:
            free_rows.discard(row)
            free_columns.discard(column)
            pairs.append((row, column))
    return pairs
