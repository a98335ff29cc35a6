"""The checks of a gate on latency: percentiles by bounds that need no model, and pairs against the baseline's file.

A limit in milliseconds is held against bounds of the percentile at 99 % confidence, from samples of the device that the
budget names. Whether a file got slower is never read off a stored time: the baseline's file is run again, in turns with
the new one, and the ratio of processor times within pairs decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.errors import InputError
from .baseline import Baseline
from .budgets import LATENCIES, Limit
from .device import Evidence
from .duel import duel
from .gate import Check, Subject, Verdict, checked, judge_bounds
from .gate_accuracy import read_output
from .gate_file import missing_baseline
from .paired import LEAST_P, PAIRS
from .percentiles import least_samples, lower_bound, upper_bound
from .record import Status

__all__ = ["latency_checks", "read_results", "slower_check"]

STAGE = "latency"
GRADES = (Evidence.PREDICTED, Evidence.SIMULATED, Evidence.MEASURED)  # from the weakest
ATTEMPTS = 3  # of a comparison that does not decide, each of twice as many pairs
Row = Mapping[str, Any]


def read_results(path: Path) -> list[Row]:
    """Return the rows of what `edge bench --json` printed.

    Raises:
        InputError: it cannot be read, or is no such report.
    """
    rows = read_output(path, "edge bench --json").get("rows")
    if not isinstance(rows, list):
        raise InputError(f"`{path}` holds no rows", expected="the output of `edge bench --json`")
    try:
        for row in rows:
            _samples(row)
            str(row["artifact"]["sha256"]), str(row["device"]), int(row["threads"]), Status(row["status"])
            Evidence(row["evidence"])
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InputError(f"`{path}` is not what `edge bench --json` prints", got=f"{exc}"[:80]) from exc
    return rows


def latency_checks(subject: Subject, limit: Limit, rows: Sequence[Row], missing: str = "") -> list[Check]:
    """Return the checks of a limit in milliseconds: one for each engine that was measured.

    Args:
        subject: the file.
        limit: of `LATENCIES`.
        rows: of `edge bench`, of any files and devices.
        missing: why there may be none.
    """
    budget = limit.budget
    ours = [
        row
        for row in rows
        if row["artifact"]["sha256"] == subject.artifact.sha256
        and (row["device"], row["threads"]) == (budget.device, budget.threads)
    ]
    if not ours:
        why = f"missing evidence: {missing or 'the results hold no row of this file'} on {_where(limit)}"
        return [_check(subject, limit, Verdict.NO, why=why)]
    return [_judge(subject, limit, row) for row in ours]


def slower_check(subject: Subject, limit: Limit, baseline: Baseline | None, *, tests: int = 1, seed: int = 0) -> Check:
    """Return whether a file is slower than the baseline's by more than is allowed: both run here, in pairs.

    The ranks of the ratios are tested both ways against the limit itself, each way at 1 % over all that is tested
    together. Where neither way decides, more pairs are run, and after three attempts it is inconclusive.

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
        verdict = (
            Verdict.NO if found.p_over < chance else Verdict.PASS if found.p_within < chance else Verdict.INCONCLUSIVE
        )
        if verdict is not Verdict.INCONCLUSIVE:
            break
    value, low, high = (round(100 * part, 3) for part in (found.change, found.low, found.high))
    told = f"{value:+.1f} % [{low:+.1f}, {high:+.1f}] of the baseline's processor time, {found.pairs} pairs"
    if verdict is Verdict.NO:
        told = f"slower: {told}; at most {limit.value:g} % is allowed"
    elif verdict is Verdict.INCONCLUSIVE:
        told += f"; too near the limit of {limit.value:g} %, or too noisy a machine, to tell"
    evidence = str(Evidence.MEASURED)
    return _check(subject, limit, verdict, value=value, low=low, high=high, why=told, evidence=evidence)


def _judge(subject: Subject, limit: Limit, row: Row) -> Check:
    """Return the check of one row; what the row may not be believed in comes before its figures."""
    evidence, wanted = Evidence(row["evidence"]), Evidence(limit.budget.evidence)
    facts = {"evidence": str(evidence)}
    if GRADES.index(evidence) < GRADES.index(wanted):
        why = f"missing evidence: {wanted} is demanded on {_where(limit)}, this is {evidence}"
        return _check(subject, limit, Verdict.NO, why=why, **facts)
    status, reason = Status(row["status"]), "; ".join(map(str, row.get("why") or ())) or "no reason told"
    if status is Status.PREDICTED:
        return _judge_prediction(subject, limit, row, facts)
    if status in (Status.FAILED, Status.INCOMPLETE):
        why = f"missing evidence: the run on {_where(limit)} is {status}: {reason}"
        return _check(subject, limit, Verdict.NO, why=why, **facts)
    if status is Status.VOID:
        why = f"the machine's state voids the run on {_where(limit)}: {reason}"
        return _check(subject, limit, Verdict.INCONCLUSIVE, why=why, **facts)
    return _judge_samples(subject, limit, row, facts)


def _judge_samples(subject: Subject, limit: Limit, row: Row, facts: Mapping[str, Any]) -> Check:
    samples, share, most = _samples(row), LATENCIES[limit.name], limit.value
    assert isinstance(most, int | float)
    needed, percentile = least_samples(share), limit.name.removesuffix("_ms")
    if len(samples) < needed:
        why = f"{percentile} needs {needed} runs, there are {len(samples)}"
        return _check(subject, limit, Verdict.INCONCLUSIVE, why=why, **facts)
    if limit.name != "p50_ms" and any(launch.get("batch", 1) != 1 for launch in row["launches"]):
        why = "the clock there is too coarse for single inferences: only a median is known"
        return _check(subject, limit, Verdict.INCONCLUSIVE, why=why, **facts)
    low, high = lower_bound(samples, share), upper_bound(samples, share)
    value = float(np.quantile(samples, share))
    verdict = judge_bounds(low, high, most)
    bounds = f"[{_ms(low)}, {_ms(high)}]"
    told = f"{percentile} {_ms(value)} ms {bounds} on {_where(limit)}, {len(samples)} runs"
    if verdict is Verdict.NO and row.get("busy"):
        verdict, told = Verdict.INCONCLUSIVE, f"{told}; over {most:g} ms, but other work disturbed the machine"
    elif verdict is Verdict.NO:
        told += f"; at most {most:g} ms is allowed"
    elif verdict is Verdict.INCONCLUSIVE:
        told += f"; its bounds hold the limit of {most:g} ms: measure longer"
    return _check(subject, limit, verdict, value=round(value, 4), low=low, high=high, why=told, **facts)


def _judge_prediction(subject: Subject, limit: Limit, row: Row, facts: Mapping[str, Any]) -> Check:
    """Return what a predicted median's interval says."""
    told, most = row["prediction"], limit.value
    assert isinstance(most, int | float)
    low, high = told.get("low_ms"), told.get("high_ms")
    if limit.name != "p50_ms" or low is None or high is None:
        why = f"there is no prediction of it: {told.get('abstained') or 'medians alone are predicted'}"
        return _check(subject, limit, Verdict.NO, why=f"missing evidence: {why}", **facts)
    verdict = judge_bounds(low, high, most)
    why = f"predicted {_ms(told['p50_ms'])} ms [{_ms(low)}, {_ms(high)}] on {_where(limit)}"
    if verdict is not Verdict.PASS:
        why += f"; at most {most:g} ms is allowed"
    return _check(subject, limit, verdict, value=told["p50_ms"], low=low, high=high, why=why, **facts)


def _check(subject: Subject, limit: Limit, verdict: Verdict, **facts: Any) -> Check:
    budget, unit = limit.budget, "%" if limit.name == "slower_percent" else "ms"
    named = {"device": budget.device, "threads": budget.threads, "limit": limit.value, "unit": unit}
    return checked(subject, STAGE, limit.name, verdict, line=budget.line, **{**named, **facts})


def _samples(row: Row) -> list[float]:
    """Return all wall clock times of a row, ms.

    Raises:
        ValueError: one is no time.
    """
    samples = [float(value) for launch in row["launches"] for value in launch["wall_ms"]]
    if not all(math.isfinite(value) and value >= 0 for value in samples):
        raise ValueError("a sample is no time")
    return samples


def _where(limit: Limit) -> str:
    threads = "1 thread" if limit.budget.threads == 1 else f"{limit.budget.threads} threads"
    return f"`{limit.budget.device}` with {threads}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"
