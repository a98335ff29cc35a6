"""Ground floor: cards, preprocessing, engines, decoders, pipelines. Never torch or tensorflow.

    from edge.runtime import Pipeline
    result = Pipeline.load("pose-fp32.onnx")("street.jpg")

The names below load on first use, so that importing this package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .card import Card
    from .embedded import read_card
    from .pipeline import Pipeline
    from .results import Result

__all__ = ["Card", "Pipeline", "Result", "read_card"]

_HOMES = {"Card": "card", "Pipeline": "pipeline", "Result": "results", "read_card": "embedded"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
