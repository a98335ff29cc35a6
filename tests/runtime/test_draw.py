"""Overlays: where there is colour, where there is none, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.runtime.draw import draw
from edge.runtime.emotion import decode_emotion
from edge.runtime.errors import InputError, ShapeError
from edge.runtime.results import Emotion, Face, Keypoint, Person, Result

GREY = np.full((120, 160, 3), 128, np.uint8)


def face(x: float, y: float, side: float) -> Face:
    marks = tuple(
        (x + side * u, y + side * v) for u, v in ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
    )
    return Face(box_xyxy=(x, y, x + side, y + side), score=0.97, landmarks=marks)


def emotion(valence: float, arousal: float) -> Emotion:
    return decode_emotion(np.array([valence, arousal], np.float32))


def test_a_face_is_framed_and_the_rest_of_the_picture_untouched() -> None:
    drawn = draw(GREY, Result(kind="faces", faces=(face(60, 60, 40),), original_hw=(120, 160)))

    changed = (drawn != GREY).any(axis=2)
    assert changed[60, 80]
    assert changed[100, 80]
    assert changed[80, 60]
    assert not changed[:40].any()
    assert not changed[:, 105:].any()
    assert not changed[88:97, 63:70].any()  # inside the box, away from the landmarks
    assert (GREY == 128).all()


def test_the_score_of_a_face_at_the_top_moves_into_the_picture() -> None:
    drawn = draw(GREY, Result(kind="faces", faces=(face(60, 0, 60),)))

    assert (drawn[3:9, 64:70] < 100).any()


def test_the_score_of_a_small_face_at_the_top_moves_below_its_landmarks() -> None:
    drawn = draw(GREY, Result(kind="faces", faces=(face(60, 2, 25),)))

    assert (drawn[30:40, 62:80] < 100).sum() > 100
    assert (drawn[6:24, 65:80] < 100).sum() < 250  # a plate would have twice as much


@pytest.mark.parametrize("picture", [GREY, np.zeros((20, 2500, 3), np.uint8)])
def test_faces_of_any_size_in_pixels_can_be_drawn(picture: np.ndarray) -> None:
    for side in np.arange(0, 12, 0.17):
        for shift in (0.0, 0.3, 0.49, 0.5, 0.8):
            drawn = draw(picture, Result(kind="faces", faces=(face(5 + shift, 4 + shift, side),)))
            assert (drawn != picture).any()


def test_a_limb_joins_its_joints_in_the_colour_of_its_side() -> None:
    points: list[Keypoint | None] = [None] * 18
    points[2], points[3] = Keypoint(20, 20, 1), Keypoint(20, 100, 1)  # the right upper arm
    points[5], points[6] = Keypoint(120, 20, 1), Keypoint(120, 100, 1)

    drawn = draw(GREY, Result(kind="people", people=(Person(keypoints=tuple(points), score=1),)))

    red, blue = drawn[60, 20].astype(int), drawn[60, 120].astype(int)
    assert red[0] > red[2] + 100
    assert blue[2] > blue[0] + 100
    assert (drawn[60, 60:80] == 128).all()


def test_lines_grow_with_the_picture() -> None:
    small = draw(np.zeros((200, 200, 3), np.uint8), Result(kind="faces", faces=(face(50, 50, 100),)))
    large = draw(np.zeros((2000, 2000, 3), np.uint8), Result(kind="faces", faces=(face(500, 500, 1000),)))

    def thickness(row: np.ndarray) -> int:
        return int((row[: len(row) // 2, 2] > 120).sum())

    assert thickness(large[1300]) >= 5 * thickness(small[130])


def test_nothing_found_gives_an_equal_copy() -> None:
    drawn = draw(GREY, Result(kind="faces"))

    np.testing.assert_array_equal(drawn, GREY)
    assert drawn is not GREY


def test_an_emotion_is_a_point_in_its_quadrant() -> None:
    for values, rows, columns in (((0.5, 0.5), (100, 350), (370, 640)), ((-0.5, -0.5), (370, 640), (80, 350))):
        plane = draw(None, Result(kind="emotion", emotion=emotion(*values))).astype(int)
        spot = (plane[..., 0] > 180) & (plane[..., 2] < 60)
        y, x = (axis.mean() for axis in np.nonzero(spot))
        assert rows[0] < y < rows[1]
        assert columns[0] < x < columns[1]


@pytest.mark.parametrize("hw", [(1, 1), (1, 300), (40, 40), (300, 900)])
def test_an_emotion_fits_into_any_picture(hw: tuple[int, int]) -> None:
    picture = np.zeros((*hw, 3), np.uint8)

    drawn = draw(picture, Result(kind="emotion", emotion=emotion(0.1, -0.9)))

    assert drawn.shape == picture.shape
    assert drawn.any()


def test_pictures_that_do_not_belong_are_refused() -> None:
    found = Result(kind="faces", faces=(face(1, 1, 9),), original_hw=(50, 50))
    with pytest.raises(ShapeError, match=r"another picture, expected \(50, 50\), got \(120, 160\)"):
        draw(GREY, found)
    with pytest.raises(ShapeError, match="wrong shape"):
        draw(GREY[..., 0], found)
    with pytest.raises(InputError, match="expected uint8"):
        draw(GREY.astype(np.float32), found)
    with pytest.raises(InputError, match="needs a picture"):
        draw(None, found)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.lists(st.tuples(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12), st.floats(0, 1e12)), max_size=3),
    st.lists(st.floats(-1e12, 1e12), min_size=36, max_size=36),
)
def test_any_coordinates_can_be_drawn_on_any_picture(
    hw: tuple[int, int], places: list[tuple[float, float, float]], joints: list[float]
) -> None:
    person = Person(keypoints=tuple(Keypoint(x, y, 1) for x, y in zip(joints[::2], joints[1::2], strict=True)), score=1)
    picture = np.zeros((*hw, 3), np.uint8)

    for result in (
        Result(kind="faces", faces=tuple(face(*place) for place in places)),
        Result(kind="people", people=(person,)),
    ):
        assert draw(picture, result).shape == picture.shape


def test_pillow_is_not_imported_before_something_is_drawn() -> None:
    code = "import sys, edge.runtime.draw, edge.runtime.decode; sys.exit('PIL' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def crowd(hw: tuple[int, int]) -> tuple[Result, Result]:
    """Return faces and people of many sizes all over a picture, over its borders too."""
    rng = np.random.default_rng(5)
    scale = np.array([hw[1], hw[0]])
    people = []
    for _ in range(6):
        joints = (rng.uniform(0, 1, 2) + rng.uniform(-0.3, 0.3, (18, 2))) * scale
        people.append(Person(keypoints=tuple(Keypoint(x, y, 1) for x, y in joints), score=1))
    places = rng.uniform(-0.1, 1, (9, 2)) * scale
    faces = tuple(face(x, y, rng.uniform(0, 0.5) * min(hw)) for x, y in places)
    return Result(kind="faces", faces=faces), Result(kind="people", people=tuple(people))


@pytest.mark.parametrize("hw", [(64, 64), (65, 127), (33, 400), (301, 517), (40, 2500)])
def test_drawing_by_blocks_is_drawing_at_once(hw: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    results = crowd(hw)
    by_blocks = [draw(picture, result, caption="0:01") for result in results]

    monkeypatch.setattr("edge.runtime.draw.BLOCK", 10_000)

    for drawn, result in zip(by_blocks, results, strict=True):
        at_once = draw(picture, result, caption="0:01")
        assert (at_once != picture).any()
        np.testing.assert_array_equal(drawn, at_once)


def test_a_caption_is_a_plate_in_the_lower_left() -> None:
    drawn = draw(GREY, Result(kind="faces"), caption="0:01.5")

    changed = (drawn != GREY).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert rows.min() > 90
    assert columns.max() < 60
    assert (drawn[changed] < 60).any()
    assert (drawn[changed] > 200).any()


@pytest.mark.parametrize("hw", [(1, 1), (10, 400), (400, 20)])
def test_a_caption_without_room_is_left_out(hw: tuple[int, int]) -> None:
    picture = np.full((*hw, 3), 128, np.uint8)

    np.testing.assert_array_equal(draw(picture, Result(kind="faces"), caption="0:01.5"), picture)


def test_a_picture_that_may_not_be_written_to_can_be_drawn_on() -> None:
    picture = np.asfortranarray(GREY)
    picture.flags.writeable = False

    drawn = draw(picture, Result(kind="faces", faces=(face(60, 60, 40),)))

    np.testing.assert_array_equal(drawn, draw(GREY, Result(kind="faces", faces=(face(60, 60, 40),))))
