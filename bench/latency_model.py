"""A latency model that can only be physical: no negative cost, work shared by threads or not, one cost per feature.

    t = sum over features f of  cost[f] * amount[f] * (serial[group(f)] + parallel[group(f)] / threads)

One `cost` for each precision, shared by all libraries; a library (TFLite's XNNPACK kernels, say) has two factors
of its own for each group of features. A library that was measured on a few networks leans on the others for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .conformal import cv_plus, family_weights
from .features import FEATURES, GROUP_OF, GROUPS
from .nnls import robust_relative

__all__ = ["LatencyModel", "Measured", "fit_model", "interval"]

Float64 = NDArray[np.float64]

ROUNDS = 6  # of fitting costs and factors in turns; errors change by less than 0.1 % after four
# Two weak pulls, in relative errors of an average row. They decide what the rows leave open: two features that always
# come together, a library measured at one thread count. Errors hardly depend on them: leave-family-out medians of 5.2
# to 6.8 % and 90th percentiles of 15 to 20 % for costs' pulls of 0.003 to 0.02 and factors' of 0.02 to 0.05.
COST_PULL = 0.01
FACTOR_PULL = 0.02
AMDAHL = (0.3, 0.7)  # serial and parallel share where nothing is known; ncnn's 1 and 4 threads give 0.36 and 0.64
# What a Cortex-A72 at 1.5 GHz can do on one thread, in the features' units. A multiply-add of four floats a cycle is
# 167 ms for 1e9 (Cortex-A72 Software Optimisation Guide, ASIMD FMLA on one pipe a cycle), INT8 half of it; a depthwise
# kernel loads as much as it multiplies; 4 bytes in and 4 out at 3 GB/s are 2.7 ms for 1e6; a call costs some 10 us.
EXPECTED = {
    "fp32": {
        "mac_conv": 180.0, "mac_stem": 360.0, "mac_pointwise": 180.0, "mac_depthwise": 700.0, "mac_strided": 900.0,
        "in_gemm": 1.3, "out_gemm": 2.0, "in_depthwise": 1.3, "out_depthwise": 1.3, "weights": 1.3, "activation": 4.0,
        "transcendental": 8.0, "softmax": 8.0, "elementwise": 1.3, "calls": 0.01, "postprocess": 10.0,
    },
    "int8": {
        "mac_conv": 90.0, "mac_stem": 180.0, "mac_pointwise": 90.0, "mac_depthwise": 400.0, "mac_strided": 600.0,
        "in_gemm": 0.5, "out_gemm": 2.0, "in_depthwise": 0.5, "out_depthwise": 2.0, "weights": 0.4, "activation": 3.0,
        "transcendental": 3.0, "softmax": 8.0, "elementwise": 1.0, "calls": 0.01, "postprocess": 10.0,
    },
}  # fmt: skip
# Features that count as one. A k x k convolution runs through the same matrix kernel as a 1 x 1 one, and no published
# INT8 classifier has any; a softmax is a thousand elements at the end of every classifier, which would pass for a
# constant.
SAME = {"mac_conv": "mac_pointwise", "softmax": "transcendental"}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One measured network.

    Attributes:
        model: its name.
        family: networks that are alike; they are left out together.
        precision: "fp32" or "int8".
        library: its kernels: "xnnpack" or "ruy" for TFLite, else a runtime.
        threads: 1..4.
        features: (16,), see `features`.
        ms: median latency.
    """

    model: str
    family: str
    precision: str
    library: str
    threads: int
    features: Float64
    ms: float


@dataclass(frozen=True, kw_only=True)
class LatencyModel:
    """Fitted costs and factors of one precision.

    Attributes:
        costs: (16,), milliseconds per unit of each feature, none negative.
        factors: library -> (4, 2): for each group its serial and its parallel factor, none negative.
    """

    costs: Float64
    factors: Mapping[str, Float64] = field(default_factory=dict)

    def milliseconds(self, amounts: Float64, library: str, threads: int) -> float:
        """Return the latency of one network; `library` must be in `factors`."""
        return float(self.parts(amounts, library, threads).sum())

    def parts(self, amounts: Float64, library: str, threads: int) -> Float64:
        """Return (16,), what each feature adds, milliseconds."""
        parts: Float64 = amounts * self.costs * self.scale(library, threads)[GROUP_OF]
        return parts

    def scale(self, library: str, threads: int) -> Float64:
        """Return (4,), the factor of each group."""
        scale: Float64 = self.factors[library] @ np.array([1.0, 1.0 / threads])
        return scale


def fit_model(rows: Sequence[Measured]) -> LatencyModel:
    """Return the model that fits rows of one precision best.

    Args:
        rows: at least one.
    """
    merge = _merge()
    amounts = np.stack([row.features for row in rows])
    ms = np.array([row.ms for row in rows])
    weights = family_weights([row.family for row in rows])
    libraries = sorted({row.library for row in rows})
    where = {library: np.array([row.library == library for row in rows]) for library in libraries}
    threads = np.array([row.threads for row in rows], float)
    largest = max(libraries, key=lambda library: int(where[library].sum()))
    factors = {library: np.tile(np.array(AMDAHL), (len(GROUPS), 1)) for library in libraries}
    costs = np.zeros(len(FEATURES))
    expected = merge.T @ np.array(list(EXPECTED[rows[0].precision].values())) / merge.sum(axis=0)
    for _ in range(ROUNDS):
        scale = np.stack([factors[row.library] @ [1.0, 1.0 / row.threads] for row in rows])[:, GROUP_OF]
        costs = merge @ robust_relative(
            (amounts * scale) @ merge, ms, weights=weights, prior=expected, strength=COST_PULL
        )
        for library in libraries:
            chosen = where[library]
            factors[library] = _fit_factors(
                amounts[chosen] * costs, ms[chosen], threads[chosen], weights=weights[chosen]
            )
        unit = factors[largest].sum(axis=1)
        unit[unit <= 0] = 1.0
        factors = {library: value / unit[:, None] for library, value in factors.items()}
        costs = costs * unit[GROUP_OF]
    return LatencyModel(costs=costs, factors=factors)


def interval(
    amounts: Float64,
    library: str,
    threads: int,
    without: Mapping[str, LatencyModel],
    scores: Mapping[str, Sequence[float]],
) -> tuple[float, float]:
    """Return the CV+ interval of one network, milliseconds; families whose models know the library take part.

    Args:
        amounts: (16,), its features.
        library, threads: what it runs on; at least one of the models must know the library.
        without: family -> model that was fitted without it.
        scores: family -> |log(measured / predicted)| of its rows, by that model.
    """
    centres = {
        family: model.milliseconds(amounts, library, threads)
        for family, model in without.items()
        if library in model.factors and family in scores
    }
    return cv_plus(centres, scores)


def _merge() -> Float64:
    """Return (16, kept): the column of each feature that stands for itself, with those that count with it."""
    names = list(FEATURES)
    kept = [name for name in names if name not in SAME]
    merge = np.zeros((len(names), len(kept)))
    for index, name in enumerate(names):
        merge[index, kept.index(SAME.get(name, name))] = 1.0
    return merge


def _fit_factors(parts: Float64, ms: Float64, threads: Float64, *, weights: Float64) -> Float64:
    """Return (4, 2) factors of a library, from (rows, 16) parts at factor 1."""
    groups = np.stack([parts[:, index == GROUP_OF].sum(axis=1) for index in range(len(GROUPS))], axis=1)
    design = np.concatenate([groups, groups / threads[:, None]], axis=1)
    typical = groups.sum(axis=1) * (AMDAHL[0] + AMDAHL[1] / threads)
    scale = float(np.median(ms / np.maximum(typical, 1e-12)))
    prior = scale * np.repeat(np.array(AMDAHL), len(GROUPS))
    found = robust_relative(design, ms, weights=weights, prior=prior, strength=FACTOR_PULL)
    return found.reshape(2, len(GROUPS)).T
