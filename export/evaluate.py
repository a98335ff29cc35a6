"""Run an artifact on samples in the model's own layout, so that its answers can be held against PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.card import Card
from ..runtime.engines import Engine, open_engine

__all__ = ["Outputs", "open_runner", "run_artifact", "to_file_layout"]

Float32 = NDArray[np.float32]
Outputs = dict[str, list[Float32]]


def to_file_layout(sample: Float32, model: Card, file: Card) -> Float32:
    """Return a sample of the model's input layout in the layout that the file takes."""
    return _relayout(sample, model.input.layout, file.input.layout)


def run_artifact(path: Path, file: Card, model: Card, samples: Sequence[Float32]) -> Outputs:
    """Return every output for every sample, in the model's layouts and under its names.

    Args:
        path: ONNX or TFLite file.
        file: its card.
        model: the card of the PyTorch module.
        samples: of the model's input shape.
    """
    engine = open_engine(path, file, threads=2)
    try:
        answers = [_run(engine, sample, file, model) for sample in samples]
    finally:
        engine.close()
    return {output.name: [answer[output.name] for answer in answers] for output in model.outputs}


def open_runner(path: Path, file: Card, model: Card, sample: Float32, *, threads: int = 1) -> Callable[[], object]:
    """Return a call that makes one inference, for timing."""
    engine = open_engine(path, file, threads=threads)
    tensor = to_file_layout(sample, model, file)
    return lambda: engine.run(tensor)


def _run(engine: Engine, sample: Float32, file: Card, model: Card) -> dict[str, Float32]:
    answer = engine.run(to_file_layout(sample, model, file))
    return {
        there.name: _relayout(answer[there.name], there.layout, here.layout).copy()
        for here, there in zip(model.outputs, file.outputs, strict=True)
    }


def _relayout(array: Float32, layout: str, wanted: str) -> Float32:
    if layout == "NHWC" and wanted == "NCHW":
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    if layout == "NCHW" and wanted == "NHWC":
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1))
    return array
