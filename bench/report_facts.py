"""What a report shows, as facts: bundles and their variants, timings with raw samples, profiles, and task metrics.

Every text in here is fit to be shown: see `json_values.shown`. A figure that nobody gave is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .percentiles import Summary

__all__ = ["Bundle", "Facts", "LayerShare", "Parity", "ProfileShare", "Quality", "Timing", "Trial", "Variant"]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far one output of a file is from PyTorch's.

    Attributes:
        output: its name.
        sqnr_db: PyTorch's power over the difference's, dB; None where nobody says.
        cosine: of the angle between the two, -1..1.
        max_error: largest difference, share of the output's range.
        nonfinite: elements that are no number on either side, with which the other figures mean nothing.
    """

    output: str
    sqnr_db: float | None
    cosine: float | None
    max_error: float | None
    nonfinite: int = 0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A recipe that the search tried for one file.

    Attributes:
        name: of the recipe.
        size_bytes, least_sqnr_db, latency_ms: of the file that it made; None where that was not looked at.
        verdict, reason: of the search.
    """

    name: str
    size_bytes: int | None
    least_sqnr_db: float | None
    latency_ms: float | None
    verdict: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Variant:
    """An exported file, as its manifest tells it.

    Attributes:
        file, sha256, size_bytes: name, hash and bytes.
        target, precision: "onnx" or "tflite"; "fp32", "fp16", "int8", ...
        recipe: how it was quantised.
        int8_mac_share: share of the multiply-adds that run in INT8, 0..1.
        complaints: limits of parity that it does not hold.
        parity: one for each output.
        best_ms, best_device, best_evidence: the quickest of the export's own timings, its device and its grade.
        best_threads, best_busy: of that timing: threads, and whether other work disturbed the clock.
        trials: of the search, in order.
    """

    file: str
    sha256: str
    size_bytes: int
    target: str
    precision: str
    recipe: str
    int8_mac_share: float
    complaints: tuple[str, ...]
    parity: tuple[Parity, ...]
    best_ms: float | None
    best_device: str
    best_evidence: str
    best_threads: int
    best_busy: bool
    trials: tuple[Trial, ...]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """One model's folder, as its manifest tells it.

    Attributes:
        folder: where it is.
        model, family, weights: as the manifest has them; weights is "shipped", "checkpoint", "factory" or "seeded".
        key, checkpoint_sha256: names of what went in.
        parameters: of the network; None where it is not said.
        edge, tools, machine: versions and the machine that exported.
        samples: what parity was judged on, in words.
        notes: of the export.
        budget_bytes, budget_ms: the card's; None where it has none.
        parity_limits: precision -> what the card demands, in words.
        variants: in a fixed order: by target, then precision.
    """

    folder: Path
    model: str
    family: str
    weights: str
    key: str
    checkpoint_sha256: str
    parameters: int | None
    edge: str
    tools: Mapping[str, str]
    machine: Mapping[str, str]
    samples: str
    notes: tuple[str, ...]
    budget_bytes: float | None
    budget_ms: float | None
    parity_limits: Mapping[str, str]
    variants: tuple[Variant, ...]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A row of `edge bench`: one file, engine and number of threads on one device.

    Attributes:
        file, sha256: the artifact.
        device, evidence: where, and what the latencies are worth.
        engine, threads, input: what ran it, on what.
        status, why: whether the row may be used, and why not.
        notes: further remarks.
        busy: other work disturbed the wall clock.
        machine: the device in words.
        began: when the run began, as the file says it.
        edge: version that measured.
        infer: inferences back to back; None where nothing was measured, and where the grade is "simulated".
        samples_ms: raw wall clock of inferences, of simulations too.
        coarse: the clock took several inferences together, so that only the median is known.
        stages: median of "pre", "infer" and "decode" of whole frames, ms; empty where none were measured.
        frame: whole frames.
        load_ms, first_ms, peak_rss_bytes: of the process.
        p50_ms, low_ms, high_ms: predicted median and its interval.
        basis, abstained: of the prediction: what it stands on, or why there is none.
    """

    file: str
    sha256: str
    device: str
    evidence: str
    engine: str
    threads: int
    input: str
    status: str
    why: tuple[str, ...]
    notes: tuple[str, ...]
    busy: bool
    machine: str
    began: str
    edge: str
    infer: Summary | None
    samples_ms: tuple[float, ...]
    coarse: bool
    stages: Mapping[str, float]
    frame: Summary | None
    load_ms: float | None
    first_ms: float | None
    peak_rss_bytes: int | None
    p50_ms: float | None
    low_ms: float | None
    high_ms: float | None
    basis: str
    abstained: str

    @property
    def usable(self) -> bool:
        """Whether its figures may be judged: neither void, nor broken off, nor a simulation's wall clock."""
        return self.status in ("complete", "predicted") and self.evidence in ("measured", "predicted")

    @property
    def typical_ms(self) -> float | None:
        """The median where there are samples enough, else the mean; of a prediction its median."""
        if self.infer is None:
            return self.p50_ms
        return self.infer.mean_ms if self.infer.p50_ms is None else self.infer.p50_ms

    @property
    def judged_ms(self) -> float | None:
        """What a budget is held against: the p90 where there are samples enough, else `typical_ms`."""
        known = self.infer is not None and self.infer.p90_ms is not None
        return self.infer.p90_ms if known and self.infer is not None else self.typical_ms


@dataclass(frozen=True, kw_only=True)
class LayerShare:
    """One layer of a profile: its time, and its shares of time and of multiply-adds, 0..1."""

    name: str
    op: str
    ms: float
    time_share: float
    mac_share: float


@dataclass(frozen=True, kw_only=True)
class ProfileShare:
    """A profile of `edge bench --profile`: measured on the host, one thread; `sha256` is None in older files."""

    file: str
    sha256: str | None
    engine: str
    how: str
    total_ms: float
    layers: tuple[LayerShare, ...]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What `edge eval` found of one file.

    Attributes:
        file, sha256: its name and hash; None in files of older edges.
        metric, value, low, high: the task's metric and its 95 % interval.
        drop, drop_low, drop_high: what it loses against the first file, 0..1, paired; None for the first.
        against: name of the first file.
        samples, data, synthetic: what it was judged on.
    """

    file: str
    sha256: str | None
    metric: str
    value: float
    low: float | None
    high: float | None
    drop: float | None
    drop_low: float | None
    drop_high: float | None
    against: str
    samples: int
    data: str
    synthetic: bool


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that was read."""

    bundles: tuple[Bundle, ...]
    timings: tuple[Timing, ...]
    profiles: tuple[ProfileShare, ...]
    qualities: tuple[Quality, ...]
