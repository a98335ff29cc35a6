"""Whether one of two calls is slower: measured in pairs, in one process, and judged on the ratio within each pair.

What disturbs a machine for longer than a pair disturbs both halves of it alike and cancels in their ratio; and
processor time does not run on while a call waits for others. Which of the two goes first is drawn anew for each pair.
The verdict asks for two things at once: that the ratios lie above 1 more clearly than chance allows, and that the
middle one is of a size that matters.

Source: the rank test is Wilcoxon's (1945), one-sided, with the normal approximation, ties and zeros as Pratt (1959)
treats them; the limits were found on a busy machine, where they raised no alarm in 1,006 comparisons of a file with
itself (docs/bench.md says how that is repeated).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import NormalDist
from time import perf_counter, process_time
from typing import Any

import numpy as np

from ..runtime.quiet import disturbed

__all__ = [
    "PAIRS",
    "Answer",
    "Comparison",
    "compare",
    "judge",
    "pairs",
    "signed_rank_p",
    "smallest_change",
    "tightest_limit",
    "warm_calls",
]

PAIRS = 60
SLICE_S = 0.005  # of one half of a pair: shorter calls are made several times
LEAST_P = 0.01  # one-sided
LEAST_CHANGE = 0.03  # of the middle ratio
POWER_Z = 1.645  # 95 % of a normal distribution
MEDIAN_LOSS = 1.2533  # spread of a median over that of a mean

Call = Callable[[], object]


class Answer(StrEnum):
    """What a comparison says of the second call."""

    SLOWER = "slower"
    FASTER = "faster"
    SAME = "no difference"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The second call against the first.

    Attributes:
        answer: by processor time.
        change: middle of the ratios of processor times, less 1: 0.1 is 10 % slower.
        low, high: 95 % interval of the change, by order statistics.
        p_slower, p_faster: chance of ranks as these were there no difference, one-sided.
        p_over, p_within: chance of ranks as these were the change just the smallest that is told, one-sided: a
            small `p_over` says that it is larger, a small `p_within` that it is not.
        wall_answer: by wall clock; None where the machine was too busy to say.
        wall_change: the same of the wall clock.
        wall_over_cpu: median of wall clock over processor time, the larger of the two calls.
        pairs: how many.
        calls: times each call was made in a half of a pair.
        smallest: slow-down that a comparison as noisy as this one finds in 95 of 100 cases, as a fraction.
        noise: spread of the logarithms of the ratios.
    """

    answer: Answer
    change: float
    low: float
    high: float
    p_slower: float
    p_faster: float
    p_over: float
    p_within: float
    wall_answer: Answer | None
    wall_change: float
    wall_over_cpu: float
    pairs: int
    calls: int
    smallest: float
    noise: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}


def compare(
    first: Call,
    second: Call,
    *,
    count: int = PAIRS,
    seed: int = 0,
    tests: int = 1,
    least_change: float = LEAST_CHANGE,
    slice_s: float = SLICE_S,
) -> Comparison:
    """Return whether the second call is slower than the first.

    Single-threaded work only: processor time is that of the whole process, and threads that wait by spinning add to it.

    Args:
        first, second: what is compared; both are called a few times before anything counts.
        count: pairs, at least 10.
        seed: of the order within the pairs.
        tests: comparisons that are judged together; each then needs a chance so many times smaller.
        least_change: smallest change that is told, as a fraction.
        slice_s: shortest half of a pair, wall clock.
    """
    calls = warm_calls(first, second, slice_s)
    return judge(pairs(first, second, count=count, calls=calls, seed=seed), calls, tests, least_change)


def pairs(first: Call, second: Call, *, count: int, calls: int, seed: int) -> list[tuple[float, float, float, float]]:
    """Return (wall of first, processor time of first, wall of second, processor time of second) for each pair, seconds.

    Args:
        first, second: what is compared.
        count: pairs.
        calls: times each is called in a half of a pair.
        seed: of the order within the pairs.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.arange(count) % 2)  # as many one way as the other
    found = []
    for swapped in order.tolist():
        halves = [_timed(call, calls) for call in ((second, first) if swapped else (first, second))]
        one, two = reversed(halves) if swapped else halves
        found.append((*one, *two))
    return found


def judge(
    found: Sequence[tuple[float, float, float, float]],
    calls: int = 1,
    tests: int = 1,
    least_change: float = LEAST_CHANGE,
) -> Comparison:
    """Return what pairs of times say; see `compare` and `pairs`."""
    values = np.asarray(found, np.float64)
    if values.ndim != 2 or values.shape[1] != 4 or len(values) < 10 or not (values > 0).all():
        raise ValueError("a comparison needs at least 10 pairs of times above 0")
    wall, cpu = np.log(values[:, 2] / values[:, 0]), np.log(values[:, 3] / values[:, 1])
    over = [values[:, 2 * half] / values[:, 2 * half + 1] for half in (0, 1)]
    calm = not any(disturbed(values[:, 2 * half].tolist(), values[:, 2 * half + 1].tolist()) for half in (0, 1))
    low, high = _interval(cpu)
    return Comparison(
        answer=_answer(cpu, tests, least_change),
        change=math.expm1(float(np.median(cpu))),
        low=math.expm1(low),
        high=math.expm1(high),
        p_slower=signed_rank_p(cpu.tolist()),
        p_faster=signed_rank_p((-cpu).tolist()),
        p_over=signed_rank_p((cpu - math.log1p(least_change)).tolist()),
        p_within=signed_rank_p((math.log1p(least_change) - cpu).tolist()),
        wall_answer=_answer(wall, tests, least_change) if calm else None,
        wall_change=math.expm1(float(np.median(wall))),
        wall_over_cpu=max(float(np.median(part)) for part in over),
        pairs=len(values),
        calls=calls,
        smallest=smallest_change(float(np.std(cpu)), len(values), least_change),
        noise=float(np.std(cpu)),
    )


def smallest_change(noise: float, count: int, least_change: float = LEAST_CHANGE) -> float:
    """Return the slow-down that a comparison finds in 95 of 100 cases, as a fraction.

    Args:
        noise: spread of the logarithms of the ratios within pairs.
        count: pairs.
        least_change: smallest change that is told, as a fraction.
    """
    reach = POWER_Z * MEDIAN_LOSS * noise / math.sqrt(count)
    return math.expm1(math.log1p(least_change) + reach)


def tightest_limit(noise: float, count: int, chance: float) -> float:
    """Return the tightest limit on a change that pairs can be held to: of the same file they find it held in 95 of 100
    cases.

    Args:
        noise, count: see `smallest_change`.
        chance: of a wrong answer, one-sided.

    Returns:
        a fraction.
    """
    reach = (NormalDist().inv_cdf(1 - chance) + POWER_Z) * MEDIAN_LOSS * noise / math.sqrt(count)
    return math.expm1(reach)


def signed_rank_p(differences: Sequence[float]) -> float:
    """Return the chance that paired differences lie as far above 0 as these where none is expected, one-sided.

    Args:
        differences: at least one; zeros are ranked and then left out, ties share their mean rank.

    Returns:
        0..1; 1 where all are 0. By the normal approximation, which needs some ten differences to be any good.
    """
    values = np.asarray(differences, np.float64)
    size = np.abs(values)
    _, inverse, counts = np.unique(size, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]
    zero = values == 0
    if zero.all():
        return 1.0
    total, zeros = len(values), int(zero.sum())
    above = float(ranks[values > 0].sum())
    mean = (total * (total + 1) - zeros * (zeros + 1)) / 4
    spread = (total * (total + 1) * (2 * total + 1) - zeros * (zeros + 1) * (2 * zeros + 1)) / 24
    tied = counts[np.unique(size) > 0].astype(np.float64)
    spread -= float((tied**3 - tied).sum()) / 48
    if spread <= 0:
        return 0.5 if above <= mean else 0.0
    return 0.5 * math.erfc((above - mean) / math.sqrt(2 * spread))


def _answer(ratios: Any, tests: int, least_change: float) -> Answer:
    middle = float(np.median(ratios))
    limit = LEAST_P / tests
    if middle > math.log1p(least_change) and signed_rank_p(ratios.tolist()) < limit:
        return Answer.SLOWER
    if -middle > math.log1p(least_change) and signed_rank_p((-ratios).tolist()) < limit:
        return Answer.FASTER
    return Answer.SAME


def _interval(ratios: Any) -> tuple[float, float]:
    """Return the 95 % interval of the median, by order statistics."""
    values = np.sort(ratios)
    reach = 0.98 * math.sqrt(len(values))  # 1.96 / 2 times the binomial's root
    low = max(math.floor(len(values) / 2 - reach), 0)
    high = min(math.ceil(len(values) / 2 + reach), len(values) - 1)
    return float(values[low]), float(values[high])


def warm_calls(first: Call, second: Call, slice_s: float) -> int:
    """Return how often the calls are made in a half of a pair, after they have been made often enough to be warm."""
    took = []
    for call in (first, second):
        call()
        best = math.inf
        for _ in range(3):
            best = min(best, _timed(call, 1)[0])
        took.append(best)
    return max(1, math.ceil(slice_s / max(min(took), 1e-7)))


def _timed(call: Call, times: int) -> tuple[float, float]:
    cpu, wall = process_time(), perf_counter()
    for _ in range(times):
        call()
    wall_s, cpu_s = perf_counter() - wall, process_time() - cpu
    return wall_s, max(cpu_s, 1e-9)
