"""A launch over a network that drops every packet for some seconds, in a network of its own; prints what was seen.

unshare --net python network_drop.py FOLDER ARTIFACT SECONDS
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import sys
from pathlib import Path
from time import monotonic, sleep

from edge.bench.loopback_sshd import LoopbackSshd, native_session
from edge.bench.ssh import SshDevice
from edge.runtime.errors import one_line

from .ssh_device import AGENT, WORKER, Running, config, processes

SIOCSIFFLAGS = 0x8914


def set_loopback(up: bool) -> None:
    """Switch the network that both sides are on on or off; off, packets vanish without an answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", int(up)))


def main(folder: Path, artifact: Path, seconds: float) -> None:
    """Drop the network in the middle of a launch."""
    set_loopback(True)
    with LoopbackSshd(folder, native_session(folder)) as server, SshDevice(config(server)) as device:
        running = Running(device, artifact)
        running.wait_for_samples()
        set_loopback(False)
        began = monotonic()
        running.wait(seconds)
        noticed = monotonic() - began
        while processes(WORKER, str(folder)) and monotonic() - began < seconds:
            sleep(0.1)
        gone = monotonic() - began
        sleep(max(0.0, seconds - gone))
        set_loopback(True)
        sleep(3)
        seen = {
            "error": one_line(running.error) if running.error else None,
            "samples": len(running.launch.wall_ms),
            "incomplete": not running.launch.complete,
            "noticed_s": noticed,
            "worker_gone_s": gone,
            "left": len(processes(WORKER, str(folder)) + processes(AGENT, str(folder))),
            "folders_left": len(list((folder / "home/.cache/edge-bench").glob("run-*"))),
        }
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
