"""What runs on a device behind SSH, beside the harness: it takes files, holds the lock, starts workers and ends them.

The text of this file and of `environment.py` goes to the device's Python on its command line (`ssh_session`), before
anything of ours is there. So it needs Linux, Python 3.11 and the standard library, and nothing else.

One such process serves one connection. It reads orders on stdin, one JSON line each, and empty lines, which mean that
the other side is alive: when none comes for some seconds, or stdin ends, whatever runs is killed and nothing is left
but the cache. On stdout it writes `MARK`, before which a login shell may have chattered, then lines of its own (`!` and
one JSON object) and those of the worker (`>` and the line).

In the cache folder, by the SHA-256 of what was sent: `<hash>/` an unpacked payload, `<hash>.onnx` a file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from .environment import NOW_BITS, environment

__all__ = ["MARK", "SCHEMA", "main"]

SCHEMA = 1
MARK = f"edge-bench device {SCHEMA}"
CHUNK = 1 << 16
MAX_LINE = 4 << 20
MAX_ORDER = 1 << 20
TAIL = 2000  # bytes of a worker's stderr that are told
POLL_S = 5.0  # between two looks at the temperature
NAME = re.compile(r"[0-9a-f]{64}(\.[a-z0-9]{1,8})?")


class Refused(Exception):
    """An order cannot be carried out; `told` goes to the other side."""

    def __init__(self, kind: str, **told: Any) -> None:
        super().__init__(kind)
        self.told = {"event": "failed", "kind": kind, **told}


class Silence(Exception):
    """The other side hung up, or has said nothing for too long."""


def main(patience_s: float, lock_s: float) -> int:
    """Serve one connection and return the exit code.

    Args:
        patience_s: silence after which the other side counts as gone.
        lock_s: longest wait for another benchmark to end, seconds.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wire = Wire(patience_s)
    try:
        wire.say_line(MARK)
        cache = Cache.open(lock_s)
        wire.say({"event": "hello", "schema": SCHEMA, **_machine()})
        while True:
            _obey(wire.order(), wire, cache)
    except Refused as refusal:
        wire.say(refusal.told)
        return 4
    except (Silence, BrokenPipeError):
        return 0


class Wire:
    """Both directions of the connection: orders and bytes in, lines out."""

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._held = b""
        self._mutex = threading.Lock()

    def say(self, event: dict[str, Any]) -> None:
        """Write a line of our own."""
        self.say_line("!" + json.dumps(event))

    def say_line(self, line: str | bytes) -> None:
        """Write one line; it may block while the connection is down."""
        rest = (line.encode() if isinstance(line, str) else line).rstrip(b"\n") + b"\n"
        with self._mutex:
            while rest:
                rest = rest[os.write(1, rest) :]

    def order(self) -> dict[str, Any]:
        """Return the next order."""
        while True:
            line, found, rest = self._held.partition(b"\n")
            if found:
                self._held = rest
                if line.strip():
                    order = json.loads(line)
                    return order if isinstance(order, dict) else {}
            elif len(line) > MAX_ORDER:
                raise Refused("protocol", message="an order is too long")
            else:
                self._more()

    def raw(self, size: int) -> Iterator[bytes]:
        """Yield exactly `size` bytes that follow an order."""
        while size:
            if not self._held:
                self._more()
            chunk, self._held = self._held[:size], self._held[size:]
            size -= len(chunk)
            yield chunk

    def watch(self, seconds: float, ended: int | None = None) -> bool:
        """Wait for a time, or until the file descriptor `ended` is readable, which is told by True.

        Raises:
            Silence: the other side went away meanwhile.
        """
        end = monotonic() + seconds
        heard = monotonic()
        while (now := monotonic()) < end:
            wait = min(end, heard + self.patience_s) - now
            ready = select.select([0] if ended is None else [0, ended], [], [], max(wait, 0))[0]
            if 0 in ready:
                self._read()
                self._held = self._held.lstrip(b"\n")  # signs of life
                heard = monotonic()
            elif monotonic() - heard >= self.patience_s:
                raise Silence
            if ended in ready:
                return True
        return False

    def _more(self) -> None:
        if not select.select([0], [], [], self.patience_s)[0]:
            raise Silence
        self._read()

    def _read(self) -> None:
        chunk = os.read(0, CHUNK)
        if not chunk:
            raise Silence
        self._held += chunk


class Cache:
    """The folder that stays, and the lock that lets one benchmark run on this device at a time."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self.lock = lock

    @classmethod
    def open(cls, lock_s: float) -> Cache:
        """Return the cache of this user, locked, without what an earlier run may have left behind."""
        import fcntl  # Linux only, and the other side, which imports this file too, may be something else

        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        folder = Path(base) / "edge-bench"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid != os.getuid():
                raise Refused("cache", message=f"`{folder}` belongs to somebody else")
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as exc:
            raise _no_room(exc, folder, 0) from exc
        end = monotonic() + lock_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as exc:
                if monotonic() >= end:
                    raise Refused("busy", pid=os.read(lock, 20).decode("ascii", "replace")) from exc
                sleep(POLL_S / 10)
        with contextlib.suppress(OSError):  # the number is for people; a full disk is told when it matters
            os.ftruncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
        for left in folder.iterdir():
            if left.name.startswith("run-") or left.suffix == ".part":
                _remove(left)
        return cls(folder, lock)

    def has(self, name: str) -> bool:
        """Return whether an unpacked payload or an undamaged file is there."""
        path = self.folder / _checked(name)
        if path.is_dir():
            return True
        return path.is_file() and _sha256(path) == name[:64]

    def put(self, name: str, size: int, room: int, wire: Wire) -> None:
        """Take a file that follows; `room` bytes are needed for it and, where `name` has no suffix, its content."""
        path, part = self.folder / _checked(name), self.folder / f"{name}.part"
        try:
            if (free := shutil.disk_usage(self.folder).free) < room:
                raise Refused("full", needed_bytes=room, free_bytes=free, folder=str(self.folder))
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
            with os.fdopen(os.open(part, flags, 0o600), "wb") as out:
                for chunk in wire.raw(size):
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            if (found := _sha256(part)) != name[:64]:
                raise Refused("damaged", name=name, got=found)
            if path.suffix:
                os.replace(part, path)
                return
            unpacked = self.folder / f"{name}.unpacked.part"
            _unpack(part, unpacked)
            os.sync()  # a power cut must not leave a folder that only looks whole
            os.rename(unpacked, path)
        except OSError as exc:
            raise _no_room(exc, self.folder, room) from exc
        finally:
            for left in self.folder.glob(f"{name}*.part"):
                _remove(left)

    def clear(self) -> int:
        """Remove everything but the lock and return how many bytes that freed."""
        freed = 0
        for path in self.folder.iterdir():
            if path.name != "lock":
                files = [path] if path.is_file() else path.rglob("*")
                freed += sum(file.lstat().st_size for file in files if file.is_file())
                _remove(path)
        return freed


def _obey(order: dict[str, Any], wire: Wire, cache: Cache) -> None:
    what = order.get("do")
    if what == "has":
        wire.say({"event": "answer", "has": [name for name in order["names"] if cache.has(name)]})
    elif what == "put":
        cache.put(order["name"], order["size"], order["room"], wire)
        wire.say({"event": "answer"})
    elif what == "try":
        arguments = ["-c", f"import numpy, {order['module']}"]
        _supervise(arguments, "", order, wire, cache)
    elif what == "run":
        plan = dict(order["plan"])
        for key in ("artifact", "source"):
            plan[key] = str(cache.folder / _checked(order[key])) if order[key] else ""
        _cool_down(order["cool_c"], order["cool_s"], wire)
        _supervise(["-m", "edge.bench.worker"], json.dumps(plan), order, wire, cache)
    elif what == "clear":
        wire.say({"event": "answer", "bytes": cache.clear()})
    else:
        raise Refused("protocol", message=f"an unknown order: {str(what)[:40]}")


def _machine() -> dict[str, Any]:
    """Return what this machine is, and what tells which wheels its Python takes."""
    glibc = ""
    with contextlib.suppress(ValueError, OSError):
        glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")
    return {
        "environment": environment(),
        "bits": struct.calcsize("P") * 8,
        "glibc": glibc,
        "venv": sys.prefix != sys.base_prefix,
    }


def _cool_down(limit_c: float, most_s: float, wire: Wire) -> None:
    """Wait until the device is cool enough and not throttled now."""
    end = monotonic() + most_s
    while True:
        state = environment()
        celsius, bits = state["temperature_c"], (state["throttled"] or 0) & NOW_BITS
        if not bits and (celsius is None or celsius <= limit_c):
            return
        if monotonic() >= end:
            raise Refused("hot", temperature_c=celsius, throttled=state["throttled"])
        wire.say({"event": "cooling", "temperature_c": celsius, "throttled": state["throttled"]})
        wire.watch(min(POLL_S, most_s))


def _supervise(arguments: list[str], text: str, order: dict[str, Any], wire: Wire, cache: Cache) -> None:
    """Run Python on what was unpacked, pass its lines on and tell how it ended; kill it when the line is dead."""
    folder = cache.folder / f"run-{os.getpid()}"
    try:
        folder.mkdir(mode=0o700)
    except OSError as exc:
        raise _no_room(exc, cache.folder, 0) from exc
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    paths = [str(cache.folder / _checked(name)) for name in order["payloads"]]
    # Whatever an engine writes for itself (onnxruntime keeps a device identity) goes with the folder.
    own = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TMPDIR"), str(folder))
    variables = {**kept, **own, "PYTHONPATH": os.pathsep.join(paths)}
    ended, tell_ended = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-s", "-P", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=variables,
        start_new_session=True,
        pass_fds=(cache.lock,),  # should this process be killed, the device stays locked until the child has gone too
        preexec_fn=_dying_with_parent(),
    )
    tail: list[bytes] = []
    try:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(text.encode())
            child.stdin.close()
        threading.Thread(target=_pass_on, args=(child, wire, tell_ended), daemon=True).start()
        errors = threading.Thread(target=_keep_tail, args=(child, tail), daemon=True)
        errors.start()
        in_time = wire.watch(order["timeout_s"], ended)
        if in_time:
            with contextlib.suppress(subprocess.TimeoutExpired):  # its last line is out; engines take a moment to close
                child.wait(POLL_S)
    finally:  # a dead line comes this way
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        _remove(folder)
    wire.watch(POLL_S, ended)
    os.close(ended)
    errors.join(1.0)
    wire.say(
        {
            "event": "exit",
            "code": child.returncode,
            "signal": _signal_name(-child.returncode) if child.returncode < 0 else "",
            "timed_out": not in_time,
            "stderr": b"".join(tail)[-TAIL:].decode("utf-8", "replace"),
        }
    )


def _pass_on(child: subprocess.Popen[bytes], wire: Wire, tell_ended: int) -> None:
    """Pass whole lines on; what a killed worker left of a line is dropped."""
    assert child.stdout is not None
    with contextlib.suppress(OSError):
        while line := child.stdout.readline(MAX_LINE):
            if line.endswith(b"\n") or len(line) == MAX_LINE:
                wire.say_line(b">" + line)
    os.close(tell_ended)


def _keep_tail(child: subprocess.Popen[bytes], tail: list[bytes]) -> None:
    assert child.stderr is not None
    while chunk := os.read(child.stderr.fileno(), CHUNK):
        tail[:] = [b"".join(tail)[-TAIL:], chunk[-TAIL:]]


def _dying_with_parent() -> Callable[[], object] | None:
    """Return what makes a child die with this process, where that can be had."""
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    return lambda: prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _unpack(archive: Path, into: Path) -> None:
    """Unpack a zip, and the wheels in it, into one folder."""
    with zipfile.ZipFile(archive) as outer:
        for entry in outer.infolist():
            if entry.filename.endswith(".whl"):
                with outer.open(entry) as stream, zipfile.ZipFile(stream) as wheel:
                    for member in wheel.infolist():
                        wheel.extract(member, into)
            else:
                outer.extract(entry, into)


def _checked(name: object) -> str:
    """Return a name of the cache, which names nothing outside it."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Refused("protocol", message=f"not a name of the cache: {str(name)[:40]}")
    return name


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _no_room(exc: OSError, folder: Path, needed: int) -> Refused:
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        free = 0
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(folder).free
        return Refused("full", needed_bytes=needed, free_bytes=free, folder=str(folder))
    return Refused("cache", message=f"cannot use `{folder}`: {exc.strerror}")


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
