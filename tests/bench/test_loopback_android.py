"""The stand-in for phones: a real adbd on loopback, and the app's harness on the JVM. It must be built first."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from edge.bench import android
from edge.bench.adb import Adb
from edge.bench.android import AndroidDevice
from edge.bench.device import Evidence
from edge.bench.environment import changes
from edge.bench.launch import Launch
from edge.bench.loopback_android import StandIn, default_folder, missing
from edge.bench.plan import Plan
from edge.bench.record import Artifact
from edge.bench.schema import bench_schema
from edge.bench_devices import Phone, is_phone, open_device, runs_on
from edge.runtime.card import Card, DecoderSpec, InputSpec, OutputSpec
from edge.runtime.errors import DeviceError, InputError, one_line

from .ssh_device import QUICK, Running, wait_until

FOLDER = default_folder()
WHY_NOT = missing(FOLDER)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(WHY_NOT), reason=f"no stand-in for a phone: {WHY_NOT}"),
]
PLAN = Plan(**{**QUICK, "engine": "litert", "runs": 5})


@pytest.fixture(scope="module")
def apk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stand-in takes for an app; a phone would not."""
    path = tmp_path_factory.mktemp("apk") / "edge-demo.apk"
    with zipfile.ZipFile(path, "w") as parts:
        parts.writestr("AndroidManifest.xml", "")
    return path


@pytest.fixture(scope="module")
def running_phone() -> Iterator[StandIn]:
    with StandIn(FOLDER) as stand_in:
        yield stand_in


@pytest.fixture
def phone(running_phone: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A phone that is cool and idle, on which nothing of a benchmark is left afterwards."""
    seen(running_phone, monkeypatch)
    running_phone.set_state()
    yield running_phone
    assert left(running_phone) == ""


def seen(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in stand_in.environment.items():
        monkeypatch.setenv(key, value)


def left(stand_in: StandIn) -> str:
    """Return what a benchmark has left on a phone: files, or a running app."""
    return stand_in.shell(
        "ls /data/local/tmp; [ -f /data/run/app ] && kill -0 $(cat /data/run/app) 2>/dev/null && echo app"
    )


def refusal(device: AndroidDevice, artifact: Path, plan: Plan = PLAN) -> DeviceError:
    """Return the error that a launch ends with, which fits on a line and leaves with exit code 4."""
    launch = Launch()
    with pytest.raises(DeviceError) as caught:
        device.launch(artifact, plan, None, launch)
    assert caught.value.exit_code == 4
    assert str(launch.error) in one_line(caught.value)
    assert len(one_line(caught.value)) <= 300
    return caught.value


class TestWholePath:
    def test_install_push_run_result_and_nothing_is_left(
        self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path]
    ) -> None:
        lines: list[str] = []
        artifact = write_tflite()

        with AndroidDevice(apk=apk, tell=lines.append) as device:
            state = device.connect()
            first = device.launch(artifact, PLAN, None, Launch())
            second = device.launch(artifact, PLAN, None, Launch())

        assert (device.evidence, state["emulated"], state["board"]) == (Evidence.SIMULATED, True, "edge stand-in")
        assert [line for line in lines if "installing" in line] == ["android: installing the app, 0.0 MB"]
        for launch in (first, second):
            assert launch.complete
            assert len(launch.wall_ms) == len(launch.cpu_ms) >= 5
            assert launch.engine["name"] == "tflite"
            assert launch.agreement["raw"]["max_abs_error"] == 0
            assert launch.started["affinity"]
            assert launch.started["governor"] == "schedutil"
            assert (launch.started["thermal_status"], launch.ended["thermal_status"]) == (0, 0)
            assert launch.started["probe_ms"] is None  # a stand-in's clock says nothing
            assert launch.peak_rss_bytes is not None
            assert changes(launch.started, launch.ended) == []

    def test_the_same_app_is_not_installed_again(
        self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path], tmp_path: Path
    ) -> None:
        artifact, other = write_tflite(), tmp_path / "other.apk"
        with zipfile.ZipFile(other, "w") as parts:
            parts.writestr("AndroidManifest.xml", "another")
        lines: list[str] = []
        expected = ["next", "next", "installing", "next", "next"]

        for given in (apk, apk, other, None):
            with AndroidDevice(apk=given, tell=lines.append) as device:
                device.connect()
                device._install()
            lines.append("next")
        with AndroidDevice(tell=lines.append) as device:
            device.launch(artifact, PLAN, None, Launch())

        told = ["installing" if "installing" in line else line for line in lines]
        assert told in (expected, ["installing", *expected])

    def test_whole_frames_of_a_picture_and_of_the_apps_own(
        self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path], tmp_path: Path
    ) -> None:
        source = tmp_path / "source.npz"
        np.savez(source, picture=np.zeros((24, 32, 3), np.uint8))
        plan = Plan(**{**QUICK, "engine": "litert", "runs": 5, "stages_s": 0.01})

        with AndroidDevice(apk=apk) as device:
            given = device.launch(write_tflite(), plan, source, Launch())
        with AndroidDevice(apk=apk, app=True) as device:
            own = device.launch(write_tflite(), plan, None, Launch())

        assert device.name == "android (app)"
        for launch in (given, own):
            assert len(launch.pre_ms) == len(launch.infer_ms) == len(launch.decode_ms) >= 5

    def test_several_threads_have_no_processor_time(
        self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path]
    ) -> None:
        with AndroidDevice(apk=apk) as device:
            launch = device.launch(write_tflite(), Plan(**{**PLAN.to_dict(), "threads": 2}), None, Launch())

        assert launch.engine["threads"] == 2
        assert launch.cpu_ms == []
        assert len(launch.wall_ms) >= 5

    def test_the_command_takes_a_name_of_edge_toml_and_shows_no_time_of_a_stand_in(
        self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path], tmp_path: Path
    ) -> None:
        config = tmp_path / "edge.toml"
        config.write_text(f'[devices.desk]\nadb = "{phone.serials[0]}"\n')
        words = ("--device", "desk", "--config", str(config), "--apk", str(apk), "--output", str(tmp_path / "out"))

        done = edge("bench", str(write_tflite()), *words, *FAST)

        assert done.returncode == 0, done.stderr
        row = next(line for line in done.stdout.splitlines() if "litert" in line)
        assert "simulate" in row  # a narrow column folds its last letter
        assert not re.search(r"\d\.\d", row)
        assert " ms of " not in done.stderr
        assert "whose clock says nothing of the device" in done.stdout
        report = json.loads((tmp_path / "out/results.json").read_text())
        (told,) = report["rows"]
        assert (told["device"], told["evidence"], told["status"]) == ("desk", "simulated", "complete")
        assert report["best"] is None
        Draft202012Validator(bench_schema()).validate(report)

    def test_a_measurement_is_refused_and_so_is_a_file_that_no_phone_runs(
        self, phone: StandIn, apk: Path, write_onnx: Callable[..., Path], tiny_card: Callable[..., Card]
    ) -> None:
        with pytest.raises(DeviceError, match="`android` is no phone, and a measurement is wanted, got edge stand-in"):
            open_device("android", None, True, print, Phone(apk=apk))
        device = open_device("android", None, False, print, Phone(apk=apk, app=True))
        assert device is not None
        try:
            assert (device.name, is_phone(device)) == ("android (app)", True)
            with pytest.raises(InputError, match=r"nothing here runs on `android \(app\)`, expected .tflite"):
                runs_on(device, [Artifact.of(write_onnx(), tiny_card())])
        finally:
            device.close()


class TestFaults:
    def test_unplugged_in_the_middle_keeps_the_samples(
        self, apk: Path, write_tflite: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with StandIn(FOLDER) as stand_in:
            seen(stand_in, monkeypatch)
            device = AndroidDevice(apk=apk)
            running = Running(device, write_tflite(), engine="litert")
            running.wait_for_samples()
            stand_in.unplug()
            running.wait(30)

            assert isinstance(running.error, DeviceError)
            assert "was lost" in str(running.error)
            assert running.launch.wall_ms
            assert running.launch.error is not None
            assert "connect it and run it again" in running.launch.error

            stand_in.plug()
            assert "edge-bench-" in left(stand_in)  # nobody could clean up
            with device:
                assert device.launch(write_tflite(), PLAN, None, Launch()).complete
            assert left(stand_in) == ""

    def test_an_app_that_is_killed_keeps_the_samples(
        self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path]
    ) -> None:
        with AndroidDevice(apk=apk) as device:
            running = Running(device, write_tflite(), engine="litert")
            running.wait_for_samples()
            phone.shell("kill -9 $(cat /data/run/app)")
            running.wait(30)

        assert isinstance(running.error, DeviceError)
        assert "was killed or crashed, got Process crashed." in str(running.error)
        assert running.launch.wall_ms
        assert not running.launch.complete

    def test_no_room_for_the_app_or_for_the_artifact(
        self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path]
    ) -> None:
        phone.shell("rm -rf /data/app/*; cat /dev/zero >/data/local/tmp/full")
        try:
            with AndroidDevice(apk=apk) as device:
                error = refusal(device, write_tflite())
            assert str(error).startswith(f"no room on `{phone.serials[0]}`")

            phone.shell("rm /data/local/tmp/full")
            with AndroidDevice(apk=apk) as device:
                device.launch(write_tflite(), PLAN, None, Launch())
            phone.shell("cat /dev/zero >/data/local/tmp/full")
            with AndroidDevice(apk=apk) as device:
                error = refusal(device, write_tflite())
            assert str(error).startswith(f"no room on `{phone.serials[0]}`")
        finally:
            phone.shell("rm -f /data/local/tmp/full")

    def test_a_phone_that_has_not_authorised_this_machine(
        self, apk: Path, write_tflite: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with StandIn(FOLDER, phones=0, locked=True) as stand_in:
            seen(stand_in, monkeypatch)
            error = refusal(AndroidDevice(apk=apk), write_tflite())

        assert "has not authorised this machine, got state `unauthorized`" in str(error)
        assert "accept the question on its screen" in str(error.hint)

    def test_two_phones_need_a_serial(
        self, apk: Path, write_tflite: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with StandIn(FOLDER, phones=2) as stand_in:
            seen(stand_in, monkeypatch)
            with pytest.raises(InputError, match=r"2 phones are connected, got 127.*6001, 127.*6002") as caught:
                AndroidDevice(apk=apk).connect()
            with AndroidDevice(apk=apk, serial=stand_in.serials[1]) as device:
                device.launch(write_tflite(), PLAN, None, Launch())
                there = [stand_in.shell("ls /data/app", number).strip() for number in (0, 1)]

        assert "--serial" in str(caught.value.hint)
        assert there == ["", "edge.vision.demo"]

    def test_an_old_android_is_refused(
        self, apk: Path, write_tflite: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = {"ro.build.version.sdk": "23", "ro.build.version.release": "6.0.1"}
        with StandIn(FOLDER, props=old) as stand_in:
            seen(stand_in, monkeypatch)
            error = refusal(AndroidDevice(apk=apk), write_tflite())

        assert "too old, expected API 24 or newer, got API 23, Android 6.0.1" in str(error)

    def test_a_file_that_changed_on_the_way_is_not_run(
        self, apk: Path, write_tflite: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with StandIn(FOLDER) as stand_in:
            seen(stand_in, monkeypatch)
            stand_in.shell("printf '#!/bin/sh\\necho 0123456789abcdef $1\\n' >/system/bin/sha256sum")
            stand_in.shell("chmod +x /system/bin/sha256sum")
            with AndroidDevice(apk=apk) as device:
                error = refusal(device, write_tflite())

        assert "arrived damaged" in str(error)

    def test_what_the_app_reads_is_what_was_sent(self, phone: StandIn, apk: Path, tmp_path: Path) -> None:
        """The app computes the hash again: a phone's `sha256sum` may not be there."""
        phone.shell("mkdir -p /data/local/tmp/x; echo model >/data/local/tmp/x/model")
        item = {"path": "/data/local/tmp/x/model", "sha256": "0" * 64}
        plan = {"schema": 1, "model": item, "tensor": item, "threads": 1, "warmup_s": 0, "seconds": 0, "runs": 1}
        order = json.dumps({**plan, "stages_s": 0, "stage_runs": 1}).encode().hex()
        with AndroidDevice(apk=apk) as device:
            device.connect()
            device._install()
            told = phone.shell(
                "mkdir -p /data/local/tmp/x; echo model >/data/local/tmp/x/model;"
                f" am instrument -w -r -e plan {order} edge.vision.demo/edge.vision.app.Bench"
            )
        phone.shell("rm -r /data/local/tmp/x")

        assert "what the app can read is not what was sent" in told
        assert "exit_code=2" in told

    def test_an_app_without_a_benchmark_is_told(
        self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path]
    ) -> None:
        with AndroidDevice(apk=apk) as device:
            device.launch(write_tflite(), PLAN, None, Launch())
            phone.shell("rm -rf /data/app/*")
            error = refusal(device, write_tflite())

        assert "has no benchmark in it" in str(error)

    def test_no_app_anywhere_is_told_with_how_to_build_it(
        self, phone: StandIn, write_tflite: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        phone.shell("rm -rf /data/app/*")
        monkeypatch.chdir(tmp_path)

        with AndroidDevice() as device:
            error = refusal(device, write_tflite())

        assert "the demo app is not on" in str(error)
        assert "android_demo/build.py" in str(error.hint)

    def test_one_benchmark_at_a_time(self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path]) -> None:
        with AndroidDevice(apk=apk) as first:
            first.connect()
            error = refusal(AndroidDevice(apk=apk), write_tflite())

        assert "another benchmark runs on" in str(error)

    def test_a_harness_that_does_not_end_is_stopped(
        self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path]
    ) -> None:
        with AndroidDevice(apk=apk, timeout_s=3) as device:
            error = refusal(device, write_tflite(), Plan(**{**PLAN.to_dict(), "seconds": 600.0}))

        assert "does not answer" in str(error)

    def test_a_card_that_asks_for_another_source_is_told(
        self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path], tmp_path: Path
    ) -> None:
        source = tmp_path / "sound.npz"
        np.savez(source, samples=np.zeros(99, np.float32), rate=22050)

        with AndroidDevice(apk=apk) as device, pytest.raises(InputError, match="takes another source"):
            device.launch(write_tflite(), PLAN, source, Launch())

    def test_what_the_app_refuses_is_told(self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path]) -> None:
        shape = (1, 8, 8, 3)
        card = Card(
            model="tiny",
            input=InputSpec(shape=shape, layout="NHWC"),
            outputs=(OutputSpec(name="raw", shape=shape, layout="NHWC", meaning="pixels"),),
            decoder=DecoderSpec(name="of-a-plug-in"),
        )

        with AndroidDevice(apk=apk) as device, pytest.raises(InputError, match="`of-a-plug-in` is not known"):
            device.launch(write_tflite(card=card), PLAN, None, Launch())


class TestHeat:
    def test_it_waits_until_it_is_cool_and_gives_up_when_it_stays_hot(
        self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(android, "COOL_POLL_S", 0.2)
        phone.set_state(celsius=44.5)
        lines: list[str] = []
        with AndroidDevice(apk=apk, cool_s=0.5, tell=lines.append) as device:
            error = refusal(device, write_tflite())
        assert "did not cool down, got battery 44.5 C, thermal status 0" in str(error)
        assert any("cooling down: battery 44.5 C" in line for line in lines)

        lines.clear()

        def cool() -> None:
            wait_until(lambda: bool(lines), "no word of cooling down")
            phone.set_state()

        fan = threading.Thread(target=cool)
        fan.start()
        with AndroidDevice(apk=apk, tell=lines.append) as device:
            assert device.launch(write_tflite(), PLAN, None, Launch()).complete
        fan.join()

    def test_a_throttled_moment_voids_a_run(self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path]) -> None:
        with AndroidDevice(apk=apk) as device:
            running = Running(device, write_tflite(), seconds=2, engine="litert")
            running.wait_for_samples()
            phone.set_state(thermal_status=3)
            running.wait(60)

        assert running.launch.complete, running.error
        assert changes(running.launch.started, running.launch.ended) == ["throttled: thermal status 0, then 3"]

    def test_a_phone_that_saves_its_battery_is_refused(
        self, phone: StandIn, apk: Path, write_tflite: Callable[..., Path]
    ) -> None:
        phone.set_state(low_power=True)
        with AndroidDevice(apk=apk) as device:
            error = refusal(device, write_tflite())

        assert "battery saver" in str(error)


def test_ctrl_c_stops_the_app_and_leaves_nothing(phone: StandIn, apk: Path, write_tflite: Callable[..., Path]) -> None:
    words = [
        "bench",
        str(write_tflite()),
        "--device",
        "android",
        "--apk",
        str(apk),
        "--threads",
        "1",
        "--seconds",
        "600",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_until(lambda: "app" in left(phone), "the app does not start")

    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert left(phone) == ""


def test_a_phone_that_is_named_and_not_there(phone: StandIn) -> None:
    with pytest.raises(DeviceError, match="phone `nowhere` is not connected, got 127"):
        Adb("nowhere").choose()


FAST = ("--launches", "1", "--runs", "3", "--seconds", "0", "--warmup", "0", "--threads", "1", "--no-stages")


def edge(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge", *words], check=False, capture_output=True, text=True, timeout=120
    )
