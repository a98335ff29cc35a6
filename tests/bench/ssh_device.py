"""What tests of devices behind SSH share: one on a loopback sshd, a launch in a thread, processes by their words."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from edge.bench.config import DeviceConfig
from edge.bench.device import Device
from edge.bench.launch import Launch
from edge.bench.loopback_sshd import HOST, LoopbackSshd, missing_ssh
from edge.bench.plan import Plan
from edge.bench.ssh import SshDevice
from edge.runtime.errors import DeviceError, EdgeError, one_line

NEEDS_SSH = [
    pytest.mark.skipif(bool(missing_ssh()), reason=missing_ssh()),
    pytest.mark.skipif(
        sys.prefix == sys.base_prefix, reason="not in a virtual environment whose packages could be used"
    ),
]
WORKER, AGENT = "edge.bench.worker", "import sys;v="
QUICK: dict[str, Any] = {"artifact": "", "engine": "onnxruntime", "warmup_s": 0.0, "seconds": 0.0, "stages_s": 0.0}


def config(server: LoopbackSshd, **changes: Any) -> DeviceConfig:
    """Return a device on the loopback sshd that runs with this interpreter and its packages."""
    values = {"name": "loop", "ssh": HOST, "ssh_config": str(server.ssh_config), "python": sys.executable}
    return DeviceConfig(**{**values, **changes})


class Running:
    """A launch in a thread, to do something to it meanwhile."""

    def __init__(self, device: Device, artifact: Path, *, seconds: float = 600.0, engine: str = "onnxruntime") -> None:
        self.launch = Launch()
        self.error: EdgeError | None = None
        self._plan = Plan(**{**QUICK, "seconds": seconds, "runs": 1, "engine": engine})
        self._thread = threading.Thread(target=self._run, args=(device, artifact), daemon=True)
        self._thread.start()

    def wait_for_samples(self) -> None:
        """Return when some have come."""
        wait_until(lambda: bool(self.launch.wall_ms) or not self._thread.is_alive(), "no samples came")

    def wait(self, seconds: float = 60.0) -> None:
        """Return when the launch has ended."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the launch does not end"

    def _run(self, device: Device, artifact: Path) -> None:
        try:
            device.launch(artifact, self._plan, None, self.launch)
        except EdgeError as exc:
            self.error = exc


def wait_until(condition: Any, failed: str, seconds: float = 90.0) -> None:
    """Return when a condition holds; fail when it does not come to hold."""
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end, failed
        sleep(0.05)


def processes(words: str, mark: str) -> list[int]:
    """Return the processes whose command line has some words and whose command line or environment has a mark."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
            around = command + (entry / "environ").read_bytes()
        except OSError:
            continue
        if words.encode() in command and mark.encode() in around:
            found.append(int(entry.name))
    return found


def cache_names(folder: Path) -> list[str]:
    """Return what the device keeps, long names by their suffix."""
    found = (folder / "home/.cache/edge-bench").glob("*")
    return sorted(path.suffix or "payload" if len(path.stem) == 64 else path.name for path in found)


def fails(device: SshDevice, message: str) -> DeviceError:
    with device, pytest.raises(DeviceError, match=message) as caught:
        device.connect()
    assert caught.value.exit_code == 4
    line = one_line(caught.value)
    assert line.isprintable()
    assert len(line) <= 300
    assert caught.value.hint
    return caught.value
