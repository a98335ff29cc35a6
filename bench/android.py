"""An Android phone as a device: the demo app's harness, started over adb.

The app is installed once, the artifact is pushed with its hash, and `am instrument` runs the app's `Bench`, whose
statuses are the lines of `worker.py`. Its outputs of the first inference are held against this machine's engine. What a
stand-in answers is simulated; docs/bench-android.md says how to measure, and what was not tried on a phone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ..runtime.card import Card
from ..runtime.embedded import read_card
from ..runtime.engines import noise_input
from ..runtime.errors import DeviceError, InputError, one_line
from ..runtime.trust import file_digest, private_folder
from .adb import Adb, Stream
from .adb_errors import MIN_API, PACKAGE
from .agreement import held_against_host
from .android_lines import Outputs, instrument_events
from .android_state import SCRIPT, cpu_list, read_state
from .config import PHONE_COOL_C
from .device import Evidence
from .launch import Launch, read_launch
from .plan import Plan
from .worker import read_source

__all__ = ["APK", "ENGINE", "AndroidDevice"]

Float32 = NDArray[np.float32]
APK = Path("build") / "android" / "edge-demo.apk"  # where android_demo/build.py puts it
ENGINE = "litert"  # of the engines here, the one that runs the same files
BENCH = f"{PACKAGE}/edge.vision.app.Bench"
ROOT = "/data/local/tmp"
SCHEMA = 1
SILENCE_S = 120.0  # the slowest first inference
LAUNCH_S = 300.0  # beyond what a plan asks for
CLEAN_S = 10.0
COOL_S = 300.0
COOL_POLL_S = 5.0
MOST_PACE_MS = 1e5  # of a fixed piece of work of some milliseconds
# What the app knows better than the shell does.
OF_APP = ("cores", "memory_bytes", "probe_ms")


class AndroidDevice:
    """A phone behind adb.

    Nothing happens before it is asked for something; `connect` finds the phone. One benchmark at a time on a phone.

    Args:
        name: as results call it.
        serial: of `adb devices`; "" takes the only one.
        app: measure inside the demo app: its screen in front, whole frames of its own sample.
        apk: of the demo app; None takes the one that `android_demo/build.py` made here, or what is installed.
        cool_c: highest temperature at which a launch begins, degrees Celsius.
        cool_s: longest wait for the phone to cool down, seconds.
        timeout_s: longest launch, seconds; 0 goes by what is measured.
        tell: takes lines of progress.

    Attributes:
        name, evidence: see `device.Device`.

    Raises:
        MissingExtraError: there is no adb.
        InputError: the serial is none, or the named APK is not there.
    """

    def __init__(
        self,
        name: str = "android",
        *,
        serial: str = "",
        app: bool = False,
        apk: Path | None = None,
        cool_c: float = PHONE_COOL_C,
        cool_s: float = COOL_S,
        timeout_s: float = 0.0,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        if apk is not None and not apk.is_file():
            raise InputError(f"there is no `{apk}`", hint="`python android_demo/build.py` builds the app")
        self.name = f"{name} (app)" if app else name
        self.evidence = Evidence.SIMULATED  # until the phone has been asked
        self._adb = Adb(serial)
        self._app = app
        self._apk = apk if apk is not None else APK if APK.is_file() else None
        self._cool_c, self._cool_s, self._timeout_s = cool_c, cool_s, timeout_s
        self._tell = tell
        self._state: dict[str, Any] | None = None
        self._found_app = ""  # SHA-256 of the app that was on the phone, where none is named here
        self._installed = ""  # SHA-256 of the app that is on the phone, once that is known
        self._folder = f"{ROOT}/edge-bench-{uuid.uuid4().hex[:12]}"
        self._sent: set[str] = set()
        self._lock: TextIO | None = None
        self._stream: Stream | None = None
        self._closing = threading.Lock()
        self._closed = threading.Event()

    def connect(self) -> dict[str, Any]:
        """Find the phone if need be, and return its state, as `android_state.read_state` has it.

        Raises:
            DeviceError: it is not there, has not authorised this machine, is too old, or is being measured already.
            InputError: several are connected and none is named.
        """
        if self._state is None:
            serial = self._adb.choose()
            state = read_state(self._adb.shell(SCRIPT))
            api = state["api"]
            if api is None or api < MIN_API:
                got = "unknown" if api is None else f"API {api}, Android {state['android'] or 'unknown'}"
                raise DeviceError(f"the Android of `{serial}` is too old", expected=f"API {MIN_API} or newer", got=got)
            self._lock = _lock(serial)
            # With the lock in hand, whatever an unplugged run left is nobody's any more.
            self._adb.shell(f"am force-stop {PACKAGE}; rm -rf {ROOT}/edge-bench-*")
            self._found_app = "" if self._apk is not None else self._app_there()
            self._closed.clear()
            self.evidence = Evidence.MEASURED if state["emulated"] is False else Evidence.SIMULATED
            self._state = state
        return self._state

    def engine_version(self, engine: str) -> str | None:
        """Return the app that brings the engine, by its hash, and the phone that was found, by that of its serial."""
        app = file_digest(self._apk) if self._apk is not None else self._found_app
        phone = hashlib.sha256(self._adb.serial.encode()).hexdigest()
        return f"app {app[:16]} on {phone[:16]}"

    def launch(self, artifact: Path, plan: Plan, source: Path | None, launch: Launch) -> Launch:
        """Install and send what the phone lacks, let it cool down, and run the app's harness; see `device.Device`.

        Raises:
            DeviceError: the phone or the way to it failed, or the app died.
            InputError: the phone's app does not run such a file, or the plan asks for what no app can do.
            MissingExtraError: the host's engine, which the outputs are held against, is not installed.
            ParityError: an output is farther from the host's engine than the card allows.
        """
        if plan.pin:
            raise InputError("an Android app cannot be held to CPUs", hint="leave `--pin` out")
        if plan.engine != ENGINE:
            raise InputError("the Android app runs .tflite files only", got=f"`{artifact.name}`")
        try:
            self.connect()
            self._install()
            card = read_card(artifact)
            tensor = noise_input(card)
            with tempfile.TemporaryDirectory(prefix="edge-android-") as name:
                order = self._order(card, tensor, artifact, plan, source, Path(name))
            self._cool_down()
            outputs = Outputs(card)
            self._run(order, plan, outputs, launch)
        except BaseException as exc:  # Ctrl-C, too: nothing may go on there
            self.close()
            launch.error = one_line(exc).removeprefix("error: ")
            raise
        launch.agreement = held_against_host(artifact, card, ENGINE, tensor, outputs.arrays(), where="on the phone")
        return launch

    def close(self) -> None:
        """Stop the app, remove what was sent and let go of the phone; the app stays installed. Safe to call twice."""
        self._closed.set()
        with self._closing:
            stream, self._stream = self._stream, None
            lock, self._lock = self._lock, None
            self._state, self._installed = None, ""
            self._sent.clear()
            if stream is not None:
                stream.close()
            if lock is None:
                return
            with contextlib.suppress(DeviceError):  # an unplugged phone is cleaned when it comes back
                self._adb.shell(f"am force-stop {PACKAGE}; rm -rf {self._folder}", CLEAN_S)
            lock.close()

    def __enter__(self) -> AndroidDevice:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _install(self) -> None:
        """Put the app on the phone unless the very same one is there."""
        if self._installed:
            return
        there = self._app_there()
        wanted = file_digest(self._apk) if self._apk is not None else ""
        if self._apk is None and not there:
            raise DeviceError(
                f"the demo app is not on `{self._adb.serial}`, and not at `{APK}`",
                hint="`python android_demo/build.py` builds it; `--apk` names one",
            )
        if self._apk is not None and there != wanted:
            self._tell(f"{self.name}: installing the app, {self._apk.stat().st_size / 1e6:.1f} MB")
            self._adb.install(self._apk)
        self._installed = wanted or there

    def _app_there(self) -> str:
        """Return the SHA-256 of the app on the phone; "" where there is none, "?" where it is not told."""
        place = self._adb.shell(f"pm path {PACKAGE} 2>/dev/null; :").strip().removeprefix("package:")
        if not place:
            return ""
        told = self._adb.shell(f"pm path {PACKAGE} | head -n 1 | cut -c 9- | xargs sha256sum 2>/dev/null; :").split()
        return told[0] if told and len(told[0]) == 64 else "?"

    def _order(
        self, card: Card, tensor: Float32, artifact: Path, plan: Plan, source: Path | None, scratch: Path
    ) -> dict[str, Any]:
        """Send what is not there yet, and return the plan as the app reads it."""
        runs, seconds = plan.least
        values: dict[str, Any] = {
            "schema": SCHEMA,
            "model": self._send(_read(artifact), "tflite", scratch),
            "tensor": self._send(tensor.astype("<f4").tobytes(), "f32", scratch),
            "threads": plan.threads,
            "app": self._app,
            "warmup_s": plan.warmup_s,
            "seconds": seconds,
            "runs": runs,
            "stages_s": 0.0 if plan.strict else plan.stages_s,
            "stage_runs": plan.runs,
        }
        if source is not None:
            content, sizes = _source(read_source(os.fspath(source)), card)
            values |= {"source": self._send(content, "raw" if sizes else "wav", scratch), **sizes}
        return values

    def _send(self, content: bytes, suffix: str, scratch: Path) -> dict[str, str]:
        self._check_open()
        sha256 = hashlib.sha256(content).hexdigest()
        remote = f"{self._folder}/{sha256[:24]}.{suffix}"
        if remote not in self._sent:
            here = scratch / sha256
            here.write_bytes(content)
            # The folder of adb's own is open to apps for reading, as the files in it are.
            self._adb.shell(f"mkdir -p {self._folder} && chmod 755 {self._folder}")
            self._adb.push(here, remote, sha256)
            self._sent.add(remote)
        return {"path": remote, "sha256": sha256}

    def _cool_down(self) -> None:
        """Wait until the phone is cool and does not throttle; a phone that saves its battery is refused."""
        end = monotonic() + self._cool_s
        while True:
            state = self._state = read_state(self._adb.shell(SCRIPT))
            if state["low_power"]:
                raise DeviceError(f"the battery saver of `{self._adb.serial}` is on", hint="turn it off, or charge it")
            celsius, status = state["battery"]["temperature_c"], state["thermal_status"]
            if not status and (celsius is None or celsius <= self._cool_c):
                return
            words = f"battery {celsius or 0:.1f} C, thermal status {status if status is not None else 'unknown'}"
            if monotonic() >= end:
                raise DeviceError(
                    f"`{self._adb.serial}` did not cool down",
                    got=words,
                    hint="take it out of its case, unplug the charger's fast mode, or raise `cool_c`",
                )
            self._tell(f"{self.name}: cooling down: {words}")
            self._closed.wait(min(COOL_POLL_S, self._cool_s))
            self._check_open()

    def _check_open(self) -> None:
        """Raise where `close` was called meanwhile, as Ctrl-C does from another thread: nothing new begins then."""
        if self._closed.is_set():
            raise DeviceError(f"the connection to `{self._adb.serial}` was closed here")

    def _run(self, order: dict[str, Any], plan: Plan, outputs: Outputs, launch: Launch) -> None:
        plan_hex = json.dumps(order).encode().hex()
        wake = "input keyevent KEYCODE_WAKEUP; " if self._app else ""
        script = f"am force-stop {PACKAGE}; {wake}am instrument -w -r -e plan {plan_hex} {BENCH}"
        runs, seconds = plan.least
        most_s = self._timeout_s or LAUNCH_S + 3 * plan.warmup_s + 4 * (seconds + plan.stages_s) + runs
        with self._started(script) as stream:
            lines = stream.lines(SILENCE_S + plan.warmup_s, most_s)
            events = instrument_events(lines, self._adb.serial)
            read_launch(self._told(events, outputs), launch, optional=("cpu_ms",))
            for _ in events:  # until the instrumentation has ended
                pass
            self._stream = None

    def _started(self, script: str) -> Stream:
        """Start a script where `close` finds it, unless that came first."""
        with self._closing:
            self._check_open()
            self._stream = self._adb.stream(script)
            return self._stream

    def _told(self, events: Iterator[dict[str, Any]], outputs: Outputs) -> Iterator[str]:
        """Yield the worker's lines, with what the shell knows of the phone; keep the outputs."""
        for event in events:
            kind = event.get("event")
            if kind == "output":
                outputs.take(event)
                continue
            if kind in ("start", "done") and isinstance(event.get("environment"), dict):
                before = self._state if kind == "start" else read_state(self._adb.shell(SCRIPT))
                event["environment"] = self._merged(before or {}, event["environment"])
            if kind == "loaded" and isinstance(engine := event.get("engine"), dict):
                self._tell_backend(engine)
            yield json.dumps(event)

    def _tell_backend(self, engine: dict[str, Any]) -> None:
        """Tell when something else than what was asked for executes the model."""
        asked, runs = (str(engine.get(f"backend_{name}"))[:40] for name in ("requested", "actual"))
        if asked != runs:
            self._tell(f"{self.name}: asked for {asked}, runs on {runs}: {str(engine.get('backend_reason'))[:120]}")

    def _merged(self, state: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
        both = {**state, **{name: told.get(name) for name in OF_APP}, "affinity": None, "app": self._installed[:16]}
        if isinstance(allowed := told.get("cpus_allowed"), str):
            both["affinity"] = cpu_list(allowed)
        heat = [value for value in (state.get("thermal_status"), told.get("thermal_status")) if isinstance(value, int)]
        both["thermal_status"] = max(heat, default=None)
        pace = told.get("probe_ms")
        if self.evidence is Evidence.SIMULATED or not isinstance(pace, int | float) or not 0 < pace < MOST_PACE_MS:
            both["probe_ms"] = None  # of a stand-in, whose clock says nothing of a phone, and of an app that lies
        return both


def _lock(serial: str) -> TextIO:
    """Return an open file that keeps every other benchmark of this user off a phone until it is closed."""
    try:
        folder = private_folder("android")
        stream = (folder / f"{hashlib.sha256(serial.encode()).hexdigest()[:16]}.lock").open("a", encoding="utf-8")
    except OSError as exc:
        raise DeviceError("no private cache folder", got=exc.strerror or str(exc), hint="set EDGE_CACHE") from exc
    try:
        import fcntl  # here: Windows has none, and goes without
    except ImportError:
        return stream
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        stream.close()
        raise DeviceError(f"another benchmark runs on `{serial}`", hint="wait until it has ended") from exc
    return stream


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise InputError(f"cannot read `{path.name}`", got=exc.strerror) from exc


def _source(loaded: Any, card: Card) -> tuple[bytes, dict[str, int]]:
    """Return the bytes of a picture, three a pixel, and its size; or those of a WAV file, and nothing."""
    if isinstance(loaded, np.ndarray):
        if card.input.kind != "image" or loaded.ndim != 3 or loaded.shape[2] != 3 or loaded.dtype != np.uint8:
            raise InputError(f"`{card.model}` takes another source", expected=f"one of kind `{card.input.kind}`")
        return loaded.tobytes(), {"height": int(loaded.shape[0]), "width": int(loaded.shape[1])}
    if card.input.kind != "audio":
        raise InputError(f"`{card.model}` takes another source", expected=f"one of kind `{card.input.kind}`")
    samples, rate = np.ascontiguousarray(loaded[0], "<f4").tobytes(), int(loaded[1])
    # RIFF, then one `fmt ` chunk of 32-bit floats (tag 3) on one channel, then the samples.
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 3, 1, rate, 4 * rate, 4, 32)
    return head + struct.pack("<4sI", b"data", len(samples)) + samples, {}
