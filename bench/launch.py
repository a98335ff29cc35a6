"""What one process of the harness told, read from its lines: checked value by value, kept when it breaks off.

The lines come from another process and, over SSH or adb, from another machine: nothing in them is believed before it is
looked at. No sample is dropped, and none is added.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from ..runtime.errors import DeviceError, EdgeError, InputError, ResourceError

__all__ = ["Launch", "read_event", "read_launch", "told"]

SCHEMA = 1
MAX_LINE = 4 << 20
MOST_MS = 1e8
MOST_BATCH = 1_000_000
SAMPLES = {"infer": ("wall_ms", "cpu_ms"), "frame": ("pre_ms", "infer_ms", "decode_ms")}
# Of a machine's state, what is reckoned with and what is put into words; see `environment.environment`.
NUMBERS = ("cores", "memory_bytes", "clock_khz", "clock_max_khz", "temperature_c", "load", "thermal_status", "probe_ms")
TEXTS = ("board", "cpu", "architecture", "system", "python", "governor")
MOST = 1e15  # of any number: bytes of memory, say
MOST_DEPTH = 4
MOST_BRACKETS = 200  # of a line: far below what recursion can bear, whatever is done with it
# Exit codes that a worker may report of itself, as errors here.
_ERRORS: Mapping[int, type[EdgeError]] = {2: InputError, 4: DeviceError, 5: ResourceError}


@dataclass(kw_only=True)
class Launch:
    """One process: what it said, as far as it came.

    Attributes:
        started, ended: the machine's state before and after; empty until told.
        engine: name, version and threads; empty until told.
        import_ms, load_ms, first_ms: of the engine's package, of the file, of the first inference; None until told.
        wall_ms, cpu_ms: of each inference in the loop, ms; `cpu_ms` over all threads of the process, empty where the
            device knows no processor time.
        batch: where a clock is too coarse for one inference, each of `wall_ms` is the mean of so many, back to back.
        pre_ms, infer_ms, decode_ms: of each whole frame, wall clock; `pre_ms` is empty where the device gets tensors.
        peak_rss_bytes: most memory held; None where it is not known.
        agreement: by output, how far the device is from the host's engine on the same input, as `parity.compare` has
            it; empty where that was not looked at.
        error: why it is not complete, one line; None where it is.
    """

    started: dict[str, Any] = field(default_factory=dict)
    ended: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)
    import_ms: float | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    batch: int = 1
    pre_ms: list[float] = field(default_factory=list)
    infer_ms: list[float] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)
    peak_rss_bytes: int | None = None
    agreement: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def complete(self) -> bool:
        """Whether all came that was asked for."""
        return self.error is None


def read_launch(lines: Iterable[str], launch: Launch, *, optional: Collection[str] = ()) -> Launch:
    """Read a worker's lines into a launch until it is done, and return it.

    Args:
        lines: as the worker wrote them; the last one may be cut off.
        launch: filled on the way, so that a caller who is interrupted has what came.
        optional: of `cpu_ms` and `pre_ms` those that this device cannot tell; then no line has them.

    Raises:
        DeviceError: a line is none of a worker's, values are not numbers or make no sense, or the lines ended early.
        EdgeError, InputError, ResourceError: what the worker itself said had gone wrong.
    """
    expected = "start"
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        event = read_event(line, number)
        kind = event.get("event")
        if kind == "failed":
            raise told(event)
        if kind == "start" and expected == "start":
            if event.get("schema") != SCHEMA:
                raise DeviceError("the harness on the device is of another version", expected=SCHEMA, got=event)
            launch.started, expected = _state(event, number), "loaded"
        elif kind == "loaded" and expected == "loaded":
            launch.engine = _table(event, "engine", number)
            for name in ("import_ms", "load_ms", "first_ms"):
                setattr(launch, name, _time(event.get(name), name, number))
            expected = "samples"
        elif isinstance(kind, str) and kind in SAMPLES and expected == "samples":
            _take(event, kind, number, launch, optional)
        elif kind == "done" and expected == "samples":
            launch.ended = _state(event, number)
            peak = event.get("peak_rss_bytes")
            launch.peak_rss_bytes = peak if type(peak) is int and 0 < peak <= MOST else None
            if not launch.wall_ms:
                raise DeviceError("the harness on the device timed nothing")
            return launch
        else:
            raise DeviceError(
                f"line {number} of the device's answer is out of order", expected=expected, got=str(kind)[:40]
            )
    raise DeviceError("the device's answer ended early", got=f"{len(launch.wall_ms)} inferences, then nothing")


def read_event(line: str, number: int) -> dict[str, Any]:
    """Return the event in one line of a device's answer.

    Args:
        line: JSON.
        number: of the line, for a complaint.

    Raises:
        DeviceError: it is none.
    """
    if len(line) > MAX_LINE:
        raise DeviceError(f"line {number} of the device's answer is too long", got=f"{len(line):,} characters")
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise DeviceError(f"line {number} of the device's answer is not JSON", got=line[:60]) from exc
    if not isinstance(event, dict) or line.count("[") + line.count("{") > MOST_BRACKETS:
        raise DeviceError(f"line {number} of the device's answer is no event", got=line[:60])
    return event


def told(event: Mapping[str, Any]) -> EdgeError:
    """Return the error that a "failed" event reports."""
    text, code = str(event.get("message", "no reason given")), event.get("exit_code")
    kind = _ERRORS.get(code, EdgeError) if isinstance(code, int) else EdgeError
    return kind(text.removeprefix("error: ")[:250])


def _take(event: dict[str, Any], kind: str, number: int, launch: Launch, optional: Collection[str]) -> None:
    known = len(launch.wall_ms if kind == "infer" else launch.infer_ms)
    names, columns = [], []
    for name in SAMPLES[kind]:
        values = event.get(name)
        if values is None and name in optional and not getattr(launch, name):
            continue
        if not isinstance(values, list) or not values:
            raise DeviceError(f"line {number} of the device's answer lacks `{name}`", got=str(values)[:40])
        if len(getattr(launch, name)) != known:
            raise DeviceError(f"line {number} of the device's answer has `{name}`, which earlier lines lack")
        names.append(name)
        columns.append([_time(value, name, number) for value in values])
    if len({len(column) for column in columns}) != 1:
        raise DeviceError(
            f"line {number} of the device's answer has unequal columns", got=[len(column) for column in columns]
        )
    if kind == "infer":
        batch = event.get("batch", 1)
        if type(batch) is not int or not 1 <= batch <= MOST_BATCH or (launch.wall_ms and batch != launch.batch):
            raise DeviceError(f"line {number} of the device's answer has a bad `batch`", got=str(batch)[:40])
        launch.batch = batch
    for name, column in zip(names, columns, strict=True):
        getattr(launch, name).extend(column)


def _time(value: object, name: str, number: int) -> float:
    if not _is_number(value):
        raise DeviceError(f"line {number} of the device's answer: `{name}` is no number", got=str(value)[:40])
    if not 0 <= value <= MOST_MS:
        raise DeviceError(f"line {number} of the device's answer: `{name}` is out of range", got=str(value)[:40])
    return float(value)


def _state(event: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a machine's state, whose numbers are numbers and whose texts are texts, as far as we look at them."""
    state = _table(event, "environment", number)
    for kind, names, fits in (("number", NUMBERS, _is_number), ("text", TEXTS, lambda value: isinstance(value, str))):
        for name in names:
            if state.get(name) is not None and not fits(state[name]):
                place = f"line {number} of the device's answer: `environment.{name}`"
                raise DeviceError(f"{place} is no {kind}", got=str(state[name])[:40])
    return state


def _table(event: dict[str, Any], name: str, number: int) -> dict[str, Any]:
    value = event.get(name)
    if not isinstance(value, dict):
        raise DeviceError(f"line {number} of the device's answer lacks `{name}`", got=str(value)[:40])
    if not _is_plain(value):
        raise DeviceError(f"line {number} of the device's answer: `{name}` holds what no result can")
    return value


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST


def _is_plain(value: object, depth: int = 0) -> bool:
    """Return whether results can hold a value: JSON knows no NaN, and what is nested deeply cannot be written."""
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        return depth < MOST_DEPTH and all(_is_plain(item, depth + 1) for item in inside)
    return value is None or isinstance(value, str | bool) or _is_number(value)
