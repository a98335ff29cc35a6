"""Run a converter in a process of its own: with a time limit, a log, and one clear error when it dies.

Converters are large foreign programs that print, hang and abort. Here they cannot take the export down with them:
a child leads its own process group, which is killed as a whole on a time-out, an error or Ctrl-C.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..runtime.errors import ConversionError, ResourceError

__all__ = ["run_child", "run_module", "stop_children"]

_LIVING: set[subprocess.Popen[bytes]] = set()
_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>

# What a converter needs of the environment; keys and tokens of the user stay here.
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "OMP_NUM_THREADS")


def run_module(
    module: str,
    arguments: Sequence[str],
    *,
    log: Path,
    timeout_s: float,
    verbose: bool = False,
) -> None:
    """Run `python -m module` as a child that does not outlive us, not even where we are killed; see `run_child`."""
    argv = [sys.executable, "-P", "-m", __name__, str(os.getpid()), module, *arguments]
    run_child(argv, log=log, timeout_s=timeout_s, verbose=verbose)


def run_child(argv: Sequence[str], *, log: Path, timeout_s: float, verbose: bool = False) -> None:
    """Run a command to its end; its stdout and stderr go to `log`.

    Args:
        argv: the command, as a list; no shell sees it.
        log: file that receives all it prints; appended to.
        timeout_s: wall-clock limit, seconds.
        verbose: let it print to our stderr as well, after it ended.

    Raises:
        ConversionError: it exited with an error, or a signal ended it.
        ResourceError: it ran past the time limit, or out of memory or disk.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start = log.stat().st_size if log.exists() else 0
    # Converters litter the folder for temporary files; this one goes when they are done.
    with tempfile.TemporaryDirectory(prefix="tmp-", dir=log.parent) as scratch, log.open("ab") as stream:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment() | {"TMPDIR": scratch},
        )
        _LIVING.add(process)
        try:
            code = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired as exc:
            raise ResourceError(
                f"`{_name(argv)}` ran past its time limit",
                expected=f"at most {timeout_s:.0f} s",
                hint=f"raise --timeout; its log is {log}",
            ) from exc
        finally:
            _kill_group(process)
            _LIVING.discard(process)
    said = _tail(log, start)
    if verbose:
        sys.stderr.write(said)
    if code:
        raise _failure(_name(argv), code, said, log)


def stop_children() -> None:
    """Kill every child that other threads of this process wait for, so that an interrupt need not wait as well."""
    for process in list(_LIVING):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _failure(name: str, code: int, said: str, log: Path) -> ConversionError | ResourceError:
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "nothing was printed")
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return ResourceError(f"`{name}` ran out of disk space", hint=f"free some space; its log is {log}")
    if "MemoryError" in said or "std::bad_alloc" in said or code == -signal.SIGKILL:
        return ResourceError(f"`{name}` ran out of memory", hint=f"its log is {log}")
    if code < 0:
        cause = f"signal {signal.Signals(-code).name}"
        return ConversionError(f"`{name}` crashed", got=cause, hint=f"its log is {log}")
    return ConversionError(f"`{name}` failed", got=last[:150], hint=f"its log is {log}")


def _name(argv: Sequence[str]) -> str:
    if __name__ in argv:  # run_module: our own name, our pid, the module
        return argv[list(argv).index(__name__) + 2].rsplit(".", 1)[-1]
    return Path(argv[0]).name


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # Quiet TensorFlow; no GPU, so that a conversion is the same on every machine.
    return kept | {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
    }


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(log: Path, start: int, limit: int = 64_000) -> str:
    with log.open("rb") as stream:
        stream.seek(max(start, log.stat().st_size - limit))
        return stream.read().decode("utf-8", "replace")


def _become(parent: int, module: str, arguments: Sequence[str]) -> None:
    """Run a module in this process, which ends with its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was gone before we asked
            raise SystemExit("the parent is gone")
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
