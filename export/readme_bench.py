"""README's tables of what `edge.bench` measured, as Markdown.

The sections, and the commands whose JSON fills them:

    time        python -m edge.bench.export_time
    micro       python -m edge.bench.micro --json
    footprint   python -m edge.bench.footprint --json
    overhead    python -m edge.bench.overhead BUNDLE...
    alarms      python -m edge.bench.alarms ARTIFACT...
    host, rpi4, browser    edge bench BUNDLE... --device ... --json
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["WRITERS", "alarms", "bench", "footprint", "micro", "overhead", "timing"]

SHARES = re.compile(r"takes? \d+ ?% of the time, elsewhere \d+ ?% at most")  # these differ from file to file


def timing(figures: Mapping[str, Any]) -> str:
    """Return the figures of `python -m edge.bench.export_time` as Markdown."""
    by_hand = ", ".join(f"{name} {seconds:g}" for name, seconds in figures["onnx2tf_by_hand_s"].items())
    ours = "`edge export --target tflite`: five students, three precisions, both routes, search, parity; empty cache"
    theirs = f"onnx2tf by hand on the same ONNX files, one by one: float files only, nothing checked ({by_hand})"
    stages = figures["edge_stages"].partition("(")[2].rstrip(")")
    return "\n".join(
        [
            "| what | s |",
            "| --- | --- |",
            f"| {ours} | {figures['edge_s']:g} |",
            f"| of that: {stages} | |",
            f"| the same command again | {figures['edge_again_s']:g} |",
            f"| {theirs} | {figures['onnx2tf_by_hand_total_s']:g} |",
            "",
            f"Ratio {figures['ratio']:g}, measured in one run on {figures['machine']}.",
        ]
    )


def micro(figures: Mapping[str, Any]) -> str:
    """Return the figures of `python -m edge.bench.micro --json` as Markdown: limits, students, and the rest."""
    sections = {section["name"]: section for section in figures["sections"]}
    verdicts = [verdict for section in figures["sections"] for verdict in section["verdicts"]]
    parts = [
        _table(
            ("what", "ours", "limit", "reference, ms", "ratio", "verdict"),
            [
                (
                    verdict["what"],
                    _with_unit(verdict["value"], verdict["unit"]),
                    f"{'at most' if verdict['sense'] == '<=' else 'at least'} "
                    + _with_unit(verdict["limit"], verdict["unit"]),
                    _number(verdict["reference_ms"]),
                    "-" if verdict["ratio"] is None else f"{_number(verdict['ratio'])} x",
                    ("held" if verdict["held"] else "**over**") + (" (busy)" if verdict["busy"] else ""),
                )
                for verdict in verdicts
            ],
        )
    ]
    for table in sections.get("students", {}).get("tables", ()):
        columns, lines = _parts(table) if "part" in table["columns"] else _best(table)
        parts += [f"{table['title'][0].upper()}{table['title'][1:]}:", _table(columns, lines), table["note"]]
    skipped = [f"{section['name']}: {reason}" for section in figures["sections"] for reason in section["skipped"]]
    if skipped:
        parts.append(f"Not measured: {'; '.join(skipped)}.")
    busy = "; busy: processor time, because the machine had other work" if any(v["busy"] for v in verdicts) else ""
    parts.append(f"Medians, one thread, reference in turns with ours on the same arrays{busy}. {_host(figures)}.")
    return "\n\n".join(parts)


def footprint(figures: Mapping[str, Any]) -> str:
    """Return the figures of `python -m edge.bench.footprint --json` as Markdown: totals, then what they are made of."""
    used = {}
    totals = []
    for install in figures["installs"]:
        used[install["engine"]] = install["used_mb"] - install["uncompiled_mb"]
        where = f"installed here, Python {figures['machine']['python']}"
        totals.append((install["engine"], where, install["total_mb"], install["uncompiled_mb"], install["used_mb"], ""))
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for wheel in figures["wheels"]:
        groups.setdefault((wheel["engine"], wheel["platform"], wheel["python"]), []).append(wheel)
    for (engine, platform, python), wheels in groups.items():
        bare = sum(wheel["unpacked_bytes"] for wheel in wheels) / 1e6
        compiled = sum(wheel["compiled_bytes"] for wheel in wheels) / 1e6
        missing = ", ".join(wheel["name"] for wheel in wheels if wheel["file"] is None)
        where = f"{platform}, Python {python}, computed from wheels"
        remark = f"missing: {missing}" if missing else f"{len(wheels)} of {len(wheels)}"
        totals.append((engine, where, bare + compiled, bare, bare + used.get(engine, 0.0), remark))
    parts = [
        _table(
            ("engine", "where", "MB by pip", "MB by `pip install --no-compile`", "MB after first use", "wheels"),
            [(*row[:2], *(f"{value:.1f}" for value in row[2:5]), row[5] or "-") for row in totals],
        )
    ]
    for install in figures["installs"]:
        sizes = ", ".join(
            f"{size['name']} {size['version']} {size['size_bytes'] / 1e6:.1f}" for size in install["sizes"]
        )
        left_out = ", ".join(install["left_out"])
        parts.append(f"MB by distribution with {install['engine']}: {sizes}; not counted: {left_out}.")
    parts.append(f"The goal is {figures['goal_mb']:g} MB (10**6 bytes) with LiteRT. {_host(figures)}.")
    return "\n\n".join(parts)


def overhead(figures: Mapping[str, Any]) -> str:
    """Return the figures of `python -m edge.bench.overhead` as Markdown."""
    lines = [
        [
            row["file"],
            row["engine"],
            _number(row["bare_ms"]),
            f"{_percent(row['added'])} [{_percent(row['low'])}, {_percent(row['high'])}]",
            _percent(row["reported"]),
            _held(row["added"] <= figures["limit"] and abs(row["reported"]) <= figures["reported_limit"]),
        ]
        for row in figures["rows"]
    ]
    limits = f"at most {_percent(figures['limit'])} added, and times told within {_percent(figures['reported_limit'])}"
    return "\n".join(
        [
            _table(("file", "engine", "bare loop, ms", "harness adds", "times told are off by", "verdict"), lines),
            "",
            f"Middle ratios of processor times, {figures['rows'][0]['pairs']} pairs in random order, one thread, with"
            f" 95 % intervals; held: {limits}. {_host(figures)}.",
        ]
    )


def alarms(figures: Mapping[str, Any]) -> str:
    """Return the figures of `python -m edge.bench.alarms` as Markdown."""
    lines = [
        [
            row["file"],
            row["engine"],
            f"{row['alarms']} of {row['same']}",
            f"{row['caught']} of {row['slower']}",
            f"{row['slightly_caught']} of {row['slightly']}",
            _percent(row["smallest"]),
            " to ".join(f"{value:.1f}" for value in row["load"]),
        ]
        for row in figures["rows"]
    ]
    head = ("file", "engine", "false alarms", "+10 % found", "+5 % found", "smallest found in 95 %", "load")
    return "\n".join(
        [_table(head, lines), "", f"Comparisons of {figures['rows'][0]['pairs']} pairs. {_host(figures)}."]
    )


def bench(report: Mapping[str, Any]) -> str:
    """Return a report of `edge bench --json` as Markdown: a line a file, columns by number of threads.

    Args:
        report: rows of one device.
    """
    rows = report["rows"]
    threads = sorted({row["threads"] for row in rows})
    predicted = any(row["prediction"] for row in rows)
    files: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        files.setdefault((row["artifact"]["file"], row["engine"]["name"]), {})[row["threads"]] = row
    words = ("p50 ms [90 %]", "verdict") if predicted else ("p50 / p90 ms",)
    head = ["file", "engine", *(f"{_threads(count)}: {word}" for count in threads for word in words)]
    if any(row["stages"] for row in rows):
        head.append("pre + infer + decode, ms")
    lines = []
    for (file, engine), found in files.items():
        cells = [cell for count in threads for cell in (_told if predicted else _timed)(found.get(count))]
        stages = [found[threads[0]]["stages"]] if threads[0] in found and len(head) > 2 + len(cells) else []
        cells += [_stages(one) for one in stages]
        lines.append([file, engine, *cells, *[""] * (len(head) - 2 - len(cells))])
    return "\n".join([_table(head, lines), "", _where(rows)])


def _timed(row: Mapping[str, Any] | None) -> list[str]:
    if row is None or not row["infer"]:
        return ["-" if row is None else row["status"]]
    busy = " (busy)" if row["busy"] else ""
    return [f"{_number(row['infer']['p50_ms'])} / {_number(row['infer']['p90_ms'])}{busy}"]


def _told(row: Mapping[str, Any] | None) -> list[str]:
    told = row and row["prediction"]
    if not told:
        return ["-", "-"]
    if told["p50_ms"] is None:
        return ["abstains", told["verdict"]]
    interval = f"[{_number(told['low_ms'])}, {_number(told['high_ms'])}]"
    return [f"{_number(told['p50_ms'])} {interval}", f"{told['verdict']} ({told['basis']})"]


def _stages(stages: Mapping[str, Any] | None) -> str:
    if not stages:
        return "-"
    return " + ".join(_number(stages[name]["p50_ms"]) for name in ("pre", "infer", "decode"))


def _where(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what stands beneath a table: the evidence, the machine, and what was remarked."""
    evidence = " and ".join(sorted({f"{row['evidence']} ({row['device']})" for row in rows}))
    states = [launch["started"] for row in rows for launch in row["launches"][:1] if launch["started"]]
    machines = sorted({f"{state.get('board') or state.get('cpu')}, {state.get('cores')} cores" for state in states})
    engines = sorted(
        {f"{row['engine']['name']} {row['engine']['version']}" for row in rows if row["engine"]["version"]}
    )
    told = [row["prediction"] for row in rows if row["prediction"]]
    parts = [f"Evidence: {evidence}", *machines, *([", ".join(engines)] if engines else [])]
    if told:
        parts.append(f"budget {told[0]['budget_ms']:g} ms, coefficients {told[0]['version']}")
    notes = sorted(
        {SHARES.sub("have a larger share of the time than elsewhere", note) for one in told for note in one["notes"]}
    )
    return "; ".join([*parts, *notes]) + "."


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if abs(share) >= 0.0995 else f"{100 * share:.1f} %"


def _held(held: bool) -> str:
    return "held" if held else "**over**"


def _best(table: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return columns and lines of the students' stages, of the best engine only."""
    columns = [name for name in table["columns"] if name not in ("best", "busy")]
    return columns, [[_number(row[name]) for name in columns] for row in table["rows"] if row["best"]]


def _parts(table: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return columns and lines of the stages' parts, one line a stage."""
    stages: dict[tuple[str, str], dict[str, float]] = {}
    for row in table["rows"]:
        stages.setdefault((row["model"], row["stage"]), {})[row["part"]] = row["ms"]
    lines = []
    for (model, stage), times in stages.items():
        whole = times.pop("whole")
        lines.append([model, stage, _number(whole), ", ".join(f"{part} {_number(ms)}" for part, ms in times.items())])
    return ["model", "stage", "ms", "of that"], lines


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return "\n".join([*head, *(f"| {' | '.join(cells)} |" for cells in lines)])


def _number(cell: str | float | None) -> str:
    """Return a cell with three digits that count; words as they are."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    decimals = 3 if abs(cell) < 1 else 2 if abs(cell) < 10 else 1 if abs(cell) < 100 else 0
    return f"{cell:.{decimals}f}"


def _with_unit(value: float | None, unit: str) -> str:
    number = "-" if value is None else f"{value:g}" if value == round(value) else _number(value)
    return f"{number} {unit}".strip()


def _host(figures: Mapping[str, Any]) -> str:
    machine = figures["machine"]
    engines = "".join(f", {name} {version}" for name, version in machine["engines"].items())
    return f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, NumPy {machine['numpy']}{engines}"


# From the word in a JSON file's `command` to what makes Markdown of it; `edge.bench.export_time` writes none.
WRITERS = {
    "micro": micro,
    "footprint": footprint,
    "overhead": overhead,
    "alarms": alarms,
    "bench": bench,
    None: timing,
}
