"""Two numbers become an emotion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.runtime.emotion import Smoother, decode_emotion, from_1to9, quadrant, to_1to9
from edge.runtime.errors import InputError, ShapeError
from edge.runtime.results import Emotion


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


def _at(valence: float, arousal: float) -> Emotion:
    return decode_emotion(np.array([valence, arousal]))


def test_the_first_emotion_starts_the_smoothing_as_it_is() -> None:
    assert Smoother(5.0)(_at(0.75, -0.5), 1e6) == _at(0.75, -0.5)


def test_after_one_half_life_half_of_a_step_is_made() -> None:
    smooth = Smoother(2.0)
    smooth(_at(-1.0, 0.0), 10.0)

    half = smooth(_at(1.0, 0.5), 12.0)

    assert half == _at(0.0, 0.25)
    assert smooth(_at(1.0, 0.5), 16.0) == _at(0.75, 0.4375)  # two more: 3/4 of what was left


def test_each_emotion_starts_from_the_smoothed_one_before_it() -> None:
    smooth = Smoother(1.0)
    values = [smooth(_at(value, 0.0), time).valence for value, time in ((0.0, 0.0), (1.0, 1.0), (0.0, 2.0), (0.0, 4.0))]
    assert values == [0.0, 0.5, 0.25, 0.0625]


def test_a_constant_stays_the_same_to_the_last_bit() -> None:
    constant, smooth = _at(0.6409718238509639, -0.7), Smoother(1.0)
    smooth(constant, 0.0)
    # With these numbers the weighted sum is one bit below both of its terms.
    assert smooth(constant, 4.430897904130041) == constant


def test_both_scales_and_the_quadrant_are_those_of_the_smoothed_values() -> None:
    smooth = Smoother(1.0)
    smooth(_at(0.5, 0.5), 0.0)

    result = smooth(_at(-1.0, -1.0), 1.0)

    assert (result.valence_1to9, result.arousal_1to9) == (4.0, 4.0)
    assert result.quadrant == "sad"


def test_a_half_life_of_zero_smooths_nothing() -> None:
    smooth = Smoother(0.0)
    assert [smooth(_at(value, value), time) for value, time in ((0.1, 0.0), (-0.9, 0.0), (0.3, 7.0))] == [
        _at(0.1, 0.1),
        _at(-0.9, -0.9),
        _at(0.3, 0.3),
    ]


def test_an_emotion_at_the_time_of_the_last_adds_nothing() -> None:
    smooth = Smoother(1.0)
    smooth(_at(0.2, 0.2), 3.0)
    assert smooth(_at(-1.0, 1.0), 3.0) == _at(0.2, 0.2)


def test_time_that_runs_backwards_and_values_that_are_not_finite_leave_the_smoother_as_it_was() -> None:
    smooth = Smoother(1.0)
    smooth(_at(0.0, 0.0), 5.0)
    broken = Emotion(valence=float("nan"), arousal=0.0, valence_1to9=5.0, arousal_1to9=5.0, quadrant="calm")
    with pytest.raises(InputError, match=r"backwards, expected at least 5\.0 s, got 4\.9 s"):
        smooth(_at(1.0, 1.0), 4.9)
    for emotion, time in ((broken, 6.0), (_at(1.0, 1.0), float("inf")), (_at(1.0, 1.0), float("nan"))):
        with pytest.raises(InputError, match="finite"):
            smooth(emotion, time)
    assert smooth(_at(1.0, 1.0), 6.0) == _at(0.5, 0.5)


@pytest.mark.parametrize("half_life", [-1.0, float("nan"), float("inf")])
def test_a_half_life_that_is_none_is_refused(half_life: float) -> None:
    with pytest.raises(InputError, match="half-life"):
        Smoother(half_life)
