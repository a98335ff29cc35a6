"""Opening data by family and place: folders are recognised, subsets are stable, and errors list the layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.models.data.open import SYNTHETIC_COUNTS, Subset, find_family, find_splits, open_source, parted
from edge.runtime.errors import InputError

from .tiny_sets import write_coco, write_deam, write_wider


def test_each_family_is_found_in_its_layout(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    write_wider(tmp_path / "wider", part="val")
    write_deam(tmp_path / "deam")

    found = [(find_family(str(tmp_path / name)), find_splits(family, str(tmp_path / name)))
             for name, family in (("coco", "pose"), ("wider", "face"), ("deam", "emotion"))]  # fmt: skip

    assert found == [("pose", ["val"]), ("face", ["val"]), ("emotion", ["train", "val", "test"])]
    for name, family in (("coco", "pose"), ("wider", "face"), ("deam", "emotion")):
        source = open_source(family, str(tmp_path / name), split="val")
        assert source.family == family
        assert len(source.digest) == 64


def test_a_count_takes_the_same_samples_each_time_and_more_hold_fewer(tmp_path: Path) -> None:
    write_deam(tmp_path)
    whole = open_source("emotion", str(tmp_path), split="train")

    few, again, more, other = (
        open_source("emotion", str(tmp_path), split="train", count=count, seed=seed)
        for count, seed in ((4, 1), (4, 1), (8, 1), (4, 2))
    )

    names = [[source[index].name for index in range(len(source))] for source in (few, again, more, other)]
    assert names[0] == names[1]
    assert set(names[0]) < set(names[2])
    assert names[0] != names[3]
    assert few.digest == again.digest != more.digest
    assert "4 of them (seed 1)" in few.label
    assert open_source("emotion", str(tmp_path), split="train", count=10_000).digest == whole.digest
    with pytest.raises(IndexError):
        few[4]


def test_a_set_is_parted_into_fifths_that_share_nothing_and_depend_on_the_seed() -> None:
    whole = open_source("face", "synthetic", split="train", count=12)
    fifths = [parted(whole, seed) for seed in (0, 0, 1)]

    assert [(len(most), len(rest)) for most, rest in fifths] == [(10, 2)] * 3
    assert sorted(fifths[0][0]._indices + fifths[0][1]._indices) == list(range(12))
    assert fifths[0][1].digest == fifths[1][1].digest != fifths[2][1].digest
    with pytest.raises(InputError, match="too small"):
        parted(Subset(whole, [3], "one"), 0)


def test_synthetic_splits_share_no_sample_and_have_their_usual_size() -> None:
    sources = [open_source("face", "synthetic", split=split, seed=1) for split in ("train", "val", "test")]
    assert [len(source) for source in sources] == [4000, 200, 500]
    assert {split: counts["face"] for split, counts in SYNTHETIC_COUNTS.items()} == {
        "train": 4000,
        "val": 200,
        "test": 500,
    }
    pictures = [
        open_source("face", "synthetic", split=split, seed=1, count=1, hw=(64, 96))[0].image
        for split in ("train", "val", "test")
    ]
    assert all(picture.shape == (64, 96, 3) for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 3
    assert "synthetic" in sources[0].label


def test_synthetic_people_are_opened_too() -> None:
    source = open_source("pose", "synthetic", split="test", count=2)
    assert (source.family, len(source)) == ("pose", 2)
    assert source[0].keypoints.shape[1:] == (18, 3)
    assert np.array_equal(source[0].image, open_source("pose", "synthetic", split="test", count=1)[0].image)


def test_synthetic_music_is_opened_too() -> None:
    source = open_source("emotion", "synthetic", split="test", count=2)
    assert (source.family, len(source)) == ("emotion", 2)


def test_errors_list_the_layouts_and_name_what_is_there_instead(tmp_path: Path) -> None:
    write_wider(tmp_path / "wider")
    (tmp_path / "empty").mkdir()

    with pytest.raises(InputError, match=r"holds no pose data of `train`.*person_keypoints") as caught:
        open_source("pose", str(tmp_path / "wider"), split="train")
    assert caught.value.hint == "it looks like face data"
    with pytest.raises(InputError, match="holds no face data of `val`") as caught:
        open_source("face", str(tmp_path / "wider"), split="val")
    assert caught.value.hint is None
    with pytest.raises(InputError, match=r"holds no data that is known.*person_keypoints.*label.txt.*song_id"):
        find_family(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="there is no folder"):
        open_source("pose", str(tmp_path / "none"), split="train")
    with pytest.raises(InputError, match="there is no folder"):
        open_source("pose", "a\0b", split="train")
    with pytest.raises(InputError, match=r"expected pose \| face \| emotion, got smell"):
        open_source("smell", "synthetic", split="train")
    with pytest.raises(InputError, match=r"expected train \| val \| test, got all"):
        open_source("face", "synthetic", split="all")
    with pytest.raises(InputError, match="count at least 1"):
        open_source("face", "synthetic", split="train", count=0)


def test_a_folder_with_two_families_asks_for_one(tmp_path: Path) -> None:
    write_wider(tmp_path)
    write_coco(tmp_path)
    with pytest.raises(InputError, match="data of several families, got pose, face"):
        find_family(str(tmp_path))
