"""Checking a source: what is broken is listed, what is there is counted, whoever many processes read it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge.models.data.check import check_source
from edge.models.data.coco import CocoKeypoints
from edge.models.data.deam import Deam
from edge.models.data.open import Subset
from edge.models.data.sheet import contact_sheet
from edge.models.data.wider import WiderFace
from edge.runtime.errors import InputError, MissingExtraError

from .tiny_sets import coco_json, write_coco, write_deam, write_picture, write_wider


def test_people_and_joints_are_counted(tmp_path: Path) -> None:
    write_coco(tmp_path)

    report = check_source(CocoKeypoints(tmp_path, "val"))

    assert (report.samples, report.broken, report.faults, report.duplicates) == (3, (), (), ())
    found = report.statistics
    assert (found["pictures"], found["pictures_without_people"], found["people"], found["ignored"]) == (3, 2, 1, 2)
    assert found["labelled_joints"] == 17  # 16 of COCO's and the neck
    assert (found["joints"]["neck"], found["joints"]["right_ankle"]) == (1, 0)
    assert found["sides_px"]["16-32"] == 1  # the root of 600.5 square pixels
    assert sum(found["sides_px"].values()) == 1
    assert found["widths"] == {"min": 64, "median": 64, "mean": 64, "max": 64}


def test_faces_are_counted_by_size(tmp_path: Path) -> None:
    write_wider(tmp_path)
    found = check_source(WiderFace(tmp_path, "train")).statistics
    assert (found["faces"], found["ignored"], found["with_landmarks"]) == (3, 1, 1)
    assert {name: count for name, count in found["sides_px"].items() if count} == {"<8": 1, "16-32": 1, "32-64": 1}


def test_ratings_have_a_range(tmp_path: Path) -> None:
    write_deam(tmp_path)
    found = check_source(Deam(tmp_path, "train")).statistics
    assert found["clips"] == len(Deam(tmp_path, "train"))
    assert found["rates_hz"] == {"8000": found["clips"]}
    assert found["valence"]["min"] >= -1
    assert found["arousal"]["max"] <= 1
    assert found["seconds"]["max"] == 0.05


def test_broken_samples_are_listed_in_order_and_the_rest_is_counted(tmp_path: Path) -> None:
    data = coco_json()
    data["annotations"][0]["bbox"] = [1]
    write_coco(tmp_path, data)
    (tmp_path / "val2017" / "9.png").unlink()

    report = check_source(CocoKeypoints(tmp_path, "val"))

    assert ["annotation 0 (id 101)" in report.broken[0], "9.png" in report.broken[1]] == [True, True]
    assert report.statistics["pictures"] == 1


def test_two_processes_say_what_one_says(tmp_path: Path) -> None:
    write_wider(tmp_path)
    (tmp_path / "train" / "images" / "a" / "two.png").unlink()
    many = Subset(WiderFace(tmp_path, "train"), [0, 1, 2] * 20, "many times")
    told: list[tuple[int, int, int]] = []

    alone = check_source(many, workers=1)
    together = check_source(many, workers=2, say=lambda *state: told.append(state))

    assert together == alone
    assert len(alone.broken) == 20
    assert told[-1] == (60, 60, 20)
    assert check_source(many, limit=4).samples == 4


def test_a_missing_package_ends_the_check_in_any_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_deam(tmp_path, numbers=range(0))
    for number in range(1, 31):
        (tmp_path / f"{number}.mp3").write_bytes(b"ID3" + bytes(64))
    stub = tmp_path / "stub" / "soundfile.py"  # found first, and not importable, in the processes too
    stub.parent.mkdir()
    stub.write_text("raise ImportError('none')")
    monkeypatch.setenv("PYTHONPATH", str(stub.parent))
    monkeypatch.delitem(__import__("sys").modules, "soundfile", raising=False)
    monkeypatch.syspath_prepend(str(stub.parent))
    with pytest.raises(MissingExtraError, match="soundfile") as caught:
        check_source(Subset(Deam(tmp_path, "train"), [0, 1] * 20, "twice"), workers=2)
    assert caught.value.hint == 'pip install "edge-vision[audio]"'


def test_equal_pictures_under_two_names_are_told(tmp_path: Path) -> None:
    write_coco(tmp_path)
    shutil.copy(tmp_path / "val2017" / "7.png", tmp_path / "val2017" / "9.png")
    assert check_source(CocoKeypoints(tmp_path, "val")).duplicates == (("7.png", "9.png"),)


def test_a_sheet_shows_each_sample_with_its_labels(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_wider(tmp_path)
    write_deam(tmp_path)
    person, face, song = CocoKeypoints(tmp_path, "val")[0], WiderFace(tmp_path, "train")[0], Deam(tmp_path, "train")[0]

    sheet = contact_sheet([person, face, song])

    assert sheet.shape == (738, 738, 3)
    tiles = [sheet[6:366, 6:366], sheet[6:366, 372:732], sheet[372:732, 6:366], sheet[372:732, 372:732]]
    assert [len({tuple(pixel) for pixel in tile.reshape(-1, 3)[::7].tolist()}) > 50 for tile in tiles] == [True] * 3 + [
        False
    ]
    blue = (tiles[1] == (86, 180, 233)).all(axis=2)
    assert blue.sum() > 100
    with pytest.raises(InputError, match="no sample to draw"):
        contact_sheet([])


def test_a_sheet_survives_samples_of_one_pixel_and_far_boxes(tmp_path: Path) -> None:
    write_wider(tmp_path, "# a/one.png\n-3000 -3000 9000 9000\n0 0 0.001 0.001\n")
    write_picture(tmp_path / "train" / "images" / "a" / "one.png", (1, 200))
    assert contact_sheet([WiderFace(tmp_path, "train")[0]]).shape == (372, 372, 3)
