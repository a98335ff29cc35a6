"""What `am instrument -w -r` prints, read back into the events of the app's harness."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.card import Card
from ..runtime.errors import DeviceError
from .adb_errors import PACKAGE, adb_error
from .launch import read_event

__all__ = ["Outputs", "instrument_events"]

Float32 = NDArray[np.float32]
EVENT = "INSTRUMENTATION_STATUS: edge="
ENDED = "INSTRUMENTATION_CODE:"
TROUBLE = re.compile(r"INSTRUMENTATION_FAILED|INSTRUMENTATION_STATUS: Error=|Permission Denial")
CRASH = re.compile(r"INSTRUMENTATION_RESULT: (?:shortMsg|longMsg)=(.*)")
MAX_LINES = 100_000


def instrument_events(lines: Iterable[str], serial: str) -> Iterator[dict[str, Any]]:
    """Yield the harness's events until the instrumentation has ended.

    Args:
        lines: of `am instrument -w -r`.
        serial: of the phone.

    Raises:
        DeviceError: there is no such instrumentation, the app died, or a line is no event.
    """
    crash: list[str] = []
    torn: DeviceError | None = None  # a line that breaks off is the last one of an app that died
    for number, line in enumerate(lines, 1):
        if number > MAX_LINES:
            raise DeviceError(f"`{serial}` does not stop talking", got=f"{number:,} lines")
        if line.startswith(EVENT):
            if torn is not None:
                raise torn
            try:
                event = read_event(line.removeprefix(EVENT), number)
            except DeviceError as exc:
                torn = exc
            else:
                yield event
        elif TROUBLE.search(line):
            raise adb_error(serial, line)
        elif found := CRASH.match(line):
            crash.append(found[1].strip())
        elif line.startswith(ENDED):
            break
    if crash:
        raise DeviceError(
            f"the app on `{serial}` was killed or crashed",
            got=crash[-1][:120],
            hint=f"`adb logcat -d -s AndroidRuntime` says more; the app is {PACKAGE}",
        )
    if torn is not None:
        raise torn


class Outputs:
    """The outputs of the device's first inference, put together from pieces.

    Args:
        card: of the artifact.
    """

    def __init__(self, card: Card) -> None:
        self._specs = card.outputs
        self._values = [np.full(int(np.prod(spec.shape)), np.nan, np.float32) for spec in card.outputs]
        self._filled = [0] * len(self._values)

    def take(self, event: dict[str, Any]) -> None:
        """Take one piece.

        Raises:
            DeviceError: it is malformed, or not the next one of its output.
        """
        index, start, text = event.get("index"), event.get("start"), event.get("float32")
        whole_numbers = type(index) is int and type(start) is int
        known = whole_numbers and 0 <= index < len(self._values) and isinstance(text, str)  # type: ignore[operator]
        if not known or start != self._filled[index] or len(text) % 8:  # type: ignore[arg-type, index]
            raise DeviceError("the app's outputs are out of order", got=str({**event, "float32": "..."})[:80])
        try:
            piece = np.frombuffer(bytes.fromhex(text), ">f4").astype(np.float32)  # type: ignore[arg-type]
        except ValueError as exc:
            raise DeviceError("the app's outputs are no numbers", got=str(exc)[:60]) from exc
        whole = self._values[index]  # type: ignore[index]
        if not 0 < len(piece) <= len(whole) - start:  # type: ignore[operator]
            raise DeviceError("the app's outputs have another size", expected=len(whole), got=f"{len(piece)} more")
        whole[start : start + len(piece)] = piece  # type: ignore[operator]
        self._filled[index] += len(piece)  # type: ignore[index]

    def arrays(self) -> dict[str, Float32]:
        """Return the outputs by name.

        Raises:
            DeviceError: a piece has not come.
        """
        for spec, values, filled in zip(self._specs, self._values, self._filled, strict=True):
            if filled != len(values):
                raise DeviceError(f"the app's output `{spec.name}` is not whole", expected=len(values), got=filled)
        return {spec.name: values.reshape(spec.shape) for spec, values in zip(self._specs, self._values, strict=True)}
