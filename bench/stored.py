"""What may be said of two stored results: figures side by side, ratios with intervals, and what was different.

Never a verdict on times. Stored times of unchanged code lie more than 10 % apart in a fifth of all pairs of runs on a
shared machine, for what differs between two days is in neither run's spread; whoever wants an answer measures both
files in turns (`duel`). Sizes, parity and metrics are exact, or carry intervals of their own.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .device import Evidence
from .run_facts import RunRow, run_facts

__all__ = ["Pair", "TimeRatio", "compare_documents", "time_ratio"]

ROUNDS = 2000  # of the bootstrap
LEAST_LAUNCHES = 5  # on each side, for a bootstrap
Z_ALARM, Z_POWER = 2.326, 1.645  # a chance of 1 % of a false alarm, and 95 % of seeing what is there
USABLE = ("complete", "predicted")
MATCH = ("model", "variant", "device", "engine", "threads")
TIMES = {"p50_ms": "wall_ms", "cpu_p50_ms": "cpu_ms"}


@dataclass(frozen=True, kw_only=True)
class TimeRatio:
    """Times of the second over those of the first.

    Attributes:
        name: "p50_ms" (wall clock) or "cpu_p50_ms" (processor time).
        first, second: medians over launches, ms.
        ratio: the second over the first.
        low, high: its interval; None with one launch on a side.
        confidence: of the interval, 0..1, as far as launches of the same day tell.
        method: "bootstrap over launches", "order statistics", or "none".
        smallest: slow-down that so many launches, spread like these, would show in 95 of 100 cases, as a fraction;
            None with one launch on a side.
    """

    name: str
    first: float
    second: float
    ratio: float
    low: float | None
    high: float | None
    confidence: float
    method: str
    smallest: float | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One row of the first result beside one of the second.

    Attributes:
        first, second: the rows.
        refused: why figures are not compared; None where they are.
        times: ratios, where both sides have samples.
        figures: name -> (first, second), of all other figures that both have.
        differences: in machine, engine, data and file; "what: first -> second".
    """

    first: RunRow
    second: RunRow
    refused: str | None = None
    times: tuple[TimeRatio, ...] = ()
    figures: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    differences: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "first": _label(self.first),
            "second": _label(self.second),
            "refused": self.refused,
            "times": [asdict(one) for one in self.times],
            "figures": {name: {"first": old, "second": new} for name, (old, new) in self.figures.items()},
            "differences": list(self.differences),
        }


def compare_documents(
    first: Mapping[str, Any], second: Mapping[str, Any], *, across_evidence: bool = False, seed: int = 0
) -> tuple[list[Pair], list[str]]:
    """Return the rows of two documents in pairs, and lines on those that have no counterpart.

    Rows belong together that are of one model, variant, device, engine and number of threads; where there are none,
    those of two models; and the only row of one side belongs to the only row of the other, whatever they are.

    Args:
        first, second: see `run_facts`; of one kind.
        across_evidence: hold a measured latency against a predicted one.
        seed: of the bootstrap.

    Raises:
        InputError: a document is malformed.
    """
    rows = [_rows(document) for document in (first, second)]
    names = [MATCH, MATCH[1:], ()] if len(rows[0]) == len(rows[1]) == 1 else [MATCH, MATCH[1:]]
    for key in names:
        sides = [
            {tuple(getattr(row, name) for name in key): (row, launches) for row, launches in side} for side in rows
        ]
        if matched := [what for what in sides[0] if what in sides[1]]:
            break
    alone = [
        f"only in the {word}: {' '.join(str(part) for part in what if part is not None)}"
        for word, side, other in (("first", sides[0], sides[1]), ("second", sides[1], sides[0]))
        for what in side
        if what not in other
    ]
    return [_pair(sides[0][what], sides[1][what], across_evidence, seed) for what in matched], alone


def time_ratio(
    name: str, first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], seed: int = 0
) -> TimeRatio:
    """Return how times of two sets of launches compare.

    Args:
        name: of the times.
        first, second: at least one launch of at least one sample each, ms, above 0.
        seed: of the bootstrap.
    """
    old, new = ([statistics.median(launch) for launch in side] for side in (first, second))
    least = min(len(old), len(new))
    low: float | None
    high: float | None
    if least >= LEAST_LAUNCHES:
        low, high = _bootstrap(old, new, seed)
        confidence, method = 0.95, "bootstrap over launches"
    elif least == 1:
        low, high, confidence, method = None, None, 0.0, "none"
    else:  # the smallest and the largest launch enclose the median with this chance
        low, high = min(new) / max(old), max(new) / min(old)
        confidence, method = 1 - 2.0 ** (1 - least), "order statistics"
    middle = statistics.median(old), statistics.median(new)
    return TimeRatio(
        name=name,
        first=middle[0],
        second=middle[1],
        ratio=middle[1] / middle[0],
        low=low,
        high=high,
        confidence=confidence,
        method=method,
        smallest=_smallest(old, new),
    )


def _rows(document: Mapping[str, Any]) -> list[tuple[RunRow, list[Any]]]:
    """Return the rows of a document with their launches."""
    rows = run_facts(document).rows
    launches = [row.get("launches") for row in document["rows"]] if "rows" in document else [None] * len(rows)
    return [(row, part if isinstance(part, list) else []) for row, part in zip(rows, launches, strict=True)]


def _pair(old: tuple[RunRow, list[Any]], new: tuple[RunRow, list[Any]], across: bool, seed: int) -> Pair:
    first, second = old[0], new[0]
    differences = tuple(_differences(first, second))
    if refused := _refused(first, second, across):
        exact = {name: value for name, value in _common(first, second).items() if name in ("size_bytes", "parameters")}
        return Pair(first=first, second=second, refused=refused, figures=exact, differences=differences)
    times = []
    clocked = Evidence.SIMULATED not in (first.evidence, second.evidence)  # its clock says nothing of the device
    for name, samples in TIMES.items() if clocked else ():
        sides = [_samples(launches, samples) for launches in (old[1], new[1])]
        if all(sides):
            times.append(time_ratio(name, sides[0], sides[1], seed))
    told = {one.name for one in times}
    figures = {
        name: value
        for name, value in _common(first, second).items()
        if name not in told and (clocked or not name.endswith("_ms"))
    }
    if across and first.evidence != second.evidence:
        names = [row.figures.get("p50_ms", row.figures.get("predicted_p50_ms")) for row in (first, second)]
        if names[0] is not None and names[1] is not None:
            figures["p50_ms"] = (names[0], names[1])
    return Pair(first=first, second=second, times=tuple(times), figures=figures, differences=differences)


def _refused(first: RunRow, second: RunRow, across: bool) -> str | None:
    for word, row in (("first", first), ("second", second)):
        if row.status not in USABLE:
            return f"the {word} is {row.status}"
    if first.evidence != second.evidence and not across:
        return f"{first.evidence} against {second.evidence}: evidence of two grades"
    if first.conditions.get("metric") != second.conditions.get("metric"):
        return f"{first.conditions.get('metric')} against {second.conditions.get('metric')}: two metrics"
    if "metric" in first.conditions and any(
        first.conditions.get(name) != second.conditions.get(name) for name in ("digest", "samples")
    ):
        return "judged on different samples"
    return None


def _common(first: RunRow, second: RunRow) -> dict[str, tuple[float, float]]:
    return {name: (value, second.figures[name]) for name, value in first.figures.items() if name in second.figures}


def _differences(first: RunRow, second: RunRow) -> list[str]:
    names = ("model", "variant", "device", "engine", "engine_version", "threads", "evidence", "sha256")
    sides = [
        {**{name: getattr(row, name) for name in names}, **{name: value for name, value in row.conditions.items()}}
        for row in (first, second)
    ]
    return [
        f"{name}: {_short(sides[0].get(name))} -> {_short(sides[1].get(name))}"
        for name in dict.fromkeys([*sides[0], *sides[1]])
        if sides[0].get(name) != sides[1].get(name)
    ]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:12]}…" if " " not in text else f"{text[:59]}…"


def _samples(launches: Sequence[Any], name: str) -> list[list[float]]:
    """Return the samples of launches that have any; values that are no times are left out with their launch."""
    found = []
    for launch in launches:
        values = launch.get(name) if isinstance(launch, dict) else None
        sound = isinstance(values, list) and all(
            isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e12 for value in values
        )
        if sound and values:
            found.append([float(value) for value in values])
    return found


def _bootstrap(old: Sequence[float], new: Sequence[float], seed: int) -> tuple[float, float]:
    rng = random.Random(seed)  # noqa: S311 - statistics, not secrets
    ratios = sorted(
        statistics.median(rng.choices(new, k=len(new))) / statistics.median(rng.choices(old, k=len(old)))
        for _ in range(ROUNDS)
    )
    return ratios[int(0.025 * ROUNDS)], ratios[int(0.975 * ROUNDS) - 1]


def _smallest(old: Sequence[float], new: Sequence[float]) -> float | None:
    if min(len(old), len(new)) < 2:
        return None
    squares = sum((len(side) - 1) * statistics.variance([math.log(value) for value in side]) for side in (old, new))
    spread = math.sqrt(squares / (len(old) + len(new) - 2))
    return math.expm1((Z_ALARM + Z_POWER) * spread * math.sqrt(1 / len(old) + 1 / len(new)))


def _label(row: RunRow) -> dict[str, Any]:
    names = (
        "model",
        "variant",
        "file",
        "sha256",
        "device",
        "engine",
        "engine_version",
        "threads",
        "evidence",
        "status",
    )
    return {name: getattr(row, name) for name in names}
