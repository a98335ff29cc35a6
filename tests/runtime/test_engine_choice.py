"""The fastest engine and thread count are found once, kept, and doubted where they should be."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.runtime import engine_choice
from edge.runtime.card import AudioSpec, Card, InputSpec, OutputSpec
from edge.runtime.engine_choice import Choice, Measured, choose, decide, thread_counts, usable_cpus
from edge.runtime.engines import ENGINES, noise_input
from edge.runtime.errors import ArtifactError, EdgeError, InputError, MissingExtraError, ResourceError

Write = Callable[..., Path]
Cards = Callable[..., Card]


class Machine:
    """A machine whose clock only engines move.

    Attributes:
        seconds: what one run takes, per (engine, threads); an exception is raised instead.
        opened: candidates, in the order in which their engines were opened.
        ran: candidates, in the order of their runs.
        fed: the tensors they were given.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.seconds: dict[tuple[str, int], float | EdgeError] = {}
        self.opened: list[tuple[str, int]] = []
        self.ran: list[tuple[str, int]] = []
        self.fed: list[NDArray[np.float32]] = []
        self.open = 0

    def clock(self) -> float:
        return self.now

    def open_engine(self, path: object, card: Card, *, engine: str, threads: int) -> Any:
        machine, key = self, (engine, threads)
        self.opened.append(key)

        class Fake:
            def run(self, tensor: NDArray[np.float32]) -> None:
                machine.ran.append(key)
                machine.fed.append(tensor)
                cost = machine.seconds[key]
                if isinstance(cost, EdgeError):
                    raise cost
                machine.now += cost

            def close(self) -> None:
                machine.open -= 1

        self.open += 1
        return Fake()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Four CPUs, both engines installed, a network of 10 ms on one thread that gains a little from more."""
    made = Machine()
    for name in ENGINES:
        made.seconds.update({(name, 1): 0.010, (name, 2): 0.006, (name, 4): 0.0058})
    monkeypatch.setattr(engine_choice, "perf_counter", made.clock)
    monkeypatch.setattr(engine_choice, "open_engine", made.open_engine)
    monkeypatch.setattr(engine_choice, "engine_version", lambda name: "1.0")
    monkeypatch.setattr(engine_choice, "usable_cpus", lambda: [0, 1, 2, 3])
    yield made
    assert made.open == 0  # every engine that was opened is closed


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "engine-choice").glob("*"))


def test_the_fastest_is_taken_and_remembered(machine: Machine, write_onnx: Write, tiny_card: Cards) -> None:
    path = write_onnx()

    first = choose(path, tiny_card())
    runs = len(machine.ran)
    second = choose(path, tiny_card())

    assert (first.engine, first.threads, first.cached) == ("onnxruntime", 2, False)
    assert first.note == "measured on this machine: onnxruntime, 2 threads, 6 ms; 1 thread 10 ms; 4 threads 5.8 ms"
    assert [(row.threads, row.error) for row in first.rows] == [(1, None), (2, None), (4, None)]
    assert [row.median_ms for row in first.rows] == pytest.approx([10, 6, 5.8])
    assert len(machine.ran) == runs
    assert (second.engine, second.threads, second.cached, second.rows) == ("onnxruntime", 2, True, first.rows)
    assert "measured on this machine before" in second.note


@pytest.mark.parametrize(("gain", "threads"), [(1.05, 1), (1.11, 1), (1.12, 2), (3.0, 2), (0.5, 1)])
def test_more_threads_must_save_more_than_a_tenth(gain: float, threads: int) -> None:
    rows = [Measured(engine="litert", threads=count, median_ms=10.0 / gain ** (count > 1), runs=3) for count in (1, 2)]

    assert decide(rows).threads == threads


def test_the_fewest_threads_near_the_fastest_win_and_of_two_engines_the_faster() -> None:
    times = {("a", 1): 10.0, ("a", 2): 5.2, ("a", 4): 5.0, ("b", 2): 5.1, ("b", 4): None}
    rows = [
        Measured(engine=name, threads=threads, median_ms=ms, runs=3, error=None if ms else "no")
        for (name, threads), ms in times.items()
    ]

    best = decide(reversed(rows))

    assert (best.engine, best.threads) == ("b", 2)


@pytest.mark.parametrize(
    ("cpus", "counts"),
    [
        (1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (4, (1, 2, 4)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8)),
        (12, (1, 2, 4, 8, 12)), (16, (1, 2, 4, 8, 16)), (64, (1, 2, 4, 8, 64)), (4096, (1, 2, 4, 8, 256)),
    ],
)  # fmt: skip
def test_at_most_five_thread_counts_are_tried_and_all_cpus_are_one(cpus: int, counts: tuple[int, ...]) -> None:
    assert thread_counts(cpus) == counts


def test_what_is_given_is_not_measured(machine: Machine, write_onnx: Write, tiny_card: Cards, tmp_path: Path) -> None:
    path = write_onnx()

    for asked in ({"threads": 3}, {"threads": 3, "engine": "onnxruntime"}):
        choice = choose(path, tiny_card(), **asked)  # type: ignore[arg-type]  # two kinds of value
        assert (choice.engine, choice.threads, choice.rows, choice.cached) == ("onnxruntime", 3, (), False)
        assert choice.note == "onnxruntime, 3 threads: as asked"
    assert machine.opened == []
    assert entries(tmp_path) == []


def test_one_cpu_and_one_engine_leave_nothing_to_measure(
    machine: Machine, write_onnx: Write, tiny_card: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice, "usable_cpus", lambda: [2])

    assert choose(write_onnx(), tiny_card()).threads == 1
    assert machine.opened == []


def test_two_engines_of_a_format_compete_even_when_the_threads_are_given(
    machine: Machine, write_onnx: Write, tiny_card: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "other", (ENGINES["onnxruntime"][0], "other", "other"))
    machine.seconds["other", 2] = 0.004
    path = write_onnx()

    choice = choose(path, tiny_card(), threads=2)

    assert (choice.engine, choice.threads) == ("other", 2)
    assert choice.note == "measured on this machine: other, 2 threads, 4 ms; onnxruntime, 2 threads 6 ms"
    assert choose(path, tiny_card(), engine="onnxruntime", threads=2).engine == "onnxruntime"


def test_candidates_take_turns_and_the_work_is_bounded(machine: Machine, write_onnx: Write, tiny_card: Cards) -> None:
    choose(write_onnx(), tiny_card())

    keys = [("onnxruntime", count) for count in (1, 2, 4)]
    assert machine.opened == keys
    assert machine.ran[:3] == keys  # the warm-up
    assert machine.ran[3:9] == [key for key in keys for _ in range(2)]  # one untimed, one timed
    assert machine.now < 1.2


@pytest.mark.parametrize(("seconds", "runs"), [(1e-5, 30), (0.5, 3), (20.0, 1)])
def test_small_networks_run_often_and_slow_ones_a_few_times(
    seconds: float, runs: int, machine: Machine, write_onnx: Write, tiny_card: Cards
) -> None:
    machine.seconds = dict.fromkeys(machine.seconds, seconds)

    choice = choose(write_onnx(), tiny_card())

    assert [row.runs for row in choice.rows] == [runs] * 3
    assert choice.threads == 1


def test_a_candidate_that_fails_is_named_and_nothing_is_kept(
    machine: Machine, write_onnx: Write, tiny_card: Cards, tmp_path: Path
) -> None:
    machine.seconds["onnxruntime", 2] = ResourceError("out of memory on\n`tiny.onnx`")

    choice = choose(write_onnx(), tiny_card())

    assert choice.threads == 4
    failed = choice.rows[1]
    assert (failed.median_ms, failed.runs) == (None, 0)
    assert "out of memory" in str(failed.error)
    assert "2 threads failed: out of memory on `tiny.onnx`" in choice.note
    assert "not kept" in choice.note
    assert entries(tmp_path) == []


def test_all_failing_raises_the_last_error(machine: Machine, write_onnx: Write, tiny_card: Cards) -> None:
    for place, key in enumerate(machine.seconds):
        machine.seconds[key] = ArtifactError(f"refused {place}")

    with pytest.raises(ArtifactError, match="refused 2"):
        choose(write_onnx(), tiny_card())


def test_another_file_engine_version_cpu_or_request_is_measured_anew(
    machine: Machine, write_onnx: Write, tiny_card: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_onnx()
    assert not choose(path, tiny_card()).cached
    assert choose(path, tiny_card(), engine="onnxruntime").cached  # the only one there is

    monkeypatch.setattr(engine_choice, "engine_version", lambda name: "1.1")
    assert not choose(path, tiny_card()).cached
    monkeypatch.setattr(engine_choice, "_cpu_model", lambda: ["another"])
    assert not choose(path, tiny_card()).cached
    monkeypatch.setattr(engine_choice, "usable_cpus", lambda: [0, 1, 2, 4])
    assert not choose(path, tiny_card()).cached
    assert choose(path, tiny_card()).cached
    path.write_bytes(path.read_bytes() + b"\x1a\x00")
    assert not choose(path, tiny_card()).cached


def _changed(**values: object) -> Callable[[dict[str, Any]], object]:
    return lambda told: told["rows"][0].update(values)


@pytest.mark.parametrize(
    "damage",
    [
        _changed(median_ms=float("nan")), _changed(median_ms=-1.0), _changed(median_ms="1"), _changed(median_ms=True),
        _changed(median_ms=10**400), _changed(median_ms=None), _changed(runs=0), _changed(runs="x"),
        _changed(threads=8), _changed(engine="litert"), _changed(engine=["onnxruntime"]),
        lambda told: told.update(schema=99), lambda told: told.update(rows=[]), lambda told: told.update(rows=7),
        lambda told: told["rows"].reverse(), lambda told: told["rows"].append(told["rows"][0]),
        lambda told: told["rows"].__setitem__(0, "row"), lambda told: told["rows"][0].pop("runs"),
    ],
)  # fmt: skip
def test_an_entry_that_makes_no_sense_counts_as_none(
    damage: Callable[[dict[str, Any]], object], machine: Machine, write_onnx: Write, tiny_card: Cards, tmp_path: Path
) -> None:
    path = write_onnx()
    choose(path, tiny_card())
    (entry,) = entries(tmp_path)
    told = json.loads(entry.read_text())
    damage(told)
    entry.write_text(json.dumps(told))

    again = choose(path, tiny_card())

    assert (again.cached, again.threads) == (False, 2)
    assert choose(path, tiny_card()).cached  # and was replaced


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b"[]", b"null", b"[" * 60_000, b" " * 70_000 + b"{}"])
def test_an_entry_that_is_damaged_counts_as_none(
    content: bytes, machine: Machine, write_onnx: Write, tiny_card: Cards, tmp_path: Path
) -> None:
    path = write_onnx()
    choose(path, tiny_card())
    (entry,) = entries(tmp_path)
    entry.write_bytes(content)

    assert not choose(path, tiny_card()).cached


def test_an_entry_that_others_may_write_to_or_a_link_counts_as_none(
    machine: Machine, write_onnx: Write, tiny_card: Cards, tmp_path: Path
) -> None:
    path = write_onnx()
    choose(path, tiny_card())
    (entry,) = entries(tmp_path)
    assert stat.S_IMODE(entry.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600

    entry.chmod(0o666)
    assert not choose(path, tiny_card()).cached
    entry.replace(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    assert not choose(path, tiny_card()).cached
    assert not entry.is_symlink()
    entry.parent.chmod(0o777)
    shared = choose(path, tiny_card())
    assert not shared.cached
    assert "not kept, for the cache folder cannot be written, or is open to others" in shared.note


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners are a POSIX matter")
def test_an_entry_of_another_user_counts_as_none(
    machine: Machine, write_onnx: Write, tiny_card: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_onnx()
    choose(path, tiny_card())
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)

    assert not choose(path, tiny_card()).cached


def test_a_cache_that_cannot_be_written_costs_time_and_is_said(
    machine: Machine, write_onnx: Write, tiny_card: Cards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "file" / "below"))
    path = write_onnx()

    for _ in range(2):
        choice = choose(path, tiny_card())
        assert (choice.threads, choice.cached) == (2, False)
        assert choice.note.endswith("not kept, for the cache folder cannot be written, or is open to others")


def test_the_oldest_entries_go(
    machine: Machine, write_onnx: Write, tiny_card: Cards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice, "MAX_ENTRIES", 3)
    path = write_onnx()
    choose(path, tiny_card())
    (oldest,) = entries(tmp_path)
    os.utime(oldest, (1, 1))
    (oldest.parent / ".part-left-by-a-kill").write_text("")
    os.utime(oldest.parent / ".part-left-by-a-kill", (2, 2))
    for changed in range(3):
        path.write_bytes(path.read_bytes() + b"\x1a\x00" * (changed + 1))
        choose(path, tiny_card())

    left = entries(tmp_path)

    assert len(left) == 3
    assert oldest not in left


def test_several_at_once_agree(machine: Machine, write_onnx: Write, tiny_card: Cards, tmp_path: Path) -> None:
    path = write_onnx()
    made: list[Choice] = []
    workers = [threading.Thread(target=lambda: made.append(choose(path, tiny_card()))) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert len(made) == 6
    assert len(entries(tmp_path)) == 1
    assert choose(path, tiny_card()).cached


def test_a_format_without_an_engine_names_the_pip_line(
    machine: Machine, write_onnx: Write, write_tflite: Write, tiny_card: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice, "engine_version", lambda name: None)

    for path, extra in ((write_onnx(), "onnxruntime"), (write_tflite(), "litert")):
        for threads in (None, 1):
            with pytest.raises(MissingExtraError, match="not installed") as caught:
                choose(path, tiny_card(), threads=threads)
            assert caught.value.hint == f"pip install 'edge-vision[{extra}]'"


def test_bad_requests_are_refused(machine: Machine, write_onnx: Write, tiny_card: Cards, tmp_path: Path) -> None:
    path = write_onnx()
    (tmp_path / "text.onnx").write_text("no model")

    for asked in ({"threads": 0}, {"threads": 257}, {"engine": "litert"}, {"engine": "tensorrt"}):
        with pytest.raises(InputError):
            choose(path, tiny_card(), **asked)  # type: ignore[arg-type]  # two kinds of value
    with pytest.raises(ArtifactError):
        choose(tmp_path / "text.onnx", tiny_card())
    with pytest.raises(ArtifactError):
        choose(tmp_path / "none.onnx", tiny_card())


@pytest.mark.parametrize(("target", "engine"), [("onnx", "onnxruntime"), ("tflite", "ai_edge_litert")])
def test_real_engines_are_measured(
    target: str, engine: str, request: pytest.FixtureRequest, tiny_card: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(engine)
    path: Path = request.getfixturevalue(f"write_{target}")()
    monkeypatch.setattr(engine_choice, "usable_cpus", lambda: [0, 1])

    choice = choose(path, tiny_card(target))

    assert {row.threads for row in choice.rows} == {1, 2}
    assert all(row.error is None and row.median_ms is not None and row.median_ms > 0 for row in choice.rows)
    assert choose(path, tiny_card(target)).cached


def test_the_cpus_are_those_of_this_process() -> None:
    found = usable_cpus()

    assert found == sorted(set(found))
    assert found
    if hasattr(os, "sched_getaffinity"):
        assert set(found) == os.sched_getaffinity(0)


def test_the_input_is_seeded_noise_over_the_range_of_the_card(
    machine: Machine, write_onnx: Write, tiny_card: Cards
) -> None:
    card = tiny_card()
    choose(write_onnx(), card)
    fed = machine.fed[0]

    assert fed.shape == card.input.shape
    assert fed.dtype == np.float32
    assert 0 <= fed.min() < 0.2
    assert 0.8 < fed.max() <= 1
    np.testing.assert_array_equal(fed, noise_input(card))


def test_noise_knows_layouts_and_kinds() -> None:
    def noise(**values: Any) -> NDArray[np.float32]:
        return noise_input(Card(model="m", input=InputSpec(**values), outputs=(OutputSpec(name="y", shape=(1, 2)),)))

    scale: dict[str, Any] = {"mean": (0.0, 1000.0, -1000.0), "std": (1.0, 1.0, 10.0)}
    planar = noise(shape=(1, 3, 40, 50), layout="NCHW", **scale)
    packed = noise(shape=(1, 40, 50, 3), layout="NHWC", **scale).transpose(0, 3, 1, 2)
    for found in (planar, packed):
        ranges = [(found[0, channel].min().round(), found[0, channel].max().round()) for channel in range(3)]
        np.testing.assert_allclose(ranges, [(0, 255), (-1000, -745), (100, 125.5)], atol=2)
    heard = noise(shape=(1, 3, 40, 50), kind="audio", audio=AudioSpec())
    assert -2 <= heard.min() < -1.9
    assert 1.9 < heard.max() <= 2
    legacy = noise(shape=(1, 3, 40, 50), kind="audio", audio=AudioSpec(normalise="minmax-uint8"))
    assert 250 < legacy.max() <= 255
    free = noise(shape=(4, 500), layout="any", kind="tensor")
    assert -1 <= free.min() < -0.9
    assert 0.9 < free.max() <= 1
