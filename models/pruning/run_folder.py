"""What the folder of a pruning run holds, and that it is of this request and no other."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError
from ..training.state import write_durably
from .groups import Group

__all__ = ["REPORT", "REQUEST", "SEARCHED", "SOFT", "compare", "read_json", "read_rates", "write_json"]

REQUEST, SEARCHED, SOFT, REPORT = "request.json", "rates.json", "soft", "report.json"


def compare(folder: Path, wanted: dict[str, Any], budget: int | None) -> None:
    """Refuse a folder that holds a run of another request.

    Args:
        folder: of the run.
        wanted: all that its results depend on, plain values, as `REQUEST` has it.
        budget: evaluations of the search; None where there is none. A search that goes on may get another budget, one
            that is finished not.

    Raises:
        InputError: the folder holds a run of another request.
    """
    if not (folder / REQUEST).exists():
        return
    old = read_json(folder / REQUEST)
    for name, value in wanted.items():
        if old.get(name) != value:
            hint = "repeat its options to go on with it, or name another folder"
            _refuse(folder, name, old.get(name), value, hint)
    if budget is not None and (folder / SEARCHED).exists():
        kept = read_json(folder / SEARCHED).get("budget")
        if kept != budget:
            hint = "name another folder; with the same --storage the evaluations that are there count"
            _refuse(folder, "budget, whose search is finished", kept, budget, hint)


def _refuse(folder: Path, what: str, expected: object, got: object, hint: str) -> None:
    raise InputError(f"`{folder}` holds a run with another {what}", expected=expected, got=got, hint=hint)


def read_rates(path: Path, *needed: str) -> dict[str, Any]:
    """Return the rates of a run and what else is needed of their file; InputError where they are not there."""
    value = read_json(path, "rates", *needed)
    try:
        rates = {Group(name): rate for name, rate in value["rates"].items()}
        whole = rates.keys() == set(Group) and all(map(math.isfinite, rates.values()))
    except (AttributeError, TypeError, ValueError):
        whole = False
    if not whole:
        raise InputError(f"`{path}` does not hold the rates of a pruning run")
    return value


def read_json(path: Path, *needed: str) -> dict[str, Any]:
    """Return the object in a file of the run; InputError where there is none, or one of the names is missing."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InputError(f"`{path}` cannot be read", got=exc.strerror) from exc
    except ValueError as exc:
        raise InputError(f"`{path}` is not JSON", got=str(exc)[:80]) from exc
    if not isinstance(value, dict):
        raise InputError(f"`{path}` is not of a pruning run", got=type(value).__name__)
    if missing := [name for name in needed if name not in value]:
        raise InputError(f"`{path}` is not of a pruning run", got=f"no {missing[0]}", hint="delete it and run again")
    return value


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a file of the run; it is whole, or as it was before."""
    write_durably(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())
