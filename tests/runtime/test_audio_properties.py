"""Whatever the sound: spectrograms are finite and bounded, loudness does not matter, windows cover a file, and smoothed
emotions stay among those that went in.
"""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.runtime.audio import read_audio, resample
from edge.runtime.audio_input import audio_windows, prepare_audio
from edge.runtime.card import AudioSpec, InputSpec
from edge.runtime.emotion import Smoother, decode_emotion, quadrant, to_1to9
from edge.runtime.errors import InputError
from edge.runtime.mel import LOWEST_POWER, log_mel, mel_filterbank, mel_power

SPEC = AudioSpec(sample_rate=4000, seconds=0.5, n_fft=256, hop=64, mels=20, fmin=20.0, fmax=2000.0)
QUICK = settings(deadline=None, derandomize=True, max_examples=150)
SLOW_ORACLE = settings(QUICK, max_examples=80)
LARGEST = float(np.finfo(np.float32).max)


@st.composite
def _sounds(draw: st.DrawFn, longest: int = 3000, loudest: float = LARGEST) -> np.ndarray:
    """Noise, silence, a click, a constant, a square or a tone, of any length and loudness."""
    length = draw(st.integers(1, longest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    place = np.arange(length)
    shapes: dict[str, np.ndarray] = {
        "noise": rng.uniform(-1.0, 1.0, length),
        "silence": np.zeros(length),
        "click": (place == rng.integers(length)).astype(float),
        "constant": np.ones(length),
        "square": np.where(place % rng.integers(2, 200) < 1 + length % 50, 1.0, -1.0),
        "tone": np.sin(place * rng.uniform(0.0, math.pi)),
    }
    shape = shapes[draw(st.sampled_from(sorted(shapes)))]
    gain = draw(st.sampled_from([1.0, 1e-3, 1e-20, 1e-45, 3e4, 1e10, 1e30, LARGEST]))
    return np.asarray(shape * min(gain, loudest), np.float32)


def _input(mode: str, audio: AudioSpec = SPEC) -> InputSpec:
    settled = AudioSpec(**{**audio.__dict__, "normalise": mode})
    return InputSpec(shape=(1, 1, 24, 16), kind="audio", colour="GRAY", mean=(0.5,), std=(0.2,), audio=settled)


@QUICK
@given(_sounds())
def test_decibels_are_finite_and_lie_between_the_floor_and_0(samples: np.ndarray) -> None:
    decibels = log_mel(samples, SPEC)

    assert decibels.shape == (20, 32)
    assert decibels.dtype == np.float32
    assert decibels.max() == 0.0
    assert decibels.min() >= -SPEC.top_db


@QUICK
@given(_sounds(), st.integers(400, 12_000), st.sampled_from(["zscore", "minmax-uint8"]))
def test_any_sound_at_any_rate_gives_a_finite_tensor(samples: np.ndarray, rate: int, mode: str) -> None:
    tensor = prepare_audio(samples, rate, _input(mode))
    assert tensor.shape == (1, 1, 24, 16)
    assert np.isfinite(tensor).all()


@QUICK
@given(_sounds(loudest=1.0), st.integers(-20, 14))
def test_loudness_does_not_change_the_picture_above_the_lowest_power(samples: np.ndarray, exponent: int) -> None:
    gain = np.float32(2.0**exponent)  # a power of two rounds nothing
    quiet, loud = log_mel(samples, SPEC), log_mel(samples * gain, SPEC)

    before, after = mel_power(samples, SPEC), mel_power(samples * gain, SPEC)
    counted = np.minimum(before, after) > LOWEST_POWER
    if min(before.max(), after.max()) > LOWEST_POWER:
        np.testing.assert_allclose(loud[counted], quiet[counted], atol=1e-4)


@SLOW_ORACLE
@given(
    _sounds(loudest=1e3),
    st.integers(2, 300),
    st.integers(1, 200),
    st.integers(1, 70),
    st.sampled_from([(0.0, 2000.0), (20.0, 1500.0), (700.0, 720.0)]),
)
def test_power_equals_the_dense_product_in_double_precision(
    samples: np.ndarray, n_fft: int, hop: int, mels: int, band_hz: tuple[float, float]
) -> None:
    spec = AudioSpec(sample_rate=4000, seconds=0.3, n_fft=n_fft, hop=hop, mels=mels, fmin=band_hz[0], fmax=band_hz[1])
    bank = mel_filterbank(4000, n_fft, mels, *band_hz).astype(np.float64)
    clip = np.zeros(1200 + 2 * n_fft)
    clip[n_fft // 2 : n_fft // 2 + min(len(samples), 1200)] = samples[:1200]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)

    power = mel_power(samples, spec)

    assert power.shape == (mels, 1 + 1200 // hop)
    for frame in range(power.shape[1]):
        spectrum = np.fft.rfft(clip[frame * hop : frame * hop + n_fft] * window)
        # The FFT itself rounds: 1e-24 of the loudest bin, which a band of weak bins beside it shows.
        atol = 1e-24 * np.abs(spectrum).max() ** 2 + 1e-37
        np.testing.assert_allclose(power[:, frame], bank @ np.abs(spectrum) ** 2, rtol=2e-6, atol=atol)


@SLOW_ORACLE
@given(_sounds(longest=60, loudest=1.0), st.integers(1, 90), st.integers(1, 90))
def test_resampling_equals_its_definition_in_double_precision(samples: np.ndarray, rate: int, to_rate: int) -> None:
    if rate == to_rate:
        return
    result = resample(samples, rate, to_rate)

    assert len(result) == math.ceil(len(samples) * to_rate / rate)
    cutoff = 0.91 * min(1.0, to_rate / rate)
    half = math.ceil(32 / cutoff)
    for index, value in enumerate(result.tolist()):
        whole, part = divmod(index * rate, to_rate)
        distance = np.arange(-half, half + 1) - part / to_rate
        inside = np.maximum(0.0, 1.0 - (distance * cutoff / 32) ** 2)
        taps = np.sinc(distance * cutoff) * np.i0(9.0 * np.sqrt(inside)) * (inside > 0)
        places = np.arange(whole - half, whole + half + 1)
        heard = np.where((places >= 0) & (places < len(samples)), samples[places.clip(0, len(samples) - 1)], 0.0)
        assert value == pytest.approx(float(taps @ heard / taps.sum()), abs=2e-6)


@QUICK
@given(
    st.integers(1, 2500),
    st.integers(30, 300),
    st.floats(0.5, 3.0),
    st.floats(0.0, 1.0, exclude_min=True),
)
def test_windows_cover_the_file_and_are_slices_of_it(frames: int, rate: int, seconds: float, share: float) -> None:
    step = max(seconds * share, 1.01 / rate)
    ramp = np.arange(frames, dtype="<f4")
    header = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36, b"WAVE", b"fmt ", 16, 3, 1, rate, rate * 4, 4, 32)
    data = header + struct.pack("<4sI", b"data", ramp.nbytes) + ramp.tobytes()
    spec = _input("zscore", AudioSpec(sample_rate=4000, seconds=seconds, n_fft=256, hop=64, mels=20, fmax=2000.0))
    whole, _ = read_audio(data)

    windows = list(audio_windows(data, spec, step))

    size, margin = round(seconds * rate), math.ceil(0.05 * rate)
    reached = 0
    for window, following in zip(windows, [*windows[1:], None], strict=True):
        start = round(window.start_s * rate)
        np.testing.assert_array_equal(window.samples, whole[start : start + size + margin])
        assert start <= reached
        reached = start + min(size, len(window.samples))
        assert following is None or start < round(following.start_s * rate) <= start + math.ceil(step * rate) + 1
        assert window.seconds == pytest.approx(min(seconds, frames / rate), abs=1 / rate)
    assert reached == frames
    assert len(windows) <= math.ceil(frames / (step * rate)) + 1


_VALUE = st.floats(-1.0, 1.0)
_STREAM = st.lists(st.tuples(_VALUE, _VALUE, st.floats(0.0, 1e9)), min_size=1, max_size=20)


@QUICK
@given(_STREAM, st.floats(0.0, 1e300))
def test_smoothed_emotions_stay_among_those_that_went_in(
    stream: list[tuple[float, float, float]], half_life: float
) -> None:
    smooth, time = Smoother(half_life), 0.0
    for count, (valence, arousal, elapsed) in enumerate(stream, 1):
        time += elapsed
        result = smooth(decode_emotion(np.array([valence, arousal])), time)

        assert min(v for v, _, _ in stream[:count]) <= result.valence <= max(v for v, _, _ in stream[:count])
        assert min(a for _, a, _ in stream[:count]) <= result.arousal <= max(a for _, a, _ in stream[:count])
        assert (result.valence_1to9, result.arousal_1to9) == (to_1to9(result.valence), to_1to9(result.arousal))
        assert result.quadrant == quadrant(result.valence, result.arousal)


@QUICK
@given(_VALUE, _VALUE, st.floats(0.0, 100.0), st.floats(0.0, 100.0), st.floats(0.01, 100.0))
def test_smoothing_does_not_depend_on_how_often_a_value_comes(
    old: float, new: float, first: float, second: float, half_life: float
) -> None:
    often, once = Smoother(half_life), Smoother(half_life)
    often(decode_emotion(np.array([old, old])), 0.0)
    once(decode_emotion(np.array([old, old])), 0.0)
    then = decode_emotion(np.array([new, new]))
    often(then, first)
    assert often(then, first + second).valence == pytest.approx(once(then, first + second).valence, abs=1e-9)


@QUICK
@given(st.floats(width=32), st.floats(width=32), st.sampled_from([np.float16, np.float32, np.float64]))
def test_any_two_numbers_give_an_emotion_or_are_refused(valence: float, arousal: float, dtype: type) -> None:
    with np.errstate(over="ignore"):
        values: np.ndarray = np.array([valence, arousal]).astype(dtype)
    if not np.isfinite(values).all():
        with pytest.raises(InputError, match="finite"):
            decode_emotion(values)
        return
    emotion = decode_emotion(values)
    assert emotion.valence == min(max(float(values[0]), -1.0), 1.0)
    assert 1.0 <= emotion.arousal_1to9 <= 9.0
