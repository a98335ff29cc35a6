"""How long an export of all students takes, and where the time goes, against onnx2tf by hand on the same networks.

    python -m edge.bench.export_time [--output DIR]

Both sides run here, one after the other, from the same ONNX files. By hand means onnx2tf's own command line with its
defaults, which gives FP32 and FP16 files: no INT8, no card, no parity, no search.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

__all__ = ["measure"]


def measure(work: Path) -> dict[str, object]:
    """Return the wall times, seconds: of `edge export --target tflite` in full, and of onnx2tf by model.

    Args:
        work: empty folder; some 500 MB are written there.
    """
    # A cache of its own: nothing is taken from earlier runs, and ONNX files come from the same traces.
    environment = os.environ | {"EDGE_CACHE": str(work / "cache")}
    edge = [sys.executable, "-m", "edge", "export", "--output", str(work / "bundles")]
    start = time.perf_counter()
    done = subprocess.run([*edge, "--target", "tflite"], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    ours = time.perf_counter() - start
    closing = done.stdout.strip().splitlines()[-1]
    start = time.perf_counter()
    subprocess.run([*edge, "--target", "tflite"], env=environment, check=True, capture_output=True)
    again = time.perf_counter() - start
    onnx = [*edge, "--target", "onnx", "--precision", "fp32"]
    subprocess.run(onnx, env=environment, check=True, capture_output=True)
    by_hand = {
        path.stem.removesuffix("-fp32"): _onnx2tf(path, work)
        for path in sorted((work / "bundles").rglob("*-fp32.onnx"))
    }
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "edge_s": round(ours, 1),
        "edge_again_s": round(again, 2),
        "edge_stages": closing,
        "onnx2tf_by_hand_s": {name: round(seconds, 1) for name, seconds in by_hand.items()},
        "onnx2tf_by_hand_total_s": round(sum(by_hand.values()), 1),
        "ratio": round(ours / sum(by_hand.values()), 2),
    }


def _onnx2tf(path: Path, work: Path) -> float:
    folder = Path(tempfile.mkdtemp(dir=work))
    # onnx2tf would fetch this file from the network, for float conversions too, and die where there is none.
    np.save(folder / "calibration_image_sample_data_20x128x128x3_float32.npy", np.zeros((20, 128, 128, 3), np.float32))
    # Erf, which GELU is made of, becomes an operator that LiteRT refuses unless it is replaced.
    command = [str(Path(sys.executable).parent / "onnx2tf"), "-i", str(path), "-o", str(folder), "-rtpo", "Erf"]
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, cwd=folder, text=True)
    seconds = time.perf_counter() - start
    if done.returncode or not list(folder.glob("*.tflite")):
        raise click.ClickException(f"onnx2tf failed on {path.name}: {done.stdout[-300:]}{done.stderr[-300:]}")
    return seconds


@click.command()
@click.option("--output", type=click.Path(path_type=Path), help="Working folder; default: a temporary one.")
def main(output: Path | None) -> None:
    """Time the export of all students against onnx2tf by hand."""
    with tempfile.TemporaryDirectory(prefix="edge-") as scratch:
        click.echo(json.dumps(measure(output or Path(scratch)), indent=1))


if __name__ == "__main__":
    main()
