"""AP of faces against WIDER's rules written out slowly, and cases that can be worked out by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.runtime.errors import InputError, ShapeError
from edge.runtime.metrics import interval, resample
from edge.runtime.metrics_face import SUBSETS, FacesFound, FacesTrue, face_ap

Float64 = NDArray[np.float64]


def found(*rows: tuple[float, float, float, float, float]) -> FacesFound:
    table = np.array(rows, np.float64).reshape(-1, 5)
    return FacesFound(boxes=table[:, :4], scores=table[:, 4])


def there(*boxes: tuple[float, float, float, float], ignore: tuple[int, ...] = ()) -> FacesTrue:
    skip = np.zeros(len(boxes), np.bool_)
    skip[list(ignore)] = True
    return FacesTrue(boxes=np.array(boxes, np.float64).reshape(-1, 4), ignore=skip)


def value(seen: Sequence[FacesFound], truths: Sequence[FacesTrue]) -> float:
    return face_ap(seen, truths, np.ones((0, len(seen)))).value


def one(seen: FacesFound, truth: FacesTrue) -> float:
    return value([seen], [truth])


A, B, FAR = (0.0, 0.0, 40.0, 40.0), (100.0, 0.0, 140.0, 40.0), (300.0, 300.0, 340.0, 340.0)


def test_perfect_detections_have_one_and_none_have_zero() -> None:
    assert one(found((*A, 0.9), (*B, 0.3)), there(A, B)) == 1.0
    assert one(found(), there(A, B)) == 0.0
    assert one(found((*FAR, 0.9)), there(A)) == 0.0


def test_a_wrong_one_costs_by_its_rank() -> None:
    first = one(found((*FAR, 0.9), (*A, 0.5), (*B, 0.3)), there(A, B))
    last = one(found((*A, 0.9), (*B, 0.5), (*FAR, 0.3)), there(A, B))

    assert first == pytest.approx(2 / 3)  # precision 1/2, then 2/3: the envelope is 2/3 throughout
    assert last == 1.0


def test_a_second_detection_of_a_face_is_wrong() -> None:
    assert one(found((*A, 0.9), (*A, 0.8), (*B, 0.3)), there(A, B)) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_an_overlap_of_half_counts_and_less_does_not() -> None:
    half, less = (0.0, 0.0, 40.0, 80.0), (0.0, 0.0, 40.0, 81.0)

    assert one(found((*half, 0.9)), there(A)) == 1.0
    assert one(found((*less, 0.9)), there(A)) == 0.0


def test_ignored_faces_neither_help_nor_hurt() -> None:
    assert one(found((*B, 0.9), (*B, 0.8), (*A, 0.5)), there(A, B, ignore=(1,))) == 1.0
    assert one(found((*A, 0.5)), there(A, B, ignore=(1,))) == 1.0


def test_subsets_are_by_height_and_a_smaller_face_is_ignored_in_them() -> None:
    small, middle, large = (0.0, 0.0, 9.0, 20.0), (50.0, 0.0, 80.0, 40.0), (100.0, 0.0, 160.0, 80.0)
    tiny = (200.0, 0.0, 210.0, 10.0)  # not over 10 px
    score = face_ap([found((*large, 0.9), (*tiny, 0.8))], [there(small, middle, large, tiny)], np.ones((0, 1)))

    assert score.parts == {
        "easy": pytest.approx(1.0),
        "medium": pytest.approx(1 / 2),
        "hard": pytest.approx(1 / 3),
    }
    assert score.value == score.parts["hard"]
    only_small = face_ap([found((*small, 0.9))], [there(small)], np.ones((0, 1)))
    assert dict(only_small.parts) == {"hard": 1.0}


def test_finds_in_a_picture_without_faces_are_wrong() -> None:
    pictures = [there(A), there()]

    assert value([found((*A, 0.5)), found((*FAR, 0.9))], pictures) == pytest.approx(0.5)
    assert value([found((*A, 0.9)), found((*FAR, 0.5))], pictures) == 1.0


def test_the_scale_of_scores_does_not_matter() -> None:
    seen, truths = crowd(np.random.default_rng(1), 8)
    moved = [dataclasses.replace(item, scores=item.scores * 1e-3 + 0.4) for item in seen]

    assert value(moved, truths) == pytest.approx(value(seen, truths), abs=2e-3)  # thresholds fall a little otherwise


def crowd(rng: np.random.Generator, pictures: int) -> tuple[list[FacesFound], list[FacesTrue]]:
    """Return random pictures with near, doubled, missed and made-up detections, some of equal score."""
    seen, truths = [], []
    for _ in range(pictures):
        faces = int(rng.integers(0, 9))
        corners = rng.uniform(0, 200, (faces, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(6, 90, (faces, 2))], axis=1)
        kept = np.repeat(boxes, rng.integers(0, 3, faces), axis=0)
        kept += rng.normal(0, 4, kept.shape)
        made_up = rng.uniform(0, 200, (int(rng.integers(0, 6)), 2))
        made_up = np.concatenate([made_up, made_up + rng.uniform(10, 60, made_up.shape)], axis=1)
        every = np.concatenate([kept, made_up])
        seen.append(FacesFound(boxes=every, scores=np.round(rng.uniform(0.02, 1, len(every)), 2)))
        truths.append(FacesTrue(boxes=boxes, ignore=rng.random(faces) < 0.2))
    return seen, truths


def oracle(seen: list[FacesFound], truths: list[FacesTrue], height: float) -> float:
    """Return WIDER's AP by loops: for each picture and threshold, count anew."""
    every = np.concatenate([item.scores for item in seen])
    low, high = every.min(), every.max()
    proposals, recalled, faces = np.zeros(1000), np.zeros(1000), 0
    for item, truth in zip(seen, truths, strict=True):
        skip = [bool(i) or box[3] - box[1] <= height for i, box in zip(truth.ignore, truth.boxes, strict=True)]
        faces += skip.count(False)
        order = sorted(range(len(item.scores)), key=lambda number: -item.scores[number])
        state, taken = [], set()  # "right", "wrong" or "ignored", best first
        for number in order:
            overlaps = [iou(item.boxes[number], box) for box in truth.boxes]
            best = int(np.argmax(overlaps)) if overlaps else -1
            if best < 0 or overlaps[best] < 0.5:
                state.append("wrong")
            elif skip[best]:
                state.append("ignored")
            else:
                state.append("wrong" if best in taken else "right")
                taken.add(best)
        for step in range(1000):
            limit = 1 - (step + 1) / 1000
            above = [s for s, n in zip(state, order, strict=True) if (item.scores[n] - low) / (high - low) >= limit]
            proposals[step] += len(above) - above.count("ignored")
            recalled[step] += above.count("right")
    recall = [0.0, *(recalled / faces), 1.0]
    precision = [0.0, *(recalled / np.maximum(proposals, 1)), 0.0]
    for place in range(len(precision) - 2, -1, -1):
        precision[place] = max(precision[place], precision[place + 1])
    return float(sum((recall[i + 1] - recall[i]) * precision[i + 1] for i in range(len(recall) - 1)))


def iou(a: Float64, b: Float64) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(shared / (both - shared))


@pytest.mark.parametrize("seed", range(6))
def test_random_sets_have_the_value_of_the_slow_loops(seed: int) -> None:
    seen, truths = crowd(np.random.default_rng(seed), 12)

    score = face_ap(seen, truths, np.ones((0, 12)))

    for name, height in SUBSETS.items():
        assert score.parts[name] == pytest.approx(oracle(seen, truths, height), abs=1e-12)


def test_a_resampled_value_is_that_of_the_set_with_its_pictures_repeated() -> None:
    seen, truths = crowd(np.random.default_rng(7), 15)
    # Scores are stretched over the whole set: ends that are always drawn keep the thresholds where they are.
    seen.append(found((*A, 0.0), (*B, 1.0)))
    truths.append(there(A, B))
    draws = resample(16, 10, seed=2)
    draws[:, -1] = 1

    score = face_ap(seen, truths, draws)

    for drawn, expected in zip(draws, score.resampled, strict=True):
        pictures = np.repeat(np.arange(16), drawn.astype(int))
        again = value([seen[picture] for picture in pictures], [truths[picture] for picture in pictures])
        assert again == pytest.approx(expected, abs=1e-9)


def test_the_interval_surrounds_the_value() -> None:
    seen, truths = crowd(np.random.default_rng(3), 60)

    score = face_ap(seen, truths, resample(60, 300, seed=0))

    low, high = interval(score.resampled)
    assert 0.0 < low < score.value < high < 1.0


def test_what_cannot_be_scored_is_refused() -> None:
    once = np.ones((0, 1))

    with pytest.raises(InputError, match="no face to find in 1 pictures"):
        face_ap([found((*A, 0.9))], [there()], once)
    with pytest.raises(InputError, match="no face to find"):
        face_ap([found((*A, 0.9))], [there(A, ignore=(0,))], once)
    with pytest.raises(InputError, match="finite"):
        face_ap([found((*A, np.nan))], [there(A)], once)
    with pytest.raises(ShapeError, match="same pictures"):
        face_ap([], [there(A)], once)
    with pytest.raises(ShapeError, match=r"\(n, 4\)"):
        face_ap([FacesFound(boxes=np.zeros((1, 5)), scores=np.zeros(1))], [there(A)], once)
