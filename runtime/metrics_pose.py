"""Average precision of pose estimators by object keypoint similarity, as COCO measures it.

The figures are faster-coco-eval's, which is imported here alone. Their interval needs the same figure of a thousand
resampled sets, for which pictures are matched once, here, and only the curve is drawn anew; both ways must agree.

Source:
    Lin et al., "Microsoft COCO", arXiv:1405.0312, and https://cocodataset.org/#keypoints-eval: similarity thresholds
    0.50:0.05:0.95, 101 recall points, 20 people a picture; "medium" is 32^2 to 96^2 square pixels, "large" above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, MissingExtraError, ShapeError
from .metrics import COCO_SIGMAS, Score

__all__ = ["PeopleFound", "PeopleTrue", "check_installed", "oks_ap"]

Float64 = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

JOINTS = len(COCO_SIGMAS)
THRESHOLDS: Float64 = np.linspace(0.5, 0.95, 10)
RECALLS: Float64 = np.linspace(0.0, 1.0, 101)
MOST = 20  # people of a picture that are looked at, the best ones
PARTS = {"AP": 0, "AP50": 1, "AP75": 2, "AP(M)": 3, "AP(L)": 4, "AR": 5}  # places in faster-coco-eval's statistics


@dataclass(frozen=True, kw_only=True)
class PeopleFound:
    """What a network found in one picture.

    Attributes:
        keypoints: (n, 17, 3) float, COCO order: x and y in pixels, and 1; 0, 0, 0 where a joint was not found.
        scores: (n,) float, what people are ranked by.
    """

    keypoints: Floats
    scores: Floats


@dataclass(frozen=True, kw_only=True)
class PeopleTrue:
    """Who is there.

    Attributes:
        keypoints: (m, 17, 3) float, COCO order: x, y in pixels, visibility (0 not labelled, 1 hidden, 2 visible).
        boxes: (m, 4) float x1, y1, x2, y2, pixels.
        areas: (m,) float, square pixels.
        crowd: (m,) bool; whoever is found there neither helps nor hurts. Who is no crowd and has no labelled joint
            excuses one find, as in COCO.
    """

    keypoints: Floats
    boxes: Floats
    areas: Floats
    crowd: Bools


def oks_ap(found: Sequence[PeopleFound], truths: Sequence[PeopleTrue], draws: Float64) -> Score:
    """Return the average precision over similarities 0.50 to 0.95.

    Args:
        found: by picture.
        truths: of the same pictures.
        draws: (rounds, pictures), see `metrics.resample`.

    Returns:
        AP, 0..1; parts "AP", "AP50", "AP75", "AP(M)", "AP(L)" and "AR"; without the sizes that nobody has.

    Raises:
        MissingExtraError: faster-coco-eval is not installed.
        ShapeError: the arrays are not of these shapes.
        InputError: nobody is there to be found, or a number is not finite.
    """
    if len(found) != len(truths) or draws.shape[1:] != (len(found),):
        raise ShapeError("found, truths and draws must be of the same pictures", got=(len(found), len(truths)))
    for seen, truth in zip(found, truths, strict=True):
        _check(seen, truth)
    if not any(_counted(truth).any() for truth in truths):
        raise InputError(f"nobody to find in {len(truths)} pictures", expected="people with labelled joints")
    statistics = _coco_statistics(found, truths)
    parts = {name: float(statistics[place]) for name, place in PARTS.items() if statistics[place] >= 0.0}
    matches = _matches(found, truths)
    own = _areas(matches, np.ones((1, len(found))))[0]
    assert abs(own - parts["AP"]) < 1e-9, f"AP {own} by own matches, {parts['AP']} by faster-coco-eval"
    return Score(value=parts["AP"], parts=parts, resampled=_areas(matches, draws))


def check_installed() -> None:
    """Refuse to go on without faster-coco-eval, before hours are spent on what could not be scored.

    Raises:
        MissingExtraError: it is not installed.
    """
    _coco_eval()


def _check(found: PeopleFound, truth: PeopleTrue) -> None:
    n, m = len(found.scores), len(truth.crowd)
    shapes = (found.keypoints.shape, truth.keypoints.shape, truth.boxes.shape, truth.areas.shape)
    if shapes != ((n, JOINTS, 3), (m, JOINTS, 3), (m, 4), (m,)):
        raise ShapeError(f"keypoints must be (n, {JOINTS}, 3), boxes (n, 4)", got=shapes)
    arrays = (found.keypoints, found.scores, truth.keypoints, truth.boxes, truth.areas)
    if not all(np.isfinite(values).all() for values in arrays):
        raise InputError("keypoints, scores, boxes and areas of people must be finite")


def _counted(truth: PeopleTrue) -> Bools:
    return np.asarray(~truth.crowd & (truth.keypoints[:, :, 2] > 0).any(axis=1), np.bool_)


def _coco_statistics(found: Sequence[PeopleFound], truths: Sequence[PeopleTrue]) -> Sequence[float]:
    """Return faster-coco-eval's ten keypoint statistics; -1 where there is nobody of a size."""
    coco, coco_eval = _coco_eval()
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (seen, truth) in enumerate(zip(found, truths, strict=True), start=1):
        for keypoints, (x1, y1, x2, y2), area, crowd in zip(
            np.asarray(truth.keypoints, np.float64),
            np.asarray(truth.boxes, np.float64).tolist(),
            np.asarray(truth.areas, np.float64).tolist(),
            truth.crowd.tolist(),
            strict=True,
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "keypoints": keypoints.ravel().tolist(),
                    "num_keypoints": int((keypoints[:, 2] > 0).sum()),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": area,
                    "iscrowd": int(crowd),
                }
            )
        for person, score in zip(np.asarray(seen.keypoints, np.float64), seen.scores.tolist(), strict=True):
            results.append(
                {"image_id": image, "category_id": 1, "keypoints": person.ravel().tolist(), "score": float(score)}
            )
    images = [{"id": image} for image in range(1, len(truths) + 1)]
    truth_set = coco(
        {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person", "keypoints": []}]}
    )
    evaluation = coco_eval(
        truth_set, truth_set.loadRes(results), "keypoints", print_function=_silent, kpt_oks_sigmas=list(COCO_SIGMAS)
    )
    evaluation.run()
    return [float(value) for value in evaluation.stats]


def _coco_eval() -> tuple[Any, Any]:
    """Return faster-coco-eval's classes for a data set and for its evaluation."""
    try:
        from faster_coco_eval.core.coco import COCO  # type: ignore[import-untyped]  # it has no stubs
        from faster_coco_eval.core.faster_eval_api import COCOeval_faster  # type: ignore[import-untyped]
    except ImportError as exc:
        hint = "pip install 'edge-vision[eval]'"
        raise MissingExtraError("OKS-AP needs faster-coco-eval, which is not installed", hint=hint) from exc
    return COCO, COCOeval_faster


def _silent(*_: object) -> None:
    """Take what faster-coco-eval has to say."""


class _Matches(NamedTuple):
    """Detections, best first: (T, D) 1 where right, (T, D) 1 where wrong, (D,) picture; and each picture's truths."""

    right: Float64
    wrong: Float64
    picture: NDArray[np.intp]
    truths: Float64


def _matches(found: Sequence[PeopleFound], truths: Sequence[PeopleTrue]) -> _Matches:
    scores, right, wrong, picture = [], [], [], []
    for index, (seen, truth) in enumerate(zip(found, truths, strict=True)):
        order = np.argsort(-np.asarray(seen.scores, np.float64), kind="stable")[:MOST]
        hit, beside = _match(_similarity(np.asarray(seen.keypoints, np.float64)[order], truth), truth)
        scores.append(np.asarray(seen.scores, np.float64)[order])
        right.append(hit & ~beside)
        wrong.append(~hit & ~beside)
        picture.append(np.full(len(order), index))
    ranking = np.argsort(-np.concatenate(scores), kind="stable")
    return _Matches(
        right=np.concatenate(right, axis=1)[:, ranking].astype(np.float64),
        wrong=np.concatenate(wrong, axis=1)[:, ranking].astype(np.float64),
        picture=np.concatenate(picture)[ranking],
        truths=np.array([float(_counted(truth).sum()) for truth in truths]),
    )


def _similarity(people: Float64, truth: PeopleTrue) -> Float64:
    """Return (found, true) similarities; to a group without joints, that of distances to its box, doubled."""
    result = np.zeros((len(people), len(truth.areas)))
    spread = np.square(2.0 * COCO_SIGMAS)
    for column, (joints, box, area) in enumerate(zip(truth.keypoints, truth.boxes, truth.areas, strict=True)):
        seen = joints[:, 2] > 0
        if seen.any():
            apart = people[:, :, :2] - np.asarray(joints[:, :2], np.float64)
        else:
            seen = np.ones(JOINTS, np.bool_)
            corner, size = np.asarray(box[:2], np.float64), np.asarray(box[2:], np.float64) - box[:2]
            low, high = corner - size, corner + 2.0 * size
            apart = np.maximum(0.0, low - people[:, :, :2]) + np.maximum(0.0, people[:, :, :2] - high)
        exponent = np.square(apart).sum(axis=2) / spread / (float(area) + np.spacing(1)) / 2.0
        result[:, column] = np.exp(-exponent[:, seen]).mean(axis=1)
    return result


def _match(similarity: Float64, truth: PeopleTrue) -> tuple[Bools, Bools]:
    """Return which detections found somebody, and which found somebody who does not count: two (T, found) arrays.

    The best detection chooses first. It takes the most similar free person who counts; if there is none, one who does
    not, and a crowd may be taken any number of times.
    """
    counted = _counted(truth)
    order = np.argsort(~counted, kind="stable")[::-1]  # backwards, so that the last of equals wins, as in COCO
    similarity, counted, crowd = similarity[:, order], counted[order], truth.crowd[order]
    least = np.minimum(THRESHOLDS, 1.0 - 1e-10)[:, None]
    free = np.ones((len(THRESHOLDS), len(counted)), np.bool_)
    hit, beside = (np.zeros((len(THRESHOLDS), len(similarity)), np.bool_) for _ in range(2))
    if not len(counted):
        return hit, beside
    rows = np.arange(len(THRESHOLDS))
    for number, values in enumerate(similarity):
        open_to = free & (values >= least)
        first = np.where(open_to & counted, values, -1.0)
        second = np.where(open_to & ~counted, values, -1.0)
        takes = np.where(first.max(axis=1) >= 0.0, first.argmax(axis=1), second.argmax(axis=1))
        hit[:, number] = open_to.any(axis=1)
        beside[:, number] = hit[:, number] & ~counted[takes]
        free[rows, takes] &= ~hit[:, number] | crowd[takes]
    return hit, beside


def _areas(matches: _Matches, draws: Float64) -> Float64:
    """Return the average precision of each round.

    A picture that is drawn twice has each of its people twice, one behind the other in the ranking: the envelope of
    precision at 101 recalls does not see what lies between them, so that weighted sums give the exact value.
    """
    result = np.zeros(len(draws))
    totals = draws @ matches.truths
    for number, (weights, total) in enumerate(zip(draws, totals, strict=True)):
        if not total or not len(matches.picture):
            continue
        each = weights[matches.picture]
        right = np.cumsum(matches.right * each, axis=1)
        precision = right / (np.cumsum(matches.wrong * each, axis=1) + right + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = right / total
        ends = [np.searchsorted(line, RECALLS) for line in recall]
        result[number] = sum(
            line[places[places < len(line)]].sum() for line, places in zip(envelope, ends, strict=True)
        ) / (len(THRESHOLDS) * len(RECALLS))
    return result
