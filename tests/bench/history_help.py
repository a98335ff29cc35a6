"""Documents for tests of the history: results of the shape that `edge bench` writes, made up."""

from __future__ import annotations

from typing import Any

MACHINE = {"cpu": "Test 3000", "cores": 2, "python": "3.11.7", "governor": None}


def bench_row(**changes: Any) -> dict[str, Any]:
    """Return a row of `edge bench`, with three launches of four samples unless `launches` gives the samples."""
    samples = changes.pop("launches", [[1.0, 1.1, 0.9, 1.0]] * 3)
    machine = changes.pop("machine", MACHINE)
    artifact = {
        "file": "net-int8.tflite",
        "bytes": 1000,
        "sha256": "ab" * 32,
        "model": "net",
        "target": "tflite",
        "precision": "int8",
    }
    row = {
        "artifact": {**artifact, **changes.pop("artifact", {})},
        "device": "host",
        "evidence": "measured",
        "engine": {"name": "litert", "version": "2.3.0"},
        "threads": 1,
        "status": "complete",
        "load_ms": 5.0,
        "first_ms": 2.0,
        "infer": {"p50_ms": 1.0, "p90_ms": 1.2, "p99_ms": None},
        "infer_cpu": {"p50_ms": 0.9},
        "stages": None,
        "peak_rss_bytes": 50_000_000,
        "prediction": None,
        "launches": [{"started": machine, "wall_ms": list(part), "cpu_ms": list(part)} for part in samples],
    }
    return {**row, **changes}


def bench_document(number: int = 0, *rows: dict[str, Any]) -> dict[str, Any]:
    """Return results of `edge bench`; a number tells one from another."""
    return {
        "schema": 1,
        "command": "bench",
        "edge": "0.1.0",
        "began": "2026-11-28T06:42:00+00:00",
        "plan": {"number": number},
        "rows": list(rows or (bench_row(), bench_row(threads=2))),
    }


def eval_document(value: float = 0.8, **changes: Any) -> dict[str, Any]:
    """Return what `edge eval --json` prints."""
    metric = {"name": "AP", "value": value, "low": value - 0.02, "high": value + 0.02, "samples": 100}
    target = {"file": "out/net-int8.tflite", "sha256": "ab" * 32, "model": "net", "metric": metric}
    return {"schema": 1, "data": {"label": "drawn", "digest": "d1", **changes}, "targets": [target]}


def manifest(**changes: Any) -> dict[str, Any]:
    """Return a manifest of `edge export` with two files."""
    parity = {"a": {"max_error": 1e-5, "cosine": 0.9999, "sqnr_db": 60.0}, "b": {"max_error": 1e-3, "sqnr_db": 30.0}}
    variants = {
        f"net-{precision}.onnx": {
            "bytes": size,
            "sha256": "cd" * 32,
            "precision": precision,
            "target": "onnx",
            "parity": parity,
            "latency": {"best_ms": 3.0, "device": "host", "evidence": "measured", "threads": 1},
        }
        for precision, size in (("fp32", 4000), ("int8", 1000))
    }
    whole = {"schema": 1, "model": "net", "edge": "0.1.0", "files": {}, "parameters": 10, "machine": {"cpu": "x"}}
    return {**whole, "variants": variants, **changes}
