"""The gate: checks of files against limits, each with its own verdict, and what they come to.

A check passes only where something was looked at and the limit is held, with confidence where the figure is uncertain.
What cannot be decided is inconclusive, which is an answer of its own and never a pass; and a `no` wins over it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..runtime.card import Card
from ..runtime.errors import EdgeError, GateError, InconclusiveError
from .budgets import Limit
from .record import Artifact

__all__ = ["SCHEMA", "STAGES", "Check", "Gate", "Subject", "Verdict", "checked", "judge_bounds", "raise_for", "worst"]

SCHEMA = 1
# In the order they run: what costs nothing and is exact first.
STAGES = {
    "file": "what the file is: hash, precision, bytes, counts, parity, output",
    "accuracy": "points of the task metric lost, with an interval",
    "latency": "milliseconds with bounds, and pairs against the baseline",
}


class Verdict(StrEnum):
    """What a check says."""

    PASS = "pass"  # noqa: S105 - no password
    NO = "no"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"  # another check of the file had said no before


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A file that is gated.

    Attributes:
        artifact: its path, bytes, hash and model.
        card: its card.
        variant: precision and format, "int8.tflite".
        limits: on it; see `budgets.limits_of`.
        manifest: of its bundle; None where there is none beside it.
    """

    artifact: Artifact
    card: Card
    variant: str
    limits: Sequence[Limit]
    manifest: Mapping[str, Any] | None = None

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.artifact.path


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        stage: of `STAGES`.
        name: of a limit, or "manifest", "precision", "budget".
        file, model, variant: what was checked; empty for a budget that matches nothing.
        verdict: the answer.
        value, low, high: what was found, and bounds of it where it is uncertain.
        limit: what it was held against.
        unit: of these.
        why: one line: the reason of what is no pass, else what the figure stands on.
        device, threads, evidence: of a latency; None elsewhere.
        line: of the budget in `edge.toml`; 0 where it is not known.
    """

    stage: str
    name: str
    file: str
    model: str
    variant: str
    verdict: Verdict
    value: float | str | None = None
    low: float | None = None
    high: float | None = None
    limit: float | str | None = None
    unit: str = ""
    why: str = ""
    device: str | None = None
    threads: int | None = None
    evidence: str | None = None
    line: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = dataclasses.asdict(self)
        return {**values, "verdict": str(self.verdict)}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """All checks of a run.

    Attributes:
        checks: in the order they were made.
        ungated: files that no budget matches.
    """

    checks: tuple[Check, ...]
    ungated: tuple[str, ...] = field(default=())

    @property
    def verdict(self) -> Verdict:
        """What the checks come to."""
        return worst(check.verdict for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "schema": SCHEMA,
            "command": "gate",
            "verdict": str(self.verdict),
            "checks": [check.to_dict() for check in self.checks],
            "ungated": list(self.ungated),
        }


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return what several verdicts come to: `no` wins over inconclusive, and that over a pass."""
    found = set(verdicts)
    return next((one for one in (Verdict.NO, Verdict.INCONCLUSIVE) if one in found), Verdict.PASS)


def checked(subject: Subject, stage: str, name: str, verdict: Verdict, *, line: int = 0, **facts: Any) -> Check:
    """Return a check of a file; `facts` are further fields of `Check`."""
    facts |= {"file": subject.path.name, "model": subject.artifact.model, "variant": subject.variant}
    return Check(stage=stage, name=name, verdict=verdict, line=line, **facts)


def judge_bounds(low: float | None, high: float | None, limit: float) -> Verdict:
    """Return the verdict on a figure with known bounds: surely within the limit, surely over it, or neither.

    Args:
        low, high: bounds of the true figure; None where there is none.
        limit: most that is allowed.
    """
    if high is not None and high <= limit:
        return Verdict.PASS
    if low is not None and low > limit:
        return Verdict.NO
    return Verdict.INCONCLUSIVE


def raise_for(gate: Gate, file: str) -> None:
    """Raise what a gate that did not pass ends in.

    Args:
        gate: of all checks.
        file: name of the configuration, for the message.

    Raises:
        GateError: a check says no.
        InconclusiveError: none says no, but one cannot tell.
    """
    kinds: tuple[tuple[Verdict, type[EdgeError], str], ...] = (
        (Verdict.NO, GateError, "say no"),
        (Verdict.INCONCLUSIVE, InconclusiveError, "cannot tell"),
    )
    for verdict, error, words in kinds:
        bad = [check for check in gate.checks if check.verdict is verdict]
        if bad:
            first = bad[0]
            place = f" ({file} line {first.line})" if first.line else ""
            count = f"{len(bad)} of {len(gate.checks)} checks {words}"
            raise error(count, got=f"{first.file or 'a budget'}: {first.why}{place}")
