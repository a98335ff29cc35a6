"""This machine as a device: each launch is a process of its own, in which nothing else runs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from ..runtime.engines import engine_version
from ..runtime.errors import DeviceError
from .device import Evidence
from .launch import Launch, read_launch
from .plan import Plan

__all__ = ["HostDevice"]

# The first import of an engine, a slow network's first run; beyond what the plan itself asks for.
PATIENCE_S = 120.0


class HostDevice:
    """This machine.

    Args:
        name: as results call it.
        patience_s: wall clock that a launch may take beyond what its plan asks for.
    """

    def __init__(self, name: str = "host", *, patience_s: float = PATIENCE_S) -> None:
        self.name = name
        self.evidence = Evidence.MEASURED
        self._patience_s = patience_s
        self._running: subprocess.Popen[str] | None = None

    def engine_version(self, engine: str) -> str | None:
        """Return the installed version."""
        return engine_version(engine)

    def launch(self, artifact: Path, plan: Plan, source: Path | None, launch: Launch) -> Launch:
        """Run one process of the harness here; see `device.Device`."""
        filled = dataclasses.replace(
            plan, artifact=str(artifact.resolve()), source=str(source.resolve()) if source else ""
        )
        with tempfile.TemporaryFile() as errors, _worker(filled, errors.fileno()) as process:
            self._running = process
            longest = self._patience_s + 3 * plan.warmup_s + plan.stages_s + 20 * plan.least[1]
            watch = threading.Timer(longest, process.kill)
            watch.start()
            try:
                assert process.stdout is not None
                return read_launch(process.stdout, launch)
            except DeviceError as exc:
                process.wait()
                raise DeviceError(
                    _what_happened(process.returncode, longest, watch.finished.is_set()) or exc.message,
                    got=_tail(errors) or exc.got,
                ) from exc
            finally:
                watch.cancel()

    def close(self) -> None:
        """End the process that runs, if one does."""
        if self._running is not None:
            self._running.kill()


@contextlib.contextmanager
def _worker(plan: Plan, errors: int) -> Iterator[subprocess.Popen[str]]:
    """Run the worker with its plan; it does not outlive the block."""
    # `-P` and the folder of this package, not the current one: whatever lies about there is not imported.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "edge.bench.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(_import_path())},
    )
    try:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once; its exit code tells more
            process.stdin.write(json.dumps(plan.to_dict()))
            process.stdin.close()
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _import_path() -> list[str]:
    """Return where `edge` is imported from, before what PYTHONPATH says."""
    here = Path(__file__).resolve()
    roots = [str(parent) for parent in here.parents if (parent / "edge" / "__init__.py").is_file()][:1]
    return roots + [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


def _what_happened(code: int, longest: float, late: bool) -> str | None:
    if late:
        return f"the harness did not end within {longest:.0f} s and was killed"
    if code < 0:
        return f"the harness was killed by signal {-code}"
    return None


def _tail(stream: object) -> str:
    assert hasattr(stream, "seek")
    stream.seek(0)  # type: ignore[attr-defined]
    lines = stream.read().decode("utf-8", "replace").strip().splitlines()  # type: ignore[attr-defined]
    return lines[-1][:160] if lines else ""
