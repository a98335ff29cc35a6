"""Any Linux machine with sshd and Python as a device, and the Raspberry Pi 4 as one that has to prove what it is."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..runtime.engines import ENGINES, engine_version
from ..runtime.errors import DeviceError, EdgeError, InputError, one_line
from .config import DeviceConfig
from .device import Evidence
from .environment import is_pi_4
from .launch import Launch, read_launch
from .payload import Payload, Platform, code_payload, engine_payload
from .plan import Plan
from .ssh_session import PATIENCE_S, Session, check_exit
from .worker import MODULES

__all__ = ["SshDevice"]

MACHINES = ("aarch64", "x86_64")
LAUNCH_S = 300.0  # beyond what a plan asks for: imports, loading, slow first runs
COOL_S = 300.0
TRY_S = 240.0  # the first import of an engine from an SD card
END_S = 10.0  # for a worker that has said its last line
SLACK = 16 << 20  # bytes that stay free on the device
SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


class SshDevice:
    """A device behind SSH.

    Nothing happens before it is asked for something. The connection, and with it the device's lock, is kept until
    `close`; after a failure the next launch makes a new one.

    Args:
        config: of `edge.toml`.
        cache: folder for wheels; None takes that of this user.
        tell: takes lines of progress.
        cool_s: longest wait for the device to cool down, seconds.

    Attributes:
        name: as the user calls it.
    """

    def __init__(
        self,
        config: DeviceConfig,
        *,
        cache: Path | None = None,
        tell: Callable[[str], None] = lambda text: None,
        cool_s: float = COOL_S,
    ) -> None:
        self.name = config.name
        self.config = config
        self._cache = cache
        self._tell = tell
        self._cool_s = cool_s
        self._session: Session | None = None
        self._evidence: Evidence | None = Evidence.MEASURED if config.kind == "rpi4" else None
        self._lock_s = 0.0
        self._ready: dict[str, list[str]] = {}  # engine -> payloads that it runs with
        self._opening = threading.Lock()

    @property
    def evidence(self) -> Evidence:
        """Measured on real hardware, simulated where the device runs under an emulator or does not tell.

        A Raspberry Pi 4 is measured or refused; any other device is asked when this is first looked at. One that does
        not answer will have no results, and is told of by `launch`.
        """
        if self._evidence is None:
            with contextlib.suppress(EdgeError):
                self.connect()
        return self._evidence or Evidence.SIMULATED

    def connect(self) -> dict[str, Any]:
        """Connect if need be and return the device's state, as `environment.environment` has it.

        Raises:
            DeviceError: no connection, another benchmark runs there, or it is not what it should be.
        """
        state = self._connected().hello["environment"]
        assert isinstance(state, dict)
        return state

    def engine_version(self, engine: str) -> str | None:
        """Return the version that is installed here, which a device gets unless it has an environment of its own."""
        return engine_version(engine)

    def launch(self, artifact: Path, plan: Plan, source: Path | None, launch: Launch) -> Launch:
        """Send what the device lacks, let it cool down, and run one process of the harness; see `device.Device`."""
        names: dict[str, str] = {}
        try:
            session = self._connected()
            payloads = self._prepared(session, plan.engine)
            for path in (artifact, source):
                if path is not None:
                    names[self._sent_file(session, path)] = path.name
            sent = [*names, ""]
            timeout_s = self.config.timeout_s or _longest(plan)
            order = {
                "do": "run",
                "payloads": payloads,
                "plan": plan.to_dict(),
                "artifact": sent[0],
                "source": sent[1],
                "timeout_s": timeout_s,
                "cool_c": self.config.cool_c,
                "cool_s": self._cool_s,
            }
            read_launch(session.run(order, timeout_s + PATIENCE_S), launch)
        except BaseException as exc:  # Ctrl-C, too: nothing may go on there
            if self._session is not None:
                self._lock_s = PATIENCE_S + END_S  # the device may take a while to see that we have gone
            self.close()
            if isinstance(exc, EdgeError):
                exc.message = _with_names(exc.message, names)
            launch.error = one_line(exc).removeprefix("error: ")
            raise
        try:
            session.finish(END_S)
        except DeviceError:  # all was told; the next launch connects again
            self.close()
        return launch

    def clear_cache(self) -> int:
        """Remove what was kept on the device and return how many bytes that freed.

        Raises:
            DeviceError: no connection, or another benchmark runs there.
        """
        freed = self._connected().ask({"do": "clear"}).get("bytes")
        self._ready.clear()
        return freed if isinstance(freed, int) else 0

    def close(self) -> None:
        """End the connection and with it whatever runs there; the device keeps its cache. Safe to call twice."""
        session, self._session = self._session, None
        self._ready.clear()
        if session is not None:
            session.close()

    def __enter__(self) -> SshDevice:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connected(self) -> Session:
        with self._opening:
            session = self._session
            if session is None:
                session = self._session = Session(
                    self.config, self._tell, self._lock_s
                )  # `close` reaches it from here on
                try:
                    session.greet()
                    self._check(session.hello)
                except BaseException:
                    self.close()
                    raise
            return session

    def _check(self, hello: dict[str, Any]) -> None:
        state = hello.get("environment")
        if not isinstance(state, dict):
            raise DeviceError(f"`{self.name}` does not say what it is", got=str(state)[:40])
        if self.config.kind == "rpi4" and not is_pi_4(state):
            what = str(state.get("board") or f"{state.get('architecture')}, {state.get('cpu')}")[:60]
            emulated = {True: ", emulated", None: ", perhaps emulated"}.get(state.get("emulated"), "")
            raise DeviceError(
                f"`{self.name}` is no Raspberry Pi 4", got=what + emulated, hint='`kind = "ssh"` takes any machine'
            )
        self._evidence = Evidence.MEASURED if state.get("emulated") is False else Evidence.SIMULATED

    def _prepared(self, session: Session, engine: str) -> list[str]:
        """Return the payloads that an engine runs with; they are on the device then, and were seen to load."""
        if engine in self._ready:
            return self._ready[engine]
        payloads = [code_payload()]
        if not session.hello.get("venv"):
            payloads.append(engine_payload(engine, self._platform(session.hello), self._cache))
        names = [payload.sha256 for payload in payloads]
        there = session.ask({"do": "has", "names": names}).get("has")
        for payload in payloads:
            if not isinstance(there, list) or payload.sha256 not in there:
                self._send_payload(session, payload)
        order = {"do": "try", "payloads": names, "module": MODULES[engine], "timeout_s": TRY_S}
        try:
            check_exit(session.ask(order), order)
        except DeviceError as exc:
            if exc.expected is None and "killed" not in exc.message:
                venv = bool(session.hello.get("venv"))
                hint = f"install {ENGINES[engine][1]} and numpy there, or leave `python` out" if venv else None
                raise DeviceError(f"{engine} does not load on `{self.name}`", got=exc.got, hint=hint) from exc
            raise
        self._ready[engine] = names
        return names

    def _send_payload(self, session: Session, payload: Payload) -> None:
        size = len(payload.content)
        self._tell(f"{self.name}: sending {size / 1e6:.1f} MB")
        order = {"do": "put", "name": payload.sha256, "size": size, "room": size + payload.unpacked_bytes + SLACK}
        session.ask(order, payload.content)

    def _sent_file(self, session: Session, path: Path) -> str:
        """Return a file's name on the device, where it lies when this returns."""
        try:
            content = path.read_bytes()
        except OSError as exc:
            raise InputError(f"cannot read `{path.name}`", got=exc.strerror) from exc
        suffix = path.suffix.lower()
        name = hashlib.sha256(content).hexdigest() + (suffix if SUFFIX.fullmatch(suffix) else ".bin")
        if name not in (session.ask({"do": "has", "names": [name]}).get("has") or ()):
            order = {"do": "put", "name": name, "size": len(content), "room": len(content) + SLACK}
            session.ask(order, content)
        return name

    def _platform(self, hello: dict[str, Any]) -> Platform:
        state = hello["environment"]
        machine, bits, glibc = state.get("architecture"), hello.get("bits"), str(hello.get("glibc"))
        python = re.match(r"(\d{1,2})\.(\d{1,3})", str(state.get("python")))
        libc = re.match(r"(\d{1,2})\.(\d{1,3})", glibc)
        if machine not in MACHINES or bits != 64 or python is None or libc is None:
            got = f"{str(machine)[:20]}, {str(bits)[:4]} bits, glibc {glibc[:10] or 'none'}"
            raise DeviceError(
                f"no engine can be sent to `{self.name}`",
                expected=f"{' or '.join(MACHINES)}, 64 bits, with glibc",
                got=got,
                hint="install a 64-bit system, or name a virtual environment there as `python`",
            )
        return Platform(
            machine=str(machine),
            python=(int(python[1]), int(python[2])),
            glibc=(int(libc[1]), int(libc[2])),
        )


def _longest(plan: Plan) -> float:
    """Return how long a launch may take, seconds: what it asks for, many times over."""
    runs, seconds = plan.least
    return LAUNCH_S + 3 * plan.warmup_s + 4 * (seconds + plan.stages_s) + runs


def _with_names(text: str, names: dict[str, str]) -> str:
    """Return a message of the device with files called as they are called here."""
    for name, here in names.items():
        text = re.sub(rf"[^`\s]*{re.escape(name)}", lambda _, here=here: here, text)  # type: ignore[misc]
    return text
