"""One artifact on its aarch64 engine, in QEMU's emulation of a Cortex-A72, with limits and no processes left behind."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ..runtime.card import Card
from ..runtime.engines import pick_engine
from ..runtime.errors import ArtifactError, DeviceError, EdgeError, ResourceError, ShapeError
from .arm64_userland import Userland, tool

__all__ = [
    "CPU",
    "GUEST",
    "Limits",
    "command_line",
    "plugin_option",
    "program_digest",
    "qemu_version",
    "run_in_emulation",
]

Float32 = NDArray[np.float32]
CPU = "cortex-a72"
GUEST = Path(__file__).with_name("emulate_guest.py")
# Nothing of the host's reaches the guest; hashes and stack guards repeat, so that counts do. One thread for NumPy, and
# none for onnxruntime's telemetry (its pull request 27379), whose uploader would run beside what is counted.
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}
SEED = "1"  # of what QEMU hands a program as random bytes


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the emulated program may use.

    Attributes:
        wall_seconds: time until it is killed.
        memory_bytes: address space, next to eight times the file's size.
        file_bytes: largest file it may write.
    """

    wall_seconds: float = 1800.0
    memory_bytes: int = 8 << 30
    file_bytes: int = 1 << 30


def run_in_emulation(
    artifact: Path,
    card: Card,
    inputs: Sequence[Float32],
    userland: Userland,
    *,
    plugin: str | None = None,
    limits: Limits | None = None,
) -> list[dict[str, Float32]]:
    """Return the outputs of an artifact that ran on its aarch64 engine, one thread.

    Args:
        artifact: an ONNX or TFLite file.
        card: its card.
        inputs: tensors of the card's input shape, float32; at least one.
        userland: what it runs in.
        plugin: `plugin_option(...)`; then the first input gets two warm-ups and one counted inference.
        limits: default: `Limits()`.

    Returns:
        For each input: output name -> float32 array of the card's shape.

    Raises:
        DeviceError: QEMU or the userland's engine is missing, or the program died: of an illegal instruction, say.
        ArtifactError: the engine refused the file, or gave other outputs than its card says.
        ResourceError: it ran out of time or memory.
        ShapeError: an input is not what the card says.
    """
    limits = limits or Limits()
    for tensor in inputs:
        if tensor.shape != card.input.shape or tensor.dtype != np.float32:
            got = f"{tensor.dtype} {tensor.shape}"
            raise ShapeError(f"`{card.model}` takes another tensor", expected=f"float32 {card.input.shape}", got=got)
    engine = pick_engine(artifact)
    userland.engine_version(engine)
    with tempfile.TemporaryDirectory(prefix="edge-emulate-") as name:
        folder = Path(name)
        order = {
            "artifact": str(artifact.absolute()),
            "engine": engine,
            "site": str(userland.site),
            "outputs": [spec.name for spec in card.outputs],
            "inputs": len(inputs),
            "count": plugin is not None,
        }
        (folder / "order.json").write_text(json.dumps(order), encoding="utf-8")
        for index, tensor in enumerate(inputs):
            np.save(folder / f"input-{index}.npy", tensor, allow_pickle=False)
        memory = limits.memory_bytes + 8 * artifact.stat().st_size
        command = command_line(
            userland, folder / "order.json", plugin=plugin, memory_bytes=memory, file_bytes=limits.file_bytes
        )
        with tempfile.TemporaryFile() as log:
            code = _run(command, folder, log, limits.wall_seconds)
            if code != 0 or not (folder / "done").exists():
                raise _death(artifact.name, code, _tail(log), limits)
        return [_outputs(folder, index, artifact.name, card) for index in range(len(inputs))]


def command_line(
    userland: Userland, order: Path, *, plugin: str | None, memory_bytes: int, file_bytes: int
) -> list[str]:
    """Return the arguments that start the emulated program.

    `prlimit` sets its limits from without (QEMU would forward the program's own to nowhere), and `setpriv` has the
    kernel kill it when this process dies, however that comes about.
    """
    return [
        tool("prlimit"),
        f"--as={memory_bytes}",
        f"--fsize={file_bytes}",
        "--core=0",
        tool("setpriv"),
        "--pdeathsig",
        "KILL",
        tool("qemu-aarch64"),
        "-cpu",
        CPU,
        "-seed",
        SEED,
        *(["-plugin", plugin] if plugin is not None else []),
        "-L",
        str(userland.root),
        str(userland.python),
        "-sSP",
        str(GUEST),
        str(order),
    ]


def plugin_option(plugin: Path, **arguments: str) -> str:
    """Return QEMU's way to write a plug-in and its arguments; it reads a comma in a value where there are two."""
    values = [str(plugin), *(f"{name}={value}" for name, value in arguments.items())]
    return ",".join(value.replace(",", ",,") for value in values)


def qemu_version() -> str:
    """Return QEMU's version, and its package's in brackets where there is one, as it says itself.

    Raises:
        DeviceError: it is not installed or does not run.
    """
    path = tool("qemu-aarch64")
    done = subprocess.run([path, "--version"], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    found = re.search(r"version (\S+(?: \([^)]*\))?)", done.stdout)
    if done.returncode != 0 or found is None:
        raise DeviceError("`qemu-aarch64` does not say its version", got=(done.stdout + done.stderr)[:80])
    return found[1]


def program_digest(name: str) -> str:
    """Return the SHA-256 of an installed program, hexadecimal.

    Raises:
        DeviceError: it is not installed.
    """
    with open(tool(name), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _run(command: Sequence[str], folder: Path, log: IO[bytes], wall_seconds: float) -> int | None:
    """Return the exit status (negative: the signal that ended it), or None where time ran out."""
    with _child(command, folder, log, ENVIRONMENT) as child:
        try:
            return child.wait(wall_seconds)
        except subprocess.TimeoutExpired:
            return None


@contextmanager
def _child(
    command: Sequence[str], folder: Path, log: IO[bytes], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program; it is dead on the way out, Ctrl-C's included."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=environment)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def _tail(log: IO[bytes], limit: int = 4096) -> str:
    size = log.seek(0, 2)
    log.seek(max(0, size - limit))
    return log.read(limit).decode("utf-8", "replace")


def _death(name: str, code: int | None, log: str, limits: Limits) -> EdgeError:
    """Return the error for a program that did not come to its end."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = lines[-1] if lines else "nothing"
    if code is None:
        return ResourceError(f"`{name}` did not finish in emulation", expected=f"at most {limits.wall_seconds:g} s")
    if code < 0:
        killed_by = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
        if killed_by == "SIGILL":
            hint = "the engine was built for a newer processor than a Raspberry Pi 4's"
            return DeviceError(f"`{name}` met an instruction that a {CPU} does not have", got=killed_by, hint=hint)
        if killed_by == "SIGKILL":
            return ResourceError(f"`{name}` was killed in emulation", got=killed_by, hint="is memory short?")
        return DeviceError(f"`{name}` crashed its engine in emulation", got=killed_by)
    if "MemoryError" in log or "bad_alloc" in log or "Cannot allocate memory" in log:
        return ResourceError(f"`{name}` ran out of memory in emulation", got=last)
    if "plugin" in last or last.startswith("counts:"):
        hint = "Debian 12's qemu-user loads plug-ins; static builds do not"
        return DeviceError("QEMU does not load the counting plug-in", got=last, hint=hint)
    if "Traceback" not in log:
        return DeviceError(f"the emulation of `{name}` failed", got=f"exit status {code}: {last}")
    reason = re.sub(r"^[\w.]*\.(?=\w+: )", "", last)  # an exception's class without its module
    return ArtifactError(f"the aarch64 engine gave up on `{name}`", got=reason)


def _outputs(folder: Path, index: int, name: str, card: Card) -> dict[str, Float32]:
    """Read what the guest wrote, holding every array against the card."""
    outputs: dict[str, Float32] = {}
    for place, spec in enumerate(card.outputs):
        try:
            array = np.load(folder / f"output-{index}-{place}.npy", allow_pickle=False)
        except (OSError, ValueError) as exc:
            raise ArtifactError(f"`{name}` gave no output `{spec.name}` in emulation", got=str(exc)[:80]) from exc
        if array.shape != spec.shape or array.dtype != np.float32:
            got = f"{array.dtype} {array.shape}"
            raise ArtifactError(
                f"`{name}` gave another output `{spec.name}` in emulation", expected=f"float32 {spec.shape}", got=got
            )
        outputs[spec.name] = array
    return outputs
