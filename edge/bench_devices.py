"""The devices of `edge bench` by name: this machine, the browser, a phone, and those that `edge.toml` names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bench.config import read_devices
from .bench.device import Device, Evidence
from .bench.matrix import Variant
from .bench.record import Artifact
from .runtime.errors import DeviceError, InputError

__all__ = ["ANDROID", "PI", "Phone", "default_threads", "is_phone", "on_own_samples", "open_device", "runs_on"]

PI = "rpi4"
ANDROID = "android"
THREADS = {"host": (1, 2), "browser": (1,), ANDROID: (1, 4), PI: (1, 4)}
CONFIG_HINT = 'name one in `edge.toml`: [devices.NAME] with ssh = "user@host", or adb = "SERIAL"'


@dataclass(frozen=True, kw_only=True)
class Phone:
    """How phones are measured.

    Attributes:
        serial: of the phone that is called `android`; "" takes the only one.
        app: inside the demo app.
        apk: of the demo app; None takes the one that was built here, or what is installed.
    """

    serial: str = ""
    app: bool = False
    apk: Path | None = None


def open_device(
    name: str, config: Path | None, measured: bool, say: Callable[[str], None], phone: Phone | None = None
) -> Device | None:
    """Return a device, or None for a Raspberry Pi 4 that is not there: it is predicted.

    Args:
        name: "host", "browser", "android", "rpi4", or a name of `edge.toml`.
        config: `edge.toml` to read; None takes the one in the current folder, if there is one.
        measured: refuse what would not be measured.
        say: takes lines of progress.
        phone: how phones are measured.

    Raises:
        InputError: there is no such device, `edge.toml` is malformed, or it is not said which phone.
        DeviceError: the browser is not installed, the phone cannot be used, or a measurement is wanted and there is
            no Pi.
        MissingExtraError: there is no adb.
    """
    if name == "host":
        from .bench.host import HostDevice

        return HostDevice()
    if name == "browser":
        from .bench.browser import BrowserDevice

        return BrowserDevice()
    if name == ANDROID:
        return _phone(name, phone.serial if phone else "", {}, phone, measured, say)
    devices = read_devices(config)
    if name in devices and devices[name].adb:
        found = devices[name]
        return _phone(name, found.adb, {"cool_c": found.cool_c, "timeout_s": found.timeout_s}, phone, measured, say)
    if name in devices:
        from .bench.ssh import SshDevice

        return SshDevice(devices[name], tell=say)
    if name != PI:
        known = ", ".join(["host", "browser", ANDROID, PI, *(other for other in devices if other != PI)])
        raise InputError(f"there is no device `{name}`", expected=known, hint=CONFIG_HINT)
    if measured:
        raise DeviceError(
            "no Raspberry Pi 4 is named, and a prediction is not wanted",
            expected='[devices.rpi4] with ssh = "pi@host" in `edge.toml`',
            hint="leave `--evidence` out to predict",
        )
    return None


def _phone(
    name: str,
    serial: str,
    values: dict[str, Any],
    phone: Phone | None,
    measured: bool,
    say: Callable[[str], None],
) -> Device:
    """Return a phone that was seen to answer."""
    from .bench.android import AndroidDevice

    given = phone or Phone()
    device = AndroidDevice(name, serial=serial, app=given.app, apk=given.apk, tell=say, **values)
    state = device.connect()
    if measured and device.evidence is not Evidence.MEASURED:
        device.close()
        raise DeviceError(f"`{name}` is no phone, and a measurement is wanted", got=state["board"] or state["system"])
    return device


def is_phone(device: Device | None) -> bool:
    """Return whether a device is a phone behind adb."""
    from .bench.android import AndroidDevice

    return isinstance(device, AndroidDevice)


def runs_on(device: Device | None, artifacts: Sequence[Artifact]) -> list[Artifact]:
    """Return those artifacts that a device can run: phones run .tflite files only.

    Raises:
        InputError: it can run none of them.
    """
    if device is None or not is_phone(device):
        return list(artifacts)
    kept = [artifact for artifact in artifacts if artifact.path.suffix == ".tflite"]
    if not kept:
        got = ", ".join(artifact.path.name for artifact in artifacts)[:80]
        raise InputError(f"nothing here runs on `{device.name}`", expected=".tflite", got=got)
    return kept


def on_own_samples(device: Device | None, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    """Return variants whose whole frames are the demo app's own sample, on a phone; on another device, as they are."""
    if not is_phone(device):
        return variants
    return tuple(dataclasses.replace(one, source=None, input="the app's own sample") for one in variants)


def default_threads(name: str, cores: int) -> tuple[int, ...]:
    """Return the numbers of threads that are tried on a device unless told otherwise.

    Args:
        name: of the device.
        cores: of this machine.
    """
    if name == "host":
        return tuple(count for count in THREADS["host"] if count <= max(cores, 1))
    return THREADS.get(name, THREADS[PI])
