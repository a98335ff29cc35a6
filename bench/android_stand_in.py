"""The inside of a stand-in for phones: run as root of namespaces of its own, by `loopback_android`.

    unshare --net --mount --pid --fork --kill-child ... python -I -S android_stand_in.py JSON

It sees a network of a loopback alone, and mounts that nobody else sees. Each phone is a real adbd in a root folder with
this machine's programs and small stand-ins for Android's; an adb server beside them listens on a socket in the file
system, which whoever is outside may use. Orders come on stdin, a line each; when it closes, all of this is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["FIRST_PORT"]

FIRST_PORT = 6001  # the server takes what answers between 5555 and 5585 for emulators, unasked
PACKAGE = "edge.vision.demo"
# Of <linux/sockios.h> and <net/if.h>.
SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x1 | 0x40
# Of adb's protocol: a message is six words, the last one the first inverted.
A_CNXN, A_AUTH, AUTH_TOKEN, AUTH_SIGNATURE = 0x4E584E43, 0x48545541, 1, 2

SCRIPTS = {
    "getprop": "cat /data/state/props",
    "dumpsys": 'cat "/data/state/$1"',
    "settings": 'cat "/data/state/$3"',
    "input": ":",
    "pm": """\
app=/data/app/@PACKAGE@/base.apk
case "$1" in
path) [ -f "$app" ] && echo "package:$app" ;;
install)
    for last; do :; done
    [ "$(head -c 2 "$last")" = PK ] || { echo "Failure [INSTALL_PARSE_FAILED_NOT_APK]"; exit 1; }
    mkdir -p "${app%/*}"
    cp "$last" "$app" 2>/dev/null || { rm -f "$app"; echo "Failure [INSTALL_FAILED_INSUFFICIENT_STORAGE]"; exit 1; }
    echo Success ;;
*) exit 1 ;;
esac""",
    "am": """\
case "$1" in
force-stop) [ ! -f /data/run/app ] || kill -9 "$(cat /data/run/app)" 2>/dev/null; rm -f /data/run/app ;;
instrument)
    shift
    while [ $# -gt 1 ]; do
        case "$1" in -e) [ "$2" = plan ] && plan=$3; shift 3 ;; *) shift ;; esac
    done
    if [ ! -f "/data/app/${1%%/*}/base.apk" ]; then
        echo "INSTRUMENTATION_STATUS: id=ActivityManagerService"
        echo "INSTRUMENTATION_STATUS: Error=Unable to find instrumentation info for: ComponentInfo{$1}"
        echo "INSTRUMENTATION_STATUS_CODE: -1"
        exit 1
    fi
    @JAVA@ -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.bytedeco.javacpp.cachedir=/opt/harness/cache \\
        -cp '/opt/harness/classes:/opt/harness/jars/*' edge.vision.standin.StandIn "$plan" 2>/data/run/errors &
    echo $! >/data/run/app
    wait $!
    if [ $? -gt 128 ]; then
        echo # what was killed may have broken off in a line
        echo "INSTRUMENTATION_RESULT: shortMsg=Process crashed."
        echo "INSTRUMENTATION_CODE: 0"
    fi ;;
*) exit 1 ;;
esac""",
}


def main(order: dict[str, Any]) -> None:
    """Lay out the phones, start everything, and do what stdin says until it closes."""
    _loopback_up()
    folder = Path(order["folder"])
    roots = [_lay_out(folder / f"root{number}", folder, order) for number in range(order["phones"])]
    running = {number: _start_adbd(root, order, number) for number, root in enumerate(roots)}
    if order["locked"]:
        threading.Thread(target=_locked_phone, args=(FIRST_PORT + len(roots),), daemon=True).start()
    home = folder / "home"  # of the server's keys
    home.mkdir()
    server = subprocess.Popen(
        [order["adb"], "-L", f"localfilesystem:{folder}/adb", "server", "nodaemon"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "server.log").open("wb"),
        env={"PATH": os.environ["PATH"], "HOME": str(home), "ANDROID_USER_HOME": str(home), "TMPDIR": str(folder)},
    )
    _wait_for(folder / "adb", server)
    print("ready", flush=True)
    for line in sys.stdin:
        what, number = line.split()
        if what == "unplug":
            running[int(number)].kill()
            running[int(number)].wait()
        elif what == "plug":
            running[int(number)] = _start_adbd(roots[int(number)], order, int(number))
        print("done", flush=True)
    server.kill()


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", IFF_UP_RUNNING, b""))


def _lay_out(root: Path, folder: Path, order: dict[str, Any]) -> Path:
    """Mount a root folder for one phone: this machine's programs, and a phone's folders, files and commands."""
    root.mkdir()
    _mount("-t", "tmpfs", "-o", "mode=755", "none", root)
    for name in ("usr", "etc", "dev", "opt/harness", "opt/trixie", "data/state"):
        (root / name).mkdir(parents=True)
    for name in ("proc", "tmp", "data/local/tmp", "data/app", "data/run", "system/bin"):
        (root / name).mkdir(parents=True)
    for name in ("usr", "etc", "dev"):
        _mount("--rbind", f"/{name}", root / name)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    _mount("-t", "proc", "proc", root / "proc")
    _mount("--bind", order["harness"], root / "opt/harness")
    _mount("--bind", order["trixie"], root / "opt/trixie")
    _mount("--bind", folder / "state", root / "data/state")
    _mount("-t", "tmpfs", "-o", f"size={order['room']}", "none", root / "data/local/tmp")
    java = Path(order["java"])
    if not java.is_relative_to("/usr"):
        (root / java.parents[1].relative_to("/")).mkdir(parents=True, exist_ok=True)
        _mount("--bind", java.parents[1], root / java.parents[1].relative_to("/"))
    _lay_clocks(root / "sys/devices/system/cpu")
    for name, text in SCRIPTS.items():
        script = root / "system/bin" / name
        script.write_text("#!/bin/sh\n" + text.replace("@PACKAGE@", PACKAGE).replace("@JAVA@", str(java)) + "\n")
        script.chmod(0o755)
    return root


def _lay_clocks(cpus: Path) -> None:
    """Write what engines look for about CPUs, and the clocks that the state names."""
    (cpus / "cpu0/cpufreq").mkdir(parents=True)
    for name in ("possible", "present", "online"):
        with contextlib.suppress(OSError):
            (cpus / name).write_text(Path("/sys/devices/system/cpu", name).read_text())
    for name, state in (("scaling_governor", "governor"), ("scaling_cur_freq", "clock"), ("cpuinfo_max_freq", "most")):
        (cpus / "cpu0/cpufreq" / name).symlink_to(f"/data/state/{state}")


def _start_adbd(root: Path, order: dict[str, Any], number: int) -> subprocess.Popen[bytes]:
    libraries = "/opt/trixie/usr/lib/x86_64-linux-gnu"
    return subprocess.Popen(
        [f"{libraries}/ld-linux-x86-64.so.2", "--library-path", f"{libraries}:{libraries}/android",
         "/opt/trixie/usr/lib/android-sdk/platform-tools/adbd"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(Path(order["folder"]) / f"adbd{number}.log").open("ab"),
        env={"ADBD_PORT": str(FIRST_PORT + number), "PATH": "/system/bin:/usr/bin:/bin", "HOME": "/data"},
        preexec_fn=_entering(root),
    )  # fmt: skip


def _wait_for(place: Path, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server listens: a client that finds none would start one of its own, outside."""
    while server.poll() is None:
        with socket.socket(socket.AF_UNIX) as line, contextlib.suppress(OSError):
            line.connect(str(place))
            return
        time.sleep(0.02)
    raise SystemExit("adb's server does not start")


def _entering(root: Path) -> Callable[[], None]:
    def enter() -> None:
        os.chroot(root)
        os.chdir("/")

    return enter


def _locked_phone(port: int) -> None:
    """Answer as a phone does whose owner has not been asked yet, or has not said yes: every signature is refused."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            with listener.accept()[0] as line, contextlib.suppress(OSError):
                while head := line.recv(24, socket.MSG_WAITALL):
                    command, kind, _, length, _, _ = struct.unpack("<6I", head)
                    line.recv(length, socket.MSG_WAITALL)
                    if command == A_CNXN or (command == A_AUTH and kind == AUTH_SIGNATURE):
                        token = os.urandom(20)
                        words = (A_AUTH, AUTH_TOKEN, 0, len(token), sum(token), A_AUTH ^ 0xFFFFFFFF)
                        line.sendall(struct.pack("<6I", *words) + token)


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
