"""Video files and cameras in, video files out, through OpenCV's FFmpeg (the extra `video`), imported when it is used.

OpenCV speaks BGR; what goes in and out here is RGB.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DeviceError, InputError, MediaError, MissingExtraError, ResourceError, ShapeError

__all__ = ["DEFAULT_FPS", "MIN_FPS", "VIDEO_SUFFIXES", "VideoReader", "VideoWriter"]

UInt8 = NDArray[np.uint8]

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
CODECS = {".avi": "MJPG", ".mp4": "mp4v"}  # both are inside every OpenCV wheel; H.264 is not, for its licence
DEFAULT_FPS = 25.0  # where a file or a camera gives no believable rate
MAX_FPS = 1000.0
MAX_CAMERA = 99  # OpenCV reads larger numbers as a backend and a camera in one
SHORTEST_SHARE = 0.9  # of the promised pictures and time; below it a file is taken for cut short
# OpenCV 5.0 writes beyond its buffers in pictures below a macroblock and at rates below 1 (seen as heap corruption).
MIN_SIDE, MIN_FPS = 16, 1.0


class VideoReader:
    """The pictures of a video file or a camera, in order, each with its time.

    It iterates `(time_s, picture)`: seconds since the beginning of the file, or since the camera was opened, never
    falling; and (H, W, 3) uint8 RGB, upright as the file's rotation says, which the caller owns. One thread at a time.
    A file that ends long before what its header promises raises a MediaError after its last picture.

    Args:
        source: a file, or the number of a camera.

    Attributes:
        fps: pictures a second; 25 where none is given that could be true.
        frames: number of pictures that the file's header promises; None where it does not say, and for a camera.
        hw: height and width of the first picture, pixels.
        live: whether it is a camera.

    Raises:
        MediaError: the file is missing, no video, or has no picture.
        DeviceError: the camera does not open, or gives no picture.
        MissingExtraError: OpenCV is not installed.
    """

    def __init__(self, source: str | os.PathLike[str] | int) -> None:
        self.live = isinstance(source, int)
        self._capture: Any
        if isinstance(source, int):
            self._name = f"camera:{source}"
            self._capture = _open_camera(source)
        else:
            self._name = f"`{os.fspath(source)}`"
            self._capture = _open_file(Path(source))
        self._cv2 = _import_cv2()
        self._opened = perf_counter()
        self._bgr: UInt8 | None = None  # decoded into again and again; what is handed out is the converted copy
        fps = float(self._capture.get(self._cv2.CAP_PROP_FPS))
        count = float(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        self.fps: float = fps if math.isfinite(fps) and 0.0 < fps <= MAX_FPS else DEFAULT_FPS
        self.frames: int | None = int(count) if not self.live and math.isfinite(count) and 0 < count < 1 << 40 else None
        self._read = 0
        self._time_s = 0.0
        self._first = self._next()  # rotation and damage show only in a picture
        if self._first is None:
            self.close()
            if self.live:
                raise DeviceError(f"{self._name} gives no picture")
            raise MediaError(f"{self._name} has no picture that can be read", expected="a video")
        self.hw: tuple[int, int] = (self._first[1].shape[0], self._first[1].shape[1])

    def __iter__(self) -> Iterator[tuple[float, UInt8]]:
        return self

    def __next__(self) -> tuple[float, UInt8]:
        if self._first is not None:
            item, self._first = self._first, None
            return item
        if self._capture is None:
            raise StopIteration
        found = self._next()
        if found is not None:
            return found
        self.close()
        if self.live:
            raise DeviceError(f"{self._name} stopped giving pictures", hint="is it still plugged in?")
        self._refuse_short()
        raise StopIteration

    def close(self) -> None:
        """Release the file or the camera. Safe to call twice; not while another thread is reading."""
        capture, self._capture, self._first = self._capture, None, None
        if capture is not None:
            capture.release()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _next(self) -> tuple[float, UInt8] | None:
        """Return the next picture with its time, or None at the end."""
        try:
            good, bgr = self._capture.read(self._bgr)
            if not good or bgr is None or bgr.size == 0:
                return None
            self._bgr = bgr
            picture: UInt8 = self._cv2.cvtColor(bgr, self._cv2.COLOR_BGR2RGB)
            time_s = float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)) / 1e3
        except self._cv2.error as exc:
            raise MediaError(f"{self._name} cannot be decoded", got=str(exc)[:120]) from exc
        if self.live:
            time_s = perf_counter() - self._opened
        elif self._read and not (math.isfinite(time_s) and time_s > self._time_s):
            time_s = self._time_s + 1.0 / self.fps  # some containers give no times, or the same again
        elif not (math.isfinite(time_s) and time_s >= 0.0):
            time_s = 0.0
        self._read, self._time_s = self._read + 1, time_s
        return time_s, picture

    def _refuse_short(self) -> None:
        """Refuse a file that ended early by its number of pictures and by its time: either alone may be an estimate."""
        if self.frames is None:
            return
        promised_s = self.frames / self.fps
        if self._read < SHORTEST_SHARE * self.frames and self._time_s + 1.0 / self.fps < SHORTEST_SHARE * promised_s:
            raise MediaError(
                f"{self._name} is cut short",
                expected=f"{self.frames} pictures in {promised_s:.2f} s",
                got=f"{self._read} in {self._time_s:.2f} s",
                hint=f"take the first {self._read} only: `--frames {self._read}`",
            )


class VideoWriter:
    """A video file that appears under its name when it is finished, and not at all otherwise.

    In a `with` block: closed at its end, discarded on an exception. An existing file is replaced. OpenCV encodes
    pictures of even sides only: at an odd one the last column or row is repeated, so that the file is a pixel larger.

    Args:
        path: .mp4 (MPEG-4) or .avi (Motion JPEG).
        fps: pictures a second, 1..1000.
        hw: height and width of the pictures, pixels, 16 or more.

    Raises:
        InputError: another suffix, a rate or size that cannot be encoded, or a folder that cannot be written to.
        MissingExtraError: OpenCV is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float, hw: tuple[int, int]) -> None:
        self._path = Path(path)
        self._hw = hw
        self._written = 0
        self._writer: Any = None
        self._temporary: str | None = None
        suffix = self._path.suffix.lower()
        if suffix not in CODECS:
            raise InputError(f"cannot write video to `{self._path}`", expected=" | ".join(CODECS), got=suffix or "none")
        if not MIN_FPS <= fps <= MAX_FPS:
            raise InputError("bad frame rate", expected=f"{MIN_FPS:g} to {MAX_FPS:g} a second", got=fps)
        if min(hw) < MIN_SIDE:
            raise InputError("pictures are too small for a video", expected=f"sides of {MIN_SIDE} pixels", got=hw)
        self._cv2 = _import_cv2()
        temporary = os.path.abspath(self._path.parent / f".edge-{secrets.token_hex(8)}{suffix}")
        try:  # `tempfile` would make it readable by its owner only
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as exc:
            raise InputError(f"cannot write to the folder `{self._path.parent}`", got=exc.strerror) from exc
        self._temporary = temporary
        height, width = (side + side % 2 for side in hw)
        code = self._cv2.VideoWriter.fourcc(*CODECS[suffix])
        try:
            self._writer = self._cv2.VideoWriter(temporary, self._cv2.CAP_FFMPEG, code, float(fps), (width, height))
            if not self._writer.isOpened():
                raise InputError(
                    f"no encoder for `{self._path}`", expected="a size and rate that it takes", got=(hw, fps)
                )
        except BaseException:  # Ctrl-C too
            self.discard()
            raise

    def write(self, rgb: UInt8) -> None:
        """Append a picture.

        Args:
            rgb: (H, W, 3) uint8 RGB, of the size that was said.

        Raises:
            ShapeError: another shape.
            InputError: not uint8, or the writer is closed.
        """
        if self._writer is None:
            raise InputError("the video is closed")
        if rgb.shape != (*self._hw, 3):
            raise ShapeError("a video has pictures of one size", expected=(*self._hw, 3), got=rgb.shape)
        if rgb.dtype != np.uint8:
            raise InputError("picture has the wrong dtype", expected="uint8", got=rgb.dtype)
        height, width = self._hw
        if height % 2 or width % 2:
            rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        self._writer.write(self._cv2.cvtColor(rgb, self._cv2.COLOR_RGB2BGR))
        self._written += 1

    def close(self) -> None:
        """Finish the file and give it its name. Safe to call twice.

        Raises:
            InputError: no picture was written.
            ResourceError: the file could not be written in full: the disk is full, most likely.
        """
        if self._writer is None or self._temporary is None:
            return
        self._writer.release()
        self._writer = None
        try:
            if not self._written:
                raise InputError(f"`{self._path}` would have no picture")
            self._refuse_unfinished(self._temporary)
            with open(self._temporary, "rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(self._temporary, self._path)
        except OSError as exc:
            raise ResourceError(f"cannot write `{self._path}`", got=exc.strerror) from exc
        finally:
            self.discard()

    def discard(self) -> None:
        """Leave nothing behind, unless the file is finished. Safe to call twice."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        if self._temporary is not None:
            with contextlib.suppress(FileNotFoundError):  # it has its name already
                os.unlink(self._temporary)
            self._temporary = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _refuse_unfinished(self, temporary: str) -> None:
        """Read the header and the last picture back: OpenCV's writer keeps a failed write to itself."""
        capture = self._cv2.VideoCapture(temporary, self._cv2.CAP_FFMPEG)
        whole = int(capture.get(self._cv2.CAP_PROP_FRAME_COUNT)) == self._written
        whole = whole and capture.set(self._cv2.CAP_PROP_POS_FRAMES, self._written - 1) and capture.grab()
        capture.release()
        if not whole:
            raise ResourceError(
                f"`{self._path}` was not written in full",
                expected=f"{self._written} pictures",
                hint="is the disk full?",
            )


def _open_camera(number: int) -> Any:
    """Return OpenCV's capture of a camera."""
    if not 0 <= number <= MAX_CAMERA:
        raise InputError("bad camera number", expected=f"0 to {MAX_CAMERA}", got=number)
    cv2 = _import_cv2()
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise DeviceError(
            f"camera:{number} does not open", hint="is it plugged in, free, and readable by this user (`/dev/video*`)?"
        )
    return capture


def _open_file(path: Path) -> Any:
    """Return OpenCV's capture of a regular file."""
    try:
        status = path.stat()
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise MediaError(f"cannot read `{path}`: {reason}") from exc
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device could block for ever
        raise MediaError(f"`{path}` is not a regular file", expected="a video")
    if status.st_size == 0:
        raise MediaError(f"`{path}` has 0 bytes", expected="a video")
    cv2 = _import_cv2()
    # An absolute path is never taken for an address, and FFmpeg alone is asked: other backends guess by the name.
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise MediaError(f"`{path}` is damaged, cut short or not a video", expected=" ".join(VIDEO_SUFFIXES))
    return capture


def _import_cv2() -> Any:
    """Return OpenCV, told to keep quiet unless the user has set its own variables: our errors say what matters."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET; read once, by the first video
    try:
        import cv2
    except ImportError as exc:
        raise MissingExtraError(
            "video needs OpenCV, which is not installed", got=str(exc)[:60], hint="pip install 'edge-vision[video]'"
        ) from exc
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
