"""What the history keeps of a document: a row for each file and way of running it, with its figures by name.

Three kinds of document come in: results of `edge bench`, of `edge eval --json`, and manifests of `edge export`. All are
files from anywhere; each value is looked at before it is taken, and the document itself is kept as it was.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..runtime.errors import InputError

__all__ = ["MAX_BYTES", "RunFacts", "RunRow", "canonical", "read_documents", "run_facts", "split_documents"]

MAX_BYTES = 64 << 20
MAX_ROWS = 10_000
MAX_TEXT = 1000
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
    try:
        if not path.is_file():
            raise InputError(f"`{path}` is no file", expected="results or a manifest, as JSON")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"`{path}` is too large", expected="at most 64 MiB")
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as exc:
        raise InputError(f"cannot read `{path}`", got=exc.strerror) from exc
    except (ValueError, RecursionError) as exc:
        raise InputError(f"`{path}` is not JSON", got=str(exc)[:80]) from exc
    return split_documents(values, str(path))


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


def run_facts(document: Mapping[str, Any]) -> RunFacts:
    """Return what a document says.

    Raises:
        InputError: it is none of the three kinds, of a schema that is not known, or malformed; the message has the
            place.
    """
    if document.get("schema") != 1:
        raise InputError(
            "the document is no result of edge, or of a schema that is not known", expected="schema 1",
            got=document.get("schema"),
        )  # fmt: skip
    if isinstance(document.get("rows"), list) and document.get("command") == "bench":
        kind, found = "bench", [_bench_row(row, f"rows[{index}]") for index, row in _each(document, "rows")]
    elif isinstance(document.get("targets"), list) and isinstance(document.get("data"), dict):
        kind = "eval"
        found = [_eval_row(row, document["data"], f"targets[{index}]") for index, row in _each(document, "targets")]
    elif isinstance(document.get("variants"), dict) and isinstance(document.get("files"), dict):
        kind, found = "export", _export_rows(document)
    else:
        raise InputError(
            "the document holds no results", expected="edge bench, edge eval --json or a manifest of edge export"
        )
    edge, began = (_text_or_none(document.get(name), name) for name in ("edge", "began"))
    return RunFacts(kind=kind, edge=edge, began=began, rows=tuple(found))


def _bench_row(values: object, place: str) -> RunRow:
    row = _table(values, place)
    artifact, engine = _table(row.get("artifact"), f"{place}.artifact"), row.get("engine") or {}
    launches = row.get("launches") or []
    first = _dict(launches[0]) if isinstance(launches, list) and launches else {}
    started = _dict(first.get("started"))
    figures = {name: _number(_at(row, path), f"{place}.{'.'.join(path)}") for name, path in BENCH_FIGURES.items()}
    return RunRow(
        model=_text(artifact.get("model"), f"{place}.artifact.model"),
        precision=_text(artifact.get("precision"), f"{place}.artifact.precision"),
        target=_text(artifact.get("target"), f"{place}.artifact.target"),
        file=_text(artifact.get("file"), f"{place}.artifact.file"),
        sha256=_digest(artifact.get("sha256"), f"{place}.artifact.sha256"),
        device=_text(row.get("device"), f"{place}.device"),
        engine=_text_or_none(_table(engine, f"{place}.engine").get("name"), f"{place}.engine.name"),
        engine_version=_text_or_none(engine.get("version"), f"{place}.engine.version"),
        threads=_count(row.get("threads"), f"{place}.threads"),
        evidence=_text(row.get("evidence"), f"{place}.evidence"),
        status=_text(row.get("status"), f"{place}.status"),
        conditions={name: started.get(name) for name in MACHINE} if started else {},
        figures={name: value for name, value in figures.items() if value is not None},
    )


def _eval_row(values: object, data: Mapping[str, Any], place: str) -> RunRow:
    row = _table(values, place)
    metric = _table(row.get("metric"), f"{place}.metric")
    name = Path(_text(row.get("file"), f"{place}.file")).name
    figures = {
        "metric": _number(metric.get("value"), f"{place}.metric.value"),
        "metric_low": _number(metric.get("low"), f"{place}.metric.low"),
        "metric_high": _number(metric.get("high"), f"{place}.metric.high"),
        "samples": _number(metric.get("samples"), f"{place}.metric.samples"),
    }
    label, digest = (_text_or_none(data.get(word), f"data.{word}") for word in ("label", "digest"))
    precision, target = _by_name(name)
    return RunRow(
        model=_text_or_none(row.get("model"), f"{place}.model") or re.sub(r"-[a-z0-9]+\.\w+$", "", name),
        precision=_text_or_none(row.get("precision"), f"{place}.precision") or precision,
        target=_text_or_none(row.get("target"), f"{place}.target") or target,
        file=name,
        sha256=_digest(row.get("sha256"), f"{place}.sha256"),
        conditions={
            "metric": _text(metric.get("name"), f"{place}.metric.name"),
            "data": label,
            "digest": digest,
            "samples": figures["samples"],
        },
        figures={name: value for name, value in figures.items() if value is not None},
    )


def _export_rows(document: Mapping[str, Any]) -> list[RunRow]:
    model, machine = _text(document.get("model"), "model"), _dict(document.get("machine"))
    if len(document["variants"]) > MAX_ROWS:
        raise InputError("`variants` is too long", expected=f"at most {MAX_ROWS}")
    found = []
    for name, values in sorted(document["variants"].items()):
        place = f"variants.{name[:60]}"
        row = _table(values, place)
        latency = _dict(row.get("latency"))
        figures = {
            "size_bytes": _number(row.get("bytes"), f"{place}.bytes"),
            "parameters": _number(document.get("parameters"), "parameters"),
            "int8_mac_share": _number(row.get("int8_mac_share"), f"{place}.int8_mac_share"),
            "best_ms": _number(latency.get("best_ms"), f"{place}.latency.best_ms"),
            **_worst_parity(row.get("parity"), f"{place}.parity"),
        }
        found.append(
            RunRow(
                model=model,
                precision=_text(row.get("precision"), f"{place}.precision"),
                target=_text(row.get("target"), f"{place}.target"),
                file=_text(name, "variants"),
                sha256=_digest(row.get("sha256"), f"{place}.sha256"),
                device=_text_or_none(latency.get("device"), f"{place}.latency.device"),
                threads=_count(latency.get("threads"), f"{place}.latency.threads"),
                evidence=_text_or_none(latency.get("evidence"), f"{place}.latency.evidence"),
                conditions=machine,
                figures={name: value for name, value in figures.items() if value is not None},
            )
        )
    return found


def _worst_parity(parity: object, place: str) -> dict[str, float | None]:
    """Return the worst figure over all outputs."""
    outputs = [_table(one, place) for one in (parity.values() if isinstance(parity, dict) else ())]
    worst: dict[str, float | None] = {}
    for name, pick in (("max_error", max), ("cosine", min), ("sqnr_db", min)):
        values = [value for one in outputs if (value := _number(one.get(name), f"{place}.{name}")) is not None]
        worst[f"parity_{name}"] = pick(values) if values else None
    return worst


def _by_name(name: str) -> tuple[str, str]:
    """Return precision and target as `edge export` names files; ("", "") for others."""
    found = re.search(r"-(fp32|fp16|int8|dynamic|w8a16)\.(onnx|tflite)$", name)
    return (found[1], found[2]) if found else ("", "")


def _at(values: Any, path: Sequence[str]) -> Any:
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _each(document: Mapping[str, Any], name: str) -> list[tuple[int, Any]]:
    if len(document[name]) > MAX_ROWS:
        raise InputError(f"`{name}` is too long", expected=f"at most {MAX_ROWS}", got=len(document[name]))
    return list(enumerate(document[name]))


def _dict(value: object) -> dict[str, Any]:
    """Return a table, or an empty one where there is none."""
    return value if isinstance(value, dict) else {}


def _table(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"`{place}` is not a table", got=type(value).__name__)
    return value


def _text(value: object, place: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise InputError(f"`{place}` is no text of at most {MAX_TEXT} characters", got=str(value)[:40])
    return value.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair is no text for a database


def _text_or_none(value: object, place: str) -> str | None:
    return None if value is None else _text(value, place)


def _digest(value: object, place: str) -> str | None:
    if value is not None and not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
        raise InputError(f"`{place}` is no SHA-256", got=str(value)[:40])
    return value if isinstance(value, str) else None


def _number(value: object, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_INTEGER:
        raise InputError(f"`{place}` is no number", got=str(value)[:40])
    return float(value)


def _count(value: object, place: str) -> int | None:
    if value is None:
        return None
    number = _number(value, place)
    if number is None or number < 0 or not math.isfinite(number) or number != int(number):
        raise InputError(f"`{place}` is no count", got=str(value)[:40])
    return int(number)


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")
