"""Where the budget of a file in a report comes from: an option of the command, `edge.toml`, its card, or the defaults.

Each figure for itself, in that order. What `edge.toml` says of latency holds on the device and for the number of
threads that it names, a limit from elsewhere on every device that there are figures of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .budgets import CARD_LIMITS, LATENCIES, Budget, Limit, limits_of
from .report_facts import Bundle, Variant

__all__ = ["BYTES", "DROP_POINTS", "MS", "Given", "Limits", "limits_for"]

BYTES, MS, DROP_POINTS = 2_000_000, 50.0, 1.0  # where nothing else says
SHOWN = ("size_bytes", "parity", "metric_drop", *LATENCIES)  # the others need more than a manifest: `edge gate` has it


@dataclass(frozen=True, kw_only=True)
class Given:
    """Limits of the command line, which go before all others: bytes, ms of a p90, points of the metric."""

    max_bytes: float | None = None
    max_ms: float | None = None
    max_drop_points: float | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The budget of a file.

    Attributes:
        max_bytes: of the file.
        max_ms: p90 of an inference on every device; None where `latencies` says it.
        max_drop: loss of the task's metric, 0..1.
        latencies: limits of `edge.toml`, each on its device.
        min_sqnr_db: least SQNR of the worst output; None leaves it to the limits that the export held.
        needs_drop: a budget asks for the loss, so that without a figure nothing is proven.
        unseen: limits of `edge.toml` that only `edge gate` holds.
        source: where they come from, in words.
    """

    max_bytes: float
    max_ms: float | None
    max_drop: float
    latencies: tuple[Limit, ...] = ()
    min_sqnr_db: float | None = None
    needs_drop: bool = False
    unseen: tuple[str, ...] = ()
    source: str = ""

    def ms_on(self, device: str) -> tuple[str, float] | None:
        """Return percentile and ms that hold on a device, the tightest p90 first; None where nothing is set there."""
        if self.max_ms is not None:
            return "p90", self.max_ms
        here = [limit for limit in self.latencies if limit.budget.device == device]
        here.sort(key=lambda limit: (limit.name != "p90_ms", float(limit.value)))
        return (here[0].name.removesuffix("_ms"), float(here[0].value)) if here else None


def limits_for(
    bundle: Bundle, variant: Variant, budgets: Iterable[Budget], given: Given, file: str = "edge.toml"
) -> Limits:
    """Return the budget of a file.

    Args:
        bundle, variant: the file, with what its card asks.
        budgets: of `edge.toml`.
        given: of the command line.
        file: name of that `edge.toml`.
    """
    found = limits_of(budgets, bundle.model, f"{variant.precision}.{variant.target}")
    by_name = {limit.name: limit for limit in found if not limit.timed}
    size, parity, drop = (by_name.get(name) for name in ("size_bytes", "parity", "metric_drop"))
    timed = tuple(limit for limit in found if limit.name in LATENCIES) if given.max_ms is None else ()
    used = [limit for limit in (size, parity, drop, *timed) if limit is not None and limit.value != CARD_LIMITS]
    points = _first(given.max_drop_points, drop, DROP_POINTS)
    return Limits(
        max_bytes=_first(given.max_bytes, size, bundle.budget_bytes, BYTES),
        max_ms=None if timed else _first(given.max_ms, bundle.budget_ms, MS),
        max_drop=points / 100,
        latencies=timed,
        min_sqnr_db=None if parity is None or parity.value == CARD_LIMITS else float(parity.value),
        needs_drop=drop is not None and variant.precision != "fp32",
        unseen=tuple(dict.fromkeys(limit.name for limit in found if limit.name not in SHOWN)),
        source=_source(used, file),
    )


def _first(*values: float | Limit | None) -> float:
    """Return the first figure that is set."""
    found = next(value for value in values if value is not None)
    return float(found.value if isinstance(found, Limit) else found)


def _source(used: Iterable[Limit], file: str) -> str:
    lines = sorted({limit.line for limit in used if limit.line})
    return f"{file} line{'s' * (len(lines) > 1)} {', '.join(map(str, lines))}" if lines else ""
