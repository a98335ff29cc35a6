"""A latency against a limit, with the words for it: `edge gate` and `edge report` judge alike and say the same.

A measured one is judged by bounds of its percentile at 99 % confidence that assume no distribution, a predicted one by
its interval. What a row may not be believed in comes before its figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .budgets import LATENCIES, Budget, Limit
from .device import Evidence
from .gate import Verdict, judge_bounds
from .percentiles import least_samples, lower_bound, upper_bound
from .record import Status
from .report_facts import Timing

__all__ = ["Answer", "judge_interval", "judge_samples", "judge_timing", "rows_for", "where"]

GRADES = (Evidence.PREDICTED, Evidence.SIMULATED, Evidence.MEASURED)  # from the weakest


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is said of one latency.

    Attributes:
        verdict: the answer.
        why: what it stands on, and in what it falls short.
        value, low, high: the percentile and bounds of it, ms; None where they are not known.
    """

    verdict: Verdict
    why: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


def rows_for(limit: Limit, rows: Sequence[Timing]) -> list[Timing]:
    """Return the rows of a file that a limit is for: those of its device with its number of threads."""
    return [row for row in rows if (row.device, row.threads) == (limit.budget.device, limit.budget.threads)]


def judge_timing(row: Timing, limit: Limit) -> Answer:
    """Return what a row says of a limit.

    Args:
        row: of the limit's device and number of threads.
        limit: of `LATENCIES`.
    """
    evidence, wanted = Evidence(row.evidence), Evidence(limit.budget.evidence)
    place = where(limit.budget)
    if GRADES.index(evidence) < GRADES.index(wanted):
        why = f"missing evidence: {wanted} is demanded on {place}, this is {evidence}"
        return Answer(verdict=Verdict.NO, why=why)
    most, reason = limit.value, "; ".join(row.why) or "no reason told"
    assert isinstance(most, int | float)
    if row.status == Status.PREDICTED:
        if limit.name != "p50_ms" or row.low_ms is None or row.high_ms is None:
            why = f"missing evidence: there is no prediction of it: {row.abstained or 'medians alone are predicted'}"
            return Answer(verdict=Verdict.NO, why=why)
        return judge_interval(row, most, place)
    if row.status in (Status.FAILED, Status.INCOMPLETE):
        return Answer(verdict=Verdict.NO, why=f"missing evidence: the run on {place} is {row.status}: {reason}")
    if row.status == Status.VOID:
        why = f"the machine's state voids the run on {place}: {reason}"
        return Answer(verdict=Verdict.INCONCLUSIVE, why=why)
    return judge_samples(row, limit.name, most, place)


def judge_samples(row: Timing, name: str, most: float, place: str) -> Answer:
    """Return what a measured row says of a percentile.

    Args:
        row: with samples.
        name: of `LATENCIES`.
        most: ms that are allowed.
        place: device and threads in words.
    """
    samples, share, percentile = row.samples_ms, LATENCIES[name], name.removesuffix("_ms")
    needed = least_samples(share)
    if len(samples) < needed:
        why = f"{percentile} needs {needed} runs, there are {len(samples)} on {place}"
        return Answer(verdict=Verdict.INCONCLUSIVE, why=why)
    if name != "p50_ms" and row.coarse:
        why = "the clock there is too coarse for single inferences: only a median is known"
        return Answer(verdict=Verdict.INCONCLUSIVE, why=why)
    low, high = lower_bound(samples, share), upper_bound(samples, share)
    value = float(np.quantile(samples, share))
    verdict = judge_bounds(low, high, most)
    told = f"{percentile} {_ms(value)} ms [{_ms(low)}, {_ms(high)}] on {place}, {len(samples)} runs"
    if verdict is Verdict.NO and row.busy:
        verdict, told = Verdict.INCONCLUSIVE, f"{told}; over {most:g} ms, but other work disturbed the machine"
    elif verdict is Verdict.NO:
        told += f"; at most {most:g} ms is allowed"
    elif verdict is Verdict.INCONCLUSIVE:
        told += f"; its bounds hold the limit of {most:g} ms: measure longer"
    return Answer(verdict=verdict, why=told, value=round(value, 4), low=low, high=high)


def judge_interval(row: Timing, most: float, place: str) -> Answer:
    """Return what a predicted median says, by its interval; arguments as of `judge_samples`."""
    verdict = judge_bounds(row.low_ms, row.high_ms, most)
    why = f"predicted {_ms(row.p50_ms)} ms [{_ms(row.low_ms)}, {_ms(row.high_ms)}] on {place}"
    if verdict is not Verdict.PASS:
        why += f"; at most {most:g} ms is allowed"
    return Answer(verdict=verdict, why=why, value=row.p50_ms, low=row.low_ms, high=row.high_ms)


def where(place: Budget | Timing) -> str:
    """Return a device and its number of threads in words."""
    return f"`{place.device}` with {place.threads} thread{'s' * (place.threads != 1)}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"
