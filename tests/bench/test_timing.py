"""Calls take turns, and medians say which time they are."""

from __future__ import annotations

import os
import time

import pytest

from edge.bench import timing
from edge.bench.timing import THREAD_VARIABLES, Timing, interleaved, machine, one_thread, summary, timed


def test_calls_take_turns_after_a_warm_up_of_each() -> None:
    order: list[str] = []

    times = interleaved(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, budget_s=0.0, least=3, slice_s=0.0
    )

    assert "".join(order) == "ab" + "ababab"
    assert [timing.repeats for timing in times.values()] == [3, 3]


def test_a_short_call_gets_several_samples_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def take(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(timing, "perf_counter", lambda: now[0])

    times = interleaved({"short": lambda: take(0.5), "long": lambda: take(7.0)}, budget_s=0.0, least=2, slice_s=2.0)

    assert (times["short"].repeats, times["long"].repeats) == (8, 2)
    assert (times["short"].wall_ms, times["long"].wall_ms) == (500.0, 7000.0)


def test_sleeping_counts_on_the_wall_and_not_for_the_processor() -> None:
    samples: dict[str, list[tuple[float, float]]] = {}

    timed({"sleep": lambda: time.sleep(0.01)}, samples)
    slept = summary(samples["sleep"])

    assert slept.busy
    assert slept.ms == slept.cpu_ms < slept.wall_ms


def test_an_idle_machine_is_judged_by_the_wall_clock() -> None:
    idle = Timing(wall_ms=1.2, cpu_ms=1.0, repeats=5)

    assert not idle.busy
    assert idle.ms == 1.2


def test_the_middle_sample_counts_and_not_the_outlier() -> None:
    middle = summary([(0.001, 0.001), (0.003, 0.002), (9.0, 9.0)])

    assert (middle.wall_ms, middle.cpu_ms, middle.repeats) == (3.0, 2.0, 3)


def test_one_thread_is_told_to_every_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "7")

    one_thread()

    assert {os.environ[name] for name in THREAD_VARIABLES} == {"1"}
    assert machine()["threads"] == dict.fromkeys(THREAD_VARIABLES, "1")


def test_the_machine_says_what_figures_depend_on() -> None:
    about = machine()

    assert about["cpu"]
    assert about["cores"] >= 1
    assert about["numpy"]
    assert set(about["engines"]) <= {"onnxruntime", "litert"}
