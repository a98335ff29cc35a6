"""What a set of latencies supports: percentiles where there are samples enough, and bounds that hold without a model.

A percentile is shown only where so many samples lie beyond it that a bound at 99 % confidence exists with one of them
to spare. The bound assumes nothing about the distribution: how many of n samples lie above the true percentile is
binomial.

Source: MLPerf Inference rules, "early stopping": 64 queries for the 90th and 662 for the 99th percentile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["CONFIDENCE", "Summary", "least_samples", "lower_bound", "summarise", "upper_bound"]

CONFIDENCE = 0.99
PERCENTILES = (0.50, 0.90, 0.95, 0.99)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Latencies in short. Percentiles that the number of samples does not support are None.

    Attributes:
        count: samples; every one counts, outliers too.
        least_ms, mean_ms, most_ms: of them.
        p50_ms, p90_ms, p95_ms, p99_ms: percentiles, by linear interpolation.
        p90_at_most_ms: upper bound of the true 90th percentile at 99 % confidence, from the same samples.
    """

    count: int
    least_ms: float
    mean_ms: float
    most_ms: float
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p90_at_most_ms: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, ms to the nanosecond."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}


def summarise(samples_ms: Sequence[float]) -> Summary:
    """Return a summary of latencies.

    Args:
        samples_ms: at least one, in any order, ms.

    Raises:
        ValueError: there is none.
    """
    values = np.sort(np.asarray(samples_ms, np.float64))
    if not len(values):
        raise ValueError("no samples")
    found = {
        share: float(np.quantile(values, share)) if len(values) >= least_samples(share) else None
        for share in PERCENTILES
    }
    return Summary(
        count=len(values),
        least_ms=float(values[0]),
        mean_ms=float(values.mean()),
        most_ms=float(values[-1]),
        p50_ms=found[0.50],
        p90_ms=found[0.90],
        p95_ms=found[0.95],
        p99_ms=found[0.99],
        p90_at_most_ms=upper_bound(values.tolist(), 0.90),
    )


def least_samples(share: float, confidence: float = CONFIDENCE) -> int:
    """Return how many samples a percentile needs: so many that its bound is not the largest of them.

    Args:
        share: the percentile, 0..1: 11 samples for 0.5, 64 for 0.9, 130 for 0.95, 662 for 0.99.
        confidence: of the bound.
    """
    count = 2
    while _at_most(1, count, 1 - share) > 1 - confidence:
        count += 1
    return count


def upper_bound(samples_ms: Sequence[float], share: float, confidence: float = CONFIDENCE) -> float | None:
    """Return a value that the true percentile does not exceed, with the given confidence; None with too few samples.

    It is the smallest sample such that, were the percentile above it, as few samples beyond would be too unlikely.

    Args:
        samples_ms: in any order.
        share: the percentile, 0..1.
        confidence: that the bound holds.
    """
    count = len(samples_ms)
    beyond, chance, rest = -1, 0.0, 1 - share
    while chance <= 1 - confidence and beyond < count:  # how many may lie beyond the bound
        beyond += 1
        chance += _exactly(beyond, count, rest)
    if beyond == 0:
        return None
    return float(np.sort(np.asarray(samples_ms, np.float64))[count - beyond])


def lower_bound(samples_ms: Sequence[float], share: float, confidence: float = CONFIDENCE) -> float | None:
    """Return a value that the true percentile is not below, with the given confidence; None with too few samples.

    Args:
        samples_ms: in any order.
        share: the percentile, 0..1.
        confidence: that the bound holds.
    """
    mirrored = upper_bound([-value for value in samples_ms], 1 - share, confidence)
    return None if mirrored is None else -mirrored


def _at_most(most: int, count: int, chance: float) -> float:
    return sum(_exactly(hits, count, chance) for hits in range(most + 1))


def _exactly(hits: int, count: int, chance: float) -> float:
    """Return the binomial probability, by logarithms: a million samples do not overflow."""
    if hits > count:
        return 0.0
    ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
    return math.exp(ways + hits * math.log(chance) + (count - hits) * math.log1p(-chance))
