"""A trace: how the valence and arousal of a piece went over time, as one picture for a talk.

Two lines over the clock, and under them a ribbon in the colour of the quadrant that the piece was in. The raw values
are thin, the smoothed ones thick. Colours are from the palette of Okabe and Ito (2008). Pillow loads when something
is drawn.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .draw import BLUE, GREEN, GRID, INK, ORANGE, PAPER, PURPLE, SKY, VERMILLION, Colour, font
from .emotion import to_1to9
from .errors import InputError
from .results import Emotion

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

__all__ = ["TracePoint", "clock", "draw_trace"]

UInt8 = NDArray[np.uint8]

QUADRANT_COLOURS = {"excited": ORANGE, "calm": GREEN, "tense": PURPLE, "sad": SKY}
LINE_COLOURS = {"valence": BLUE, "arousal": VERMILLION}
FAINT = (118, 118, 114)  # of what is read last: 4.5 : 1 on paper, the least for text in WCAG 2.2
MIN_HW = (240, 400)  # pixels; in a smaller picture the words would cover the lines
MAX_HW = (4320, 7680)
STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


class TracePoint(NamedTuple):
    """The emotion at one time: seconds from the start of the piece, as heard, and smoothed (None: not smoothed)."""

    time_s: float
    raw: Emotion
    smooth: Emotion | None


def draw_trace(points: Sequence[TracePoint], *, title: str = "", hw: tuple[int, int] = (720, 1280)) -> UInt8:
    """Return a picture of valence and arousal over time.

    Args:
        points: at least one, by ascending time. The ribbon goes by the smoothed emotion where there is one.
        title: one line above, cut where it is too long.
        hw: height and width, pixels, 240 x 400 to 4320 x 7680.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: no point, a time that is not finite or not later than the one before, or a size out of range.
    """
    from PIL import Image, ImageChops, ImageDraw

    times = np.array([point.time_s for point in points], np.float64)
    if not len(times):
        raise InputError("a trace needs at least one point")
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise InputError("times of a trace must be finite and ascend")
    if not (MIN_HW[0] <= hw[0] <= MAX_HW[0] and MIN_HW[1] <= hw[1] <= MAX_HW[1]):
        raise InputError("size of a trace is out of range", expected=f"{MIN_HW} to {MAX_HW}", got=hw)
    picture = Image.new("RGB", (hw[1] * 2, hw[0] * 2), PAPER)  # shrunk at the end, which rounds off the steps
    sheet = _Sheet(ImageDraw.Draw(picture), hw[0] * 2, hw[1] * 2, float(times[0]), float(times[-1]))
    _draw_scales(sheet)
    _draw_clock(sheet)
    smoothed = any(point.smooth is not None for point in points)
    if smoothed and len(points) > 1:
        for name, colour in LINE_COLOURS.items():
            # Where the thin lines are dense they are areas, and the darker of two shows both.
            thin = Image.new("RGB", picture.size, PAPER)
            _draw_thin(
                sheet, ImageDraw.Draw(thin), [(point.time_s, getattr(point.raw, name)) for point in points], colour
            )
            picture.paste(ImageChops.darker(picture, thin))
    _draw_lines(sheet, points)
    _draw_ribbon(sheet, points)
    _draw_head(sheet, title, "thin: each window, thick: smoothed" if smoothed and len(points) > 1 else "")
    return np.array(picture.reduce(2))


def clock(time_s: float, step_s: float = 1.0) -> str:
    """Return a time as m:ss, or h:mm:ss from an hour on; with a tenth where steps are shorter than a second."""
    tenths = round(time_s * 10) if step_s < 1 else round(time_s) * 10
    sign, tenths = "-" if tenths < 0 else "", abs(tenths)
    seconds, tenth = divmod(tenths, 10)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{sign}{head}:{seconds:02d}" + (f".{tenth}" if step_s < 1 else "")


class _Sheet:
    """Where things are on the doubled picture, in its pixels."""

    def __init__(self, pen: ImageDraw.ImageDraw, height: int, width: int, start_s: float, end_s: float) -> None:
        self.pen = pen
        # A pixel of a picture of 1280 x 720; in a tall or a wide one the words grow less than the picture.
        self.unit: float = min((height * width / (720 * 1280)) ** 0.5, height / 480, width / 800)
        unit = self.unit
        self.small, self.large = font(max(22, 20 * unit)), font(max(26, 28 * unit))
        self.line = line = float(self.small.getbbox("0")[3])
        # From the outside in: the words take what they need, and the lines have the rest.
        self.left: float = self.small.getlength("+0.5") + 40 * unit
        self.right: float = width - self.small.getlength("0") - 50 * unit
        self.height = height
        self.top: float = 3.1 * line + 40 * unit
        self.ribbon_bottom = height - 2.0 * line - 24 * unit
        self.ribbon_top = self.ribbon_bottom - max(30 * unit, 1.5 * line)
        self.bottom: float = self.ribbon_top - 1.7 * line - 16 * unit
        self.start_s, self.end_s = start_s, end_s

    def x(self, time_s: float) -> float:
        if self.end_s == self.start_s:  # one point: in the middle
            return (self.left + self.right) / 2
        return self.left + (time_s - self.start_s) / (self.end_s - self.start_s) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - (value + 1) / 2 * (self.bottom - self.top)

    def stroke(self, width: float) -> int:
        return max(1, round(width * self.unit))


def _draw_scales(sheet: _Sheet) -> None:
    """Draw -1..1 at the left, 1..9 at the right, and what the ends mean."""
    pen, gap = sheet.pen, 14 * sheet.unit
    roomy = sheet.y(0.0) - sheet.y(0.5) > 1.6 * sheet.line
    for value in (-1.0, -0.5, 0.0, 0.5, 1.0) if roomy else (-1.0, 0.0, 1.0):
        y = sheet.y(value)
        fill, width = (FAINT, sheet.stroke(3)) if value == 0 else (GRID, sheet.stroke(2))
        pen.line([(sheet.left, y), (sheet.right, y)], fill=fill, width=width)
        pen.text((sheet.left - gap, y), f"{value:+g}" if value else "0", font=sheet.small, fill=INK, anchor="rm")
        pen.text((sheet.right + gap, y), f"{to_1to9(value):g}", font=sheet.small, fill=FAINT, anchor="lm")


def _draw_clock(sheet: _Sheet) -> None:
    """Write the time under the lines, at steps that a clock has."""
    pen = sheet.pen
    y = sheet.bottom + 10 * sheet.unit
    if sheet.end_s == sheet.start_s:
        pen.text((sheet.x(sheet.start_s), y), clock(sheet.start_s), font=sheet.small, fill=INK, anchor="ma")
        return
    span = sheet.end_s - sheet.start_s
    room = 2.4 * sheet.small.getlength(clock(sheet.end_s, min(span / 10, 1.0)))
    most = max(1.0, (sheet.right - sheet.left) / room)
    step = next((step for step in STEPS_S if span / step <= most), None)
    if step is None:
        step = STEPS_S[-1] * float(np.ceil(span / STEPS_S[-1] / most))
    for index in range(int(np.ceil(sheet.start_s / step - 1e-9)), int(np.floor(sheet.end_s / step + 1e-9)) + 1):
        x = sheet.x(index * step)
        pen.line([(x, sheet.top), (x, sheet.bottom)], fill=GRID, width=sheet.stroke(2))
        pen.text((x, y), clock(index * step, step), font=sheet.small, fill=INK, anchor="ma")


def _draw_thin(sheet: _Sheet, pen: ImageDraw.ImageDraw, values: Sequence[tuple[float, float]], colour: Colour) -> None:
    places = [(sheet.x(time), sheet.y(value)) for time, value in values]
    dense = len(places) > (sheet.right - sheet.left) / 8
    pale = _paler(colour, 0.65 if dense else 0.5)
    pen.line(places, fill=pale, width=sheet.stroke(2 if dense else 2.6), joint="curve")


def _draw_lines(sheet: _Sheet, points: Sequence[TracePoint]) -> None:
    """Draw what the eye shall follow: the smoothed values, or the raw ones where nothing is smoothed."""
    for name, colour in LINE_COLOURS.items():
        values = [(point.time_s, getattr(point.smooth or point.raw, name)) for point in points]
        places = _thinned(np.array([(sheet.x(time), sheet.y(value)) for time, value in values]))
        if len(values) == 1:
            _draw_dot(sheet, name, values[0][1], colour)
            continue
        for width, ink in ((12, PAPER), (7, colour)):  # with a rim, so that the lines part where they cross
            thick = sheet.stroke(width)
            sheet.pen.line([(float(x), float(y)) for x, y in places], fill=ink, width=thick, joint="curve")
            for x, y in (places[0], places[-1]):
                sheet.pen.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=ink)


def _thinned(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean place in each 4 columns where places are denser than that; else all of them."""
    _, column, count = np.unique(places[:, 0].astype(np.int64) // 4, return_inverse=True, return_counts=True)
    if len(count) * 2 > len(places):
        return places
    return np.stack([np.bincount(column, places[:, axis]) / count for axis in (0, 1)], axis=1)


def _draw_dot(sheet: _Sheet, name: str, value: float, colour: Colour) -> None:
    """Draw the only point there is, with its figures at one side: those of the other line may be as high."""
    x, y = sheet.x(sheet.start_s), sheet.y(value)
    for radius, ink in ((17 * sheet.unit, PAPER), (12 * sheet.unit, colour)):
        sheet.pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
    at_left = name == "valence"
    x += (-28 if at_left else 28) * sheet.unit
    text = f"{name} {value:+.2f}, {to_1to9(value):.1f} of 9"
    plate = sheet.pen.textbbox((x, y), text, font=sheet.small, anchor="rm" if at_left else "lm")
    pad = 6 * sheet.unit
    sheet.pen.rectangle((plate[0] - pad, plate[1] - pad, plate[2] + pad, plate[3] + pad), fill=PAPER)
    sheet.pen.text((x, y), text, font=sheet.small, fill=colour, anchor="rm" if at_left else "lm")


def _draw_ribbon(sheet: _Sheet, points: Sequence[TracePoint]) -> None:
    """Draw which quadrant the piece was in, and under it how much of the time it spent in each."""
    pen = sheet.pen
    spent = dict.fromkeys(QUADRANT_COLOURS, 0.0)
    for name, left, right in _runs(sheet, points):
        spent[name] += right - left
        corners = (round(left), sheet.ribbon_top, max(round(right) - 1, round(left)), sheet.ribbon_bottom)
        pen.rectangle(corners, fill=QUADRANT_COLOURS[name])
        if right - left > sheet.small.getlength(name) + sheet.line:
            middle = ((left + right) / 2, (sheet.ribbon_top + sheet.ribbon_bottom) / 2)
            pen.text(middle, name, font=sheet.small, fill=INK, anchor="mm")
    whole = sum(spent.values())
    x, y = sheet.left, (sheet.ribbon_bottom + sheet.height) / 2
    room = (sheet.right - sheet.left) / len(spent)
    for name, share in spent.items():
        side = sheet.line * 0.4
        pen.rectangle((x, y - side, x + 2 * side, y + side), fill=QUADRANT_COLOURS[name])
        text = f"{name} {share / whole:.0%}"
        pen.text((x + 3.2 * side, y), text, font=sheet.small, fill=INK if share else FAINT, anchor="lm")
        x += room


def _runs(sheet: _Sheet, points: Sequence[TracePoint]) -> Iterator[tuple[str, float, float]]:
    """Yield quadrant, left and right of each stretch; a point reaches half-way to its neighbours."""
    names = [(point.raw if point.smooth is None else point.smooth).quadrant for point in points]
    places = [sheet.x(point.time_s) for point in points]
    left = sheet.left
    for index, name in enumerate(names):
        if index + 1 == len(names):
            yield name, left, sheet.right
        elif names[index + 1] != name:
            right = (places[index] + places[index + 1]) / 2
            yield name, left, right
            left = right


def _draw_head(sheet: _Sheet, title: str, note: str) -> None:
    """Write the title, under it which line is which, and a note where there is room."""
    pen, unit = sheet.pen, sheet.unit
    y = 30 * unit
    pen.text((sheet.left, y), _fitted(title, sheet.large, sheet.right - sheet.left), font=sheet.large, fill=INK)
    y = sheet.top - 1.1 * sheet.line
    x = sheet.left
    for name, colour in LINE_COLOURS.items():
        pen.line([(x, y), (x + 40 * unit, y)], fill=colour, width=sheet.stroke(8))
        x += 40 * unit + 0.5 * sheet.line
        pen.text((x, y), name, font=sheet.small, fill=INK, anchor="lm")
        x += sheet.small.getlength(name) + 1.6 * sheet.line
    if x + sheet.small.getlength(note) < sheet.right:
        pen.text((sheet.right, y), note, font=sheet.small, fill=FAINT, anchor="rm")


def _fitted(text: str, face: Font, width: float) -> str:
    """Return the text without what the font cannot show, cut at the end to a width."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    plain = "".join(char if char in "·…" or (char.isascii() and char.isprintable()) else "?" for char in plain)
    if face.getlength(plain) <= width:
        return plain
    plain = plain[:200]
    while plain and face.getlength(plain + "…") > width:
        plain = plain[:-1]
    return plain + "…"


def _paler(colour: Colour, share: float) -> Colour:
    """Return a colour mixed with paper."""
    red, green, blue = (round(ink * (1 - share) + paper * share) for ink, paper in zip(colour, PAPER, strict=True))
    return red, green, blue
