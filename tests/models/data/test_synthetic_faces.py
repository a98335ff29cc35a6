"""The synthetic faces: seeded, of the promised sizes, with boxes and landmarks that lie where they were drawn."""

import numpy as np
import pytest

from edge.models.data.draw_head import FACE_CHIN, FACE_TOP, SPRITE_HALF_W, SPRITE_UP, Head
from edge.models.data.samples import FaceSample
from edge.models.data.synthetic_faces import SyntheticFaces
from edge.runtime.errors import InputError

SIDE = 224


@pytest.fixture(scope="module")
def samples() -> list[FaceSample]:
    source = SyntheticFaces(40, 3, (SIDE, SIDE))
    return [source[index] for index in range(len(source))]


def test_a_picture_depends_on_seed_number_and_size_only() -> None:
    late = SyntheticFaces(9, 3, (SIDE, 192))
    last = late[8]
    for index in (0, 8):
        fresh = SyntheticFaces(100, 3, (SIDE, 192))[index]
        again = late[index]
        assert fresh.image.tobytes() == again.image.tobytes()
        assert fresh.boxes.tobytes() == again.boxes.tobytes()
        assert fresh.landmarks.tobytes() == again.landmarks.tobytes()
    assert last.image.shape == (SIDE, 192, 3)
    assert last.name != late[0].name
    assert SyntheticFaces(9, 4, (SIDE, 192))[8].image.tobytes() != last.image.tobytes()


def test_the_digest_names_count_seed_and_size() -> None:
    sets = [((5, 1), (64, 64)), ((6, 1), (64, 64)), ((5, 2), (64, 64)), ((5, 1), (64, 96))]
    digests = [SyntheticFaces(*arguments, hw).digest for arguments, hw in sets]
    assert len(set(digests)) == 4
    assert SyntheticFaces(5, 1, (64, 64)).digest == digests[0]
    assert "synthetic" in SyntheticFaces(5, 1).label


def test_samples_keep_the_contract(samples: list[FaceSample]) -> None:
    for sample in samples:
        count = len(sample.boxes)
        assert sample.image.dtype == np.uint8
        assert sample.image.shape == (SIDE, SIDE, 3)
        assert sample.boxes.dtype == sample.landmarks.dtype == np.float32
        assert sample.landmarks.shape == (count, 5, 2)
        assert sample.has_landmarks.shape == sample.ignore.shape == (count,)
        assert sample.has_landmarks.dtype == sample.ignore.dtype == np.bool_
        assert (sample.boxes >= 0).all()
        assert (sample.boxes <= SIDE).all()
        assert (sample.boxes[:, 2:] > sample.boxes[:, :2]).all()
        width = sample.boxes[:, 2] - sample.boxes[:, 0]
        assert sample.ignore[width < 6].all()
        assert not sample.has_landmarks[width < 12].any()
        assert not (sample.has_landmarks & sample.ignore).any()
        assert not sample.landmarks[~sample.has_landmarks].any()


def test_there_are_empty_scenes_crowds_and_faces_of_all_sizes(samples: list[FaceSample]) -> None:
    counts = np.array([len(sample.boxes) for sample in samples])
    widths = np.concatenate([sample.boxes[:, 2] - sample.boxes[:, 0] for sample in samples])
    ignored = np.concatenate([sample.ignore for sample in samples])

    assert counts.max() <= 44  # 40 of a crowd, and what stands about
    assert (counts == 0).mean() > 0.03
    assert (counts > 15).mean() > 0.15
    assert np.percentile(widths[~ignored], 2) < 12
    assert widths.max() > 0.6 * SIDE
    assert 0.02 < ignored.mean() < 0.3


def test_large_faces_reach_400_pixels() -> None:
    source = SyntheticFaces(1000, 0, (640, 640))
    widths = [(box[2] - box[0]) for index in range(4) for box in source[index].boxes]
    assert max(widths) > 250


def test_landmarks_of_upright_faces_are_in_order_and_in_the_box(samples: list[FaceSample]) -> None:
    tilts = []
    for sample in samples:
        for box, points in zip(sample.boxes[sample.has_landmarks], sample.landmarks[sample.has_landmarks], strict=True):
            size = box[2:] - box[:2]
            assert ((points > box[:2] - 0.1 * size) & (points < box[2:] + 0.1 * size)).all()
            tilts.append(np.degrees(np.arctan2(*(points[1] - points[0])[::-1])))
            assert points[1, 0] > points[0, 0] - 0.2 * size[0]
            assert points[3:, 1].mean() > points[:2, 1].mean()
    assert np.std(tilts) > 5  # heads tilt


@pytest.mark.parametrize(("yaw", "roll"), [(0.0, 0.0), (0.6, 0.0), (-0.4, 0.5), (0.8, -0.4)])
def test_landmarks_and_box_lie_where_the_head_was_painted(yaw: float, roll: float) -> None:
    """The pupils are the darkest spots near the eyes; the box is the extent of what was painted as face."""
    head = Head(np.random.default_rng(2), 80.0, np.array([236, 200, 172], np.float32), yaw=yaw, roll=roll)
    head.paint(body=False)

    origin = np.array([SPRITE_HALF_W, SPRITE_UP])
    for eye in (head.landmarks[:2] + origin) * 80.0:
        x, y = eye.astype(int)
        around = head.rgb[y - 12 : y + 13, x - 12 : x + 13].sum(axis=2)
        assert around[6:19, 6:19].min() == around.min()
        assert around.min() < 90
    rows, columns = np.nonzero(head.inside > 0.5)
    x1, y1, x2, y2 = head.outline_box()
    painted = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 80.0 - np.tile(origin, 2)
    np.testing.assert_allclose([x1, y1, x2, y2], painted, atol=0.07)


def test_the_box_of_a_level_head_is_the_one_that_calibration_pictures_use() -> None:
    head = Head(np.random.default_rng(0), 24.0, yaw=0.3, roll=0.0)
    np.testing.assert_allclose(head.outline_box(), (-1.0, FACE_TOP, 1.0, FACE_CHIN), atol=0.01)


def test_wrong_arguments_and_numbers_are_refused() -> None:
    for count, seed, hw in ((-1, 0, (64, 64)), (1, -1, (64, 64)), (1, 0, (63, 64))):
        with pytest.raises(InputError, match="cannot be drawn"):
            SyntheticFaces(count, seed, hw)
    source = SyntheticFaces(2, 0, (64, 64))
    assert len(source) == 2
    for index in (2, -1):
        with pytest.raises(IndexError):
            source[index]
