"""The models that go into the app: taken from bundles, and proven on the TFLite version that the app ships.

An op version that this TFLite refuses fails the build with the op's name; outputs are held against the host's engine.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from artifacts import BuildError, cache_folder, sha256
from numpy.typing import NDArray

from edge.runtime.card import Card, ParityLimit
from edge.runtime.embedded import read_card
from edge.runtime.engines import open_engine

__all__ = ["accept", "choose_models", "fetch_runtime", "runtime_python"]

Float32 = NDArray[np.float32]

# Between two versions of one engine: float32 sums in another order, or a quantised step here and there.
LIMITS = {"fp32": ParityLimit(max_error=1e-4), "fp16": ParityLimit(max_error=1e-2)}
QUANTISED = ParityLimit(min_sqnr_db=20.0)
INPUTS = 3
REFUSED = re.compile(r"builtin opcode '(?P<op>\w+)' version '(?P<version>\d+)'|Unsupported.*?(?P<custom>\w+)")


def choose_models(bundles: Path, precisions: list[str], largest: int) -> list[Path]:
    """Return the .tflite files of those precisions in a folder of bundles, by name.

    Args:
        bundles: what `edge export` wrote: one folder a model, each with its manifest.
        precisions: such as "int8".
        largest: bytes; larger files are left out and named on stderr.

    Raises:
        BuildError: there is none, or one is not what its manifest says.
    """
    found = []
    for manifest in sorted(bundles.glob("*/manifest.json")):
        hashes = _hashes(json.loads(manifest.read_text(encoding="utf-8")))
        for precision in precisions:
            path = manifest.parent / f"{manifest.parent.name}-{precision}.tflite"
            if not path.is_file():
                continue
            if hashes.get(path.name) != sha256(path):
                raise BuildError(f"`{path}` is not what its manifest says", "export it again with `edge export`")
            if path.stat().st_size > largest:
                print(f"left out: {path.name}, {path.stat().st_size} bytes", file=sys.stderr)
                continue
            found.append(path)
    if not found:
        raise BuildError(f"no {', '.join(precisions)} .tflite in `{bundles}`", "edge export --target tflite")
    return found


def accept(models: list[Path], python: Path, version: str) -> list[str]:
    """Run each model in the app's TFLite version and on the host's engine, and return a line a model.

    Args:
        models: files with a card.
        python: an interpreter that has `tensorflow-cpu` of that version.
        version: of TFLite.

    Raises:
        BuildError: the version differs, a model is refused (the message names the op), or outputs are too far apart.
    """
    cards = {path: read_card(path) for path in models}
    inputs = {path: _inputs(card) for path, card in cards.items()}
    lines = []
    with tempfile.TemporaryDirectory(prefix="edge-accept-") as name:
        folder = Path(name)
        _run_there(folder, cards, inputs, python, version)
        for number, (path, card) in enumerate(cards.items()):
            refused = folder / f"{number}.txt"
            if refused.is_file():
                words = _refusal(refused.read_text(encoding="utf-8"))
                raise BuildError(f"TFLite {version} refuses `{path.name}`: {words}")
            data = np.load(folder / f"{number}-outputs.npz")
            theirs = [[data[f"{i}-{j}"] for j in range(len(card.outputs))] for i in range(INPUTS)]
            lines.append(f"{path.name}: {_compared(path.name, card, _run_here(path, card, inputs[path]), theirs)}")
    return lines


def runtime_python() -> Path:
    """Return where `fetch_runtime` puts its interpreter."""
    return cache_folder() / "tflite-runtime" / "bin" / "python"


def fetch_runtime(version: str) -> None:
    """Make an environment with that version of TFLite: 0.7 GB.

    Raises:
        BuildError: pip fails.
    """
    folder = runtime_python().parents[1]
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    command = [str(runtime_python()), "-m", "pip", "install", "-q", "--no-compile", f"tensorflow-cpu=={version}"]
    if subprocess.run(command, check=False).returncode:
        raise BuildError(f"pip cannot install tensorflow-cpu {version}; it said why above")


def _hashes(manifest: object) -> dict[str, str]:
    """Return every hash in a manifest by the file name that stands beside it."""
    found = {}
    if isinstance(manifest, dict):
        name = manifest.get("file") or manifest.get("name")
        if isinstance(name, str) and isinstance(manifest.get("sha256"), str):
            found[name] = manifest["sha256"]
        for key, value in manifest.items():
            if isinstance(value, dict) and isinstance(value.get("sha256"), str):
                found[str(key)] = value["sha256"]
            found.update(_hashes(value))
    elif isinstance(manifest, list):
        for item in manifest:
            found.update(_hashes(item))
    return found


def _inputs(card: Card) -> list[Float32]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 1, card.input.shape).astype(np.float32) for _ in range(INPUTS)]


def _run_here(path: Path, card: Card, inputs: list[Float32]) -> list[dict[str, Float32]]:
    engine = open_engine(path, card, engine="litert", threads=1)
    try:
        return [{name: values.copy() for name, values in engine.run(tensor).items()} for tensor in inputs]
    finally:
        engine.close()


def _run_there(
    folder: Path, cards: dict[Path, Card], inputs: dict[Path, list[Float32]], python: Path, version: str
) -> None:
    """Let `run_there.py` leave outputs or a refusal of each model in a folder; one process, as it starts slowly."""
    jobs = []
    for number, (path, card) in enumerate(cards.items()):
        np.savez(folder / f"{number}-inputs.npz", *inputs[path])
        jobs.append({"model": str(path.resolve()), "outputs": [spec.name for spec in card.outputs]})
    (folder / "jobs.json").write_text(json.dumps({"version": version, "jobs": jobs}), encoding="utf-8")
    command = [str(python), "-I", str(Path(__file__).with_name("run_there.py")), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"TFLite {version} cannot be run: {_refusal(done.stdout + done.stderr)}")


def _refusal(text: str) -> str:
    found = REFUSED.search(text)
    if found and found["op"]:
        return f"op {found['op']} version {found['version']} is newer than it knows"
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "it died without a word"


def _compared(name: str, card: Card, ours: list[dict[str, Float32]], theirs: list[list[Float32]]) -> str:
    precision = card.artifact.get("precision", "fp32")
    limit = LIMITS.get(precision, QUANTISED)
    worst_error, worst_db = 0.0, np.inf
    for place, spec in enumerate(card.outputs):
        here = np.concatenate([outputs[spec.name].ravel() for outputs in ours]).astype(np.float64)
        there = np.concatenate([outputs[place].ravel() for outputs in theirs]).astype(np.float64)
        off = np.abs(here - there)
        error = float(off.max() / max(here.max() - here.min(), 1e-12))
        noise = float(np.square(off).mean())
        decibels = float("inf") if noise == 0 else 10 * float(np.log10(np.square(here).mean() / noise))
        if not np.isfinite(there).all() or (limit.max_error is not None and error > limit.max_error):
            raise BuildError(f"`{name}`, output `{spec.name}`: {error:.1e} of its range off the host's engine")
        if limit.min_sqnr_db is not None and decibels < limit.min_sqnr_db:
            raise BuildError(f"`{name}`, output `{spec.name}`: {decibels:.1f} dB to the host's engine")
        worst_error, worst_db = max(worst_error, error), min(worst_db, decibels)
    return f"accepted, worst output {worst_error:.1e} of its range and {worst_db:.0f} dB from the host's engine"
