"""The two file formats behind one face: recipes, quantiser, inspection, card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..runtime.card import Precision, Target
from . import onnx_file, onnx_quant, tflite_file, tflite_inspect
from .onnx_calibration import calibrate

__all__ = ["FORMATS", "Format"]

Float32 = NDArray[np.float32]
Quantise = Callable[[Any, Path], None]


class Format(Protocol):
    """What the export needs of a file format."""

    target: Target

    def candidates(self, source: Path, precision: Precision) -> list[Any]:
        """Return the recipes worth trying on a float32 file."""

    def quantiser(self, source: Path, samples: Sequence[Float32], work: Path) -> Quantise:
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
        found: list[Any] = list(onnx_quant.candidates(source, precision))
        if precision is Precision.INT8:
            # Attention nets keep more when activations are scaled at run time; conv nets are slower, and lose the search.
            found += [recipe for recipe in _dynamic_products(source) if recipe not in found]
        return found

    def quantiser(self, source: Path, samples: Sequence[Float32], work: Path) -> Quantise:
        ranges: dict[str, Any] = {}

        def quantise(recipe: Any, out: Path) -> None:
            if recipe.scheme.startswith("static") and not ranges:
                ranges["all"] = calibrate(source, samples)
            onnx_quant.quantise(source, recipe, samples, out, ranges=ranges.get("all"))

        return quantise

    def embed_card(self, data: bytes, card_json: str) -> bytes:
        return onnx_file.embed_card(data, card_json)

    def inspect(self, data: bytes) -> Any:
        return onnx_file.inspect(data)

    def check_precision(self, facts: Any, precision: Precision) -> None:
        onnx_file.check_precision(facts, precision)

    def int8_mac_share(self, facts: Any) -> float:
        return sum(share for word, share in facts.mac_share.items() if word != "float")


def _dynamic_products(source: Path) -> list[Any]:
    from ..runtime.errors import ConversionError

    try:
        recipes = onnx_quant.candidates(source, Precision.DYNAMIC)
    except ConversionError:
        return []
    return [recipe for recipe in recipes if recipe.select == "products"]


class _Tflite:
    target = Target.TFLITE

    def candidates(self, source: Path, precision: Precision) -> list[Any]:
        from . import tflite_quant

        return list(tflite_quant.candidates(source, precision))

    def quantiser(self, source: Path, samples: Sequence[Float32], work: Path) -> Quantise:
        from . import tflite_quant

        def quantise(recipe: Any, out: Path) -> None:
            tflite_quant.quantise(source, recipe, samples, out)

        return quantise

    def embed_card(self, data: bytes, card_json: str) -> bytes:
        return tflite_file.embed_card(data, card_json)

    def inspect(self, data: bytes) -> Any:
        return tflite_inspect.inspect(data)

    def check_precision(self, facts: Any, precision: Precision) -> None:
        tflite_inspect.check_precision(facts, precision)

    def int8_mac_share(self, facts: Any) -> float:
        return sum(facts.share(kind) for kind in ("int8", "w8a16", "dynamic"))


FORMATS: dict[Target, Format] = {Target.ONNX: _Onnx(), Target.TFLITE: _Tflite()}
