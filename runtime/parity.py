"""How far one engine's outputs are from another's: figures per output, and the verdict against a limit.

NumPy only; knows no framework and no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from .card import ParityLimit
from .errors import ParityError, ShapeError

__all__ = ["MAX_SQNR_DB", "OutputParity", "compare", "judge"]

MAX_SQNR_DB = 200.0  # what equal arrays get; float32 rounding alone is near 130 dB

Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class OutputParity:
    """How far one output is from the reference, over all samples together.

    Attributes:
        max_abs_error: largest absolute difference, in the output's unit.
        max_error: the same as a fraction of the reference's range (max - min over all samples); of 1 where the
            reference is constant.
        cosine: cosine similarity, -1..1; 1 where both are all zero, 0 where one is.
        sqnr_db: signal power over noise power, dB, within +-200; equal arrays get 200.
        reference_range: max - min of the reference.
        nonfinite: NaN and infinite elements in either; where there is one, errors are 0 and mean nothing.
        samples: number of samples.
    """

    max_abs_error: float
    max_error: float
    cosine: float
    sqnr_db: float
    reference_range: float
    nonfinite: int
    samples: int

    def to_dict(self) -> dict[str, float]:
        """Return plain JSON numbers, all finite."""
        return asdict(self)


def compare(
    reference: Mapping[str, Sequence[Float32]], got: Mapping[str, Sequence[Float32]]
) -> dict[str, OutputParity]:
    """Return the figures of every output, in the reference's order.

    Args:
        reference: for every output name its arrays, one a sample, any shape.
        got: the same names, counts and shapes.

    Raises:
        ShapeError: names, numbers of samples, or shapes differ.
        ParityError: there is no sample.
    """
    if set(reference) != set(got):
        raise ShapeError("the two sides have other outputs", expected=sorted(reference), got=sorted(got))
    return {name: _compare_output(name, reference[name], got[name]) for name in reference}


def judge(parity: Mapping[str, OutputParity], limit: ParityLimit) -> list[str]:
    """Return what breaks the limit, one line an output and figure; empty when all is well.

    Args:
        parity: of `compare`.
        limit: figures that are None are not checked; non-finite elements always complain.
    """
    complaints = []
    if not parity:
        complaints.append("no output was compared")
    for name, item in parity.items():
        if item.nonfinite:
            complaints.append(f"output `{name}`: {item.nonfinite} non-finite elements")
            continue
        # Written so that a NaN, which a hand-made figure may hold, complains too.
        if limit.max_error is not None and not item.max_error <= limit.max_error:
            complaints.append(
                f"output `{name}`: max error {item.max_error:.3g} of the range, limit {limit.max_error:g}"
            )
        if limit.min_cosine is not None and not item.cosine >= limit.min_cosine:
            complaints.append(f"output `{name}`: cosine {item.cosine:.5f}, limit {limit.min_cosine:g}")
        if limit.min_sqnr_db is not None and not item.sqnr_db >= limit.min_sqnr_db:
            complaints.append(f"output `{name}`: SQNR {item.sqnr_db:.1f} dB, limit {limit.min_sqnr_db:g} dB")
    return complaints


def _compare_output(name: str, reference: Sequence[Float32], got: Sequence[Float32]) -> OutputParity:
    if len(reference) != len(got):
        raise ShapeError(f"output `{name}` has another number of samples", expected=len(reference), got=len(got))
    if not reference:
        raise ParityError(f"output `{name}` has no sample to compare")
    worst = signal = noise = other = product = 0.0
    low, high = math.inf, -math.inf
    nonfinite = 0
    for a, b in zip(reference, got, strict=True):
        if np.shape(a) != np.shape(b) or not np.size(a):
            raise ShapeError(f"output `{name}` has another shape", expected=np.shape(a), got=np.shape(b))
        x, y = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
        nonfinite += int((~np.isfinite(x)).sum() + (~np.isfinite(y)).sum())
        if nonfinite:
            continue
        error = x - y
        worst = max(worst, float(np.abs(error).max()))
        low, high = min(low, float(x.min())), max(high, float(x.max()))
        signal, noise = signal + float(x @ x), noise + float(error @ error)
        other, product = other + float(y @ y), product + float(x @ y)
    if nonfinite:
        worst = signal = noise = other = product = low = high = 0.0
    span = high - low
    return OutputParity(
        max_abs_error=worst,
        max_error=worst / span if span > 0 else worst,
        cosine=_cosine(signal, other, product),
        sqnr_db=_decibel(signal, noise),
        reference_range=span,
        nonfinite=nonfinite,
        samples=len(reference),
    )


def _cosine(signal: float, other: float, product: float) -> float:
    if signal == 0 or other == 0:
        return 1.0 if signal == other else 0.0
    return min(1.0, max(-1.0, product / math.sqrt(signal) / math.sqrt(other)))


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return MAX_SQNR_DB
    if signal == 0:
        return -MAX_SQNR_DB
    return min(MAX_SQNR_DB, max(-MAX_SQNR_DB, 10 * (math.log10(signal) - math.log10(noise))))
