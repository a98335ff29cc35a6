"""Ground floor: cards, preprocessing, engines, decoders, pipelines. Never torch or tensorflow.

    from edge.runtime import Pipeline
    pipeline = Pipeline.load("pose-fp32.onnx")
    result = pipeline("street.jpg")
    for frame in pipeline.stream("street.mp4"):
        print(frame.time_s, frame.result)

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
    from .stream import Frame

__all__ = ["Card", "Frame", "Pipeline", "Result", "read_card"]

_HOMES = {"Card": "card", "Frame": "stream", "Pipeline": "pipeline", "Result": "results", "read_card": "embedded"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
