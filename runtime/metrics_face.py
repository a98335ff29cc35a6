"""Average precision of face detectors, as WIDER FACE measures it.

NumPy only. What counts is the list of a detector's boxes down to the lowest score that its card keeps, not what is
displayed. Rules of the WIDER toolbox: scores are stretched to 0..1 over the whole set; precision and recall are taken
at 1000 thresholds; a detection belongs to the truth that it overlaps most, if by IoU 0.5 or more; a second one on the
same face is wrong; one on an ignored face neither helps nor hurts. The area is that under the envelope of precision.

Two differences: boxes are continuous, so that no pixel is added to their sides; and detections in a picture without
faces count as wrong, where the toolbox passes such pictures over.

WIDER's lists of easy, medium and hard faces come with its own files only. Here the subsets are by the height of a
face, which is what those lists mostly follow: over 50, 30 and 10 pixels of the picture, each with the former; all other
faces are ignored.

Source:
    Yang et al., "WIDER FACE: A face detection benchmark", CVPR 2016, arXiv:1511.06523, section 5, and its evaluation
    toolbox; area under the envelope: Everingham et al., "The PASCAL VOC challenge", IJCV 2010.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, ShapeError
from .metrics import Score

__all__ = ["HEADLINE", "SUBSETS", "FacesFound", "FacesTrue", "face_ap"]

Float64 = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

SUBSETS = {"easy": 50.0, "medium": 30.0, "hard": 10.0}  # faces higher than this count, pixels of the picture
HEADLINE = "hard"
LEAST_IOU = 0.5
THRESHOLDS = 1000


@dataclass(frozen=True, kw_only=True)
class FacesFound:
    """What a detector found in one picture: `boxes` (n, 4) x1, y1, x2, y2, pixels, and `scores` (n,)."""

    boxes: Floats
    scores: Floats


@dataclass(frozen=True, kw_only=True)
class FacesTrue:
    """What is there: `boxes` (m, 4) x1, y1, x2, y2, pixels, and `ignore` (m,), which neither help nor hurt."""

    boxes: Floats
    ignore: Bools


def face_ap(found: Sequence[FacesFound], truths: Sequence[FacesTrue], draws: Float64) -> Score:
    """Return the average precision over all faces higher than 10 px; the parts are "easy", "medium" and "hard".

    Args:
        found: by picture.
        truths: of the same pictures.
        draws: (rounds, pictures), see `metrics.resample`.

    Returns:
        AP, 0..1; a subset without faces is not among the parts.

    Raises:
        ShapeError: the arrays are not of these shapes.
        InputError: there is no face to find, or a score or box is not finite.
    """
    if len(found) != len(truths) or draws.shape[1:] != (len(found),):
        raise ShapeError("found, truths and draws must be of the same pictures", got=_lengths(found, truths, draws))
    for index in range(len(found)):
        _check(found[index], truths[index])
    ignored = {name: [_ignored(truth, height) for truth in truths] for name, height in SUBSETS.items()}
    counts = {name: np.array([float((~skip).sum()) for skip in ignored[name]]) for name in SUBSETS}
    if not counts[HEADLINE].sum():
        raise InputError(f"no face to find in {len(truths)} pictures", expected="faces over 10 px that are not ignored")
    scores = _stretched([np.asarray(item.scores, np.float64) for item in found])
    places = [_best_truths(item, truth) for item, truth in zip(found, truths, strict=True)]
    once = np.ones((1, len(found)))
    tables = {name: _histograms(scores, places, ignored[name]) for name in SUBSETS if counts[name].sum()}
    parts = {name: float(_areas(*table, counts[name], once)[0]) for name, table in tables.items()}
    return Score(value=parts[HEADLINE], parts=parts, resampled=_areas(*tables[HEADLINE], counts[HEADLINE], draws))


def _lengths(*items: Any) -> tuple[int, ...]:
    return tuple(np.shape(item)[-1] if isinstance(item, np.ndarray) else len(item) for item in items)


def _check(found: FacesFound, truth: FacesTrue) -> None:
    shapes = (found.boxes.shape, found.scores.shape, truth.boxes.shape, truth.ignore.shape)
    n, m = len(found.scores), len(truth.ignore)
    if shapes != ((n, 4), (n,), (m, 4), (m,)):
        raise ShapeError("boxes must be (n, 4), scores and ignore (n,)", got=shapes)
    if not all(np.isfinite(values).all() for values in (found.boxes, found.scores, truth.boxes)):
        raise InputError("scores and boxes of faces must be finite")


def _ignored(truth: FacesTrue, height: float) -> Bools:
    return np.asarray(truth.ignore | ~(truth.boxes[:, 3] - truth.boxes[:, 1] > height), np.bool_)


def _stretched(scores: list[Float64]) -> list[Float64]:
    """Return scores on 0..1 from the lowest to the highest of the whole set."""
    every = np.concatenate(scores)
    if not len(every):
        return scores
    low, high = every.min(), every.max()
    span = high - low if high > low else 1.0
    return [(values - low) / span for values in scores]


def _best_truths(found: FacesFound, truth: FacesTrue) -> NDArray[np.intp]:
    """Return the number of the truth that each detection overlaps most, or -1 where that is by less than IoU 0.5."""
    if not len(found.boxes) or not len(truth.boxes):
        return np.full(len(found.boxes), -1, np.intp)
    a, b = np.asarray(found.boxes, np.float64)[:, None], np.asarray(truth.boxes, np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0.0), axis=2)
    union = np.prod(a[..., 2:] - a[..., :2], axis=2) + np.prod(b[..., 2:] - b[..., :2], axis=2) - shared
    iou = shared / np.where(union > 0.0, union, 1.0)
    return np.where(iou.max(axis=1) >= LEAST_IOU, iou.argmax(axis=1), -1)


def _histograms(
    scores: list[Float64], places: list[NDArray[np.intp]], ignored: list[Bools]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return how many right and how many counted detections each picture adds at each threshold.

    Returns:
        Two (pictures, 1000) float32 arrays, from the highest threshold to the lowest.
    """
    limits = 1.0 - np.arange(1, THRESHOLDS + 1) / THRESHOLDS
    right, counted = (np.zeros((len(scores), THRESHOLDS), np.float32) for _ in range(2))
    for picture, (values, place, skip) in enumerate(zip(scores, places, ignored, strict=True)):
        order = np.argsort(-values, kind="stable")
        place = place[order]
        bins = np.searchsorted(-limits, -values[order])  # the first threshold that is not above the score
        hit = place >= 0
        beside = np.zeros(len(place), np.bool_)
        beside[hit] = skip[place[hit]]
        first = np.zeros(len(place), np.bool_)
        first[np.unique(place, return_index=True)[1]] = True
        np.add.at(right[picture], bins[hit & ~beside & first], 1.0)
        np.add.at(counted[picture], bins[~beside], 1.0)
    return right, counted


def _areas(right: NDArray[np.float32], counted: NDArray[np.float32], faces: Float64, draws: Float64) -> Float64:
    """Return the area under the envelope of precision over recall, of each round."""
    weights = draws.astype(np.float32)  # counts stay far below 2**24, so that float32 is exact
    hits = np.cumsum(weights @ right, axis=1, dtype=np.float64)
    all_counted = np.cumsum(weights @ counted, axis=1, dtype=np.float64)
    recall = hits / np.maximum(draws @ faces, 1.0)[:, None]
    precision = hits / np.maximum(all_counted, 1.0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return np.asarray((np.diff(recall, axis=1, prepend=0.0) * envelope).sum(axis=1), np.float64)
