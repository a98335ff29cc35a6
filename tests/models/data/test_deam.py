"""DEAM and PMEmo: scales by header, splits by a hash of the id, and every broken row named by file and line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.models.data.deam import Deam
from edge.models.data.files import SPLITS, split_of
from edge.models.data.samples import SampleError
from edge.runtime.errors import InputError, MissingExtraError

from .tiny_sets import DEAM, usable, write_deam, write_sound

TRAIN = [str(number) for number in range(1, 31) if split_of(str(number)) == "train"]


def test_ratings_on_one_to_nine_become_minus_one_to_one(tmp_path: Path) -> None:
    lines = DEAM.splitlines()
    lines[int(TRAIN[3])] = f"{TRAIN[3]}.0, 9, 0.5, 2.5, 0.1"
    write_deam(tmp_path, "\n".join(lines))

    source = Deam(tmp_path, "train")
    sample = source[3]

    assert source.family == "emotion"
    assert sample.name == TRAIN[3]
    assert sample.target.tolist() == [1.0, -0.625]
    assert sample.rate.tolist() == [8000]
    assert sample.sound.dtype == np.float32
    assert len(sample.sound) == 400


def test_pmemos_header_means_zero_to_one(tmp_path: Path) -> None:
    write_deam(tmp_path, "musicId,Arousal(mean),Valence(mean)\n" + "".join(f"{n},0.75,0.5\n" for n in range(1, 31)))
    assert Deam(tmp_path, "train")[0].target.tolist() == [0.0, 0.5]


def test_splits_share_no_song_and_leave_none_out(tmp_path: Path) -> None:
    text = "song_id,valence_mean,arousal_mean\n" + "".join(f"{n},5,5\n" for n in range(1000))
    write_deam(tmp_path, text, range(0))
    names = [[row.number for row in Deam(tmp_path, split)._rows] for split in SPLITS]
    assert sorted(name for some in names for name in some) == sorted(str(n) for n in range(1000))
    assert [len(some) for some in names] == pytest.approx([800, 100, 100], abs=35)


def test_two_tables_are_one_set_and_other_tables_are_none_of_it(tmp_path: Path) -> None:
    write_deam(tmp_path)
    other = tmp_path / "annotations" / "more.csv"
    other.write_text("song_id,arousal_mean,valence_mean\n" + "".join(f"{n},5,5\n" for n in range(100, 130)))
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "8.csv").write_text("frameTime;F0\n0;1\n")
    assert sum(len(Deam(tmp_path, split)) for split in SPLITS) == 60


def _line_of(number: str) -> int:
    return int(number) + 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "{n},9.5,0.5,5,0.7",
            r"`valence_mean` must be within 1..9, got 9.5 \(the header decides: .*`valence\(mean\)` is",
        ),
        ("{n},5,0.5,-0.3,0.7", "`arousal_mean` must be within 1..9, got -0.3"),
        ("{n},nan,0.5,5,0.7", "must be within 1..9, got nan"),
        ("{n},five,0.5,5,0.7", "`valence_mean` is not a number, got 'five'"),
        ("{n},5", "`arousal_mean` is not a number, got ''"),
    ],
)
def test_a_broken_row_is_named_and_fails_its_song_alone(tmp_path: Path, row: str, message: str) -> None:
    number = TRAIN[2]
    lines = DEAM.splitlines()
    lines[int(number)] = row.format(n=number)
    file = write_deam(tmp_path, "\n".join(lines))
    source = Deam(tmp_path, "train")

    with pytest.raises(SampleError, match=message) as caught:
        source[2]
    assert f"`{file}:{_line_of(number)}`" in str(caught.value)
    assert source[1].name == TRAIN[1]


def test_a_song_that_is_there_twice_is_told_with_both_lines(tmp_path: Path) -> None:
    file = write_deam(tmp_path, DEAM + f"{TRAIN[0]},5,0,5,0\n")
    with pytest.raises(SampleError, match=f"song {TRAIN[0]} is there again") as caught:
        Deam(tmp_path, "train")[0]
    assert f"`{file}:{_line_of(TRAIN[0])}`" in str(caught.value)
    assert f"`{file}:32`" in str(caught.value)


def test_a_missing_or_damaged_sound_is_named_with_its_line(tmp_path: Path) -> None:
    file = write_deam(tmp_path)
    (tmp_path / "MEMD_audio" / f"{TRAIN[0]}.wav").unlink()
    (tmp_path / "MEMD_audio" / f"{TRAIN[1]}.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    source = Deam(tmp_path, "train")

    with pytest.raises(SampleError, match=f"song {TRAIN[0]} has no sound, expected one of `{TRAIN[0]}.wav`") as missing:
        source[0]
    with pytest.raises(SampleError, match=f"{TRAIN[1]}.wav` is cut short") as damaged:
        source[1]
    assert f"`{file}:{_line_of(TRAIN[0])}`" in str(missing.value)
    assert f"`{file}:{_line_of(TRAIN[1])}`" in str(damaged.value)


def test_no_more_than_the_window_of_a_long_file_is_read(tmp_path: Path) -> None:
    write_deam(tmp_path)
    write_sound(tmp_path / "MEMD_audio" / f"{TRAIN[0]}.wav", 0, seconds=40)
    assert len(Deam(tmp_path, "train")[0].sound) == 31 * 8000


def test_another_sound_of_the_same_name_changes_the_digest_of_its_split_alone(tmp_path: Path) -> None:
    write_deam(tmp_path)
    before = [Deam(tmp_path, split).digest for split in SPLITS]
    same = [Deam(tmp_path, split).digest for split in SPLITS]
    write_sound(tmp_path / "MEMD_audio" / f"{TRAIN[0]}.wav", 99, seconds=0.06)
    after = [Deam(tmp_path, split).digest for split in SPLITS]

    assert before == same
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True, True]


def test_a_format_without_its_package_is_an_error_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_deam(tmp_path, numbers=range(0))
    (tmp_path / f"{TRAIN[0]}.mp3").write_bytes(b"ID3" + bytes(64))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtraError, match="other formats need soundfile"):
        Deam(tmp_path, "train")[0]


def test_rows_without_an_id_are_faults(tmp_path: Path) -> None:
    file = write_deam(tmp_path, DEAM + ",5,0,5,0\n../x,5,0,5,0\n\n")
    faults = Deam(tmp_path, "train").faults
    assert [fault.split(": ")[0] for fault in faults] == [f"`{file}:32`", f"`{file}:33`"]


def test_a_folder_without_a_known_table_is_refused_with_the_headers_that_are(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"holds no CSV of valence and arousal.*valence_mean.*Valence\(mean\)"):
        Deam(tmp_path, "train")


def test_a_table_with_no_song_is_refused(tmp_path: Path) -> None:
    write_deam(tmp_path, DEAM.splitlines()[0] + "\n")
    with pytest.raises(InputError, match=r"static_annotations\.csv` has no song"):
        Deam(tmp_path, "train")


words = st.sampled_from(
    ["1", ",", '"', "\n", "\r", "\0", "nan", "-1", "é", "\ufeff", "9" * 400, "1e999", "a" * 140_000]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 60), words), max_size=4), wide=st.booleans())
def test_mutated_tables_never_raise_anything_else(tmp_path: Path, cuts: list[tuple[int, int, str]], wide: bool) -> None:
    text = DEAM
    for start, length, word in cuts:
        text = text[:start] + word + text[start + length :]
    content = text.encode("utf-16" if wide and cuts else "utf-8")
    file = write_deam(tmp_path, content, range(1, 2))
    try:
        source = Deam(tmp_path, "train")
    except InputError:
        return
    for sample in usable(source, naming=f"`{file}:"):
        assert (np.abs(sample.target) <= 1).all()
