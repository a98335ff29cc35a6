"""From a sound to the tensor that a card's input contract asks for; a long file in windows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .audio import AudioReader, resample
from .card import AudioSpec, InputSpec
from .errors import InputError
from .mel import LOUDEST, log_mel, normalise_mel
from .preprocess import refuse_overflow

__all__ = ["Window", "audio_windows", "prepare_audio"]

Float32 = NDArray[np.float32]

MAX_Z = 2.0**14  # no z-score exceeds the root of the number of cells, of which a tensor has at most 2**28
RESAMPLE_MARGIN_S = 0.05  # kept beyond the used length, so that the resampling filter sees what follows
MAX_WINDOW = 1 << 27  # samples at the file's rate: 512 MiB


class Window(NamedTuple):
    """A piece of a sound file.

    Attributes:
        start_s: where it starts, seconds from the beginning of the file.
        seconds: how much sound it stands for: `spec.audio.seconds`, or the whole of a shorter file.
        samples: (n,) float32 mono, finite; where the file goes on, up to `RESAMPLE_MARGIN_S` longer than `seconds`.
        rate: Hz, the file's.
    """

    start_s: float
    seconds: float
    samples: Float32
    rate: int


def prepare_audio(samples: Float32, rate: int, spec: InputSpec) -> Float32:
    """Return the input tensor of a clip: its first `spec.audio.seconds`, as a mel spectrogram in every channel.

    Args:
        samples: (n,) float32 mono, n >= 1, finite.
        rate: Hz.
        spec: an input of kind "audio".

    Returns:
        Tensor of `spec.shape`, float32, C-contiguous and finite.

    Raises:
        InputError: `spec` is not of kind "audio", or the samples are empty or not finite.
        CardError: the audio settings contradict each other.
    """
    audio = _audio_of(spec)
    refuse_overflow(spec, (MAX_Z,))
    head = samples[: math.ceil((audio.seconds + RESAMPLE_MARGIN_S) * rate)]
    if rate != audio.sample_rate:
        head = resample(_bounded(head), rate, audio.sample_rate)
    values = normalise_mel(log_mel(head, audio), spec.hw, audio.normalise)
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    if spec.layout == "NCHW":
        tensor = (values[None] - mean[:, None, None]) / std[:, None, None]
    else:
        tensor = (values[:, :, None] - mean) / std
    return np.ascontiguousarray(tensor[None], np.float32)


def audio_windows(source: str | Path | bytes, spec: InputSpec, step_s: float) -> Iterator[Window]:
    """Return a file of any length in windows, which are read as they are asked for.

    Windows start every `step_s` seconds. The last one ends where the file ends, so that none but that of a file shorter
    than a window is padded, and every sample is in one. What windows share is kept and not read again; the memory that
    it takes is that of a few windows.

    Args:
        source: as for `AudioReader`; it is opened when the first window is asked for.
        spec: an input of kind "audio".
        step_s: seconds, above 0 and at most `spec.audio.seconds`.

    Returns:
        Iterator of windows in the order of time; `prepare_audio(window.samples, window.rate, spec)` makes the tensor.
        Closing it closes the file.

    Raises:
        InputError: `spec` is not of kind "audio", or the step is out of range; while iterating, also a step below one
            sample, or a window of over 512 MiB.
        MediaError, MissingExtraError: while iterating, as for `AudioReader`.
    """
    audio = _audio_of(spec)
    if not 0.0 < step_s <= audio.seconds:  # refuses NaN as well
        raise InputError("window step out of range", expected=f"above 0 and at most {audio.seconds:g} s", got=step_s)
    return _windows(source, audio.seconds, step_s)


def _windows(source: str | Path | bytes, seconds: float, step_s: float) -> Iterator[Window]:
    with AudioReader(source) as reader:
        rate = reader.rate
        size, margin = max(1, round(seconds * rate)), math.ceil(RESAMPLE_MARGIN_S * rate)
        if step_s * rate < 1.0:
            raise InputError("window step is below one sample", expected=f"at least {1.0 / rate:g} s", got=step_s)
        if size + margin > MAX_WINDOW:
            raise InputError("window over 512 MiB", expected=f"at most {MAX_WINDOW} samples", got=size + margin)
        kept, offset = np.empty(0, np.float32), 0  # `kept` starts at sample `offset` of the file
        index = start = 0
        while True:
            wanted = start + size + margin - reader.position
            fresh = reader.read(wanted)
            # A margin of one sample or more tells a file that ends with the window from one that goes on.
            if len(fresh) < wanted and reader.position <= start + size:
                last = max(0, reader.position - size)
                samples = np.concatenate([kept[last - offset :], fresh])
                yield Window(last / rate, min(seconds, len(samples) / rate), samples, rate)
                return
            kept, offset = np.concatenate([kept[start - offset :], fresh]), start
            yield Window(start / rate, seconds, kept[: size + margin].copy(), rate)
            index += 1
            start = min(round(index * step_s * rate), start + size)  # from the index, so that rounding does not add up


def _audio_of(spec: InputSpec) -> AudioSpec:
    if spec.kind != "audio" or spec.audio is None:
        raise InputError("this input takes no sound", expected="kind `audio`", got=f"kind `{spec.kind}`")
    return spec.audio


def _bounded(samples: Float32) -> Float32:
    """Return samples whose resampling stays finite; decibels are relative to the loudest, so loudness is no matter."""
    peak = float(max(samples.max(), -samples.min())) if len(samples) else 0.0
    return samples / np.float32(peak) if LOUDEST < peak < np.inf else samples
