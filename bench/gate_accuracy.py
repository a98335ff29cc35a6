"""The check of a gate on the task metric: how many points a file loses, on the right side of its interval.

It passes where even the upper end of the drop's interval is within the limit, and says no where even the lower end is
over it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.errors import InputError
from .budgets import Limit
from .gate import Check, Subject, Verdict, checked, judge_bounds
from .report_facts import Quality
from .report_read import read_qualities

__all__ = ["Loss", "accuracy_check", "judge_drop", "loss_of", "read_report"]

STAGE = "accuracy"


@dataclass(frozen=True, kw_only=True)
class Loss:
    """How much worse a file is than another.

    Attributes:
        value, low, high: of the drop and its 95 % interval, in the metric's unit; below 0 it is better.
        words: metric, the other file, and the samples.
    """

    value: float
    low: float
    high: float
    words: str

    def __post_init__(self) -> None:
        if not (all(map(math.isfinite, (self.value, self.low, self.high))) and self.low <= self.high):
            raise InputError("a drop needs a finite interval", got=(self.low, self.value, self.high))


def accuracy_check(subject: Subject, limit: Limit, loss: Loss | str) -> Check:
    """Return the check of one drop.

    Args:
        subject: the file.
        limit: `metric_drop`, points.
        loss: what it loses; a text says why that is not known.
    """
    most = limit.value
    assert isinstance(most, int | float)
    facts: dict[str, Any] = {"limit": most, "unit": "points", "line": limit.line}
    if isinstance(loss, str):
        return checked(subject, STAGE, "metric_drop", Verdict.NO, why=f"missing evidence: {loss}", **facts)
    verdict, told = judge_drop(loss, most)
    value, low, high = (round(100 * part, 4) for part in (loss.value, loss.low, loss.high))
    return checked(subject, STAGE, "metric_drop", verdict, value=value, low=low, high=high, why=told, **facts)


def judge_drop(loss: Loss, most: float) -> tuple[Verdict, str]:
    """Return the verdict on a loss, and the words for it.

    Args:
        loss: of the metric.
        most: points that may be lost.
    """
    value, low, high = (100 * part for part in (loss.value, loss.low, loss.high))
    verdict = judge_bounds(low, high, most)
    told = f"loses {value:.2f} points [{low:.2f}, {high:.2f}] of {loss.words}"
    if verdict is Verdict.NO:
        told += f"; at most {most:g} are allowed"
    elif verdict is Verdict.INCONCLUSIVE:
        told += f"; its interval contains the limit of {most:g}: judge more samples"
    return verdict, told


def loss_of(quality: Quality) -> Loss | None:
    """Return what a file loses against the first one of its evaluation; None of that one, and without an interval."""
    if quality.drop is None or quality.drop_low is None or quality.drop_high is None:
        return None
    words = f"{quality.metric} against `{quality.against}`, {quality.samples} samples of {quality.data}"
    return Loss(value=quality.drop, low=quality.drop_low, high=quality.drop_high, words=words)


def read_report(path: Path) -> dict[str, Loss]:
    """Return the drops in what `edge eval --json` printed, by SHA-256 of the file; they are against its first target.

    Raises:
        InputError: it cannot be read, or is no such report.
    """
    found = {}
    for quality in read_qualities(path):
        if quality.sha256 is None:
            hint = "write it again with this version of edge"
            raise InputError(f"`{path.name}` lacks the SHA-256 of `{quality.file}`", hint=hint)
        if (loss := loss_of(quality)) is not None:
            found[quality.sha256] = loss
    return found
