"""The two file formats behind one face: recipes, quantiser, inspection, card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..runtime.card import Precision, Target
from ..runtime.errors import ConversionError
from . import onnx_file, onnx_quant, tflite_file, tflite_inspect, tflite_quant
from .onnx_calibration import Calibration, calibrate

__all__ = ["FORMATS", "Format"]

Float32 = NDArray[np.float32]
Quantise = Callable[[Any, Path], None]


class Format(Protocol):
    """What the export needs of a file format."""

    target: Target

    def candidates(self, source: Path, precision: Precision) -> list[Any]:
        """Return the recipes worth trying on a float32 file."""

    def quantiser(self, source: Path, samples: Sequence[Float32]) -> Quantise:
        """Return a function that writes the file of a recipe; calibration is done once for all of them."""

    def embed_card(self, data: bytes, card_json: str) -> bytes:
        """Return the file with the card inside."""

    def inspect(self, data: bytes) -> Any:
        """Return what is in a file; it has `to_dict`."""

    def check_precision(self, facts: Any, precision: Precision) -> None:
        """Raise PrecisionError where a file is not what its name claims."""

    def int8_mac_share(self, facts: Any) -> float:
        """Return the share of multiply-adds with INT8 weights, 0..1."""


class _Onnx:
    target = Target.ONNX

    def candidates(self, source: Path, precision: Precision) -> list[Any]:
        return _with_products(lambda word: list(onnx_quant.candidates(source, word)), precision, "dynamic-products")

    def quantiser(self, source: Path, samples: Sequence[Float32]) -> Quantise:
        once = _OnnxMeasured(source, samples)

        def quantise(recipe: Any, out: Path) -> None:
            static = recipe.scheme.startswith("static")
            onnx_quant.quantise(
                source,
                recipe,
                samples,
                out,
                calibration=once.calibration if static else None,
                noise=once.noise if static and recipe.budget_db is not None else None,
            )

        return quantise

    def embed_card(self, data: bytes, card_json: str) -> bytes:
        return onnx_file.embed_card(data, card_json)

    def inspect(self, data: bytes) -> Any:
        return onnx_file.inspect(data)

    def check_precision(self, facts: Any, precision: Precision) -> None:
        at_run_time = precision is Precision.INT8 and facts.mac_share.get("dynamic", 0.0) >= onnx_file.MIN_MAC_SHARE
        if at_run_time and "ConvInteger" not in facts.ops:
            precision = Precision.DYNAMIC
        onnx_file.check_precision(facts, precision)

    def int8_mac_share(self, facts: Any) -> float:
        return float(sum(share for word, share in facts.mac_share.items() if word != "float"))


class _OnnxMeasured:
    """What all recipes of one file share, measured when first asked for."""

    def __init__(self, source: Path, samples: Sequence[Float32]) -> None:
        self._source, self._samples = source, samples

    @cached_property
    def calibration(self) -> Calibration:
        return calibrate(self._source, self._samples)

    @cached_property
    def noise(self) -> dict[tuple[str, ...], float]:
        return onnx_quant.noise_by_part(self._source, self._samples, self.calibration)


class _Tflite:
    target = Target.TFLITE

    def candidates(self, source: Path, precision: Precision) -> list[Any]:
        return _with_products(lambda word: list(tflite_quant.candidates(source, word)), precision, "dynamic-fc")

    def quantiser(self, source: Path, samples: Sequence[Float32]) -> Quantise:
        return lambda recipe, out: tflite_quant.quantise(source, recipe, samples, out)

    def embed_card(self, data: bytes, card_json: str) -> bytes:
        return tflite_file.embed_card(data, card_json)

    def inspect(self, data: bytes) -> Any:
        return tflite_inspect.inspect(data)

    def check_precision(self, facts: Any, precision: Precision) -> None:
        at_run_time = precision is Precision.INT8 and facts.share("dynamic") >= tflite_inspect.MAC_FLOOR
        if at_run_time and {item.op for item in facts.computes if item.kind == "dynamic"} == {"FULLY_CONNECTED"}:
            precision = Precision.DYNAMIC
        tflite_inspect.check_precision(facts, precision)

    def int8_mac_share(self, facts: Any) -> float:
        return float(sum(facts.share(kind) for kind in ("int8", "w8a16", "dynamic")))


def _with_products(candidates: Callable[[Precision], list[Any]], precision: Precision, products: str) -> list[Any]:
    """Return the recipes of a precision; for INT8 also the one that scales activations of matrix products at run time.

    Attention nets lose much when activations are static (35 dB against 54 in the toolchain study), and their products
    are INT8 either way. Convolutions scaled at run time are slow, and are no candidates.
    """
    found = []
    error: ConversionError | None = None
    for word in (precision, Precision.DYNAMIC) if precision is Precision.INT8 else (precision,):
        try:
            found += [item for item in candidates(word) if word is precision or item.name == products]
        except ConversionError as exc:
            error = error or exc
    if not found:
        assert error is not None
        raise error
    return found


FORMATS: dict[Target, Format] = {Target.ONNX: _Onnx(), Target.TFLITE: _Tflite()}
