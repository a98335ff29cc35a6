"""Mel spectrograms in decibels, as librosa computes them: Slaney bands, Hann window, centred frames.

NumPy only. Spectrograms are (bands, frames); power is relative to full scale, decibels to the clip's own maximum.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .card import AudioSpec
from .errors import CardError, InputError
from .resize import resize

__all__ = ["log_mel", "mel_filterbank", "mel_power", "normalise_mel"]

Float32 = NDArray[np.float32]

LOWEST_POWER = 1e-10  # below it, power counts as this much: librosa's `amin`
ZSCORE_EPSILON = 1e-8  # added to the standard deviation in training; a constant clip becomes 0
LOUDEST = 32768.0  # a float clip above it is scaled down, so that its power stays within float32
BLOCK_FRAMES = 64  # of 2048 float64: 1 MiB at a time
GROUP_BANDS = 16  # bands that are summed by one matrix product over the few bins that they touch
MAX_FFT, MAX_BANDS, MAX_FRAMES = 1 << 16, 1 << 12, 1 << 20  # a card that asks for more is refused
MAX_CELLS = 1 << 25  # of the spectrogram, and of the filterbank


def log_mel(samples: Float32, spec: AudioSpec) -> Float32:
    """Return the mel spectrogram of a clip's first `spec.seconds`, in dB below its loudest cell.

    Args:
        samples: (n,) float32 mono at `spec.sample_rate`, finite; cut or padded with zeros to `spec.seconds`.
        spec: window, step, bands and floor.

    Returns:
        (mels, 1 + seconds * rate // hop) float32, -top_db..0; all 0 for silence.

    Raises:
        InputError: the samples are not a finite, 1-D, non-empty array.
        CardError: `spec` contradicts itself.
    """
    power = mel_power(samples, spec)
    loudest = max(float(power.max()), LOWEST_POWER)
    np.maximum(power, LOWEST_POWER, out=power)
    power /= np.float32(loudest)
    decibels = np.log10(power, out=power)
    decibels *= np.float32(10.0)
    return np.maximum(decibels, np.float32(-spec.top_db), out=decibels)


def mel_power(samples: Float32, spec: AudioSpec) -> Float32:
    """Return the power in each mel band and frame, (mels, frames) float32, >= 0; arguments as in `log_mel`."""
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise InputError("samples must be finite, 1-D and at least one", got=f"shape {samples.shape}")
    length = round(spec.seconds * spec.sample_rate)
    frames = 1 + length // spec.hop
    if spec.n_fft > MAX_FFT or spec.mels > MAX_BANDS or frames > MAX_FRAMES or spec.n_fft < 2:
        raise CardError("audio settings are out of bounds", got=f"n_fft {spec.n_fft}, {spec.mels}x{frames} cells")
    if spec.mels * max(frames, spec.n_fft // 2 + 1) > MAX_CELLS:
        raise CardError("spectrogram or filterbank too large", got=f"n_fft {spec.n_fft}, {spec.mels}x{frames} cells")
    used = samples[:length]
    # Behind the samples all is silence, and not computed.
    busy = min(frames, -(-(len(used) + spec.n_fft // 2) // spec.hop))
    clip = np.zeros(length + spec.n_fft, np.float32)
    clip[spec.n_fft // 2 :][: len(used)] = used
    peak = float(max(used.max(), -used.min()))
    if peak > LOUDEST:
        clip /= np.float32(peak)
    windows = np.lib.stride_tricks.sliding_window_view(clip, spec.n_fft)[:: spec.hop]
    window = _hann(spec.n_fft)
    groups = _band_groups(spec.sample_rate, spec.n_fft, spec.mels, spec.fmin, spec.fmax)
    tapered = np.empty((BLOCK_FRAMES, spec.n_fft))
    spectrum = np.empty((BLOCK_FRAMES, spec.n_fft // 2 + 1), np.complex128)
    squares = np.empty((BLOCK_FRAMES, max(group.parts.stop for group in groups)), np.float32)
    out = np.zeros((spec.mels, frames), np.float32)
    for start in range(0, busy, BLOCK_FRAMES):
        size = min(BLOCK_FRAMES, busy - start)
        # In double precision: a single-precision FFT is 3e-4 dB off from librosa's where noise lies 60 dB below a bass
        # tone, and in NumPy it is no faster. What follows adds up positive numbers, for which single precision does.
        np.multiply(windows[start : start + size], window, out=tapered[:size])
        np.fft.rfft(tapered[:size], axis=1, out=spectrum[:size])
        squares[:size] = spectrum[:size].view(np.float64)[:, : squares.shape[1]]
        np.square(squares[:size], out=squares[:size])
        for bands, parts, weights in groups:
            np.matmul(weights, squares[:size, parts].T, out=out[bands, start : start + size])
    return out


class _BandGroup(NamedTuple):
    """Neighbouring mel bands: which, and their weights of squared real and imaginary parts, (bands, 2 * bins)."""

    bands: slice
    parts: slice
    weights: Float32


@lru_cache(maxsize=8)
def _band_groups(sample_rate: int, n_fft: int, mels: int, fmin: float, fmax: float) -> tuple[_BandGroup, ...]:
    bank = mel_filterbank(sample_rate, n_fft, mels, fmin, fmax)
    groups = []
    for first in range(0, mels, GROUP_BANDS):
        rows = bank[first : first + GROUP_BANDS]
        touched = np.flatnonzero(rows.any(axis=0))
        low, high = (int(touched[0]), int(touched[-1]) + 1) if len(touched) else (0, 1)
        # |X|^2 is Re^2 + Im^2, so both parts have the same weight; the sum over them comes with the product.
        weights = np.repeat(rows[:, low:high], 2, axis=1)
        weights.setflags(write=False)  # it is shared by all callers through the cache
        groups.append(_BandGroup(slice(first, first + len(rows)), slice(2 * low, 2 * high), weights))
    return tuple(groups)


@lru_cache(maxsize=8)
def mel_filterbank(sample_rate: int, n_fft: int, mels: int, fmin: float, fmax: float) -> Float32:
    """Return the weight of each FFT bin in each mel band: triangles of equal area on Slaney's scale.

    Args:
        sample_rate: Hz.
        n_fft: window length, samples.
        mels: number of bands.
        fmin, fmax: Hz, lower edge of the first and upper edge of the last band; fmax at most sample_rate / 2.

    Returns:
        (mels, n_fft // 2 + 1) float32, >= 0, read-only.

    Raises:
        CardError: not 0 <= fmin < fmax <= sample_rate / 2.

    Source:
        Slaney, "Auditory Toolbox", Interval Research TR 1998-010: linear to 1 kHz, logarithmic above.
    """
    if not 0.0 <= fmin < fmax <= sample_rate / 2:
        raise CardError(f"mel bands must lie within 0..{sample_rate / 2:g} Hz", got=f"{fmin:g}..{fmax:g} Hz")
    lowest, highest = _hz_to_mel(np.array([fmin, fmax]))
    edges = _mel_to_hz(np.linspace(float(lowest), float(highest), mels + 2))
    bins = np.fft.rfftfreq(n_fft, 1.0 / sample_rate)
    rising = (bins[None, :] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None, :]) / (edges[2:] - edges[1:-1])[:, None]
    area = 2.0 / (edges[2:] - edges[:-2])
    bank = (np.maximum(0.0, np.minimum(rising, falling)) * area[:, None]).astype(np.float32)
    bank.setflags(write=False)  # it is shared by all callers through the cache
    return bank


def normalise_mel(decibels: Float32, hw: tuple[int, int], mode: str) -> Float32:
    """Return a spectrogram as the values that a card's mean and std apply to, at the network's size.

    Args:
        decibels: (mels, frames) float32, dB.
        hw: height and width of the result.
        mode: "zscore": per-clip z-score, then bilinear resize (how the networks are trained); "minmax-uint8": legacy,
            stretched to 0..255, made uint8, resized with antialias, divided by 255.

    Returns:
        (h, w) float32.

    Raises:
        InputError: the mode is not known.
    """
    if mode == "zscore":
        centred = decibels.astype(np.float64)  # the mean of 165,376 values loses digits in single precision
        centred -= centred.mean()
        deviation = np.sqrt(np.mean(np.square(centred)))
        z = np.divide(centred, deviation + ZSCORE_EPSILON, dtype=np.float32, casting="same_kind")
        return np.asarray(resize(z[:, :, None], hw, coordinates="float32")[:, :, 0], np.float32)
    if mode == "minmax-uint8":
        low, high = decibels.min(), decibels.max()
        share = (decibels - low) / (high - low) if high > low else np.zeros_like(decibels)
        levels = (share * 255.0).astype(np.uint8)
        small = resize(levels[:, :, None], hw, antialias=True)[:, :, 0]
        return np.asarray(small / 255.0, np.float32)
    raise InputError("spectrogram mode not known", expected="zscore | minmax-uint8", got=mode)


@lru_cache(maxsize=8)
def _hann(length: int) -> NDArray[np.float64]:
    """Return the periodic Hann window, the one for spectra."""
    window: NDArray[np.float64] = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)
    return window


# Slaney's scale: 3 mel a 200 Hz up to 1 kHz (= 15 mel), then 27 mel for every factor of 6.4.
LINEAR_HZ, BREAK_HZ, BREAK_MEL, LOG_STEP = 200.0 / 3.0, 1000.0, 15.0, np.log(6.4) / 27.0


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = BREAK_MEL + np.log(np.maximum(hz, BREAK_HZ) / BREAK_HZ) / LOG_STEP
    return np.where(hz < BREAK_HZ, hz / LINEAR_HZ, above)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = BREAK_HZ * np.exp(LOG_STEP * (np.maximum(mel, BREAK_MEL) - BREAK_MEL))
    return np.where(mel < BREAK_MEL, mel * LINEAR_HZ, above)
