"""What an evaluation gives: a metric with its interval, and how much worse than another it is. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import InputError
from ..runtime.metrics import interval

__all__ = ["Drop", "Metrics", "paired_drop"]

Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """How good one network is on one set of samples.

    Attributes:
        name: "OKS-AP", "AP" (of faces over 10 px) or "CCC" (mean of valence and arousal).
        value: 0..1, of CCC -1..1.
        low, high: ends of its 95 % interval, by resampling pictures or clips; NaN without resampling.
        parts: further figures, see `runtime.metrics_pose`, `metrics_face` and `metrics_emotion`.
        samples: pictures or clips that were judged.
        skipped: samples that could not be read.
        nonfinite: samples for which the network gave a NaN or an infinite value.
        data: label of the source.
        digest: of the source.
        seed: of the resampling.
        resampled: (rounds,) float64, the value on each resampled set.
    """

    name: str
    value: float
    low: float
    high: float
    parts: Mapping[str, float]
    samples: int
    skipped: int
    nonfinite: int
    data: str
    digest: str
    seed: int
    resampled: Float64 = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; an interval that was not asked for is null."""
        known = bool(len(self.resampled))
        return {
            "name": self.name,
            "value": self.value,
            "low": self.low if known else None,
            "high": self.high if known else None,
            "parts": dict(self.parts),
            "samples": self.samples,
            "skipped": self.skipped,
            "nonfinite": self.nonfinite,
            "data": self.data,
        }


@dataclass(frozen=True, kw_only=True)
class Drop:
    """By how much one network is worse than another on the same samples, in the metric's unit; below 0 it is better.

    Attributes:
        value: difference of the two values.
        low, high: ends of its 95 % interval, by resampling the samples for both at once; NaN without resampling.
    """

    value: float
    low: float
    high: float


def paired_drop(reference: Metrics, other: Metrics) -> Drop:
    """Return by how much `other` is worse than `reference`.

    Both were judged on the same samples and resampled with the same draws, so that their difference is taken round by
    round: what the samples have in common cancels, and the interval is much narrower than that of either.

    Raises:
        InputError: they were judged by another metric, on other samples, or with other draws.
    """
    same = ("name", "digest", "samples", "skipped", "seed")
    for name in same:
        if getattr(reference, name) != getattr(other, name):
            raise InputError(
                f"two networks can only be compared on the same samples: `{name}` differs",
                expected=getattr(reference, name),
                got=getattr(other, name),
            )
    if len(reference.resampled) != len(other.resampled):
        raise InputError("two networks can only be compared with the same number of resampled sets")
    low, high = interval(reference.resampled - other.resampled)
    return Drop(value=reference.value - other.value, low=low, high=high)
