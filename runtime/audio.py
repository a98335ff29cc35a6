"""Sound from files, as mono float32 samples, and resampling.

WAV is read by the parser below, with the standard library alone; other formats need `soundfile`.
"""

from __future__ import annotations

import io
import math
import stat
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, MediaError, MissingExtraError

__all__ = ["MAX_RATE", "read_audio", "resample"]

Float32 = NDArray[np.float32]

MAX_RATE = 768_000  # Hz; the fastest converters on sale
MAX_CHANNELS = 64
MAX_BYTES = 1 << 30  # of sample data that is read at once
STREAMED = 0xFFFFFFFF  # data length of a WAV that was written to a pipe: up to the end of the file
PCM, IEEE_FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
# The last 14 bytes of every KSDATAFORMAT_SUBTYPE GUID that wraps an old format tag (mmreg.h).
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
OTHER_AUDIO = (b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"RF64", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")

# The low-pass of the resampler: 32 zero crossings a side under a Kaiser window with beta 9 stop at -90 dB within 9 %
# of the cut-off (Kaiser's formula), so that a roll-off of 0.91 keeps aliases out and 0.82 of the band flat.
ZERO_CROSSINGS, KAISER_BETA, ROLL_OFF = 32, 9.0, 0.91
BLOCK_PHASES = 256  # kernels that are made at a time: two odd rates have tens of thousands
BLOCK_ELEMENTS = 1 << 20  # of float32: the resampler holds 4 MiB of windows at a time


def read_audio(source: str | Path | bytes, *, seconds: float | None = None) -> tuple[Float32, int]:
    """Return the samples of a file as one channel, and their rate.

    Channels are averaged. Integers are scaled to -1..1 by their full scale; floats are kept as they are.

    Args:
        source: a path, or the bytes of a file: WAV with 8, 16, 24 or 32-bit integers or 32 or 64-bit floats; FLAC,
            Ogg, MP3, AIFF and others where `soundfile` is installed.
        seconds: read no more than the beginning; None reads everything, up to 1 GiB.

    Returns:
        (n,) float32, n >= 1, finite; and the rate, Hz.

    Raises:
        MediaError: missing, a directory, empty, without frames, cut short, damaged, not audio, or not finite.
        MissingExtraError: the format needs `soundfile`, which is not installed.
    """
    name, size, stream = _open(source)
    with stream:
        head = stream.read(12)
        stream.seek(0)
        try:
            if head[:4] == b"RIFF" and head[8:] == b"WAVE":
                samples, rate = _read_wav(name, stream, size, seconds)
            elif head.startswith(OTHER_AUDIO):
                samples, rate = _read_other(name, stream, seconds)
            else:
                raise MediaError(f"`{name}` is not an audio file", expected="WAV, FLAC, Ogg, MP3 or AIFF")
        except (OSError, struct.error) as exc:
            raise MediaError(f"`{name}` is damaged or cut short", got=str(exc)) from exc
    if not len(samples):
        raise MediaError(f"`{name}` has 0 frames", expected="at least 1")
    with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 becomes inf, refused below
        mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
        result = np.ascontiguousarray(mono, np.float32)
    if not np.isfinite(result).all():
        first = int(np.flatnonzero(~np.isfinite(result))[0])
        raise MediaError(f"`{name}` has samples that are not finite", got=f"the first at frame {first}")
    return result, rate


def resample(samples: Float32, from_rate: int, to_rate: int) -> Float32:
    """Return the clip at another rate, through a windowed-sinc low-pass in polyphase form.

    Args:
        samples: (n,) float32, n >= 1, finite.
        from_rate, to_rate: Hz, 1..`MAX_RATE`.

    Returns:
        (ceil(n * to_rate / from_rate),) float32; zeros are assumed before and after the clip.

    Raises:
        InputError: the samples are not a finite 1-D array, or a rate is out of range.

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
    cutoff = ROLL_OFF * min(1.0, up / down)  # fraction of the input's Nyquist frequency
    half = math.ceil(ZERO_CROSSINGS / cutoff)
    padded = np.zeros(len(samples) + 2 * half + 1, np.float32)
    padded[half : half + len(samples)] = samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    out = np.empty(length, np.float32)
    rows = max(1, BLOCK_ELEMENTS // (2 * half + 1))
    # Output n sits at n * down / up of the input: its whole part picks the window, the rest one of `up` kernels.
    for phase in range(min(up, length)):
        if phase % BLOCK_PHASES == 0:
            phases = np.arange(phase, min(phase + BLOCK_PHASES, up), dtype=np.int64)
            kernels = _kernels(phases * down % up / up, half, cutoff)
        start, kernel = phase * down // up, kernels[phase % BLOCK_PHASES]
        count = len(range(phase, length, up))
        for first in range(0, count, rows):
            last = min(first + rows, count)
            chosen = windows[start + first * down : start + (last - 1) * down + 1 : down]
            out[phase + first * up : phase + (last - 1) * up + 1 : up] = np.ascontiguousarray(chosen) @ kernel
    return out


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


def _read_wav(name: str, stream: BinaryIO, size: int, seconds: float | None) -> tuple[NDArray[Any], int]:
    """Return (frames, channels) samples and the rate; the length fields are checked against the file, not believed."""
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
            return _wav_samples(name, stream, layout, length, size - position, seconds), layout[2]
        position += length + length % 2  # chunks are padded to even lengths
    raise MediaError(f"`{name}` is cut short: it has no samples", expected="a `data` chunk")


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


def _wav_samples(
    name: str, stream: BinaryIO, layout: tuple[int, int, int, int], declared: int, present: int, seconds: float | None
) -> NDArray[Any]:
    tag, channels, rate, bits = layout
    frame_bytes = channels * bits // 8
    if declared == STREAMED:
        declared = present - present % frame_bytes
    if declared > present:
        raise MediaError(f"`{name}` is cut short", expected=f"{declared} bytes of samples", got=present)
    if declared % frame_bytes:
        raise MediaError(f"`{name}` ends within a frame", got=f"{declared} bytes, {frame_bytes} a frame")
    frames = declared // frame_bytes
    if seconds is not None:
        frames = min(frames, math.ceil(seconds * rate))
    if frames * frame_bytes > MAX_BYTES:
        raise MediaError(f"`{name}` has over 1 GiB of samples", hint="cut the clip")
    raw = stream.read(frames * frame_bytes)
    if len(raw) != frames * frame_bytes:
        raise MediaError(f"`{name}` became shorter while it was read")
    return _decode(raw, tag, bits).reshape(frames, channels)


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


def _read_other(name: str, stream: BinaryIO, seconds: float | None) -> tuple[NDArray[Any], int]:
    try:
        import soundfile  # type: ignore[import-untyped,import-not-found,unused-ignore]  # optional, ships no types
    except ImportError as exc:
        raise MissingExtraError(
            f"`{name}` is not a WAV file, other formats need soundfile", hint='pip install "edge-vision[audio]"'
        ) from exc
    try:
        with soundfile.SoundFile(stream) as sound:
            frames = sound.frames if seconds is None else min(sound.frames, math.ceil(seconds * sound.samplerate))
            if frames * sound.channels * 4 > MAX_BYTES:
                raise MediaError(f"`{name}` has over 1 GiB of samples", hint="cut the clip")
            if not (1 <= sound.samplerate <= MAX_RATE):
                raise MediaError(f"`{name}` has an impossible rate", got=f"{sound.samplerate} Hz")
            return sound.read(frames, dtype="float32", always_2d=True), sound.samplerate
    except (RuntimeError, ValueError, TypeError) as exc:  # LibsndfileError is a RuntimeError
        raise MediaError(f"`{name}` is damaged or not audio", got=str(exc)) from exc
