"""Rows for a Raspberry Pi 4 that is not there: predicted latency, and what emulation says of the artifact.

Emulation is taken where QEMU and the aarch64 userland are installed: it shows that the artifact's own aarch64 engine
gives what this machine's gives, and counts what it executes. Its time is never told. Without it, the operators alone
are predicted from, with a wider interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.errors import DeviceError, EdgeError, one_line
from ..runtime.progress import Progress
from .device import Evidence
from .matrix import Variant, threads_in_words
from .operators import Operator, read_operators
from .predict import predict, verdict
from .record import Artifact, Row

__all__ = ["predicted_rows"]


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What emulation says of an artifact: counts for the prediction, and notes for people."""

    counts: Mapping[str, float] | None = None
    facts: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    failed: str | None = None


def predicted_rows(
    variants: Sequence[Variant],
    *,
    name: str = "rpi4",
    budgets_ms: Mapping[str, float],
    emulated: bool = True,
    progress: Progress | None = None,
) -> list[Row]:
    """Return a predicted row for each variant.

    Args:
        variants: files, engines and threads; sources are not looked at, for inference alone is predicted.
        name: of the device.
        budgets_ms: by path of an artifact, what its latency is held against.
        emulated: run the artifacts in emulation where that is installed.
        progress: told of every variant; None tells nobody.

    Raises:
        ArtifactError, MissingExtraError: a file's operators cannot be read.
    """
    progress = progress or Progress(quiet=True)
    rows: list[Row] = []
    seen: dict[Path, _Seen] = {}
    operators: dict[Path, list[Operator]] = {}
    for number, variant in enumerate(variants, 1):
        artifact = variant.artifact
        if artifact.path not in seen:
            operators[artifact.path] = read_operators(artifact.path)
            seen[artifact.path] = _emulation(artifact, progress.step) if emulated else _Seen()
        budget_ms = budgets_ms[str(artifact.path)]
        rows.append(_row(variant, operators[artifact.path], seen[artifact.path], name, budget_ms))
        label = f"{name}: {artifact.path.name}, {threads_in_words(variant.threads)}"
        progress.step(f"{label}: predicted", number, len(variants))
    return rows


def _row(variant: Variant, operators: Sequence[Operator], seen: _Seen, name: str, budget_ms: float) -> Row:
    found = predict(operators, runtime=variant.engine, threads=variant.threads, counts=seen.counts)
    told = {**found.to_dict(), "budget_ms": budget_ms, "verdict": verdict(found, budget_ms), "simulated": seen.facts}
    row = Row(
        artifact=variant.artifact,
        device=name,
        evidence=Evidence.PREDICTED,
        engine=variant.engine,
        threads=variant.threads,
        prediction=told,
        failed=seen.failed,
        notes=[*seen.notes, *found.notes],
    )
    if found.abstained is not None:
        row.notes.insert(0, f"no prediction: {found.abstained}")
    return row


def _emulation(artifact: Artifact, say: Callable[[str], None]) -> _Seen:
    from .arm64_userland import open_userland
    from .emulate import emulate
    from .emulation_counts import counts
    from .emulator import qemu_version

    try:
        qemu_version()
        userland = open_userland()
    except EdgeError as exc:
        return _Seen(notes=(f"not emulated: {_why(exc)}",))
    try:
        say(f"running {artifact.path.name} in emulation")
        run = emulate(artifact.path, userland=userland)
        counted = counts(artifact.path, userland=userland, log=say)
    except DeviceError as exc:  # it died there, of an illegal instruction say: that is a finding
        return _Seen(failed=f"in emulation: {_why(exc)}")
    except EdgeError as exc:
        return _Seen(notes=(f"not emulated: {_why(exc)}",))
    agreement = ", ".join(f"{item.output} {item.verdict}" for item in run.agreements)
    return _Seen(
        counts={key: value for key, value in counted.to_dict().items() if isinstance(value, int)},
        facts={**run.to_dict(), "counts": counted.to_dict()},
        notes=(f"simulated on {run.engine} {run.engine_version} for aarch64: {agreement}",),
        failed=None if run.agrees else f"in emulation it says something else: {agreement}",
    )


def _why(exc: EdgeError) -> str:
    return one_line(exc).removeprefix("error: ")
