"""The set of people: what is said about a joint can be seen in the picture, and a seed gives the same set again."""

import numpy as np
import pytest

from edge.models.data.body_poses import random_body
from edge.models.data.draw_people import draw_people
from edge.models.data.draw_scenes import draw_scene
from edge.models.data.samples import PoseSample
from edge.models.data.synthetic_people import VERSION, SyntheticPeople
from edge.runtime.errors import InputError
from edge.runtime.skeleton import KEYPOINTS

RIGHT_EYE, LEFT_EYE = KEYPOINTS.index("right_eye"), KEYPOINTS.index("left_eye")
RIGHT_EAR, LEFT_EAR = KEYPOINTS.index("right_ear"), KEYPOINTS.index("left_ear")

# Of sample 0 of seed 0: people, right arm of the last one, pixels, and mean colour.
RECORDED_PEOPLE = 3
RECORDED_ARM = (27.78, 32.12, 23.71, 40.5, 20.93, 48.99)
RECORDED_COLOUR = (85.4, 99.6, 96.2)


@pytest.fixture(scope="module")
def samples() -> list[PoseSample]:
    source = SyntheticPeople(60, 4, (128, 128))
    return [source[index] for index in range(len(source))]


@pytest.fixture(scope="module")
def keypoints(samples: list[PoseSample]) -> np.ndarray:
    return np.concatenate([sample.keypoints[~sample.crowd] for sample in samples])


def test_a_sample_depends_on_seed_and_index_only() -> None:
    short, longer, other = (
        SyntheticPeople(2, 7, (96, 80)),
        SyntheticPeople(9, 7, (96, 80)),
        SyntheticPeople(2, 8, (96, 80)),
    )

    late, early = short[1], longer[1]
    assert late.image.tobytes() == early.image.tobytes()
    assert late.keypoints.tobytes() == early.keypoints.tobytes()
    assert late.image.tobytes() != short[0].image.tobytes()
    assert late.image.tobytes() != other[1].image.tobytes()


def test_shapes_and_types_are_those_of_the_sample() -> None:
    sample = SyntheticPeople(1, 0, (96, 130))[0]
    n = len(sample.keypoints)

    assert sample.image.shape == (96, 130, 3)
    assert sample.image.dtype == np.uint8
    assert (sample.keypoints.shape, sample.boxes.shape, sample.areas.shape) == ((n, 18, 3), (n, 4), (n,))
    assert {a.dtype for a in (sample.keypoints, sample.boxes, sample.areas)} == {np.dtype(np.float32)}
    assert (sample.crowd.shape, sample.ignore.shape) == ((n,), (96, 130))
    assert sample.crowd.dtype == sample.ignore.dtype == np.bool_


def test_pictures_of_varied_sizes_differ_in_size_and_stay_within_their_limits() -> None:
    source = SyntheticPeople(6, 3)
    shapes = [source[index].image.shape[:2] for index in range(6)]

    assert len(set(shapes)) == 6
    assert min(map(min, shapes)) >= 160
    assert max(map(max, shapes)) <= 400


def test_digest_and_label_tell_sets_apart_and_say_that_they_are_synthetic() -> None:
    sets = [SyntheticPeople(5, 0), SyntheticPeople(6, 0), SyntheticPeople(5, 1), SyntheticPeople(5, 0, (128, 128))]

    assert len({source.digest for source in sets}) == 4
    assert len({source.label for source in sets}) == 4
    assert sets[0].digest == SyntheticPeople(5, 0).digest
    assert all("synthetic" in source.label for source in sets)


def test_the_drawing_has_not_changed_without_a_new_version() -> None:
    """Other figures? Count `VERSION` up, so that no cache mixes two drawings, and write the new ones down."""
    sample = SyntheticPeople(1, 0, (128, 128))[0]

    assert VERSION == 1
    assert len(sample.keypoints) == RECORDED_PEOPLE
    np.testing.assert_allclose(sample.keypoints[-1, 2:5, :2].ravel(), RECORDED_ARM, atol=0.05)
    np.testing.assert_allclose(sample.image.mean(axis=(0, 1)), RECORDED_COLOUR, atol=2.0)


def test_keypoints_and_boxes_lie_in_the_picture_and_joints_in_their_boxes(samples: list[PoseSample]) -> None:
    for sample in samples:
        labelled = sample.keypoints[sample.keypoints[:, :, 2] > 0]
        assert (labelled[:, :2] >= 0).all()
        assert (labelled[:, :2] < 128).all()
        assert (sample.keypoints[sample.keypoints[:, :, 2] == 0] == 0).all()
        assert (sample.boxes[:, :2] >= 0).all()
        assert (sample.boxes[:, 2:] <= 128).all()
        width, height = (sample.boxes[:, 2:] - sample.boxes[:, :2]).T
        assert (sample.areas > 0).all()
        assert (sample.areas <= width * height).all()
        for person, (x1, y1, x2, y2) in zip(sample.keypoints, sample.boxes, strict=True):
            joints = person[(person[:, 2] > 0)]
            assert (joints[:, 0] > x1 - 2).all()
            assert (joints[:, 0] < x2 + 2).all()
            assert (joints[:, 1] > y1 - 2).all()
            assert (joints[:, 1] < y2 + 2).all()


def test_the_neck_is_the_middle_of_the_shoulders_and_no_better_visible(keypoints: np.ndarray) -> None:
    neck, shoulders = keypoints[:, 1], keypoints[:, [2, 5]]
    both = (shoulders[:, :, 2] > 0).all(axis=1)

    assert both.any()
    assert not both.all()
    np.testing.assert_allclose(neck[both, :2], shoulders[both, :, :2].mean(axis=1), atol=1e-3)
    np.testing.assert_array_equal(neck[both, 2], shoulders[both, :, 2].min(axis=1))
    assert (neck[~both, 2] == 0).all()


def test_a_tenth_to_three_tenths_of_the_labelled_joints_are_hidden_and_some_people_are_cut(
    keypoints: np.ndarray, samples: list[PoseSample]
) -> None:
    visibility = keypoints[:, :, 2]
    body = visibility[:, 2:14]
    counts = [len(sample.crowd) for sample in samples]

    assert 0.1 < (visibility == 1).sum() / (visibility > 0).sum() < 0.3
    assert 0.05 < (body == 0).mean() < 0.3
    assert set(counts) >= {1, 2, 3, 4}
    assert max(counts) <= 5


def test_people_come_in_many_sizes(samples: list[PoseSample]) -> None:
    heights = np.concatenate([sample.boxes[:, 3] - sample.boxes[:, 1] for sample in samples])

    assert np.quantile(heights, 0.1) < 0.45 * 128
    assert np.quantile(heights, 0.9) > 0.75 * 128


def test_eyes_tell_left_from_right_and_are_not_there_from_behind(keypoints: np.ndarray) -> None:
    visible = keypoints[:, :, 2] > 0
    eyes = visible[:, RIGHT_EYE] & visible[:, LEFT_EYE]
    ears = visible[:, RIGHT_EAR] & visible[:, LEFT_EAR]
    upright = np.abs(keypoints[:, RIGHT_EAR, 1] - keypoints[:, LEFT_EAR, 1]) < np.abs(
        keypoints[:, RIGHT_EAR, 0] - keypoints[:, LEFT_EAR, 0]
    )
    front, behind = eyes & ears & upright, ears & upright & ~visible[:, 0] & ~eyes
    whole = behind & visible[:, 2] & visible[:, 5]

    assert front.sum() > 10
    assert whole.sum() > 5
    # Whoever looks at us has the right side at the picture's left.
    assert (keypoints[front, RIGHT_EYE, 0] < keypoints[front, LEFT_EYE, 0]).all()
    assert (keypoints[front, RIGHT_EAR, 0] < keypoints[front, LEFT_EAR, 0]).all()
    assert (keypoints[whole, RIGHT_EAR, 0] > keypoints[whole, LEFT_EAR, 0]).all()
    # A body may be twisted against its head, but rarely by much.
    assert (keypoints[whole, 2, 0] > keypoints[whole, 5, 0]).mean() > 0.7


def test_where_a_joint_is_visible_the_scene_is_painted_over() -> None:
    """The same generator draws the same scene, without anybody."""
    bare = draw_scene(np.random.default_rng(3), (128, 128))
    scene, people = draw_people(np.random.default_rng(3), (128, 128))
    changed = np.abs(scene - bare).max(axis=2) > 1e-3

    shown = people.keypoints[people.keypoints[:, :, 2] == 2]
    assert len(shown) > 5
    assert changed[shown[:, 1].astype(int), shown[:, 0].astype(int)].mean() > 0.97


def test_bones_keep_their_lengths_in_every_pose() -> None:
    for seed in range(50):
        points = random_body(np.random.default_rng(seed)).points
        lengths = [float(np.linalg.norm(points[a] - points[b])) for a, b in ((2, 3), (5, 6), (8, 9), (9, 10), (12, 13))]
        np.testing.assert_allclose(lengths, [0.175, 0.175, 0.24, 0.24, 0.24], atol=1e-9)
        assert abs(np.linalg.norm(points[2] - points[5]) - 0.23) < 1e-9


def test_the_left_is_the_left_seen_from_the_person_in_every_direction() -> None:
    """Left, up and forward are a right-handed frame: left x up points forward, which is where the face looks."""
    agree = []
    for seed in range(200):
        body = random_body(np.random.default_rng(seed))
        left = body.points[5] - body.points[2]
        up = body.points[1] - (body.points[8] + body.points[11]) / 2
        forward = np.cross(left * (1, -1, 1), up * (1, -1, 1))  # y up: a right-handed frame with x right, z to us
        look = np.array([np.sin(body.head_yaw), 0.0, np.cos(body.head_yaw)])
        agree.append(forward @ look > 0)
    assert np.mean(agree) > 0.97  # heads turn against their bodies


@pytest.mark.parametrize(("count", "seed", "hw"), [(-1, 0, None), (1, -1, None), (1, 0, (31, 64))])
def test_what_cannot_be_drawn_is_refused(count: int, seed: int, hw: tuple[int, int] | None) -> None:
    with pytest.raises(InputError, match="synthetic people cannot be drawn so"):
        SyntheticPeople(count, seed, hw)


@pytest.mark.parametrize("index", [-1, 2])
def test_there_is_no_sample_beyond_the_ends(index: int) -> None:
    with pytest.raises(IndexError):
        SyntheticPeople(2, 0, (64, 64))[index]


def test_small_and_narrow_pictures_have_truth_too() -> None:
    for hw in ((32, 32), (32, 200), (200, 32)):
        for index in range(4):
            sample = SyntheticPeople(4, 0, hw)[index]
            assert sample.image.shape == (*hw, 3)
            assert np.isfinite(sample.keypoints).all()
