"""The emotion decoder: two numbers to valence, arousal and a quadrant.

Source:
    Russell, "A circumplex model of affect", J. Pers. Soc. Psychol. 39(6), 1980, for plane and quadrants; the 1..9 scale
    is that of DEAM's annotators (Aljanaki et al., PLoS ONE 12(3), 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, ShapeError
from .results import Emotion

__all__ = ["EmotionParams", "decode_emotion", "from_1to9", "quadrant", "to_1to9"]


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
    valence, arousal = (min(max(float(value), -1.0), 1.0) for value in values)
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
