"""Change-points: few where nothing changed, one where something did."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edge.bench.change_points import change_points, welch_p
from edge.bench.history import History
from edge.bench.series import series_of

from .history_help import bench_document, bench_row


def noise(count: int, seed: int, level: float = 10.0, spread: float = 0.004) -> list[float]:
    rng = random.Random(seed)
    return [level * rng.lognormvariate(0, spread) for _ in range(count)]


@pytest.mark.parametrize(("spread", "length", "other"), [(0.1, 12, 12), (1.0, 12, 5), (3.0, 4, 30), (0.01, 2, 2)])
def test_welchs_test_is_scipys(spread: float, length: int, other: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = random.Random(1)
    first = [rng.gauss(10, 0.2) for _ in range(length)]
    second = [rng.gauss(10.1, spread) for _ in range(other)]

    assert welch_p(first, second) == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue, rel=1e-9)


def test_samples_without_any_spread_are_the_same_or_not() -> None:
    assert welch_p([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert welch_p([1.0, 1.0], [2.0, 2.0]) == 0.0


def test_a_step_is_found_once_and_where_it_is() -> None:
    values = noise(40, 1) + noise(40, 2, 10.5)

    found = change_points(values)

    assert [point.index for point in found] == [40]
    assert found[0].change == pytest.approx(0.05, abs=0.005)


def test_two_steps_are_two_points_and_a_step_of_bytes_needs_no_spread() -> None:
    assert [point.index for point in change_points([100.0] * 20 + [110.0] * 20 + [90.0] * 20)] == [20, 40]


def test_a_step_that_is_too_small_or_too_late_is_none() -> None:
    assert change_points([100.0] * 30 + [101.0] * 30) == []  # below 2 %
    assert change_points([100.0] * 30 + [200.0] * 3) == []  # a window has to follow it
    assert change_points([]) == []


def test_where_nothing_changed_hardly_any_is_found() -> None:
    series = [noise(511, seed, spread=0.015) for seed in range(4)]  # as noisy as processor times get

    assert sum(len(change_points(values)) for values in series) <= 8  # the bar's own run: 2 in 511


def test_a_real_change_by_five_percent_is_found_in_nearly_all_series() -> None:
    caught = sum(bool(change_points(noise(24, seed) + noise(24, seed + 500, 10.5))) for seed in range(100))

    assert caught >= 99


def test_a_series_goes_by_the_number_of_the_run_and_says_what_else_changed(tmp_path: Path) -> None:
    with History(tmp_path / "h.db", create=True) as history:
        for number in range(30):
            late = number >= 15
            row = bench_row(
                infer_cpu={"p50_ms": 2.0 if late else 1.0},
                engine={"name": "litert", "version": "2.4.0" if late else "2.3.0"},
                artifact={"sha256": ("ef" if late else "ab") * 32},
                status="void" if number == 20 else "complete",
            )
            history.add(bench_document(number, row), git_commit=("d" if late else "c") * 40)
        (series,) = series_of(history.runs(), "cpu_p50_ms")

    (point,) = series.points()
    assert len(series.values) == 29  # the void one is left out
    assert series.entries[point.index][0].id == 16
    told = series.changed_at(point.index)
    assert "engine: 2.3.0 -> 2.4.0" in told
    assert [line.split(":")[0] for line in told] == ["file", "engine", "commit"]
