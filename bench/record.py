"""A row of results: one artifact, engine and number of threads on one device, with all samples and machine states."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..runtime.card import Card
from ..runtime.errors import printable
from ..runtime.quiet import disturbed
from ..runtime.trust import file_digest
from .device import Evidence
from .environment import changes
from .launch import Launch
from .percentiles import Summary, summarise

__all__ = ["SCHEMA", "Artifact", "Row", "Status"]

SCHEMA = 1


class Status(StrEnum):
    """Whether a row may be used."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"  # it broke off; the samples so far are kept, and never gated
    VOID = "void"  # the machine throttled, or its clock moved
    FAILED = "failed"  # nothing was measured
    PREDICTED = "predicted"  # nothing was to be measured


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that is measured.

    Attributes:
        path: of it, on this machine.
        bytes: its size.
        sha256: of its content.
        model, target, precision: as its card says.
    """

    path: Path
    bytes: int
    sha256: str
    model: str
    target: str
    precision: str

    @classmethod
    def of(cls, path: Path, card: Card) -> Artifact:
        """Return the facts of a file.

        Args:
            path: of the file.
            card: its card.

        Raises:
            ArtifactError: it cannot be read.
        """
        return cls(
            path=path,
            bytes=path.stat().st_size,
            sha256=file_digest(path),
            model=card.model,
            target=str(card.artifact.get("target", "unknown")),
            precision=str(card.artifact.get("precision", "unknown")),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; of the path its name alone."""
        values = dataclasses.asdict(self)
        values["file"] = values.pop("path").name
        return values


@dataclass(kw_only=True)
class Row:
    """What was found of one artifact with one engine and number of threads on one device.

    Attributes:
        artifact: the file.
        device: name of the device.
        evidence: what the latencies are worth.
        engine, threads: what ran it.
        input: what whole frames were made of, in words; "noise" where there were none.
        launches: processes of the harness, in order.
        failed: why nothing, or not all, was measured; None otherwise.
        prediction: of a model, where nothing was measured; see `predict`.
        notes: what else there is to say, one line each.
    """

    artifact: Artifact
    device: str
    evidence: Evidence
    engine: str
    threads: int
    input: str = "noise"
    launches: list[Launch] = field(default_factory=list)
    failed: str | None = None
    prediction: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def status(self) -> Status:
        """Whether the row may be used."""
        if self.prediction is not None:
            return Status.FAILED if self.failed else Status.PREDICTED
        if not any(launch.wall_ms for launch in self.launches):
            return Status.FAILED
        if self.failed or not all(launch.complete for launch in self.launches):
            return Status.INCOMPLETE
        return Status.VOID if self.doubts else Status.COMPLETE

    @property
    def doubts(self) -> list[str]:
        """Why the machine's state voids the times; empty where it does not."""
        return [why for launch in self.launches if launch.ended for why in changes(launch.started, launch.ended)]

    @property
    def fallbacks(self) -> list[str]:
        """Where something else than what was asked for ran the model, one line each, once."""
        lines = []
        for engine in (launch.engine for launch in self.launches):
            asked, ran, why = (str(engine.get(f"backend_{name}") or "") for name in ("requested", "actual", "reason"))
            if asked != ran:
                lines.append(printable(f"asked for {asked[:40]}, ran on {ran[:40]}: {why[:120]}"))
        return list(dict.fromkeys(lines))

    @property
    def infer(self) -> Summary | None:
        """Inferences back to back, wall clock."""
        return _summary(self.launches, "wall_ms")

    @property
    def infer_cpu(self) -> Summary | None:
        """The same in processor time, over all threads."""
        return _summary(self.launches, "cpu_ms")

    @property
    def stages(self) -> dict[str, Summary] | None:
        """Whole frames: pre, infer, decode, and their sum; None where none were measured."""
        parts = {name: _summary(self.launches, f"{name}_ms") for name in ("pre", "infer", "decode")}
        found = {name: part for name, part in parts.items() if part is not None}
        if len(found) != len(parts):
            return None
        totals = [
            sum(times)
            for launch in self.launches
            for times in zip(launch.pre_ms, launch.infer_ms, launch.decode_ms, strict=True)
        ]
        return {**found, "total": summarise(totals)}

    @property
    def busy(self) -> bool | None:
        """Whether other work disturbed the wall clock; None where it cannot be told, as with several threads."""
        if self.threads != 1:
            return None
        launches = [launch for launch in self.launches if len(launch.cpu_ms) == len(launch.wall_ms)]
        wall = [value for launch in launches for value in launch.wall_ms]
        return disturbed(wall, [value for launch in launches for value in launch.cpu_ms])

    @property
    def spread(self) -> float | None:
        """Largest over smallest median of the launches, less 1; None with fewer than two."""
        medians = [statistics.median(launch.wall_ms) for launch in self.launches if launch.wall_ms]
        return max(medians) / min(medians) - 1 if len(medians) > 1 and min(medians) > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, raw samples included."""
        stages = self.stages
        return {
            "artifact": self.artifact.to_dict(),
            "device": self.device,
            "evidence": str(self.evidence),
            "engine": {"name": self.engine, "version": _version(self.launches)},
            "threads": self.threads,
            "input": self.input,
            "status": str(self.status),
            "why": [reason for reason in (self.failed, *(launch.error for launch in self.launches)) if reason]
            + self.doubts,
            "import_ms": _middle(self.launches, "import_ms"),
            "load_ms": _middle(self.launches, "load_ms"),
            "first_ms": _middle(self.launches, "first_ms"),
            "infer": _dict(self.infer),
            "infer_cpu": _dict(self.infer_cpu),
            "stages": None if stages is None else {name: part.to_dict() for name, part in stages.items()},
            "peak_rss_bytes": max((launch.peak_rss_bytes or 0 for launch in self.launches), default=0) or None,
            "busy": self.busy,
            "spread": None if self.spread is None else round(self.spread, 4),
            "prediction": self.prediction,
            "notes": [*self.notes, *self.fallbacks],
            "launches": [dataclasses.asdict(launch) for launch in self.launches],
        }


def _summary(launches: Sequence[Launch], name: str) -> Summary | None:
    samples = [value for launch in launches for value in getattr(launch, name)]
    return summarise(samples) if samples else None


def _dict(summary: Summary | None) -> dict[str, Any] | None:
    return None if summary is None else summary.to_dict()


def _middle(launches: Sequence[Launch], name: str) -> float | None:
    values = [value for launch in launches if (value := getattr(launch, name)) is not None]
    return round(statistics.median(values), 4) if values else None


def _version(launches: Sequence[Launch]) -> str | None:
    return next((str(launch.engine.get("version")) for launch in launches if launch.engine), None)
