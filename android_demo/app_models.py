"""The models that go into the app: taken from bundles, and proven on the TFLite version that the app ships.

An op version that this TFLite refuses fails the build with the op's name. Outputs are held against the host's engine on
synthetic pictures and sounds: of float files to 1e-4, of quantised ones to what the host's own two sets of kernels are
apart, since sets round in other places. People and faces that are clear must be found by both.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from artifacts import BuildError, cache_folder, sha256
from findings import CLEAR, only_one_finds
from numpy.typing import NDArray

from edge.bench.agreement import FLOAT_TOLERANCE, agreement
from edge.models.data.synthetic import IMAGE_FAMILIES, synthetic_clips, synthetic_images
from edge.runtime.audio_input import prepare_audio
from edge.runtime.card import Card
from edge.runtime.decode import bind
from edge.runtime.embedded import read_card
from edge.runtime.engines import open_engine
from edge.runtime.geometry import Geometry
from edge.runtime.preprocess import prepare

__all__ = ["PICTURE_HW", "SEEDS", "Job", "accept", "choose_models", "fetch_runtime", "run_by", "runtime_python"]

Float32 = NDArray[np.float32]
Outputs = dict[str, Float32]

INPUTS = 4
PICTURE_HW = (480, 640)
SEEDS = {"pose": 24, "face": 34, "emotion": 1}  # of the app's own samples, the first input of each family
FLOATS = ("fp32", "fp16")
REFUSED = re.compile(r"(?:builtin opcode '|custom op: )(?P<op>\w+)(?:' version '(?P<version>\d+))?")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A model, its card, the tensors that it is tried on, and of pictures where their pixels went."""

    path: Path
    card: Card
    inputs: list[Float32]
    geometries: list[Geometry | None]

    @property
    def quantised(self) -> bool:
        """Whether parts of it are integers."""
        return self.card.artifact.get("precision", "fp32") not in FLOATS


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
        BuildError: the version differs, a model is refused (the message names the op), outputs are too far apart, or
            something clear is found on one side only.
    """
    jobs = [_job(path) for path in models]
    there = run_by(python, jobs, library="tensorflow", version=version)
    quantised = [job for job in jobs if job.quantised]
    plain = run_by(Path(sys.executable), quantised, library="ai_edge_litert", plain=True)
    return [f"{job.path.name}: {_compared(job, there[job.path], plain.get(job.path))}" for job in jobs]


def run_by(
    python: Path, jobs: list[Job], *, library: str, version: str | None = None, plain: bool = False
) -> dict[Path, list[Outputs]]:
    """Return what each model gives in another process, `run_there.py`; one for all, as it starts slowly.

    Args:
        python: an interpreter that has the library.
        jobs: models and their inputs.
        library: "tensorflow" or "ai_edge_litert".
        version: that the library must have; None: any.
        plain: without XNNPACK.

    Returns:
        By path, for each input the outputs by name.

    Raises:
        BuildError: it cannot be run, or refuses a model.
    """
    found: dict[Path, list[Outputs]] = {}
    with tempfile.TemporaryDirectory(prefix="edge-accept-") as name:
        folder = Path(name)
        asked = []
        for number, job in enumerate(jobs):
            np.savez(folder / f"{number}-inputs.npz", *job.inputs)
            asked.append({"model": str(job.path.resolve()), "outputs": [spec.name for spec in job.card.outputs]})
        question = {"library": library, "version": version, "plain": plain, "jobs": asked}
        (folder / "jobs.json").write_text(json.dumps(question), encoding="utf-8")
        command = [str(python), "-I", str(Path(__file__).with_name("run_there.py")), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{library} {version or ''} cannot be run: {_refusal(done.stdout + done.stderr)}")
        for number, job in enumerate(jobs):
            refused = folder / f"{number}.txt"
            if refused.is_file():
                words = _refusal(refused.read_text(encoding="utf-8"))
                raise BuildError(f"TFLite {version or 'of this machine'} refuses `{job.path.name}`: {words}")
            with np.load(folder / f"{number}-outputs.npz") as data:
                found[job.path] = [
                    {spec.name: data[f"{i}-{j}"] for j, spec in enumerate(job.card.outputs)}
                    for i in range(len(job.inputs))
                ]
    return found


def runtime_python() -> Path:
    """Return where `fetch_runtime` puts its interpreter."""
    return cache_folder() / "tflite-runtime" / "bin" / "python"


def fetch_runtime(version: str) -> None:
    """Make an environment with that version of TFLite: 0.7 GB.

    Raises:
        BuildError: pip fails.
    """
    folder = runtime_python().parents[1]
    if (folder / version).is_file():
        return  # its last step has been done
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    command = [str(runtime_python()), "-m", "pip", "install", "-q", "--no-compile", f"tensorflow-cpu=={version}"]
    if subprocess.run(command, check=False).returncode:
        raise BuildError(f"pip cannot install tensorflow-cpu {version}; it said why above")
    (folder / version).touch()


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


def _job(path: Path) -> Job:
    card = read_card(path)
    seed = SEEDS.get(card.family, 0)
    if card.input.kind == "image":
        family = card.family if card.family in IMAGE_FAMILIES else "custom"
        prepared = [prepare(picture, card.input) for picture in synthetic_images(family, INPUTS, PICTURE_HW, seed)]
        return Job(
            path=path, card=card, inputs=[pair[0] for pair in prepared], geometries=[pair[1] for pair in prepared]
        )
    if card.input.audio is not None:
        clips = synthetic_clips(INPUTS, seed, card.input.audio)
        inputs = [prepare_audio(samples, rate, card.input) for samples, rate in clips]
    else:
        rng = np.random.default_rng(seed)
        inputs = [rng.normal(0, 1, card.input.shape).astype(np.float32) for _ in range(INPUTS)]
    return Job(path=path, card=card, inputs=inputs, geometries=[None] * INPUTS)


def _run_here(job: Job) -> list[Outputs]:
    engine = open_engine(job.path, job.card, engine="litert", threads=1)
    try:
        return [{name: values.copy() for name, values in engine.run(tensor).items()} for tensor in job.inputs]
    finally:
        engine.close()


def _refusal(text: str) -> str:
    """Return TFLite's own words in short: the op that it refuses, or else the last line."""
    found = REFUSED.search(text)
    if found:
        return (
            f"op {found['op']} version {found['version']} is newer than it knows"
            if found["version"]
            else (f"custom op {found['op']} is not in it")
        )
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "it died without a word"


def _compared(job: Job, there: list[Outputs], plain: list[Outputs] | None) -> str:
    """Return how far the app's version is from the host's engine, in words.

    Args:
        job: the model.
        there: outputs of the app's version for each input.
        plain: of a quantised model, outputs of the host's kernels without XNNPACK.

    Raises:
        BuildError: too far.
    """
    here = _run_here(job)
    told = []
    for spec in job.card.outputs:
        sides = [None if side is None else [outputs[spec.name] for outputs in side] for side in (here, there, plain)]
        item = agreement(spec.name, sides[0] or [], sides[1] or [], own=sides[2])
        if item.verdict == "differs" and not item.max_abs_error <= FLOAT_TOLERANCE * item.scale:
            raise BuildError(
                f"`{job.path.name}`, output `{spec.name}`: {_decibels(item.sqnr_db)} to the host's engine, whose own"
                f" kernels are {_decibels(item.own_sqnr_db)} apart"
            )
        told.append(_decibels(item.sqnr_db) + (f" (host's kernels {_decibels(item.own_sqnr_db)})" if plain else ""))
    words = f"accepted; outputs {', '.join(told)}"
    if job.card.input.kind != "image":
        return words
    return f"{words}; {_found(job, here, there)} clear people or faces in {INPUTS} pictures, found by both"


def _decibels(value: float | None) -> str:
    return "equal" if value is None else f"{value:.0f} dB"


def _found(job: Job, here: list[Outputs], there: list[Outputs]) -> int:
    decoder = bind(job.card)
    threshold = getattr(decoder.params, "display_threshold", 0.0)
    total = 0
    for geometry, *sides in zip(job.geometries, here, there, strict=True):
        results = [decoder(outputs, geometry, threshold=max(0.0, threshold - CLEAR)) for outputs in sides]
        clear, lonely = only_one_finds(results[0], results[1], threshold, max(PICTURE_HW))
        if lonely:
            raise BuildError(f"`{job.path.name}`: {lonely[0]}")
        total += clear
    return total // 2
