"""Fitted coefficients as a JSON file: what `fit` writes and `predict` reads. Never a pickle."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import InputError
from .emulation_model import COUNTS, CountModel
from .features import CLASSES, FEATURES, GROUPS
from .latency_model import LatencyModel

__all__ = ["COEFFICIENTS", "SCHEMA", "Coefficients", "CountFit", "OperatorFit", "read_coefficients"]

Float64 = NDArray[np.float64]

SCHEMA = 1
COEFFICIENTS = Path(__file__).with_name("rpi4_coefficients.json")
MAX_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class OperatorFit:
    """The latency model of one precision, and what its intervals need.

    Attributes:
        model: fitted on all rows.
        without: family -> model that was fitted without it.
        scores: family -> |log(measured / predicted)| of its rows, by the model without it.
        span_ms: shortest and longest measured latency.
        shares: (8,), the largest share of the time that each of `CLASSES` had in any row.
        coverage: share of rows whose interval, made without their family, held them.
        families: library -> number of families that were measured on it.
    """

    model: LatencyModel
    without: Mapping[str, LatencyModel]
    scores: Mapping[str, list[float]]
    span_ms: tuple[float, float]
    shares: Float64
    coverage: float
    families: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class CountFit:
    """The emulation model of one thread count; attributes as of `OperatorFit`."""

    model: CountModel
    without: Mapping[str, CountModel]
    scores: Mapping[str, list[float]]
    span_ms: tuple[float, float]
    coverage: float


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """All that a prediction needs.

    Attributes:
        version: names the data and the day; every prediction carries it.
        operators: precision -> fit.
        one_family: log ratio that 90 % of networks stay within, on a library that was measured on one family only.
        other_runtime: precision -> (low, high) ratio of other runtimes' latencies to TFLite's, 90 % of them.
        counts: threads -> emulation fit.
        corrections: "runtime/threads" -> {"scale", "spread", "runs"}, from a user's own runs.
    """

    version: str
    operators: Mapping[str, OperatorFit]
    one_family: float
    other_runtime: Mapping[str, tuple[float, float]]
    counts: Mapping[int, CountFit]
    corrections: Mapping[str, Mapping[str, float]]


def read_coefficients(path: str | os.PathLike[str] = COEFFICIENTS) -> Coefficients:
    """Return the coefficients in a file.

    Raises:
        InputError: the file is missing, no JSON, of another schema, incomplete, or holds a number that makes no sense.
    """
    file = Path(path)
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"`{file.name}` is over 4 MiB")
        content = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse)
        if content["schema"] != SCHEMA:
            raise InputError(f"`{file.name}` is of another schema", expected=SCHEMA, got=content["schema"])
        return _parsed(content)
    except InputError:
        raise
    except OSError as exc:
        raise InputError(f"cannot read coefficients from `{file.name}`", got=exc.strerror or exc) from exc
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as exc:
        got = f"{type(exc).__name__}: {exc}"[:80]
        hint = "fit them again: python -m edge.bench.fit"
        raise InputError(f"`{file.name}` holds no coefficients", got=got, hint=hint) from exc


def _parsed(content: Mapping[str, Any]) -> Coefficients:
    return Coefficients(
        version=str(content["version"]),
        operators={
            precision: OperatorFit(
                model=_model(fit),
                without={family: _model(model) for family, model in fit["without"].items()},
                scores=_scores(fit),
                span_ms=_span(fit),
                shares=_numbers(fit["shares"], CLASSES),
                coverage=_number(fit["coverage"]),
                families={library: _number(count) for library, count in fit["families"].items()},
            )
            for precision, fit in content["operators"].items()
        },
        one_family=_number(content["one_family"]),
        other_runtime={key: _pair(value) for key, value in content["other_runtime"].items()},
        counts={
            int(threads): CountFit(
                model=CountModel(costs=_numbers(fit["costs"], COUNTS)),
                without={key: CountModel(costs=_numbers(value, COUNTS)) for key, value in fit["without"].items()},
                scores=_scores(fit),
                span_ms=_span(fit),
                coverage=_number(fit["coverage"]),
            )
            for threads, fit in content["counts"].items()
        },
        corrections={
            key: {name: _number(value[name]) for name in ("scale", "spread", "runs")}
            for key, value in content["corrections"].items()
        },
    )


def _model(content: Mapping[str, Any]) -> LatencyModel:
    factors = {}
    for library, rows in content["factors"].items():
        table = np.array([[_number(value) for value in row] for row in rows])
        if table.shape != (len(GROUPS), 2):
            raise ValueError(f"factors of {library}")
        factors[library] = table
    return LatencyModel(costs=_numbers(content["costs"], FEATURES), factors=factors)


def _scores(fit: Mapping[str, Any]) -> dict[str, list[float]]:
    scores = {family: [_number(value) for value in values] for family, values in fit["scores"].items()}
    # A family that alone was measured on a library has a model without it, but no scores.
    if not set(scores) <= set(fit["without"]) or not scores or not all(scores.values()):
        raise ValueError("scores and left-out families differ")
    return scores


def _span(fit: Mapping[str, Any]) -> tuple[float, float]:
    return _pair(fit["span_ms"])


def _pair(values: Any) -> tuple[float, float]:
    low, high = (_number(value) for value in values)
    if not 0 < low <= high:
        raise ValueError("a span is not above 0 and ascending")
    return low, high


def _numbers(content: Mapping[str, Any], names: Any) -> Float64:
    return np.array([_number(content[name]) for name in names])


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} is no number of at least 0")
    return float(value)


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number")
