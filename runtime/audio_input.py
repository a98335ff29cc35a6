"""From a sound to the tensor that a card's input contract asks for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .audio import resample
from .card import InputSpec
from .errors import InputError
from .mel import log_mel, normalise_mel
from .preprocess import refuse_overflow

__all__ = ["prepare_audio"]

Float32 = NDArray[np.float32]

MAX_Z = 2.0**14  # no z-score exceeds the root of the number of cells, of which a tensor has at most 2**28
RESAMPLE_MARGIN_S = 0.05  # kept beyond the used length, so that the resampling filter sees what follows


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
    if spec.kind != "audio" or spec.audio is None:
        raise InputError("this input takes no sound", expected="kind `audio`", got=f"kind `{spec.kind}`")
    audio = spec.audio
    refuse_overflow(spec, (MAX_Z,))
    head = samples[: math.ceil((audio.seconds + RESAMPLE_MARGIN_S) * rate)]
    clip = resample(head, rate, audio.sample_rate)
    values = normalise_mel(log_mel(clip, audio), spec.hw, audio.normalise)
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    if spec.layout == "NCHW":
        tensor = (values[None] - mean[:, None, None]) / std[:, None, None]
    else:
        tensor = (values[:, :, None] - mean) / std
    return np.ascontiguousarray(tensor[None], np.float32)
