"""Overlays: what a decoder found, drawn onto the picture it was found in.

Colours are from the palette of Okabe and Ito (2008), which stays distinct for the colour-blind; everything has a dark
rim, so that it stands out on any background. Pillow loads when something is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, ShapeError
from .results import Emotion, Face, Person, Result
from .skeleton import KEYPOINTS, LIMBS

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

__all__ = ["draw", "font"]

UInt8 = NDArray[np.uint8]
Colour = tuple[int, int, int]

ORANGE, SKY, GREEN, YELLOW = (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)
BLUE, VERMILLION, PURPLE = (0, 114, 178), (213, 94, 0), (204, 121, 167)
WHITE, INK, PAPER, GRID = (255, 255, 255), (20, 20, 24), (250, 250, 247), (214, 214, 208)
LANDMARK_COLOURS = (SKY, YELLOW, WHITE, PURPLE, ORANGE)

MIN_LANDMARKS = 18  # pixels; on a smaller face the points would hide it
PANEL_SIDE = 720  # pixels of an emotion plane without a picture
SMOOTH_SIDE = 2400  # pixels; smaller overlays are drawn at twice the size and shrunk, which rounds off the steps
BLOCK = 64  # pixels; squares of the picture that nothing was drawn on are passed over
# Place of each name in the plane, from its upper left, and the corner of the text that sits there.
QUADRANTS = (
    ("tense", 0.03, 0.03, "la"),
    ("excited", 0.97, 0.03, "ra"),
    ("sad", 0.03, 0.97, "ld"),
    ("calm", 0.97, 0.97, "rd"),
)


def draw(image: UInt8 | None, result: Result, *, caption: str = "") -> UInt8:
    """Return the picture with boxes, skeletons or an emotion drawn on it.

    Args:
        image: (H, W, 3) uint8 RGB, of the size that the result's coordinates refer to; None for an emotion, which is
            then drawn by itself, 720 x 720. On a picture, such as its spectrogram, it goes to the lower right.
        result: from `decode.decode`; a raw result draws nothing.
        caption: a few words for a small plate in the lower left of a picture, such as the time of a video frame; left
            out where it does not fit.

    Returns:
        (H, W, 3) uint8 RGB, a new array.

    Raises:
        ShapeError: the picture has another shape than (H, W, 3), or another size than the result refers to.
        InputError: the picture is not uint8, or missing for faces or people.
    """
    if image is None:
        if result.emotion is None:
            raise InputError(f"a result of kind `{result.kind}` needs a picture to be drawn on")
        return _plane(result.emotion, PANEL_SIDE)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ShapeError("picture has the wrong shape", expected="(H, W, 3)", got=image.shape)
    if image.dtype != np.uint8:
        raise InputError("picture has the wrong dtype", expected="uint8", got=image.dtype)
    if result.original_hw not in (None, image.shape[:2]):
        raise ShapeError("result is of another picture", expected=result.original_hw, got=image.shape[:2])
    if result.emotion is not None:
        return _with_inset(image, result.emotion)
    if not result.faces and not result.people and not caption:
        return image.copy()
    return _overlay(image, result, caption)


def _overlay(image: UInt8, result: Result, caption: str) -> UInt8:
    """Draw on a clear layer of once or twice the size, then bring what was drawn to a copy."""
    from PIL import Image

    height, width = image.shape[:2]
    zoom = 2 if max(height, width) <= SMOOTH_SIDE else 1
    pen = _Pen(Image.new("RGBA", (width * zoom, height * zoom), (0, 0, 0, 0)), zoom)
    for person in reversed(result.people):
        _draw_person(pen, person)
    for face in reversed(result.faces):
        _draw_face(pen, face)
    for face in reversed(result.faces):
        _draw_score(pen, face)
    if caption:
        _draw_caption(pen, caption)
    picture = image.copy()
    for left, top, right, bottom in _drawn_on(pen.layer, BLOCK * zoom):
        # Pillow shrinks with premultiplied alpha, which keeps the transparent black around a line out of its colour.
        ink = pen.layer.crop((left, top, right, bottom)).reduce(zoom)
        under = picture[top // zoom : bottom // zoom, left // zoom : right // zoom]
        under[:] = np.asarray(Image.alpha_composite(Image.fromarray(under).convert("RGBA"), ink).convert("RGB"))
    return picture


def _drawn_on(layer: Image.Image, block: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield left, top, right, bottom of runs of blocks that are not empty: most of a layer is.

    A frame of 1280 x 720 with two people takes a third of the time that its whole layer would.
    """
    for top in range(0, layer.height, block):
        band = layer.crop((0, top, layer.width, min(top + block, layer.height)))
        start = None
        for left in range(0, layer.width + block, block):
            # past the right edge a block is empty, and ends the last run
            if left < layer.width and band.crop((left, 0, min(left + block, layer.width), band.height)).getbbox():
                start = left if start is None else start
            elif start is not None:
                yield start, top, min(left, layer.width), top + band.height
                start = None


class _Pen:
    """Draws shapes with a rim, in pixels of the picture, whatever the size of the layer."""

    def __init__(self, layer: Image.Image, zoom: int) -> None:
        from PIL import ImageDraw

        self.layer = layer
        self.zoom = zoom
        self.context: ImageDraw.ImageDraw = ImageDraw.Draw(layer)
        # A line is 1/250 of the shorter side: 2.5 pixels at 640, at least 1.
        self.width: float = max(1.0, min(layer.size) / zoom / 250)
        # Far outside is as good as very far, and Pillow's integers are 32 bits.
        self.reach: float = 2.0 * max(layer.size)

    def at(self, x: float, y: float) -> tuple[float, float]:
        return (
            min(max(x * self.zoom, -self.reach), 2 * self.reach),
            min(max(y * self.zoom, -self.reach), 2 * self.reach),
        )

    def line(self, start: tuple[float, float], end: tuple[float, float], width: float, colour: tuple[int, ...]) -> None:
        ends = [self.at(*start), self.at(*end)]
        thick = max(1, round(width * self.zoom))
        self.context.line(ends, fill=colour, width=thick)
        for x, y in ends:
            self.context.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=colour)

    def dot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        x, y = self.at(x, y)
        for size, fill in ((radius + max(0.6, radius * 0.3), INK), (radius, colour)):
            r = size * self.zoom
            self.context.ellipse((x - r, y - r, x + r, y + r), fill=fill)

    def box(self, corners: tuple[float, float, float, float], width: float, colour: tuple[int, ...]) -> None:
        x1, y1 = self.at(*corners[:2])
        x2, y2 = self.at(*corners[2:])
        half = width * self.zoom / 2
        # Pillow fails on some rectangles of a few pixels whose corners are no whole numbers.
        self.context.rounded_rectangle(
            (round(x1 - half), round(y1 - half), round(x2 + half), round(y2 + half)),
            radius=round(min(6 * half, (x2 - x1) / 4 + half, (y2 - y1) / 4 + half)),
            outline=colour,
            width=max(1, round(2 * half)),
        )


def _draw_face(pen: _Pen, face: Face) -> None:
    side = min(face.box_xyxy[2] - face.box_xyxy[0], face.box_xyxy[3] - face.box_xyxy[1])
    width = max(1.0, min(pen.width, side / 12))
    pen.box(face.box_xyxy, width * 1.9, (*INK, 150))
    pen.box(face.box_xyxy, width, (*SKY, 255))
    radius = max(0.8, min(width * 1.3, side / 22))
    if side >= MIN_LANDMARKS:
        for (x, y), colour in zip(face.landmarks, LANDMARK_COLOURS, strict=False):
            pen.dot(x, y, radius, colour)


def _draw_score(pen: _Pen, face: Face) -> None:
    """Write the score on a plate above the box; where there is no room, inside, or below a small one; or not at all."""
    x1, y1, x2, y2 = face.box_xyxy
    picture_width, picture_height = (side / pen.zoom for side in pen.layer.size)
    height = min(max(9.0, min(picture_width, picture_height) / 34), max(9.0, (x2 - x1) * 0.42))
    if x2 - x1 < 12 or not (0 <= (x1 + x2) / 2 < picture_width and y1 < picture_height):
        return
    plate = _Plate(pen, f"{face.score:.2f}", height)
    x, y = pen.at(max(x1, 0), y1)
    gap = pen.width * pen.zoom
    if y >= plate.height + gap:
        top = y - plate.height - gap
    elif y2 - y1 > 4 * plate.height / pen.zoom or pen.at(x1, y2)[1] + gap + plate.height > pen.layer.height:
        top = max(y, 0) + gap
    else:
        top = pen.at(x1, y2)[1] + gap
    plate.put(min(x, pen.layer.width - plate.width), top)


def _draw_caption(pen: _Pen, text: str) -> None:
    """Write a line into the lower left corner; not at all where it would cover half of the picture."""
    shorter = min(pen.layer.size) / pen.zoom
    plate = _Plate(pen, text, max(9.0, shorter / 36))
    margin = max(4.0, shorter / 60) * pen.zoom
    bottom = pen.layer.height - margin
    if plate.width + 2 * margin <= pen.layer.width and plate.height + margin <= pen.layer.height / 2:
        plate.put(margin, bottom - plate.height)


class _Plate:
    """A line of white text on a dark plate; `width` and `height` are in pixels of the layer."""

    def __init__(self, pen: _Pen, text: str, size: float) -> None:
        self.pen, self.text = pen, text
        self.font = font(size * pen.zoom)
        self.left, self.top, right, bottom = pen.context.textbbox((0, 0), text, font=self.font)
        self.pad = size * 0.22 * pen.zoom
        self.width: float = right - self.left + 2 * self.pad
        self.height: float = bottom - self.top + 2 * self.pad

    def put(self, x: float, y: float) -> None:
        """Draw it with its upper left corner at (x, y) of the layer."""
        corners = (x, y, x + self.width, y + self.height)
        self.pen.context.rounded_rectangle(corners, radius=self.pad, fill=(*INK, 215))
        place = (x + self.pad - self.left, y + self.pad - self.top)
        self.pen.context.text(place, self.text, font=self.font, fill=WHITE)


def _limb_colour(start: int, end: int) -> Colour:
    """Return a colour by part of the body: the person's right side warm, the left side cold, the head yellow."""
    names = {KEYPOINTS[start], KEYPOINTS[end]}
    text = " ".join(names)
    if names & {"nose", "right_eye", "left_eye", "right_ear", "left_ear"}:
        return YELLOW
    leg = any(word in text for word in ("hip", "knee", "ankle"))
    if "right" in text:
        return ORANGE if leg else VERMILLION
    return SKY if leg else BLUE


def _draw_person(pen: _Pen, person: Person) -> None:
    points = [None if point is None else (point.x, point.y) for point in person.keypoints]
    width = _person_width(pen, points)
    drawn = [limb for limb in LIMBS[:17] if points[limb.start] is not None and points[limb.end] is not None]
    for extra, opaque in ((1.7, 190), (1.0, 255)):
        for limb in drawn:
            start, end = points[limb.start], points[limb.end]
            if start is not None and end is not None:
                face = limb.end >= 14 or limb.start >= 14
                colour = (*INK, opaque) if extra > 1 else (*_limb_colour(limb.start, limb.end), opaque)
                pen.line(start, end, width * extra * (0.7 if face else 1.0), colour)
    for index, point in enumerate(points):
        if point is not None:
            pen.dot(*point, width * (0.42 if index >= 14 or index == 0 else 0.62), WHITE)


def _person_width(pen: _Pen, points: Sequence[tuple[float, float] | None]) -> float:
    """Return the width of a limb: in proportion to the person, but neither a hair nor a beam."""
    found = np.array([point for point in points if point is not None])
    if not len(found):
        return pen.width
    size = float(np.hypot(*(found.max(axis=0) - found.min(axis=0))))
    return min(max(size / 45, pen.width * 0.9), pen.width * 2.8)


def _with_inset(image: UInt8, emotion: Emotion) -> UInt8:
    side = min(image.shape[:2])
    side = side if side < 240 else max(240, side * 9 // 20)
    result = image.copy()
    margin = min(side // 24, min(image.shape[:2]) - side)
    bottom, right = image.shape[0] - margin, image.shape[1] - margin
    result[bottom - side : bottom, right - side : right] = _plane(emotion, side)
    return result


def _plane(emotion: Emotion, side: int) -> UInt8:
    """Return the valence-arousal plane with one point, (side, side, 3)."""
    from PIL import Image, ImageDraw

    big = side * 2
    picture = Image.new("RGB", (big, big), PAPER)
    pen = ImageDraw.Draw(picture)
    edge = round(big * 0.11)
    span = big - 2 * edge
    rim = max(1, big // 480)

    def at(valence: float, arousal: float) -> tuple[float, float]:
        return edge + (valence + 1) / 2 * span, edge + (1 - arousal) / 2 * span

    x, y = at(emotion.valence, emotion.arousal)
    chosen = (
        *at(min(0.0, float(np.copysign(1, emotion.valence))), max(0.0, float(np.copysign(1, emotion.arousal)))),
        *at(max(0.0, float(np.copysign(1, emotion.valence))), min(0.0, float(np.copysign(1, emotion.arousal)))),
    )
    pen.rectangle(chosen, fill=(226, 239, 248))
    for tick in (-1.0, -0.5, 0.5, 1.0):
        pen.line([at(tick, -1), at(tick, 1)], fill=GRID, width=rim)
        pen.line([at(-1, tick), at(1, tick)], fill=GRID, width=rim)
    pen.line([at(0, -1), at(0, 1)], fill=INK, width=rim * 2)
    pen.line([at(-1, 0), at(1, 0)], fill=INK, width=rim * 2)

    large, small = font(big / 19), font(big / 28)
    for name, right, down, anchor in QUADRANTS:
        fill = BLUE if name == emotion.quadrant else (150, 150, 146)
        pen.text((edge + right * span, edge + down * span), name, font=large, fill=fill, anchor=anchor)
    _caption(pen, (big / 2, edge * 0.52), "arousal", small)
    _caption(pen, (big / 2, big - edge * 0.5), _figures(emotion), small)
    word = Image.new("L", (span, edge), 0)
    ImageDraw.Draw(word).text((span / 2, edge / 2), "valence", font=small, fill=255, anchor="mm")
    turned = word.rotate(-90, expand=True)
    picture.paste(Image.new("RGB", turned.size, INK), (big - edge, edge), turned)

    pen.line([at(0, 0), (x, y)], fill=BLUE, width=rim * 4)
    for radius, colour in ((big / 42, INK), (big / 50, WHITE), (big / 66, VERMILLION)):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.array(picture.resize((side, side), Image.Resampling.BOX))


def _figures(emotion: Emotion) -> str:
    return f"valence {emotion.valence_1to9:.1f} / 9    arousal {emotion.arousal_1to9:.1f} / 9"


def _caption(pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, font: Any) -> None:
    pen.text(place, text, font=font, fill=INK, anchor="mm")


def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font, which needs no file, in a size of pixels."""
    from PIL import ImageFont

    return ImageFont.load_default(size=max(6.0, size))
