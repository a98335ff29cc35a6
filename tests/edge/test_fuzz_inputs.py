"""Mutants of what edge reads itself, without an engine: each is answered by a result or by one line, and kills nobody.

The reliability bar, SEC-1; model files are in `tests/runtime/test_fuzz_load.py`. `EDGE_FUZZ=15` makes fifteen times as
many.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ..bench.history_help import bench_row
from ..bench.report_help import evaluation, manifest, profile, results, row

ROOT = Path(__file__).parents[2]
COUNT = 200 * int(os.environ.get("EDGE_FUZZ", "1"))
CPU_S = 60 * COUNT // 200
CONFIG = """
[defaults]
device = "host"
threads = 2
baseline = "accepted"
[devices.pi]
ssh = "pi@192.0.2.7"
port = 22
[[budget]]
model = "net*"
variant = "int8"
size_bytes = 2_000_000
parity = 30.5
metric_drop = 1.0
p90_ms = 50
same_output = true
"""


def seed_checkpoint(folder: Path, kind: str) -> Path:
    torch = pytest.importorskip("torch")
    state = {"a.weight": torch.arange(60.0).reshape(3, 4, 5), "a.bias": torch.ones(3), "n": torch.tensor(4)}
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(state, folder / "seed.safetensors")
        return folder / "seed.safetensors"
    path = folder / "seed.pt"
    torch.save({"state_dict": state, "epoch": 3}, path, _use_new_zipfile_serialization=kind == "zip")
    return path


def seed_array(folder: Path, suffix: str) -> Path:
    values = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    path = folder / f"seed{suffix}"
    np.savez(path, values) if suffix == ".npz" else np.save(path, values)
    return path


def seed_text(folder: Path, kind: str) -> Path:
    values = {
        "results": results([row("net-int8.onnx", count=8), bench_row()]),
        "profile": profile("net-int8.onnx", layers=3),
        "evaluation": evaluation({"net-fp32.onnx": 0.5, "net-int8.onnx": 0.4}),
        "manifest": manifest(),
        "baseline": {
            "schema": 1,
            "files": {"net-int8.onnx": {"sha256": "a" * 64, "bytes": 3}},
            "history": [{"date": "2026-01-01T00:00:00+00:00", "reason": "first", "files": {}}],
        },
    }
    path = folder / ("seed.toml" if kind == "config" else "seed.json")
    path.write_text(CONFIG if kind == "config" else json.dumps(values[kind]))
    return path


SEEDS: dict[str, Callable[[Path], Path]] = {
    "checkpoint zip": lambda folder: seed_checkpoint(folder, "zip"),
    "checkpoint legacy": lambda folder: seed_checkpoint(folder, "legacy"),
    "checkpoint safetensors": lambda folder: seed_checkpoint(folder, "safetensors"),
    "array npz": lambda folder: seed_array(folder, ".npz"),
    "array npy": lambda folder: seed_array(folder, ".npy"),
    "config toml": lambda folder: seed_text(folder, "config"),
    "results json": lambda folder: seed_text(folder, "results"),
    "results profile": lambda folder: seed_text(folder, "profile"),
    "evaluation json": lambda folder: seed_text(folder, "evaluation"),
    "manifest json": lambda folder: seed_text(folder, "manifest"),
    "baseline json": lambda folder: seed_text(folder, "baseline"),
}


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@pytest.mark.parametrize("name", SEEDS)
def test_mutants_of_an_input_are_answered_and_kill_nobody(tmp_path: Path, name: str) -> None:
    seed = str(SEEDS[name](tmp_path))
    words = [sys.executable, "-m", "tests.edge.fuzz_inputs", name.split()[0], seed, str(COUNT)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, preexec_fn=limit
    )

    assert done.returncode == 0, done.stderr[-2000:]
    answers = Counter(json.loads(done.stdout))
    assert answers.total() == COUNT
    assert set(answers) <= {"0", "1", "2", "5"}
    assert answers["2"] > COUNT / 20  # what was changed is looked at
