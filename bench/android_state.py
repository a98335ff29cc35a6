"""What a phone says of itself: model, Android, clocks, battery and heat, in the words that every device's state has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["SCRIPT", "cpu_list", "is_emulated", "read_state"]

MARK = "@edge "
# One round trip. Whatever a phone does not let its shell see stays empty.
SCRIPT = (
    "; ".join(
        f"echo '{MARK}{name}'; {command} 2>/dev/null"
        for name, command in (
            ("props", "getprop"),
            ("machine", "uname -m"),
            ("load", "cat /proc/loadavg"),
            ("governor", "cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            ("clocks", "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"),
            ("most", "cat /sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq"),
            ("battery", "dumpsys battery"),
            ("thermal", "dumpsys thermalservice"),
            ("saver", "settings get global low_power"),
        )
    )
    + "; :"
)
EMULATORS = ("goldfish", "ranchu", "cutf", "vsoc", "vbox86", "redroid")
ARM_ABIS = ("arm64-v8a", "armeabi-v7a", "armeabi")
ARM_MACHINES = ("aarch64", "armv8", "armv7")
CPU_TYPE = 0  # of a temperature in Android's thermal HAL
MOST_C = 150.0  # what says more is no temperature
MOST_LIST = 200  # letters of a list of CPUs


def read_state(printed: str) -> dict[str, Any]:
    """Return a phone's state as `environment.environment` has it, with what only a phone has beside it.

    Args:
        printed: what `SCRIPT` printed; nothing in it is believed before it is looked at.

    Returns:
        As `environment.environment`; and api: level of Android, None where it is not told; android: release; abi; soc;
        fingerprint: of the build; thermal_status: 0 for not throttled, up to 6; battery: level (percent), temperature_c
        and powered; low_power: whether the battery saver is on.
    """
    parts = _sections(printed)
    props = dict(re.findall(r"^\[([^\]\n]{1,200})\]: \[([^\]\n]{0,500})\]\s*$", parts.get("props", ""), re.MULTILINE))
    machine = parts.get("machine", "").strip() or None
    battery = _battery(parts.get("battery", ""))
    thermal = parts.get("thermal", "")
    status = re.search(r"Thermal Status:\s*(\d)\b", thermal)
    heat = _hottest(thermal)
    release = props.get("ro.build.version.release")
    api = props.get("ro.build.version.sdk", "")
    return {
        "board": " ".join(filter(None, (props.get("ro.product.manufacturer"), props.get("ro.product.model")))) or None,
        "cpu": props.get("ro.soc.model") or props.get("ro.board.platform") or props.get("ro.hardware"),
        "architecture": machine,
        "system": f"Android {release}" if release else None,
        "python": None,
        "cores": None,
        "affinity": None,
        "memory_bytes": None,
        "governor": parts.get("governor", "").strip() or None,
        "clock_khz": _largest(parts.get("clocks", "")),
        "clock_max_khz": _largest(parts.get("most", "")),
        "temperature_c": heat if heat is not None else battery["temperature_c"],
        "throttled": None,
        "load": _first_number(parts.get("load", "")),
        "emulated": is_emulated(props, machine),
        "api": int(api) if re.fullmatch(r"\d{1,3}", api) else None,
        "android": release,
        "abi": props.get("ro.product.cpu.abi"),
        "soc": props.get("ro.soc.model"),
        "fingerprint": props.get("ro.build.fingerprint"),
        "thermal_status": int(status[1]) if status else None,
        "battery": battery,
        "low_power": {"0": False, "1": True}.get(parts.get("saver", "").strip()),
    }


def is_emulated(props: Mapping[str, str], machine: str | None) -> bool | None:
    """Return whether something is no phone though it answers like one; None where nothing tells.

    A phone has an ARM processor, a kernel for one, and a build that names no emulator.

    Args:
        props: of `getprop`.
        machine: of `uname -m`.
    """
    if props.get("ro.kernel.qemu") == "1" or props.get("ro.boot.qemu") == "1" or "ro.edge.stand_in" in props:
        return True
    words = " ".join(props.get(name, "") for name in ("ro.hardware", "ro.product.device", "ro.product.board")).lower()
    fingerprint = props.get("ro.build.fingerprint", "").lower()
    if any(name in words for name in EMULATORS) or "sdk_gphone" in fingerprint or fingerprint.startswith("generic"):
        return True
    abi = props.get("ro.product.cpu.abi")
    if not abi or not machine or not fingerprint:
        return None
    return not (abi in ARM_ABIS and machine.startswith(ARM_MACHINES))


def cpu_list(text: str) -> list[int] | None:
    """Return the numbers in a list of CPUs as Linux writes it, such as "0-3,6"; None where it is none."""
    if len(text) > MOST_LIST or not re.fullmatch(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*", text):
        return None
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return sorted(found)


def _sections(printed: str) -> dict[str, str]:
    parts = re.split(rf"^{re.escape(MARK)}(\w+)\s*$", printed, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _battery(printed: str) -> dict[str, Any]:
    told = dict(re.findall(r"^ *([A-Za-z][A-Za-z ]*): (\S+)[ \r]*$", printed, re.MULTILINE))
    tenths, level = told.get("temperature", ""), told.get("level", "")
    known = re.fullmatch(r"-?\d{1,4}", tenths)
    return {
        "level": int(level) if re.fullmatch(r"\d{1,3}", level) else None,
        "temperature_c": int(tenths) / 10 if known else None,
        "powered": any(told.get(f"{source} powered") == "true" for source in ("AC", "USB", "Wireless", "Dock"))
        if told
        else None,
    }


def _hottest(thermal: str) -> float | None:
    """Return the highest temperature of a CPU that the thermal service tells now; older ones stand in a cache."""
    current = thermal.partition("Current temperatures from HAL")[2] or thermal
    values = [
        float(value)
        for value, kind in re.findall(r"mValue=(-?\d{1,4}(?:\.\d{1,8})?), mType=(-?\d)\b", current)
        if int(kind) == CPU_TYPE and 0 < float(value) < MOST_C
    ]
    return max(values, default=None)


def _largest(text: str) -> int | None:
    return max((int(word) for word in text.split() if re.fullmatch(r"\d{1,9}", word)), default=None)


def _first_number(text: str) -> float | None:
    found = re.match(r"\d{1,6}\.\d{1,4}", text.strip())
    return float(found[0]) if found else None
