"""Results for a video, a camera, a folder, a long sound or any iterable, with the three stages overlapping.

    reader thread   reads and preprocesses    --channel-->
    engine thread   infers                    --channel-->
    caller          decodes, in `next`

Both channels are bounded: a stage that is ahead waits, asleep. Nothing is dropped, doubled or reordered, except that a
live source lets the newest picture replace one that still waits for the engine.
"""

from __future__ import annotations

import math
import os
import re
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .audio_input import audio_windows
from .card import Card, InputSpec
from .emotion import Smoother
from .errors import ArtifactError, CardError, EdgeError, InputError, MediaError
from .results import Emotion
from .video import VIDEO_SUFFIXES, VideoReader

if TYPE_CHECKING:
    from .pipeline import Pipeline, Prepared, TimedResult

__all__ = ["FILE_SUFFIXES", "Channel", "Frame", "Opened", "Stream", "open_source"]

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

# What is taken of a folder, by the kind of the card's input.
FILE_SUFFIXES = {
    "image": (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"),
    "audio": (".aif", ".aiff", ".flac", ".mp3", ".ogg", ".wav"),
}
MAX_DEPTH = 64  # pictures that wait; at 1280x720 they take 2.6 MiB each
ITEM_STEP_S = 1.0 / 25.0  # between items of folders and iterables, which have no clock
WINDOW_SHARE = 6  # a step between audio windows is the card's length over this: 5 s of 30
JOIN_S = 5.0  # a stage that hangs (a dead camera, a blocking iterable) is left behind after this
CAMERA = re.compile(r"camera:(\d{1,9})")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no single truth to compare by
class Frame:
    """One item of a stream. Exactly one of `result` and `error` is set.

    Attributes:
        index: its place in the source, from 0.
        time_s: seconds from the source's beginning: of a video picture; of an audio window's start; since a camera was
            opened; of items without a clock their index times the stream's step.
        name: the file it is from, "camera:0", or "" for arrays.
        picture: (H, W, 3) uint8 RGB as it was read; None for sound and tensors, and where it could not be read.
        result: what the model saw or heard, with the item's own stage times.
        error: why a folder's or an iterable's item could not be read; the others go on.
        smooth: the emotion smoothed over time, where that was asked for; `result` keeps the raw one.
        skipped: items before this one for which nobody had time; 0 unless the stream takes the latest.
    """

    index: int
    time_s: float
    name: str = ""
    picture: UInt8 | None = None
    result: TimedResult | None = None
    error: EdgeError | None = None
    smooth: Emotion | None = None
    skipped: int = 0


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing read from a source, or on its way through the stages.

    Attributes:
        time_s, name: see `Frame`.
        value: a path, picture, (samples, rate) or tensor; None once it is prepared.
        index: place in the source.
        prepared: what the engine takes.
        outputs: what the engine gave.
        infer_ms: what that took.
        error: why it cannot be read.
    """

    time_s: float
    name: str
    value: Any
    index: int = 0
    prepared: Prepared | None = None
    outputs: dict[str, Float32] | None = None
    infer_ms: float = 0.0
    error: EdgeError | None = None


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A source that is open.

    Attributes:
        items: in order; iterated and closed by one thread.
        close: releases a video or a camera.
        many: whether the items are independent of each other, so that a bad one does not end the stream.
        live, fps, total, hw: see `Stream`.
    """

    items: Generator[Item, None, None]
    close: Callable[[], None] = lambda: None
    many: bool = False
    live: bool = False
    fps: float | None = None
    total: int | None = None
    hw: tuple[int, int] | None = None


class Channel(Generic[T]):
    """A bounded first-in first-out queue from one thread to another, which either side can shut.

    Waiting is on a condition: it costs no time, and Ctrl-C interrupts it.

    Args:
        capacity: most items that wait.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        # Its lock is reentrant: the garbage collector may close a stream from within one of these methods.
        self._changed = threading.Condition()
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Append an item, after waiting for room; False if the other side is gone."""
        with self._changed:
            if not self.wait_room():
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def put_newest(self, item: T) -> bool:
        """Append an item without waiting, in place of the last one if there is no room; False: other side gone."""
        with self._changed:
            if self._closed:
                return False
            if len(self._items) >= self._capacity:
                self._items.pop()
            self._items.append(item)
            self._changed.notify_all()
            return True

    def wait_room(self) -> bool:
        """Wait until an item fits; False if the other side is gone."""
        with self._changed:
            while len(self._items) >= self._capacity and not self._closed:
                self._changed.wait()
            return not self._closed

    def get(self) -> T | None:
        """Return the oldest item, after waiting for one; None at the end.

        Raises:
            BaseException: what the other side ended with, after the items before it.
        """
        with self._changed:
            while not (self._items or self._ended or self._closed):
                self._changed.wait()
            if self._items and not self._closed:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            error, self._error = self._error, None
        if error is None:
            return None
        try:
            raise error
        finally:
            del error  # or error and frame would hold each other, and all that hangs on them

    def end(self, error: BaseException | None = None) -> None:
        """Say that no more items come, and why if it is an error."""
        with self._changed:
            self._ended, self._error = True, None if self._closed else error
            self._changed.notify_all()

    def close(self) -> None:
        """Shut both sides at once; waiting items are dropped."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._error = None
            self._changed.notify_all()


class Stream:
    """The frames of a source; `Pipeline.stream` makes one.

    It reads ahead, from the beginning on, by what its channels hold. An error of a stage comes out of `next` in its
    place, behind the frames before it, and ends the stream. The end, an error, Ctrl-C in `next`, `close`, leaving a
    `with` block and the garbage collector all end its two threads and release the source; the pipeline stays usable.
    One thread at a time may call `next`.

    A thread that hangs where nobody can reach it (in the driver of a dead camera, in an iterable that blocks) is
    waited for 5 s and then left: it ends when it wakes, and does not keep the process alive.

    Args:
        pipeline: what answers; not closed with the stream.
        source: from `open_source`; closed with the stream.
        depth, half_life_s, latest: see `Pipeline.stream`.

    Attributes:
        live: whether it is a camera.
        fps: pictures a second of a video or a camera; None for others.
        total: how many frames to expect, by a header or a length; None where nobody knows.
        hw: height and width of a video's or a camera's pictures, pixels; None for others.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        source: Opened,
        *,
        depth: int = 2,
        half_life_s: float | None = None,
        latest: bool | None = None,
    ) -> None:
        try:
            if not (isinstance(depth, int) and 1 <= depth <= MAX_DEPTH):
                raise InputError("bad stream depth", expected=f"a whole number, 1 to {MAX_DEPTH}", got=depth)
            self._smoother = None if half_life_s is None else Smoother(half_life_s)
        except BaseException:
            source.close()
            raise
        self.live, self.fps, self.total, self.hw = source.live, source.fps, source.total, source.hw
        newest = source.live if latest is None else latest
        work = _Work(pipeline, source, newest, Channel(1 if newest else depth), Channel(1 if newest else depth))
        # The threads know `work` and not this object, so that dropping it is noticed.
        threads = [
            threading.Thread(target=run, args=(work,), name=f"edge-{name}", daemon=True)
            for name, run in (("reader", _read_all), ("engine", _infer_all))
        ]
        self._pipeline = pipeline
        self._results = work.inferred
        self._expected = 0
        self._finish = weakref.finalize(self, _shut, work, threads)
        for thread in threads:
            thread.start()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Frame:
        try:
            item = self._results.get()
            frame = None if item is None else self._decoded(item)
        except BaseException:  # Ctrl-C too
            self.close()
            raise
        if frame is None:
            self.close()
            raise StopIteration
        return frame

    def close(self) -> None:
        """End both threads and release the source. Safe to call twice; `next` then says that the stream is over."""
        self._finish()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _decoded(self, item: Item) -> Frame:
        skipped, self._expected = item.index - self._expected, item.index + 1
        frame = Frame(index=item.index, time_s=item.time_s, name=item.name, error=item.error, skipped=skipped)
        if item.prepared is None or item.outputs is None:
            return frame
        result = self._pipeline.decode(item.prepared, item.outputs, item.infer_ms)
        smooth = None
        if self._smoother is not None and result.emotion is not None:
            smooth = self._smoother(result.emotion, item.time_s)
        return replace(frame, picture=item.prepared.picture, result=result, smooth=smooth)


def open_source(
    source: str | os.PathLike[str] | int | Iterable[Any], card: Card, *, step_s: float | None = None
) -> Opened:
    """Return a source that is ready to be read; see `Pipeline.stream` for what it may be.

    Raises:
        MediaError, DeviceError: a video or a camera cannot be opened.
        InputError: the card does not take such a source, the folder holds no file for it, or the step is no time.
        MissingExtraError: video without OpenCV.
    """
    if step_s is not None and not (math.isfinite(step_s) and step_s > 0):
        raise InputError("bad step", expected="a time above 0 s", got=step_s)
    spec = card.input
    if isinstance(source, str | os.PathLike) and os.fspath(source).startswith("camera:"):
        number = CAMERA.fullmatch(os.fspath(source))
        if number is None:
            raise InputError("a camera has a number", expected="`camera:0`", got=f"`{os.fspath(source)}`")
        return _open_video(int(number[1]), spec)
    if isinstance(source, str | os.PathLike):
        if not os.fspath(source):  # of a variable that is not set; `Path` would take it for this folder
            raise _not_a_source("an empty path")
        return _open_path(Path(source), spec, step_s)
    if isinstance(source, int) and not isinstance(source, bool):
        return _open_video(source, spec)
    if not isinstance(source, Iterable) or isinstance(source, bytes | bytearray | memoryview):
        raise _not_a_source(type(source).__name__)
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[1], int | np.integer):
        raise _not_a_source("(samples, rate)")
    if isinstance(source, np.ndarray) and source.ndim != {"image": 4, "tensor": len(spec.shape) + 1}.get(spec.kind):
        raise _not_a_source(f"an array {source.shape}")
    total = len(source) if isinstance(source, Sized) else None
    return Opened(items=_each(source, ITEM_STEP_S if step_s is None else step_s), many=True, total=total)


def _not_a_source(got: str) -> InputError:
    return InputError(
        "this cannot be streamed",
        expected="a folder, a file, `camera:0`, or an iterable of pictures, sounds or paths",
        got=got,
        hint="put a single picture, tensor or (samples, rate) into a list",
    )


def _open_path(path: Path, spec: InputSpec, step_s: float | None) -> Opened:
    if spec.kind not in FILE_SUFFIXES:
        raise InputError(f"a card of kind `{spec.kind}` reads no files", expected="an iterable of tensors")
    if path.is_dir():
        suffixes = FILE_SUFFIXES[spec.kind]
        try:
            files = sorted(item for item in path.iterdir() if item.suffix.lower() in suffixes and item.is_file())
        except OSError as exc:
            raise MediaError(f"cannot read `{path}`: {exc.strerror}") from exc
        if not files:
            raise InputError(f"folder `{path}` holds no {spec.kind} file", expected=" ".join(suffixes))
        return Opened(items=_each(files, ITEM_STEP_S if step_s is None else step_s), many=True, total=len(files))
    if spec.audio is not None:
        step = spec.audio.seconds / WINDOW_SHARE if step_s is None else step_s
        windows, name = audio_windows(path, spec, step), os.fspath(path)
        return Opened(items=(Item(time_s=part.start_s, name=name, value=(part.samples, part.rate)) for part in windows))
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return _open_video(path, spec)
    return Opened(items=_each([path], ITEM_STEP_S), total=1)


def _open_video(source: Path | int, spec: InputSpec) -> Opened:
    if spec.kind != "image":
        raise InputError(f"a card of kind `{spec.kind}` takes no video", expected="kind `image`")
    reader = VideoReader(source)
    name = f"camera:{source}" if isinstance(source, int) else os.fspath(source)
    items = (Item(time_s=time_s, name=name, value=picture) for time_s, picture in reader)
    return Opened(items=items, close=reader.close, live=reader.live, fps=reader.fps, total=reader.frames, hw=reader.hw)


def _each(values: Iterable[Any], step_s: float) -> Generator[Item, None, None]:
    for index, value in enumerate(values):
        name = os.fspath(value) if isinstance(value, str | os.PathLike) else ""
        yield Item(time_s=index * step_s, name=name, value=value)


@dataclass(frozen=True)
class _Work:
    """What the two threads share."""

    pipeline: Pipeline
    source: Opened
    newest: bool
    ready: Channel[Item]
    inferred: Channel[Item]


def _read_all(work: _Work) -> None:
    """Read and prepare until the source ends, fails, or nobody wants more."""
    try:
        try:
            for index, item in enumerate(work.source.items):
                item = replace(item, index=index)
                # Where the newest replaces, most items may never be used: the engine's thread prepares what it takes.
                put = work.ready.put_newest if work.newest else work.ready.put
                if not put(item if work.newest else _prepared(work, item)):
                    break
        finally:
            work.source.items.close()
            work.source.close()
    except BaseException as exc:
        work.ready.end(exc)
    else:
        work.ready.end()


def _infer_all(work: _Work) -> None:
    """Infer what has been prepared."""
    try:
        # Room first, so that a live source's item is as new as can be when it is taken.
        while work.inferred.wait_room() and (item := work.ready.get()) is not None:
            if item.prepared is None and item.error is None:
                item = _prepared(work, item)
            if item.prepared is not None:
                outputs, infer_ms = work.pipeline.infer(item.prepared)
                item = replace(item, outputs=outputs, infer_ms=infer_ms)
            work.inferred.put(item)
            del item  # or its picture would be held while the next one is waited for
    except BaseException as exc:
        work.inferred.end(exc)
    else:
        work.inferred.end()


def _prepared(work: _Work, item: Item) -> Item:
    """Return an item with its tensor; or, one of many that is bad, with its error."""
    try:
        prepared = work.pipeline.prepare(work.pipeline.read(item.value))
    except (CardError, ArtifactError):  # every item would fail alike
        raise
    except InputError as error:
        if not work.source.many:
            raise
        return replace(item, value=None, error=error)
    return replace(item, value=None, prepared=prepared)


def _shut(work: _Work, threads: list[threading.Thread]) -> None:
    work.ready.close()
    work.inferred.close()
    if threading.current_thread() in threads:  # the garbage collector runs in any thread
        return
    for thread in threads:
        if thread.ident is not None:  # Ctrl-C may have kept it from starting
            thread.join(JOIN_S)
