"""What a measurement found: tables of figures, and verdicts against limits, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Cell", "Section", "Table", "Verdict", "cell_text", "render"]

Cell = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One figure against its limit.

    Attributes:
        what: which figure.
        value: what was measured.
        unit: "ms", "x", "%", "MB", "" for a plain number.
        sense: "<=" or ">=", what `value` must be of `limit`.
        limit: the bound.
        goal: a better bound that is not enforced; None: there is none.
        reference_ms: what the reference took in the same run; None: there is none.
        ratio: that over our own time.
        busy: the machine was busy, and `value` is processor time.
        note: anything else that a reader must know.
    """

    what: str
    value: float
    unit: str
    sense: Literal["<=", ">="]
    limit: float
    goal: float | None = None
    reference_ms: float | None = None
    ratio: float | None = None
    busy: bool = False
    note: str = ""

    @property
    def held(self) -> bool:
        """True where the limit is held; a value that is not a number holds none."""
        return self.value <= self.limit if self.sense == "<=" else self.value >= self.limit

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; a value that is not a number becomes null."""
        return {
            "what": self.what,
            "value": _json(self.value),
            "unit": self.unit,
            "sense": self.sense,
            "limit": self.limit,
            "goal": self.goal,
            "reference_ms": _json(self.reference_ms),
            "ratio": _json(self.ratio),
            "held": self.held,
            "busy": self.busy,
            "note": self.note,
        }


@dataclass(frozen=True, kw_only=True)
class Table:
    """Figures under a title; `rows` have one cell a column, milliseconds unless the column says otherwise."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; rows as mappings from column to cell."""
        return {
            "title": self.title,
            "columns": list(self.columns),
            "rows": [{name: _json(cell) for name, cell in zip(self.columns, row, strict=True)} for row in self.rows],
            "note": self.note,
        }


@dataclass(frozen=True, kw_only=True)
class Section:
    """What one subject gave.

    Attributes:
        name: "pose", "face", "nms", "students" or "stream".
        tables, verdicts: the figures.
        skipped: each part that was not measured, and why.
    """

    name: str
    tables: tuple[Table, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    skipped: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "tables": [table.to_dict() for table in self.tables],
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
            "skipped": list(self.skipped),
        }

    def text(self) -> str:
        """Return the tables, the verdicts and what was skipped, for a terminal."""
        parts = [f"== {self.name} =="]
        for table in self.tables:
            parts.append("\n".join(filter(None, [table.title, render(table.columns, table.rows), table.note])))
        if self.verdicts:
            columns = ("", "what", "ours", "limit", "goal", "reference ms", "ratio", "")
            parts.append(render(columns, [_verdict_cells(verdict) for verdict in self.verdicts]))
        parts += [f"not measured: {reason}" for reason in self.skipped]
        return "\n\n".join(parts)


def render(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table for a terminal: columns padded with blanks, numbers to the right."""
    texts = [[cell_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
    right = [any(isinstance(cell, int | float) for cell in column) for column in zip(*rows, strict=True)] or [
        False
    ] * len(columns)
    lines = [
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in [list(columns), ["-" * width for width in widths], *texts]
    ]
    return "\n".join(lines)


def cell_text(cell: Cell) -> str:
    """Return a cell as a reader wants it: three digits that count, `-` for nothing."""
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        if not math.isfinite(cell):
            return "-"
        decimals = 3 if abs(cell) < 1 else 2 if abs(cell) < 10 else 1 if abs(cell) < 100 else 0
        return f"{cell:.{decimals}f}"
    return str(cell)


def _verdict_cells(verdict: Verdict) -> tuple[Cell, ...]:
    unit = f" {verdict.unit}" if verdict.unit else ""
    remarks = ["busy: processor time"] * verdict.busy + [verdict.note] * bool(verdict.note)
    return (
        "pass" if verdict.held else "OVER",
        verdict.what,
        f"{cell_text(verdict.value)}{unit}",
        f"{verdict.sense} {verdict.limit:g}{unit}",
        None if verdict.goal is None else f"{verdict.goal:g}{unit}",
        verdict.reference_ms,
        None if verdict.ratio is None else f"{verdict.ratio:.1f} x",
        ", ".join(remarks),
    )


def _json(cell: Cell) -> Cell:
    """Round what nobody measures that finely, and drop what JSON cannot hold."""
    if isinstance(cell, float) and not isinstance(cell, bool):
        return float(f"{cell:.6g}") if math.isfinite(cell) else None
    return cell
