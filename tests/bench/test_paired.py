"""Is the second call slower? Judged on made-up times, for which the right answer is known; no clock is looked at."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bench.paired import LEAST_P, Answer, compare, judge, pairs, signed_rank_p, tightest_limit

Pairs = list[tuple[float, float, float, float]]


def made_up(change: float, *, seed: int = 0, count: int = 60, noise: float = 0.03, stalls: float = 0.0) -> Pairs:
    """Return pairs whose second half takes `change` more, with noise within pairs and drift over them."""
    rng = np.random.default_rng(seed)
    drift = 1 + 0.3 * np.sin(np.arange(count) / 7)
    first = 0.005 * drift * np.exp(rng.normal(0, noise, count))
    second = 0.005 * drift * np.exp(rng.normal(0, noise, count)) * (1 + change)
    waits = (rng.random((2, count)) < stalls) * 0.02
    return list(zip(first + waits[0], first, second + waits[1], second, strict=True))


def test_ten_percent_more_is_found_and_five_too() -> None:
    found = [[judge(made_up(change, seed=seed)).answer for seed in range(200)] for change in (0.10, 0.05)]

    assert found[0].count(Answer.SLOWER) == 200
    assert found[1].count(Answer.SLOWER) >= 190


def test_the_same_twice_raises_no_alarm() -> None:
    answers = [judge(made_up(0.0, seed=seed)).answer for seed in range(1000)]

    assert answers.count(Answer.SAME) >= 998


def test_faster_is_told_as_such() -> None:
    found = judge(made_up(-0.10))

    assert found.answer is Answer.FASTER
    assert found.low < found.change < found.high < 0


def test_a_difference_too_small_to_matter_is_none_however_certain() -> None:
    found = judge(made_up(0.02, count=2000))

    assert found.p_slower < 1e-6
    assert found.answer is Answer.SAME


def test_a_busy_machine_gives_no_verdict_on_the_wall_clock() -> None:
    assert judge(made_up(0.10)).wall_answer is Answer.SLOWER
    busy = judge(made_up(0.10, stalls=0.6))

    assert busy.wall_answer is None
    assert busy.answer is Answer.SLOWER


def test_more_tests_ask_for_more_certainty() -> None:
    weak = made_up(0.05, noise=0.06)

    assert judge(weak).answer is Answer.SLOWER
    assert judge(weak, tests=1_000_000).answer is Answer.SAME


def test_ranks_give_the_exact_chance_within_the_approximation() -> None:
    values = [1.2, -0.4, 2.5, 0.7, -1.1, 3.1, 0.2, 1.9, -0.1, 2.2, 0.9, -0.6]
    ranks = np.argsort(np.argsort(np.abs(values))) + 1
    seen = sum(rank for rank, value in zip(ranks, values, strict=True) if value > 0)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(values))]
    exact = np.mean([total >= seen for total in sums])

    assert signed_rank_p(values) == pytest.approx(exact, abs=0.006)


def test_zeros_and_ties_are_no_evidence() -> None:
    assert signed_rank_p([0.0] * 20) == 1.0
    assert signed_rank_p([1.0, -1.0] * 10) == pytest.approx(0.5)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=80))
def test_the_two_sides_complement_each_other(values: list[float]) -> None:
    above, below = signed_rank_p(values), signed_rank_p([-value for value in values])

    assert 0 <= above <= 1
    if any(values):
        assert above + below == pytest.approx(1.0)


def test_each_call_comes_first_in_half_of_the_pairs() -> None:
    order: list[str] = []
    pairs(lambda: order.append("a"), lambda: order.append("b"), count=20, calls=1, seed=5)

    assert [order[place : place + 2].count("a") for place in range(0, 40, 2)] == [1] * 20
    assert order[::2].count("a") == 10


def test_short_calls_are_made_several_times() -> None:
    found = compare(lambda: None, lambda: None, count=10, slice_s=1e-4)

    assert found.calls > 10
    assert found.pairs == 10


@pytest.mark.parametrize("bad", [[], [(1.0, 1.0, 1.0, 1.0)] * 9, [(1.0, 1.0, 1.0, 0.0)] * 20, [(1.0, 1.0)] * 20])
def test_too_few_pairs_or_no_times_are_refused(bad: Pairs) -> None:
    with pytest.raises(ValueError, match="10 pairs"):
        judge(bad)


def test_the_tightest_limit_is_one_that_the_same_file_is_found_to_hold_in_95_of_100_cases() -> None:
    rng = np.random.default_rng(3)
    noise, count, chance = 0.15, 240, LEAST_P / 3
    limit = tightest_limit(noise, count, chance)

    def holds(least_change: float) -> bool:
        seconds = np.exp(rng.normal(scale=noise, size=count)).tolist()
        return judge([(1.0, 1.0, second, second) for second in seconds], least_change=least_change).p_within < chance

    assert 0.03 < limit < 0.08
    assert sum(holds(limit) for _ in range(200)) >= 183  # 95 % of 200, less two standard deviations
    assert sum(holds(limit / 3) for _ in range(200)) <= 60
