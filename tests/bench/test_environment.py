"""The state of a machine: read from the files of a Raspberry Pi, and held against its state after a run."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import pytest

from edge.bench.environment import changes, environment, is_pi_4, peak_rss_bytes

PI_CPUINFO = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU part\t: 0xd08\n\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n"


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a Raspberry Pi 4 that matter, under another root."""
    files = {
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        "proc/cpuinfo": PI_CPUINFO,
        "proc/meminfo": "MemTotal:        3884360 kB\nMemFree:          100000 kB\n",
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "600000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1500000\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    for name in ("QEMU_CPU", "QEMU_LD_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def program(folder: Path, answer: str) -> None:
    """Put a `vcgencmd` that answers so on PATH's first folder."""
    path = folder / "vcgencmd"
    path.write_text(f"#!/bin/sh\necho {answer}\n")
    path.chmod(0o755)


def test_a_pi_tells_what_it_is_and_how_it_does(pi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(pi, "throttled=0x50000")
    monkeypatch.setenv("PATH", f"{pi}{os.pathsep}{os.environ['PATH']}")

    state = environment(pi)

    assert state["board"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert state["cpu"] == "ARM part 0xd08"
    assert state["memory_bytes"] == 3884360 * 1024
    assert (state["governor"], state["clock_khz"], state["clock_max_khz"]) == ("performance", 1500000, 1500000)
    assert state["temperature_c"] == pytest.approx(48.312)
    assert state["throttled"] == 0x50000
    assert state["emulated"] is False
    assert is_pi_4(state)


def test_what_a_machine_does_not_tell_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    state = environment(tmp_path)

    names = ("board", "governor", "clock_khz", "temperature_c", "throttled", "memory_bytes", "emulated")
    assert {name: state[name] for name in names} == dict.fromkeys(names)
    assert not is_pi_4(state)


def test_a_vcgencmd_that_answers_nonsense_counts_as_none(pi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(pi, "error=1 VCHI initialization failed")
    monkeypatch.setenv("PATH", f"{pi}{os.pathsep}{os.environ['PATH']}")

    assert environment(pi)["throttled"] is None


@pytest.mark.parametrize("how", ["variable", "desktop", "interpreter"])
def test_an_emulator_that_says_it_is_a_pi_is_none(pi: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "variable":
        monkeypatch.setenv("QEMU_CPU", "cortex-a72")
    elif how == "desktop":  # the host's own files shine through
        place = pi / "sys/class/dmi/id/product_name"
        place.parent.mkdir(parents=True)
        place.write_text("Some Server\n")
    else:
        place = pi / "proc/sys/fs/binfmt_misc/qemu-aarch64"
        place.parent.mkdir(parents=True)
        place.write_text("enabled\n")

    state = environment(pi)

    assert state["emulated"] is True
    assert not is_pi_4(state)


def state(**values: Any) -> dict[str, Any]:
    return {"throttled": 0, "clock_khz": 1_500_000, "governor": "performance", **values}


def test_a_quiet_run_stands() -> None:
    assert changes(state(), state(clock_khz=1_510_000)) == []


def test_bits_that_were_set_since_boot_void_nothing() -> None:
    assert changes(state(throttled=0x50000), state(throttled=0x50000)) == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"throttled": 0x4}, {}, "now"),
        ({}, {"throttled": 0x50005}, "now"),
        ({"throttled": 0x10000}, {"throttled": 0x50000}, "during the run: 0x10000, then 0x50000"),
        ({}, {"clock_khz": 1_000_000}, "from 1500 to 1000 MHz"),
    ],
)
def test_throttling_and_a_moving_clock_void_a_run(before: dict[str, Any], after: dict[str, Any], words: str) -> None:
    (reason,) = changes(state(**before), state(**after))

    assert words in reason


def test_a_clock_that_may_move_voids_nothing() -> None:
    assert changes(state(governor="ondemand"), state(governor="ondemand", clock_khz=600_000)) == []


def test_memory_is_that_of_this_process() -> None:
    held = peak_rss_bytes()
    if held is None:
        pytest.skip("no /proc here")
    block = bytearray(64 << 20)
    block[::4096] = b"x" * len(block[::4096])

    assert (peak_rss_bytes() or 0) >= held
    assert 1 << 20 < held < 1 << 40
