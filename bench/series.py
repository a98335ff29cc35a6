"""A figure over the runs of one file name, device and engine, in the order in which the runs were added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .change_points import ChangePoint, change_points
from .history import Run
from .run_facts import RunRow

__all__ = ["KEY", "Series", "series_of"]

KEY = ("model", "variant", "device", "engine", "threads", "evidence")


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values of one figure.

    Attributes:
        key: what the rows have in common, in the order of `KEY`.
        figure: name of the figure.
        entries: run, row and value, by the number of the run.
    """

    key: tuple[Any, ...]
    figure: str
    entries: tuple[tuple[Run, RunRow, float], ...]

    @property
    def values(self) -> list[float]:
        """The figure, run by run."""
        return [value for _, _, value in self.entries]

    def points(self) -> list[ChangePoint]:
        """Return where the level changed; see `change_points`."""
        return change_points(self.values)

    def changed_at(self, index: int) -> list[str]:
        """Return what else changed from the entry before to this one: file, engine, commit, machine."""
        (old_run, old, _), (new_run, new, _) = self.entries[index - 1], self.entries[index]
        sides: list[dict[str, object]] = [
            {"file": row.sha256, "engine": row.engine_version, "edge": run.edge, "commit": run.git_commit}
            | {name: value for name, value in row.conditions.items() if isinstance(value, str | int | None)}
            for run, row in ((old_run, old), (new_run, new))
        ]
        return [
            f"{name}: {_short(sides[0].get(name))} -> {_short(sides[1].get(name))}"
            for name in dict.fromkeys([*sides[0], *sides[1]])
            if sides[0].get(name) != sides[1].get(name)
        ]


def series_of(runs: Sequence[Run], figure: str) -> list[Series]:
    """Return the series of one figure that runs hold; rows that are not complete, or predicted, are left out.

    Args:
        runs: in any order; series go by their numbers.
        figure: name of the figure.
    """
    found: dict[tuple[Any, ...], list[tuple[Run, RunRow, float]]] = {}
    for run in sorted(runs, key=lambda run: run.id):
        for row in run.rows:
            if figure in row.figures and row.status == "complete":
                found.setdefault(tuple(getattr(row, name) for name in KEY), []).append((run, row, row.figures[figure]))
    return [Series(key=key, figure=figure, entries=tuple(entries)) for key, entries in found.items()]


def _short(value: object) -> str:
    return str(value)[:40]
