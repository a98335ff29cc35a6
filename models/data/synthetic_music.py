"""Composed music with the valence and arousal that a published linear model of musical cues gives it.

Source of the model:
    - Eerola, Friberg & Bresin, "Emotional expression in music: contribution, linearity, and additivity of primary
      musical cues", Frontiers in Psychology 4:487, 2013: six cues varied one by one; "the most important cue was mode
      followed by tempo, register, dynamics, articulation, and timbre", most of them linear (77-89 % of the variance of
      ratings) and without interactions: a weighted sum.
    - Friberg et al., J. Acoust. Soc. Am. 136(4), 2014: a small combination of perceptual features explains 75-93 % of
      the variance of activity and valence.
    - Yang & Chen, "Music Emotion Recognition", CRC Press 2011, chapter on features: arousal goes with tempo, pitch,
      loudness and timbre (fast, high, loud, bright); valence with mode and harmony, and with high and loud chords.
    - Oliveira & Cardoso, "Automatic manipulation of music to express desired emotions", SMC 2009: tempo and register
      act on both dimensions, scales and instruments less so; staccato acts on valence.

The sources give signs and an order of importance; the coefficients of the first were not at hand. The weights below are
ours, and chosen to keep those signs and that order.
"""

from __future__ import annotations

import hashlib

import numpy as np

from ...runtime.audio_input import prepare_audio
from ...runtime.card import InputSpec
from ...runtime.errors import InputError
from .compose_music import Cues, compose_clip, draw_cues
from .samples import EmotionSample, Source, SpectrogramSample

__all__ = ["AROUSAL", "NOISE", "RATE", "VALENCE", "Spectrograms", "SyntheticMusic", "felt"]

VERSION = 2  # of the sound and the model; in every digest
STREAM = 0x6D75  # keeps this generator apart from those of other sets
RATE = 22050  # Hz

# Weights of the cues: sums over both dimensions fall from mode to timbre as Eerola et al. rank them.
VALENCE = {"mode": 0.65, "tempo": 0.2, "register": 0.25, "loudness": 0.05, "articulation": 0.2, "brightness": 0.05}
AROUSAL = {"mode": 0.0, "tempo": 0.4, "register": 0.1, "loudness": 0.25, "articulation": 0.05, "brightness": 0.15}
# Standard deviation of what listeners add, -1..1. Who knows the cues reaches a CCC of 0.97 in valence, 0.94 in arousal.
NOISE = 0.12


class SyntheticMusic:
    """Composed clips with valence and arousal.

    Six cues are drawn, which partly go together, and a clip is composed and played by them; harmony, melody, rhythm,
    instruments, tuning, room, noise and level vary beside them. The target is the weighted sum of the cues plus normal
    noise of deviation `NOISE`, clipped to -1..1. Clip i depends on seed, i and `seconds` only.

    Real music is harder: here every piece has one of three neighbouring tonics, so that a few thousand clips are enough
    to tell major from minor.

    Args:
        count: number of clips, >= 0.
        seed: >= 0.
        seconds: length of a clip, above 0, at most 600.

    Raises:
        InputError: an argument is out of range.
    """

    family = "emotion"

    def __init__(self, count: int, seed: int, seconds: float = 30.0) -> None:
        if count < 0 or seed < 0 or not 0.0 < seconds <= 600.0:
            raise InputError(
                "synthetic music cannot be composed so",
                expected="count and seed >= 0, seconds above 0 and at most 600",
                got=(count, seed, seconds),
            )
        self.count, self.seed, self.seconds = count, seed, seconds
        self.label = f"synthetic music (seed {seed}, {count} clips of {seconds:g} s)"
        self.digest = hashlib.sha256(f"music {VERSION} {count} {seed} {seconds}".encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> EmotionSample:
        """Compose clip `index`, 0 <= index < len.

        Raises:
            IndexError: there is no such clip.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"clip {index} of {self.count}")
        rng = np.random.default_rng([STREAM, self.seed, index])
        cues = draw_cues(rng)
        target = np.clip(np.array(felt(cues)) + rng.normal(0.0, NOISE, 2), -1.0, 1.0)
        return EmotionSample(
            name=f"synthetic music {self.seed}/{index}",
            sound=compose_clip(rng, RATE, self.seconds, cues),
            rate=np.array([RATE], np.int32),
            target=target.astype(np.float32),
        )


def felt(cues: Cues) -> tuple[float, float]:
    """Return the valence and arousal of music with these cues, -1.4..1.4 and -0.95..0.95, without listeners' noise."""
    valence = sum(weight * getattr(cues, name) for name, weight in VALENCE.items())
    arousal = sum(weight * getattr(cues, name) for name, weight in AROUSAL.items())
    return valence, arousal


class Spectrograms:
    """A source of music as the mel spectrograms that a network takes, one channel and without mean and deviation.

    Args:
        source: of sounds.
        spec: the network's input: 224x224, kind "audio".

    Raises:
        InputError: the input is not of kind "audio".
    """

    def __init__(self, source: Source[EmotionSample], spec: InputSpec) -> None:
        if spec.kind != "audio":
            raise InputError("this input takes no sound", expected="kind `audio`", got=f"kind `{spec.kind}`")
        height, width = spec.hw
        # One channel is prepared; the three are equal before mean and deviation, which training applies itself.
        self.spec = InputSpec(
            shape=(1, 1, height, width), kind="audio", colour="GRAY", mean=(0.0,), std=(1.0,), audio=spec.audio
        )
        self.source = source
        self.family, self.label = source.family, source.label
        self.digest = hashlib.sha256(f"{source.digest} {self.spec}".encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> SpectrogramSample:
        """Return the spectrogram of sound `index`; raises what the source raises."""
        sample = self.source[index]
        tensor = prepare_audio(sample.sound, int(sample.rate[0]), self.spec)[0]
        return SpectrogramSample(name=sample.name, tensor=tensor, target=sample.target)
