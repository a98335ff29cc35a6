"""Two numbers become an emotion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.runtime.emotion import decode_emotion, from_1to9, quadrant, to_1to9
from edge.runtime.errors import InputError, ShapeError


def test_the_annotation_scale_runs_from_one_to_nine() -> None:
    assert [to_1to9(value) for value in (-1.0, 0.0, 0.5, 1.0)] == [1.0, 5.0, 7.0, 9.0]
    assert [from_1to9(value) for value in (1.0, 5.0, 9.0)] == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("valence", "arousal", "name"),
    [(0.5, 0.5, "excited"), (-0.5, 0.5, "tense"), (-0.5, -0.5, "sad"), (0.5, -0.5, "calm"), (0.0, 0.0, "excited")],
)
def test_the_quadrant_follows_the_signs(valence: float, arousal: float, name: str) -> None:
    assert quadrant(valence, arousal) == name


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.floats(-1, 1, width=32))
def test_every_finite_pair_gives_values_on_both_scales(valence: float, arousal: float) -> None:
    emotion = decode_emotion(np.array([valence, arousal], np.float32))

    assert -1 <= emotion.valence <= 1
    assert 1 <= emotion.valence_1to9 <= 9
    assert emotion.arousal == np.float32(arousal)


def test_what_is_not_finite_or_not_two_values_is_refused() -> None:
    with pytest.raises(InputError, match="must be finite, got \\[nan"):
        decode_emotion(np.array([np.nan, 0], np.float32))
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        decode_emotion(np.zeros(3, np.float32))
