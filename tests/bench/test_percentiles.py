"""Percentiles and bounds of latencies: shown where the number of samples carries them, right as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bench.percentiles import least_samples, summarise, upper_bound


@pytest.mark.parametrize(("share", "count"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662)])
def test_a_percentile_needs_as_many_samples_as_mlperf_asks(share: float, count: int) -> None:
    assert least_samples(share) == count


def test_a_percentile_without_enough_samples_is_left_out() -> None:
    few, enough = summarise([1.0] * 63), summarise([1.0] * 64)

    assert (few.p50_ms, few.p90_ms, few.p95_ms, few.p99_ms) == (1.0, None, None, None)
    assert (enough.p90_ms, enough.p95_ms) == (1.0, None)


def test_no_sample_is_dropped() -> None:
    summary = summarise([1.0] * 99 + [1000.0])

    assert summary.count == 100
    assert summary.most_ms == 1000.0
    assert summary.mean_ms == pytest.approx(10.99)


def test_nothing_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarise([])


def test_the_bound_is_the_order_statistic_that_the_binomial_gives() -> None:
    # P(0 of n beyond the median) = 2**-n is at most 0.01 from n = 7, P(0 or 1) from n = 11.
    assert upper_bound(range(6), 0.5) is None
    assert upper_bound(range(7), 0.5) == 6
    assert upper_bound(range(10), 0.5) == 9
    assert upper_bound(range(11), 0.5) == 9


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_bound_fails_at_most_as_often_as_it_says(share: float) -> None:
    rng = np.random.default_rng(0)
    true = -math.log(1 - share)
    trials = 4000
    too_low = sum((upper_bound(rng.exponential(size=100).tolist(), share) or 0.0) < true for _ in range(trials))

    assert too_low / trials <= 0.015  # 0.01, and three standard deviations of the count


@given(st.lists(st.floats(0.001, 1e6), min_size=64, max_size=200))
def test_summaries_are_ordered_and_within_the_samples(samples: list[float]) -> None:
    found = summarise(samples)

    assert found.p50_ms is not None
    assert found.p90_ms is not None
    assert found.p90_at_most_ms is not None
    assert found.least_ms <= found.p50_ms <= found.p90_ms <= found.p90_at_most_ms <= found.most_ms


def test_a_million_samples_do_not_overflow() -> None:
    bound = upper_bound(np.linspace(0, 1, 1_000_000).tolist(), 0.9)

    assert bound == pytest.approx(0.9, abs=0.001)
