"""How well an artifact's outputs on one machine agree with those on another."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import ShapeError

__all__ = ["FLOAT_TOLERANCE", "QUANTISED_SQNR_DB", "Agreement", "agreement"]

Float32 = NDArray[np.float32]
# Of the largest value. Sums in another order differ by about the square root of their length, in units of 6e-8.
FLOAT_TOLERANCE = 1e-4
# Of quantised networks with float parts: where these round differently, an activation on the edge between two steps
# falls to the other side. The parity limit of INT8 against FP32 is 20 dB; 20 dB more adds 1 % to what that allows.
QUANTISED_SQNR_DB = 40.0


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One output, over all inputs that both machines were given.

    Attributes:
        output: its name.
        bit_equal: every byte is the same.
        max_abs_error: largest difference, in the output's unit; infinite where only one is finite.
        scale: largest absolute value of the reference.
        sqnr_db: reference's power over the difference's, dB; None where there is no difference.
        quantised: the network is; what is close enough depends on it.
    """

    output: str
    bit_equal: bool
    max_abs_error: float
    scale: float
    sqnr_db: float | None
    quantised: bool

    @property
    def verdict(self) -> str:
        """Say "bit-equal", "close" or "differs".

        Close is within 1e-4 of `scale` for a float network. For a quantised one it is an SQNR of 40 dB, which tells
        that its float parts rounded differently; a network of integers only is bit-equal.
        """
        if self.bit_equal:
            return "bit-equal"
        if self.quantised:
            close = self.sqnr_db is not None and self.sqnr_db >= QUANTISED_SQNR_DB
        else:
            close = self.max_abs_error <= FLOAT_TOLERANCE * self.scale
        return "close" if close else "differs"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; an infinite error becomes null."""
        told = {**asdict(self), "verdict": self.verdict}
        return {
            key: None if isinstance(item, float) and not math.isfinite(item) else item for key, item in told.items()
        }


def agreement(name: str, reference: list[Float32], found: list[Float32], *, quantised: bool) -> Agreement:
    """Return how well two machines' arrays of one output agree.

    Args:
        name: of the output.
        reference, found: float32 arrays of the output's shape, one for each input; at least one.
        quantised: whether the network is.

    Raises:
        ShapeError: the arrays do not have the same shapes.
    """
    if [array.shape for array in reference] != [array.shape for array in found] or not reference:
        raise ShapeError(f"output `{name}` has other shapes on the two machines")
    bit_equal = all(a.tobytes() == b.tobytes() for a, b in zip(reference, found, strict=True))
    left, right = (np.concatenate([array.ravel() for array in side]).astype(np.float64) for side in (reference, found))
    with np.errstate(invalid="ignore"):
        difference = np.where(left == right, 0.0, left - right)  # equal infinities differ by nothing
    difference[np.isnan(left) & np.isnan(right)] = 0.0
    largest = np.abs(difference).max(initial=0.0)
    noise, power = float(np.square(difference).sum()), float(np.square(left).sum())
    comparable = np.isfinite([noise, power]).all() and noise > 0 and power > 0
    return Agreement(
        output=name,
        bit_equal=bit_equal,
        max_abs_error=float(largest) if np.isfinite(largest) else math.inf,
        scale=float(np.abs(left[np.isfinite(left)]).max(initial=0.0)),
        sqnr_db=10 * math.log10(power / noise) if comparable else None,
        quantised=quantised,
    )
