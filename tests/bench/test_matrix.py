"""Several artifacts on several devices: turns, resumption, and devices that fail alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.bench.device import Device, Evidence
from edge.bench.junit import junit
from edge.bench.launch import Launch
from edge.bench.matrix import Job, Variant, best, run_matrix, variants
from edge.bench.plan import Plan
from edge.bench.record import Artifact, Row, Status
from edge.bench.saved import SavedLaunches
from edge.bench.show import table
from edge.runtime.errors import DeviceError, InputError, ResourceError

PLAN = Plan(artifact="", engine="litert", warmup_s=0.0, seconds=0.0, runs=20, stages_s=0.0)


class Told:
    """A device that answers with given times, or fails; it notes what it was asked, and by how many at a time."""

    def __init__(self, name: str = "there", *, fails_at: tuple[int, ...] = (), ms: float = 1.0) -> None:
        self.name, self.evidence = name, Evidence.MEASURED
        self.fails_at, self.ms = fails_at, ms
        self.asked: list[str] = []
        self.closed = 0
        self.inside = threading.Semaphore(1)

    def engine_version(self, engine: str) -> str | None:
        return "1"

    def launch(self, artifact: Path, plan: Plan, source: Path | None, launch: Launch) -> Launch:
        assert self.inside.acquire(blocking=False), "two runs on one device at a time"
        try:
            self.asked.append(f"{artifact.name} {plan.threads}")
            launch.started = {"cpu": "a CPU", "throttled": 0}
            launch.engine = {"name": plan.engine, "version": "1"}
            launch.wall_ms = [self.ms * plan.threads] * 20
            launch.cpu_ms = list(launch.wall_ms)
            if len(self.asked) - 1 in self.fails_at:
                raise DeviceError("it went away", hint="look for it")
            launch.ended = launch.started
            return launch
        finally:
            self.inside.release()

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def artifact(tmp_path: Path) -> Callable[[str], Artifact]:
    """Return a function that names an artifact; no device of these tests opens it."""

    def build(name: str) -> Artifact:
        return Artifact(
            path=tmp_path / name, bytes=1, sha256=f"hash of {name}", model="m", target="onnx", precision="int8"
        )

    return build


def row(artifact: Artifact, threads: int = 1) -> Variant:
    return Variant(artifact=artifact, engine="onnxruntime", threads=threads)


def job(device: Device, *rows: Variant) -> Job:
    return Job(device=device, variants=rows)


def test_another_backend_than_was_asked_for_is_said_of_its_row(artifact: Callable[[str], Artifact]) -> None:
    class Fell(Told):
        def launch(self, artifact: Path, plan: Plan, source: Path | None, launch: Launch) -> Launch:
            super().launch(artifact, plan, source, launch)
            told = {"requested": "XNNPACK", "actual": "CPU", "reason": "no op\x1b[2J taken"}
            launch.engine |= {f"backend_{name}": value for name, value in told.items()}
            return launch

    fell, same = run_matrix([job(Fell("a"), row(artifact("a"))), job(Told("b"), row(artifact("a")))], PLAN, launches=2)

    assert fell.to_dict()["notes"] == ["asked for XNNPACK, ran on CPU: no op\\x1b[2J taken"]
    assert same.to_dict()["notes"] == []


def test_rows_take_turns(artifact: Callable[[str], Artifact]) -> None:
    device = Told()

    rows = run_matrix([job(device, row(artifact("a")), row(artifact("b")))], PLAN, launches=3)

    assert device.asked == ["a 1", "b 1"] * 3
    assert [len(one.launches) for one in rows] == [3, 3]
    assert [one.status for one in rows] == [Status.COMPLETE, Status.COMPLETE]
    assert device.closed


def test_a_failing_device_costs_its_own_rows_only(artifact: Callable[[str], Artifact]) -> None:
    good, bad = Told("good"), Told("bad", fails_at=tuple(range(9)))
    chosen = [row(artifact(name)) for name in "abcd"]

    rows = run_matrix([job(good, *chosen), job(bad, *chosen)], PLAN, launches=2)

    assert [one.status for one in rows[:4]] == [Status.COMPLETE] * 4
    assert all("it went away" in (one.failed or "") for one in rows[4:6])
    assert all("failed 2 times in a row" in (one.failed or "") for one in rows[6:])
    assert bad.asked == ["a 1", "b 1"]
    assert (good.closed, bad.closed) == (1, 1)


def test_a_row_that_broke_off_keeps_its_samples_and_is_no_whole_one(artifact: Callable[[str], Artifact]) -> None:
    rows = run_matrix([job(Told(fails_at=(2,)), row(artifact("a")), row(artifact("b")))], PLAN, launches=3)

    assert [one.status for one in rows] == [Status.INCOMPLETE, Status.COMPLETE]
    assert rows[0].infer is not None
    assert rows[0].infer.count == 40
    assert rows[0].to_dict()["why"][0].startswith("it went away")
    assert best(rows) == {
        "file": "b", "device": "there", "engine": "onnxruntime", "threads": 1, "p50_ms": 1.0, "of": "inference"
    }  # fmt: skip


def test_what_is_complete_is_not_measured_again(artifact: Callable[[str], Artifact], tmp_path: Path) -> None:
    saved = SavedLaunches(tmp_path / "launches")
    chosen = (row(artifact("a")), row(artifact("b")))
    first = Told(fails_at=(3,))
    run_matrix([job(first, *chosen)], PLAN, launches=2, saved=saved)
    again = Told()

    rows = run_matrix([job(again, *chosen)], PLAN, launches=2, saved=saved)

    assert again.asked == ["b 1"]
    assert [one.status for one in rows] == [Status.COMPLETE] * 2


def test_another_plan_file_or_device_is_measured_anew(artifact: Callable[[str], Artifact], tmp_path: Path) -> None:
    saved = SavedLaunches(tmp_path / "launches")
    run_matrix([job(Told(), row(artifact("a")))], PLAN, launches=1, saved=saved)
    others = [
        (Told(), row(artifact("b")), PLAN),
        (Told("elsewhere"), row(artifact("a")), PLAN),
        (Told(), row(artifact("a"), threads=2), PLAN),
        (Told(), row(artifact("a")), Plan(artifact="", engine="litert", seconds=0.0, runs=21)),
    ]

    for device, variant, plan in others:
        run_matrix([job(device, variant)], plan, launches=1, saved=saved)
        assert device.asked


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b"\xff", b'{"schema": 1, "key": "x"}', b'{"schema": 9}'])
def test_a_kept_launch_that_is_damaged_counts_as_none(tmp_path: Path, damage: bytes) -> None:
    saved = SavedLaunches(tmp_path)
    saved.keep("x", Launch(wall_ms=[1.0], cpu_ms=[1.0]))
    assert saved.find("x") is not None

    (tmp_path / "x.json").write_bytes(damage)

    assert saved.find("x") is None
    assert saved.find("y") is None


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ResourceError, match="cannot keep"):
        SavedLaunches(tmp_path / "file" / "launches").keep("x", Launch())


def test_one_device_cannot_be_named_twice(artifact: Callable[[str], Artifact]) -> None:
    with pytest.raises(InputError, match="twice"):
        run_matrix([job(Told(), row(artifact("a"))), job(Told(), row(artifact("a")))], PLAN)


def test_an_interrupt_leaves_every_device_clean(artifact: Callable[[str], Artifact]) -> None:
    class Interrupted(Told):
        def launch(self, artifact: Path, plan: Plan, source: Path | None, launch: Launch) -> Launch:
            raise KeyboardInterrupt

    device, other = Interrupted("first"), Told("second")

    with pytest.raises(KeyboardInterrupt):
        run_matrix([job(device, row(artifact("a"))), job(other, row(artifact("a")))], PLAN)
    assert device.closed
    assert other.closed


def test_every_engine_and_number_of_threads_becomes_a_row(
    write_onnx: Callable[..., Path], write_tflite: Callable[..., Path]
) -> None:
    from edge.runtime.embedded import read_card

    files = [Artifact.of(path, read_card(path)) for path in (write_onnx(), write_tflite())]

    found = [(one.artifact.path.name, one.engine, one.threads) for one in variants(files, threads=(1, 2))]

    assert found == [
        ("tiny.onnx", "onnxruntime", 1),
        ("tiny.onnx", "onnxruntime", 2),
        ("tiny.tflite", "litert", 1),
        ("tiny.tflite", "litert", 2),
    ]
    with pytest.raises(InputError, match="does not run"):
        variants(files, engine="litert")


def test_two_devices_measure_at_the_same_time(artifact: Callable[[str], Artifact]) -> None:
    meeting = threading.Barrier(2, timeout=30)

    class Meets(Told):
        def launch(self, artifact: Path, plan: Plan, source: Path | None, launch: Launch) -> Launch:
            meeting.wait()
            return super().launch(artifact, plan, source, launch)

    rows = run_matrix([job(Meets(name), row(artifact("a"))) for name in ("one", "two")], PLAN, launches=2)

    assert [one.status for one in rows] == [Status.COMPLETE] * 2


def test_a_throttled_machine_voids_a_row(artifact: Callable[[str], Artifact]) -> None:
    class Hot(Told):
        def launch(self, artifact: Path, plan: Plan, source: Path | None, launch: Launch) -> Launch:
            super().launch(artifact, plan, source, launch)
            launch.ended = {"cpu": "a CPU", "throttled": 0x4}
            return launch

    (found,) = run_matrix([job(Hot(), row(artifact("a")))], PLAN, launches=1)

    assert found.status is Status.VOID
    assert best([found]) is None
    assert "throttled" in table({"rows": [found.to_dict()]})


def a_report(*rows: Row) -> dict[str, object]:
    return json.loads(json.dumps({"rows": [one.to_dict() for one in rows], "best": best(rows)}, allow_nan=False))  # type: ignore[no-any-return]


def test_the_table_shows_what_was_found_and_what_it_lacks(artifact: Callable[[str], Artifact]) -> None:
    rows = run_matrix([job(Told(ms=2.0), row(artifact("a")), row(artifact("b"), 2))], PLAN, launches=1)

    text = table(a_report(*rows))

    assert "2.00" in text
    assert "4.00" in text
    assert "best: a with onnxruntime, 1 thread, on there" in text
    assert "too few runs" in text
    assert "there: a CPU" in text


def test_junit_counts_errors_and_what_is_void(artifact: Callable[[str], Artifact]) -> None:
    from xml.etree import ElementTree

    rows = run_matrix([job(Told(fails_at=(0,)), row(artifact("a\x1b")), row(artifact("b")))], PLAN, launches=1)

    suite = ElementTree.fromstring(junit(a_report(*rows)).split("\n", 1)[1])

    assert suite.attrib | {"tests": "2", "errors": "1", "failures": "0", "skipped": "0"} == suite.attrib
    error = suite.find("testcase/error")
    assert error is not None
    assert "it went away" in error.attrib["message"]


def test_times_and_processor_times_tell_a_busy_machine() -> None:
    def busy(wall: list[float], cpu: list[float], threads: int = 1) -> bool | None:
        one = Row(
            artifact=Artifact(path=Path("a"), bytes=1, sha256="", model="m", target="onnx", precision="fp32"),
            device="host",
            evidence=Evidence.MEASURED,
            engine="litert",
            threads=threads,
            launches=[Launch(wall_ms=wall, cpu_ms=cpu)],
        )
        return one.busy

    assert busy([1.0] * 10, [1.0] * 10) is False
    assert busy([2.0] * 10, [1.0] * 10) is True
    assert busy([1.0] * 7 + [9.0] * 3, [1.0] * 10) is True
    assert busy([1.0] * 10, [2.0] * 10, threads=2) is None
