"""The machine that a latency was measured on: what it is, and what state it was in. Reads files, and asks `vcgencmd`.

A latency without this is no result. What a machine does not tell is None, never a guess. Runs on a Raspberry Pi with
nothing but Python.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["NOW_BITS", "PI_4", "SINCE_BITS", "changes", "environment", "is_emulated", "is_pi_4", "peak_rss_bytes"]

PI_4 = "Raspberry Pi 4"
# Of `vcgencmd get_throttled`: under-voltage, frequency capped, throttled, soft temperature limit; now and since boot.
NOW_BITS, SINCE_BITS = 0x0000F, 0xF0000
VCGENCMD_S = 5.0
ARM = ("aarch64", "arm")
CLOCK_CHANGE = 0.02  # of the clock during a run, from which its times are in doubt
PROBE_CHANGE = 0.10  # of the time of a fixed piece of work; AndroidX's benchmark library has the same limit


def environment(root: Path = Path("/")) -> dict[str, Any]:
    """Return the machine and its state, as plain JSON values.

    Args:
        root: where /proc and /sys are; another folder in tests.

    Returns:
        board: of the device tree, such as "Raspberry Pi 4 Model B Rev 1.4"; cpu: the processor's name; architecture,
        system, python; cores: CPUs of the machine; affinity: those this process may use; memory_bytes; governor;
        clock_khz and clock_max_khz: of the fastest CPU; temperature_c: of the hottest zone; throttled: bits as
        `vcgencmd get_throttled` gives them; load: mean number of waiting processes over a minute; emulated: whether
        this process runs under an emulator, True, False or None.
    """
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cpus = root / "sys/devices/system/cpu"
    return {
        "board": _board(root),
        "cpu": _cpu(root),
        "architecture": platform.machine(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "affinity": affinity,
        "memory_bytes": _memory(root),
        "governor": _text(cpus / "cpu0/cpufreq/scaling_governor"),
        "clock_khz": _largest(cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")),
        "clock_max_khz": _largest(cpus.glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq")),
        "temperature_c": _temperature(root),
        "throttled": _throttled(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "emulated": is_emulated(root),
    }


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return why the times between two states of a machine are void or in doubt; nothing where they stand.

    A throttled moment voids a run, be it now or noted since; so does a clock that moved by more than 2 % on a machine
    whose governor was told to hold it, and a fixed piece of work that took more than 10 % more or less time afterwards.

    Args:
        before, after: as `environment` returns them.
    """
    reasons = []
    bits = [state.get("throttled") for state in (before, after)]
    if any(isinstance(value, int) and value & NOW_BITS for value in bits):
        reasons.append(f"throttled or under-voltage now: {', '.join(_hex(value) for value in bits)}")
    elif isinstance(bits[0], int) and isinstance(bits[1], int) and bits[1] & ~bits[0] & SINCE_BITS:
        reasons.append(f"throttled or under-voltage during the run: {_hex(bits[0])}, then {_hex(bits[1])}")
    heat = [state.get("thermal_status") for state in (before, after)]
    if any(isinstance(value, int) and value > 0 for value in heat):
        reasons.append(f"throttled: thermal status {heat[0]}, then {heat[1]}")
    if any(state.get("low_power") for state in (before, after)):
        reasons.append("the battery saver was on")
    first, last = before.get("probe_ms"), after.get("probe_ms")
    if first and last and abs(last / first - 1) > PROBE_CHANGE:
        percent = 100 * (last / first - 1)
        reasons.append(f"the processor's pace changed: a fixed piece of work took {percent:+.0f} % afterwards")
    first, last = before.get("clock_khz"), after.get("clock_khz")
    held = before.get("governor") == "performance" and after.get("governor") == "performance"
    if held and first and last and abs(last / first - 1) > CLOCK_CHANGE:
        reasons.append(f"the clock moved from {first // 1000} to {last // 1000} MHz")
    return reasons


def is_pi_4(state: dict[str, Any]) -> bool:
    """Return whether a machine is a Raspberry Pi 4 and not an emulator that says so."""
    return str(state.get("board") or "").startswith(PI_4) and state.get("emulated") is False


def is_emulated(root: Path = Path("/")) -> bool | None:
    """Return whether this process is run by an emulator or on a machine that is one; None where nothing tells.

    QEMU in user mode shows the host's kernel, whose own files name another processor than this process believes in.
    """
    machine, modules = platform.machine(), root / "proc/sys/fs/binfmt_misc"
    virtual = " ".join(
        _text(root / place) or "" for place in ("sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name")
    ).lower()
    if any(word in virtual for word in ("qemu", "bochs")):
        return True
    if os.environ.get("QEMU_CPU") or os.environ.get("QEMU_LD_PREFIX"):
        return True
    for link in ("proc/self/exe", "proc/thread-self/exe"):  # QEMU answers for the first, and forgets the second
        with contextlib.suppress(OSError):
            if "qemu" in os.readlink(root / link):
                return True
    kernel = _text(root / "proc/sys/kernel/arch")  # from Linux 6.1 on; `uname` is what QEMU makes up
    if kernel and machine.startswith(ARM) != kernel.startswith(ARM):
        return True
    lines = _text(root / "proc/cpuinfo") or ""
    if machine in ("aarch64", "armv7l"):
        if (root / "sys/class/dmi/id/product_name").exists():  # what a Pi has none of
            return True
        if modules.exists() and any(modules.glob("qemu-a*")):
            return True
        return "vendor_id" in lines if lines else None
    return False if lines else None


def peak_rss_bytes() -> int | None:
    """Return the most memory this process has held, bytes; None where the system does not say.

    Read from /proc and not from `getrusage`, whose figure counts what the parent held before this program began.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def _board(root: Path) -> str | None:
    text = _text(root / "proc/device-tree/model") or _text(root / "sys/firmware/devicetree/base/model")
    return text.rstrip("\0") if text else None


def _cpu(root: Path) -> str:
    lines = (_text(root / "proc/cpuinfo") or "").splitlines()
    named = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    part = named.get("CPU part")
    return named.get("model name") or (f"ARM part {part}" if part else "") or platform.processor() or platform.machine()


def _memory(root: Path) -> int | None:
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            with contextlib.suppress(ValueError, IndexError):
                return int(line.split()[1]) * 1024
    return None


def _temperature(root: Path) -> float | None:
    found = _largest((root / "sys/class/thermal").glob("thermal_zone*/temp"))
    return None if found is None else found / 1000


def _throttled() -> int | None:
    """Return the bits, or None where there is no `vcgencmd`, or it does not answer."""
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, "get_throttled"], capture_output=True, text=True, timeout=VCGENCMD_S, check=True
        ).stdout
        return int(answer.strip().partition("=")[2], 16)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _largest(files: Any) -> int | None:
    values = []
    for file in files:
        with contextlib.suppress(ValueError, TypeError):
            values.append(int(_text(file) or ""))
    return max(values, default=None)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _hex(value: object) -> str:
    return hex(value) if isinstance(value, int) else "unknown"
