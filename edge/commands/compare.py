"""`edge compare`: two artifacts measured in turns, or two stored results side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..run_output import print_result, shown_name, shown_text
from ..runtime.errors import InconclusiveError, InputError
from ..runtime.progress import Progress

if TYPE_CHECKING:
    from ..bench.run_facts import RunRow
    from ..bench.stored import Pair, TimeRatio

__all__ = ["command"]

SCHEMA = 1
SUFFIXES = (".onnx", ".tflite")
STORED = ("results.json", "manifest.json")
DISCLAIMER = (
    "No verdict: stored times of the same code differ by over 10 % in a fifth of all pairs of runs on a shared machine."
    " `edge compare OLD.tflite NEW.tflite` measures both in turns."
)


@click.command(context_settings={"max_content_width": 110})
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--db",
    type=click.Path(path_type=Path),
    default=Path(".edge/history.db"),
    show_default=True,
    metavar="FILE",
    help="Where history ids, and metrics of artifacts, are looked up.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "onnxruntime", "litert"]),
    default="auto",
    show_default=True,
    help="What executes two artifacts.",
)
@click.option("--pairs", type=click.IntRange(10, 10_000), default=60, show_default=True, help="Of two artifacts.")
@click.option("--across-evidence", is_flag=True, help="Hold measured figures against predicted ones all the same.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(first: str, second: str, db: Path, engine: str, pairs: int, across_evidence: bool, as_json: bool) -> None:
    """Compare two artifacts, or two stored results.

    Two artifacts are measured in turns, in one process and in pairs of random order: the answer has an interval, and
    the smallest slow-down that such a comparison sees. Two stored results (results.json, a manifest, what `edge eval
    --json` printed, a folder that holds one of them, or the number of a run of `edge history`) are laid side by side
    with ratios, intervals and everything that was different; a verdict on stored times is not given.

    Exits with 0 where the two could be compared, whatever came of it, and with 6 where nothing can be said.

    \b
    Example:
        edge compare old/face-int8.tflite new/face-int8.tflite
        edge compare runs/monday runs/tuesday
        edge compare 12 15
    """
    sides = [_resolve(word, db) for word in (first, second)]
    if isinstance(sides[0], Path) and isinstance(sides[1], Path):
        report, text = _compare_artifacts(sides[0], sides[1], engine, pairs, db)
    elif isinstance(sides[0], _Stored) and isinstance(sides[1], _Stored):
        report, text = _compare_stored(sides[0], sides[1], across_evidence)
    else:
        raise InputError(
            "one is an artifact and the other a stored result",
            expected="two of a kind",
            hint="measure the artifact first",
        )
    print_result(json.dumps({"schema": SCHEMA, "command": "compare", **report}, allow_nan=False) if as_json else text)
    if isinstance(sides[0], _Stored) and all(pair["refused"] for pair in report["pairs"]):
        reasons = [pair["refused"] for pair in report["pairs"]]
        raise InconclusiveError(
            "nothing can be said of these two",
            got=reasons[0] if reasons else "they have no row in common",
            hint="`--across-evidence` shows them all the same" if reasons and "grades" in reasons[0] else None,
        )


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """A stored document and where it is from."""

    name: str
    document: dict[str, Any]


def _resolve(word: str, db: Path) -> Path | _Stored:
    """Return an artifact's path, or a stored document."""
    from ..bench.run_facts import read_documents

    path = Path(word)
    if word.isascii() and word.isdigit() and not path.exists():
        from ..bench.history import History

        with History(db) as history:
            return _Stored(name=f"run {int(word)}", document=history.document(int(word)))
    if path.is_dir():
        inside = next((path / name for name in STORED if (path / name).is_file()), None)
        if inside is None:
            raise InputError(f"folder `{shown_name(path)}` holds no results", expected=" or ".join(STORED))
        path = inside
    if not path.exists():
        raise InputError(f"`{shown_name(path)}` does not exist", expected="a file, a folder or the number of a run")
    if path.suffix.lower() in SUFFIXES:
        return path
    documents = read_documents(path)
    if len(documents) != 1:
        raise InputError(f"`{shown_name(path)}` holds several results", expected="one", got=len(documents))
    return _Stored(name=shown_name(path), document=documents[0])


def _compare_stored(first: _Stored, second: _Stored, across: bool) -> tuple[dict[str, Any], str]:
    from ..bench.run_facts import run_facts
    from ..bench.stored import compare_documents

    facts = [run_facts(side.document, side.name) for side in (first, second)]
    if facts[0].kind != facts[1].kind:
        raise InconclusiveError(
            "nothing can be said of results of two kinds", expected="two of one verb",
            got=f"edge {facts[0].kind} and edge {facts[1].kind}",
        )  # fmt: skip
    found, alone = compare_documents(first.document, second.document, across_evidence=across)
    report = {
        "kind": "stored",
        "verdict": None,
        "first": {"source": first.name, "began": facts[0].began, "edge": facts[0].edge},
        "second": {"source": second.name, "began": facts[1].began, "edge": facts[1].edge},
        "pairs": [pair.to_dict() for pair in found],
        "alone": alone,
    }
    lines = [f"first:  {_source(first, facts[0])}", f"second: {_source(second, facts[1])}"]
    for pair in found:
        lines += ["", *_pair_lines(pair)]
    lines += ["", *alone] if alone else []
    lines += ["", DISCLAIMER] if any(pair.times for pair in found) else []
    return report, "\n".join(map(shown_text, lines))


def _source(side: _Stored, facts: Any) -> str:
    return ", ".join(filter(None, [side.name, facts.kind, facts.edge and f"edge {facts.edge}", facts.began]))


def _pair_lines(pair: Pair) -> list[str]:
    from ..bench.findings import cell_text

    lines = [_name(pair.first)]
    lines += [f"  ! {line}" for line in pair.differences]
    if pair.refused:
        lines.append(f"  not compared: {pair.refused}")
    for one in pair.times:
        lines.append(f"  {one.name:<18} {cell_text(one.first)} -> {cell_text(one.second)} ms, {_ratio(one)}")
    for name, (old, new) in pair.figures.items():
        change = f", {100 * (new / old - 1):+.2f} %" if old > 0 and not name.startswith(("metric", "parity")) else ""
        told = [f"{value:,.0f}" if value.is_integer() and value >= 1000 else f"{value:.4g}" for value in (old, new)]
        lines.append(f"  {name:<18} {told[0]} -> {told[1]}{change}")
    return lines


def _ratio(one: TimeRatio) -> str:
    if one.low is None or one.high is None:
        return f"ratio {one.ratio:.3f}; one launch a side has no interval"
    reach = "" if one.smallest is None else f"; sees {100 * one.smallest:.1f} % at best"
    interval = f"[{one.low:.3f}, {one.high:.3f}] at {100 * one.confidence:.0f} % ({one.method})"
    return f"ratio {one.ratio:.3f} {interval}{reach}"


def _name(row: RunRow) -> str:
    threads = None if row.threads is None else "1 thread" if row.threads == 1 else f"{row.threads} threads"
    return ", ".join(filter(None, [f"{row.model} {row.variant}", row.device, row.engine, threads, row.evidence]))


def _compare_artifacts(first: Path, second: Path, engine: str, pairs: int, db: Path) -> tuple[dict[str, Any], str]:
    from ..bench.duel import answer_lines, duel

    with Progress("comparing", lines=False) as progress:
        if progress.live:
            progress.step(f"{pairs} pairs in one process")
        found = duel(first, second, engine=engine, count=pairs)
    facts = [_artifact_facts(path, db) for path in (first, second)]
    report = {
        "kind": "artifacts",
        "verdict": str(found.answer),
        "evidence": "measured",
        "latency": found.to_dict(),
        "first": facts[0],
        "second": facts[1],
    }
    lines = [
        *answer_lines(shown_name(first), shown_name(second), found),
        f"smallest slow-down that such a comparison sees in 95 of 100 cases: {100 * found.smallest:.1f} %",
    ]
    return report, "\n".join(map(shown_text, [*lines, "", *_side_lines(facts)]))


def _artifact_facts(path: Path, db: Path) -> dict[str, Any]:
    """Return what is known of a file: from its card, from the manifest beside it, from the history."""
    from ..bench.record import Artifact
    from ..runtime.embedded import read_card

    artifact = Artifact.of(path, read_card(path))
    row = _manifest_row(path, artifact.sha256)
    return {
        **artifact.to_dict(),
        "parity": None if row is None else {k: v for k, v in row.figures.items() if k.startswith("parity_")},
        "metric": _metric(artifact.sha256, db),
    }


def _manifest_row(path: Path, sha256: str) -> RunRow | None:
    """Return what the manifest of the file's bundle says of it; None where it speaks of another file."""
    from ..bench.run_facts import read_documents, run_facts

    beside = path.parent / "manifest.json"
    if not beside.is_file():
        return None
    rows = [row for document in read_documents(beside) for row in run_facts(document).rows]
    return next((row for row in rows if row.sha256 == sha256), None)


def _metric(sha256: str, db: Path) -> dict[str, Any] | None:
    """Return the latest metric that the history has of a file."""
    if not db.is_file():
        return None
    from ..bench.history import History

    with History(db) as history:
        rows = [row for run in history.runs(sha256=sha256) if run.kind == "eval" for row in run.rows]
    if not rows:
        return None
    figures = {
        name: rows[0].figures.get(word)
        for name, word in (("value", "metric"), ("low", "metric_low"), ("high", "metric_high"))
    }
    return {"name": rows[0].conditions.get("metric"), "data": rows[0].conditions.get("data"), **figures}


def _side_lines(facts: Sequence[dict[str, Any]]) -> list[str]:
    """Return what else is known of both files, a line each."""
    lines = []
    for word in ("model", "precision", "target", "bytes", "sha256"):
        old, new = (side[word] for side in facts)
        same = " (the same)" if old == new else f", {100 * (new / old - 1):+.2f} %" if word == "bytes" else ""
        shown = [f"{value:,}" if isinstance(value, int) else str(value)[:16] for value in (old, new)]
        lines.append(f"{word:<18} {shown[0]} -> {shown[1]}{same}")
    parities = [side["parity"] or {} for side in facts]
    for name in dict.fromkeys([*parities[0], *parities[1]]):
        lines.append(f"{name:<18} {_number(parities[0].get(name))} -> {_number(parities[1].get(name))}")
    if any(side["metric"] for side in facts):
        told = [
            "-" if side["metric"] is None else f"{side['metric']['name']} {_number(side['metric']['value'])}"
            f" [{_number(side['metric']['low'])}, {_number(side['metric']['high'])}] on {side['metric']['data']}"
            for side in facts
        ]  # fmt: skip
        lines.append(f"{'metric':<18} {told[0]} -> {told[1]}")
    else:
        lines.append(f"{'metric':<18} not known; `edge eval A B --json | edge history add -` keeps it")
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
