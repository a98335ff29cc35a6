"""The latencies of a report: their pictures, those of size and metric beside them, and their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .report_facts import Timing, Variant
from .report_judge import Point, quickest
from .report_plots import (
    FAR,
    MOST_LINES,
    MOST_ROWS,
    Budgets,
    budgets_of,
    in_bytes,
    in_ms,
    latency_plot,
    metric_plot,
    pareto_plot,
    stages_plot,
)
from .report_words import NO_FIGURE, counted, maybe_ms, short_name, unique

__all__ = ["latencies", "planes", "remarks", "timing_row"]


def planes(number: int, groups: Mapping[str, Sequence[Point]]) -> list[dict[str, Any]]:
    """Return the pictures of size, latency and metric, one or two for each device."""
    found = []
    for count, (device, group) in enumerate(groups.items(), 1):
        budgets = budgets_of(group, device)
        grades = " and ".join(unique(point.evidence for point in group))
        what = "quickest inference of the export"
        if group[0].judged.timings:
            predicted = all(point.low_ms is not None for point in group)
            what = "median of an inference and its interval" if predicted else "p90 of an inference and its bound"
        svg = pareto_plot(group, budgets, device, f"m{number}p{count}")
        words = f"Size and latency on {device}, {grades}: {what}."
        found.append({"svg": svg, "words": words, "far": _far(group, budgets)})
        if any(point.value is not None for point in group):
            metric = next(point.judged.quality.metric for point in group if point.judged.quality is not None)
            svg = metric_plot(group, budgets, device, f"m{number}q{count}")
            found.append({"svg": svg, "words": f"Latency on {device}, {grades}, and {metric}.", "far": ""})
    return found


def _far(group: Sequence[Point], budgets: Budgets) -> str:
    """Say which budgets are too far away to be drawn."""
    sizes, times = [point.size_bytes for point in group], [point.high_ms or point.ms for point in group]
    parts = [in_bytes(line.value) for line in budgets.sizes if line.value > FAR * max(sizes)]
    parts += [f"{line.value:g} ms" for line in budgets.times if line.value > FAR * max(times)]
    words = [f"The budget of {' and '.join(parts)} is far outside of the picture."] if parts else []
    more = max(len(budgets.sizes) - MOST_LINES, 0) + max(len(budgets.times) - MOST_LINES, 0)
    words += [f"{counted(more, 'looser budget')} are not drawn."] if more else []
    return " ".join(words)


def latencies(number: int, rows: Sequence[Timing], hashes: Mapping[str, Variant]) -> list[dict[str, Any]]:
    """Return the pictures of latencies and stages, for each device that has usable rows."""
    found = []
    order = list(hashes.values())
    for count, device in enumerate(unique(timing.device for timing in rows), 1):
        usable = [row for row in rows if row.device == device and row.usable and row.typical_ms is not None]
        usable.sort(key=lambda row: row.typical_ms or 0.0)
        if not usable:
            continue
        labels = _labels(usable, hashes)
        kinds = ["tflite" if hashes[row.sha256].target == "tflite" else "onnx" for row in usable]
        drawn = list(zip(labels, kinds, usable, strict=True))
        best = {variant.sha256: quickest([row for row in usable if row.sha256 == variant.sha256]) for variant in order}
        frames = [
            (label, row)
            for label, row in zip(labels, usable, strict=True)
            if len(row.stages) > 1 and row is best[row.sha256].get(device)
        ]
        grades = " and ".join(unique(row.evidence for row in usable))
        found.append(
            {
                "device": device,
                "grades": grades,
                "svg": latency_plot(drawn, device, f"m{number}l{count}"),
                "predicted": all(row.infer is None for row in usable),
                "stages": stages_plot(frames, device, f"m{number}s{count}") if frames else "",
                "more": max(0, len(usable) - MOST_ROWS),
            }
        )
    return found


def _labels(rows: Sequence[Timing], hashes: Mapping[str, Variant]) -> list[str]:
    """Return the shortest labels that tell rows apart: file and threads, with the engine where two are alike."""
    plain = [f"{short_name(hashes[row.sha256])}, {counted(row.threads, 'thread')}" for row in rows]
    return [
        label if plain.count(label) == 1 else f"{label}, {row.engine}" for label, row in zip(plain, rows, strict=True)
    ]


def timing_row(row: Timing, variant: Variant) -> dict[str, Any]:
    """Return a row of the table of latencies."""
    infer, frame = row.infer, row.frame
    state = row.status if row.status not in ("complete", "predicted") else "busy" if row.busy else ""
    predicted = row.infer is None and row.p50_ms is not None
    return {
        "file": short_name(variant),
        "device": row.device,
        "engine": row.engine,
        "threads": row.threads,
        "p50": maybe_ms(row.p50_ms if predicted else infer.p50_ms if infer else None),
        "p90": _between(row) or maybe_ms(infer.p90_ms if infer else None),
        "p99": maybe_ms(infer.p99_ms if infer else None),
        "frame": maybe_ms(frame.p90_ms if frame else None),
        "load": maybe_ms(row.load_ms),
        "memory": NO_FIGURE if row.peak_rss_bytes is None else f"{row.peak_rss_bytes / 1e6:.0f}",
        "runs": f"{infer.count:,}" if infer else NO_FIGURE,
        "grade": row.evidence,
        "state": state,
    }


def _between(row: Timing) -> str:
    return "" if row.low_ms is None or row.high_ms is None else f"{in_ms(row.low_ms)} to {in_ms(row.high_ms)}"


def remarks(rows: Sequence[Timing], hashes: Mapping[str, Variant]) -> list[str]:
    """Return what the rows say of themselves, each once, with the files that say it."""
    where: dict[str, list[str]] = {}
    for row in rows:
        for reason in (*row.why, *row.notes):
            where.setdefault(reason, []).append(f"{short_name(hashes[row.sha256])} on {row.device}")
    return [f"{', '.join(unique(labels))}: {reason}" for reason, labels in where.items()]
