"""Traces: which colour stands where, what the clock says, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.runtime.draw import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION
from edge.runtime.emotion import decode_emotion
from edge.runtime.errors import InputError
from edge.runtime.results import Emotion
from edge.runtime.trace import TracePoint, clock, draw_trace

HW = (720, 1280)


def emotion(valence: float, arousal: float) -> Emotion:
    return decode_emotion(np.array([valence, arousal]))


def points(*values: tuple[float, float], step_s: float = 5.0, smooth: bool = False) -> list[TracePoint]:
    felt = [emotion(*value) for value in values]
    return [TracePoint(index * step_s, one, one if smooth else None) for index, one in enumerate(felt)]


def places(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the pixels of exactly this colour, but those of the legend."""
    rows, columns = np.nonzero((picture[95:] == colour).all(axis=2))
    return rows + 95, columns


def test_valence_and_arousal_are_lines_at_their_height() -> None:
    picture = draw_trace(points(*[(0.5, -0.5)] * 9))

    valence_rows, valence_columns = places(picture, BLUE)
    arousal_rows, _ = places(picture, VERMILLION)
    assert np.ptp(valence_rows) < 8  # a level line
    assert np.ptp(valence_columns) > 1000  # from side to side
    low, high = arousal_rows.mean(), valence_rows.mean()
    flat = draw_trace(points(*[(0.0, 0.0)] * 9))
    middle = places(flat, VERMILLION)[0].mean()
    assert low - middle == pytest.approx(middle - high, abs=2)
    assert high < middle


def test_time_goes_from_left_to_right() -> None:
    picture = draw_trace(points((-0.8, 0.9), (0.8, 0.9)))

    rows, columns = places(picture, BLUE)
    assert rows[columns.argmin()] > rows[columns.argmax()] + 200


def test_the_ribbon_shows_the_quadrants_in_their_order() -> None:
    picture = draw_trace(points((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)))

    ribbon = picture[picture.shape[0] - 70]
    found = [np.nonzero((ribbon == colour).all(axis=1))[0] for colour in (ORANGE, PURPLE, SKY, GREEN)]
    assert [len(columns) > 100 for columns in found] == [True] * 4
    assert [columns.max() for columns in found[:3]] < [columns.min() for columns in found[1:]]
    # a point reaches half-way to its neighbours, so the first has half of what the second has
    assert np.ptp(found[1]) == pytest.approx(2 * np.ptp(found[0]), rel=0.03)


def test_the_ribbon_goes_by_the_smoothed_emotion() -> None:
    jumpy = [TracePoint(float(t), emotion(0.5, 0.9 * (-1) ** t), emotion(0.5, 0.1)) for t in range(20)]

    ribbon = draw_trace(jumpy)[HW[0] - 70]

    assert (ribbon == ORANGE).all(axis=1).any()
    assert not (ribbon == GREEN).all(axis=1).any()


def test_raw_values_are_thin_beside_smoothed_ones() -> None:
    raw = [emotion(0.8 * (-1) ** t, 0.9) for t in range(20)]
    level = emotion(0.1, 0.9)
    with_raw = draw_trace([TracePoint(float(t), one, level) for t, one in enumerate(raw)])
    alone = draw_trace([TracePoint(float(t), level, level) for t in range(20)])

    assert np.array_equal(places(with_raw, BLUE), places(alone, BLUE))
    assert 0 < (with_raw != alone).any(axis=2).mean() < 0.1


def test_one_point_is_a_dot_for_each_value() -> None:
    picture = draw_trace(points((0.5, -0.5), smooth=True))

    for colour in (BLUE, VERMILLION):
        rows, columns = places(picture, colour)
        near = abs(columns - np.median(columns)) < 20
        assert near.sum() > 300
        assert np.ptp(rows) < 40


@pytest.mark.parametrize("hw", [(240, 400), (360, 640), (720, 1280), (1280, 720), (2160, 3840), (240, 4000)])
def test_a_trace_has_the_size_that_was_asked_for(hw: tuple[int, int]) -> None:
    picture = draw_trace(points((0.5, -0.5), (0.1, 0.2), smooth=True), title="song.wav", hw=hw)

    assert picture.shape == (*hw, 3)
    assert picture.dtype == np.uint8
    assert (picture[:2] == picture[0, 0]).all()  # nothing is cut off at the borders
    assert (picture[-2:] == picture[0, 0]).all()
    assert (picture[:, :2] == picture[0, 0]).all()
    assert (picture[:, -2:] == picture[0, 0]).all()


def test_a_long_title_is_cut_and_a_hostile_one_is_one_line() -> None:
    plain = draw_trace(points((0.5, 0.5)))
    long = draw_trace(points((0.5, 0.5)), title="word " * 1000)
    hostile = draw_trace(points((0.5, 0.5)), title="a\nb\x1b[2J\u202eé日")

    for picture in (long, hostile):
        assert (picture != plain)[:64].any()
        assert not (picture != plain)[64:].any()
        assert not (picture != plain)[:, 1250:].any()


@pytest.mark.parametrize(
    ("time_s", "step_s", "text"),
    [
        (0, 1, "0:00"),
        (59.6, 1, "1:00"),
        (75, 5, "1:15"),
        (3599, 1, "59:59"),
        (3600, 600, "1:00:00"),
        (36_061, 1, "10:01:01"),
        (1.5, 0.5, "0:01.5"),
        (59.96, 0.1, "1:00.0"),
        (-5, 1, "-0:05"),
    ],
)
def test_a_clock_counts_minutes_and_then_hours(time_s: float, step_s: float, text: str) -> None:
    assert clock(time_s, step_s) == text


def test_points_that_make_no_trace_are_refused() -> None:
    one, two = points((0.1, 0.1), (0.2, 0.2))
    with pytest.raises(InputError, match="at least one point"):
        draw_trace([])
    for wrong in ([two, one], [one, one], [one, two._replace(time_s=float("nan"))]):
        with pytest.raises(InputError, match="finite and ascend"):
            draw_trace(wrong)
    for hw in ((100, 400), (720, 100), (9000, 1280)):
        with pytest.raises(InputError, match="size of a trace"):
            draw_trace([one], hw=hw)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=300),
    st.floats(-1e3, 1e6),
    st.booleans(),
)
def test_any_trace_can_be_drawn(values: list[tuple[float, float, float]], start: float, smooth: bool) -> None:
    times = start + np.cumsum([step for step, _, _ in values])
    felt = [emotion(valence, arousal) for _, valence, arousal in values]

    picture = draw_trace(
        [TracePoint(float(time), one, one if smooth else None) for time, one in zip(times, felt, strict=True)],
        hw=(240, 400),
    )

    assert (picture[40:] != picture[0, 0]).any()


def test_a_day_of_windows_is_drawn_as_well() -> None:
    rng = np.random.default_rng(0)
    day = [TracePoint(5.0 * t, emotion(*rng.uniform(-1, 1, 2)), emotion(0.3, -0.3)) for t in range(17_280)]

    picture = draw_trace(day, hw=(360, 640))

    rows, columns = places(picture, BLUE)
    assert np.ptp(columns) > 400
    assert len(rows) > 400  # the smoothed line stays whole over the raw ones


def test_pillow_is_not_imported_before_something_is_drawn() -> None:
    code = "import sys, edge.runtime.trace; sys.exit('PIL' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
