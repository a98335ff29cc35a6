"""Latency from what an emulated run counted: executed instructions, vector stores and simulated cache misses.

    t = (a * instructions + b * vector stores + c * L1D misses) / f  +  d * L2 misses

Counts are of one inference on one thread. A store costs beside its instruction, since what it made dirty has to be
written back, which the simulated misses do not show.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import InputError
from .nnls import robust_relative

__all__ = ["COUNTS", "CountModel", "Counted", "counts_vector", "fit_counts", "read_counts"]

Float64 = NDArray[np.float64]

COUNTS = ("insns", "st_vec", "l1d_miss", "l2_miss")  # as the counting plugin names them
PLAIN = ("insns", "l1d_miss", "l2_miss")  # what was fitted before, without stores
FITTED_GHZ = 1.8  # clock of the Pis that ncnn's rows of 2023 come from
_CLOCKED = np.array([True, True, True, False])  # core cycles; a miss in L2 waits for memory, whatever the clock

# Networks that are alike; what is not listed is a family of its own.
_FAMILIES = {
    "shufflenet": ("shufflenet", "shufflenet_v2"),
    "yolo-fastest": ("yolo-fastestv2", "yolo-fastest-1.1", "FastestDet"),
    "mobilenet-v2": ("mobilenet_v2", "mnasnet", "proxylessnasnet", "mobilenetv2_yolov3"),
    "efficientnet": ("efficientnet_b0", "efficientnetv2_b0"),
    "squeezenet": ("squeezenet", "squeezenet_ssd"),
    "mobilenet-v1": ("mobilenet", "mobilenet_ssd", "mobilenet_yolo"),
    "resnet": ("resnet18", "resnet50"),
}


@dataclass(frozen=True, kw_only=True)
class Counted:
    """One network with its counts and its measured latency.

    Attributes:
        model, family: its name; what is left out together with it.
        counts: (4,), of `COUNTS`, in millions.
        ms: threads -> median latency.
    """

    model: str
    family: str
    counts: Float64
    ms: Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class CountModel:
    """Fitted costs.

    Attributes:
        costs: (4,), milliseconds for a million of each of `COUNTS` at `FITTED_GHZ`, none negative.
    """

    costs: Float64

    def milliseconds(self, counts: Float64, ghz: float = FITTED_GHZ) -> float:
        """Return the latency of a network at a clock."""
        scale = np.where(_CLOCKED, FITTED_GHZ / ghz, 1.0)
        return float(counts @ (self.costs * scale))


def counts_vector(counts: Mapping[str, float]) -> Float64:
    """Return (4,) millions of each of `COUNTS`.

    Raises:
        InputError: one is missing, not finite or negative, or no instruction was counted.
    """
    values = np.array([float(counts.get(name, np.nan)) for name in COUNTS])
    if not np.isfinite(values).all() or (values < 0).any() or values[0] <= 0:
        got = {name: counts.get(name) for name in COUNTS}
        raise InputError("counts of an emulated run are incomplete", expected=", ".join(COUNTS), got=got)
    return values / 1e6


def fit_counts(rows: Sequence[Counted], threads: int, names: Sequence[str] = COUNTS) -> CountModel:
    """Return the costs that fit best; counts that are not named cost nothing."""
    used = np.array([name in names for name in COUNTS])
    matrix = np.stack([row.counts for row in rows])[:, used]
    costs = np.zeros(len(COUNTS))
    costs[used] = robust_relative(matrix, np.array([row.ms[threads] for row in rows]))
    return CountModel(costs=costs)


def read_counts(counts: Path, table: Path) -> tuple[list[Counted], str]:
    """Return the networks that have both counts and published ncnn latencies, and the sha256 of the counts' file.

    Raises:
        InputError: a file is missing, or has no such columns.
    """
    try:
        content = counts.read_bytes()
        with table.open(newline="", encoding="utf-8") as file:
            lines = [line for line in csv.DictReader(file) if line["runtime"] == "ncnn" and line["os_bits"] == "64"]
        ms: dict[str, dict[int, float]] = {}
        for line in lines:
            if line["threads"] in ("1", "4"):
                ms.setdefault(line["model"], {})[int(line["threads"])] = float(line["latency_ms"])
        rows = [
            Counted(
                model=line["model"],
                family=_family(line["model"]),
                counts=np.array([float(line[name]) for name in COUNTS]) / 1e6,
                ms=ms[line["model"]],
            )
            for line in csv.DictReader(content.decode("utf-8", "replace").splitlines())
            if set(ms.get(line["model"], ())) >= {1, 4}
        ]
    except (OSError, KeyError, ValueError) as exc:
        raise InputError(f"cannot read counts from `{counts.name}`", got=f"{type(exc).__name__}: {exc}"[:80]) from exc
    if not rows:
        raise InputError(f"`{counts.name}` has no network of the table", expected="ncnn's models")
    return rows, hashlib.sha256(content).hexdigest()


def _family(model: str) -> str:
    plain = model.removesuffix("_int8")
    return next((family for family, models in _FAMILIES.items() if plain in models), plain)
