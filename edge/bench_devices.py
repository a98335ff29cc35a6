"""The devices of `edge bench` by name: this machine, the browser, and those that `edge.toml` names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .bench.config import read_devices
from .bench.device import Device
from .runtime.errors import DeviceError, InputError

__all__ = ["PI", "default_threads", "open_device"]

PI = "rpi4"
THREADS = {"host": (1, 2), "browser": (1,), PI: (1, 4)}
CONFIG_HINT = 'name one in `edge.toml`: [devices.NAME] with ssh = "user@host"'


def open_device(name: str, config: Path | None, measured: bool, say: Callable[[str], None]) -> Device | None:
    """Return a device, or None for a Raspberry Pi 4 that is not there: it is predicted.

    Args:
        name: "host", "browser", "rpi4", or a name of `edge.toml`.
        config: `edge.toml` to read; None takes the one in the current folder, if there is one.
        measured: refuse what would not be measured.
        say: takes lines of progress.

    Raises:
        InputError: there is no such device, or `edge.toml` is malformed.
        DeviceError: the browser is not installed, or a measurement is wanted and there is no Pi.
    """
    if name == "host":
        from .bench.host import HostDevice

        return HostDevice()
    if name == "browser":
        from .bench.browser import BrowserDevice

        return BrowserDevice()
    devices = read_devices(config)
    if name in devices:
        from .bench.ssh import SshDevice

        return SshDevice(devices[name], tell=say)
    if name != PI:
        known = ", ".join(["host", "browser", PI, *(other for other in devices if other != PI)])
        raise InputError(f"there is no device `{name}`", expected=known, hint=CONFIG_HINT)
    if measured:
        raise DeviceError(
            "no Raspberry Pi 4 is named, and a prediction is not wanted",
            expected='[devices.rpi4] with ssh = "pi@host" in `edge.toml`',
            hint="leave `--evidence` out to predict",
        )
    return None


def default_threads(name: str, cores: int) -> tuple[int, ...]:
    """Return the numbers of threads that are tried on a device unless told otherwise.

    Args:
        name: of the device.
        cores: of this machine.
    """
    if name == "host":
        return tuple(count for count in THREADS["host"] if count <= max(cores, 1))
    return THREADS.get(name, THREADS[PI])
