"""Sound from files, as mono float32 samples, and resampling.

WAV is read by the parser below, with the standard library alone; other formats need `soundfile`. Files are read in
blocks: the memory that it takes is that of the samples asked for, whatever the file's length.
"""

from __future__ import annotations

import io
import math
import stat
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, MediaError, MissingExtraError

__all__ = ["MAX_RATE", "AudioReader", "read_audio", "resample"]

Float32 = NDArray[np.float32]

MAX_RATE = 768_000  # Hz; the fastest converters on sale
MAX_CHANNELS = 64
MAX_BYTES = 1 << 30  # of mono float32 that is read or resampled at once
BLOCK_BYTES = 1 << 20  # of a file that are decoded at a time
STREAMED = 0xFFFFFFFF  # data length of a WAV that was written to a pipe: up to the end of the file
PCM, IEEE_FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
# The last 14 bytes of every KSDATAFORMAT_SUBTYPE GUID that wraps an old format tag (mmreg.h).
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
MP3 = (b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3", b"\xff\xe2")  # MPEG 1, 2 and 2.5, layer III
OTHER_AUDIO = (b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"RF64", *MP3)

# The low-pass of the resampler: 32 zero crossings a side under a Kaiser window with beta 9 stop at -90 dB within 9 %
# of the cut-off (Kaiser's formula), so that a roll-off of 0.91 keeps aliases out and 0.82 of the band flat.
ZERO_CROSSINGS, KAISER_BETA, ROLL_OFF = 32, 9.0, 0.91
MIN_GROUP = 32  # outputs; narrower matrix products are slow
GROUP_ELEMENTS = 1 << 20  # of float32: the matrix of one group of outputs takes 4 MiB at most
KEPT_ELEMENTS = 1 << 18  # matrices of a pair of rates that are kept for the next clip, 1 MiB: the usual pairs fit


def read_audio(source: str | Path | bytes, *, seconds: float | None = None) -> tuple[Float32, int]:
    """Return the samples of a file as one channel, and their rate.

    Args:
        source: as for `AudioReader`.
        seconds: read no more than the beginning; None reads everything, up to 1 GiB of float32.

    Returns:
        (n,) float32, n >= 1, finite; and the rate, Hz.

    Raises:
        MediaError, MissingExtraError: as for `AudioReader`; or there is over 1 GiB to read.
    """
    with AudioReader(source) as reader:
        count = reader.frames if seconds is None else min(reader.frames, math.ceil(seconds * reader.rate))
        if count * 4 > MAX_BYTES:
            raise MediaError(f"`{reader.name}` has over 1 GiB of samples", hint="cut the clip, or read it in windows")
        return reader.read(count), reader.rate


class AudioReader:
    """A sound file that is read piece by piece, as one channel. Close it, or use it in a `with` block.

    Channels are averaged. Integers are scaled to -1..1 by their full scale; floats are kept as they are.

    Args:
        source: a path, or the bytes of a file: WAV with 8, 16, 24 or 32-bit integers or 32 or 64-bit floats; FLAC,
            Ogg, MP3, AIFF and others where `soundfile` is installed.

    Attributes:
        name: of the file, for messages.
        rate: Hz.
        frames: samples a channel, as the file claims; an MP3 without a length in its header may hold fewer.
        position: frames read so far.

    Raises:
        MediaError: missing, a directory, empty, cut short, damaged, or not audio. A WAV is measured before it is read,
            FLAC's decoder notices a cut; in an Ogg or MP3 file it cannot be told from the end.
        MissingExtraError: the format needs `soundfile`, which is not installed.
    """

    def __init__(self, source: str | Path | bytes) -> None:
        with ExitStack() as opened:
            self.name, size, stream = _open(source)
            opened.callback(stream.close)
            head = stream.read(12)
            stream.seek(0)
            if head[:4] == b"RIFF" and head[8:] == b"WAVE":
                try:
                    self._sound: _Sound = _Wav(self.name, stream, size)
                except (OSError, struct.error) as exc:
                    raise MediaError(f"`{self.name}` is damaged or cut short", got=str(exc)) from exc
            elif head.startswith(OTHER_AUDIO):
                self._sound = _Other(self.name, stream)
            else:
                raise MediaError(f"`{self.name}` is not an audio file", expected="WAV, FLAC, Ogg, MP3 or AIFF")
            opened.callback(self._sound.close)
            self._opened = opened.pop_all()
        self.rate, self.frames = self._sound.rate, self._sound.frames
        self.position = 0

    def read(self, count: int) -> Float32:
        """Return the next samples.

        Args:
            count: how many, >= 0.

        Returns:
            (n,) float32, finite; n is below `count` at the end of the file only, and 0 behind it.

        Raises:
            MediaError: damaged, cut short, without any frame, or not finite.
        """
        out = np.empty(max(0, min(count, self.frames - self.position)), np.float32)
        step = max(1, BLOCK_BYTES // (self._sound.channels * 8))
        filled = 0
        while filled < len(out):
            block = self._sound.read(min(len(out) - filled, step))
            if not len(block):
                break
            with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 becomes inf, refused below
                mono = _average(block).astype(np.float32)
            if not np.isfinite(mono).all():
                first = self.position + int(np.flatnonzero(~np.isfinite(mono))[0])
                raise MediaError(f"`{self.name}` has samples that are not finite", got=f"the first at frame {first}")
            out[filled : filled + len(mono)] = mono
            filled += len(mono)
            self.position += len(mono)
        if self.position == 0:
            raise MediaError(f"`{self.name}` has 0 frames", expected="at least 1")
        return out[:filled]

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._opened.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def resample(samples: Float32, from_rate: int, to_rate: int) -> Float32:
    """Return the clip at another rate, through a windowed-sinc low-pass in polyphase form.

    Args:
        samples: (n,) float32, n >= 1, finite.
        from_rate, to_rate: Hz, 1..`MAX_RATE`.

    Returns:
        (ceil(n * to_rate / from_rate),) float32; zeros are assumed before and after the clip.

    Raises:
        InputError: the samples are not a finite 1-D array, a rate is out of range, or they are too far apart.

    Source:
        Crochiere and Rabiner, "Multirate Digital Signal Processing", 1983, chapter 3.
    """
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise InputError("samples must be finite, 1-D and at least one", got=f"shape {samples.shape}")
    if not (0 < from_rate <= MAX_RATE and 0 < to_rate <= MAX_RATE):
        raise InputError("sample rate out of range", expected=f"1..{MAX_RATE} Hz", got=(from_rate, to_rate))
    divisor = math.gcd(from_rate, to_rate)
    up, down = to_rate // divisor, from_rate // divisor
    if up == down:
        return samples.astype(np.float32)
    length = -(-len(samples) * up // down)
    if length * 4 > MAX_BYTES:
        raise InputError("resampled clip is over 1 GiB", got=f"{length} samples")
    # `down` inputs give `up` outputs, by the same kernels each time. With the clip laid out in rows of as many inputs
    # (of a multiple of them for small ratios), a group of neighbouring outputs of all rows is one matrix product.
    plan = _plan(up, down)
    if plan.taps > GROUP_ELEMENTS:
        raise InputError("sample rates too far apart", expected="at most about 1 to 15000", got=(from_rate, to_rate))
    rows = -(-length // plan.made)
    padded = np.zeros((rows + 1 + plan.taps // plan.width + 1, plan.width), np.float32)
    padded.reshape(-1)[plan.half : plan.half + len(samples)] = samples
    out = np.empty((rows, plan.made), np.float32)
    for first, start, matrix in _kept_groups(up, down) if plan.kept else _groups(up, down):
        if first >= length:
            break
        part = out[:, first : first + matrix.shape[1]]
        stop = start + len(matrix)
        for row in range(start // plan.width, -(-stop // plan.width)):  # windows may reach into the following rows
            left, right = max(start, row * plan.width), min(stop, (row + 1) * plan.width)
            inputs = padded[row : row + rows, left - row * plan.width : right - row * plan.width]
            weights = matrix[left - start : right - start]
            if left == start:
                np.matmul(inputs, weights, out=part)
            else:
                part += inputs @ weights
    return out.reshape(-1)[:length]


class _Plan(NamedTuple):
    """How a resampling is cut up.

    Attributes:
        cutoff: of the low-pass, fraction of the input's Nyquist frequency.
        half: how many inputs the low-pass reaches to each side.
        width, made: inputs and outputs of a row.
        group: outputs of a row that are made at a time.
        kept: the weights are small enough to be kept for the next clip.
    """

    cutoff: float
    half: int
    width: int
    made: int
    group: int
    kept: bool

    @property
    def taps(self) -> int:
        return 2 * self.half + 1


def _plan(up: int, down: int) -> _Plan:
    cutoff = ROLL_OFF * min(1.0, up / down)
    half = math.ceil(ZERO_CROSSINGS / cutoff)
    taps = 2 * half + 1
    # Neighbours that look at 4/3 of one output's inputs waste a quarter of the products, yet are quick as a matrix.
    group = max(1, min(max(MIN_GROUP, taps * up // (3 * down)), GROUP_ELEMENTS // (2 * taps)))
    repeats = max(1, group // up)
    kept = repeats * up * taps * 2 <= KEPT_ELEMENTS
    return _Plan(cutoff, half, repeats * down, repeats * up, group, kept)


class _Group(NamedTuple):
    """Neighbouring outputs of a row: the first one, the first input they look at, and (inputs, outputs) weights."""

    first: int
    start: int
    matrix: Float32


@lru_cache(maxsize=8)
def _kept_groups(up: int, down: int) -> tuple[_Group, ...]:
    return tuple(_groups(up, down))


def _groups(up: int, down: int) -> Iterator[_Group]:
    plan = _plan(up, down)
    for first in range(0, plan.made, plan.group):
        # Output n sits at n * down / up of the input: its whole part picks the window, the rest the kernel.
        places = np.arange(first, min(first + plan.group, plan.made), dtype=np.int64) * down
        starts = places // up
        kernels = _kernels(places % up / up, plan.half, plan.cutoff)
        matrix = np.zeros((int(starts[-1] - starts[0]) + plan.taps, len(places)), np.float32)
        for column, (start, kernel) in enumerate(zip(starts - starts[0], kernels, strict=True)):
            matrix[start : start + plan.taps, column] = kernel
        matrix.setflags(write=False)  # it may be shared by all callers through the cache
        yield _Group(first, int(starts[0]), matrix)


def _kernels(shifts: NDArray[np.float64], half: int, cutoff: float) -> Float32:
    """Return, a row each, the low-pass taps around points `shifts` samples right of the middle; they sum to 1."""
    distance = np.arange(-half, half + 1) - shifts[:, None]
    inside = np.maximum(0.0, 1.0 - np.square(distance * cutoff / ZERO_CROSSINGS))
    taps = np.sinc(distance * cutoff) * np.i0(KAISER_BETA * np.sqrt(inside)) * (inside > 0.0)
    return np.asarray(taps / taps.sum(axis=1, keepdims=True), np.float32)


def _open(source: str | Path | bytes) -> tuple[str, int, BinaryIO]:
    if isinstance(source, bytes | bytearray | memoryview):
        if len(source) == 0:
            raise MediaError("audio has 0 bytes")
        return "<bytes>", len(source), io.BytesIO(source)
    path = Path(source)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise MediaError(f"`{path}` is a directory", expected="an audio file")
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device could block for ever
            raise MediaError(f"`{path}` is not a regular file", expected="an audio file")
        if status.st_size == 0:
            raise MediaError(f"`{path}` has 0 bytes", expected="an audio file")
        return str(path), status.st_size, path.open("rb")
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise MediaError(f"cannot read `{path}`: {reason}") from exc


def _average(block: NDArray[Any]) -> NDArray[Any]:
    """Return the mean of the channels; a column at a time, which is ten times as fast as `mean` on short rows."""
    if block.shape[1] == 1:
        return block[:, 0]
    total = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        total += block[:, channel]
    total /= block.shape[1]
    return total


class _Sound(Protocol):
    """A decoder: `read` returns (n, channels) floats, n <= count, and none behind the end."""

    channels: int
    rate: int
    frames: int

    def read(self, count: int) -> NDArray[Any]: ...

    def close(self) -> None: ...


class _Wav:
    """A RIFF file; its length fields are checked against the file, not believed."""

    def __init__(self, name: str, stream: BinaryIO, size: int) -> None:
        self._name, self._stream = name, stream
        layout: tuple[int, int, int, int] | None = None
        position = 12
        while position + 8 <= size:
            stream.seek(position)
            label, length = struct.unpack("<4sI", stream.read(8))
            position += 8
            if label == b"fmt ":
                layout = _wav_layout(name, stream.read(min(length, 40)))
            elif label == b"data":
                if layout is None:
                    raise MediaError(f"`{name}` has its data before its format")
                break
            position += length + length % 2  # chunks are padded to even lengths
        else:
            raise MediaError(f"`{name}` is cut short: it has no samples", expected="a `data` chunk")
        self._tag, self.channels, self.rate, self._bits = layout
        self._frame_bytes = self.channels * self._bits // 8
        self.frames = _wav_frames(name, self._frame_bytes, length, size - position)
        self._left = self.frames

    def read(self, count: int) -> NDArray[Any]:
        count = min(count, self._left)
        try:
            raw = self._stream.read(count * self._frame_bytes)
        except OSError as exc:
            raise MediaError(f"`{self._name}` is damaged", got=str(exc)) from exc
        if len(raw) != count * self._frame_bytes:
            raise MediaError(f"`{self._name}` became shorter while it was read")
        self._left -= count
        return _decode(raw, self._tag, self._bits).reshape(count, self.channels)

    def close(self) -> None:
        """Leave the stream to its owner."""


def _wav_layout(name: str, chunk: bytes) -> tuple[int, int, int, int]:
    """Return (format tag, channels, rate, bits a sample) of a `fmt ` chunk, or refuse it."""
    if len(chunk) < 16:
        raise MediaError(f"`{name}` has a format chunk of {len(chunk)} bytes", expected="at least 16")
    tag, channels, rate, _, frame_bytes, bits = struct.unpack("<HHIIHH", chunk[:16])
    if tag == EXTENSIBLE:
        if len(chunk) < 40 or chunk[26:40] != GUID_TAIL:
            raise MediaError(f"`{name}` has a WAV sub-format that is not known")
        tag = struct.unpack("<H", chunk[24:26])[0]
    if (tag, bits) not in {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (IEEE_FLOAT, 32), (IEEE_FLOAT, 64)}:
        raise MediaError(
            f"`{name}` has a WAV encoding that is not read",
            expected="8, 16, 24, 32-bit PCM or 32, 64-bit float",
            got=f"format {tag}, {bits} bits",
            hint="convert it to 16-bit PCM",
        )
    if not 1 <= channels <= MAX_CHANNELS or not 1 <= rate <= MAX_RATE:
        raise MediaError(f"`{name}` has an impossible format", got=f"{channels} channels at {rate} Hz")
    if frame_bytes != channels * bits // 8:
        raise MediaError(f"`{name}` contradicts itself: {channels} x {bits} bits in {frame_bytes} bytes a frame")
    return tag, channels, rate, bits


def _wav_frames(name: str, frame_bytes: int, declared: int, present: int) -> int:
    if declared == STREAMED:
        declared = present - present % frame_bytes
    if declared > present:
        raise MediaError(f"`{name}` is cut short", expected=f"{declared} bytes of samples", got=present)
    if declared % frame_bytes:
        raise MediaError(f"`{name}` ends within a frame", got=f"{declared} bytes, {frame_bytes} a frame")
    return declared // frame_bytes


def _decode(raw: bytes, tag: int, bits: int) -> NDArray[Any]:
    """Return little-endian samples as floats, integers scaled by their full scale (2**(bits - 1))."""
    if tag == IEEE_FLOAT:
        return np.frombuffer(raw, "<f4" if bits == 32 else "<f8")
    if bits == 8:  # the one unsigned width
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - np.float32(128.0)) / np.float32(128.0)
    if bits == 24:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)  # the top three bytes of 32: the sign comes for free
        return wide.view("<i4")[:, 0] / 2.0**31
    return np.frombuffer(raw, f"<i{bits // 8}") / 2.0 ** (bits - 1)


class _Other:
    """Any format that `soundfile` knows."""

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self._name = name
        try:
            import soundfile  # type: ignore[import-untyped,import-not-found,unused-ignore]  # optional, ships no types
        except ImportError as exc:
            raise MissingExtraError(
                f"`{name}` is not a WAV file, other formats need soundfile", hint='pip install "edge-vision[audio]"'
            ) from exc
        try:
            self._sound = soundfile.SoundFile(stream)
        except (OSError, RuntimeError, ValueError, TypeError) as exc:  # LibsndfileError is a RuntimeError
            raise MediaError(f"`{name}` is damaged or not audio", got=str(exc)) from exc
        self.channels, self.rate, self.frames = self._sound.channels, self._sound.samplerate, self._sound.frames
        if not 1 <= self.rate <= MAX_RATE or not 1 <= self.channels <= MAX_CHANNELS:
            self.close()
            raise MediaError(f"`{name}` has an impossible format", got=f"{self.channels} channels at {self.rate} Hz")
        self._exact = self._sound.format != "MP3"  # its length is an estimate where the header has none
        self._left = self.frames

    def read(self, count: int) -> NDArray[Any]:
        try:
            block: NDArray[Any] = self._sound.read(count, dtype="float32", always_2d=True)
        except (OSError, RuntimeError, ValueError, TypeError) as exc:
            raise MediaError(f"`{self._name}` is damaged or cut short", got=str(exc)) from exc
        if self._exact and len(block) < min(count, self._left):
            raise MediaError(f"`{self._name}` is cut short", expected=f"{self.frames} frames")
        self._left -= len(block)
        return block

    def close(self) -> None:
        self._sound.close()
