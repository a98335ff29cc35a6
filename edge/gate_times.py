"""The latency that `edge gate` measures itself: each file on the devices that its budgets name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .bench.budgets import LATENCIES, Limit
from .bench.device import Device, Evidence
from .bench.gate import Subject
from .bench.matrix import Job, Variant, run_matrix, variants
from .bench.percentiles import least_samples
from .bench.plan import Plan
from .bench_devices import open_device
from .runtime.errors import DeviceError, one_line
from .runtime.isolate import guard
from .runtime.progress import Progress

__all__ = ["measure"]

SECONDS, WARMUP_S = 1.0, 0.3  # of a launch
ALL_S = 45.0  # of all launches of a device together, beside what starting them takes


def measure(
    subjects: Sequence[Subject],
    config: Path | None,
    *,
    seconds: float | None,
    launches: int,
    progress: Progress,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return rows as `edge bench --json` has them, and by device why nothing can be known there.

    A Raspberry Pi 4 that the configuration does not name is predicted, from operators alone, where a budget says that a
    prediction will do.

    Args:
        subjects: with their limits.
        config: `edge.toml`, for the devices.
        seconds: of timed inferences a launch; None takes one, and less where there are many files.
        launches: processes for each row.
        progress: told what is done, and how far it is.

    Raises:
        InputError: there is no such device.
        EdgeError: a file cannot be loaded.
    """
    wanted: dict[str, list[tuple[Subject, Limit]]] = {}
    for subject in subjects:
        for limit in subject.limits:
            if limit.name in LATENCIES:
                wanted.setdefault(limit.budget.device, []).append((subject, limit))
    jobs: list[Job] = []
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    for name, pairs in wanted.items():
        try:
            device = open_device(name, config, False, progress.step)
        except DeviceError as exc:
            missing[name] = one_line(exc).removeprefix("error: ")
            continue
        if device is None:
            rows += _predicted(name, pairs, progress)
            missing[name] = f"there is no [devices.{name}], and nothing else measures it"
        else:
            jobs.append(_job(device, pairs))
    needed = max((least_samples(LATENCIES[limit.name]) for pairs in wanted.values() for _, limit in pairs), default=1)
    share = _share(max((len(job.variants) for job in jobs), default=0) * launches)
    plan = Plan(
        artifact="",
        engine="litert",
        warmup_s=WARMUP_S * share if seconds is None else WARMUP_S,
        seconds=SECONDS * share if seconds is None else seconds,
        runs=math.ceil(needed / launches),
        stages_s=0.0,
    )
    rows += [row.to_dict() for row in run_matrix(jobs, plan, launches=launches, progress=progress)]
    return rows, missing


def _share(launches: int) -> float:
    """Return what part of its usual time a launch gets, so that all together end within `ALL_S`.

    A percentile still gets as many inferences as it needs: fewer seconds cost width of its bounds, not their truth.
    """
    return min(1.0, ALL_S / (SECONDS + WARMUP_S) / max(launches, 1))


def _job(device: Device, pairs: Sequence[tuple[Subject, Limit]]) -> Job:
    chosen: dict[tuple[str, int], tuple[Variant, ...]] = {}
    for subject, limit in pairs:
        guard(subject.path, subject.card)
        key = subject.artifact.sha256, limit.budget.threads
        chosen[key] = variants([subject.artifact], threads=[limit.budget.threads])
    return Job(device=device, variants=tuple(variant for found in chosen.values() for variant in found))


def _predicted(name: str, pairs: Sequence[tuple[Subject, Limit]], progress: Progress) -> list[dict[str, Any]]:
    """Return predictions for the limits that take one."""
    from .bench.predicted import predicted_rows

    taken = [(subject, limit) for subject, limit in pairs if limit.budget.evidence == Evidence.PREDICTED]
    rows = []
    for subject, limit in taken:
        assert isinstance(limit.value, int | float)
        found = predicted_rows(
            variants([subject.artifact], threads=[limit.budget.threads]),
            name=name,
            budgets_ms={str(subject.path): float(limit.value)},
            emulated=False,
            progress=progress,
        )
        rows += [row.to_dict() for row in found]
    return rows
