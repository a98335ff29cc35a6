"""The emotion decoder: two numbers to valence, arousal and a quadrant; and smoothing over time.

Source:
    Russell, "A circumplex model of affect", J. Pers. Soc. Psychol. 39(6), 1980, for plane and quadrants; the 1..9 scale
    is that of DEAM's annotators (Aljanaki et al., PLoS ONE 12(3), 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, ShapeError
from .results import Emotion

__all__ = ["EmotionParams", "Smoother", "decode_emotion", "from_1to9", "quadrant", "to_1to9"]


@dataclass(frozen=True, kw_only=True)
class EmotionParams:
    """The emotion decoder has no constants; the scales are part of its definition."""


def decode_emotion(values: NDArray[np.floating[Any]]) -> Emotion:
    """Return the emotion of a network's two numbers.

    Args:
        values: (2,) float, valence and arousal, -1..1; what lies outside is clipped.

    Raises:
        ShapeError: not two values.
        InputError: a value is not finite.
    """
    if values.shape != (2,):
        raise ShapeError("an emotion has two values, valence and arousal", got=values.shape)
    if not np.isfinite(values).all():
        raise InputError("valence and arousal must be finite", got=values.tolist())
    return _emotion(float(values[0]), float(values[1]))


class Smoother:
    """Exponential smoothing of one stream of emotions, which may come at irregular times.

    What lies `half_life_s` back counts half as much as what is new. The first value is taken as it is, so that there is
    no pull to zero; a value at the time of the one before it adds nothing. One instance serves one stream and one
    thread.

    Args:
        half_life_s: seconds, >= 0; 0 smooths nothing.

    Raises:
        InputError: the half-life is negative or not finite.

    Source:
        Brown, "Smoothing, Forecasting and Prediction of Discrete Time Series", 1963, chapter 7, with the weight
        2 ** (-elapsed / half-life) for any time elapsed.
    """

    def __init__(self, half_life_s: float) -> None:
        if not (math.isfinite(half_life_s) and half_life_s >= 0.0):
            raise InputError("half-life must be finite and not negative", got=f"{half_life_s} s")
        self.half_life_s = half_life_s
        self._last: tuple[float, float, float] | None = None  # time_s, valence, arousal

    def __call__(self, emotion: Emotion, time_s: float) -> Emotion:
        """Return the smoothed emotion.

        Args:
            emotion: the next one; valence and arousal finite, clipped to -1..1.
            time_s: when, seconds from any origin, not before the last.

        Returns:
            Emotion with both scales and the quadrant of the smoothed values, which lie between those seen so far.

        Raises:
            InputError: a value or the time is not finite, or time ran backwards; the smoother stays as it was.
        """
        if not all(math.isfinite(value) for value in (emotion.valence, emotion.arousal, time_s)):
            raise InputError(
                "valence, arousal and time must be finite", got=f"{emotion.valence}, {emotion.arousal} at {time_s} s"
            )
        new = _emotion(emotion.valence, emotion.arousal)
        if self._last is not None:
            last_s, valence, arousal = self._last
            if time_s < last_s:
                raise InputError("time ran backwards", expected=f"at least {last_s} s", got=f"{time_s} s")
            old_weight = 0.5 ** ((time_s - last_s) / self.half_life_s) if self.half_life_s > 0.0 else 0.0
            new = _emotion(_between(valence, new.valence, old_weight), _between(arousal, new.arousal, old_weight))
        self._last = (time_s, new.valence, new.arousal)
        return new


def _between(old: float, new: float, old_weight: float) -> float:
    value = old_weight * old + (1.0 - old_weight) * new
    return min(max(value, min(old, new)), max(old, new))  # rounding must not carry it beyond either


def _emotion(valence: float, arousal: float) -> Emotion:
    """Return the emotion of two finite numbers, clipped to -1..1."""
    valence, arousal = (min(max(value, -1.0), 1.0) for value in (valence, arousal))
    return Emotion(
        valence=valence,
        arousal=arousal,
        valence_1to9=to_1to9(valence),
        arousal_1to9=to_1to9(arousal),
        quadrant=quadrant(valence, arousal),
    )


def to_1to9(value: float) -> float:
    """Return a value of -1..1 on the scale 1..9."""
    return 4.0 * value + 5.0


def from_1to9(value: float) -> float:
    """Return a value of 1..9 on the scale -1..1."""
    return (value - 5.0) / 4.0


def quadrant(valence: float, arousal: float) -> str:
    """Return "excited" (+, +), "tense" (-, +), "sad" (-, -) or "calm" (+, -); 0 counts as +."""
    if arousal >= 0:
        return "excited" if valence >= 0 else "tense"
    return "calm" if valence >= 0 else "sad"
