"""What the figures of a report come to: each file against its budget, what no other file beats, and which one to ship.

A latency is judged on every device there are figures of. A measured one fits when the bound of its true p90, at 99 %
confidence, is within the budget, and is over when the p90 itself is; a predicted one by the ends of its interval. What
lies between is undecided, as is a file whose latency nobody measured: the export's own timing is the quickest of a few
rounds, which can show that a file is too slow but not that it is fast enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from .report_facts import Bundle, Facts, Quality, Timing, Variant

__all__ = ["Answer", "Judgement", "Limits", "Point", "choose", "judge", "main_device", "points", "quickest"]


class Answer(StrEnum):
    """What a budget says of a figure."""

    FITS = "fits"
    OVER = "over"
    UNDECIDED = "undecided"
    UNKNOWN = "unknown"  # nobody measured it, and no budget needs it


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The budget of a file.

    Attributes:
        max_bytes: of the file.
        max_ms: p90 of an inference.
        max_drop: loss of the task's metric, 0..1.
    """

    max_bytes: float
    max_ms: float
    max_drop: float


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One file against its budget.

    Attributes:
        bundle, variant: what is judged.
        limits: the budget.
        timings: device -> its quickest row, in the order of the results.
        quality: of `edge eval`; None where it was not evaluated.
        size, latency, parity, drop: by part; latency over all devices.
        why: what is over or undecided, in words.
    """

    bundle: Bundle
    variant: Variant
    limits: Limits
    timings: dict[str, Timing]
    quality: Quality | None
    size: Answer
    latency: Answer
    parity: Answer
    drop: Answer
    why: tuple[str, ...]

    @property
    def overall(self) -> Answer:
        """Over where a part is; fits where all that can be told does; else undecided."""
        parts = (self.size, self.latency, self.parity, self.drop)
        if Answer.OVER in parts:
            return Answer.OVER
        return Answer.UNDECIDED if Answer.UNDECIDED in parts else Answer.FITS


@dataclass(frozen=True, kw_only=True)
class Point:
    """A file in the picture of size, latency and metric on one device.

    Attributes:
        judged: the file.
        size_bytes, ms: its place: p90 of a measured latency, median of a predicted one.
        low_ms, high_ms: of a predicted one its interval; of a measured p90 its bound, above; None without.
        evidence: grade of `ms`.
        best: no other file is at least as good in all respects and better in one.
    """

    judged: Judgement
    size_bytes: int
    ms: float
    low_ms: float | None
    high_ms: float | None
    evidence: str
    best: bool = False

    @property
    def value(self) -> float | None:
        """Of the metric."""
        return None if self.judged.quality is None else self.judged.quality.value


def judge(bundle: Bundle, facts: Facts, limits: Limits) -> list[Judgement]:
    """Return the judgements of a bundle's files, in the bundle's order.

    Timings belong to a file by its hash, metrics by its name: `edge eval` tells no hash.
    """
    return [_judge(bundle, variant, facts, limits) for variant in bundle.variants]


def _judge(bundle: Bundle, variant: Variant, facts: Facts, limits: Limits) -> Judgement:
    rows = [timing for timing in facts.timings if timing.sha256 == variant.sha256]
    timings = quickest(rows)
    quality = next((found for found in reversed(facts.qualities) if found.file == variant.file), None)
    why: list[str] = []
    size = Answer.FITS if variant.size_bytes <= limits.max_bytes else Answer.OVER
    if size is Answer.OVER:
        why.append(f"{variant.size_bytes:,} bytes, budget {limits.max_bytes:,.0f}")
    latency = _latency(variant, rows, timings, limits, why)
    parity = Answer.OVER if variant.complaints else Answer.FITS
    why += variant.complaints
    drop = _drop(quality, limits, why)
    return Judgement(
        bundle=bundle,
        variant=variant,
        limits=limits,
        timings=timings,
        quality=quality,
        size=size,
        latency=latency,
        parity=parity,
        drop=drop,
        why=tuple(why),
    )


def quickest(rows: Sequence[Timing]) -> dict[str, Timing]:
    """Return, for each device, the usable row with the smallest p90, of predictions median; devices in rows' order."""
    found: dict[str, Timing] = {}
    for row in rows:
        if not row.usable or row.judged_ms is None:
            continue
        known = found.get(row.device)
        if known is None or row.judged_ms < (known.judged_ms or 0.0):
            found[row.device] = row
    return found


def _latency(
    variant: Variant, rows: Sequence[Timing], timings: dict[str, Timing], limits: Limits, why: list[str]
) -> Answer:
    answers = [_timing(row, limits.max_ms, why) for row in timings.values()]
    for device in dict.fromkeys(row.device for row in rows if row.device not in timings):
        states = dict.fromkeys("no prediction" if row.usable else row.status for row in rows if row.device == device)
        why.append(f"no figure on {device}: {', '.join(states)}")
        answers.append(Answer.UNDECIDED)
    if not answers:
        if variant.best_ms is not None and variant.best_ms > limits.max_ms:
            why.append(
                f"quickest run {variant.best_ms:.1f} ms on {variant.best_device} ({variant.best_evidence}),"
                f" budget {limits.max_ms:g}"
            )
            return Answer.OVER
        why.append("p90 not measured")
        return Answer.UNDECIDED
    for answer in (Answer.OVER, Answer.UNDECIDED):
        if answer in answers:
            return answer
    return Answer.FITS


def _timing(row: Timing, max_ms: float, why: list[str]) -> Answer:
    where = f"on {row.device} ({row.evidence})"
    if row.infer is None:
        low, high = row.low_ms, row.high_ms
        if low is None or high is None:
            why.append(f"no interval {where}")
            return Answer.UNDECIDED
        if high <= max_ms:
            return Answer.FITS
        why.append(f"{low:.3g} to {high:.3g} ms {where}, budget {max_ms:g}")
        return Answer.OVER if low > max_ms else Answer.UNDECIDED
    p90, bound = row.infer.p90_ms, row.infer.p90_at_most_ms
    if p90 is None:
        why.append(f"too few runs for a p90 {where}")
        return Answer.UNDECIDED
    if p90 > max_ms:
        why.append(f"p90 {p90:.3g} ms {where}, budget {max_ms:g}")
        return Answer.OVER
    if bound is None or bound > max_ms:
        why.append(f"p90 {p90:.3g} ms {where} may be over {max_ms:g}")
        return Answer.UNDECIDED
    return Answer.FITS


def _drop(quality: Quality | None, limits: Limits, why: list[str]) -> Answer:
    if quality is None or quality.drop is None:
        return Answer.UNKNOWN
    points, most = 100 * quality.drop, 100 * limits.max_drop
    if quality.drop_high is not None and quality.drop_high <= limits.max_drop:
        return Answer.FITS
    if quality.drop_low is not None and quality.drop_low > limits.max_drop:
        why.append(f"loses {points:.1f} points of {quality.metric}, budget {most:g}")
        return Answer.OVER
    why.append(f"loses {points:.1f} points of {quality.metric}, give or take: not to be told from {most:g}")
    return Answer.UNDECIDED


def main_device(judgements: Sequence[Judgement]) -> str:
    """Return the device that latencies are ranked by: the first that is not the host, else the host, else none."""
    names = list(dict.fromkeys(name for judged in judgements for name in judged.timings))
    return next((name for name in names if name != "host"), names[0] if names else "")


def choose(judgements: Sequence[Judgement]) -> Judgement | None:
    """Return the file to ship: of those that fit, else of those that are undecided, the quickest, then the smallest.

    None where every file is over, or there is none.
    """
    device = main_device(judgements)
    for wanted in (Answer.FITS, Answer.UNDECIDED):
        fit = [judged for judged in judgements if judged.overall is wanted]
        if fit:
            return min(fit, key=lambda judged: (_rank_ms(judged, device), judged.variant.size_bytes))
    return None


def _rank_ms(judged: Judgement, device: str) -> float:
    row = judged.timings.get(device)
    found = judged.variant.best_ms if row is None and not device else row.judged_ms if row else None
    return float("inf") if found is None else found


def points(judgements: Sequence[Judgement]) -> dict[str, list[Point]]:
    """Return, for each device, the files that have a latency there; without any results, the export's own timings."""
    found: dict[str, list[Point]] = {}
    for judged in judgements:
        for device, row in judged.timings.items():
            if row.judged_ms is not None:
                found.setdefault(device, []).append(_point(judged, row, row.judged_ms))
    if not found:
        for judged in judgements:
            variant = judged.variant
            if variant.best_ms is not None:
                point = Point(
                    judged=judged,
                    size_bytes=variant.size_bytes,
                    ms=variant.best_ms,
                    low_ms=None,
                    high_ms=None,
                    evidence=variant.best_evidence,
                )
                found.setdefault(variant.best_device, []).append(point)
    return {device: _front(group) for device, group in found.items()}


def _point(judged: Judgement, row: Timing, ms: float) -> Point:
    return Point(
        judged=judged,
        size_bytes=judged.variant.size_bytes,
        ms=ms,
        low_ms=row.low_ms,
        high_ms=row.high_ms if row.infer is None else row.infer.p90_at_most_ms,
        evidence=row.evidence,
    )


def _front(group: Sequence[Point]) -> list[Point]:
    """Return the points with `best` set on those that none beats; a metric counts where all of them have one."""
    scored = all(point.value is not None for point in group)

    def costs(point: Point) -> tuple[float, ...]:
        return (point.size_bytes, point.ms, *((-(point.value or 0.0),) if scored else ()))

    def is_beaten(point: Point) -> bool:
        own = costs(point)
        return any(
            costs(other) != own and all(a <= b for a, b in zip(costs(other), own, strict=True)) for other in group
        )

    return [replace(point, best=not is_beaten(point)) for point in group]
