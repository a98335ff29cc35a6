"""Composed clips: chords, bass, melody and drums in a key and a tempo, from calm and dark to fast and bright."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["compose_clip"]

Float32 = NDArray[np.float32]

TABLE = 2048  # samples of one period; read without interpolation, which adds a faint hiss
HARMONICS = 24
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
PROGRESSIONS = ((0, 4, 5, 3), (0, 3, 4, 4), (5, 3, 0, 4), (0, 5, 3, 4), (1, 4, 0, 0), (0, 6, 5, 4))
BEATS_A_BAR = 4


def compose_clip(rng: np.random.Generator, rate: int, seconds: float) -> Float32:
    """Return a piece of music, mono.

    Args:
        rng: source of every choice.
        rate: Hz.
        seconds: length.

    Returns:
        (round(rate * seconds),) float32, within -1..1.
    """
    energy = rng.uniform()
    band = _Band(rng, rate, round(rate * seconds), energy)
    beat_s = 60.0 / rng.uniform(60.0 + 40.0 * energy, 90.0 + 85.0 * energy)
    scale = SCALES["major" if rng.random() < 0.5 else "minor"]
    root = int(rng.integers(45, 58))  # MIDI note, A2..A3
    progression = PROGRESSIONS[int(rng.integers(len(PROGRESSIONS)))]
    drums = rng.random() < 0.3 + 0.6 * energy
    degree = 7
    for beat in range(math.ceil(seconds / beat_s)):
        start = beat * beat_s
        chord = progression[beat // BEATS_A_BAR % len(progression)]
        if beat % BEATS_A_BAR == 0:
            for third in (0, 2, 4):
                band.play(start, BEATS_A_BAR * beat_s, root + 12 + _pitch(scale, chord + third), "chord", 0.12)
        if beat % 2 == 0 or rng.random() < energy:
            band.play(start, beat_s, root - 12 + _pitch(scale, chord), "bass", 0.3)
        for half in range(2):
            if rng.random() < 0.35 + 0.5 * energy:
                degree = int(np.clip(degree + rng.integers(-2, 3), 3, 15))
                band.play(
                    start + half * beat_s / 2,
                    beat_s * rng.uniform(0.4, 1.2),
                    root + 12 + _pitch(scale, degree),
                    "lead",
                    0.2,
                )
        if drums:
            band.drum(start, "kick" if beat % 2 == 0 else "snare")
            for half in range(2):
                band.drum(start + half * beat_s / 2, "hat")
    return band.master()


def _pitch(scale: tuple[int, ...], degree: int) -> int:
    """Return semitones above the root of a degree of the scale, 0 is the root."""
    return scale[degree % 7] + 12 * (degree // 7)


class _Band:
    """The mix so far, and the instruments that play into it."""

    def __init__(self, rng: np.random.Generator, rate: int, length: int, energy: float) -> None:
        self.rng, self.rate, self.energy = rng, rate, energy
        self.mix = np.zeros(length, np.float32)
        order = np.arange(1, HARMONICS + 1)
        self.partials = np.sin(2.0 * np.pi * order[:, None] * np.arange(TABLE) / TABLE)
        # Spectral slope: a bright sound falls off as 1/k, a dull one as 1/k**3.
        self.spectra = {
            part: rng.uniform(0.3, 1.0, HARMONICS) / order ** rng.uniform(1.0, 3.0 - energy)
            for part in ("chord", "bass", "lead")
        }
        self.attack_s = {"chord": rng.uniform(0.02, 0.6), "bass": 0.01, "lead": rng.uniform(0.005, 0.08)}
        self.decay_s = {"chord": 3.0, "bass": rng.uniform(0.2, 0.8), "lead": rng.uniform(0.15, 1.5)}

    def play(self, start_s: float, seconds: float, midi: int, part: str, gain: float) -> None:
        """Add one note with vibrato; partials above the Nyquist frequency are left out."""
        place = self._place(start_s, seconds)
        if place is None:
            return
        hertz = 440.0 * 2.0 ** ((midi - 69) / 12.0)
        audible = np.arange(1, HARMONICS + 1) * hertz < 0.45 * self.rate
        table = ((self.spectra[part] * audible) @ self.partials).astype(np.float32)
        t = np.arange(place.stop - place.start) / self.rate
        phase = hertz * t + 0.002 * hertz / 5.0 * np.sin(2.0 * np.pi * 5.0 * t)
        wave = table[(phase * TABLE).astype(np.int64) % TABLE]
        rise = np.minimum(1.0, t / self.attack_s[part])
        fall = np.exp(-t / self.decay_s[part]) * np.minimum(1.0, (t[-1] - t) * 50.0)
        loudness = gain * self.rng.uniform(0.6, 1.0) / max(1e-6, float(np.abs(table).max()))
        self.mix[place] += (wave * rise * fall * loudness).astype(np.float32)

    def drum(self, start_s: float, kind: str) -> None:
        """Add one stroke: a falling sine for the kick, noise for the others."""
        place = self._place(start_s, {"kick": 0.3, "snare": 0.2, "hat": 0.06}[kind])
        if place is None:
            return
        t = np.arange(place.stop - place.start) / self.rate
        if kind == "kick":
            wave = np.sin(2.0 * np.pi * (45.0 * t + 2.5 * (1.0 - np.exp(-t * 30.0)))) * np.exp(-t * 12.0) * 0.6
        else:
            noise = self.rng.standard_normal(len(t))
            bright = np.diff(noise, prepend=0.0)  # the difference weighs high frequencies
            wave = noise * np.exp(-t * 22.0) * 0.16 if kind == "snare" else bright * np.exp(-t * 70.0) * 0.06
        self.mix[place] += (wave * (0.4 + 0.6 * self.energy)).astype(np.float32)

    def master(self) -> Float32:
        """Return the mix with a room, a noise floor, a fade and a level."""
        wet = self.mix.copy()
        for _ in range(5):
            delay = int(self.rng.uniform(0.011, 0.17) * self.rate)
            if 0 < delay < len(wet):
                wet[delay:] += np.float32(self.rng.uniform(0.05, 0.3)) * self.mix[:-delay]
        wet += self.rng.standard_normal(len(wet), dtype=np.float32) * np.float32(10.0 ** self.rng.uniform(-4.5, -2.7))
        if self.rng.random() < 0.4:
            wet *= np.linspace(self.rng.uniform(0.0, 0.5), 1.0, len(wet), dtype=np.float32)
        peak = max(1e-6, float(np.abs(wet).max()))
        level = np.float32(self.rng.uniform(0.2, 1.6)) / np.float32(peak)
        return np.asarray(np.tanh(wet * level), np.float32)

    def _place(self, start_s: float, seconds: float) -> slice | None:
        start = round(start_s * self.rate)
        stop = min(len(self.mix), start + max(2, round(seconds * self.rate)))
        return slice(start, stop) if stop - start >= 2 else None
