"""Rows of a benchmark for people: a table, and what has to be said beneath it."""

from __future__ import annotations

import importlib.util
import io
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from ..runtime.errors import printable

__all__ = ["draw_table", "table"]

Cells = tuple[str, ...]
HEAD = ("file", "device", "engine", "threads", "evidence", "p50 ms", "p90 ms", "p99 ms", "load", "MB", "")
PREDICTED_HEAD = (
    "file",
    "device",
    "engine",
    "threads",
    "evidence",
    "p50 ms",
    "interval ms",
    "budget ms",
    "verdict",
    "from",
)
STAGES_HEAD = ("file", "device", "engine", "threads", "pre ms", "infer ms", "decode ms", "frame p50", "frame p90")
LEAST_WIDTH = 100
SIMULATED = "simulated"


def table(report: Mapping[str, Any]) -> str:
    """Return a report of `edge bench` as text.

    Args:
        report: as `edge bench --json` prints it.
    """
    rows = report["rows"]
    timed = [row for row in rows if not row["prediction"]]
    predicted = [row for row in rows if row["prediction"]]
    parts = []
    if timed or not rows:
        parts.append(draw_table(HEAD, [_main(row) for row in timed]))
    frames = [_frame(row) for row in rows if row["stages"] and row["evidence"] != SIMULATED]
    if frames:
        parts.append(draw_table(STAGES_HEAD, frames))
    if predicted:
        parts.append(draw_table(PREDICTED_HEAD, [_predicted(row) for row in predicted]))
    parts += _notes(report)
    return "\n".join(parts)


def _label(row: Mapping[str, Any]) -> Cells:
    return (row["artifact"]["file"], row["device"], row["engine"]["name"], str(row["threads"]))


def _main(row: Mapping[str, Any]) -> Cells:
    infer, memory = row["infer"] or {}, row["peak_rss_bytes"]
    used = "-" if memory is None else f"{memory / 1e6:.0f}"
    if row["evidence"] == SIMULATED:
        return (*_label(row), row["evidence"], *("-",) * 4, used, row["status"])
    times = (_ms(infer.get(name)) for name in ("p50_ms", "p90_ms", "p99_ms"))
    return (*_label(row), row["evidence"], *times, _ms(row["load_ms"]), used, _status(row))


def _predicted(row: Mapping[str, Any]) -> Cells:
    told = row["prediction"]
    low, high = _ms(told["low_ms"]), _ms(told["high_ms"])
    interval = "-" if low == "-" else f"{low} to {high}"
    budget = f"{told['budget_ms']:g}"
    verdict = row["status"] if row["status"] == "failed" else told["verdict"]
    return (*_label(row), row["evidence"], _ms(told["p50_ms"]), interval, budget, verdict, told["basis"])


def _frame(row: Mapping[str, Any]) -> Cells:
    stages = row["stages"]
    middle = (_ms(stages[name]["p50_ms"]) for name in ("pre", "infer", "decode"))
    total = stages["total"]
    return (*_label(row), *middle, _ms(total["p50_ms"]), _ms(total["p90_ms"]))


def _status(row: Mapping[str, Any]) -> str:
    if row["status"] not in ("complete", "predicted"):
        return str(row["status"])
    return "busy" if row["busy"] else ""


def _notes(report: Mapping[str, Any]) -> list[str]:
    rows = report["rows"]
    lines = []
    if best := report.get("best"):
        threads = "1 thread" if best["threads"] == 1 else f"{best['threads']} threads"
        lines.append(
            f"best: {best['file']} with {best['engine']}, {threads}, on {best['device']}:"
            f" p50 of {best['of']} {_ms(best['p50_ms'])} ms"
        )
    where: dict[str, list[str]] = {}  # rows by what is to be said of them
    for row in rows:
        label = f"{row['artifact']['file']} on {row['device']}"
        for reason in [*row["why"], *row["notes"]]:
            where.setdefault(reason, []).append(label)
    lines += [f"{', '.join(dict.fromkeys(labels))}: {reason}" for reason, labels in where.items()]
    if any(row["evidence"] == SIMULATED for row in rows):
        lines.append("simulated: that code ran, on other hardware, whose clock says nothing of the device: no times")
    rows = [row for row in rows if row["evidence"] != SIMULATED]
    if any(row["busy"] for row in rows):
        lines.append("busy: other work disturbed the wall clock; processor times are in the JSON")
    if any((row["infer"] or {}).get("count", 1000) < 662 and row["infer"] for row in rows):
        lines.append("-: too few runs for that percentile; `--seconds` makes more")
    machines = sorted({_machine(row) for row in report["rows"] if _machine(row)})
    return list(map(printable, [*dict.fromkeys(lines), *machines]))


def _machine(row: Mapping[str, Any]) -> str:
    if not row["launches"] or not row["launches"][0]["started"]:
        return ""
    state = row["launches"][0]["started"]
    name = state.get("board") or state.get("cpu") or "unknown"
    facts = [f"{row['device']}: {name}", f"{state.get('cores')} cores", f"{state.get('architecture')}"]
    if state.get("governor"):
        facts.append(f"governor {state['governor']}")
    if state.get("temperature_c") is not None:
        facts.append(f"{state['temperature_c']:.0f} C")
    return printable(", ".join(facts))  # the device's own words


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def draw_table(head: Cells, rows: Sequence[Cells]) -> str:
    """Return a table by Rich where it is installed, else in plain columns; no cell can drive a terminal."""
    rows = [tuple(map(printable, row)) for row in rows]
    if importlib.util.find_spec("rich") is None:
        return _plain(head, rows)
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        numeric = name.endswith(("ms", "p50", "p90", "%", "MACs")) or name in ("threads", "load", "first", "MB")
        drawn.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    stream = io.StringIO()
    width = max(LEAST_WIDTH, shutil.get_terminal_size((160, 24)).columns)
    Console(file=stream, width=width, color_system=None, markup=False, emoji=False).print(drawn)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    return "\n".join(line for line in lines if line) + "\n"


def _plain(head: Cells, rows: Sequence[Cells]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
    return "\n".join(lines) + "\n"
