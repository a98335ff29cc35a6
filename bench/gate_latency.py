"""The checks of a gate on latency: percentiles by bounds that need no model, and pairs against the baseline's file.

A limit in milliseconds is held against bounds of the percentile at 99 % confidence, from samples of the device that the
budget names. Whether a file got slower is never read off a stored time: the baseline's file is run again, in turns with
the new one, and the ratio of processor times within pairs decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .baseline import Baseline
from .budgets import Limit
from .device import Evidence
from .duel import duel
from .gate import Check, Subject, Verdict, checked
from .gate_file import missing_baseline
from .judge_latency import judge_timing, rows_for, where
from .paired import LEAST_P, PAIRS, Comparison, tightest_limit
from .report_facts import Timing

__all__ = ["latency_checks", "slower_check", "weigh"]

STAGE = "latency"
ATTEMPTS = 3  # of a comparison that does not decide, each of twice as many pairs


def latency_checks(subject: Subject, limit: Limit, rows: Sequence[Timing], missing: str = "") -> list[Check]:
    """Return the checks of a limit in milliseconds: one for each engine that was measured.

    Args:
        subject: the file.
        limit: of `LATENCIES`.
        rows: of `edge bench`, of any files and devices.
        missing: why there may be none.
    """
    ours = rows_for(limit, [row for row in rows if row.sha256 == subject.artifact.sha256])
    if not ours:
        why = f"missing evidence: {missing or 'the results hold no row of this file'} on {where(limit.budget)}"
        return [_check(subject, limit, Verdict.NO, why=why)]
    return [_judge(subject, limit, row) for row in ours]


def slower_check(subject: Subject, limit: Limit, baseline: Baseline | None, *, tests: int = 1, seed: int = 0) -> Check:
    """Return whether a file is slower than the baseline's by more than is allowed: both run here, in pairs.

    The ranks of the ratios are tested both ways against the limit itself, each way at 1 % over all that is tested
    together. Where neither way decides, more pairs are run, and after three attempts it is inconclusive. A limit that
    is tighter than so many pairs could tell, by the noise that they show, is refused at once.

    Args:
        subject: the file.
        limit: `slower_percent`.
        baseline: None says that there is none, which is a `no`.
        tests: comparisons that are judged together.
        seed: of the order within pairs.

    Raises:
        EdgeError: a file cannot be run.
    """
    before = baseline.find(subject.path.name) if baseline else None
    if before is None:
        return _check(subject, limit, Verdict.NO, why=missing_baseline(baseline))
    if before.sha256 == subject.artifact.sha256:
        return _check(subject, limit, Verdict.PASS, value=0.0, why="the same bytes as the baseline's")
    assert isinstance(limit.value, int | float)
    chance = LEAST_P / tests / ATTEMPTS
    for attempt in range(ATTEMPTS):
        found = duel(
            before.path,
            subject.path,
            count=PAIRS << attempt,
            seed=seed + attempt,
            least_change=limit.value / 100,
        )
        verdict, told = weigh(found, limit.value, chance)
        if verdict is not Verdict.INCONCLUSIVE or "refused" in told:
            break
    value, low, high = (round(100 * part, 3) for part in (found.change, found.low, found.high))
    evidence = str(Evidence.MEASURED)
    return _check(subject, limit, verdict, value=value, low=low, high=high, why=told, evidence=evidence)


def weigh(found: Comparison, most: float, chance: float) -> tuple[Verdict, str]:
    """Return what pairs say of a limit, and why.

    Args:
        found: the file against the baseline's.
        most: per cent that it may be slower.
        chance: of a wrong answer, each way.
    """
    change, low, high = (100 * part for part in (found.change, found.low, found.high))
    told = f"{change:+.1f} % [{low:+.1f}, {high:+.1f}] of the baseline's processor time, {found.pairs} pairs"
    if found.p_over < chance:
        return Verdict.NO, f"slower: {told}; at most {most:g} % is allowed"
    if found.p_within < chance:
        return Verdict.PASS, told
    tightest = 100 * tightest_limit(found.noise, PAIRS << ATTEMPTS - 1, chance)
    if most < tightest:
        told += f"; refused: {most:g} % is tighter than this machine can tell now, {tightest:.1f} %"
    else:
        told += f"; too near the limit of {most:g} %, or too noisy a machine, to tell"
    return Verdict.INCONCLUSIVE, told


def _judge(subject: Subject, limit: Limit, row: Timing) -> Check:
    found = judge_timing(row, limit)
    figures = {"value": found.value, "low": found.low, "high": found.high, "evidence": row.evidence}
    return _check(subject, limit, found.verdict, why=found.why, **figures)


def _check(subject: Subject, limit: Limit, verdict: Verdict, **facts: Any) -> Check:
    budget, unit = limit.budget, "%" if limit.name == "slower_percent" else "ms"
    named = {"device": budget.device, "threads": budget.threads, "limit": limit.value, "unit": unit}
    return checked(subject, STAGE, limit.name, verdict, line=limit.line, **{**named, **facts})
