"""A launch of a device that cannot tell everything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge.bench.launch import Launch, read_launch
from edge.runtime.errors import DeviceError

OPTIONAL = ("cpu_ms", "pre_ms")
START = {"event": "start", "schema": 1, "environment": {}}
LOADED = {"event": "loaded", "engine": {}, "import_ms": 1, "load_ms": 2, "first_ms": 3}
DONE = {"event": "done", "environment": {}}


def _read(*events: dict[str, Any], optional: tuple[str, ...] = OPTIONAL) -> Launch:
    lines = [json.dumps(event) for event in (START, LOADED, *events, DONE)]
    return read_launch(lines, Launch(), optional=optional)


def test_processor_time_and_preparation_may_be_absent_where_that_is_known() -> None:
    launch = _read(
        {"event": "infer", "wall_ms": [1.0, 2.0], "batch": 7},
        {"event": "infer", "wall_ms": [3.0], "batch": 7},
        {"event": "frame", "infer_ms": [1.0], "decode_ms": [0.5]},
    )

    assert (launch.wall_ms, launch.cpu_ms, launch.batch) == ([1.0, 2.0, 3.0], [], 7)
    assert (launch.pre_ms, launch.infer_ms, launch.decode_ms) == ([], [1.0], [0.5])


def test_elsewhere_they_may_not() -> None:
    with pytest.raises(DeviceError, match="lacks `cpu_ms`"):
        _read({"event": "infer", "wall_ms": [1.0]}, optional=())


@pytest.mark.parametrize("first", [True, False])
def test_a_column_that_comes_and_goes_is_refused(first: bool) -> None:
    lines: list[dict[str, Any]] = [
        {"event": "infer", "wall_ms": [1.0], "cpu_ms": [1.0]},
        {"event": "infer", "wall_ms": [2.0]},
    ]

    with pytest.raises(DeviceError, match="`cpu_ms`"):
        _read(*(lines if first else lines[::-1]))


@pytest.mark.parametrize("batches", [(0,), (-1,), (1.5,), (True,), ("2",), (10**9,), (2, 3), (2, None)])
def test_a_batch_is_one_whole_number_for_all_samples(batches: tuple[Any, ...]) -> None:
    events = [{"event": "infer", "wall_ms": [1.0], "batch": batch} for batch in batches]
    events = [{key: value for key, value in event.items() if value is not None} for event in events]

    with pytest.raises(DeviceError, match="bad `batch`"):
        _read(*events)


def test_a_device_that_failed_says_so_with_its_own_exit_code() -> None:
    with pytest.raises(DeviceError, match="the page failed"):
        _read({"event": "failed", "exit_code": 4, "message": "the page failed"})
