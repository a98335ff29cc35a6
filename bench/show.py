"""Rows of a benchmark for people: a table, and what has to be said beneath it."""

from __future__ import annotations

import importlib.util
import io
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["table"]

Cells = tuple[str, ...]
HEAD = ("file", "device", "engine", "threads", "evidence", "p50 ms", "p90 ms", "p99 ms", "load", "first", "MB", "")
STAGES_HEAD = ("file", "device", "engine", "threads", "pre ms", "infer ms", "decode ms", "frame p50", "frame p90")
LEAST_WIDTH = 100


def table(report: Mapping[str, Any]) -> str:
    """Return a report of `edge bench` as text.

    Args:
        report: as `edge bench --json` prints it.
    """
    rows = report["rows"]
    parts = [_draw(HEAD, [_main(row) for row in rows])]
    frames = [_frame(row) for row in rows if row["stages"]]
    if frames:
        parts.append(_draw(STAGES_HEAD, frames))
    parts += _notes(report)
    return "\n".join(parts)


def _main(row: Mapping[str, Any]) -> Cells:
    prediction, infer = row["prediction"], row["infer"] or {}
    if prediction:
        middle = _ms(prediction.get("p50_ms"))
        span = f"{_ms(prediction.get('low_ms'))} to {_ms(prediction.get('high_ms'))}"
        times = (middle, span if middle != "-" else "-", "-")
    else:
        times = (_ms(infer.get("p50_ms")), _ms(infer.get("p90_ms")), _ms(infer.get("p99_ms")))
    memory = row["peak_rss_bytes"]
    return (
        row["artifact"]["file"],
        row["device"],
        row["engine"]["name"],
        str(row["threads"]),
        row["evidence"],
        *times,
        _ms(row["load_ms"]),
        _ms(row["first_ms"]),
        "-" if memory is None else f"{memory / 1e6:.0f}",
        _status(row),
    )


def _frame(row: Mapping[str, Any]) -> Cells:
    stages = row["stages"]
    middle = (_ms(stages[name]["p50_ms"]) for name in ("pre", "infer", "decode"))
    total = stages["total"]
    name, device, engine, threads = (*_main(row)[:4],)
    return (name, device, engine, threads, *middle, _ms(total["p50_ms"]), _ms(total["p90_ms"]))


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
    for row in rows:
        label = f"{row['artifact']['file']} ({row['device']}, {row['engine']['name']}, {row['threads']})"
        lines += [f"{label}: {reason}" for reason in [*row["why"], *row["notes"]]]
    if any(row["busy"] for row in rows):
        lines.append("busy: other work disturbed the wall clock; processor times are in the JSON")
    if any((row["infer"] or {}).get("count", 1000) < 662 and row["infer"] for row in rows):
        lines.append("-: too few runs for that percentile; `--seconds` makes more")
    machines = sorted({_machine(row) for row in rows if _machine(row)})
    return [*dict.fromkeys(lines), *machines]


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
    return ", ".join(facts)


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _draw(head: Cells, rows: Sequence[Cells]) -> str:
    """Return a table by Rich where it is installed, else in plain columns."""
    if importlib.util.find_spec("rich") is None:
        return _plain(head, rows)
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        numeric = name.endswith(("ms", "p50", "p90")) or name in ("threads", "load", "first", "MB")
        drawn.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(cell.replace("[", r"\[") for cell in row))
    stream = io.StringIO()
    width = max(LEAST_WIDTH, shutil.get_terminal_size((160, 24)).columns)
    Console(file=stream, width=width, color_system=None).print(drawn)
    return "\n".join(line.rstrip() for line in stream.getvalue().strip("\n").splitlines()) + "\n"


def _plain(head: Cells, rows: Sequence[Cells]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
    return "\n".join(lines) + "\n"
