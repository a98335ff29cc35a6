"""WAV files of every width and lie, other formats, and resampling."""

import builtins
import contextlib
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.runtime import audio
from edge.runtime.audio import AudioReader, read_audio, resample
from edge.runtime.errors import InputError, MediaError, MissingExtraError, one_line

RATE = 8000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(800) / RATE)).astype(np.float64)


def _wav(
    body: bytes,
    *,
    tag: int = 1,
    channels: int = 1,
    rate: int = RATE,
    bits: int = 16,
    claimed: int | None = None,
    extra: bytes = b"",
    before: bytes = b"",
    frame_bytes: int | None = None,
) -> bytes:
    frame = channels * bits // 8 if frame_bytes is None else frame_bytes
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits) + extra
    chunks = struct.pack("<4sI", b"fmt ", len(fmt)) + fmt + before
    chunks += struct.pack("<4sI", b"data", len(body) if claimed is None else claimed) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _pcm(values: np.ndarray, bits: int) -> bytes:
    whole = np.rint(values * (2 ** (bits - 1) - 1)).astype(np.int64)
    if bits == 8:
        return bytes((whole + 128).astype(np.uint8))
    return b"".join(int(v).to_bytes(bits // 8, "little", signed=True) for v in whole)


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_integer_widths_agree_with_the_signal_to_one_step(bits: int) -> None:
    samples, rate = read_audio(_wav(_pcm(TONE, bits), bits=bits))

    assert rate == RATE
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, TONE, atol=2.0 / 2 ** (bits - 1) + 1e-7)


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_the_lowest_integer_is_minus_one(bits: int) -> None:
    lowest = b"\0" if bits == 8 else (-(2 ** (bits - 1))).to_bytes(bits // 8, "little", signed=True)
    assert read_audio(_wav(lowest, bits=bits))[0].tolist() == [-1.0]


@pytest.mark.parametrize(("bits", "dtype"), [(32, "<f4"), (64, "<f8")])
def test_floats_are_kept(bits: int, dtype: str) -> None:
    samples, _ = read_audio(_wav((3 * TONE).astype(dtype).tobytes(), tag=3, bits=bits))
    np.testing.assert_array_equal(samples, (3 * TONE).astype(np.float32))


def test_stereo_is_averaged() -> None:
    both = np.column_stack([TONE, -0.5 * TONE]).astype("<f4")
    samples, _ = read_audio(_wav(both.tobytes(), tag=3, bits=32, channels=2))
    np.testing.assert_allclose(samples, 0.25 * TONE, atol=1e-7)


def test_the_extensible_header_is_followed_to_its_sub_format() -> None:
    tail = bytes.fromhex("000000001000800000aa00389b71")
    extra = struct.pack("<HHIH", 22, 24, 4, 1) + tail
    samples, _ = read_audio(_wav(_pcm(TONE, 24), tag=0xFFFE, bits=24, extra=extra))
    np.testing.assert_allclose(samples, TONE, atol=1e-6)

    with pytest.raises(MediaError, match="sub-format"):
        read_audio(_wav(_pcm(TONE, 24), tag=0xFFFE, bits=24, extra=extra[:-1] + b"x"))


def test_other_chunks_of_odd_length_are_stepped_over() -> None:
    note = struct.pack("<4sI", b"LIST", 3) + b"abc\0"
    samples, _ = read_audio(_wav(_pcm(TONE, 16), before=note))
    assert len(samples) == len(TONE)


def test_one_sample_is_a_clip_and_no_frames_are_not() -> None:
    assert read_audio(_wav(_pcm(TONE[:1], 16)))[0].shape == (1,)
    with pytest.raises(MediaError, match="0 frames"):
        read_audio(_wav(b""))


@pytest.mark.parametrize("claimed", [1602, 5000, 0x7FFFFFFF, 0xFFFFFFFE])
def test_a_data_length_beyond_the_file_is_refused_with_both_lengths(claimed: int) -> None:
    with pytest.raises(MediaError, match=rf"cut short.*{claimed}.*1600"):
        read_audio(_wav(_pcm(TONE, 16), claimed=claimed))


def test_the_length_of_a_stream_means_up_to_the_end() -> None:
    assert len(read_audio(_wav(_pcm(TONE, 16) + b"\1", claimed=0xFFFFFFFF))[0]) == 800


def test_a_data_length_short_of_the_file_is_believed() -> None:
    assert len(read_audio(_wav(_pcm(TONE, 16), claimed=100))[0]) == 50


def test_data_that_ends_within_a_frame_is_refused() -> None:
    with pytest.raises(MediaError, match="within a frame"):
        read_audio(_wav(_pcm(TONE, 16) + b"\1"))


def test_a_file_cut_anywhere_is_refused() -> None:
    whole = _wav(_pcm(TONE[:20], 16))
    for length in range(len(whole)):
        with pytest.raises(MediaError):
            read_audio(whole[:length])


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"tag": 7, "bits": 8}, "encoding"),
        ({"bits": 12}, "encoding"),
        ({"channels": 0}, "impossible"),
        ({"channels": 65535, "frame_bytes": 2}, "impossible"),
        ({"rate": 0}, "impossible"),
        ({"rate": 2_000_000}, "impossible"),
        ({"frame_bytes": 3}, "contradicts"),
    ],
)
def test_impossible_formats_are_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(MediaError, match=word):
        read_audio(_wav(_pcm(TONE, 16), **changes))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused_with_their_place(value: float) -> None:
    values = TONE.astype("<f4")
    values[17] = value
    with pytest.raises(MediaError, match="frame 17"):
        read_audio(_wav(values.tobytes(), tag=3, bits=32))


def test_doubles_beyond_float32_are_refused_without_a_warning() -> None:
    with pytest.raises(MediaError, match="not finite"):
        read_audio(_wav(np.array([0.0, 1e300]).tobytes(), tag=3, bits=64))


def test_only_the_beginning_is_read_when_asked() -> None:
    assert len(read_audio(_wav(_pcm(TONE, 16)), seconds=0.01)[0]) == 80


def test_a_path_reads_like_its_bytes_and_bad_paths_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    path.write_bytes(_wav(_pcm(TONE, 16)))
    np.testing.assert_array_equal(read_audio(path)[0], read_audio(path.read_bytes())[0])
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no sound")
    for name, word in (
        ("none.wav", "No such file"),
        (".", "directory"),
        ("empty.wav", "0 bytes"),
        ("text.wav", "not an"),
    ):
        with pytest.raises(MediaError, match=word) as caught:
            read_audio(tmp_path / name)
        assert "\n" not in one_line(caught.value)


def test_random_damage_gives_sound_or_a_media_error_and_nothing_else() -> None:
    rng = np.random.default_rng(5)
    clean = _wav(_pcm(TONE[:50], 16))
    read = 0
    for _ in range(400):
        data = bytearray(clean)
        for place in rng.integers(0, 60, 2):
            data[place] = int(rng.integers(256))
        with contextlib.suppress(MediaError, MissingExtraError):
            read += bool(np.isfinite(read_audio(bytes(data))[0]).all())
    assert 0 < read < 400


def test_flac_is_read_through_soundfile() -> None:
    soundfile = pytest.importorskip("soundfile")
    stream = io.BytesIO()
    soundfile.write(stream, np.column_stack([TONE, TONE]), RATE, format="FLAC")

    samples, rate = read_audio(stream.getvalue())

    assert rate == RATE
    np.testing.assert_allclose(samples, TONE, atol=1e-4)
    with pytest.raises(MediaError):
        read_audio(stream.getvalue()[:100])


def test_flac_without_soundfile_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "soundfile":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError) as caught:
        read_audio(b"fLaC" + bytes(100))
    assert caught.value.hint == 'pip install "edge-vision[audio]"'


def test_a_file_read_in_pieces_is_the_file_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = np.column_stack([TONE, -0.5 * TONE]).astype("<f4")
    data = _wav(both.tobytes(), tag=3, bits=32, channels=2)
    whole, _ = read_audio(data)
    monkeypatch.setattr(audio, "BLOCK_BYTES", 100)

    with AudioReader(data) as reader:
        pieces = [reader.read(count) for count in (1, 0, 7, 300, 10_000, 5)]

    assert (reader.rate, reader.frames, reader.position) == (RATE, 800, 800)
    assert [len(piece) for piece in pieces] == [1, 0, 7, 300, 492, 0]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    path.write_bytes(_wav(_pcm(np.tile(TONE, 100), 16)))
    with AudioReader(path) as reader:
        reader.read(10)
        with path.open("r+b") as stream:
            stream.truncate(100_000)
        with pytest.raises(MediaError, match="became shorter"):
            reader.read(80_000)


def test_another_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "tone.aiff"
    soundfile.write(path, np.tile(TONE, 100), RATE)
    with AudioReader(path) as reader:
        reader.read(10)
        with path.open("r+b") as stream:
            stream.truncate(100_000)
        with pytest.raises(MediaError, match="cut short, expected 80000 frames"):
            reader.read(80_000)


def test_a_cut_flac_is_refused_and_a_cut_mp3_just_ends() -> None:
    soundfile = pytest.importorskip("soundfile")
    noise = np.random.default_rng(4).standard_normal(40_000) * 0.1
    stream = io.BytesIO()
    soundfile.write(stream, noise, RATE, format="FLAC")
    with pytest.raises(MediaError, match="cut short"):
        read_audio(stream.getvalue()[: len(stream.getvalue()) // 2])

    if "MP3" not in soundfile.available_formats():
        pytest.skip("this libsndfile writes no MP3")
    stream = io.BytesIO()
    soundfile.write(stream, noise, RATE, format="MP3")
    head = stream.getvalue()[: len(stream.getvalue()) // 2]
    assert 10_000 < len(read_audio(head)[0]) < 30_000


@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(44100, 22050), (48000, 22050), (8000, 22050), (16000, 44100), (1009, 997)]
)
def test_a_resampled_sine_keeps_frequency_phase_and_amplitude(from_rate: int, to_rate: int) -> None:
    hertz = 0.03 * min(from_rate, to_rate)
    source = np.sin(2 * np.pi * hertz * np.arange(2 * from_rate) / from_rate).astype(np.float32)

    result = resample(source, from_rate, to_rate)

    assert result.dtype == np.float32
    assert len(result) == 2 * to_rate
    expected = np.sin(2 * np.pi * hertz * np.arange(2 * to_rate) / to_rate)
    edge = 100 + to_rate // 20  # the filter sees silence beyond both ends
    np.testing.assert_allclose(result[edge:-edge], expected[edge:-edge], atol=1e-4)


def test_what_lies_above_the_new_nyquist_frequency_vanishes() -> None:
    source = np.sin(2 * np.pi * 15000 * np.arange(44100) / 44100).astype(np.float32)
    assert np.abs(resample(source, 44100, 22050)[1000:-1000]).max() < 10 ** (-80 / 20)


def test_resampling_agrees_with_its_definition_written_out() -> None:
    source = np.random.default_rng(2).standard_normal(300).astype(np.float32)
    cutoff, half = 0.91 * 2 / 3, 32
    result = resample(source, 3000, 2000)
    for index in (40, 77, 100, 150):
        distance = np.arange(300) - index * 1.5
        window = np.i0(9.0 * np.sqrt(np.maximum(0.0, 1 - (distance * cutoff / half) ** 2)))
        taps = np.sinc(distance * cutoff) * window * (np.abs(distance * cutoff) < half)
        assert result[index] == pytest.approx((taps * source).sum() / taps.sum(), abs=1e-5)


def test_a_constant_stays_constant_and_the_same_rate_is_a_copy() -> None:
    ones = np.ones(4000, np.float32)
    np.testing.assert_allclose(resample(ones, 48000, 22050)[200:-200], 1.0, atol=1e-5)
    same = resample(ones, 8000, 8000)
    np.testing.assert_array_equal(same, ones)
    assert not np.shares_memory(same, ones)


def test_one_sample_can_be_resampled() -> None:
    assert resample(np.ones(1, np.float32), 44100, 22050).shape == (1,)
    assert resample(np.ones(1, np.float32), 8000, 22050).shape == (3,)


def test_rates_that_are_worlds_apart_are_refused() -> None:
    with pytest.raises(InputError, match="too far apart"):
        resample(np.ones(4, np.float32), 768_000, 7)


@pytest.mark.parametrize(
    "samples", [np.zeros(0, np.float32), np.zeros((2, 2), np.float32), np.array([np.nan], np.float32)]
)
def test_bad_samples_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(InputError, match="samples"):
        resample(samples, 44100, 22050)


@pytest.mark.parametrize("rates", [(0, 8000), (8000, 0), (-1, 8000), (10**7, 8000)])
def test_rates_out_of_range_are_refused(rates: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="rate"):
        resample(np.ones(4, np.float32), *rates)
