"""What tests of the report share: invented bundles, results and metrics on disk, in the shape of the real ones."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.bench.report import Page, build_page
from edge.bench.report_facts import Bundle, Variant
from edge.bench.report_limits import Limits
from edge.bench.report_read import find_bundles, read_facts

Text = Callable[[str], str]
FILES = (("fp32", "onnx", 1_300_000), ("int8", "onnx", 360_000), ("int8", "tflite", 350_000))


def as_it_is(text: str) -> str:
    return text


def file_name(model: str, precision: str, target: str) -> str:
    return f"{model}-{precision}.{target}"


def digest(file: str) -> str:
    return hashlib.sha256(file.encode("utf-8", "surrogatepass")).hexdigest()


def manifest(model: str = "net", text: Text = as_it_is, **changes: Any) -> dict[str, Any]:
    """Return the manifest of a bundle with three files; `text` goes over every text that a stranger could set."""
    variants = {text(file_name(model, *kind[:2])): _variant(model, *kind, text) for kind in FILES}
    values: dict[str, Any] = {
        "schema": 1,
        "edge": text("0.1.0"),
        "key": text("k" * 64),
        "model": text(model),
        "family": text("custom"),
        "weights": text("factory"),
        "checkpoint_sha256": text("c" * 64),
        "parameters": 1234,
        "notes": [text("a note")],
        "tools": {text("onnx"): text("1.0")},
        "machine": {"cpu": text("a processor"), "cores": 2, "system": text("Linux")},
        "samples": {"parity": 32, "source": text("noise")},
        "card": {
            "budget": {"size_bytes": 2_000_000, "p90_ms": 50.0},
            "parity": {"int8": {"min_cosine": 0.99, "min_sqnr_db": 20.0, "max_error": None}},
        },
        "variants": variants,
    }
    return {**values, **changes}


def _variant(model: str, precision: str, target: str, size: int, text: Text) -> dict[str, Any]:
    return {
        "bytes": size,
        "sha256": digest(file_name(model, precision, target)),
        "precision": precision if text is as_it_is else text(precision),
        "target": target if text is as_it_is else text(target),
        "recipe": text("static-all"),
        "int8_mac_share": 0.9 if precision == "int8" else 0.0,
        "complaints": [] if text is as_it_is else [text("output: too far")],
        "latency": {"best_ms": 3.0, "device": text("host"), "evidence": "measured", "threads": 1},
        "parity": {text("maps"): {"sqnr_db": 30.5, "cosine": 0.9995, "max_error": 0.01}},
        "search": [
            {
                "name": text("static-all"),
                "size_bytes": size,
                "min_sqnr_db": 30.5,
                "latency_ms": 3.0,
                "verdict": text("chosen"),
                "reason": text(""),
            }
        ],
    }


def write_bundle(folder: Path, model: str = "net", text: Text = as_it_is, **changes: Any) -> Path:
    bundle = folder / "".join(char for char in model if char.isalnum())
    bundle.mkdir(parents=True, exist_ok=True)
    (bundle / "manifest.json").write_text(json.dumps(manifest(model, text, **changes)), encoding="utf-8")
    return bundle


def row(file: str, typical_ms: float = 3.0, text: Text = as_it_is, count: int = 700, **changes: Any) -> dict[str, Any]:
    """Return a row of results whose samples scatter around a figure."""
    rng = random.Random(file + str(typical_ms))
    wall = [typical_ms * rng.lognormvariate(0, 0.05) for _ in range(count)]
    launch = {
        "started": {"cpu": text("a processor"), "cores": 2, "architecture": text("x86_64")},
        "wall_ms": wall,
        "pre_ms": [0.5] * 30,
        "infer_ms": [typical_ms] * 30,
        "decode_ms": [0.25] * 30,
    }
    values: dict[str, Any] = {
        "artifact": {"file": text(file), "sha256": digest(file)},
        "device": text("host"),
        "evidence": "measured",
        "engine": {"name": text("onnxruntime"), "version": text("1.31.1")},
        "threads": 1,
        "input": text("noise"),
        "status": "complete",
        "why": [],
        "notes": [text("a remark")] if text is not as_it_is else [],
        "busy": False,
        "load_ms": 12.0,
        "first_ms": 5.0,
        "peak_rss_bytes": 90_000_000,
        "prediction": None,
        "launches": [launch],
    }
    return {**values, **changes}


def predicted(file: str, low: float, middle: float, high: float, **changes: Any) -> dict[str, Any]:
    told = {"p50_ms": middle, "low_ms": low, "high_ms": high, "basis": "operators"}
    values = {"device": "rpi4", "evidence": "predicted", "status": "predicted", "launches": [], "prediction": told}
    return row(file, **{**values, **changes})


def results(rows: Sequence[Mapping[str, Any]], **changes: Any) -> dict[str, Any]:
    values = {"schema": 1, "command": "bench", "edge": "0.1.0", "began": "2025-11-28T06:28:44.123456+00:00"}
    return {**values, "rows": list(rows), **changes}


def profile(file: str, text: Text = as_it_is, layers: int = 15, **changes: Any) -> dict[str, Any]:
    share = 1 / layers
    parts = [
        {"name": text(f"conv {number}"), "op": text("Conv"), "ms": 0.1, "time_share": share, "mac_share": share}
        for number in range(layers)
    ]
    told: dict[str, Any] = {
        "file": text(file),
        "sha256": digest(file),
        "engine": text("litert"),
        "how": text("by cutting"),
    }
    told |= {"total_ms": 1.5, "layers": parts, **changes}
    return {"schema": 1, "command": "bench --profile", "profiles": [told], "text": "for people"}


def evaluation(
    values: Mapping[str, float], text: Text = as_it_is, spread: float = 0.01, drop_spread: float = 0.002
) -> dict[str, Any]:
    """Return what `edge eval` says of files; the first is the one that drops are against."""
    first = next(iter(values.values()))
    targets = []
    for number, (file, value) in enumerate(values.items()):
        drop = first - value
        metric = {"name": text("OKS-AP"), "value": value, "low": value - spread, "high": value + spread, "samples": 60}
        ends = {"value": drop, "low": drop - drop_spread, "high": drop + drop_spread}
        target = {"file": text(f"runs/{file}"), "sha256": digest(file), "metric": metric}
        targets.append({**target, "drop": ends if number else None})
    return {"schema": 1, "data": {"label": text("synthetic people"), "synthetic": True}, "targets": targets}


def write_json(path: Path, values: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def limits(bundle: Bundle, variant: Variant) -> Limits:
    return Limits(max_bytes=2_000_000, max_ms=50, max_drop=0.01)


def make_page(folder: Path, text: Text = as_it_is) -> Page:
    """Return a page with everything on it but overlays: rows of two devices, a profile, metrics."""
    bundle = write_bundle(folder, "net", text)
    files = [file_name("net", *kind[:2]) for kind in FILES]
    rows = [row(file, ms, text) for file, ms in zip(files, (9.0, 2.0, 1.5), strict=True)]
    rows.append(predicted(files[2], 4.0, 6.0, 9.0))
    paths = [
        write_json(folder / "bench.json", results(rows, edge=text("0.1.0"))),
        write_json(folder / "profile.json", profile(files[2], text)),
    ]
    metrics = write_json(folder / "eval.json", evaluation({files[0]: 0.24, files[2]: 0.238}, text))
    return build_page(read_facts(find_bundles([bundle]), paths, [metrics]), limits)
