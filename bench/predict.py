"""Predicted latency of one inference on a Raspberry Pi 4, with an interval, or the reason why there is none.

    prediction = predict(read_operators("pose-int8.tflite"), runtime="litert", threads=4)
    prediction.p50_ms, prediction.low_ms, prediction.high_ms
    verdict(prediction, budget_ms=50)     # "pass", "fail" or "undetermined"

Always of evidence "predicted". NumPy only; the coefficients are a JSON file that `python -m edge.bench.fit` writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.engines import check_threads
from ..runtime.errors import InputError
from .coefficients import Coefficients, OperatorFit, read_coefficients
from .conformal import NOMINAL, cv_plus
from .emulation_model import FITTED_GHZ, counts_vector
from .features import CLASS_OF, CLASSES, features, uncovered
from .latency_model import interval
from .operators import Operator

__all__ = ["RUNTIMES", "Prediction", "predict", "verdict"]

Float64 = NDArray[np.float64]

# Runtime -> kernels whose coefficients it takes. LiteRT runs XNNPACK unless it is told not to.
RUNTIMES = {"litert": "xnnpack", "tflite-ruy": "ruy", "onnxruntime": "onnxruntime", "ncnn": "ncnn"}
CLOCK_GHZ = 1.5  # of the Pi 4 that all published rows but ncnn's of 2023 come from
MAX_THREADS = 4  # cores
# Part of the time that may go into what took less in every measured network. Its cost may be off by as much again, so
# the interval grows by it; beyond this part there is no prediction.
MAX_EXCESS = 0.35
WORTH_SAYING = 0.05
BELOW, ABOVE = 4.0, 2.0  # how far a prediction may lie outside the span of measured latencies, factors
# What engines other than ncnn may add to the emulation model's error. With earlier coefficients two FP32 networks on
# TFLite were 0 and 4 % off, two INT8 ones 12 to 28 % (emulation coefficients of this project's data): twice ncnn's
# spread, and 0.3 at least.
FOREIGN_SPREAD, FOREIGN_LEAST = 2.0, 0.3
# Weights of half precision are widened when LiteRT and onnxruntime load them, and then run as float.
_RUNS_AS = {"fp16": "fp32"}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A latency that nobody measured.

    Attributes:
        runtime, threads: what it is for.
        p50_ms, low_ms, high_ms: median latency and the ends of its interval, milliseconds; None where it abstains.
        nominal: coverage that the interval aims at.
        coverage: share of published rows that such intervals held, made without the row's family; None where that
            could not be checked.
        validated: the interval's coverage was checked for this runtime and precision.
        basis: "operators", "emulation" or "emulation+operators".
        clock_ghz: of the Pi.
        version: of the coefficients.
        abstained: why there is no prediction; None where there is one.
        notes: what a reader should know.
        evidence: always "predicted".
    """

    runtime: str
    threads: int
    p50_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    nominal: float = NOMINAL
    coverage: float | None = None
    validated: bool = False
    basis: str = "operators"
    clock_ghz: float = CLOCK_GHZ
    version: str = ""
    abstained: str | None = None
    notes: tuple[str, ...] = ()
    evidence: str = "predicted"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "notes": list(self.notes)}


@dataclass(frozen=True, kw_only=True)
class _Estimate:
    """A median and its interval, milliseconds, or the reason for none."""

    p50: float = math.nan
    low: float = math.nan
    high: float = math.nan
    coverage: float | None = None
    validated: bool = False
    notes: tuple[str, ...] = ()
    reason: str | None = None


def predict(
    operators: Sequence[Operator],
    *,
    runtime: str = "litert",
    threads: int = 1,
    counts: Mapping[str, float] | None = None,
    coefficients: Coefficients | None = None,
) -> Prediction:
    """Return the predicted latency of a network on a Raspberry Pi 4.

    Args:
        operators: of the artifact, see `read_operators`.
        runtime: of `RUNTIMES`.
        threads: CPU threads, 1..4; for more it abstains.
        counts: of one emulated inference on one thread: "insns", "st_vec", "l1d_miss", "l2_miss".
        coefficients: default: those that come with this package.

    Returns:
        A prediction; its `abstained` says why there are no figures, where there are none.

    Raises:
        InputError: an unknown runtime, a bad number of threads, incomplete counts, or coefficients that cannot be read.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"no predictor for runtime `{runtime}`", expected=" | ".join(RUNTIMES))
    check_threads(threads)
    fitted = coefficients or _shipped()
    vector = None if counts is None else counts_vector(counts)
    if threads > MAX_THREADS:
        found, basis = _Estimate(reason=f"a Raspberry Pi 4 has {MAX_THREADS} cores, not {threads}"), "operators"
    elif runtime == "ncnn":
        found, basis = _ncnn(vector, threads, fitted), "emulation"
    else:
        found, basis = _by_operators(operators, runtime, threads, fitted), "operators"
        if vector is not None:
            found, basis = _with_counts(found, vector, operators, runtime, threads, fitted)
    found = _corrected(found, runtime, threads, fitted)
    about: dict[str, Any] = {"runtime": runtime, "threads": threads, "basis": basis, "version": fitted.version}
    if runtime == "ncnn":
        about["clock_ghz"] = FITTED_GHZ
    if found.reason is not None:
        return Prediction(**about, abstained=found.reason)
    return Prediction(
        **about,
        p50_ms=found.p50,
        low_ms=found.low,
        high_ms=found.high,
        coverage=found.coverage,
        validated=found.validated,
        notes=found.notes,
    )


def verdict(prediction: Prediction, budget_ms: float) -> str:
    """Return "pass" if the whole interval is within the budget, "fail" if it is over it, else "undetermined".

    Args:
        prediction: see `predict`; one that abstained determines nothing.
        budget_ms: above 0.

    Raises:
        InputError: the budget is not above 0 and finite.
    """
    if not math.isfinite(budget_ms) or budget_ms <= 0:
        raise InputError("bad latency budget", expected="milliseconds above 0", got=budget_ms)
    if prediction.low_ms is None or prediction.high_ms is None:
        return "undetermined"
    if prediction.high_ms <= budget_ms:
        return "pass"
    return "fail" if prediction.low_ms > budget_ms else "undetermined"


@lru_cache(maxsize=1)
def _shipped() -> Coefficients:
    return read_coefficients()


def _by_operators(operators: Sequence[Operator], runtime: str, threads: int, fitted: Coefficients) -> _Estimate:
    """Return the sum of the parts of each precision."""
    if unknown := uncovered(operators):
        return _Estimate(reason=f"no published network has operators of class {', '.join(unknown)}")
    by_precision: dict[str, list[Operator]] = {}
    for operator in operators:
        by_precision.setdefault(_RUNS_AS.get(operator.precision, operator.precision), []).append(operator)
    if missing := sorted(set(by_precision) - set(fitted.operators)):
        return _Estimate(reason=f"no published latency is of precision {', '.join(missing)}")
    if not any(operator.macs for operator in operators):
        return _Estimate(reason="nothing in this network multiplies")
    parts = [
        _one_precision(features(own), runtime, threads, fitted.operators[precision], precision, fitted)
        for precision, own in sorted(by_precision.items())
    ]
    total = sum(part.p50 for part in parts)
    main = max(parts, key=lambda part: part.p50)
    precision = max(by_precision, key=lambda name: sum(operator.macs for operator in by_precision[name]))
    fit = fitted.operators[precision]
    if total < fit.span_ms[0] / BELOW or total > fit.span_ms[1] * ABOVE:
        span = f"{fit.span_ms[0]:.1f} to {fit.span_ms[1]:.0f} ms"
        return _Estimate(reason=f"{total:.3g} ms is far outside what was measured ({span})")
    excess, what = _excess(features(by_precision[precision]), runtime, threads, fit)
    if excess > MAX_EXCESS:
        return _Estimate(reason=f"unlike all measured networks: {what}")
    notes = (*main.notes, f"the interval is wider: {what}") if excess > WORTH_SAYING else main.notes
    return _Estimate(
        p50=total,
        low=sum(part.low for part in parts) * math.exp(-excess),
        high=sum(part.high for part in parts) * math.exp(excess),
        coverage=main.coverage,
        validated=main.validated,
        notes=notes,
    )


def _one_precision(
    amounts: Float64, runtime: str, threads: int, fit: OperatorFit, precision: str, fitted: Coefficients
) -> _Estimate:
    library = _library(runtime, fit)
    p50 = fit.model.milliseconds(amounts, library, threads)
    low, high = interval(amounts, library, threads, fit.without, fit.scores)
    low, high = min(low, p50), max(high, p50)
    validated, notes = True, []
    if fit.families.get(library, 0) < 2:
        spread = math.exp(fitted.one_family)
        low, high, validated = min(low, p50 / spread), max(high, p50 * spread), False
        notes.append(f"{precision} on {library} was measured on one family of networks only: the interval is wider")
    if library != RUNTIMES[runtime]:
        least, most = fitted.other_runtime[precision]
        low, high, validated = min(low, p50 * least), max(high, p50 * most), False
        notes.append(
            f"nothing of {runtime} was published: TFLite's prediction, with the spread of ArmNN, ncnn and PyTorch"
        )
    coverage = fit.coverage if validated else None
    return _Estimate(p50=p50, low=low, high=high, coverage=coverage, validated=validated, notes=tuple(notes))


def _library(runtime: str, fit: OperatorFit) -> str:
    """Return the kernels whose factors are taken: the runtime's own where they were fitted, else TFLite's."""
    own = RUNTIMES[runtime]
    return own if own in fit.model.factors else "xnnpack"


def _excess(amounts: Float64, runtime: str, threads: int, fit: OperatorFit) -> tuple[float, str]:
    """Return which part of the time goes into what took less in every measured network, 0..1, and a line about it."""
    parts = fit.model.parts(amounts, _library(runtime, fit), threads)
    shares = parts @ CLASS_OF / parts.sum()
    over = np.maximum(shares - fit.shares, 0.0)
    worst = int(np.argmax(over))
    name = list(CLASSES)[worst]
    return float(over.sum()), f"{name} take {shares[worst]:.0%} of the time, elsewhere {fit.shares[worst]:.0%} at most"


def _ncnn(vector: Float64 | None, threads: int, fitted: Coefficients) -> _Estimate:
    if vector is None:
        return _Estimate(reason="ncnn is predicted from emulation counts only")
    if threads not in fitted.counts:
        known = ", ".join(str(count) for count in sorted(fitted.counts))
        return _Estimate(reason=f"ncnn was published for {known} threads, not {threads}")
    return _by_counts(vector, threads, FITTED_GHZ, fitted)


def _by_counts(vector: Float64, threads: int, ghz: float, fitted: Coefficients) -> _Estimate:
    fit = fitted.counts[threads]
    p50 = fit.model.milliseconds(vector, ghz)
    low, high = cv_plus({key: model.milliseconds(vector, ghz) for key, model in fit.without.items()}, fit.scores)
    if p50 < fit.span_ms[0] / BELOW or p50 > fit.span_ms[1] * ABOVE:
        span = f"{fit.span_ms[0]:.1f} to {fit.span_ms[1]:.0f} ms"
        return _Estimate(reason=f"{p50:.3g} ms is far outside what was measured ({span})")
    return _Estimate(p50=p50, low=min(low, p50), high=max(high, p50), coverage=fit.coverage, validated=True)


def _with_counts(
    found: _Estimate,
    vector: Float64,
    operators: Sequence[Operator],
    runtime: str,
    threads: int,
    fitted: Coefficients,
) -> tuple[_Estimate, str]:
    """Return both predictions joined, or the one there is; counts are of one thread, operators scale them to more."""
    emulated = _by_counts(vector, 1, CLOCK_GHZ, fitted)
    if emulated.reason is not None:
        return found, "operators"
    spread = max(FOREIGN_SPREAD * max(_spreads(emulated)), FOREIGN_LEAST)
    note = f"the emulation model was fitted on ncnn and not checked on {runtime}"
    p50, low, high, notes = emulated.p50, math.exp(-spread), math.exp(spread), [note]
    if threads > 1:
        scaling = _scaling(operators, runtime, threads, fitted)
        if scaling is None:
            return _Estimate(
                reason=f"counts are of one thread, and operators cannot scale them: {found.reason}"
            ), "emulation"
        p50 *= scaling
        if found.reason is not None:
            low, high = low / (threads * scaling), high / scaling
            notes.append(f"from perfect scaling to {threads} threads to none, since {found.reason}")
    emulated = _Estimate(p50=p50, low=p50 * low, high=p50 * high, notes=tuple(notes))
    if found.reason is not None:
        return emulated, "emulation"
    return _joined(found, emulated), "emulation+operators"


def _scaling(operators: Sequence[Operator], runtime: str, threads: int, fitted: Coefficients) -> float | None:
    """Return by what factor more threads shorten what is known of a network; None where nothing is."""
    one = many = 0.0
    for precision, fit in fitted.operators.items():
        own = features([op for op in operators if _RUNS_AS.get(op.precision, op.precision) == precision])
        one += fit.model.milliseconds(own, _library(runtime, fit), 1)
        many += fit.model.milliseconds(own, _library(runtime, fit), threads)
    return many / one if one > 0 else None


def _joined(first: _Estimate, second: _Estimate) -> _Estimate:
    """Return the mean of two predictions on a log scale, weighted by how narrow they are.

    The interval is as wide as the narrower of the two, round the mean; where they disagree by more than the wider one
    allows, it holds both.
    """
    spreads = [max(_spreads(first)), max(_spreads(second))]
    weights = [1 / spread**2 for spread in spreads]
    mean = math.exp((weights[0] * math.log(first.p50) + weights[1] * math.log(second.p50)) / sum(weights))
    notes = (*first.notes, *second.notes)
    if abs(math.log(first.p50 / second.p50)) > max(spreads):
        notes = (*notes, "operators and emulation disagree: the interval holds both")
        return _Estimate(p50=mean, low=min(first.low, second.low), high=max(first.high, second.high), notes=notes)
    width = math.exp(min(spreads))
    return _Estimate(p50=mean, low=mean / width, high=mean * width, notes=notes)


def _spreads(estimate: _Estimate) -> tuple[float, float]:
    """Return how far the ends of an interval are from its median, log ratios."""
    return math.log(estimate.p50 / estimate.low), math.log(estimate.high / estimate.p50)


def _corrected(found: _Estimate, runtime: str, threads: int, fitted: Coefficients) -> _Estimate:
    """Return a prediction scaled by what a user's own runs were off by."""
    own = fitted.corrections.get(f"{runtime}/{threads}")
    if own is None or found.reason is not None:
        return found
    scale, spread = own["scale"], math.exp(own["spread"])
    note = f"scaled by {scale:.3f}, from {own['runs']:.0f} own runs of {runtime} on {threads} threads"
    return _Estimate(
        p50=found.p50 * scale,
        low=found.low * scale / spread,
        high=found.high * scale * spread,
        notes=(*found.notes, note),
    )
