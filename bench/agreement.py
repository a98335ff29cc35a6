"""How well an artifact's outputs on one machine agree with those on another."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.card import DEFAULT_PARITY, Card
from ..runtime.engines import open_engine
from ..runtime.errors import ParityError, ShapeError
from ..runtime.parity import compare, judge

__all__ = ["FLOAT_TOLERANCE", "NUDGE", "QUANTISED_MARGIN_DB", "Agreement", "agreement", "held_against_host", "nudged"]

Float32 = NDArray[np.float32]
# Of the largest value. Sums in another order differ by about the square root of their length, in units of 6e-8.
FLOAT_TOLERANCE = 1e-4
# Of quantised networks with float parts: where these round differently, an activation on the edge between two steps
# falls to the other side, and deep networks carry that far. How far shows when this machine's own input moves by as
# little as float parts differ, 1e-6 of the value (float files' outputs do): the other may be off by twice that.
NUDGE = 1e-6
QUANTISED_MARGIN_DB = 6.0


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One output, over all inputs that both machines were given.

    Attributes:
        output: its name.
        bit_equal: every byte is the same.
        max_abs_error: largest difference, in the output's unit; infinite where only one is finite.
        scale: largest absolute value of the reference.
        sqnr_db: reference's power over the difference's, dB; None where there is no difference.
        own_sqnr_db: of a quantised network, the same of the reference against itself after its inputs moved by
            1e-6 of their values; None for a float one, and where that changed nothing.
        quantised: the network is; what is close enough depends on it.
    """

    output: str
    bit_equal: bool
    max_abs_error: float
    scale: float
    sqnr_db: float | None
    own_sqnr_db: float | None
    quantised: bool

    @property
    def verdict(self) -> str:
        """Say "bit-equal", "close" or "differs".

        Close is within 1e-4 of `scale` for a float network. For a quantised one it is an SQNR no more than 6 dB below
        `own_sqnr_db`: its float parts rounded differently. A network of integers only should be bit-equal.
        """
        if self.bit_equal:
            return "bit-equal"
        if self.quantised:
            found, own = self.sqnr_db, self.own_sqnr_db
            close = found is not None and own is not None and found >= own - QUANTISED_MARGIN_DB
        else:
            close = self.max_abs_error <= FLOAT_TOLERANCE * self.scale
        return "close" if close else "differs"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; an infinite error becomes null."""
        told = {**asdict(self), "verdict": self.verdict}
        return {
            key: None if isinstance(item, float) and not math.isfinite(item) else item for key, item in told.items()
        }


def agreement(
    name: str, reference: list[Float32], found: list[Float32], *, own: list[Float32] | None = None
) -> Agreement:
    """Return how well two machines' arrays of one output agree.

    Args:
        name: of the output.
        reference, found: float32 arrays of the output's shape, one for each input; at least one.
        own: for a quantised network, what the reference machine gives for `nudged` inputs; None: a float network.

    Raises:
        ShapeError: the arrays do not have the same shapes.
    """
    for side in (found, own or reference):
        if [array.shape for array in reference] != [array.shape for array in side] or not reference:
            raise ShapeError(f"output `{name}` has other shapes on the two machines")
    largest, sqnr_db = _difference(reference, found)
    left = _joined(reference)
    return Agreement(
        output=name,
        bit_equal=all(a.tobytes() == b.tobytes() for a, b in zip(reference, found, strict=True)),
        max_abs_error=largest,
        scale=float(np.abs(left[np.isfinite(left)]).max(initial=0.0)),
        sqnr_db=sqnr_db,
        own_sqnr_db=None if own is None else _difference(reference, own)[1],
        quantised=own is not None,
    )


def held_against_host(
    artifact: Path, card: Card, engine: str, tensor: Float32, outputs: dict[str, Float32], *, where: str
) -> dict[str, dict[str, float]]:
    """Return how far a device's outputs are from those of this machine's engine on the same tensor.

    Args:
        artifact: the file.
        card: its card.
        engine: of this machine.
        tensor: float32, the card's input.
        outputs: by name, float32, the card's shapes; what the device gave for it.
        where: the device, for a complaint: "in the browser".

    Raises:
        ParityError: farther than the card allows for the file's precision.
    """
    host = open_engine(artifact, card, engine=engine)
    try:
        reference = host.run(tensor)
    finally:
        host.close()
    parity = compare(
        {name: [array] for name, array in reference.items()}, {name: [array] for name, array in outputs.items()}
    )
    precision = card.artifact.get("precision", "fp32")
    limit = card.parity.get(precision, DEFAULT_PARITY.get(precision))
    complaints = judge(parity, limit) if limit is not None else []
    if complaints:
        raise ParityError(f"`{artifact.name}` gives other numbers {where} than on the host", got=complaints[0])
    return {name: figures.to_dict() for name, figures in parity.items()}


def nudged(tensor: Float32) -> Float32:
    """Return a float32 tensor of any shape whose every value moved by 1e-6 of itself, up or down (seeded)."""
    signs = np.random.default_rng(0).integers(0, 2, tensor.shape, np.int8) * 2 - 1
    return (tensor * (1 + NUDGE * signs)).astype(np.float32)


def _difference(reference: list[Float32], found: list[Float32]) -> tuple[float, float | None]:
    """Return the largest absolute difference, and the SQNR in dB or None where there is none to tell."""
    left, right = _joined(reference), _joined(found)
    with np.errstate(invalid="ignore"):
        difference = np.where(left == right, 0.0, left - right)  # equal infinities differ by nothing
    difference[np.isnan(left) & np.isnan(right)] = 0.0
    largest = np.abs(difference).max(initial=0.0)
    noise, power = float(np.square(difference).sum()), float(np.square(left).sum())
    comparable = np.isfinite([noise, power]).all() and noise > 0 and power > 0
    return float(largest) if np.isfinite(largest) else math.inf, 10 * math.log10(power / noise) if comparable else None


def _joined(arrays: list[Float32]) -> NDArray[np.float64]:
    return np.concatenate([array.ravel() for array in arrays]).astype(np.float64)
