"""Composed music: repeatable, played as its cues say, and felt as the linear model says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.models.cards import emotion_card
from edge.models.data.cache import cached
from edge.models.data.compose_music import Cues, compose_clip, draw_cues
from edge.models.data.synthetic_music import (
    AROUSAL,
    NOISE,
    RATE,
    VALENCE,
    Spectrograms,
    SyntheticMusic,
    felt,
)
from edge.runtime.audio_input import prepare_audio
from edge.runtime.card import Budget, InputSpec
from edge.runtime.errors import InputError

MIDDLE = Cues(mode=0.0, tempo=0.0, loudness=0.0, articulation=0.0, brightness=0.0, register=0.0)
SPEC = emotion_card("test", None, provenance={}, budget=Budget()).input


def heard(cue: str, level: float) -> list[np.ndarray]:
    """Return clips of several seeds that share all but one cue."""
    return [compose_clip(np.random.default_rng(seed), RATE, 6.0, replace(MIDDLE, **{cue: level})) for seed in range(6)]


def centroid(sound: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float((power * np.arange(len(power))).sum() / power.sum())


def crest(sound: np.ndarray) -> float:
    return float(np.abs(sound).max() / np.sqrt(np.mean(sound**2)))


def onsets(sound: np.ndarray) -> float:
    """Return how much louder it suddenly becomes, over the clip: more with more and with shorter notes."""
    frames = sound[: len(sound) // 512 * 512].reshape(-1, 512)
    level = np.log(np.sqrt((frames**2).mean(1)) + 1e-3)
    return float(np.maximum(0.0, np.diff(level)).sum())


@pytest.mark.parametrize(
    ("cue", "measure"),
    [
        ("brightness", centroid),
        ("register", centroid),
        ("tempo", onsets),
        ("articulation", onsets),
        ("loudness", lambda sound: -crest(sound)),
    ],
)
def test_each_cue_is_heard_even_when_the_level_is_normalised(cue: str, measure: object) -> None:
    assert callable(measure)
    low, high = ([measure(sound / np.abs(sound).max()) for sound in heard(cue, level)] for level in (-0.9, 0.9))
    assert np.median(high) > np.median(low)


def test_major_and_minor_differ_in_the_third_above_the_root() -> None:
    thirds = []
    for level in (-1.0, 1.0):
        clips = heard("mode", level)
        spectra = [np.abs(np.fft.rfft(clip, 1 << 18)) for clip in clips]
        thirds.append([spectrum[: len(spectrum) // 8] for spectrum in spectra])
    for dark, bright in zip(*thirds, strict=True):
        assert np.corrcoef(dark, bright)[0, 1] < 0.95  # same seed, key and rhythm, other notes


def test_a_clip_depends_on_seed_and_number_only() -> None:
    three, hundred, other = (SyntheticMusic(3, 1, 2.0), SyntheticMusic(100, 1, 2.0), SyntheticMusic(3, 2, 2.0))

    assert three[2].sound.tobytes() == hundred[2].sound.tobytes()
    assert three[2].target.tobytes() == hundred[2].target.tobytes()
    assert len({music[index].sound.tobytes() for music in (three, other) for index in range(3)}) == 6
    assert len({three.digest, hundred.digest, other.digest, SyntheticMusic(3, 1, 3.0).digest}) == 4
    assert "synthetic" in three.label
    assert three[0].sound.shape == (2 * RATE,)
    assert three[0].sound.dtype == np.float32
    assert three[0].rate.tolist() == [RATE]
    with pytest.raises(IndexError):
        three[3]


def test_targets_are_the_model_plus_listeners_noise() -> None:
    music = SyntheticMusic(100, 5, 0.01)
    errors, targets = [], []
    for index in range(100):
        cues = draw_cues(np.random.default_rng([0x6D75, 5, index]))
        targets.append(music[index].target)
        errors.append(music[index].target - np.clip(felt(cues), -1.0, 1.0))

    assert np.std(errors, axis=0) == pytest.approx([NOISE, NOISE], rel=0.25)
    assert np.abs(targets).max() <= 1.0
    assert (np.std(targets, axis=0) > 2.5 * NOISE).all()  # most of what there is to learn is not noise


def test_weights_keep_the_order_of_importance_that_the_source_found() -> None:
    order = ["mode", "tempo", "register", "loudness", "articulation", "brightness"]
    importance = [VALENCE[name] + AROUSAL[name] for name in order]
    assert importance == sorted(importance, reverse=True)
    assert max(VALENCE, key=VALENCE.__getitem__) == "mode"
    assert max(AROUSAL, key=AROUSAL.__getitem__) == "tempo"


def test_cues_go_together_but_none_can_be_told_from_another() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([list(vars(draw_cues(rng)).values()) for _ in range(3000)])
    between = np.corrcoef(drawn.T)[~np.eye(6, dtype=bool)]

    assert between.max() < 0.4
    assert between.max() > 0.1
    assert (np.abs(drawn) <= 1.0).all()


@pytest.mark.parametrize("arguments", [(-1, 0, 1.0), (1, -1, 1.0), (1, 0, 0.0), (1, 0, float("nan")), (1, 0, 601.0)])
def test_arguments_out_of_range_are_refused(arguments: tuple[int, int, float]) -> None:
    with pytest.raises(InputError, match="cannot be composed"):
        SyntheticMusic(*arguments)


def test_a_spectrogram_is_the_runtime_s_input_without_mean_and_deviation() -> None:
    music = SyntheticMusic(2, 0, 3.0)
    source = Spectrograms(music, SPEC)
    sample = source[1]
    full = prepare_audio(music[1].sound, RATE, SPEC)[0]
    mean, std = np.array(SPEC.mean)[:, None, None], np.array(SPEC.std)[:, None, None]

    assert sample.tensor.shape == (1, 224, 224)
    assert sample.tensor.dtype == np.float32
    np.testing.assert_allclose((sample.tensor - mean) / std, full, atol=1e-5)
    assert sample.target.tolist() == music[1].target.tolist()
    assert (len(source), source.family, source.label) == (2, "emotion", music.label)
    assert source.digest not in (music.digest, Spectrograms(SyntheticMusic(3, 0, 3.0), SPEC).digest)


def test_spectrograms_are_kept_in_a_cache(tmp_path: Path) -> None:
    source = Spectrograms(SyntheticMusic(2, 0, 1.0), SPEC)
    kept = cached(source, tmp_path, workers=1, say=print)
    np.testing.assert_array_equal(kept[1].tensor, source[1].tensor)


def test_an_input_for_pictures_makes_no_spectrograms() -> None:
    with pytest.raises(InputError, match="takes no sound"):
        Spectrograms(SyntheticMusic(1, 0), InputSpec(shape=(1, 3, 8, 8)))
