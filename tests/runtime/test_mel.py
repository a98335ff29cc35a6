"""Mel spectrograms equal librosa's golden arrays, and hold for silence, noise and hostile cards."""

from pathlib import Path

import numpy as np
import pytest
from numpy.lib.npyio import NpzFile

from edge.runtime.audio_input import prepare_audio
from edge.runtime.card import AudioSpec, InputSpec
from edge.runtime.errors import CardError, InputError
from edge.runtime.mel import log_mel, mel_filterbank, mel_power, normalise_mel

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "emotion" / "preproc_synthetic.npz"
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SPEC = AudioSpec()


@pytest.fixture(scope="module")
def golden() -> NpzFile:
    if not GOLDEN.is_file():
        pytest.skip("the golden folder is not beside this checkout")
    arrays: NpzFile = np.load(GOLDEN)
    return arrays


@pytest.fixture(scope="module")
def signal() -> np.ndarray:
    """The golden signal, from the formula in its `signal.txt`."""
    t = np.arange(661500) / 22050
    turn = 2 * np.pi * t
    first = 0.4 * np.sin(220 * turn) * (0.5 + 0.5 * np.sin(0.5 * turn))
    second = 0.3 * np.sin(880 * turn) * (0.5 + 0.5 * np.sin(1.3 * turn))
    third = 0.2 * np.sin((100 + 60 * t) * turn) + 0.05 * np.sin(5000 * turn)
    return np.asarray(first + second + third, np.float32)


def _spec(mode: str, layout: str = "NCHW") -> InputSpec:
    shape = (1, 3, 224, 224) if layout == "NCHW" else (1, 224, 224, 3)
    return InputSpec(
        shape=shape,
        layout=layout,
        kind="audio",
        colour="RGB",
        audio=AudioSpec(normalise=mode),
        **IMAGENET,  # type: ignore[arg-type]  # two tuples
    )


def test_the_filterbank_equals_the_golden_one(golden: NpzFile) -> None:
    np.testing.assert_allclose(mel_filterbank(22050, 2048, 128, 20.0, 8000.0), golden["mel_filterbank"], atol=1e-7)


def test_the_mel_power_sums_to_the_golden_one(golden: NpzFile, signal: np.ndarray) -> None:
    total = mel_power(signal, SPEC).sum(dtype=np.float64)
    assert total == pytest.approx(float(golden["mel_power_sum"]), rel=1e-5)


def test_decibels_and_z_scores_equal_the_golden_ones(golden: NpzFile, signal: np.ndarray) -> None:
    decibels = log_mel(signal, SPEC)

    assert decibels.shape == (128, 1292)
    np.testing.assert_allclose(decibels, golden["mel_db"], atol=1e-4)
    np.testing.assert_allclose(normalise_mel(decibels, (128, 1292), "zscore"), golden["z"], atol=1e-4)


def test_the_training_tensor_equals_the_golden_one(golden: NpzFile, signal: np.ndarray) -> None:
    np.testing.assert_allclose(prepare_audio(signal, 22050, _spec("zscore"))[0], golden["x_train"], atol=1e-4)


def test_the_legacy_tensor_equals_the_golden_one_but_for_single_levels(golden: NpzFile, signal: np.ndarray) -> None:
    result = prepare_audio(signal, 22050, _spec("minmax-uint8"))[0]

    difference = np.abs(result - golden["x_serve"])
    assert (difference > 1e-4).mean() < 1e-3  # a value on a step's edge may fall to either side
    assert difference.max() <= 1.01 / 255 / 0.224


def test_nhwc_is_the_same_tensor_with_channels_last(signal: np.ndarray) -> None:
    first = prepare_audio(signal, 22050, _spec("zscore"))
    last = prepare_audio(signal, 22050, _spec("zscore", "NHWC"))
    np.testing.assert_allclose(last.transpose(0, 3, 1, 2), first, atol=1e-6)


def test_another_rate_gives_nearly_the_same_tensor() -> None:
    def chord(rate: int) -> np.ndarray:
        t = np.arange(30 * rate) / rate
        return np.asarray(np.sin(440 * 2 * np.pi * t) + 0.5 * np.sin(2000 * 2 * np.pi * t), np.float32) * np.float32(
            0.3
        )

    spec = _spec("zscore")
    at_home, abroad = prepare_audio(chord(22050), 22050, spec), prepare_audio(chord(44100), 44100, spec)
    inside = slice(8, -8)  # at both ends of the clip the resampler sees silence
    assert np.abs(at_home[..., inside] - abroad[..., inside]).mean() < 0.05


def test_only_the_first_seconds_count(signal: np.ndarray) -> None:
    longer = np.concatenate([signal, np.ones(22050 * 5, np.float32)])
    np.testing.assert_array_equal(log_mel(longer, SPEC), log_mel(signal, SPEC))
    np.testing.assert_array_equal(
        prepare_audio(longer, 22050, _spec("zscore")), prepare_audio(signal, 22050, _spec("zscore"))
    )


def test_loudness_does_not_matter(signal: np.ndarray) -> None:
    np.testing.assert_allclose(log_mel(signal * np.float32(1e30), SPEC), log_mel(signal, SPEC), atol=2e-3)


@pytest.mark.parametrize("mode", ["zscore", "minmax-uint8"])
@pytest.mark.parametrize("samples", [np.zeros(1, np.float32), np.zeros(99, np.float32), np.ones(1, np.float32)])
def test_silence_and_single_samples_give_finite_tensors(samples: np.ndarray, mode: str) -> None:
    tensor = prepare_audio(samples, 22050, _spec(mode))
    assert tensor.shape == (1, 3, 224, 224)
    assert tensor.dtype == np.float32
    assert np.isfinite(tensor).all()


def test_an_odd_window_gives_the_promised_number_of_frames() -> None:
    spec = AudioSpec(sample_rate=8000, seconds=1.0, n_fft=255, hop=100, mels=8, fmax=4000.0)
    assert log_mel(np.ones(8000, np.float32), spec).shape == (8, 81)


def test_a_single_window_equals_its_power_spectrum_written_out() -> None:
    samples = np.random.default_rng(3).standard_normal(64).astype(np.float32)
    spec = AudioSpec(sample_rate=8000, seconds=64 / 8000, n_fft=64, hop=32, mels=4, fmin=0.0, fmax=4000.0)

    power = mel_power(samples, spec)

    turn = np.exp(-2j * np.pi * np.outer(np.arange(33), np.arange(64)) / 64)
    window = np.sin(np.pi * np.arange(64) / 64) ** 2
    expected = mel_filterbank(8000, 64, 4, 0.0, 4000.0) @ np.abs(turn @ (window * samples)) ** 2
    np.testing.assert_allclose(power[:, 1], expected, rtol=1e-5)  # frame 1 is centred on sample 32: the whole clip


def test_a_short_clip_is_one_that_goes_on_in_silence(signal: np.ndarray) -> None:
    short = signal[:50_000]
    padded = np.concatenate([short, np.zeros(len(signal) - len(short), np.float32)])
    np.testing.assert_allclose(log_mel(short, SPEC), log_mel(padded, SPEC), atol=1e-5)


def test_samples_are_left_as_they_were(signal: np.ndarray) -> None:
    samples = signal * np.float32(1e6)
    before = samples.copy()
    prepare_audio(samples, 22050, _spec("zscore"))
    prepare_audio(samples, 44100, _spec("zscore"))
    np.testing.assert_array_equal(samples, before)


def test_the_loudest_clip_that_float32_holds_can_be_resampled() -> None:
    largest = float(np.finfo(np.float32).max)
    square = np.where(np.arange(44100) % 200 < 100, largest, -largest).astype(np.float32)
    assert np.isfinite(prepare_audio(square, 44100, _spec("zscore"))).all()


def test_a_tone_lights_its_band_and_the_floor_is_80_db_below() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(22050) / 22050).astype(np.float32)
    decibels = log_mel(tone, AudioSpec(seconds=1.0))

    bank = mel_filterbank(22050, 2048, 128, 20.0, 8000.0)
    band = int(np.argmax(bank[:, round(1000 * 2048 / 22050)]))
    assert abs(int(np.argmax(decibels[:, 20])) - band) <= 1
    assert decibels.max() == 0.0
    assert decibels.min() == -80.0


@pytest.mark.parametrize(
    "spec",
    [
        AudioSpec(fmin=9000.0),
        AudioSpec(fmax=20000.0),
        AudioSpec(n_fft=1 << 24),
        AudioSpec(mels=1 << 20),
        AudioSpec(hop=1, seconds=600.0),
        AudioSpec(n_fft=1),
        AudioSpec(n_fft=1 << 16, mels=1 << 12, sample_rate=44100),
    ],
)
def test_settings_that_contradict_themselves_or_burst_memory_are_refused(spec: AudioSpec) -> None:
    with pytest.raises(CardError):
        log_mel(np.ones(10, np.float32), spec)


def test_bad_samples_and_modes_are_refused() -> None:
    for samples in (np.zeros(0, np.float32), np.array([np.inf], np.float32), np.zeros((2, 2), np.float32)):
        with pytest.raises(InputError, match="samples"):
            log_mel(samples, SPEC)
    with pytest.raises(InputError, match="softmax"):
        normalise_mel(np.zeros((2, 2), np.float32), (2, 2), "softmax")
    with pytest.raises(InputError, match="takes no sound"):
        prepare_audio(np.ones(4, np.float32), 22050, InputSpec(shape=(1, 3, 8, 8), mean=(0.0,) * 3, std=(1.0,) * 3))
