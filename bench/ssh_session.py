"""One connection to a device by OpenSSH's own client, and `remote.py` at its other end.

Users' keys, agents, jump hosts and known hosts work as they do for `ssh`. Nothing is asked: a host whose key is not
known is refused. All goes over one connection, whose other end kills what it runs when this one has been silent for
`PATIENCE_S`; this end finds a dead connection by ssh's own keep-alives.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import shlex
import shutil
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

from ..runtime.errors import DeviceError, MissingExtraError
from .config import DeviceConfig
from .remote import MARK, MAX_LINE, SCHEMA
from .ssh_errors import TRANSPORT, refusal, ssh_error, state_text

__all__ = ["PATIENCE_S", "Session", "check_exit"]

OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=2",
    "ServerAliveCountMax=3",
    "LogLevel=INFO",  # what went wrong is read from it
    "RequestTTY=no",
    "RemoteCommand=none",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "ControlPath=none",  # somebody else's connection would hide why ours failed
)
BEAT_S = 2.0
PATIENCE_S = 15.0  # of the device, until it takes us for gone
HELLO_S = 120.0  # a login shell and the first start of Python on a busy device
ANSWER_S = 300.0  # unpacking 200 MB onto an SD card, the first import of an engine from it
MAX_CHATTER = 1 << 16  # of a login shell, before our program speaks
CHUNK = 1 << 18
ERRORS = 8000  # characters of stderr that are kept
# Valid in every Python, so that an old one can say that it is.
START = (
    "import sys;v=sys.version_info;v>=(3,11)or(sys.stdout.write('edge-bench python %d.%d.%d\\n'%tuple(v[:3])),"
    "sys.stdout.flush(),sys.exit(3));import base64,zlib;exec(zlib.decompress(base64.b64decode(sys.argv[1])))"
)


class Session:
    """A connection in the making; `greet` waits for it.

    Args:
        config: where to.
        tell: takes lines of progress.
        lock_s: longest wait for another benchmark on the device to end, seconds.

    Attributes:
        hello: what the device said of itself; empty before `greet`.

    Raises:
        MissingExtraError: there is no ssh here.
    """

    def __init__(self, config: DeviceConfig, tell: Callable[[str], None], lock_s: float = 0.0) -> None:
        self.hello: dict[str, Any] = {}
        self._host = config.ssh
        self._tell = tell
        self._lines: queue.Queue[bytes | None] = queue.Queue(maxsize=16)
        self._errors = ""
        self._writing = threading.Lock()
        self._closed = threading.Event()
        if shutil.which("ssh") is None:
            raise MissingExtraError("there is no `ssh` on this machine", hint="install OpenSSH's client")
        self._ssh = subprocess.Popen(
            _command(config, lock_s),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C ends it through `close`, not by chance
        )
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._read_lines, self._read_errors, self._beat)
        ]
        for thread in self._threads:
            thread.start()

    def greet(self) -> None:
        """Wait until our program runs on the device.

        Raises:
            DeviceError: no connection, no Python of ours at its end, no room, or another benchmark runs there.
        """
        chatter = b""
        while True:
            line = self._line(HELLO_S, chatter)
            if line.strip() == MARK.encode():
                break
            chatter += line
            if len(chatter) > MAX_CHATTER:
                raise DeviceError(f"the shell of `{self._host}` does not stop talking", got=_shown(chatter[:60]))
        event = self._event(HELLO_S)
        if not isinstance(event, dict) or event.get("event") != "hello" or event.get("schema") != SCHEMA:
            raise DeviceError(f"`{self._host}` did not greet", got=str(event)[:60])
        self.hello = event

    def ask(self, order: dict[str, Any], content: bytes = b"") -> dict[str, Any]:
        """Send an order, with bytes that follow it, and return the answer.

        Raises:
            DeviceError: the connection was lost, the device said no, or what it said is no answer.
        """
        self._send(order, content)
        while True:
            event = self._event(ANSWER_S)
            if isinstance(event, dict) and event.get("event") in ("answer", "exit"):
                return event

    def run(self, order: dict[str, Any], patience_s: float) -> Iterator[str]:
        """Send an order that runs a worker, and yield the lines that it writes.

        Args:
            order: for `remote.py`.
            patience_s: longest silence until the worker has ended.

        Raises:
            DeviceError: the connection was lost, the device said no, or the worker did not end by itself.
        """
        self._send(order)
        while True:
            event = self._event(patience_s)
            if isinstance(event, str):
                yield event
            elif event.get("event") == "cooling":
                self._tell(f"cooling down: {state_text(event)}")
            elif event.get("event") == "exit":
                check_exit(event, order)
                return

    def finish(self, seconds: float) -> None:
        """Wait for the end of a worker that has said its last line; how it ends does not matter any more.

        Raises:
            DeviceError: the connection was lost, or it did not end in that time.
        """
        end = monotonic() + seconds
        while (left := end - monotonic()) > 0:
            event = self._event(left)
            if isinstance(event, dict) and event.get("event") == "exit":
                return
        raise DeviceError("the harness on the device does not end")

    def close(self) -> None:
        """End the connection; what runs at its other end is killed. Safe to call twice, and from another thread."""
        self._closed.set()
        held = self._writing.acquire(timeout=0.5)  # not while somebody writes; who is stuck is freed by the kill below
        with contextlib.suppress(OSError, ValueError):
            assert self._ssh.stdin is not None
            self._ssh.stdin.close()
        if held:
            self._writing.release()
        try:
            self._ssh.wait(1.5)
        except subprocess.TimeoutExpired:
            self._ssh.kill()
            self._ssh.wait()
        with contextlib.suppress(queue.Empty):  # let the reader go, should it wait for room
            while True:
                self._lines.get_nowait()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(BEAT_S)
        with contextlib.suppress(queue.Full):  # the end, for whoever waits for a line: it may have been drained above
            self._lines.put_nowait(None)
        for stream in (self._ssh.stdout, self._ssh.stderr):
            if stream is not None:
                stream.close()

    def _event(self, seconds: float) -> dict[str, Any] | str:
        """Return the device's next words, or a worker's line."""
        line = self._line(seconds)
        if line.startswith(b">"):
            return line[1:].decode("utf-8", "replace")
        try:
            event = json.loads(line[1:]) if line.startswith(b"!") else None
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise DeviceError(f"`{self._host}` sent what is no answer", got=_shown(line[:60]))
        if event.get("event") == "failed":
            raise refusal(self._host, event)
        return event

    def _line(self, seconds: float, spoken: bytes = b"") -> bytes:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise DeviceError(f"`{self._host}` has said nothing for {seconds:.0f} s") from None
        if line is not None:
            return line
        self._lines.put(None)  # for whoever asks again
        raise self._lost(spoken)

    def _lost(self, spoken: bytes = b"") -> DeviceError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._ssh.wait(5)
        self._threads[1].join(1)
        if self._closed.is_set():
            return DeviceError(f"the connection to `{self._host}` was closed here")
        code = self._ssh.poll()
        said = self._errors.strip()[-100:]
        if self.hello and (code != TRANSPORT or not said):
            hint = "it may have been killed there; run it again"
            return DeviceError(f"our program on `{self._host}` ended", got=said or f"exit code {code}", hint=hint)
        return ssh_error(self._host, -1 if code is None else code, self._errors, _shown(spoken))

    def _send(self, order: dict[str, Any], content: bytes = b"") -> None:
        pieces = [json.dumps(order).encode() + b"\n"]
        pieces += [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]
        try:
            with self._writing:
                for piece in pieces:
                    self._write(piece)
        except (OSError, ValueError):
            self._explain_send()

    def _explain_send(self) -> None:
        """Raise what the device said, or how ssh ended, when nothing can be sent any more."""
        while True:
            self._event(10.0)

    def _write(self, content: bytes) -> None:
        assert self._ssh.stdin is not None
        view = memoryview(content)
        while view:
            view = view[os.write(self._ssh.stdin.fileno(), view) :]

    def _beat(self) -> None:
        """Tell the device now and then that this side is alive."""
        while not self._closed.wait(BEAT_S):
            if self._writing.acquire(blocking=False):  # whoever writes is alive
                try:
                    self._write(b"\n")
                except (OSError, ValueError):
                    return
                finally:
                    self._writing.release()

    def _read_lines(self) -> None:
        assert self._ssh.stdout is not None
        held = b""
        with contextlib.suppress(OSError, ValueError):
            while not self._closed.is_set() and (chunk := os.read(self._ssh.stdout.fileno(), CHUNK)):
                *whole, held = (held + chunk).split(b"\n")
                if len(held) > MAX_LINE + 2:  # no line of ours
                    whole, held = [*whole, held], b""
                for line in whole:
                    self._put(line + b"\n")
        if held and not self.hello:  # the last words of a shell; later, half a line is none
            self._put(held)
        self._put(None)

    def _put(self, line: bytes | None) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._lines.put(line, timeout=0.5)
                return
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)

    def _read_errors(self) -> None:
        assert self._ssh.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            while chunk := os.read(self._ssh.stderr.fileno(), CHUNK):
                self._errors = (self._errors + chunk.decode("utf-8", "replace"))[-ERRORS:]


def _command(config: DeviceConfig, lock_s: float) -> list[str]:
    command = ["ssh"]
    for option in OPTIONS:
        command += ["-o", option]
    if config.ssh_config:
        command += ["-F", config.ssh_config]
    if config.port:
        command += ["-p", str(config.port)]
    # The words after the host are joined by ssh and read by a shell there: each is quoted for it.
    return [*command, "--", config.ssh, f"exec {_quoted(config.python)} -I -c {shlex.quote(START)} {_program(lock_s)}"]


def _quoted(path: str) -> str:
    """Return a path as one word for the remote shell, which still knows whose home `~/` is."""
    return '"$HOME"/' + shlex.quote(path[2:]) if path.startswith("~/") else shlex.quote(path)


def _program(lock_s: float) -> str:
    """Return `remote.py` and what it imports of ours as one word without special characters."""
    here = Path(__file__).resolve().parent
    texts = {name: (here / f"{name}.py").read_text(encoding="utf-8") for name in ("environment", "remote")}
    loader = (
        "import sys, types\n"
        f"for name, text in {texts!r}.items():\n"
        "    module = sys.modules['edge.bench.' + name] = types.ModuleType('edge.bench.' + name)\n"
        "    module.__package__ = 'edge.bench'\n"
        "    exec(compile(text, name + '.py', 'exec'), module.__dict__)\n"
        f"sys.exit(sys.modules['edge.bench.remote'].main({PATIENCE_S!r}, {lock_s!r}))\n"
    )
    return base64.b64encode(zlib.compress(loader.encode(), 9)).decode("ascii")


def check_exit(event: dict[str, Any], order: dict[str, Any]) -> None:
    """Refuse the end of a worker that did not end by itself."""
    last = str(event.get("stderr") or "").strip().splitlines()[-1:]
    if event.get("timed_out"):
        raise DeviceError(
            "the harness did not end in time and was killed on the device",
            expected=f"at most {order['timeout_s']:.0f} s",
            hint="raise `timeout_s` in edge.toml",
        )
    if name := event.get("signal"):
        hints = {
            "SIGKILL": "the device may have run out of memory",
            "SIGILL": "the engine uses instructions that this processor lacks",
        }
        raise DeviceError(
            f"the harness was killed on the device by {str(name)[:20]}",
            got=last[0][:100] if last else None,
            hint=hints.get(name),
        )
    if event.get("code"):
        raise DeviceError(f"the harness on the device ended with {event['code']}", got=last[0][:120] if last else None)


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
