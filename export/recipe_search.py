"""Which way of quantising one network: the fastest among those that are accurate enough.

Works on a split of its own: the samples that choose are neither those that calibrate nor those that judge. The rule:

1. A recipe is *fit* when it would hold the limit with its error `MARGIN` times as large, so that other samples do not
   break it. If none is, the most accurate one is taken; whether that will do is for the judgement on other samples.
2. Of the fit ones, those within `WINDOW_DB` of the best stay; accuracy above `ENOUGH_DB` counts as `ENOUGH_DB`.
3. Of these, the fastest; whoever is within `TIE` of the fastest ties with it, so that timing noise does not change the
   choice. Of the tied, those within `SAME_DB` of the most accurate; of these the smallest file; of files within
   `SAME_SIZE` of the smallest, the first in the list.

Accuracy is the smallest SQNR over all outputs.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from ..runtime.card import ParityLimit
from ..runtime.errors import ConversionError, EdgeError
from ..runtime.parity import OutputParity, judge

__all__ = ["Recipe", "RecipeResult", "SearchResult", "interleaved_latency", "interleaved_runs", "search"]

MARGIN = 1.25  # factor on the error; 1.9 dB of SQNR
WINDOW_DB = 3.0
ENOUGH_DB = 40.0  # INT8 tables of the toolchain study: decoders agree to 99 % from here on
TIE = 1.10
SAME_DB = 1.0
SAME_SIZE = 1.02


class Recipe(Protocol):
    """Anything with a name that `build` understands."""

    @property
    def name(self) -> str:
        """Word for tables and manifests."""


R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True, kw_only=True)
class RecipeResult:
    """One row of the table.

    Attributes:
        name: of the recipe.
        verdict: "chosen", "fit", "tight" (holds the limit, without margin), "short" (breaks it) or "failed" (no file).
        reason: why it failed or was refused; empty otherwise.
        size_bytes: of the file; 0 where it failed.
        latency_ms: shortest of the interleaved runs; None where it was not measured.
        min_sqnr_db: smallest SQNR over the outputs, dB; None where it failed.
        parity: figures by output name.
    """

    name: str
    verdict: str
    reason: str = ""
    size_bytes: int = 0
    latency_ms: float | None = None
    min_sqnr_db: float | None = None
    parity: Mapping[str, OutputParity]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "reason": self.reason,
            "size_bytes": self.size_bytes,
            "latency_ms": self.latency_ms,
            "min_sqnr_db": self.min_sqnr_db,
            "parity": {name: item.to_dict() for name, item in self.parity.items()},
        }


@dataclass(frozen=True, kw_only=True)
class SearchResult(Generic[R]):
    """The chosen recipe, its file, and every candidate's row in the order of the candidates."""

    chosen: R
    path: Path
    table: tuple[RecipeResult, ...]


@dataclass(frozen=True)
class _Built(Generic[R]):
    index: int
    recipe: R
    path: Path
    size_bytes: int
    parity: Mapping[str, OutputParity]
    verdict: str  # "fit", "tight" or "short"

    @property
    def accuracy_db(self) -> float:
        return min(item.sqnr_db for item in self.parity.values())


def search(
    candidates: Sequence[R],
    build: Callable[[R], Path],
    evaluate: Callable[[Path], Mapping[str, OutputParity]],
    limit: ParityLimit,
    measure: Callable[[Sequence[Path]], Sequence[float]],
) -> SearchResult[R]:
    """Return the recipe that the rule of this module picks, and the table of all.

    Args:
        candidates: at least one, names differ.
        build: writes the file of a recipe. An `EdgeError` from it or from `evaluate` becomes a row, not an end.
        evaluate: figures of a file on the search split.
        limit: what the file must hold.
        measure: latencies in ms of files, in their order; called once, with those that hold the limit, and not at
            all where only one or none does. `interleaved_latency` is the tool.

    Raises:
        ConversionError: no candidate gave a file; the message has each one's reason.
    """
    rows: list[RecipeResult] = []
    built: list[_Built[R]] = []
    for index, recipe in enumerate(candidates):
        try:
            path = build(recipe)
            parity = dict(evaluate(path))
        except EdgeError as exc:
            rows.append(RecipeResult(name=recipe.name, verdict="failed", reason=str(exc), parity={}))
            continue
        complaints = judge(parity, limit)
        size_bytes = path.stat().st_size
        verdict = "short" if complaints else "fit" if _holds_with_margin(parity, limit) else "tight"
        rows.append(
            RecipeResult(
                name=recipe.name,
                verdict=verdict,
                reason="; ".join(complaints),
                size_bytes=size_bytes,
                min_sqnr_db=min((item.sqnr_db for item in parity.values()), default=None),
                parity=parity,
            )
        )
        built.append(_Built(index, recipe, path, size_bytes, parity, verdict))
    if not built:
        raise ConversionError("no recipe gave a file: " + "; ".join(f"{row.name}: {row.reason}" for row in rows))
    holding = [item for item in built if item.verdict != "short"]
    latencies = list(measure([item.path for item in holding])) if len(holding) > 1 else [math.nan] * len(holding)
    winner = _pick(holding, latencies) if holding else max(built, key=lambda item: item.accuracy_db)
    for item, latency in zip(holding, latencies, strict=True):
        if math.isfinite(latency):
            rows[item.index] = replace(rows[item.index], latency_ms=latency)
    rows[winner.index] = replace(rows[winner.index], verdict="chosen")
    return SearchResult(chosen=winner.recipe, path=winner.path, table=tuple(rows))


def interleaved_latency(
    runners: Sequence[Callable[[], object]], *, rounds: int = 15, budget_s: float = 10.0
) -> list[float]:
    """Return the shortest latency of each runner, ms; arguments as of `interleaved_runs`.

    The minimum, because other work on the machine only ever adds.
    """
    return [min(runs.wall_ms) for runs in interleaved_runs(runners, rounds=rounds, budget_s=budget_s)]


@dataclass(frozen=True)
class Runs:
    """Runs of one runner: wall clock and processor time of the calling thread, ms each."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


def interleaved_runs(
    runners: Sequence[Callable[[], object]], *, rounds: int = 15, budget_s: float = 10.0
) -> list[Runs]:
    """Return the runs of each runner; one of each a round, so that their ratios can be trusted.

    Args:
        runners: each runs one inference, on one thread, and blocks until it is done.
        rounds: most rounds; the first, untimed one warms up.
        budget_s: no round starts after this time, but three are always done.
    """
    found = [Runs() for _ in runners]
    for run in runners:
        run()
    order = list(range(len(runners)))
    shuffle = random.Random(0)  # noqa: S311  # not a secret: a fixed order that favours nobody
    end = time.perf_counter() + budget_s
    for count in range(rounds):
        if count >= 3 and time.perf_counter() > end:
            break
        shuffle.shuffle(order)
        for index in order:
            cpu, wall = time.thread_time(), time.perf_counter()
            runners[index]()
            found[index].wall_ms.append((time.perf_counter() - wall) * 1e3)
            found[index].cpu_ms.append((time.thread_time() - cpu) * 1e3)
    return found


def _holds_with_margin(parity: Mapping[str, OutputParity], limit: ParityLimit) -> bool:
    tighter = ParityLimit(
        max_error=None if limit.max_error is None else limit.max_error / MARGIN,
        # The angle grows with the error, and 1 - cosine with its square.
        min_cosine=None if limit.min_cosine is None else 1 - (1 - limit.min_cosine) / MARGIN**2,
        min_sqnr_db=None if limit.min_sqnr_db is None else limit.min_sqnr_db + 20 * math.log10(MARGIN),
    )
    return not judge(parity, tighter)


def _pick(built: Sequence[_Built[R]], latencies: Sequence[float]) -> _Built[R]:
    fit = [(item, latency) for item, latency in zip(built, latencies, strict=True) if item.verdict == "fit"]
    if not fit:
        return max(built, key=lambda item: item.accuracy_db)
    best = max(min(item.accuracy_db, ENOUGH_DB) for item, _ in fit)
    near = [(item, latency) for item, latency in fit if min(item.accuracy_db, ENOUGH_DB) >= best - WINDOW_DB]
    if len(near) == 1:
        return near[0][0]
    fastest = min(latency for _, latency in near)
    tied = [item for item, latency in near if latency <= fastest * TIE]
    sharpest = max(item.accuracy_db for item in tied)
    alike = [item for item in tied if item.accuracy_db >= min(sharpest, ENOUGH_DB) - SAME_DB]
    smallest = min(item.size_bytes for item in alike)
    return next(item for item in alike if item.size_bytes <= smallest * SAME_SIZE)
