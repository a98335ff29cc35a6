"""The check of a gate on the task metric: how many points a file loses, on the right side of its interval.

It passes where even the upper end of the drop's interval is within the limit, and says no where even the lower end is
over it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.errors import InputError
from ..runtime.files import read_json
from .budgets import Limit
from .gate import Check, Subject, Verdict, checked, judge_bounds

__all__ = ["Loss", "accuracy_check", "read_output", "read_report"]

STAGE = "accuracy"
MAX_BYTES = 64 << 20


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
    facts: dict[str, Any] = {"limit": most, "unit": "points", "line": limit.budget.line}
    if isinstance(loss, str):
        return checked(subject, STAGE, "metric_drop", Verdict.NO, why=f"missing evidence: {loss}", **facts)
    value, low, high = (100 * part for part in (loss.value, loss.low, loss.high))
    verdict = judge_bounds(low, high, most)
    told = f"loses {value:.2f} points [{low:.2f}, {high:.2f}] of {loss.words}"
    if verdict is Verdict.NO:
        told += f"; at most {most:g} are allowed"
    elif verdict is Verdict.INCONCLUSIVE:
        told += f"; its interval holds the limit of {most:g}: judge more samples"
    facts |= {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}
    return checked(subject, STAGE, "metric_drop", verdict, why=told, **facts)


def read_report(path: Path) -> dict[str, Loss]:
    """Return the drops in what `edge eval --json` printed, by SHA-256 of the file; they are against its first target.

    Raises:
        InputError: it cannot be read, or is no such report.
    """
    values = read_output(path, "edge eval --json")
    try:
        data, targets = values["data"], values["targets"]
        first = Path(targets[0]["file"]).name
        found = {}
        for target in targets[1:]:
            drop, metric = target["drop"], target["metric"]
            words = f"{metric['name']} against `{first}`, {data['samples']} samples of {data['label']}"
            found[str(target["sha256"])] = Loss(
                **{key: float(drop[key]) for key in ("value", "low", "high")}, words=words
            )
        return found
    except KeyError as exc:
        hint = "write it again with this version of edge" if exc.args == ("sha256",) else None
        raise InputError(f"`{path}` lacks {exc}", expected="the output of `edge eval --json`", hint=hint) from exc
    except (TypeError, ValueError, IndexError, AttributeError) as exc:
        raise InputError(f"`{path}` is not what `edge eval --json` prints", got=str(exc)[:80]) from exc


def read_output(path: Path, command: str) -> Mapping[str, Any]:
    """Return the JSON object in a file that a command of edge printed.

    Raises:
        InputError: it cannot be read, or holds no such object.
    """
    try:
        values = read_json(path, MAX_BYTES)
    except FileNotFoundError as exc:
        raise InputError(f"cannot read `{path}`", got=exc.strerror) from exc
    except (ValueError, RecursionError) as exc:
        raise InputError(f"`{path}` is no JSON", expected=f"the output of `{command}`", got=str(exc)[:80]) from exc
    if not isinstance(values, dict) or values.get("schema") != 1:
        raise InputError(f"`{path}` is of no schema that is known", expected=f"the output of `{command}`")
    return values
