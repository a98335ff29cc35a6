"""`edge run` on sound: windows, smoothing and traces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .run_help import run, write_noise

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("fresh_cache", "ctrl_c")


def test_a_sound_of_one_window_is_a_point_in_the_plane(
    listener: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = write_noise(tmp_path / "noise.wav", 0.4)

    code, out, err = run(capsys, listener, sound, "--draw", tmp_path / "seen.png")

    assert (code, err) == (0, "")
    assert out.startswith(f"{sound}: ")
    assert "valence" in out
    with Image.open(tmp_path / "seen.png") as drawn:
        assert (drawn.mode, drawn.size) == ("RGB", (720, 720))


def test_a_long_sound_has_a_line_for_each_window_and_a_trace(
    listener: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = write_noise(tmp_path / "noise.wav", 2.0)

    code, out, err = run(
        capsys, listener, sound, "--json", "--step", "0.25", "--smooth", "1", "--draw", tmp_path / "seen.png"
    )

    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["time_s"] for line in lines] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
    assert [line["frame"] for line in lines] == list(range(7))
    raw = [line["results"]["emotion"]["valence"] for line in lines]
    smooth = [line["smooth"]["valence"] for line in lines]
    assert smooth[0] == raw[0]
    assert np.ptp(smooth) < np.ptp(raw)
    assert err.startswith(f"{sound}: 7 windows, ")
    with Image.open(tmp_path / "seen.png") as drawn:
        assert drawn.size == (1280, 720)


def test_a_long_sound_is_one_line_for_people_and_is_smoothed_only_if_wanted(
    listener: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = write_noise(tmp_path / "noise.wav", 2.0)

    code, out, err = run(capsys, listener, sound)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert "mostly " in out
    assert "smooth" in json.loads(run(capsys, listener, sound, "--json")[1].splitlines()[0])
    _, out, _ = run(capsys, listener, sound, "--json", "--smooth", "0", "--frames", "2")
    assert ["smooth" in json.loads(line) for line in out.splitlines()] == [False, False]


def test_a_bad_sound_among_others_is_reported(
    listener: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_noise(tmp_path / "b.wav", 0.4)
    (tmp_path / "a.wav").write_bytes(b"RIFF")

    code, out, err = run(capsys, listener, tmp_path)

    assert (code, out.count("\n"), err.count("\n")) == (2, 1, 1)
    assert "a.wav" in err
