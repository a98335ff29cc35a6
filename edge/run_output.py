"""What `edge run` says and writes: lines for programs and for people, and overlays that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import tempfile
from collections import Counter, deque
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from .run_plan import PICTURE_FORMATS
from .runtime.errors import InputError
from .runtime.files import umask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .runtime.pipeline import TimedResult
    from .runtime.stream import Frame
    from .runtime.video import VideoWriter

__all__ = [
    "Recorder",
    "Tally",
    "json_line",
    "print_result",
    "shown_name",
    "shown_text",
    "summary",
    "write_picture",
]

SCHEMA = 1
KEPT_TIMES = 100_000  # of which medians are taken: the last hour of a camera


def json_line(file: Path, frame: Frame, *, timed: bool) -> str:
    """Return one frame as a line of JSON.

    Args:
        file: what it is from.
        frame: one with a result.
        timed: whether it has a place in time, as those of videos, cameras and sounds have.
    """
    if frame.result is None:
        raise ValueError("a frame without a result has no line")
    line: dict[str, Any] = {"schema": SCHEMA, "file": os.fspath(file)}
    if timed:
        line |= {"frame": frame.index, "time_s": round(frame.time_s, 6), "skipped": frame.skipped}
    line["results"] = frame.result.to_dict()
    if frame.smooth is not None:
        line["smooth"] = frame.smooth.to_dict()
    line["times"] = {name: round(value, 3) for name, value in frame.result.times.items()}
    return json.dumps(line, allow_nan=False)


def summary(file: Path, result: TimedResult) -> str:
    """Return one result as a line for people."""
    spent = ", ".join(f"{stage.removesuffix('_ms')} {value:.1f}" for stage, value in result.times.items())
    notes = [f"{result.nonfinite} values were not finite"] if result.nonfinite else []
    notes += ["a cap was hit, some may be missing"] if result.truncated else []
    return f"{shown_name(file)}: {'; '.join([_finds(result), *notes])} [{spent} ms]"


def shown_name(file: Path) -> str:
    """Return a name for a terminal: it is the user's, but its bytes may be anybody's, control characters too."""
    return shown_text(os.fspath(file))


def shown_text(text: str) -> str:
    """Return somebody's text as one line that cannot drive a terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def print_result(text: str) -> None:
    """Print what a verb found, with its exit code still to come: a reader who has left, `head` for one, changes none.

    Raises:
        OSError: it cannot be written for another reason, such as a full disk.
    """
    with contextlib.suppress(BrokenPipeError):
        click.echo(text)


class Tally:
    """What a video, a camera or a sound came to, gathered frame by frame."""

    def __init__(self) -> None:
        self.frames = 0
        self._started = perf_counter()
        self._skipped = 0
        self._with_finds = 0
        self._most = 0
        self._kind = "raw"
        self._nonfinite = 0
        self._truncated = 0
        self._quadrants: Counter[str] = Counter()
        self._sums = [0.0, 0.0]
        self._times: dict[str, deque[float]] = {}

    @property
    def rate(self) -> float:
        """Frames a second since the beginning, reading and drawing included."""
        return self.frames / max(perf_counter() - self._started, 1e-9)

    def add(self, frame: Frame) -> None:
        """Count a frame."""
        self.frames += 1
        self._skipped += frame.skipped
        result = frame.result
        if result is None:
            return
        self._kind = result.kind
        found = len(result.faces) + len(result.people)
        self._with_finds += found > 0
        self._most = max(self._most, found)
        self._nonfinite += result.nonfinite > 0
        self._truncated += result.truncated
        if result.emotion is not None:
            self._quadrants[(frame.smooth or result.emotion).quadrant] += 1  # as the ribbon of a trace has it
            self._sums[0] += result.emotion.valence
            self._sums[1] += result.emotion.arousal
        for stage, value in result.times.items():
            self._times.setdefault(stage, deque(maxlen=KEPT_TIMES)).append(value)

    def line(self, file: Path, unit: str) -> str:
        """Return the line for people.

        Args:
            file: what was seen or heard.
            unit: what a frame is called, in the singular.
        """
        parts = [f"{_count(self.frames, unit, unit + 's')}, {self.rate:.1f} a second"]
        names = {"faces": ("face", "faces"), "people": ("person", "people")}
        if self._kind in names:
            found = _count(self._most, *names[self._kind])
            parts.append(
                f"{names[self._kind][1]} in {self._with_finds} of them, at most {found}"
                if self._most
                else f"no {names[self._kind][1]}"
            )
        heard = self._quadrants.total()
        if heard:
            valence, arousal = (total / heard for total in self._sums)
            name, often = self._quadrants.most_common(1)[0]
            parts.append(f"mostly {name} ({often / heard:.0%}); mean valence {valence:+.3f}, arousal {arousal:+.3f}")
        elif self._kind == "emotion":
            parts.append("no emotion")
        parts += [f"{self._skipped} skipped"] if self._skipped else []
        parts += [f"values of {self._nonfinite} were not finite"] if self._nonfinite else []
        parts += [f"a cap was hit in {self._truncated}, some may be missing"] if self._truncated else []
        medians = [f"{stage.removesuffix('_ms')} {statistics.median(some):.1f}" for stage, some in self._times.items()]
        return f"{shown_name(file)}: {'; '.join(parts)} [median {', '.join(medians)} ms]"


class Recorder:
    """The overlay of a video or a camera: a file that appears when it is finished, in a `with` block.

    Every picture of a video is written once; of one that is slower than encoders go, as often as its speed needs. A
    camera's come as they can, and are repeated or left out so that the recording plays at the speed of the clock. When
    something ends a camera, be it an error or Ctrl-C, the recording so far is kept; a video's is discarded.

    Args:
        target: the file; None records nothing.
        fps: pictures a second.
        hw: height and width of the pictures, pixels.
        live: whether it is a camera.
        force: whether an existing file may be replaced.
    """

    def __init__(self, target: Path | None, *, fps: float, hw: tuple[int, int], live: bool, force: bool) -> None:
        self._target = target
        self._live = live
        self._force = force
        self._start_s: float | None = None
        self._written = 0
        self._writer: VideoWriter | None = None
        if target is not None:
            from .runtime.video import MIN_FPS, VideoWriter

            self._each = max(1, math.ceil(MIN_FPS / fps))
            self._fps = fps * self._each
            self._writer = VideoWriter(target, self._fps, hw)

    def add(self, frame: Frame) -> None:
        """Draw a frame and append it."""
        if self._writer is None or frame.picture is None or frame.result is None:
            return
        copies = self._each
        if self._live:
            self._start_s = frame.time_s if self._start_s is None else self._start_s
            copies = int((frame.time_s - self._start_s) * self._fps) + 1 - self._written
        if copies <= 0:
            return
        from .runtime.draw import draw

        picture = draw(frame.picture, frame.result, caption=_caption(frame))
        for _ in range(copies):
            self._writer.write(picture)
            self._written += 1

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._writer is None or self._target is None:
            return
        try:
            if kind is None or (self._live and self._written):
                if not self._force and os.path.lexists(self._target):
                    raise InputError(f"`{self._target}` exists", hint="pass --force to replace it")
                self._writer.close()
        finally:
            self._writer.discard()


def write_picture(pixels: NDArray[Any], target: Path, *, force: bool = False) -> None:
    """Write a picture so that either the whole file appears or none.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        target: .png, .jpg or .jpeg.
        force: whether an existing file may be replaced.

    Raises:
        InputError: the file exists.
        OSError: it cannot be written; nothing is left behind.
    """
    from PIL import Image

    handle, temporary = tempfile.mkstemp(prefix=".edge-", suffix=target.suffix, dir=target.parent)
    try:
        with open(handle, "wb") as stream:
            Image.fromarray(pixels).save(stream, format=PICTURE_FORMATS[target.suffix.lower()])
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~umask())
        if force:
            os.replace(temporary, target)
        else:
            _appear(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _appear(temporary: str, target: Path) -> None:
    """Give a finished file its name unless the name has been taken meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError as exc:
        raise InputError(f"`{target}` exists", hint="pass --force to replace it") from exc
    except OSError:  # a file system without hard links: FAT on an SD card
        os.replace(temporary, target)
        return
    os.unlink(temporary)


def _caption(frame: Frame) -> str:
    """Return time and count for a frame of a video."""
    from .runtime.trace import clock

    words = [clock(frame.time_s, 0.1)]
    if frame.result is not None and frame.result.kind in ("faces", "people"):
        words.append(_finds_counted(frame.result))
    return "   ".join(words)


def _finds_counted(result: TimedResult) -> str:
    if result.kind == "faces":
        return _count(len(result.faces), "face", "faces")
    return _count(len(result.people), "person", "people")


def _finds(result: TimedResult) -> str:
    if result.kind == "faces":
        boxes = [f"{face.score:.2f} at " + ",".join(f"{side:.0f}" for side in face.box_xyxy) for face in result.faces]
        return "; ".join([_finds_counted(result), *boxes])
    if result.kind == "people":
        found = [
            f"{person.confidence:.2f} with {sum(point is not None for point in person.keypoints)} keypoints"
            for person in result.people
        ]
        return "; ".join([_finds_counted(result), *found])
    if result.emotion is not None:
        emotion = result.emotion
        return f"{emotion.quadrant}; valence {emotion.valence:+.3f}, arousal {emotion.arousal:+.3f}"
    if result.kind == "emotion":
        return "no emotion"
    return "; ".join(
        f"{name} {'x'.join(map(str, raw.shape))}"
        + ("" if raw.minimum is None or raw.maximum is None else f" in {raw.minimum:.4g}..{raw.maximum:.4g}")
        for name, raw in result.raw.items()
    )


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
