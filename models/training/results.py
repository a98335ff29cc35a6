"""What training was worth: figures of `edge eval` as rows of one JSON file, and README's tables of them. No torch here.

    edge eval plain.safetensors kd.safetensors edge-out/NAME/NAME-int8.onnx --model NAME --json |
        python -m edge.models.training.results results.json NAME plain distilled int8-onnx --shipped distilled

adds one row a target, or replaces the one of that network and variant. Costs come from where they stand already: the
training card beside a checkpoint, the manifest beside a file. `python -m edge.export.readme` writes the tables.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ...runtime.errors import InputError

__all__ = ["FILES", "NETWORKS", "TABLES", "Row", "emotion", "pruning", "read_rows", "rows_of", "students", "write_rows"]

SCHEMA = 1
# How the weights of a network came about, from nothing to all; and the files made of those that ship.
NETWORKS = ("untrained", "plain", "distilled", "pruned", "qat")
FILES = ("int8-onnx", "int8-tflite")
# Nano-B before pruning, pruned by the search, and pruned to that size by simpler rules.
PRUNED = {
    "face-nanob-dense": "dense",
    "face-nanob": "B-FPGM",
    "face-nanob-uniform": "uniform",
    "face-nanob-magnitude": "magnitude",
}
LIMIT_BYTES, LIMIT_MS = 2_000_000, 50.0  # the goals of the emotion student


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network or file, judged.

    Attributes:
        student: name of the network.
        variant: one of `NETWORKS` or `FILES`.
        metric: "OKS-AP", "AP" or "CCC".
        value, low, high: 0..1 (CCC -1..1), and its 95 % interval.
        samples, data: how many of what.
        machine, command: what judged it, or trained it where that is known.
        parts: further figures by name.
        drop: value, low and high of what a file lost against the network, paired, in the metric's unit.
        bytes: of a file.
        parameters, macs: of a network.
        minutes: of training.
        latency_ms: of a file, one thread, on the machine that exported it.
        shipped: these weights are those in the package.
    """

    student: str
    variant: str
    metric: str
    value: float
    low: float
    high: float
    samples: int
    data: str
    machine: str
    command: str
    parts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    drop: Mapping[str, float] | None = None
    bytes: int | None = None
    parameters: int | None = None
    macs: int | None = None
    minutes: float | None = None
    latency_ms: float | None = None
    shipped: bool = False

    def __post_init__(self) -> None:
        if self.variant not in (*NETWORKS, *FILES):
            raise InputError(
                f"variant of `{self.student}` is not known",
                expected=" | ".join((*NETWORKS, *FILES)),
                got=str(self.variant)[:40],
            )


Rows = Sequence[Row]


def rows_of(figures: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a results file's JSON.

    Raises:
        InputError: of another schema, or a row has fields too many or too few; it is named by number.
    """
    if figures.get("schema") != SCHEMA or figures.get("command") != "results":
        raise InputError("no results of training", expected={"schema": SCHEMA, "command": "results"})
    rows = []
    for number, values in enumerate(figures["rows"], 1):
        try:
            rows.append(Row(**values))
        except TypeError as exc:
            raise InputError(f"row {number} of the results is malformed", got=str(exc)[-80:]) from exc
    return rows


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a results file; an absent one has none.

    Raises:
        InputError: it is malformed.
    """
    if not path.exists():
        return []
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise InputError(f"`{path}` is not JSON", got=str(exc)[:80]) from exc
    return rows_of(figures)


def write_rows(path: Path, rows: Rows) -> None:
    """Write a results file, sorted, so that a diff shows what changed."""
    order = (*NETWORKS, *FILES)
    ordered = sorted(rows, key=lambda row: (row.student, order.index(row.variant)))
    figures = {"schema": SCHEMA, "command": "results", "rows": [dataclasses.asdict(row) for row in ordered]}
    path.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")


# --- tables -------------------------------------------------------------------


def students(rows: Rows) -> str:
    """Return the table of what the students learnt and what INT8 costs them, as Markdown."""
    mine = [row for row in rows if row.student not in PRUNED or row.student in ("face-nanob", "face-nanob-dense")]
    shown = [variant for variant in NETWORKS if any(row.variant == variant for row in mine)]
    head = ("student", "metric", *shown, "INT8 ONNX", "INT8 TFLite", "INT8 bytes", "parameters", "MMACs")
    lines = []
    for name, found in _by_student(mine).items():
        best = _best(found)
        files = [found.get(variant) for variant in FILES]
        cells = [_interval(found.get(variant)) for variant in shown]
        counts = [_count(best.parameters), _mega(best.macs)] if best else ["-", "-"]
        size = " / ".join(_count(row.bytes if row else None) for row in files)
        metric = next(iter(found.values())).metric
        lines.append((name, metric, *cells, *(_with_drop(row) for row in files), size, *counts))
    note = (
        "Bold: the weights that ship. In brackets 95 % intervals; files lose points (hundredths) against them, paired."
    )
    return "\n\n".join([_table(head, lines), " ".join([note, _judged(mine), _trained(mine)]).strip()])


def pruning(rows: Rows) -> str:
    """Return the table of Nano-B before and after pruning, by search and by simpler rules, as Markdown."""
    found = _by_student([row for row in rows if row.student in PRUNED])
    parts = ("easy", "medium", "hard")
    head = ("Nano-B", "parameters", "MMACs", "INT8 bytes", "AP FP32", *parts, "AP INT8", *parts)
    lines = []
    for name, word in PRUNED.items():
        if name not in found:
            continue
        best, file = _best(found[name]), found[name].get("int8-tflite")
        cells = [
            _count(best.parameters if best else None),
            _mega(best.macs if best else None),
            _count(file.bytes if file else None),
        ]
        for row in (best, file):
            cells += [_interval(row, bold=False), *(_part(row, part) for part in parts)]
        lines.append((word, *cells))
    note = "INT8: the TFLite file. Uniform and magnitude pruning go to the size that the search found."
    return "\n\n".join([_table(head, lines), f"{note} {_judged(list(_flat(found)))}"])


def emotion(rows: Rows) -> str:
    """Return the table of the emotion students against the goals of size and time, as Markdown."""
    found = _by_student([row for row in rows if row.metric == "CCC"])
    limits = f"under {LIMIT_BYTES / 1e6:g} MB", f"under {LIMIT_MS:g} ms"
    head = ("student", "parameters", "MMACs", "INT8 bytes", limits[0], "INT8 ms", limits[1], "CCC FP32", "CCC INT8")
    lines = []
    for name, variants in found.items():
        best, file = _best(variants), variants.get("int8-tflite")
        size, ms = (file.bytes, file.latency_ms) if file else (None, None)
        costs = [
            _count(best.parameters if best else None),
            _mega(best.macs if best else None),
            _count(size),
            _holds(size, LIMIT_BYTES),
        ]
        times = ["-" if ms is None else f"{ms:.2f}", _holds(ms, LIMIT_MS)]
        lines.append((name, *costs, *times, _interval(best, bold=False), _with_drop(file)))
    machines = sorted({row.machine for row in _flat(found) if row.latency_ms is not None})
    note = f"INT8: the TFLite file; ms: one thread on {'; '.join(machines)}." if machines else "INT8: the TFLite file."
    return "\n\n".join([_table(head, lines), f"{note} {_judged(list(_flat(found)))}"])


# By the section of README that each one fills.
TABLES: Mapping[str, Callable[[Rows], str]] = {"students": students, "pruning": pruning, "emotion": emotion}


def _by_student(rows: Rows) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row.student, {})[row.variant] = row
    return found


def _flat(found: Mapping[str, Mapping[str, Row]]) -> Iterable[Row]:
    return (row for variants in found.values() for row in variants.values())


def _best(found: Mapping[str, Row]) -> Row | None:
    """Return the network that ships, or else the one that most was done for."""
    made = [found[variant] for variant in NETWORKS if variant in found]
    return next((row for row in made if row.shipped), made[-1] if made else None)


def _interval(row: Row | None, bold: bool = True) -> str:
    if row is None:
        return "-"
    text = f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"
    return f"**{text}**" if row.shipped and bold else text


def _with_drop(row: Row | None) -> str:
    if row is None:
        return "-"
    if row.drop is None:
        return f"{row.value:.3f}"
    lost, low, high = (round(100 * row.drop[word], 1) + 0.0 for word in ("value", "low", "high"))  # never -0.0
    return f"{row.value:.3f}, loses {lost:.1f} [{low:.1f}, {high:.1f}]"


def _part(row: Row | None, name: str) -> str:
    return f"{row.parts[name]:.3f}" if row is not None and name in row.parts else "-"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _mega(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:,.1f}"


def _holds(value: float | None, limit: float) -> str:
    return "-" if value is None else "yes" if value < limit else "**no**"


def _judged(rows: Rows) -> str:
    sets = sorted({(row.samples, row.data) for row in rows})
    return f"Judged on {'; '.join(f'{samples} samples of {data}' for samples, data in sets)}." if sets else ""


def _trained(rows: Rows) -> str:
    runs = [f"{row.student} {row.variant} {row.minutes:.0f} ({row.machine})" for row in rows if row.minutes is not None]
    return f"Minutes of training: {', '.join(runs)}." if runs else ""


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return "\n".join([*rows, *(f"| {' | '.join(cells)} |" for cells in lines)])


# --- from `edge eval --json` --------------------------------------------------


def _row(report: Mapping[str, Any], index: int, student: str, variant: str, shipped: bool) -> Row:
    target, metric = report["targets"][index], report["targets"][index]["metric"]
    path = Path(target["file"])
    costs = _of_file(path) if variant in FILES else _of_network(path, student)
    return Row(
        student=student,
        variant=variant,
        metric=metric["name"],
        **{word: metric[word] for word in ("value", "low", "high", "samples", "data", "parts")},
        drop=target["drop"] if variant in FILES else None,
        shipped=shipped,
        **costs,
    )


def _of_file(path: Path) -> dict[str, Any]:
    """Return the costs of an exported file from the manifest beside it."""
    manifest = json.loads((path.parent / "manifest.json").read_text(encoding="utf-8"))
    return {
        "bytes": path.stat().st_size,
        "latency_ms": manifest["variants"][path.name]["latency"]["best_ms"],
        "machine": manifest["machine"]["cpu"],
        "command": f"edge export {manifest['model']}",
    }


def _of_network(path: Path, student: str) -> dict[str, Any]:
    """Return the costs of a checkpoint: its training's from the card beside it, its own by looking at the network."""
    from .. import registry
    from ..checkpoint import load_model  # heavy: torch
    from ..inspect import inspect_module
    from ..shipped import trained

    entry = registry.get("face-nanob" if student in PRUNED else student)
    counts = inspect_module(load_model(entry, path)[0].to("meta"), entry.card(None).input.shape)
    found = trained(path)
    facts = found.training if found else {}
    machine = facts.get("machine") or {}
    hours = facts.get("hours")
    return {
        "parameters": counts.parameters,
        "macs": counts.macs,
        "minutes": None if hours is None else 60 * hours,
        "machine": str(machine.get("device", "")) if isinstance(machine, Mapping) else str(machine),
        "command": str(facts.get("command", "")),
    }


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.argument("student")
@click.argument("variants", nargs=-1, required=True, type=click.Choice([*NETWORKS, *FILES]))
@click.option("--report", type=click.File(encoding="utf-8"), default="-", help="What `edge eval --json` printed.")
@click.option("--shipped", type=click.Choice(NETWORKS), help="The variant whose weights ship.")
def main(results: Path, student: str, variants: tuple[str, ...], report: Any, shipped: str | None) -> None:
    """Take the targets of `edge eval --json`, one a variant and in that order, into a results file."""
    told = json.load(report)
    if len(told["targets"]) != len(variants):
        raise click.UsageError(f"{len(told['targets'])} targets were judged, {len(variants)} variants are named")
    new = [_row(told, index, student, variant, variant == shipped) for index, variant in enumerate(variants)]
    replaced = {(row.student, row.variant) for row in new}
    write_rows(results, [row for row in read_rows(results) if (row.student, row.variant) not in replaced] + new)


if __name__ == "__main__":
    main()
