"""OKS-AP: that of faster-coco-eval, and own resampling that equals it on any set."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edge.runtime.errors import InputError, ShapeError
from edge.runtime.metrics import interval, resample
from edge.runtime.metrics_pose import PeopleFound, PeopleTrue, oks_ap

pytest.importorskip("faster_coco_eval")


def people(rng: np.random.Generator, pictures: int, noise: float) -> tuple[list[PeopleFound], list[PeopleTrue]]:
    """Return random pictures: people missed, doubled, made up, of equal score, in crowds and without joints."""
    seen, truths = [], []
    for _ in range(pictures):
        count = int(rng.integers(0, 6))
        corner, size = rng.uniform(0, 200, (count, 2)), rng.uniform(20, 150, (count, 2))
        joints = np.zeros((count, 17, 3))
        joints[:, :, :2] = corner[:, None] + rng.random((count, 17, 2)) * size[:, None]
        joints[:, :, 2] = rng.integers(0, 3, (count, 17))
        joints[rng.random(count) < 0.1] = 0.0
        boxes = np.concatenate([corner, corner + size], axis=1)
        crowd = rng.random(count) < 0.15
        truths.append(PeopleTrue(keypoints=joints, boxes=boxes, areas=0.6 * size.prod(axis=1), crowd=crowd))
        near = np.repeat(joints, rng.integers(0, 3, count), axis=0)
        near[:, :, :2] += rng.normal(0, noise, near[:, :, :2].shape)
        made_up = rng.uniform(0, 300, (int(rng.integers(0, 3)), 17, 3))
        every = np.concatenate([near, made_up])
        every[:, :, 2] = 1.0
        every[rng.random((len(every), 17)) < 0.1] = 0.0
        seen.append(PeopleFound(keypoints=every, scores=rng.integers(0, 20, len(every)).astype(np.float64)))
    return seen, truths


def coco_ap(seen: list[PeopleFound], truths: list[PeopleTrue]) -> float:
    """Return faster-coco-eval's AP by its plain interface; pictures may occur several times."""
    from faster_coco_eval import COCO, COCOeval_faster

    annotations = [
        {
            "id": 100 * image + number,
            "image_id": image,
            "category_id": 1,
            "keypoints": truth.keypoints[number].ravel().tolist(),
            "num_keypoints": int((truth.keypoints[number, :, 2] > 0).sum()),
            "bbox": [*truth.boxes[number, :2].tolist(), *(truth.boxes[number, 2:] - truth.boxes[number, :2]).tolist()],
            "area": float(truth.areas[number]),
            "iscrowd": int(truth.crowd[number]),
        }
        for image, truth in enumerate(truths, start=1)
        for number in range(len(truth.areas))
    ]
    results = [
        {"image_id": image, "category_id": 1, "keypoints": joints.ravel().tolist(), "score": float(score)}
        for image, item in enumerate(seen, start=1)
        for joints, score in zip(item.keypoints, item.scores, strict=True)
    ]
    images = [{"id": image} for image in range(1, len(truths) + 1)]
    truth_set = COCO({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]})
    evaluation = COCOeval_faster(truth_set, truth_set.loadRes(results), "keypoints", print_function=lambda *_: None)
    evaluation.run()
    return float(evaluation.stats[0])


def perfect(truths: list[PeopleTrue]) -> list[PeopleFound]:
    """Return everybody who counts, in place."""
    counted = [truth.keypoints[~truth.crowd & (truth.keypoints[:, :, 2] > 0).any(axis=1)] for truth in truths]
    return [PeopleFound(keypoints=joints, scores=np.arange(len(joints), 0.0, -1.0)) for joints in counted]


@pytest.mark.parametrize("seed", range(12))
def test_random_sets_have_faster_coco_evals_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen, truths = people(rng, int(rng.integers(3, 40)), float(rng.uniform(0.5, 8.0)))

    # `oks_ap` itself asserts that its own matches give the same AP to 1e-9.
    assert oks_ap(seen, truths, np.ones((0, len(seen)))).value == pytest.approx(coco_ap(seen, truths), abs=1e-12)


def test_a_resampled_value_is_that_of_the_set_with_its_pictures_repeated() -> None:
    seen, truths = people(np.random.default_rng(5), 20, 3.0)
    # Which of two equal scores comes first is up to the order of pictures, which repeating them changes.
    seen = [
        PeopleFound(keypoints=item.keypoints, scores=item.scores + np.linspace(0, 0.9, len(item.scores)) + place / 1e3)
        for place, item in enumerate(seen)
    ]
    draws = resample(20, 15, seed=1)

    score = oks_ap(seen, truths, draws)

    for drawn, expected in zip(draws, score.resampled, strict=True):
        pictures = np.repeat(np.arange(20), drawn.astype(int))
        again = coco_ap([seen[picture] for picture in pictures], [truths[picture] for picture in pictures])
        assert again == pytest.approx(expected, abs=1e-9)


def test_perfect_people_have_one_in_every_part() -> None:
    _, truths = people(np.random.default_rng(2), 12, 1.0)

    score = oks_ap(perfect(truths), truths, np.ones((0, 12)))

    assert score.value == pytest.approx(1.0)
    assert list(score.parts) == ["AP", "AP50", "AP75", "AP(M)", "AP(L)", "AR"]
    assert all(part == pytest.approx(1.0) for part in score.parts.values())


def test_nobody_found_is_zero_and_a_size_that_nobody_has_is_no_part() -> None:
    _, truths = people(np.random.default_rng(2), 6, 1.0)
    nobody = [PeopleFound(keypoints=np.zeros((0, 17, 3)), scores=np.zeros(0)) for _ in truths]
    large = [
        PeopleTrue(keypoints=item.keypoints, boxes=item.boxes, areas=np.full(len(item.areas), 1e5), crowd=item.crowd)
        for item in truths
    ]

    score = oks_ap(nobody, large, resample(6, 20, seed=0))

    assert (score.value, set(score.resampled.tolist())) == (0.0, {0.0})
    assert "AP(M)" not in score.parts
    assert score.parts["AP(L)"] == 0.0


def test_a_find_in_a_crowd_neither_helps_nor_hurts() -> None:
    joints = np.dstack([np.random.default_rng(0).uniform(0, 100, (2, 17, 2)), np.full((2, 17), 2.0)])
    joints[1, :, :2] += 500.0
    boxes = np.array([[0.0, 0, 100, 100], [500, 500, 600, 600]])
    truth = PeopleTrue(keypoints=joints, boxes=boxes, areas=np.full(2, 5000.0), crowd=np.array([False, True]))
    twice = PeopleFound(keypoints=joints[[1, 1, 0]], scores=np.array([3.0, 2.0, 1.0]))

    assert oks_ap([twice], [truth], np.ones((0, 1))).value == pytest.approx(1.0)


def test_somebody_without_labelled_joints_excuses_one_find_and_a_crowd_any_number() -> None:
    joints = np.dstack([np.random.default_rng(0).uniform(0, 100, (2, 17, 2)), np.full((2, 17), 2.0)])
    joints[1, :, :2] += 500.0
    found = joints[[1, 1, 0]]
    joints[1] = 0.0
    boxes = np.array([[0.0, 0, 100, 100], [500, 500, 600, 600]])
    values = []
    for places, crowd in (([1, 2], False), ([0, 1, 2], False), ([0, 1, 2], True)):
        truth = PeopleTrue(keypoints=joints, boxes=boxes, areas=np.full(2, 5000.0), crowd=np.array([False, crowd]))
        seen = PeopleFound(keypoints=found[places], scores=np.array([3.0, 2.0, 1.0])[places])
        values.append(oks_ap([seen], [truth], np.ones((0, 1))).value)

    assert values == pytest.approx([1.0, 0.5, 1.0])


def test_the_interval_surrounds_the_value() -> None:
    seen, truths = people(np.random.default_rng(8), 80, 2.0)

    score = oks_ap(seen, truths, resample(80, 200, seed=0))

    low, high = interval(score.resampled)
    assert 0.0 < low < score.value < high < 1.0


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    oks_ap(*people(np.random.default_rng(0), 5, 1.0), np.ones((0, 5)))

    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_scored_is_refused() -> None:
    seen, truths = people(np.random.default_rng(0), 4, 1.0)
    nobody = PeopleTrue(
        keypoints=np.zeros((1, 17, 3)), boxes=np.zeros((1, 4)), areas=np.ones(1), crowd=np.zeros(1, np.bool_)
    )

    with pytest.raises(InputError, match="nobody to find in 4 pictures"):
        oks_ap(seen, [nobody] * 4, np.ones((0, 4)))
    with pytest.raises(ShapeError, match="same pictures"):
        oks_ap(seen, truths[:3], np.ones((0, 4)))
    with pytest.raises(ShapeError, match=r"\(n, 17, 3\)"):
        oks_ap([PeopleFound(keypoints=np.zeros((1, 18, 3)), scores=np.ones(1))], truths[:1], np.ones((0, 1)))
    with pytest.raises(InputError, match="finite"):
        oks_ap([PeopleFound(keypoints=np.full((1, 17, 3), np.nan), scores=np.ones(1))], truths[:1], np.ones((0, 1)))


def test_without_faster_coco_eval_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['faster_coco_eval'] = None\n"
        "from edge.runtime.errors import MissingExtraError\n"
        "from edge.runtime.metrics_pose import check_installed\n"
        "try: check_installed()\n"
        "except MissingExtraError as error: print(error.hint)\n"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "edge-vision[eval]" in told
