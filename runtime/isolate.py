"""A first run in a child process with limits, so that a crafted file cannot take the main process with it.

Engines are native code: on crafted files they abort, divide by zero or never return (reliability bar, SEC-1 to SEC-3).
`probe` loads a file and runs it once on noise in a child; whatever happens there comes back as one `EdgeError`. This
guards against crashes and bombs. It is no sandbox: the child has the rights of its user.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from . import errors
from .card import Card
from .errors import ArtifactError, EdgeError, ResourceError
from .trust import is_trusted, trust

__all__ = ["Limits", "guard", "limit_self", "probe", "run_limited"]

_GIB = 1 << 30
# A child inherits these variables only; none of them carries a secret.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT", "TEMP")
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGFPE", "SIGILL", "SIGBUS", "SIGTRAP", "SIGSYS")


class Limits:
    """What the child may use.

    Attributes:
        memory_bytes: address space, next to four times the file's size.
        cpu_seconds: processor time.
        wall_seconds: time until it is killed.
        file_bytes: largest file it may write; its own log is the only one it needs.
    """

    memory_bytes = 2 * _GIB  # numpy with onnxruntime starts in 0.5 GiB
    cpu_seconds = 60
    wall_seconds = 120.0
    file_bytes = 16 << 20


def guard(
    path: str | os.PathLike[str], card: Card, *, engine: str = "auto", limits: Limits | type[Limits] = Limits
) -> bool:
    """Probe an artifact unless this machine knows it; return whether a child was needed.

    Raises:
        ArtifactError, ResourceError, MissingExtraError: see `probe`.
    """
    if is_trusted(path):
        return False
    probe(path, card, engine=engine, limits=limits)
    trust(path)
    return True


def probe(
    path: str | os.PathLike[str], card: Card, *, engine: str = "auto", limits: Limits | type[Limits] = Limits
) -> None:
    """Load an artifact in a child process and run it once on noise; return when that went well.

    Args:
        path: an ONNX or TFLite file.
        card: its card.
        engine: see `engines.open_engine`.
        limits: what the child may use.

    Raises:
        ArtifactError: the file is damaged, or crashed the engine.
        ResourceError: it needed more time or memory than the limits allow.
        MissingExtraError: the engine is not installed.
    """
    name = os.path.basename(os.fspath(path))
    order = {
        "path": os.path.abspath(path),
        "card": card.to_dict(),
        "engine": engine,
        "memory_bytes": limits.memory_bytes + 4 * _size(path),
        "cpu_seconds": limits.cpu_seconds,
        "file_bytes": limits.file_bytes,
    }
    with (
        tempfile.TemporaryDirectory(prefix="edge-probe-") as folder,
        tempfile.TemporaryFile() as answer,
        tempfile.TemporaryFile() as log,
    ):
        # Files, not pipes: the limit on file size then bounds what a file can make the engine print.
        code = run_limited(order, folder, answer, log, limits.wall_seconds)
        if code is None:
            raise ResourceError(f"`{name}` did not finish one run", expected=f"at most {limits.wall_seconds:g} s")
        if code == 0:
            return
        raise _what_happened(name, code, _tail(answer), _tail(log), limits)


def _size(path: str | os.PathLike[str]) -> int:
    try:
        return os.stat(path).st_size
    except OSError as exc:
        raise ArtifactError(f"cannot read `{os.fspath(path)}`", got=exc.strerror) from exc


def run_limited(
    order: dict[str, object],
    folder: str,
    answer: IO[bytes],
    log: IO[bytes],
    wall_seconds: float,
    module: str = __name__,
) -> int | None:
    """Run a module in a child, and return its exit status, negative where a signal ended it; None: time ran out.

    Args:
        order: what it reads from stdin, as JSON; it has `memory_bytes`, `cpu_seconds` and `file_bytes` for
            `limit_self`, which the module calls first.
        folder: where it runs.
        answer, log: files for its stdout and stderr.
        wall_seconds: until it is killed.
        module: imported name; it is run by `python -m`.
    """
    environment = {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
    # Each thread reserves address space, which would eat the limit on a machine with many cores.
    environment.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=answer,
        stderr=log,
        cwd=folder,
        env=environment,
    )
    try:
        child.communicate(json.dumps(order).encode(), timeout=wall_seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:  # Ctrl-C comes this way, too
        if child.poll() is None:
            child.kill()
            child.wait()
    return child.returncode


def _tail(stream: IO[bytes], limit: int = 4096) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - limit))
    return stream.read(limit).decode("utf-8", "replace")


def _what_happened(name: str, code: int, answer: str, log: str, limits: Limits | type[Limits]) -> EdgeError:
    if code < 0:
        signal_name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
        if signal_name == "SIGXCPU":
            return ResourceError(f"`{name}` did not finish one run", expected=f"at most {limits.cpu_seconds} s of CPU")
        if signal_name in _CRASHES and "bad_alloc" not in log:
            return ArtifactError(f"`{name}` crashed the engine", got=signal_name, hint="do not use this file")
        return ResourceError(f"`{name}` ran out of memory", got=signal_name)
    with contextlib.suppress(ValueError, TypeError, AttributeError, LookupError):
        told = json.loads(answer.strip().splitlines()[-1])
        kind = getattr(errors, told["kind"])
        if issubclass(kind, EdgeError):
            hint = str(told["hint"]) if told["hint"] else None
            error: EdgeError = kind(str(told["message"]), hint=hint)
            return error
    return ArtifactError(f"`{name}` made the engine give up", got=f"exit status {code}: {log[-120:].strip()}")


def limit_self(order: dict[str, int]) -> None:
    """Hold this process to the limits of an order; see `run_limited`."""
    try:
        import resource
    except ImportError:  # Windows has no rlimits; the time limit of the parent still holds
        return
    for kind, wanted in (
        (resource.RLIMIT_AS, order["memory_bytes"]),
        (resource.RLIMIT_CPU, order["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, order["file_bytes"]),
        (resource.RLIMIT_CORE, 0),
    ):
        soft_and_hard = [limit for limit in resource.getrlimit(kind) if limit != resource.RLIM_INFINITY]
        # At the soft limit of CPU time comes SIGXCPU, which tells time from memory; at the hard one SIGKILL.
        hard = min([wanted + 5 * (kind == resource.RLIMIT_CPU), *soft_and_hard])
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some of them; the time limit still holds
            resource.setrlimit(kind, (min(wanted, hard), hard))


def _child() -> int:
    """Do what `probe` asks, in the child; the answer is one JSON line."""
    order = json.loads(sys.stdin.buffer.read())
    limit_self(order)
    try:
        from .engines import noise_input, open_engine

        card = Card.from_dict(order["card"])
        engine = open_engine(Path(order["path"]), card, engine=order["engine"])
        engine.run(noise_input(card))
        engine.close()
    except MemoryError:
        return _answer(ResourceError(f"`{os.path.basename(order['path'])}` ran out of memory"))
    except EdgeError as error:
        return _answer(error)
    return 0


def _answer(error: EdgeError) -> int:
    told = {"kind": type(error).__name__, "message": str(error)[:1000], "hint": error.hint}
    sys.stdout.write("\n" + json.dumps(told) + "\n")
    sys.stdout.flush()
    return error.exit_code


if __name__ == "__main__":
    status = _child()
    sys.stdout.flush()
    os._exit(status)  # native destructors have nothing to say any more
