"""Write the tables of README from manifests, so that nobody types a figure.

    python -m edge.export.readme README.md edge-out
    python -m edge.export.readme README.md time.json --section time
    python -m edge.export.readme README.md micro.json --section micro
    python -m edge.export.readme README.md footprint.json --section footprint
    python -m edge.export.readme README.md models/weights/results.json --section students   # or pruning, emotion

replaces what stands between `<!-- table: variants -->`, or the section named, and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..models.training import results
from .table import columns, legend, rows

__all__ = ["footprint", "markdown", "micro", "replace_section", "timing"]


def markdown(manifests: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of variants as Markdown."""
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows(manifests)]
    return "\n".join([*lines, "", legend(manifests)])


def replace_section(text: str, name: str, body: str) -> str:
    """Return the text with the body of one marked section replaced.

    Raises:
        click.ClickException: the text has no such section.
    """
    pattern = re.compile(rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise click.ClickException(f"no section `{name}`")
    return pattern.sub(lambda found: f"{found[1]}{body}\n{found[2]}", text, count=1)


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
WRITERS = {"micro": micro, "footprint": footprint, None: timing}


@click.command()
@click.argument("readme", type=click.Path(path_type=Path, exists=True))
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--section", default="variants", show_default=True, help="Which marked section is replaced.")
def main(readme: Path, source: Path, section: str) -> None:
    """Write a section of README: from a folder of bundles, or from the JSON of `edge.bench` or of trainings."""
    if source.is_dir():
        manifests = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(source.glob("*/manifest.json"))]
        body = markdown(manifests)
    elif (figures := json.loads(source.read_text(encoding="utf-8"))).get("command") == "results":
        if section not in results.TABLES:
            raise click.UsageError(f"results of training fill the sections {', '.join(results.TABLES)}")
        body = results.TABLES[section](results.rows_of(figures))
    else:
        body = WRITERS[figures.get("command")](figures)
    text = replace_section(readme.read_text(encoding="utf-8"), section, body)
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
