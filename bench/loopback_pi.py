"""A stand-in for a Raspberry Pi 4 on 127.0.0.1, to try what goes over SSH without one.

    python -m edge.bench.loopback_pi --into DIR            build it: Debian arm64 packages and wheels, no root needed
    python -m edge.bench.loopback_pi --into DIR --serve    and run its sshd until Ctrl-C

The sshd is this machine's own, on a port of its own (`loopback_sshd`). `python3` in its sessions is Debian's arm64
build under `qemu-aarch64 -cpu cortex-a72`, which finds the Pi's files (processor, board, thermal zone, clocks) in the
folder before those of this machine; `vcgencmd` is a script. Nothing of this machine is changed. What runs there is
simulated: its times say nothing of a Pi, and `environment.is_emulated` sees through it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import click

from ..runtime.engines import ENGINES
from ..runtime.errors import DeviceError, MissingExtraError
from .arm64_userland import CORES, CPUINFO
from .config import CONFIG
from .debian_packages import downloaded, run_tool
from .loopback_sshd import HOST, LoopbackSshd, write_session
from .payload import Platform, engine_payload
from .serving import until_stopped

__all__ = ["BOARD", "CPU", "build", "is_built", "serve", "set_state"]

BOARD = "Raspberry Pi 4 Model B Rev 1.5"
CPU = "cortex-a72"
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
ARM64 = 'APT::Architecture "arm64";\nAPT::Architectures { "arm64"; };\n'
CLOCK_KHZ = 1_800_000


def is_built(folder: Path) -> bool:
    """Return whether a stand-in is there."""
    return (folder / "built").exists()


def build(folder: Path) -> None:
    """Download and unpack the arm64 userland, lay out what a Pi shows of itself, and fetch the engines' wheels.

    Args:
        folder: where; what is there already is kept.

    Raises:
        MissingExtraError: qemu-user, apt-get or dpkg-deb is not installed.
        DeviceError: the packages cannot be had.
    """
    for program in ("qemu-aarch64", "apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise MissingExtraError(f"there is no `{program}` on this machine", hint="apt-get install qemu-user")
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / "root"
    if not is_built(folder):
        shutil.rmtree(root, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="edge-arm64-") as scratch:
            for package in downloaded(Path(scratch), PACKAGES, "arm64 packages", ARM64):
                run_tool(["dpkg-deb", "--extract", str(package), str(root)], "cannot unpack")
        _write_python(root)
        _write_board(root)
    set_state(folder, celsius=48.0, throttled=0)
    _write_vcgencmd(folder)
    for engine in ENGINES:
        engine_payload(engine, _platform(root), folder / "cache")
    (folder / "built").touch()


def serve(folder: Path) -> LoopbackSshd:
    """Return the running sshd of a stand-in that was built; it writes `edge.toml` with a device called `pi` beside it.

    Raises:
        DeviceError: nothing was built there, or sshd does not start.
    """
    if not is_built(folder):
        raise DeviceError(f"no stand-in in `{folder}`", hint="build it with `python -m edge.bench.loopback_pi --into`")
    folder = folder.resolve()
    home = folder / "home"
    home.mkdir(exist_ok=True)
    path = f"{folder / 'root/usr/bin'}:{folder / 'bin'}:/usr/bin:/bin"
    session = write_session(folder, [f"export HOME={home} PATH={path} QEMU_CPU={CPU}", "unset XDG_CACHE_HOME"])
    server = LoopbackSshd(folder / "sshd", session)
    (folder / CONFIG).write_text(f'[devices.pi]\nssh = "{HOST}"\nssh_config = "{server.ssh_config}"\n')
    return server


def set_state(folder: Path, *, celsius: float, throttled: int, clock_khz: int = CLOCK_KHZ) -> None:
    """Let the stand-in say how hot it is, which bits of throttling are set, and how fast it runs."""
    root = folder / "root"
    _write(root / "sys/class/thermal/thermal_zone0/temp", f"{celsius * 1000:.0f}\n")
    _write(folder / "throttled", f"throttled={throttled:#x}\n")
    for core in range(CORES):
        _write(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", f"{clock_khz}\n")


def _platform(root: Path) -> Platform:
    """Return what decides which wheels the arm64 Python takes; running it shows that it runs."""
    asked = "import os, sys; print(*sys.version_info[:2], os.confstr('CS_GNU_LIBC_VERSION').split()[1])"
    python = str(root / "usr/bin/python3")
    done = subprocess.run([python, "-I", "-c", asked], check=False, capture_output=True, text=True)
    if done.returncode:
        raise DeviceError("the arm64 Python does not run", got=done.stderr.strip()[-100:])
    major, minor, glibc = done.stdout.split()
    parts = glibc.split(".")
    return Platform(machine="aarch64", python=(int(major), int(minor)), glibc=(int(parts[0]), int(parts[1])))


def _write_python(root: Path) -> None:
    """Put a script in the place of `python3` that runs the arm64 one; Python takes its name for its own."""
    link = root / "usr/bin/python3"
    real = link.resolve()
    link.unlink()
    _write(link, f'#!/bin/sh\nexec qemu-aarch64 -cpu {CPU} -L "{root}" -0 "{link}" "{real}" "$@"\n', 0o755)


def _write_board(root: Path) -> None:
    _write(root / "proc/device-tree/model", BOARD + "\0")
    _write(root / "proc/cpuinfo", "".join(CPUINFO.format(core=core) for core in range(CORES)) + f"Model\t\t: {BOARD}\n")
    for core in range(CORES):
        clocks = root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        _write(clocks / "scaling_governor", "ondemand\n")
        _write(clocks / "cpuinfo_max_freq", f"{CLOCK_KHZ}\n")


def _write_vcgencmd(folder: Path) -> None:
    _write(
        folder / "bin/vcgencmd",
        f'#!/bin/sh\n[ "$1" = get_throttled ] && exec cat "{folder}/throttled"\nexit 1\n',
        0o755,
    )


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


@click.command()
@click.option(
    "--into", type=click.Path(path_type=Path), required=True, help="Folder for it; 150 MB, and 400 MB after use."
)
@click.option("--serve", "serving", is_flag=True, help="Run its sshd until Ctrl-C.")
def main(into: Path, serving: bool) -> None:
    r"""Build a stand-in for a Raspberry Pi 4 behind SSH, and serve it.

    \b
    Example:
        python -m edge.bench.loopback_pi --into /tmp/pi --serve
    """
    build(into.resolve())
    click.echo(f"built in {into}", err=True)
    if serving:
        with serve(into.resolve()) as server:
            click.echo(f"device `pi` of {into.resolve() / CONFIG}, port {server.port}", err=True)
            until_stopped()


if __name__ == "__main__":
    main()
