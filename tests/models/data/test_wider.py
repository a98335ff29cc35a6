"""WIDER FACE in both of its forms; every broken line is named by file and number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.models.data.samples import SampleError
from edge.models.data.wider import WiderFace
from edge.runtime.errors import InputError

from .tiny_sets import RETINA, WIDER, usable, write_picture, write_wider


def test_retinaface_lines_give_boxes_landmarks_and_what_is_ignored(tmp_path: Path) -> None:
    write_wider(tmp_path)

    source = WiderFace(tmp_path, "train")
    one, two, three = (source[index] for index in range(3))

    assert (source.family, len(source), source.faults) == ("face", 3, ())
    assert "landmarks" in source.label
    assert one.name == "a/one.png"
    assert one.boxes.tolist() == [[10, 12, 30, 36], [40, 2, 47, 10], [50, 30, 50, 38]]
    assert one.has_landmarks.tolist() == [True, False, False]
    assert one.landmarks[0].tolist() == [[14.5, 20], [24, 20.5], [19, 26], [15, 31], [23, 31.5]]
    assert not one.landmarks[1:].any()
    assert one.ignore.tolist() == [False, False, True]
    assert two.boxes.shape == (0, 4)
    assert two.landmarks.shape == (0, 5, 2)
    assert three.boxes.tolist() == [[1, 2, 31, 42]]
    assert three.has_landmarks.tolist() == [False]


def test_widers_own_text_gives_boxes_and_passes_over_invalid_faces(tmp_path: Path) -> None:
    write_wider(tmp_path, WIDER, retina=False)

    source = WiderFace(tmp_path, "train")
    one, two, three = (source[index] for index in range(3))

    assert one.boxes.tolist() == [[10, 12, 30, 36], [40, 2, 47, 10]]
    assert one.ignore.tolist() == [False, True]
    assert two.boxes.shape == (0, 4)
    assert three.boxes.tolist() == [[1, 2, 31, 42]]
    assert not three.has_landmarks.any()


def test_test_is_validation_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    write_wider(tmp_path, RETINA.replace("\n", "\r\n"), part="val")
    val, test = WiderFace(tmp_path, "val"), WiderFace(tmp_path, "test")
    assert val.digest == test.digest
    assert val[0].boxes.shape == (3, 4)


BROKEN_RETINA = [
    ("10 12 20 24 14.5", "ten 12 20 24 14.5", 2, "not a line of numbers, got 'ten 12"),
    ("40 2 7 8 -1.0 -1.0", "40 2 7 8 -1.0", 3, "wrong number of numbers, expected 4 or 20, got 19"),
    ("10 12 20 24", "nan 12 20 24", 2, "a number is not finite"),
    ("10 12 20 24", "1e300 12 20 24", 2, "a number is not finite, or beyond"),
    ("10 12 20 24", "100 12 20 24", 2, "the box of a face outside the picture, expected 64x48"),
    ("40 2 7 8", "-40 2 7 8", 3, "the box of a face outside the picture"),
    ("14.5 20 0.0", "14500 20 0.0", 2, "the landmarks of a face outside the picture"),
    ("a/one.png", "../one.png", 1, "the name leaves the folder"),
    ("a/one.png", "", 1, "the name leaves the folder"),
    ("a/one.png", "a/none.png", 1, "cannot read `.*none.png`"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), BROKEN_RETINA, ids=lambda value: str(value)[:25])
def test_a_broken_line_is_named_and_fails_its_picture_alone(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    file = write_wider(tmp_path, RETINA.replace(old, new, 1))
    source = WiderFace(tmp_path, "train")

    with pytest.raises(SampleError, match=message) as caught:
        source[0]
    assert f"`{file}:{line}`" in str(caught.value)
    assert source[2].name == "a/three.png"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("png\n2\n", "png\n3\n", 2, "wrong number of faces, expected 3, got 2"),
        ("png\n2\n", "png\ntwo\n", 2, "not a number of faces, got 'two'"),
        ("png\n2\n", "png\n-2\n", 2, "not a number of faces"),
        ("png\n2\n", "png\n" + "9" * 5000 + "\n", 2, "not a number of faces"),
        ("10 12 20 24 0", "10 12 20 24", 3, "wrong number of numbers, expected 10, got 9"),
    ],
)
def test_a_broken_line_of_widers_own_text_is_named(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    file = write_wider(tmp_path, WIDER.replace(old, new, 1), retina=False)
    source = WiderFace(tmp_path, "train")
    with pytest.raises(SampleError, match=message) as caught:
        source[0]
    assert f"`{file}:{line}`" in str(caught.value)
    assert source[1].name == "a/two.png"


def test_a_damaged_picture_is_named_with_the_line_that_names_it(tmp_path: Path) -> None:
    file = write_wider(tmp_path)
    picture = tmp_path / "train" / "images" / "a" / "two.png"
    picture.write_bytes(picture.read_bytes()[:300])
    with pytest.raises(SampleError, match="damaged or cut short") as caught:
        WiderFace(tmp_path, "train")[1]
    assert f"`{file}:5`" in str(caught.value)
    assert str(picture) in str(caught.value)


def test_lines_before_the_first_picture_are_a_fault(tmp_path: Path) -> None:
    file = write_wider(tmp_path, "1 2 3 4\n" + RETINA)
    source = WiderFace(tmp_path, "train")
    assert source.faults == (f"`{file}:1`: the lines before the first picture belong to none",)
    assert source[0].boxes.shape == (3, 4)


def test_a_text_without_pictures_is_refused(tmp_path: Path) -> None:
    write_wider(tmp_path, "1 2 3 4\n")
    with pytest.raises(InputError, match=r"label.txt` names no picture, expected lines with `# path`"):
        WiderFace(tmp_path, "train")
    with pytest.raises(InputError, match=r"holds no WIDER FACE of `val`, expected .*wider_face_split"):
        WiderFace(tmp_path, "val")


words = st.sampled_from(
    [b"1", b"-1", b"nan", b"inf", b"1e999", b"x", b"# a/one.png", b"a/two.png", b"\xff", b"\n", b"0"]
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(retina=st.booleans(), cuts=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60), words), max_size=4))
def test_mutated_texts_never_raise_anything_else(
    tmp_path: Path, retina: bool, cuts: list[tuple[int, int, bytes]]
) -> None:
    text = (RETINA if retina else WIDER).encode()
    for start, length, word in cuts:
        text = text[:start] + word + text[start + length :]
    folder = tmp_path / str(retina)
    if not folder.exists():
        write_wider(folder, retina=retina)
    file = folder / ("train/label.txt" if retina else "wider_face_split/wider_face_train_bbx_gt.txt")
    file.write_bytes(text)
    try:
        source = WiderFace(folder, "train")
    except InputError:
        return
    for sample in usable(source, naming=f"`{file}:"):
        assert np.isfinite(sample.boxes).all()
        assert np.isfinite(sample.landmarks).all()


def test_a_picture_of_another_size_than_its_faces_is_told(tmp_path: Path) -> None:
    write_wider(tmp_path)
    write_picture(tmp_path / "train" / "images" / "a" / "one.png", (10, 10))
    with pytest.raises(SampleError, match=r":2`: the box of a face outside the picture, expected 10x10"):
        WiderFace(tmp_path, "train")[0]
