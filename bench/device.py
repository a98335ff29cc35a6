"""A place where benchmarks run, and the grade of what it answers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Protocol

from .launch import Launch
from .plan import Plan

__all__ = ["Device", "Evidence"]


class Evidence(StrEnum):
    """What a latency is worth: a prediction never passes for a measurement."""

    MEASURED = "measured"  # on that device
    SIMULATED = "simulated"  # that code ran, on other hardware; its wall clock says nothing of the device
    PREDICTED = "predicted"  # a model says so, with an interval


class Device(Protocol):
    """A place that can hold one artifact and run the harness on it, one process at a time.

    Attributes:
        name: as the user calls it: "host", "rpi4", "browser", or a name of `edge.toml`.
        evidence: what its latencies are worth.
    """

    name: str

    @property
    def evidence(self) -> Evidence:
        """What its latencies are worth; a device may have to be reached to know."""

    def engine_version(self, engine: str) -> str | None:
        """Return the version that the device will run, as far as this machine knows; kept launches go by it."""

    def launch(self, artifact: Path, plan: Plan, source: Path | None, launch: Launch) -> Launch:
        """Run one process of the harness and return what it told.

        Args:
            artifact: the file, on this machine; the device gets a copy of it.
            plan: how it is measured; `artifact` and `source` in it are filled by the device.
            source: .npz with the picture or sound of whole frames, on this machine.
            launch: filled as lines come, so that what was measured is left when the device vanishes.

        Raises:
            DeviceError: the device or the way to it failed.
            EdgeError: the harness refused the artifact or the plan.
        """

    def close(self) -> None:
        """Leave nothing behind on the device. Safe to call twice."""
