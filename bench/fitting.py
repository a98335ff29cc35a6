"""Fitting the Raspberry Pi 4 predictor, and finding out how wrong it is where it has not been.

A network is judged by models that did not see it (leave one model out) or did not see any of its family (leave one
family out). Intervals are judged by intervals made without the family that they are held against.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .conformal import NOMINAL, cv_plus, family_weights, weighted_quantile
from .emulation_model import COUNTS, PLAIN, Counted, CountModel, fit_counts
from .features import CLASS_OF, CLASSES, FEATURES
from .latency_model import LatencyModel, Measured, fit_model, interval

__all__ = ["ErrorRow", "Fitted", "fit_count_models", "fit_operator_models", "one_family_score", "runtime_ratios"]

Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ErrorRow:
    """How wrong predictions are on one kind of rows.

    Attributes:
        what: library, precision and threads, or "all".
        rows: how many were judged without their family.
        abstained: how many could not be, because no other family has their library.
        model_out, family_out: (median, 90th percentile) of the absolute relative error, percent.
        coverage: share of rows that their interval held, 0..1.
    """

    what: str
    rows: int
    abstained: int
    model_out: tuple[float, float]
    family_out: tuple[float, float]
    coverage: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, percents to a tenth; None for what could not be judged."""

        def plain(values: tuple[float, float]) -> list[float | None]:
            return [None if math.isnan(value) else round(value, 1) for value in values]

        return {
            "what": self.what,
            "rows": self.rows,
            "abstained": self.abstained,
            "model_out": plain(self.model_out),
            "family_out": plain(self.family_out),
            "coverage": None if math.isnan(self.coverage) else round(self.coverage, 3),
        }


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a fit gives: entries of the coefficients' file, and errors.

    Attributes:
        entry: as in the file.
        errors: one row each for library and threads.
        misses: (rows, 3): error without the model, without the family, both relative; 1 where the interval held. NaN
            where nothing could be said.
    """

    entry: dict[str, Any]
    errors: list[ErrorRow] = field(default_factory=list)
    misses: Float64


def fit_operator_models(rows: Sequence[Measured]) -> Fitted:
    """Return the models of one precision, their conformal scores, errors and the coverage of their intervals."""
    families = sorted({row.family for row in rows})
    model = fit_model(rows)
    without = {family: fit_model([row for row in rows if row.family != family]) for family in families}
    scores = _operator_scores(rows, without)
    misses = np.full((len(rows), 3), np.nan)
    for name in sorted({row.model for row in rows}):
        own = fit_model([row for row in rows if row.model != name])
        for index in (i for i, row in enumerate(rows) if row.model == name):
            misses[index, 0] = _miss(own, rows[index])
    for index, row in enumerate(rows):
        misses[index, 1] = _miss(without[row.family], row)
    pairs = {pair: fit_model([row for row in rows if row.family not in pair]) for pair in combinations(families, 2)}
    for held in families:
        others = {family: pairs[(min(held, family), max(held, family))] for family in families if family != held}
        seen = _operator_scores([row for row in rows if row.family != held], others)
        for index, row in enumerate(rows):
            if row.family == held and not math.isnan(misses[index, 1]):
                low, high = interval(row.features, row.library, row.threads, others, seen)
                misses[index, 2] = low <= row.ms <= high
    shares = np.max([_shares(model, row) for row in rows], axis=0)
    measured = [row.ms for row in rows]
    libraries = sorted({row.library for row in rows})
    entry = {
        **_model_entry(model),
        "without": {family: _model_entry(other) for family, other in without.items()},
        "scores": {family: [_short(score) for score in values] for family, values in scores.items()},
        "span_ms": [min(measured), max(measured)],
        "shares": _named(CLASSES, shares),
        "coverage": _short(float(np.nanmean(misses[:, 2]))),
        "families": {lib: len({row.family for row in rows if row.library == lib}) for lib in libraries},
    }
    names = [f"{row.library} {row.precision}, {_threads(row.threads)}" for row in rows]
    return Fitted(entry=entry, errors=_errors(names, misses), misses=misses)


def fit_count_models(rows: Sequence[Counted], threads: int) -> Fitted:
    """Return the emulation model of one thread count; whether stores count is decided by cross-validation.

    The errors are nested: for each family that is left out, the choice is made anew among the others.
    """
    families = [row.family for row in rows]
    names = _chosen_counts(rows, threads)
    model = fit_counts(rows, threads, names)
    without: dict[str, CountModel] = {}
    misses = np.full((len(rows), 3), np.nan)
    for family in sorted(set(families)):
        rest = [row for row in rows if row.family != family]
        chosen = _chosen_counts(rest, threads)
        without[family] = fit_counts(rest, threads, chosen)
        inner = {
            other: fit_counts([row for row in rest if row.family != other], threads, chosen)
            for other in sorted({row.family for row in rest})
        }
        seen = _count_scores(rest, inner, threads)
        for index, row in enumerate(rows):
            if row.family == family:
                misses[index, 1] = without[family].milliseconds(row.counts) / row.ms[threads] - 1
                low, high = cv_plus({key: other.milliseconds(row.counts) for key, other in inner.items()}, seen)
                misses[index, 2] = low <= row.ms[threads] <= high
    for index, row in enumerate(rows):
        own = fit_counts([other for other in rows if other is not row], threads, names)
        misses[index, 0] = own.milliseconds(row.counts) / row.ms[threads] - 1
    scores = _count_scores(rows, without, threads)
    measured = [row.ms[threads] for row in rows]
    entry = {
        "costs": _named(COUNTS, model.costs),
        "without": {family: _named(COUNTS, other.costs) for family, other in without.items()},
        "scores": {family: [_short(score) for score in values] for family, values in scores.items()},
        "span_ms": [min(measured), max(measured)],
        "coverage": _short(float(np.nanmean(misses[:, 2]))),
    }
    label = f"ncnn, emulated, {_threads(threads)}"
    return Fitted(entry=entry, errors=_errors([label] * len(rows), misses), misses=misses)


def one_family_score(rows: Sequence[Measured], family: str = "efficientdet-lite") -> float:
    """Return the log ratio that 90 % of networks stay within on a library that was calibrated on one family only.

    Measured where it can be: FP32 on XNNPACK, its other families hidden, and then predicted.
    """
    known = [row for row in rows if row.library != "xnnpack" or row.family == family]
    hidden = [row for row in rows if row.library == "xnnpack" and row.family != family]
    model = fit_model(known)
    scores = np.array([abs(math.log1p(_miss(model, row))) for row in hidden])
    families = [row.family for row in hidden]
    count = len(set(families))
    share = min(NOMINAL * (count + 1) / count, 1.0)  # few families: the quantile of a finite sample
    return _short(weighted_quantile(scores, family_weights(families), share))


def runtime_ratios(model: LatencyModel, rows: Sequence[Measured]) -> tuple[float, float]:
    """Return (low, high) that 90 % of other runtimes' latencies lie between, in units of TFLite's prediction.

    Args:
        model: of the rows' precision.
        rows: of other runtimes; each pair of runtime and family counts the same.
    """
    ratios = np.array([math.log(row.ms / model.milliseconds(row.features, "xnnpack", row.threads)) for row in rows])
    groups = [f"{row.library} {row.family}" for row in rows]
    weights, count = family_weights(groups), len(set(groups))
    share = min((1 + NOMINAL) / 2 * (count + 1) / count, 1.0)
    low = -weighted_quantile(-ratios, weights, share)
    return _short(math.exp(low)), _short(math.exp(weighted_quantile(ratios, weights, share)))


def summary(what: str, misses: Float64) -> ErrorRow:
    """Return one row of errors; see `Fitted.misses`."""
    judged = ~np.isnan(misses[:, 1])

    def quantiles(column: Float64) -> tuple[float, float]:
        size = np.abs(column[~np.isnan(column)]) * 100
        return (float(np.median(size)), float(np.percentile(size, 90))) if len(size) else (math.nan, math.nan)

    return ErrorRow(
        what=what,
        rows=int(judged.sum()),
        abstained=int((~judged).sum()),
        model_out=quantiles(misses[:, 0]),
        family_out=quantiles(misses[:, 1]),
        coverage=float(np.mean(misses[judged, 2])) if judged.any() else math.nan,
    )


def _errors(names: Sequence[str], misses: Float64) -> list[ErrorRow]:
    labels = np.array(names)
    return [summary(str(name), misses[labels == name]) for name in sorted(set(names))]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _miss(model: LatencyModel, row: Measured) -> float:
    """Return predicted / measured - 1; NaN where the model does not know the library."""
    if row.library not in model.factors:
        return math.nan
    return model.milliseconds(row.features, row.library, row.threads) / row.ms - 1


def _operator_scores(rows: Sequence[Measured], without: Mapping[str, LatencyModel]) -> dict[str, list[float]]:
    return _by_family(rows, lambda row: _miss(without[row.family], row))


def _count_scores(rows: Sequence[Counted], without: Mapping[str, CountModel], threads: int) -> dict[str, list[float]]:
    return _by_family(rows, lambda row: without[row.family].milliseconds(row.counts) / row.ms[threads] - 1)


def _by_family(rows: Sequence[Any], miss: Callable[[Any], float]) -> dict[str, list[float]]:
    scores: dict[str, list[float]] = {}
    for row in rows:
        if not math.isnan(found := miss(row)):
            scores.setdefault(row.family, []).append(abs(math.log1p(found)))
    return scores


def _chosen_counts(rows: Sequence[Counted], threads: int) -> tuple[str, ...]:
    """Return the counts whose mean absolute error without a family is least."""

    def error(names: tuple[str, ...]) -> float:
        total = 0.0
        for family in {row.family for row in rows}:
            model = fit_counts([row for row in rows if row.family != family], threads, names)
            own = [row for row in rows if row.family == family]
            total += sum(abs(model.milliseconds(row.counts) / row.ms[threads] - 1) for row in own)
        return total

    return min((PLAIN, COUNTS), key=error)


def _shares(model: LatencyModel, row: Measured) -> Float64:
    parts = model.parts(row.features, row.library, row.threads)
    shares: Float64 = parts @ CLASS_OF / parts.sum()
    return shares


def _model_entry(model: LatencyModel) -> dict[str, Any]:
    factors = {library: [[_short(v) for v in row] for row in table] for library, table in model.factors.items()}
    return {"costs": _named(FEATURES, model.costs), "factors": factors}


def _named(names: Any, values: Float64) -> dict[str, float]:
    return {name: _short(float(value)) for name, value in zip(names, values, strict=True)}


def _short(value: float) -> float:
    """Return a number with six significant digits: what is written is what is used."""
    return float(f"{value:.6g}")
