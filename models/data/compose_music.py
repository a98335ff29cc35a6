"""Composed clips: chords, bass, melody and drums, as six musical cues say, from calm and dark to fast and bright.

Loudness is heard twice: as level, which a recording's gain hides, and as what goes with strong playing: more overtones,
harder attacks, a fuller band and a signal driven into compression.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cues", "compose_clip", "draw_cues"]

Float32 = NDArray[np.float32]

TABLE = 2048  # samples of one period; read without interpolation, which adds a faint hiss
HARMONICS = 24
# Church modes by how many of their degrees are raised, darkest first: Phrygian, Aeolian, Dorian, Mixolydian, Ionian.
MODES = (
    (0, 1, 3, 5, 7, 8, 10),
    (0, 2, 3, 5, 7, 8, 10),
    (0, 2, 3, 5, 7, 9, 10),
    (0, 2, 4, 5, 7, 9, 10),
    (0, 2, 4, 5, 7, 9, 11),
)
PROGRESSIONS = ((0, 4, 5, 3), (0, 3, 4, 4), (5, 3, 0, 4), (0, 5, 3, 4), (1, 4, 0, 0), (0, 6, 5, 4))
BEATS_A_BAR = 4
MIDDLE_C = 60  # MIDI note
LEVELS = 4  # of a note's strength, so that equal notes are computed once
ENERGY_SHARE = 0.45  # of a cue's deviation that comes with the piece's energy


@dataclass(frozen=True, kw_only=True)
class Cues:
    """How a piece is composed and played; all are -1..1, 0 is the middle.

    Attributes:
        mode: from Phrygian, the darkest minor, to major.
        tempo: 52..173 beats a minute, 95 in the middle, in equal ratios.
        loudness: from soft to strong playing.
        articulation: from legato to staccato.
        brightness: from dull to bright instruments (spectral slope).
        register: from low to high: how many notes are played an octave higher.
    """

    mode: float
    tempo: float
    loudness: float
    articulation: float
    brightness: float
    register: float


def draw_cues(rng: np.random.Generator) -> Cues:
    """Return the cues of a piece; all but the mode lean on its energy, as in real music, where they go together."""
    energy = rng.normal()

    def lean(share: float) -> float:
        deviation = share * energy + math.sqrt(1.0 - share**2) * rng.normal()
        return float(np.clip(0.6 * deviation, -1.0, 1.0))

    return Cues(
        mode=float(rng.uniform(-1.0, 1.0)),
        tempo=lean(ENERGY_SHARE),
        loudness=lean(ENERGY_SHARE),
        articulation=lean(ENERGY_SHARE),
        brightness=lean(ENERGY_SHARE),
        register=lean(ENERGY_SHARE / 2.0),
    )


def compose_clip(rng: np.random.Generator, rate: int, seconds: float, cues: Cues) -> Float32:
    """Return a piece of music, mono.

    Args:
        rng: source of what the cues leave open: key, harmony, melody, rhythm, instruments, room, recording level.
        rate: Hz.
        seconds: length.
        cues: how it is composed and played.

    Returns:
        (round(rate * seconds),) float32, within -1..1.
    """
    band = _Band(rng, rate, round(rate * seconds), cues)
    beat_s = 60.0 / (95.0 * 2.0 ** (0.865 * cues.tempo))
    place = (cues.mode + 1.0) / 2.0 * (len(MODES) - 1)
    root = MIDDLE_C - 12 + int(rng.integers(-1, 2))  # few tonics: see `SyntheticMusic`
    progression = PROGRESSIONS[int(rng.integers(len(PROGRESSIONS)))]
    density = rng.uniform(0.25, 0.9)
    drums = rng.random() < 0.5 + 0.4 * cues.loudness
    change = int(rng.integers(4, 12)) * BEATS_A_BAR  # where parts come in or fall silent
    sounding = rng.random((2, 3)) < 0.8  # before and after it: bass, lead, drums
    degree = 7

    def raised() -> int:
        return 12 if rng.random() < (cues.register + 1.0) / 2.0 else 0

    for beat in range(math.ceil(seconds / beat_s)):
        start = beat * beat_s
        bass, lead, drummer = sounding[int(beat >= change)]
        if beat % BEATS_A_BAR == 0:
            scale = MODES[min(len(MODES) - 1, int(place + rng.random()))]  # bars change between neighbouring modes
            chord = progression[beat // BEATS_A_BAR % len(progression)]
        if beat % band.chord_every == 0:
            for third in (0, 2, 4):
                note = root + raised() + _pitch(scale, chord + third)
                band.play(start, band.chord_every * beat_s, note, "chord", 0.16)
        if bass and (beat % 2 == 0 or rng.random() < density):
            band.play(start, beat_s, root - 12 + _pitch(scale, chord), "bass", 0.3)
        for half in range(2):
            if (lead or not bass) and rng.random() < density:
                degree = int(np.clip(degree + rng.integers(-2, 3), 3, 13))
                if half == 0 and rng.random() < 0.6:  # strong beats hold notes of the chord
                    degree = chord % 7 + 2 * int(rng.integers(0, 3)) + (7 if degree > 8 else 0)
                note = root + raised() + _pitch(scale, degree)
                band.play(start + half * beat_s / 2, beat_s, note, "lead", 0.22)
        if drums and drummer:
            band.drum(start, "kick" if beat % 2 == 0 else "snare")
            for half in range(2):
                band.drum(start + half * beat_s / 2, "hat")
    return band.master()


def _pitch(scale: tuple[int, ...], degree: int) -> int:
    """Return semitones above the root of a degree of the scale, 0 is the root."""
    return scale[degree % 7] + 12 * (degree // 7)


class _Band:
    """The mix so far, and the instruments that play into it."""

    def __init__(self, rng: np.random.Generator, rate: int, length: int, cues: Cues) -> None:
        self.rng, self.rate, self.cues = rng, rate, cues
        self.mix = np.zeros(length, np.float32)
        self.tuning = 2.0 ** (rng.uniform(-0.3, 0.3) / 12.0)
        self.notes: dict[tuple[str, int, int, int], Float32] = {}
        self.strokes: dict[str, Float32] = {}
        order = np.arange(1, HARMONICS + 1)
        self.partials = np.sin(2.0 * np.pi * order[:, None] * np.arange(TABLE) / TABLE)
        # Spectral slope: a bright or strongly played sound falls off as 1/k, a dull one as 1/k**3.
        slope = 1.9 - 0.7 * cues.brightness - 0.3 * cues.loudness
        self.spectra = {
            part: rng.uniform(0.3, 1.0, HARMONICS) / order ** (slope + rng.uniform(-0.3, 0.3))
            for part in ("chord", "bass", "lead")
        }
        soft = 2.0 ** (-1.5 * cues.loudness - 1.0 * cues.articulation)  # strong and short notes start hard
        self.attack_s = {
            "chord": 0.06 * soft * rng.uniform(0.5, 2.0),
            "bass": 0.01,
            "lead": 0.02 * soft * rng.uniform(0.5, 2.0),
        }
        self.decay_s = {"chord": rng.uniform(1.0, 4.0), "bass": rng.uniform(0.3, 0.9), "lead": rng.uniform(0.3, 1.5)}
        self.held = 0.75 * 2.0 ** (-1.3 * cues.articulation) * rng.uniform(0.85, 1.15)  # share of a note that sounds
        self.chord_every = int(rng.choice([1, 2, 4], p=[0.25, 0.35, 0.4]))  # beats

    def play(self, start_s: float, seconds: float, midi: int, part: str, gain: float) -> None:
        """Add one note, of which the articulation leaves a share."""
        start, size = round(start_s * self.rate), max(2, round(seconds * self.held * self.rate))
        level = int(self.rng.integers(LEVELS))
        key = (part, midi, size, level)
        if key not in self.notes:
            self.notes[key] = self._note(part, midi, size, gain * (0.6 + 0.4 * level / (LEVELS - 1)))
        self._add(start, self.notes[key])

    def drum(self, start_s: float, kind: str) -> None:
        """Add one stroke: a falling sine for the kick, noise for the others."""
        if kind not in self.strokes:
            self.strokes[kind] = self._stroke(kind)
        self._add(round(start_s * self.rate), self.strokes[kind])

    def master(self) -> Float32:
        """Return the mix with a room, a noise floor, a fade, compression and a level."""
        wet = self.mix.copy()
        for _ in range(4):
            delay = int(self.rng.uniform(0.011, 0.17) * self.rate)
            if 0 < delay < len(wet):
                wet[delay:] += np.float32(self.rng.uniform(0.05, 0.3)) * self.mix[:-delay]
        peak = max(1e-6, float(np.abs(wet).max()))
        # Played softly, a piece lies nearer to the noise of its recording; played loudly, it is driven into saturation.
        hiss_db = self.rng.uniform(-75.0, -45.0) - 8.0 * self.cues.loudness
        hiss = self.rng.standard_normal(min(len(wet), 1 << 16), dtype=np.float32)  # repeats after some seconds
        wet += np.resize(hiss, len(wet)) * np.float32(peak * 10.0 ** (hiss_db / 20.0))
        if self.rng.random() < 0.3:
            wet *= np.linspace(self.rng.uniform(0.1, 0.6), 1.0, len(wet), dtype=np.float32)
        drive = 0.9 * 2.0 ** (1.5 * self.cues.loudness) * self.rng.uniform(0.7, 1.4)
        wet *= np.float32(drive / peak)
        loud = np.tanh(wet, out=wet)
        # Half of all recordings are normalised, so that the level says nothing; the others keep some of it.
        level = 0.9 if self.rng.random() < 0.5 else 0.5 * 2.0 ** (0.8 * self.cues.loudness)
        loud *= np.float32(level / max(1e-6, float(np.abs(loud).max())))
        return loud

    def _add(self, start: int, sound: Float32) -> None:
        place = self.mix[start : start + len(sound)]
        place += sound[: len(place)]

    def _note(self, part: str, midi: int, size: int, gain: float) -> Float32:
        """Return a note with vibrato; partials above the Nyquist frequency are left out."""
        hertz = self.tuning * 440.0 * 2.0 ** ((midi - 69) / 12.0)
        audible = np.arange(1, HARMONICS + 1) * hertz < 0.45 * self.rate
        table = ((self.spectra[part] * audible) @ self.partials).astype(np.float32)
        table *= np.float32(gain / max(1e-6, float(np.abs(table).max())))
        t = np.arange(size, dtype=np.float32) / np.float32(self.rate)
        phase = hertz * t + 0.0004 * hertz * np.sin(np.float32(2.0 * np.pi * 5.0) * t)
        wave: Float32 = table[(phase * TABLE).astype(np.int64) % TABLE]
        wave *= np.minimum(1.0, t / np.float32(self.attack_s[part]))
        wave *= np.exp(t / np.float32(-self.decay_s[part]))
        wave *= np.minimum(1.0, (t[-1] - t) * np.float32(50.0))
        return wave

    def _stroke(self, kind: str) -> Float32:
        t = np.arange(max(2, round({"kick": 0.3, "snare": 0.2, "hat": 0.06}[kind] * self.rate))) / self.rate
        if kind == "kick":
            wave = np.sin(2.0 * np.pi * (45.0 * t + 2.5 * (1.0 - np.exp(-t * 30.0)))) * np.exp(-t * 12.0) * 0.6
        else:
            noise = self.rng.standard_normal(len(t))
            bright = np.diff(noise, prepend=0.0)  # the difference weighs high frequencies
            wave = noise * np.exp(-t * 22.0) * 0.16 if kind == "snare" else bright * np.exp(-t * 70.0) * 0.06
        return np.asarray(wave * 2.0 ** (0.8 * self.cues.loudness) * self.rng.uniform(0.5, 1.0), np.float32)
