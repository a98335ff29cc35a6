"""The stand-in for a Raspberry Pi 4: an arm64 Python behind a real sshd. It must be built first; see `SKIPPED`."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from edge.bench import loopback_pi
from edge.bench.config import DeviceConfig, read_devices
from edge.bench.device import Evidence
from edge.bench.environment import changes, environment, is_emulated, is_pi_4
from edge.bench.launch import Launch
from edge.bench.loopback_sshd import missing_ssh
from edge.bench.plan import Plan
from edge.bench.ssh import SshDevice
from edge.runtime.errors import DeviceError

from .ssh_device import QUICK, Running, processes, wait_until

FOLDER = Path(os.environ.get("EDGE_LOOPBACK_PI") or "/nowhere")
SKIPPED = "no stand-in: python -m edge.bench.loopback_pi --into DIR, and EDGE_LOOPBACK_PI=DIR"
built = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_ssh()), reason=missing_ssh()),
    pytest.mark.skipif(not loopback_pi.is_built(FOLDER), reason=SKIPPED),
]
ENGINES = ("litert", "onnxruntime")


@pytest.fixture(scope="module")
def pi() -> Iterator[DeviceConfig]:
    with loopback_pi.serve(FOLDER):
        yield read_devices(FOLDER / "edge.toml")["pi"]


@pytest.fixture(autouse=True)
def cool(request: pytest.FixtureRequest) -> None:
    if "pi" in request.fixturenames:
        loopback_pi.set_state(FOLDER, celsius=48, throttled=0)


def test_what_was_not_built_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no stand-in") as caught:
        loopback_pi.serve(tmp_path)

    assert "loopback_pi --into" in str(caught.value.hint)


def test_it_shows_what_a_pi_4_shows(tmp_path: Path) -> None:
    root = tmp_path / "root"
    loopback_pi._write_board(root)
    loopback_pi.set_state(tmp_path, celsius=61.5, throttled=0x50000)

    state = environment(root)

    assert state["board"] == loopback_pi.BOARD
    assert state["cpu"] == "ARM part 0xd08"
    assert state["temperature_c"] == 61.5
    assert state["clock_khz"] == state["clock_max_khz"] == loopback_pi.CLOCK_KHZ
    assert is_pi_4({**state, "emulated": False})


@pytest.mark.parametrize("kernel", ["same", "other", None])
def test_a_kernel_of_another_processor_gives_an_emulator_away(tmp_path: Path, kernel: str | None) -> None:
    mine = platform.machine()
    other = "x86_64" if mine == "aarch64" else "aarch64"
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/cpuinfo").write_text("model name: a real processor\n")
    if kernel:
        (tmp_path / "proc/sys/kernel/arch").write_text(f"{mine if kernel == 'same' else other}\n")

    assert is_emulated(tmp_path) is (kernel == "other")


def test_the_name_of_the_running_program_gives_an_emulator_away(tmp_path: Path) -> None:
    (tmp_path / "proc/thread-self").mkdir(parents=True)
    (tmp_path / "proc/cpuinfo").write_text("model name: a real processor\n")
    (tmp_path / "proc/thread-self/exe").symlink_to("/usr/bin/qemu-aarch64")

    assert is_emulated(tmp_path)


class TestServed:
    pytestmark = built

    def test_it_is_no_pi_4_however_much_it_looks_like_one(self, pi: DeviceConfig) -> None:
        really = DeviceConfig(name="rpi4", ssh=pi.ssh, ssh_config=pi.ssh_config, kind="rpi4")

        with SshDevice(really) as device, pytest.raises(DeviceError, match="is no Raspberry Pi 4") as caught:
            device.connect()

        assert caught.value.got == f"{loopback_pi.BOARD}, emulated"

    @pytest.mark.parametrize("engine", ENGINES)
    def test_both_engines_run_there_and_what_they_say_is_simulated(
        self, pi: DeviceConfig, engine: str, write_onnx: Callable[..., Path], write_tflite: Callable[..., Path]
    ) -> None:
        if not list((FOLDER / "cache/payloads").glob(f"{engine}-aarch64-*/payload-*.zip")):
            pytest.skip(f"no wheels of {engine} in the stand-in's cache: run `edge.bench.loopback_pi --into` again")
        artifact = write_tflite() if engine == "litert" else write_onnx()
        plan = Plan(**{**QUICK, "engine": engine, "runs": 3})
        sent_again: list[str] = []

        with SshDevice(pi, cache=FOLDER / "cache") as device:
            device.launch(artifact, plan, None, Launch())
        with SshDevice(pi, cache=FOLDER / "cache", tell=sent_again.append) as device:
            assert device.evidence is Evidence.SIMULATED
            launch = device.launch(artifact, plan, None, Launch())

        assert sent_again == []
        assert launch.complete
        assert launch.started["architecture"] == "aarch64"
        assert launch.started["board"] == loopback_pi.BOARD
        assert launch.ended["throttled"] == 0

    def test_it_waits_until_it_is_cool_and_gives_up_when_it_stays_hot(
        self, pi: DeviceConfig, write_onnx: Callable[..., Path]
    ) -> None:
        loopback_pi.set_state(FOLDER, celsius=71.2, throttled=0)
        told: list[str] = []
        artifact, plan = write_onnx(), Plan(**{**QUICK, "runs": 1})

        with (
            SshDevice(pi, cache=FOLDER / "cache", tell=told.append, cool_s=1) as device,
            pytest.raises(DeviceError, match=r"did not cool down, got 71\.2 C"),
        ):
            device.launch(artifact, plan, None, Launch())

        def fan() -> None:
            wait_until(lambda: "cooling down: 71.2 C" in told, "no word of cooling down")
            loopback_pi.set_state(FOLDER, celsius=54, throttled=0)

        told.clear()
        thread = threading.Thread(target=fan)
        thread.start()
        with SshDevice(pi, cache=FOLDER / "cache", tell=told.append) as device:
            assert device.launch(artifact, plan, None, Launch()).started["temperature_c"] == 54
        thread.join()

    def test_it_does_not_start_while_throttled_and_a_throttled_moment_voids_a_run(
        self, pi: DeviceConfig, write_onnx: Callable[..., Path]
    ) -> None:
        artifact = write_onnx()
        loopback_pi.set_state(FOLDER, celsius=48, throttled=0x50005)
        with (
            SshDevice(pi, cache=FOLDER / "cache", cool_s=1) as device,
            pytest.raises(DeviceError, match=r"did not cool down, got 48\.0 C, throttled 0x50005"),
        ):
            device.launch(artifact, Plan(**{**QUICK, "runs": 1}), None, Launch())

        loopback_pi.set_state(FOLDER, celsius=48, throttled=0)
        with SshDevice(pi, cache=FOLDER / "cache") as device:
            running = Running(device, artifact, seconds=10)
            running.wait_for_samples()
            loopback_pi.set_state(FOLDER, celsius=48, throttled=0x40000)
            running.wait(300)

        assert running.launch.complete, running.error
        assert changes(running.launch.started, running.launch.ended) == [
            "throttled or under-voltage during the run: 0x0, then 0x40000"
        ]

    def test_nothing_of_it_runs_on(self, pi: DeviceConfig) -> None:
        end = monotonic() + 20
        while processes("qemu-aarch64", str(FOLDER / "root")) and monotonic() < end:
            pass
        assert not processes("qemu-aarch64", str(FOLDER / "root"))
