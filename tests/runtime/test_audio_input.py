"""A sound file of any length comes in windows: all of it, each sample read once, in little memory."""

from __future__ import annotations

import io
import itertools
import os
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.runtime.audio import AudioReader, read_audio
from edge.runtime.audio_input import Window, audio_windows, prepare_audio
from edge.runtime.card import AudioSpec, InputSpec
from edge.runtime.errors import InputError, MediaError

RATE = 1000


def _spec(seconds: float, **settings: float) -> InputSpec:
    audio = AudioSpec(sample_rate=RATE, seconds=seconds, n_fft=128, hop=32, mels=16, fmax=500.0, **settings)  # type: ignore[arg-type]  # test
    return InputSpec(shape=(1, 1, 16, 16), kind="audio", colour="GRAY", mean=(0.0,), std=(1.0,), audio=audio)


def _header(frames: int, rate: int = RATE, bits: int = 32, tag: int = 3) -> bytes:
    fmt = struct.pack("<HHIIHH", tag, 1, rate, rate * bits // 8, bits // 8, bits)
    size = frames * bits // 8
    return (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + fmt
        + b"data"
        + struct.pack("<I", size)
    )


def _wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    return _header(len(samples), rate) + samples.astype("<f4").tobytes()


def _starts(windows: Iterator[Window]) -> list[float]:
    return [window.start_s for window in windows]


RAMP = np.arange(3500, dtype=np.float32)


def test_windows_start_every_step_and_the_last_ends_with_the_file() -> None:
    windows = list(audio_windows(_wav(RAMP), _spec(1.0), 0.75))

    assert [window.start_s for window in windows] == [0.0, 0.75, 1.5, 2.25, 2.5]
    assert [window.seconds for window in windows] == [1.0] * 5
    assert [len(window.samples) for window in windows] == [1050, 1050, 1050, 1050, 1000]
    for window in windows:
        assert window.rate == RATE
        assert window.samples.dtype == np.float32
        assert window.samples[0] == window.start_s * RATE
        assert (np.diff(window.samples) == 1).all()


@pytest.mark.parametrize(
    ("frames", "starts"),
    [(1, [0.0]), (999, [0.0]), (1000, [0.0]), (1001, [0.0, 0.001]), (2000, [0.0, 1.0]), (2001, [0.0, 1.0, 1.001])],
)
def test_a_file_about_as_long_as_its_windows_gives_no_empty_and_no_padded_one(frames: int, starts: list[float]) -> None:
    windows = list(audio_windows(_wav(RAMP[:frames]), _spec(1.0), 1.0))

    assert [window.start_s for window in windows] == starts
    assert windows[-1].seconds == min(1.0, frames / RATE)
    assert windows[-1].samples[-1] == frames - 1


def test_a_window_gives_the_tensor_of_the_same_clip_read_on_its_own(tmp_path: Path) -> None:
    path = tmp_path / "noise.wav"
    path.write_bytes(_wav(np.random.default_rng(1).standard_normal(9000), rate=1500))
    spec = _spec(1.0)

    windows = list(audio_windows(path, spec, 0.5))

    alone, rate = read_audio(path, seconds=2.0)
    np.testing.assert_array_equal(prepare_audio(windows[0].samples, 1500, spec), prepare_audio(alone, rate, spec))
    whole, _ = read_audio(path)
    for window in windows:
        cut = whole[round(window.start_s * 1500) :]
        np.testing.assert_array_equal(prepare_audio(window.samples, 1500, spec), prepare_audio(cut, 1500, spec))


def test_every_sample_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read, counts = AudioReader.read, []

    def counted(self: AudioReader, count: int) -> np.ndarray:
        samples = read(self, count)
        counts.append(len(samples))
        return samples

    monkeypatch.setattr(AudioReader, "read", counted)
    assert len(list(audio_windows(_wav(RAMP), _spec(1.0), 0.01))) == 251
    assert sum(counts) == len(RAMP)


def test_a_file_of_ten_hours_takes_the_memory_of_a_few_windows(tmp_path: Path) -> None:
    frames, rate, marked = 10 * 3600 * RATE * 4, RATE * 4, 9 * 3600 * RATE * 4
    path = tmp_path / "long.wav"
    with path.open("wb") as stream:  # sparse: 8-bit zeros are the lowest value, -1
        stream.write(_header(frames, rate, bits=8, tag=1))
        stream.seek(marked, os.SEEK_CUR)
        stream.write(b"\xff")
        stream.truncate(44 + frames)
    spec = _spec(30.0)
    found, last = [], 0.0
    tracemalloc.start()
    try:
        for window in audio_windows(path, spec, 30.0):
            last = window.start_s + window.seconds
            if window.samples[: 30 * rate].max() > 0:
                found.append(window.start_s)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert last == 36000.0
    assert found == [32400.0]
    one = 30 * rate * 4
    assert peak < 5 * one + 8 * 2**20, f"{peak} bytes for windows of {one}"


def test_samples_are_the_callers_own() -> None:
    windows = audio_windows(_wav(RAMP), _spec(1.0), 0.5)
    next(windows).samples[:] = np.nan
    assert next(windows).samples[0] == 500.0


def test_other_formats_come_in_the_same_windows() -> None:
    soundfile = pytest.importorskip("soundfile")
    stream = io.BytesIO()
    soundfile.write(stream, np.random.default_rng(2).standard_normal((70_000, 2)) * 0.1, 8000, format="FLAC")
    spec = _spec(2.0)
    whole, _ = read_audio(stream.getvalue())

    windows = list(audio_windows(stream.getvalue(), spec, 1.5))

    assert [window.start_s for window in windows] == [0.0, 1.5, 3.0, 4.5, 6.0, 6.75]
    for window in windows:
        first = round(window.start_s * 8000)
        np.testing.assert_array_equal(window.samples, whole[first : first + 16400])
    with pytest.raises(MediaError, match="cut short"):
        list(audio_windows(stream.getvalue()[:60_000], spec, 1.5))


def test_a_header_that_claims_more_than_the_file_holds_is_refused_before_the_first_window() -> None:
    with pytest.raises(MediaError, match="cut short, expected 14000 bytes"):
        next(audio_windows(_wav(RAMP)[:-100], _spec(1.0), 1.0))


def test_samples_that_are_not_finite_are_refused_where_they_are_reached() -> None:
    samples = RAMP.copy()
    samples[3210] = np.inf
    windows = audio_windows(_wav(samples), _spec(1.0), 1.0)

    assert _starts(itertools.islice(windows, 3)) == [0.0, 1.0, 2.0]
    with pytest.raises(MediaError, match="frame 3210"):
        next(windows)


@pytest.mark.parametrize("step", [0.0, -1.0, 1.001, float("nan"), float("inf")])
def test_a_step_that_stands_still_or_leaves_gaps_is_refused_at_the_call(step: float) -> None:
    with pytest.raises(InputError, match="window step out of range"):
        audio_windows("none.wav", _spec(1.0), step)


def test_a_step_below_one_sample_is_refused() -> None:
    with pytest.raises(InputError, match=r"below one sample, expected at least 0\.001 s"):
        next(audio_windows(_wav(RAMP), _spec(1.0), 0.0009))


def test_windows_of_a_gigabyte_are_refused() -> None:
    with pytest.raises(InputError, match="512 MiB"):
        next(audio_windows(_wav(RAMP, rate=768_000), _spec(600.0), 600.0))


def test_a_picture_card_has_no_windows_and_a_missing_file_gives_none() -> None:
    picture = InputSpec(shape=(1, 3, 8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)
    with pytest.raises(InputError, match="takes no sound"):
        audio_windows(_wav(RAMP), picture, 1.0)
    with pytest.raises(MediaError, match="No such file"):
        next(audio_windows("none.wav", _spec(1.0), 1.0))
    with pytest.raises(MediaError, match="0 frames"):
        next(audio_windows(_wav(RAMP[:0]), _spec(1.0), 1.0))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no list of open files here")
def test_the_file_is_closed_at_the_end_on_close_and_on_an_error(tmp_path: Path) -> None:
    path = tmp_path / "ramp.wav"
    path.write_bytes(_wav(RAMP))

    def held() -> int:
        links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
        return sum(os.readlink(link) == str(path) for link in links if link.is_symlink())

    windows = audio_windows(path, _spec(1.0), 1.0)
    assert held() == 0
    next(windows)
    assert held() == 1
    windows.close()  # type: ignore[attr-defined]  # a generator
    assert held() == 0
    list(audio_windows(path, _spec(1.0), 1.0))
    path.write_bytes(_wav(np.full(5000, np.nan)))
    with pytest.raises(MediaError):
        list(audio_windows(path, _spec(1.0), 1.0))
    assert held() == 0
