"""The JSON Schema of what `edge bench --json` prints: `python -m edge.bench.schema` shows it."""

from __future__ import annotations

import json
from typing import Any

from .device import Evidence
from .launch import Launch
from .percentiles import Summary
from .record import SCHEMA, Status

__all__ = ["bench_schema"]

TEXT, NUMBER, COUNT = {"type": "string"}, {"type": "number"}, {"type": "integer", "minimum": 0}
MS = {"type": "number", "minimum": 0, "description": "milliseconds"}


def bench_schema() -> dict[str, Any]:
    """Return the schema, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edge bench",
        **_object(
            {
                "schema": {"const": SCHEMA},
                "command": {"const": "bench"},
                "edge": TEXT,
                "began": {**TEXT, "description": "UTC, ISO 8601; order runs by it at your own risk: clocks are set"},
                "plan": {"type": "object", "description": "how each process measured"},
                "best": _or_null({"type": "object"}),
                "rows": {"type": "array", "items": {"$ref": "#/$defs/row"}},
            }
        ),
        "$defs": {"row": _row(), "summary": _summary(), "launch": _launch()},
    }


def _row() -> dict[str, Any]:
    summary = {"$ref": "#/$defs/summary"}
    stages = _object({name: summary for name in ("pre", "infer", "decode", "total")})
    return _object(
        {
            "artifact": _object(
                {
                    "file": TEXT,
                    "bytes": COUNT,
                    "sha256": {**TEXT, "pattern": "^[0-9a-f]{64}$"},
                    "model": TEXT,
                    "target": TEXT,
                    "precision": TEXT,
                }
            ),
            "device": TEXT,
            "evidence": {"enum": [str(grade) for grade in Evidence]},
            "engine": _object({"name": TEXT, "version": _or_null(TEXT)}),
            "threads": {"type": "integer", "minimum": 1},
            "input": TEXT,
            "status": {"enum": [str(status) for status in Status]},
            "why": {"type": "array", "items": TEXT},
            "import_ms": _or_null(MS),
            "load_ms": _or_null(MS),
            "first_ms": _or_null(MS),
            "infer": {**_or_null(summary), "description": "inferences back to back, wall clock"},
            "infer_cpu": {**_or_null(summary), "description": "the same, processor time over all threads"},
            "stages": {**_or_null(stages), "description": "whole frames, wall clock"},
            "peak_rss_bytes": _or_null(COUNT),
            "busy": _or_null({"type": "boolean"}),
            "spread": {**_or_null(NUMBER), "description": "largest over smallest median of the launches, less 1"},
            "prediction": _or_null({"type": "object"}),
            "notes": {"type": "array", "items": TEXT},
            "launches": {"type": "array", "items": {"$ref": "#/$defs/launch"}},
        }
    )


def _summary() -> dict[str, Any]:
    names = list(Summary.__dataclass_fields__)
    always = {"count", "least_ms", "mean_ms", "most_ms"}
    return _object({name: COUNT if name == "count" else MS if name in always else _or_null(MS) for name in names})


def _launch() -> dict[str, Any]:
    kinds: dict[str, Any] = {
        "started": {"type": "object"},
        "ended": {"type": "object"},
        "engine": {"type": "object"},
        "batch": {"type": "integer", "minimum": 1, "description": "inferences that each of wall_ms is the mean of"},
        "peak_rss_bytes": _or_null(COUNT),
        "agreement": {"type": "object", "description": "by output: how far from the host's engine on the same input"},
        "error": _or_null(TEXT),
        **{name: _or_null(MS) for name in ("import_ms", "load_ms", "first_ms")},
    }
    samples = {"type": "array", "items": MS}
    return _object({name: kinds.get(name, samples) for name in Launch.__dataclass_fields__})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


if __name__ == "__main__":
    print(json.dumps(bench_schema(), indent=2))
