"""What the history keeps of a document: a row for each file and way of running it, with its figures by name.

Three kinds of document come in: results of `edge bench`, of `edge eval --json`, and manifests of `edge export`. All are
files from anywhere; each value is looked at before it is taken, and the document itself is kept as it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..runtime.errors import InputError
from .json_values import SCHEMA, Node, read_values

__all__ = ["MAX_BYTES", "RunFacts", "RunRow", "canonical", "read_documents", "run_facts", "split_documents"]

MAX_BYTES = 64 << 20
MAX_ROWS = 10_000
MAX_INTEGER = 2**53
# Name of a figure here -> where it stands in a row of `edge bench`.
BENCH_FIGURES: Mapping[str, tuple[str, ...]] = {
    "size_bytes": ("artifact", "bytes"),
    "p50_ms": ("infer", "p50_ms"),
    "p90_ms": ("infer", "p90_ms"),
    "p99_ms": ("infer", "p99_ms"),
    "cpu_p50_ms": ("infer_cpu", "p50_ms"),
    "frame_p50_ms": ("stages", "total", "p50_ms"),
    "frame_p90_ms": ("stages", "total", "p90_ms"),
    "load_ms": ("load_ms",),
    "first_ms": ("first_ms",),
    "peak_rss_bytes": ("peak_rss_bytes",),
    "predicted_p50_ms": ("prediction", "p50_ms"),
    "predicted_low_ms": ("prediction", "low_ms"),
    "predicted_high_ms": ("prediction", "high_ms"),
}
MACHINE = ("board", "cpu", "architecture", "system", "python", "cores", "affinity", "governor", "clock_max_khz")


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One file, run in one way.

    Attributes:
        model, precision, target, file, sha256: of the artifact; precision and target are "" where nothing says.
        device, engine, engine_version, threads: what ran it; None where nothing ran.
        evidence: of its latencies; None where there are none.
        status: "complete", or why not, as `record.Status` has it.
        conditions: the machine, or the data: what the figures hold for.
        figures: numbers by name; the unit is the end of the name.
    """

    model: str
    precision: str
    target: str
    file: str
    sha256: str | None
    device: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    threads: int | None = None
    evidence: str | None = None
    status: str = "complete"
    conditions: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        """Precision and target in one word: "int8.tflite"."""
        return f"{self.precision}.{self.target}"


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a document says: "bench", "eval" or "export"; when it began, by the clock of its machine; its rows."""

    kind: str
    edge: str | None
    began: str | None
    rows: tuple[RunRow, ...]


def read_documents(path: Path) -> list[dict[str, Any]]:
    """Return the documents in a JSON file; the output of `edge export --json` holds one for each bundle.

    Raises:
        InputError: it cannot be read, is too large, or is not JSON.
    """
    return split_documents(read_values(path, MAX_BYTES), str(path))


def split_documents(values: object, name: str = "the document") -> list[dict[str, Any]]:
    """Return a document, or the several that one holds."""
    if isinstance(values, dict) and isinstance(values.get("bundles"), list):
        return [one for inner in values["bundles"] for one in split_documents(inner, name)]
    if not isinstance(values, dict):
        raise InputError(f"`{name}` holds no results", got=type(values).__name__)
    return [values]


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return the bytes by which a document is known: sorted keys, no blanks, ASCII.

    Raises:
        InputError: it holds what is no JSON, or is too large.
    """
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, TypeError, RecursionError) as exc:
        raise InputError("the document is not JSON", got=str(exc)[:80]) from exc
    if len(text) > MAX_BYTES:
        raise InputError("the document is too large", expected="at most 64 MiB", got=f"{len(text)} bytes")
    return text.encode("ascii")


def run_facts(document: Mapping[str, Any], name: str = "the document") -> RunFacts:
    """Return what a document says.

    Args:
        document: results of `edge bench`, of `edge eval --json`, or a manifest.
        name: where it is from, for errors.

    Raises:
        InputError: it is none of the three kinds, of a schema that is not known, or malformed; the message has the
            place.
    """
    top = Node(document, name)
    if document.get("schema") != SCHEMA:
        raise InputError(
            f"`{name}` is no result of edge, or of a schema that is not known", expected=f"schema {SCHEMA}",
            got=document.get("schema"),
        )  # fmt: skip
    if isinstance(document.get("rows"), list) and document.get("command") == "bench":
        kind, found = "bench", [_bench_row(row) for row in _few(top.get("rows")).items()]
    elif isinstance(document.get("targets"), list) and isinstance(document.get("data"), dict):
        kind, found = "eval", [_eval_row(row, top.get("data")) for row in _few(top.get("targets")).items()]
    elif isinstance(document.get("variants"), dict) and isinstance(document.get("files"), dict):
        kind, found = "export", _export_rows(top)
    else:
        raise InputError(
            f"`{name}` holds no results", expected="edge bench, edge eval --json or a manifest of edge export"
        )
    edge, began = (_raw_or_none(top.get(word)) for word in ("edge", "began"))
    return RunFacts(kind=kind, edge=edge, began=began, rows=tuple(found))


def _bench_row(row: Node) -> RunRow:
    artifact, engine, launches = row.get("artifact"), row.get("engine"), row.get("launches").value or []
    first = _dict(launches[0]) if isinstance(launches, list) and launches else {}
    started = _dict(first.get("started"))
    return RunRow(
        model=artifact.get("model").raw(),
        precision=artifact.get("precision").raw(),
        target=artifact.get("target").raw(),
        file=artifact.get("file").raw(),
        sha256=artifact.get("sha256").digest(),
        device=row.get("device").raw(),
        engine=None if engine.absent else _raw_or_none(engine.get("name")),
        engine_version=None if engine.absent else _raw_or_none(engine.get("version")),
        threads=row.get("threads").maybe_count(),
        evidence=row.get("evidence").raw(),
        status=row.get("status").raw(),
        conditions={name: started.get(name) for name in MACHINE} if started else {},
        figures=_figures({name: _at(row, path) for name, path in BENCH_FIGURES.items()}),
    )


def _eval_row(row: Node, data: Node) -> RunRow:
    metric = row.get("metric")
    name = Path(row.get("file").raw()).name
    precision, target = _by_name(name)
    figures = _figures(
        {
            "metric": metric.get("value"),
            "metric_low": metric.get("low"),
            "metric_high": metric.get("high"),
            "samples": metric.get("samples"),
        }
    )
    return RunRow(
        model=_raw_or_none(row.get("model")) or re.sub(r"-[a-z0-9]+\.\w+$", "", name),
        precision=_raw_or_none(row.get("precision")) or precision,
        target=_raw_or_none(row.get("target")) or target,
        file=name,
        sha256=row.get("sha256").digest(),
        conditions={
            "metric": metric.get("name").raw(),
            "data": _raw_or_none(data.get("label")),
            "digest": _raw_or_none(data.get("digest")),
            "samples": figures.get("samples"),
        },
        figures=figures,
    )


def _export_rows(top: Node) -> list[RunRow]:
    model, machine = top.get("model").raw(), _dict(top.get("machine").value)
    found = []
    for name, row in sorted(_few(top.get("variants")).members()):
        latency = Node(_dict(row.get("latency").value), row.file, f"{row.place}.latency")
        found.append(
            RunRow(
                model=model,
                precision=row.get("precision").raw(),
                target=row.get("target").raw(),
                file=Node(name, row.file, "variants").raw(),
                sha256=row.get("sha256").digest(),
                device=_raw_or_none(latency.get("device")),
                threads=latency.get("threads").maybe_count(),
                evidence=_raw_or_none(latency.get("evidence")),
                conditions=machine,
                figures={
                    **_figures(
                        {
                            "size_bytes": row.get("bytes"),
                            "parameters": top.get("parameters"),
                            "int8_mac_share": row.get("int8_mac_share"),
                            "best_ms": latency.get("best_ms"),
                        }
                    ),
                    **_worst_parity(row.get("parity")),
                },
            )
        )
    return found


def _worst_parity(parity: Node) -> dict[str, float]:
    """Return the worst figure over all outputs."""
    outputs = [one for _, one in parity.members()] if isinstance(parity.value, dict) else []
    worst = {}
    for name, pick in (("max_error", max), ("cosine", min), ("sqnr_db", min)):
        values = [value for one in outputs if (value := _number(one.get(name))) is not None]
        if values:
            worst[f"parity_{name}"] = pick(values)
    return worst


def _by_name(name: str) -> tuple[str, str]:
    """Return precision and target as `edge export` names files; ("", "") for others."""
    found = re.search(r"-(fp32|fp16|int8|dynamic|w8a16)\.(onnx|tflite)$", name)
    return (found[1], found[2]) if found else ("", "")


def _at(row: Node, path: Sequence[str]) -> Node:
    for name in path:
        row = row.get(name) if isinstance(row.value, dict) else Node(None, row.file, row.place)
    return row


def _few(values: Node) -> Node:
    if len(values.value) > MAX_ROWS:
        raise InputError(f"`{values.place}` is too long", expected=f"at most {MAX_ROWS}", got=len(values.value))
    return values


def _figures(values: Mapping[str, Node]) -> dict[str, float]:
    """Return the figures that are there."""
    return {name: value for name, node in values.items() if (value := _number(node)) is not None}


def _number(node: Node) -> float | None:
    return node.maybe(-MAX_INTEGER, MAX_INTEGER)


def _dict(value: object) -> dict[str, Any]:
    """Return a table, or an empty one where there is none."""
    return value if isinstance(value, dict) else {}


def _raw_or_none(node: Node) -> str | None:
    return None if node.absent else node.raw()
