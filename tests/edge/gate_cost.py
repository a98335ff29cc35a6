"""What the gate itself costs: the exact checks of all shipped students, and all stages with every kind of limit.

    python -m tests.edge.gate_cost edge-out

Takes the bundles of the five shipped students in a folder, writes budgets that each of their files holds and a baseline
of the same networks in other bytes, and prints seconds as JSON: of `edge gate --stage file` (at most 5 are wanted), and
of the whole gate (at most 180), with the metric of each INT8 file on 50 samples, a p90 of every file on this machine,
and pairs of every INT8 file against its baseline. Exit codes are those of the gate; 6: the machine is too busy.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDENTS = ("emotion-student-234k", "face-nanob", "face-nanob-dense", "pose-student-2mb", "pose-student-8mb")
BUDGETS = """\
[defaults]
baseline = "accepted"
samples = 50
[[budget]]
size_bytes = 100_000_000
parity = "card"
p90_ms = 10_000
[[budget]]
variant = "int8"
metric_drop = 100
slower_percent = 10
"""
UNKNOWN_FIELD = b"\x7a\x00"  # an empty field that no reader of ONNX knows; a reader of TFLite stops before it


def main(source: Path) -> None:
    """Print what both runs cost."""
    bundles = [source / name for name in STUDENTS]
    with tempfile.TemporaryDirectory(prefix="edge-gate-cost-") as work:
        config = Path(work) / "edge.toml"
        config.write_text(BUDGETS)
        _write_baseline(Path(work) / "accepted", [path for bundle in bundles for path in bundle.glob("*-int8.*")])
        for name, words in (("file", ["--stage", "file"]), ("all", [])):
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "edge", "gate", *map(str, bundles), "--config", str(config), "--json", *words],
                capture_output=True,
                text=True,
                check=False,
            )
            taken = time.perf_counter() - began
            stages = [line for line in done.stderr.splitlines() if line.startswith(("stage ", "error: "))]
            checks = len(json.loads(done.stdout)["checks"]) if done.stdout else 0
            told = {"stages": name, "seconds": round(taken, 1), "exit_code": done.returncode, "checks": checks}
            print(json.dumps({**told, "said": stages}), flush=True)


def _write_baseline(folder: Path, files: list[Path]) -> None:
    folder.mkdir()
    told = {}
    for path in files:
        data = path.read_bytes() + UNKNOWN_FIELD
        (folder / path.name).write_bytes(data)
        told[path.name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "baseline.json").write_text(json.dumps({"schema": 1, "files": told, "history": []}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
