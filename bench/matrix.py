"""Several artifacts on several devices: never two runs on one device at a time, devices beside each other.

On a device the launches of all its rows take turns (first launch of each, then the second of each, ...), so that what
comes over a machine for a minute comes over all rows. What is complete is kept as it comes: a run that was stopped goes
on with what is left. A device that fails costs its own rows only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.errors import DeviceError, EdgeError, InputError, one_line
from ..runtime.progress import Progress
from .device import Device, Evidence
from .launch import Launch
from .plan import Plan
from .record import Artifact, Row, Status
from .saved import SavedLaunches

__all__ = ["GIVE_UP", "Job", "Variant", "best", "run_matrix", "threads_in_words", "variants"]

GIVE_UP = 2  # failures of a device in a row, after which its other rows are not tried


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What makes a row on a device.

    Attributes:
        artifact: the file.
        engine: that runs it.
        threads: of the engine.
        source: .npz of whole frames; None measures inference alone.
        input: what is in it, in words.
    """

    artifact: Artifact
    engine: str
    threads: int
    source: Path | None = None
    input: str = "noise"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A device and the variants that it is to measure.

    Attributes:
        device: where.
        variants: what, in order.
    """

    device: Device
    variants: tuple[Variant, ...]


def run_matrix(
    jobs: Sequence[Job],
    plan: Plan,
    *,
    launches: int = 3,
    saved: SavedLaunches | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Measure all variants on all devices and return their rows, in the order of the jobs.

    Args:
        jobs: devices, each once.
        plan: how each process measures; file, engine, threads and source are filled in.
        launches: processes for each row; what a row says is of all of them.
        saved: where complete launches are kept and found again.
        progress: told of every launch, from several threads; None tells nobody.

    Raises:
        InputError: a device is named twice.
        BaseException: Ctrl-C and SIGTERM, after every device has been left clean.
    """
    names = [job.device.name for job in jobs]
    if len(set(names)) != len(names):
        raise InputError("a device is named twice", got=", ".join(names))
    told = _Told(sum(len(job.variants) for job in jobs) * launches, progress or Progress(quiet=True))
    stop = threading.Event()
    with ThreadPoolExecutor(max(len(jobs), 1), thread_name_prefix="edge-device") as pool:
        futures = [pool.submit(_run_device, job, plan, launches, saved, told, stop) for job in jobs]
        try:
            return [row for future in futures for row in future.result()]
        except BaseException:
            stop.set()
            for job in jobs:
                job.device.close()
            raise


class _Told:
    """How far all devices together are."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total, self._done, self._progress, self._lock = total, 0, progress, threading.Lock()
        if progress.live and total:
            progress.step("the first launch", 0, total)

    def step(self, text: str) -> None:
        with self._lock:
            self._done += 1
            self._progress.step(text, self._done, self._total)

    def note(self, text: str) -> None:
        self._progress.step(text)


def _run_device(
    job: Job, plan: Plan, launches: int, saved: SavedLaunches | None, told: _Told, stop: threading.Event
) -> list[Row]:
    device = job.device
    rows = [
        Row(
            artifact=variant.artifact,
            device=device.name,
            evidence=device.evidence,
            engine=variant.engine,
            threads=variant.threads,
            input=variant.input,
        )
        for variant in job.variants
    ]
    failures = 0
    try:
        for turn in range(launches):
            for row, variant in zip(rows, job.variants, strict=True):
                if stop.is_set():
                    return rows
                what = f"{device.name}: {row.artifact.path.name}, {row.engine}, {threads_in_words(row.threads)}"
                if row.failed is not None:
                    told.step(f"{what}: left out")
                    continue
                if failures >= GIVE_UP:
                    row.failed = f"{device.name} had failed {GIVE_UP} times in a row before this"
                    told.step(f"{what}: left out")
                    continue
                filled = dataclasses.replace(plan, engine=variant.engine, threads=variant.threads)
                try:
                    launch, kept = _one(device, variant, filled, turn, saved)
                    row.launches.append(launch)
                    failures = 0
                    told.step(f"{what}: {'kept from before' if kept else _told(launch, row.evidence)}")
                except _Failed as failed:
                    row.launches.append(failed.launch)
                    row.failed = one_line(failed.error).removeprefix("error: ")
                    failures = failures + 1 if isinstance(failed.error, DeviceError) else 0
                    told.step(f"{what}: {row.failed}")
    finally:
        device.close()
    return rows


class _Failed(Exception):
    def __init__(self, error: EdgeError, launch: Launch) -> None:
        super().__init__(str(error))
        self.error, self.launch = error, launch


def _one(device: Device, variant: Variant, plan: Plan, turn: int, saved: SavedLaunches | None) -> tuple[Launch, bool]:
    key = _key(device, variant, plan, turn)
    if saved is not None and (found := saved.find(key)) is not None:
        return found, True
    launch = Launch()
    try:
        device.launch(variant.artifact.path, plan, variant.source, launch)
    except EdgeError as exc:
        launch.error = one_line(exc).removeprefix("error: ")
        raise _Failed(exc, launch) from exc
    if saved is not None:
        saved.keep(key, launch)
    return launch, False


def _key(device: Device, variant: Variant, plan: Plan, turn: int) -> str:
    """Return a name for one launch, of all that its answer depends on."""
    facts = {
        "device": device.name,
        "evidence": str(device.evidence),
        "artifact": variant.artifact.sha256,
        "engine": [variant.engine, device.engine_version(variant.engine)],
        "input": variant.input,
        "plan": {**plan.to_dict(), "artifact": "", "source": variant.source is not None},
        "turn": turn,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _told(launch: Launch, evidence: Evidence) -> str:
    from .percentiles import summarise

    summary = summarise(launch.wall_ms)
    if evidence is Evidence.SIMULATED:  # its clock says nothing of the device
        return f"{summary.count:,} runs"
    middle = f"p50 {summary.p50_ms:.2f} ms" if summary.p50_ms is not None else f"mean {summary.mean_ms:.2f} ms"
    return f"{middle} of {summary.count:,} runs"


def threads_in_words(count: int) -> str:
    """Return "1 thread", "2 threads" and so on."""
    return "1 thread" if count == 1 else f"{count} threads"


def variants(
    artifacts: Sequence[Artifact],
    *,
    engine: str = "auto",
    threads: Sequence[int] = (1,),
    sources: dict[str, tuple[Path, str]] | None = None,
) -> tuple[Variant, ...]:
    """Return every artifact x engine x number of threads.

    Args:
        artifacts: files.
        engine: "auto" takes all that run a file's format, installed here or not; a name insists.
        threads: numbers of threads.
        sources: by path of an artifact, .npz of its whole frames and what is in it.

    Raises:
        InputError: the engine does not run one of the files.
    """
    from ..runtime.engines import engines_for

    found = []
    for artifact in artifacts:
        source, words = (sources or {}).get(str(artifact.path), (None, "noise"))
        for name in engines_for(artifact.path, engine):
            found += [
                Variant(artifact=artifact, engine=name, threads=count, source=source, input=words) for count in threads
            ]
    return tuple(found)


def best(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return the row that is fastest where it may be used, in short; None where none may.

    Judged by the median of a whole frame, or of inference where no frame was measured.
    """
    usable = [
        row
        for row in rows
        if row.status == Status.COMPLETE and row.infer is not None and row.evidence is not Evidence.SIMULATED
    ]
    if not usable:
        return None
    row = min(usable, key=_cost)
    return {
        "file": row.artifact.path.name,
        "device": row.device,
        "engine": row.engine,
        "threads": row.threads,
        "p50_ms": round(_cost(row), 4),
        "of": "frame" if row.stages else "inference",
    }


def _cost(row: Row) -> float:
    summary = row.stages["total"] if row.stages else row.infer
    assert summary is not None
    return summary.p50_ms if summary.p50_ms is not None else summary.mean_ms
