"""The plots of a report as SVG, drawn here, so that the page needs no script.

A plot is 360 units wide and drawn for one column of a page, down to that of a small phone; the page puts several side
by side. Colours and fonts are classes of the page's style sheet, so that a plot follows light, dark and print. Every
one is an image with a title and a description for those who hear it; the figures themselves are in the page's tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np

from .report_facts import Timing
from .report_judge import Point

__all__ = [
    "FAR",
    "MOST_LINES",
    "MOST_ROWS",
    "Budgets",
    "Line",
    "budgets_of",
    "in_bytes",
    "in_ms",
    "latency_plot",
    "metric_plot",
    "pareto_plot",
    "place_labels",
    "stages_plot",
]

WIDTH = 360.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 12.0, 16.0, 38.0
PLANE_HEIGHT = 290.0
ROW, RIDGE, AXIS = 42.0, 20.0, 34.0  # units: a row of distributions, its curve, the axis below all
STAGE_ROW, BAR = 36.0, 12.0
LETTER = 6.2  # width of a character at 11 units, on the wide side
LINE = 12.0  # height of a label
MOST_LINES = 3  # budgets that are drawn on one axis, the tightest first
NEAR, FURTHER = (0.0, 6.0, 12.0), (18.0, 28.0, 40.0, 54.0)  # of a label from its point; further ones get a line
MOST_ROWS = 12
MOST_LABELS = 12
FAR = 100.0  # a budget so many times beyond all points would press them into a corner: it is said, not drawn
BINS = 110
STAGES = ("pre", "infer", "decode")
Spot = tuple[float, float, str]  # x, baseline, text-anchor
Box = tuple[float, float, float, float]  # left, top, right, bottom


def in_bytes(count: float) -> str:
    """Return bytes in words, up to three figures: "363 kB", "1.32 MB", "2 MB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            words = _three(count / size)
            return f"{words.rstrip('0').rstrip('.') if '.' in words else words} {unit}"
    return f"{count:.0f} bytes"


def in_ms(value: float) -> str:
    """Return milliseconds in three figures, without the unit."""
    return _three(value)


def _tick(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _three(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


# --- planes of points -----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Line:
    """A budget on an axis: its value, and its words."""

    value: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """The budgets of the files in a plane, the tightest first.

    Attributes:
        sizes: bytes.
        times: ms, on the plane's device.
        max_drop: loss of the metric, 0..1: the least that a file may lose.
    """

    sizes: tuple[Line, ...]
    times: tuple[Line, ...]
    max_drop: float


def budgets_of(points: Sequence[Point], device: str) -> Budgets:
    """Return the budgets of files on a device; where they differ, each says whose it is."""
    limits = [point.judged.limits for point in points]
    sizes = [(one.max_bytes, in_bytes(one.max_bytes)) for one in limits]
    times = [
        None if found is None else (found[1], f"{'' if found[0] == 'p90' else f'{found[0]} '}{found[1]:g} ms")
        for found in (one.ms_on(device) for one in limits)
    ]
    return Budgets(
        sizes=_budget_lines(points, sizes),
        times=_budget_lines(points, times),
        max_drop=min(one.max_drop for one in limits),
    )


def _budget_lines(points: Sequence[Point], budgets: Sequence[tuple[float, str] | None]) -> tuple[Line, ...]:
    files: dict[tuple[float, str], list[Point]] = {}
    for point, budget in zip(points, budgets, strict=True):
        if budget is not None:
            files.setdefault(budget, []).append(point)
    alike = len(files) == 1 and None not in budgets
    return tuple(
        Line(value=value, words=f"budget {words}" if alike else f"budget {words}, {_whose(points, group)}")
        for (value, words), group in sorted(files.items())
    )


def _whose(points: Sequence[Point], group: Sequence[Point]) -> str:
    """Return whose a budget is: precisions where all files of them have it, else files."""
    rest = {point.judged.variant.precision for point in points if point not in group}
    precisions = dict.fromkeys(point.judged.variant.precision[:12] for point in group)
    names = list(precisions) if not rest & set(precisions) else list(dict.fromkeys(map(_label, group)))
    return f"{', '.join(names[:2])}{'…' * (len(names) > 2)}"


def pareto_plot(points: Sequence[Point], budgets: Budgets, device: str, ident: str) -> str:
    """Return size against latency on one device, both logarithmic; the shaded corner is within every budget.

    Args:
        points: at least one.
        budgets: of their files on the device.
        device: name of the device, for the description.
        ident: makes the ids of this plot those of no other.
    """
    across = _log_scale([point.size_bytes for point in points], budgets.sizes, LEFT, WIDTH - RIGHT)
    up = _log_scale(_spans(points), budgets.times, PLANE_HEIGHT - BOTTOM, TOP)
    title = f"Size against latency on {device}"
    root = _plane(ident, title, _told(points))
    _shade(root, across, up)
    _axis_across(root, across, in_bytes, "file size")
    _axis_up(root, up, _tick, "ms")
    _budgets_across(root, across)
    _budgets_up(root, up)
    places = [(across.at(point.size_bytes), up.at(point.ms)) for point in points]
    for point, (x, _) in zip(points, places, strict=True):
        _whisker(root, x, up, point)
    _marks(root, points, places, _lines(across, up))
    return _text_of(root)


def metric_plot(points: Sequence[Point], budgets: Budgets, device: str, ident: str) -> str:
    """Return latency against the task's metric, with its interval; points without a metric are left out.

    Args:
        points: at least one with a metric.
        budgets: of their files on the device.
        device: name of the device, for the description.
        ident: makes the ids of this plot those of no other.
    """
    scored = [point for point in points if point.judged.quality is not None]
    qualities = [point.judged.quality for point in scored if point.judged.quality is not None]
    ends = [end for found in qualities for end in (found.value, found.low, found.high) if end is not None]
    floor = next((found.value - budgets.max_drop for found in qualities if found.drop is None), None)
    across = _log_scale(_spans(scored), budgets.times, LEFT, WIDTH - RIGHT)
    up = _linear_scale([*ends, *([] if floor is None else [floor])], PLANE_HEIGHT - BOTTOM, TOP)
    name = qualities[0].metric[:24]
    root = _plane(ident, f"Latency on {device} against {name}", _told(scored))
    _shade(root, across, replace(up, within=floor, more_is_better=True))
    _axis_across(root, across, _tick, "ms")
    _axis_up(root, up, lambda value: f"{value:.3g}", name)
    _budgets_across(root, across)
    if floor is not None:
        y = up.at(floor)
        _add(root, "line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="budget")
        words = f"first file, {100 * budgets.max_drop:g} point{'s' * (budgets.max_drop != 0.01)} less"
        _add(root, "text", words, x=LEFT + 4, y=y + 12, class_="budget")
    places = []
    for point, found in zip(scored, qualities, strict=True):
        x, y = across.at(point.ms), up.at(found.value)
        places.append((x, y))
        if found.low is not None and found.high is not None:
            _add(root, "line", x1=x, x2=x, y1=up.at(found.low), y2=up.at(found.high), class_=f"whisker {_kind(point)}")
    drawn = () if floor is None else (Line(value=floor, words=" " * 25),)
    _marks(root, scored, places, _lines(across, replace(up, lines=drawn)))
    return _text_of(root)


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """A way from values to units: `at`, the values that get a tick, and the budgets near enough to be drawn.

    `within` is where the part within every budget ends. Of sizes and latencies less is better; `more_is_better` is true
    of a metric.
    """

    at: Callable[[float], float]
    ticks: Sequence[float]
    lines: Sequence[Line] = ()
    within: float | None = None
    more_is_better: bool = False


def _log_scale(values: Sequence[float], budgets: Sequence[Line], start: float, end: float) -> _Scale:
    low, high = max(min(values), 1e-6), max(max(values), 1e-6)
    lines = [line for line in budgets if line.value > 0 and low / FAR <= line.value <= high * FAR][:MOST_LINES]
    low, high = min([low, *(line.value for line in lines)]), max([high, *(line.value for line in lines)])
    pad = max(math.log(high / low) * 0.08, 0.12)
    bottom, span = math.log(low) - pad, math.log(high / low) + 2 * pad

    def at(value: float) -> float:
        return start + (math.log(max(value, 1e-6)) - bottom) / span * (end - start)

    steps = (1.0, 2.0, 5.0) if span < math.log(1000) else (1.0,)
    first, last = math.floor(bottom / math.log(10)), math.ceil((bottom + span) / math.log(10))
    candidates = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    inside = [value for value in candidates if bottom <= math.log(value) <= bottom + span]
    if len(inside) < 2:  # values so close together that no round one lies between
        inside = [low, high] if high > low * 1.05 else [low]
    within = min((line.value for line in budgets), default=None)
    return _Scale(at=at, ticks=_apart(inside, at, 46.0 if end > start else 24.0), lines=lines, within=within)


def _linear_scale(values: Sequence[float], start: float, end: float) -> _Scale:
    low, high = min(values), max(values)
    pad = max((high - low) * 0.1, 0.005)
    low, high = low - pad, high + pad

    def at(value: float) -> float:
        return start + (value - low) / (high - low) * (end - start)

    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step = next(size for size in (step, 2 * step, 5 * step, 10 * step) if (high - low) / size <= 6)
    ticks = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return _Scale(at=at, ticks=ticks)


def _apart(values: Sequence[float], at: Callable[[float], float], least: float) -> list[float]:
    kept: list[float] = []
    for value in values:
        if not kept or abs(at(value) - at(kept[-1])) >= least:
            kept.append(value)
    return kept


def _spans(points: Sequence[Point]) -> list[float]:
    return [end for point in points for end in (point.ms, point.low_ms, point.high_ms) if end is not None]


def _plane(ident: str, title: str, told: str) -> Element:
    return _picture(ident, PLANE_HEIGHT, title, told)


def _told(points: Sequence[Point]) -> str:
    """Return the points in words."""
    parts = []
    for point in points:
        value = "" if point.judged.quality is None else f", {point.judged.quality.metric} {point.value:.3f}"
        best = ", not beaten" if point.best else ""
        parts.append(f"{_label(point)}: {in_bytes(point.size_bytes)}, {_with_grade(point)}{value}{best}")
    return "; ".join(parts) + "."


def _with_grade(point: Point) -> str:
    return f"{in_ms(point.ms)} ms {point.evidence}"


def _shade(root: Element, across: _Scale, up: _Scale) -> None:
    """Draw the part of the plane that is within every budget."""
    right, top, bottom = WIDTH - RIGHT, TOP, PLANE_HEIGHT - BOTTOM
    if across.within is not None:
        right = min(max(across.at(across.within), LEFT), right)
    if up.within is not None:
        y = min(max(up.at(up.within), top), bottom)
        top, bottom = (top, y) if up.more_is_better else (y, bottom)
    _add(root, "rect", x=LEFT, y=top, width=right - LEFT, height=bottom - top, class_="within")


def _axis_across(root: Element, scale: _Scale, words: Callable[[float], str], name: str) -> None:
    base = PLANE_HEIGHT - BOTTOM
    _add(root, "line", x1=LEFT, x2=WIDTH - RIGHT, y1=base, y2=base, class_="axis")
    for value in scale.ticks:
        x = scale.at(value)
        _add(root, "line", x1=x, x2=x, y1=TOP, y2=base, class_="grid")
        half = len(words(value)) * LETTER / 2
        _add(root, "text", words(value), x=min(max(x, half), WIDTH - half), y=base + 15, class_="tick", anchor="middle")
    _add(root, "text", name, x=WIDTH - RIGHT, y=base + 31, class_="name", anchor="end")


def _axis_up(root: Element, scale: _Scale, words: Callable[[float], str], name: str) -> None:
    for value in scale.ticks:
        y = scale.at(value)
        _add(root, "line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid")
        _add(root, "text", words(value), x=LEFT - 6, y=y + 4, class_="tick", anchor="end")
    _add(root, "text", name, x=0, y=11, class_="name")


def _budgets_across(root: Element, scale: _Scale) -> None:
    for number, line in enumerate(scale.lines):
        x, y, anchor = _spot_across(scale, number)
        _add(root, "line", x1=x, x2=x, y1=TOP, y2=PLANE_HEIGHT - BOTTOM, class_="budget")
        _add(root, "text", line.words, x=x, y=y, class_="budget", anchor=anchor)


def _spot_across(scale: _Scale, number: int) -> Spot:
    """Return where the words of a budget go: each below those of the one before, on the side that has room."""
    x = scale.at(scale.lines[number].value)
    fits = x - 4 - LETTER * len(scale.lines[number].words) > LEFT
    return x, TOP - 5 + (LINE + 2) * number, "end" if fits else "start"


def _budgets_up(root: Element, scale: _Scale) -> None:
    for number, line in enumerate(scale.lines):
        y = scale.at(line.value)
        x, anchor = (WIDTH - RIGHT - 4, "end") if number % 2 else (LEFT + 4, "start")
        _add(root, "line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="budget")
        _add(root, "text", line.words, x=x, y=y - 4 if y > TOP + 14 else y + 12, class_="budget", anchor=anchor)


def _whisker(root: Element, x: float, up: _Scale, point: Point) -> None:
    low, high = point.low_ms or point.ms, point.high_ms or point.ms
    if high > low:
        _add(root, "line", x1=x, x2=x, y1=up.at(low), y2=up.at(high), class_=f"whisker {_kind(point)}")


def _lines(across: _Scale, up: _Scale) -> list[Box]:
    """Return what the lines of budgets and their words cover, for labels to keep off."""
    found = []
    for number, line in enumerate(across.lines):
        x, y, anchor = _spot_across(across, number)
        width = LETTER * len(line.words)
        left = x - width if anchor == "end" else x
        found += [(x - 1, TOP, x + 1, PLANE_HEIGHT - BOTTOM), (left, y - LINE, left + width, y + 2)]
    for number, line in enumerate(up.lines):
        y, width = up.at(line.value), LETTER * len(line.words)
        left = WIDTH - RIGHT - 4 - width if number % 2 else LEFT
        found += [(LEFT, y - 1, WIDTH - RIGHT, y + 1), (left, y - 14, left + width + 4, y + 14)]
    return found


def _marks(
    root: Element, points: Sequence[Point], places: Sequence[tuple[float, float]], kept_free: Sequence[Box]
) -> None:
    labels = [_label(point) for point in points]
    named = [number for number, point in enumerate(points) if point.best or len(points) <= MOST_LABELS]
    named.sort(key=lambda number: not points[number].best)
    spots = dict(zip(named, place_labels([labels[number] for number in named], places, named, kept_free), strict=True))
    for number, (point, (x, y)) in enumerate(zip(points, places, strict=True)):
        group = _add(root, "g", class_=f"mark {_kind(point)}{' best' if point.best else ''}")
        _add(group, "title", f"{point.judged.variant.file}: {in_bytes(point.size_bytes)}, {_with_grade(point)}")
        _shape(group, point.judged.variant.precision, x, y)
        if (spot := spots.get(number)) is not None:
            if max(abs(spot[0] - x), abs(spot[1] - 4 - y)) > 24:
                _add(group, "line", x1=x, y1=y, x2=spot[0], y2=spot[1] - 4, class_="leader")
            _add(group, "text", labels[number], x=spot[0], y=spot[1], anchor=spot[2])


def _label(point: Point) -> str:
    return f"{point.judged.variant.precision[:12]} {point.judged.variant.target[:12]}"


def _kind(point: Point) -> str:
    return "tflite" if point.judged.variant.target == "tflite" else "onnx"


def _shape(parent: Element, precision: str, x: float, y: float) -> None:
    """Draw the mark of a precision: fp32 a circle, fp16 a square, int8 a diamond, others a triangle."""
    if precision == "fp32":
        _add(parent, "circle", cx=x, cy=y, r=5)
        return
    corners = {
        "fp16": ((-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)),
        "int8": ((0, -6.5), (6.5, 0), (0, 6.5), (-6.5, 0)),
    }.get(precision, ((0, -6), (5.5, 4.5), (-5.5, 4.5)))
    _add(parent, "polygon", points=" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners))


def place_labels(
    labels: Sequence[str],
    points: Sequence[tuple[float, float]],
    owners: Sequence[int],
    kept_free: Sequence[Box] = (),
) -> list[Spot | None]:
    """Return where the labels of points go so that none lies on another, on a point, or outside the plane.

    Each is nearer to its own point than to any other, or else so far away that it gets a line to it. The first ones
    choose first. One for which no place is left gets None: its point still has a title.

    Args:
        labels: texts.
        points: all points, in units.
        owners: index of each label's point.
        kept_free: further places to keep off: left, top, right, bottom.
    """
    taken = [*((x - 7, y - 7, x + 7, y + 7) for x, y in points), *kept_free]
    found: list[Spot | None] = []
    for label, owner in zip(labels, owners, strict=True):
        near = _candidates(points[owner], LETTER * len(label), NEAR)
        far = _candidates(points[owner], LETTER * len(label), FURTHER)
        free = ((spot, box) for spot, box in near if _nearest(box, points) == owner)
        fit = next((pair for pair in (*free, *far) if _is_free(pair[1], owner, taken)), None)
        found.append(None if fit is None else fit[0])
        taken += [] if fit is None else [fit[1]]
    return found


def _is_free(box: Box, owner: int, taken: Sequence[Box]) -> bool:
    inside = box[0] >= LEFT and box[2] <= WIDTH and box[1] >= TOP and box[3] <= PLANE_HEIGHT - BOTTOM
    return inside and not any(_overlap(box, rect) for number, rect in enumerate(taken) if number != owner)


def _candidates(place: tuple[float, float], width: float, gaps: Sequence[float]) -> Iterable[tuple[Spot, Box]]:
    x, y = place
    for gap in gaps:
        for dx, dy, anchor in (
            (9 + gap / 2, 4.0, "start"),
            (-9 - gap / 2, 4.0, "end"),
            (0.0, -10 - gap, "middle"),
            (0.0, 19 + gap, "middle"),
            (7.0, -8 - gap, "start"),
            (7.0, 16 + gap, "start"),
            (-7.0, -8 - gap, "end"),
            (-7.0, 16 + gap, "end"),
        ):
            left = x + dx - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
            yield (x + dx, y + dy, anchor), (left, y + dy - LINE + 2, left + width, y + dy + 3)


def _nearest(box: Box, points: Sequence[tuple[float, float]]) -> int:
    """Return which point is nearest to a box."""

    def away(number: int) -> float:
        x, y = points[number]
        return math.hypot(max(box[0] - x, 0.0, x - box[2]), max(box[1] - y, 0.0, y - box[3]))

    return min(range(len(points)), key=away)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


# --- rows of latencies ----------------------------------------------------------


def latency_plot(rows: Sequence[tuple[str, str, Timing]], device: str, ident: str) -> str:
    """Return the distributions of latencies, a row each, on one logarithmic axis; of predictions their intervals.

    Args:
        rows: label, kind ("onnx" or "tflite") and timing; those with samples or an interval; at most 12 are drawn.
        device: name of the device, for the description.
        ident: makes the ids of this plot those of no other.
    """
    rows = rows[:MOST_ROWS]
    ends = [end for *_, timing in rows for end in _ends(timing)]
    scale = _log_scale(ends, (), 8.0, WIDTH - 8.0)
    base = ROW * len(rows) + 6
    told = "; ".join(f"{label}: {_figures(timing)}" for label, _, timing in rows) + "."
    root = _picture(ident, base + AXIS, f"Latency on {device}", told)
    for value in scale.ticks:
        x = scale.at(value)
        _add(root, "line", x1=x, x2=x, y1=4, y2=base, class_="grid")
        half = len(_tick(value)) * LETTER / 2
        _add(root, "text", _tick(value), x=min(max(x, half), WIDTH - half), y=base + 15, class_="tick", anchor="middle")
    _add(root, "line", x1=0, x2=WIDTH, y1=base, y2=base, class_="axis")
    _add(root, "text", "ms", x=WIDTH - 8, y=base + 30, class_="name", anchor="end")
    for number, (label, kind, timing) in enumerate(rows):
        group = _add(root, "g", class_=f"row {kind}")
        _add(group, "title", f"{label}: {_figures(timing)}")
        _row_words(group, label, timing, ROW * number + 13)
        _row_curve(group, timing, scale, ROW * number + 17)
    return _text_of(root)


def _ends(timing: Timing) -> list[float]:
    if timing.infer is not None:
        return [timing.infer.least_ms, timing.infer.most_ms]
    return [end for end in (timing.low_ms, timing.high_ms, timing.p50_ms) if end is not None]


def _figures(timing: Timing) -> str:
    if timing.infer is None:
        interval = "" if timing.low_ms is None else f" ({in_ms(timing.low_ms)} to {in_ms(timing.high_ms or 0)})"
        return f"median {in_ms(timing.p50_ms or 0)}{interval} ms {timing.evidence}"
    found = {"p50": timing.infer.p50_ms, "p90": timing.infer.p90_ms, "p99": timing.infer.p99_ms}
    parts = [f"{name} {in_ms(value)}" for name, value in found.items() if value is not None]
    return f"{', '.join(parts) or f'mean {in_ms(timing.infer.mean_ms)}'} ms {timing.evidence}"


def _row_words(group: Element, label: str, timing: Timing, y: float) -> None:
    value = timing.typical_ms
    words = "" if value is None else f"{in_ms(value)} ms {timing.evidence}"
    room = int((WIDTH - 16 - LETTER * len(words)) / LETTER) - 1
    short = label if len(label) <= room else f"{label[: room - 1]}…"
    _add(group, "text", short, x=8, y=y, class_="label")
    _add(group, "text", words, x=WIDTH - 8, y=y, class_="value", anchor="end")


def _row_curve(group: Element, timing: Timing, scale: _Scale, top: float) -> None:
    base = top + RIDGE
    if timing.infer is None:
        if timing.low_ms is not None and timing.high_ms is not None:
            x1, x2 = scale.at(timing.low_ms), scale.at(timing.high_ms)
            _add(group, "rect", x=x1, y=base - 12, width=x2 - x1, height=8, rx=4, class_="interval")
        if timing.p50_ms is not None:
            _add(group, "circle", cx=scale.at(timing.p50_ms), cy=base - 8, r=4.5, class_="dot")
        return
    _add(group, "path", d=_ridge(timing.samples_ms, scale, base), class_="ridge")
    for value, height in ((timing.infer.p50_ms, RIDGE), (timing.infer.p90_ms, 11), (timing.infer.p99_ms, 6)):
        if value is not None:
            x = scale.at(value)
            _add(group, "line", x1=x, x2=x, y1=base - height, y2=base, class_="percentile")


def _ridge(samples: Sequence[float], scale: _Scale, base: float) -> str:
    """Return the outline of a smoothed histogram; where nothing was measured it stays on the base line."""
    places = np.array([scale.at(value) for value in samples])
    counts, _ = np.histogram(places, bins=BINS, range=(0.0, WIDTH))
    kernel = np.exp(-0.5 * (np.arange(-4, 5) / 1.4) ** 2)
    smooth = np.convolve(counts, kernel / kernel.sum(), mode="same")
    heights = RIDGE * smooth / max(float(smooth.max()), 1e-9)
    step = WIDTH / BINS
    kept = np.flatnonzero(heights > 0.05)
    parts: list[str] = []
    for run in np.split(kept, np.flatnonzero(np.diff(kept) > 1) + 1):
        x1, x2 = (run[0] + 0.5) * step, (run[-1] + 0.5) * step
        outline = " ".join(f"{(index + 0.5) * step:.1f} {base - heights[index]:.1f}" for index in run)
        parts.append(f"M{x1 - step / 2:.1f} {base:g}L{outline} {x2 + step / 2:.1f} {base:g}Z")
    return "".join(parts)


def stages_plot(rows: Sequence[tuple[str, Timing]], device: str, ident: str) -> str:
    """Return what whole frames are made of: medians of pre, infer and decode as parts of a bar.

    Args:
        rows: label and timing, with stages; at most 12 are drawn.
        device: name of the device, for the description.
        ident: makes the ids of this plot those of no other.
    """
    rows = rows[:MOST_ROWS]
    longest = max((sum(timing.stages.values()) for _, timing in rows), default=0.0) or 1.0
    told = "; ".join(f"{label}: {_stages(timing)}" for label, timing in rows) + "."
    root = _picture(ident, STAGE_ROW * len(rows) + 6, f"Stages of a frame on {device}", told)
    for number, (label, timing) in enumerate(rows):
        group = _add(root, "g", class_="row")
        _add(group, "title", f"{label}: {_stages(timing)}")
        y = STAGE_ROW * number + 13
        total = f"{in_ms(sum(timing.stages.values()))} ms {timing.evidence}"
        _add(group, "text", label[:32], x=8, y=y, class_="label")
        _add(group, "text", total, x=WIDTH - 8, y=y, class_="value", anchor="end")
        x = 8.0
        for stage in STAGES:
            width = timing.stages.get(stage, 0.0) / longest * (WIDTH - 16)
            _add(group, "rect", x=x, y=y + 5, width=max(width - 1, 0.2), height=BAR, class_=f"stage {stage}")
            x += width
    return _text_of(root)


def _stages(timing: Timing) -> str:
    parts = [f"{name} {in_ms(timing.stages[name])}" for name in STAGES if name in timing.stages]
    return f"{', '.join(parts)} ms {timing.evidence}"


# --- elements -------------------------------------------------------------------


def _picture(ident: str, height: float, title: str, told: str) -> Element:
    root = Element("svg", viewBox=f"0 0 {WIDTH:g} {height:g}", role="img")
    root.set("aria-labelledby", f"{ident}-t {ident}-d")
    _add(root, "title", title, id=f"{ident}-t")
    _add(root, "desc", told, id=f"{ident}-d")
    return root


def _add(parent: Element, name: str, text: str = "", **attributes: object) -> Element:
    """Append an element; numbers are rounded, `class_` is class and `anchor` is text-anchor."""
    names = {"class_": "class", "anchor": "text-anchor"}
    values = {
        names.get(key, key): f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
        for key, value in attributes.items()
    }
    child = SubElement(parent, name, values)
    child.text = text or None
    return child


def _text_of(root: Element) -> str:
    return tostring(root, encoding="unicode")
