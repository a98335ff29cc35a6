"""Run a program that must not outlive whoever started it, nor leave a process or its folder behind.

    python -I -S keeper.py FOLDER CPUS PROGRAM [ARGUMENT ...]     CPUS: 0,2 or -

The keeper's stdin is a pipe from its parent. When it closes, because the parent wants so or was killed, the keeper ends
the program and all that came of it, removes the folder, and ends with the program's exit status. Orphans of the program
become the keeper's children, so that none can slip away; if the keeper itself is killed, so is the program.

Run as a file, for it needs nothing but Python and starts in 20 ms.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

__all__ = ["children"]

# Of <sys/prctl.h>.
SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36
KILL_S = 10.0


def main(folder: str, cpus: str, command: list[str]) -> int:
    """Run the command until it ends or stdin does, and return its exit status, 1 if it was killed here."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if cpus != "-":
        os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    _control(SET_CHILD_SUBREAPER, 1)
    try:
        # Nothing else runs in this process yet, so that a function between fork and exec is safe.
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: _control(SET_PDEATHSIG, signal.SIGKILL),
        )
        threading.Thread(target=_wait_for_stdin, args=(child,), daemon=True).start()
        status = child.wait()
    finally:
        _kill_all()
        shutil.rmtree(folder, ignore_errors=True)
    return status if status >= 0 else 1


def children(process: int) -> list[int]:
    """Return the ids of all processes that descend from one, itself not among them; none where /proc is not there."""
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for word in task.read_text(encoding="ascii").split():
                found += [int(word), *children(int(word))]
    return found


def _wait_for_stdin(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 4096):
        pass
    child.kill()


def _kill_all() -> None:
    """Kill all descendants; those whose parents go first come here, until none is left."""
    end = time.monotonic() + KILL_S
    while (left := children(os.getpid())) and time.monotonic() < end:
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.005)


def _control(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
