"""What the figures of a report come to: each file against its budget, what no other file beats, and which one to ship.

Verdicts and their words are those of `edge gate`: pass, no, or inconclusive, by bounds at 99 % confidence for latencies
that were measured, by intervals for predictions and for the metric. A limit that names no device holds on every device
there are figures of. A file whose latency nobody measured is inconclusive: the export's own timing is the quickest of a
few rounds, which can show that a file is too slow but not that it is fast enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .budgets import Limit
from .gate import Verdict, worst
from .gate_accuracy import judge_drop, loss_of
from .judge_latency import Answer, judge_interval, judge_samples, judge_timing, rows_for, where
from .report_facts import Bundle, Facts, ProfileShare, Quality, Timing, Variant
from .report_limits import Limits

__all__ = ["Judgement", "LimitsOf", "Point", "choose", "judge", "main_device", "of_file", "points", "quickest"]

LimitsOf = Callable[[Bundle, Variant], Limits]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One file against its budget.

    Attributes:
        bundle, variant: what is judged.
        limits: the budget.
        timings: device -> its quickest row, in the order of the results.
        quality: of `edge eval`; None where it was not evaluated.
        size, latency, parity, drop: by part; latency over all devices, drop None where it is not known nor asked for.
        why: reasons of what is no pass.
    """

    bundle: Bundle
    variant: Variant
    limits: Limits
    timings: dict[str, Timing]
    quality: Quality | None
    size: Verdict
    latency: Verdict
    parity: Verdict
    drop: Verdict | None
    why: tuple[str, ...]

    @property
    def overall(self) -> Verdict:
        """What the parts come to."""
        return worst(part for part in (self.size, self.latency, self.parity, self.drop) if part is not None)


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


def judge(bundle: Bundle, facts: Facts, limits_of: LimitsOf) -> list[Judgement]:
    """Return the judgements of a bundle's files, in the bundle's order.

    Figures belong to a file by its hash.
    """
    return [_judge(bundle, variant, facts, limits_of(bundle, variant)) for variant in bundle.variants]


def of_file(variant: Variant, found: Quality | ProfileShare) -> bool:
    """Return whether figures are of a file: by hash, or by name where an older edge wrote no hash."""
    return found.file == variant.file if found.sha256 is None else found.sha256 == variant.sha256


def _judge(bundle: Bundle, variant: Variant, facts: Facts, limits: Limits) -> Judgement:
    rows = [timing for timing in facts.timings if timing.sha256 == variant.sha256]
    timings = quickest(rows)
    quality = next((found for found in reversed(facts.qualities) if of_file(variant, found)), None)
    why: list[str] = []
    size = Verdict.PASS if variant.size_bytes <= limits.max_bytes else Verdict.NO
    if size is Verdict.NO:
        over = variant.size_bytes - limits.max_bytes
        why.append(f"{variant.size_bytes:,} bytes, {over:,.0f} over {limits.max_bytes:,.0f}")
    if limits.latencies:
        latency = worst(_demanded(limit, rows, why) for limit in limits.latencies)
    else:
        latency = _everywhere(variant, rows, timings, limits, why)
    complaints = _complaints(variant, limits)
    why += complaints
    return Judgement(
        bundle=bundle,
        variant=variant,
        limits=limits,
        timings=timings,
        quality=quality,
        size=size,
        latency=latency,
        parity=Verdict.NO if complaints else Verdict.PASS,
        drop=_drop(quality, limits, why),
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


def _demanded(limit: Limit, rows: Sequence[Timing], why: list[str]) -> Verdict:
    """Return what all rows of a file say of a limit of `edge.toml`; figures that nobody gave are not known yet."""
    ours = rows_for(limit, rows)
    if not ours:
        why.append(f"missing evidence: no figure on {where(limit.budget)} was given")
        return Verdict.INCONCLUSIVE
    return worst(_said(judge_timing(row, limit), why) for row in ours)


def _everywhere(
    variant: Variant, rows: Sequence[Timing], timings: dict[str, Timing], limits: Limits, why: list[str]
) -> Verdict:
    """Return what a limit that names no device comes to on all that there are figures of."""
    most = limits.max_ms
    assert most is not None
    verdicts = [_said(_p90(row, most), why) for row in timings.values()]
    for device in dict.fromkeys(row.device for row in rows if row.device not in timings):
        states = dict.fromkeys("no prediction" if row.usable else row.status for row in rows if row.device == device)
        why.append(f"missing evidence: no figure on `{device}`: {', '.join(states)}")
        verdicts.append(Verdict.INCONCLUSIVE)
    if verdicts:
        return worst(verdicts)
    if variant.best_ms is not None and variant.best_ms > most:
        told = f"quickest run {variant.best_ms:.1f} ms on `{variant.best_device}` ({variant.best_evidence})"
        why.append(f"{told}; at most {most:g} ms is allowed")
        return Verdict.NO
    why.append("missing evidence: p90 not measured")
    return Verdict.INCONCLUSIVE


def _p90(row: Timing, most: float) -> Answer:
    return (
        judge_interval(row, most, where(row)) if row.infer is None else judge_samples(row, "p90_ms", most, where(row))
    )


def _said(answer: Answer, why: list[str]) -> Verdict:
    if answer.verdict is not Verdict.PASS:
        why.append(answer.why)
    return answer.verdict


def _complaints(variant: Variant, limits: Limits) -> list[str]:
    """Return where parity falls short: of the decibels of `edge.toml`, or of what the export held it against."""
    least = limits.min_sqnr_db
    if least is None:
        return list(variant.complaints)
    if not variant.parity:
        return ["the manifest holds no parity of it"]
    found = []
    for one in variant.parity:
        if one.nonfinite:
            found.append(f"output `{one.output}`: {one.nonfinite} non-finite elements")
        elif one.sqnr_db is None:
            found.append(f"output `{one.output}`: the manifest holds no SQNR of it")
        elif one.sqnr_db < least:
            found.append(f"output `{one.output}`: SQNR {one.sqnr_db:.1f} dB, limit {least:g} dB")
    return found


def _drop(quality: Quality | None, limits: Limits, why: list[str]) -> Verdict | None:
    loss = None if quality is None else loss_of(quality)
    if loss is None:
        if not limits.needs_drop:
            return None
        why.append("missing evidence: no loss of its metric, with an interval, was given")
        return Verdict.INCONCLUSIVE
    verdict, told = judge_drop(loss, 100 * limits.max_drop)
    return _said(Answer(verdict=verdict, why=told), why)


def main_device(judgements: Sequence[Judgement]) -> str:
    """Return the device that latencies are ranked by: the first that is not the host, else the host, else none."""
    names = list(dict.fromkeys(name for judged in judgements for name in judged.timings))
    return next((name for name in names if name != "host"), names[0] if names else "")


def choose(judgements: Sequence[Judgement]) -> Judgement | None:
    """Return the file to ship: of those that pass, else of the inconclusive, the quickest, then the smallest.

    None where every file is refused, or there is none.
    """
    device = main_device(judgements)
    for wanted in (Verdict.PASS, Verdict.INCONCLUSIVE):
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
