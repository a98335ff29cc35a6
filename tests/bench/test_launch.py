"""A worker's lines: taken value by value, refused with the line's number, kept as far as they came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bench.launch import Launch, read_launch
from edge.runtime.errors import DeviceError, EdgeError, InputError, ResourceError

START = {"event": "start", "schema": 1, "plan": {}, "environment": {"cpu": "a CPU"}}
LOADED = {
    "event": "loaded",
    "engine": {"name": "litert", "version": "2.3.0", "threads": 1},
    "import_ms": 20.0,
    "load_ms": 3,
    "first_ms": 1.5,
}
INFER = {"event": "infer", "wall_ms": [1.0, 2.0], "cpu_ms": [0.9, 1.9]}
FRAME = {"event": "frame", "pre_ms": [0.1], "infer_ms": [1.0], "decode_ms": [0.2]}
DONE = {"event": "done", "environment": {"cpu": "a CPU"}, "peak_rss_bytes": 50_000_000}
WHOLE: list[dict[str, Any]] = [START, LOADED, INFER, INFER, FRAME, DONE]


def read(*events: dict[str, Any] | str) -> Launch:
    return read_launch([event if isinstance(event, str) else json.dumps(event) for event in events], Launch())


def test_every_sample_of_every_line_is_there() -> None:
    launch = read(*WHOLE)

    assert launch.wall_ms == [1.0, 2.0, 1.0, 2.0]
    assert launch.cpu_ms == [0.9, 1.9, 0.9, 1.9]
    assert (launch.pre_ms, launch.infer_ms, launch.decode_ms) == ([0.1], [1.0], [0.2])
    assert (launch.import_ms, launch.load_ms, launch.first_ms) == (20.0, 3.0, 1.5)
    assert launch.peak_rss_bytes == 50_000_000
    assert launch.complete


@pytest.mark.parametrize("kept", range(len(WHOLE)))
def test_lines_that_end_early_leave_what_came_and_say_so(kept: int) -> None:
    launch = Launch()

    with pytest.raises(DeviceError, match="ended early"):
        read_launch([json.dumps(event) for event in WHOLE[:kept]], launch)

    assert len(launch.wall_ms) == 2 * min(max(kept - 2, 0), 2)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("{", "not JSON"),
        ('{"event": "infer", "wall_ms": [1.0', "not JSON"),
        ("[]", "no event"),
        ("x" * (5 << 20), "too long"),
        ("[" * 100_000, "not JSON"),
        ({**INFER, "wall_ms": [1.0]}, "unequal columns"),
        ({**INFER, "wall_ms": []}, "lacks `wall_ms`"),
        ({"event": "infer", "wall_ms": [1.0]}, "lacks `cpu_ms`"),
        ('{"event": "infer", "wall_ms": [NaN], "cpu_ms": [1]}', "no number"),
        ({**INFER, "wall_ms": [1.0, "2"]}, "no number"),
        ({**INFER, "wall_ms": [1.0, True]}, "no number"),
        ({**INFER, "wall_ms": [1.0, -2.0]}, "out of range"),
        ({**INFER, "wall_ms": [1.0, 1e12]}, "out of range"),
        ({"event": "sing"}, "out of order"),
        ({"event": ["infer"]}, "out of order"),
        (START, "out of order"),
        (LOADED, "out of order"),
        ({"event": "done"}, "lacks `environment`"),
        ('{"event": "infer", "wall_ms": [1' + "0" * 400 + '], "cpu_ms": [1]}', "no number"),
        ({**DONE, "environment": {"probe_ms": "10"}}, "`environment.probe_ms` is no number"),
        ({**DONE, "environment": {"clock_khz": True}}, "`environment.clock_khz` is no number"),
        ({**DONE, "environment": {"cores": 1e30}}, "`environment` holds what no result can"),
        ({**DONE, "environment": {"board": ["a"]}}, "`environment.board` is no text"),
        ('{"event": "done", "environment": {"else": NaN}}', "`environment` holds what no result can"),
        ('{"event": "done", "environment": {"else": 1e999}}', "`environment` holds what no result can"),
        ('{"event": "done", "environment": {"else": ' + "[" * 50 + "]" * 50 + "}}", "`environment` holds what no res"),
        ('{"event": "done", "environment": ' + '{"a":' * 500 + "1" + "}" * 501, "no event"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused_by_number(bad: dict[str, Any] | str, words: str) -> None:
    with pytest.raises(DeviceError, match=f"line 4.*{words}"):
        read(START, LOADED, INFER, bad, DONE)


def test_memory_that_no_machine_has_is_not_believed() -> None:
    assert read(START, LOADED, INFER, {**DONE, "peak_rss_bytes": 10**400}).peak_rss_bytes is None


def test_samples_before_the_file_was_loaded_are_refused() -> None:
    with pytest.raises(DeviceError, match=r"line 2.*out of order"):
        read(START, INFER)


def test_a_worker_of_another_version_is_refused() -> None:
    with pytest.raises(DeviceError, match="another version"):
        read({**START, "schema": 2})


def test_a_worker_that_timed_nothing_is_refused() -> None:
    with pytest.raises(DeviceError, match="timed nothing"):
        read(START, LOADED, DONE)


@pytest.mark.parametrize(("code", "kind"), [(2, InputError), (5, ResourceError), (1, EdgeError), (70, EdgeError)])
def test_what_went_wrong_on_the_device_comes_back_as_its_error(code: int, kind: type[EdgeError]) -> None:
    with pytest.raises(kind, match="out of luck") as told:
        read(START, {"event": "failed", "exit_code": code, "message": "error: out of luck"})

    assert not isinstance(told.value, DeviceError)


@given(st.lists(st.one_of(st.text(max_size=60), st.sampled_from([json.dumps(event) for event in WHOLE])), max_size=8))
def test_no_answer_whatever_raises_anything_else(lines: list[str]) -> None:
    launch = Launch()
    try:
        read_launch(lines, launch)
    except EdgeError:
        pass
    else:
        assert launch.wall_ms
