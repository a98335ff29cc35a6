"""Times of short calls on one thread, side by side: medians of wall clock and of processor time.

Two times, because a machine may be busy with something else: then the wall clock runs on while the call waits, and the
processor time of the thread does not.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

__all__ = ["BUSY_RATIO", "THREAD_VARIABLES", "Timing", "interleaved", "machine", "one_thread", "summary", "timed"]

BUSY_RATIO = 1.3  # wall clock over processor time; above it the machine had other work
# What the libraries beneath NumPy read once, when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Medians of one call's time.

    Attributes:
        wall_ms: wall clock.
        cpu_ms: processor time of the calling thread.
        repeats: how many calls the medians are of.
    """

    wall_ms: float
    cpu_ms: float
    repeats: int

    @property
    def busy(self) -> bool:
        """True where the wall clock says little, because the thread had to wait."""
        return self.wall_ms > BUSY_RATIO * self.cpu_ms

    @property
    def ms(self) -> float:
        """The time that limits are held against: wall clock, or processor time on a busy machine."""
        return self.cpu_ms if self.busy else self.wall_ms


def one_thread() -> None:
    """Tell the libraries beneath NumPy to use one thread; has an effect before NumPy is imported only."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))


def timed(calls: Mapping[str, Callable[[], object]], samples: dict[str, list[tuple[float, float]]]) -> None:
    """Run each call once, in order, and add its wall clock and processor time, seconds, to `samples`."""
    for name, call in calls.items():
        cpu, wall = thread_time(), perf_counter()
        call()
        wall_s, cpu_s = perf_counter() - wall, thread_time() - cpu
        samples.setdefault(name, []).append((wall_s, cpu_s))


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    budget_s: float = 2.0,
    least: int = 3,
    slice_s: float = 0.004,
) -> dict[str, Timing]:
    """Return the times of calls that take turns (ABAB...), so that what disturbs one disturbs all.

    Each is run once before anything counts. A turn lasts `slice_s` or one call, whichever is longer: a call that is a
    hundred times shorter than its rival gets enough samples of its own.

    Args:
        calls: by name.
        budget_s: rounds are added until this time is over, wall clock.
        least: rounds at least, whatever they take.
        slice_s: shortest turn, wall clock.
    """
    for call in calls.values():
        call()
    samples: dict[str, list[tuple[float, float]]] = {}
    end = perf_counter() + budget_s
    rounds = 0
    while rounds < least or perf_counter() < end:
        rounds += 1
        for name, call in calls.items():
            turn_ends = perf_counter() + slice_s
            timed({name: call}, samples)
            while perf_counter() < turn_ends:
                timed({name: call}, samples)
    return {name: summary(values) for name, values in samples.items()}


def summary(samples: list[tuple[float, float]]) -> Timing:
    """Return the medians of (wall, processor) times in seconds."""
    wall, cpu = (statistics.median(column) * 1e3 for column in zip(*samples, strict=True))
    return Timing(wall_ms=wall, cpu_ms=cpu, repeats=len(samples))


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, Python, NumPy, engines, thread variables."""
    import numpy as np

    from ..runtime.engines import ENGINES, engine_version

    return {
        "cpu": _cpu_model(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "engines": {name: version for name in ENGINES if (version := engine_version(name)) is not None},
        "threads": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
    }


def _cpu_model() -> str:
    """Return the processor's name; a Pi has none in /proc/cpuinfo but its board's."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return named.get("model name") or named.get("Model") or platform.machine()
