"""One phone over adb: the user's own `adb` as a subprocess, one command after the other.

Words for the phone's shell are ours or hexadecimal; a serial is checked before it is a word of a command. A file that
was sent counts when the phone has computed the same SHA-256 of it, and only then gets its name.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from ..runtime.errors import DeviceError, InputError, MissingExtraError
from .adb_errors import adb_error, is_lost, state_error

__all__ = ["SERIAL", "VARIABLE", "Adb", "Stream", "find_adb"]

VARIABLE = "EDGE_ADB"
SERIAL = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9._:%@\[\]-]{0,127}")
COMMAND_S = 30.0
TRANSFER_S = 300.0  # 100 MB over a bad cable
POLL_S = 5.0  # of silence, after which the phone is asked whether it is still there
MAX_LINE = 4 << 20


def find_adb(program: str | None = None) -> str:
    """Return the path of adb: the one that is named, `$EDGE_ADB`, the first on the path, or that of `adbutils`.

    Raises:
        MissingExtraError: there is none; the hint says how to get one.
    """
    named = program or os.environ.get(VARIABLE)
    found = shutil.which(named or "adb")
    if found is None and named is None and (spec := importlib.util.find_spec("adbutils")) and spec.origin:
        found = shutil.which(str(Path(spec.origin).parent / "binaries" / "adb"))
    if found is None:
        raise MissingExtraError(
            f"there is no `{named or 'adb'}` on this machine",
            hint=f"apt-get install adb, or pip install adbutils, or name one in {VARIABLE}",
        )
    return found


class Adb:
    """A phone; nothing is asked of it before a method is called.

    Args:
        serial: of `adb devices`; "" takes the only one.
        program: of adb; None finds it.

    Attributes:
        serial: of the phone; "" before `choose`.

    Raises:
        MissingExtraError: there is no adb.
        InputError: the serial is none.
    """

    def __init__(self, serial: str = "", program: str | None = None) -> None:
        if serial and not SERIAL.fullmatch(serial):
            raise InputError("bad serial of a phone", expected="one that `adb devices` lists", got=serial[:40])
        self.serial = serial
        self.program = find_adb(program)

    def devices(self) -> dict[str, str]:
        """Return serial -> state of all phones that adb knows, in its order."""
        told = self._run(["devices"], COMMAND_S)
        rows = [line.split(None, 1) for line in told.splitlines() if line and not line.startswith(("List of", "*"))]
        return {row[0]: row[1].strip() for row in rows if len(row) == 2}

    def choose(self) -> str:
        """Take the phone that is named, or the only one, and return its serial.

        Raises:
            InputError: several are connected and none is named.
            DeviceError: it is not connected, or adb may not talk to it.
        """
        known = self.devices()
        listed = ", ".join(known) or "none"
        if self.serial and self.serial not in known:
            raise DeviceError(f"phone `{self.serial}` is not connected", got=listed, hint="see `adb devices`")
        if not self.serial:
            ready = [serial for serial, state in known.items() if state == "device"] or list(known)
            if not ready:
                raise DeviceError(
                    "no phone is connected", hint="turn on USB debugging in its developer options, and plug it in"
                )
            if len(ready) > 1:
                raise InputError(f"{len(ready)} phones are connected", got=listed, hint="name one with `--serial`")
            self.serial = ready[0]
        if known[self.serial] != "device":
            raise state_error(self.serial, known[self.serial])
        return self.serial

    def shell(self, script: str, timeout_s: float = COMMAND_S) -> str:
        """Run a script of the phone's shell and return what it printed on stdout.

        Args:
            script: of ours; nothing foreign is in it.
            timeout_s: longest wait, seconds.

        Raises:
            DeviceError: the phone is gone, the script failed, or it took too long.
        """
        return self._run(["-s", self.serial, "shell", "-n", script], timeout_s)

    def push(self, path: Path, remote: str, sha256: str) -> None:
        """Send a file; it has its name on the phone only when all of it has arrived.

        Args:
            path: on this machine.
            remote: on the phone; its folder is there.
            sha256: of the content, hexadecimal.

        Raises:
            DeviceError: no room, no phone, or what arrived is something else.
        """
        part = f"{remote}.part"
        self._run(["-s", self.serial, "push", os.fspath(path), part], TRANSFER_S)
        # Before Android 8 there is no such program; the app computes it again in any case.
        told = self.shell(f"sha256sum {part} 2>/dev/null || echo none", TRANSFER_S).split()
        if told[:1] not in ([sha256], ["none"]):
            raise DeviceError(
                f"what was sent to `{self.serial}` arrived damaged", expected=f"SHA-256 {sha256[:12]}", got=told[:1]
            )
        self.shell(f"chmod 644 {part} && mv -f {part} {remote}")

    def install(self, apk: Path) -> None:
        """Install an app, or put it in the place of an older one.

        Raises:
            DeviceError: the phone refused it, or is gone.
        """
        self._run(["-s", self.serial, "install", "--no-streaming", "-r", "-t", os.fspath(apk)], TRANSFER_S)

    def stream(self, script: str) -> Stream:
        """Start a script of the phone's shell whose lines are read as they come; to be used in a `with` block."""
        return Stream(self, [self.program, "-s", self.serial, "shell", "-n", script])

    def is_there(self) -> bool:
        """Return whether the phone still answers."""
        with contextlib.suppress(DeviceError):
            self.shell(":", POLL_S)
            return True
        return False

    def _run(self, arguments: list[str], timeout_s: float) -> str:
        try:
            done = subprocess.run(
                [self.program, *arguments],
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                start_new_session=True,  # Ctrl-C is for us; cleaning up needs adb alive
            )
        except subprocess.TimeoutExpired as exc:
            raise DeviceError(
                f"`{self.serial or 'adb'}` does not answer", expected=f"an answer within {timeout_s:.0f} s"
            ) from exc
        except OSError as exc:
            raise DeviceError("adb cannot be run", got=exc.strerror) from exc
        printed, errors = (raw.decode("utf-8", "replace") for raw in (done.stdout, done.stderr))
        if done.returncode:
            raise adb_error(self.serial or "the phone", f"{errors}\n{printed}")
        return printed


class Stream:
    """A script that runs on a phone, and its lines."""

    def __init__(self, adb: Adb, command: list[str]) -> None:
        self._adb = adb
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors = ""
        self._closed = False
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lines(self, silence_s: float, most_s: float) -> Iterator[str]:
        """Yield whole lines as they come, until the script has ended.

        Args:
            silence_s: longest time without a line, seconds.
            most_s: longest time in all, seconds.

        Raises:
            DeviceError: the phone is gone, or the script said nothing for too long, or did not end.
        """
        began = spoken = monotonic()
        while True:
            try:
                line = self._lines.get(timeout=POLL_S)
            except queue.Empty:
                if not self._adb.is_there():
                    raise adb_error(self._adb.serial, "error: closed") from None
                line = ""
            if line is None:
                self._check_end()
                return
            now = monotonic()
            if line:
                spoken = now
                yield line
            if now - spoken > silence_s or now - began > most_s:
                raise DeviceError(
                    f"the benchmark on `{self._adb.serial}` does not answer",
                    expected=f"a line every {silence_s:.0f} s and an end within {most_s:.0f} s",
                )

    def close(self) -> None:
        """End adb's side of it. Safe to call twice, and from another thread."""
        self._closed = True
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(POLL_S)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _check_end(self) -> None:
        code = self._process.wait()
        self._threads[1].join(1.0)
        if self._closed:
            raise DeviceError(f"the connection to `{self._adb.serial}` was closed here")
        if is_lost(self._errors) or not self._adb.is_there():
            raise adb_error(self._adb.serial, self._errors if is_lost(self._errors) else "error: closed")
        if code and self._errors.strip():
            raise adb_error(self._adb.serial, self._errors)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while line := self._process.stdout.readline(MAX_LINE):
                if line.endswith(b"\n"):  # what a phone that vanished left of a line is dropped
                    self._lines.put(line.decode("utf-8", "replace").rstrip("\r\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            self._errors = self._process.stderr.read().decode("utf-8", "replace")[-4000:]
