"""What phones, adb and `am` print, read back; and what is refused before anything runs. No phone and no adb needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.bench.adb import Adb, Stream, find_adb
from edge.bench.adb_errors import adb_error, is_lost, state_error
from edge.bench.android import AndroidDevice
from edge.bench.android_lines import Outputs, instrument_events
from edge.bench.android_state import cpu_list, is_emulated, read_state
from edge.bench.config import DeviceConfig
from edge.bench.environment import changes
from edge.bench.launch import Launch
from edge.bench.plan import Plan
from edge.runtime.card import Card
from edge.runtime.errors import DeviceError, InputError, MissingExtraError, one_line

PHONE = {
    "ro.build.fingerprint": "maker/phone/phone:14/AP1A/1:user/release-keys",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.hardware": "qcom",
}
HOSTILE = (
    "-s",
    "-P5038",
    "a;touch canary",
    "$(touch canary)",
    "`touch canary`",
    "a\ntouch canary",
    "a b",
    "'",
    '"',
    "a|b",
    "a&",
    ">x",
    "../x",
    "a\0b",
    "\u202eabc",
    "\x1b[31m",
    "a\\",
    "*",
    "~",
    "\ud800",
    "x" * 65536,
)


def told(**sections: str) -> str:
    return "".join(f"@edge {name}\n{text}\n" for name, text in sections.items())


class TestState:
    def test_a_phone_is_read(self) -> None:
        props = {
            **PHONE,
            "ro.product.manufacturer": "Maker",
            "ro.product.model": "Phone 8",
            "ro.build.version.sdk": "34",
            "ro.build.version.release": "14",
            "ro.soc.model": "SM8550",
        }
        state = read_state(
            told(
                props="".join(f"[{key}]: [{value}]\n" for key, value in props.items()),
                machine="aarch64",
                load="9.91 9.80 9.70 1/4000 12345",
                governor="walt",
                clocks="1113600\n1113600\n2419200\n",
                most="2016000\n2016000\n3187200\n",
                battery="Current Battery Service state:\n  AC powered: false\n  USB powered: true\n  level: 81\n"
                "  temperature: 287\n",
                thermal="IsStatusOverride: false\nThermal Status: 1\nCached temperatures:\n"
                "\tTemperature{mValue=99.0, mType=0, mName=CPU0, mStatus=0}\nCurrent temperatures from HAL:\n"
                "\tTemperature{mValue=41.5, mType=0, mName=CPU0, mStatus=0}\n"
                "\tTemperature{mValue=52.25, mType=0, mName=CPU7, mStatus=0}\n"
                "\tTemperature{mValue=88.0, mType=3, mName=skin, mStatus=0}\n",
                saver="0",
            )
        )

        assert state["board"] == "Maker Phone 8"
        assert (state["cpu"], state["architecture"], state["system"]) == ("SM8550", "aarch64", "Android 14")
        assert (state["api"], state["android"], state["abi"]) == (34, "14", "arm64-v8a")
        assert (state["governor"], state["clock_khz"], state["clock_max_khz"]) == ("walt", 2_419_200, 3_187_200)
        assert state["battery"] == {"level": 81, "temperature_c": 28.7, "powered": True}
        assert (state["temperature_c"], state["thermal_status"]) == (52.25, 1)
        assert (state["load"], state["low_power"], state["emulated"]) == (9.91, False, False)

    @pytest.mark.parametrize(
        "printed", ["", "nonsense", "@edge props\n[[[\n", told(battery="temperature: hot"), "\0" * 99]
    )
    def test_what_is_not_told_is_none(self, printed: str) -> None:
        state = read_state(printed)

        facts = {key: value for key, value in state.items() if key != "battery"}
        assert set(facts.values()) == {None}
        assert state["battery"]["temperature_c"] is None

    def test_a_phone_that_talks_nonsense_is_read_in_no_time(self) -> None:
        nothing = told(battery=" \n" * 20_000 + " " * 20_000)  # took minutes when blanks were matched twice

        assert read_state(nothing)["battery"]["level"] is None
        assert cpu_list(",".join(["0-9999"] * 1000)) is None

    def test_without_a_thermal_service_the_battery_says_how_warm_it_is(self) -> None:
        assert read_state(told(battery="  temperature: 301"))["temperature_c"] == 30.1

    @pytest.mark.parametrize(
        ("changed", "machine", "emulated"),
        [
            ({}, "aarch64", False),
            ({}, "armv8l", False),
            ({"ro.product.cpu.abi": "armeabi-v7a"}, "armv7l", False),
            ({"ro.kernel.qemu": "1"}, "aarch64", True),
            ({"ro.boot.qemu": "1"}, "aarch64", True),
            ({"ro.hardware": "ranchu"}, "aarch64", True),
            ({"ro.hardware": "cutf_cvm"}, "aarch64", True),
            ({"ro.build.fingerprint": "google/sdk_gphone64_arm64/emu64a:14/1:userdebug/dev-keys"}, "aarch64", True),
            ({"ro.edge.stand_in": "1"}, "aarch64", True),
            ({"ro.product.cpu.abi": "x86_64"}, "x86_64", True),
            ({}, "x86_64", True),  # ARM by translation
            ({}, None, None),
            ({"ro.build.fingerprint": ""}, "aarch64", None),
        ],
    )
    def test_only_a_phone_passes_for_one(
        self, changed: dict[str, str], machine: str | None, emulated: bool | None
    ) -> None:
        assert is_emulated({**PHONE, **changed}, machine) is emulated

    @pytest.mark.parametrize(
        ("text", "cpus"),
        [("0-3", [0, 1, 2, 3]), ("0,2-3,7", [0, 2, 3, 7]), ("5", [5]), ("", None), ("0-", None), ("a", None)],
    )
    def test_lists_of_cpus(self, text: str, cpus: list[int] | None) -> None:
        assert cpu_list(text) == cpus


class TestGuard:
    @pytest.mark.parametrize(
        ("before", "after", "why"),
        [
            ({"thermal_status": 0}, {"thermal_status": 2}, "throttled: thermal status 0, then 2"),
            ({"low_power": False}, {"low_power": True}, "the battery saver was on"),
            ({"probe_ms": 10.0}, {"probe_ms": 11.2}, "a fixed piece of work took +12 % afterwards"),
            ({"probe_ms": 10.0}, {"probe_ms": 8.5}, "a fixed piece of work took -15 % afterwards"),
        ],
    )
    def test_a_phone_that_changed_its_pace_voids_a_run(
        self, before: dict[str, object], after: dict[str, object], why: str
    ) -> None:
        (reason,) = changes(before, after)

        assert why in reason

    def test_one_that_did_not_does_not(self) -> None:
        steady = {"thermal_status": 0, "probe_ms": 10.0, "low_power": False}

        assert changes(steady, {**steady, "probe_ms": 10.9}) == []
        assert changes({**steady, "probe_ms": None}, steady) == []


class TestLines:
    def test_events_come_out_and_the_rest_is_left_out(self) -> None:
        lines = [
            'INSTRUMENTATION_STATUS: edge={"event":"start"}',
            "INSTRUMENTATION_STATUS_CODE: 1",
            "INSTRUMENTATION_STATUS: stream=chatter",
            'INSTRUMENTATION_STATUS: edge={"event":"done"}',
            "INSTRUMENTATION_STATUS_CODE: 1",
            "INSTRUMENTATION_RESULT: exit_code=0",
            "INSTRUMENTATION_CODE: -1",
            'INSTRUMENTATION_STATUS: edge={"event":"after the end"}',
        ]

        assert [event["event"] for event in instrument_events(lines, "S")] == ["start", "done"]

    def test_an_app_that_died_is_told(self) -> None:
        lines = [
            'INSTRUMENTATION_STATUS: edge={"event":"start"}',
            "INSTRUMENTATION_RESULT: shortMsg=java.lang.UnsatisfiedLinkError",
            "INSTRUMENTATION_RESULT: longMsg=java.lang.UnsatisfiedLinkError: no tensorflowlite_jni",
            "INSTRUMENTATION_CODE: 0",
        ]

        with pytest.raises(DeviceError, match=r"the app on `S` was killed or crashed.*no tensorflowlite_jni"):
            list(instrument_events(lines, "S"))

    def test_a_line_that_breaks_off_is_the_last_of_an_app_that_died(self) -> None:
        start, torn = 'INSTRUMENTATION_STATUS: edge={"event":"start"}', 'INSTRUMENTATION_STATUS: edge={"event":"inf'
        crashed = ["", "INSTRUMENTATION_RESULT: shortMsg=Process crashed.", "INSTRUMENTATION_CODE: 0"]
        events = instrument_events([start, torn, *crashed], "S")

        assert next(events) == {"event": "start"}
        with pytest.raises(DeviceError, match="was killed or crashed"):
            next(events)
        with pytest.raises(DeviceError, match="line 1 of the device's answer is not JSON"):
            next(instrument_events([torn, start], "S"))

    def test_an_app_without_a_benchmark_is_told(self) -> None:
        line = "INSTRUMENTATION_STATUS: Error=Unable to find instrumentation info for: ComponentInfo{a/b}"

        with pytest.raises(DeviceError, match="has no benchmark in it") as caught:
            list(instrument_events([line], "S"))

        assert "android_demo/build.py" in str(caught.value.hint)

    @pytest.mark.parametrize("text", ["{", "[]", "1", "\x00", '{"event":' * 9999])
    def test_what_is_no_event_is_told(self, text: str) -> None:
        with pytest.raises(DeviceError, match="of the device's answer is no"):
            list(instrument_events([f"INSTRUMENTATION_STATUS: edge={text}"], "S"))


class TestOutputs:
    def test_pieces_make_the_arrays(self, tiny_card: Callable[..., Card]) -> None:
        values = np.arange(192, dtype=np.float32) / 7
        outputs = Outputs(tiny_card("tflite"))
        for start in (0, 100):
            piece = values[start : start + 100]
            outputs.take({"index": 0, "start": start, "float32": piece.astype(">f4").tobytes().hex()})

        np.testing.assert_array_equal(outputs.arrays()["raw"], values.reshape(1, 8, 8, 3))

    @pytest.mark.parametrize(
        "event",
        [
            {},
            {"index": 1, "start": 0, "float32": "00000000"},
            {"index": -1, "start": 0, "float32": "00000000"},
            {"index": 0, "start": 1, "float32": "00000000"},
            {"index": 0, "start": 0, "float32": ""},
            {"index": 0, "start": 0, "float32": "0000000"},
            {"index": 0, "start": 0, "float32": "zzzzzzzz"},
            {"index": 0, "start": 0, "float32": "00000000" * 193},
            {"index": "0", "start": None, "float32": 5},
            {"index": 0, "start": 0.0, "float32": "00000000"},
            {"index": False, "start": 0, "float32": "00000000"},
        ],
    )
    def test_nonsense_is_a_device_error(self, tiny_card: Callable[..., Card], event: dict[str, object]) -> None:
        with pytest.raises(DeviceError, match="the app's outputs"):
            Outputs(tiny_card("tflite")).take(event)

    def test_what_is_not_whole_is_no_output(self, tiny_card: Callable[..., Card]) -> None:
        outputs = Outputs(tiny_card("tflite"))
        outputs.take({"index": 0, "start": 0, "float32": "00000000" * 191})

        with pytest.raises(DeviceError, match="`raw` is not whole, expected 192, got 191"):
            outputs.arrays()


class TestErrors:
    @pytest.mark.parametrize(
        ("printed", "message"),
        [
            ("adb: error: failed to copy 'a' to 'b': remote write failed: No space left on device", "no room on `S`"),
            ("Failure [INSTALL_FAILED_INSUFFICIENT_STORAGE]", "no room on `S`"),
            ("error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", "has not authorised"),
            ("error: more than one device/emulator", "several phones"),
            ("Failure [INSTALL_FAILED_UPDATE_INCOMPATIBLE: Package edge.vision.demo signatures]", "another build"),
            ("Failure [INSTALL_FAILED_USER_RESTRICTED: Install canceled by user]", "does not let adb install"),
            ("Failure [INSTALL_FAILED_NO_MATCHING_ABIS: Failed to extract]", "no code for the processor"),
            ("Failure [INSTALL_FAILED_OLDER_SDK: needs 24]", "refused the app"),
            ("adb: device 'S' not found", "the connection to `S` was lost"),
            ("adb: device offline", "the connection to `S` was lost"),
            ("error: closed", "the connection to `S` was lost"),
            ("* daemon not running; starting now at tcp:5037\nADB server didn't ACK", "adb's server does not run"),
            ("something new", "adb failed on `S`, got something new"),
            ("", "adb failed on `S`, got nothing was said"),
        ],
    )
    def test_what_adb_prints_becomes_one_line(self, printed: str, message: str) -> None:
        error = adb_error("S", printed)

        assert message in one_line(error)
        assert len(one_line(error)) <= 300

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            ("unauthorized", "has not authorised this machine"),
            ("offline", "is offline"),
            ("no permissions (user in plugdev group; are your udev rules wrong?)", "may not talk to the phone"),
            ("recovery", "not in its normal mode"),
        ],
    )
    def test_each_state_has_its_line_and_a_way_out(self, state: str, message: str) -> None:
        error = state_error("S", state)

        assert message in str(error)
        assert error.hint

    def test_a_lost_phone_is_told_from_a_full_one(self) -> None:
        assert is_lost("adb: error: failed to read copy response: device offline")
        assert not is_lost("remote write failed: No space left on device")


class TestDevice:
    def test_launches_of_another_phone_or_app_are_not_taken_for_ones_of_this(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        adb_of_a_phone(tmp_path, monkeypatch)
        named = {serial: AndroidDevice(serial=serial, apk=tmp_path / "app.apk") for serial in ("S", "T")}
        told = [device.engine_version("litert") for device in (named["S"], named["T"], named["S"])]
        there = AndroidDevice(serial="S")
        with there:
            there.connect()
            told.append(there.engine_version("litert"))
        (tmp_path / "hash").write_text("b" * 64)
        with there:
            there.connect()
            told.append(there.engine_version("litert"))

        assert told[0] == told[2]
        assert len(set(told)) == 4

    def test_ctrl_c_ends_the_wait_for_a_phone_to_cool_down(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_tflite: Callable[..., Path]
    ) -> None:
        adb_of_a_phone(tmp_path, monkeypatch, tenths=600)
        waiting = threading.Event()
        found: list[BaseException] = []

        def tell(text: str) -> None:
            if "cooling down" in text:
                waiting.set()

        device = AndroidDevice(serial="S", apk=tmp_path / "app.apk", cool_s=60, tell=tell)

        def launch() -> None:
            try:
                device.launch(write_tflite(), Plan(artifact="", engine="litert"), None, Launch())
            except DeviceError as exc:
                found.append(exc)

        thread = threading.Thread(target=launch, daemon=True)
        thread.start()
        assert waiting.wait(30)
        device.close()  # as the main thread does
        thread.join(30)

        assert "was closed here" in str(found[0])

    def test_what_is_started_while_another_thread_closes_is_ended(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        adb_of_a_phone(tmp_path, monkeypatch)
        device = AndroidDevice(serial="S", apk=tmp_path / "app.apk")
        device.connect()
        closer = threading.Thread(target=device.close)
        start = device._adb.stream

        def slowly(script: str) -> Stream:
            closer.start()
            closer.join(0.2)
            return start(script)

        monkeypatch.setattr(device._adb, "stream", slowly)
        stream = device._started("am instrument")
        closer.join(30)

        with pytest.raises(DeviceError, match="was closed here"):
            list(stream.lines(60, 60))
        with pytest.raises(DeviceError, match="was closed here"):
            device._started("am instrument")


class TestWords:
    @pytest.mark.parametrize("serial", HOSTILE, ids=range(len(HOSTILE)))
    def test_a_hostile_serial_runs_nothing(self, tmp_path: Path, serial: str) -> None:
        canary = fake_adb(tmp_path)

        with pytest.raises(InputError, match="bad serial"):
            Adb(serial, str(tmp_path / "adb")).choose()
        with pytest.raises(InputError, match="is no serial"):
            DeviceConfig(name="phone", adb=serial, kind="android")

        assert not canary.exists()

    @pytest.mark.parametrize(
        "serial", ["R5CT10ABCDE", "emulator-5554", "192.0.2.7:5555", "adb-1-a._adb-tls-connect._tcp"]
    )
    def test_what_adb_lists_is_taken(self, tmp_path: Path, serial: str) -> None:
        fake_adb(tmp_path, f"List of devices attached\\n{serial}\\tdevice\\n")

        assert Adb(serial, str(tmp_path / "adb")).choose() == serial
        assert DeviceConfig(name="phone", adb=serial, kind="android").adb == serial

    def test_no_phone_at_all_is_told_with_a_way_out(self, tmp_path: Path) -> None:
        fake_adb(tmp_path, "List of devices attached\\n\\n")

        with pytest.raises(DeviceError, match="no phone is connected") as caught:
            Adb("", str(tmp_path / "adb")).choose()

        assert "USB debugging" in str(caught.value.hint)

    def test_a_phone_that_is_not_there_is_told_with_those_that_are(self, tmp_path: Path) -> None:
        fake_adb(tmp_path, "List of devices attached\\nA\\tdevice\\nB\\toffline\\n")

        with pytest.raises(DeviceError, match="phone `C` is not connected, got A, B"):
            Adb("C", str(tmp_path / "adb")).choose()

    def test_without_adb_there_is_a_hint(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("EDGE_ADB", raising=False)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

        with pytest.raises(MissingExtraError, match="there is no `adb`") as caught:
            find_adb()

        assert "apt-get install adb" in str(caught.value.hint)


def adb_of_a_phone(folder: Path, monkeypatch: pytest.MonkeyPatch, tenths: int = 300) -> None:
    """Put a program in adb's place that answers as phones S and T do; their app has the hash in the file `hash`."""
    props = "".join(f"[{key}]: [{value}]\n" for key, value in {**PHONE, "ro.build.version.sdk": "34"}.items())
    (folder / "state").write_text(told(props=props, machine="aarch64", battery=f"  temperature: {tenths}"))
    (folder / "hash").write_text("a" * 64)
    (folder / "app.apk").write_bytes(b"PK")
    (folder / "adb").write_text(
        f"""#!/bin/sh
case "$*" in
devices) printf 'List of devices attached\\nS\\tdevice\\nT\\tdevice\\n' ;;
*"@edge props"*) cat '{folder}/state' ;;
*"xargs sha256sum"*) cat '{folder}/hash' ;;
*"pm path"*) echo package:/data/app/base.apk ;;
*sha256sum*) echo none ;;
*instrument*) exec sleep 60 ;;
esac
"""
    )
    (folder / "adb").chmod(0o755)
    monkeypatch.setenv("EDGE_ADB", str(folder / "adb"))
    monkeypatch.setenv("EDGE_CACHE", str(folder / "cache"))
    monkeypatch.chdir(folder)  # no app lies there


def fake_adb(folder: Path, prints: str = "") -> Path:
    """Write a program in adb's place, and return the file that it leaves behind when it runs."""
    canary = folder / "canary"
    (folder / "adb").write_text(f"#!/bin/sh\nprintf '{prints}'\ntouch '{canary}'\n")
    (folder / "adb").chmod(0o755)
    return canary
