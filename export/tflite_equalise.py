"""Give the channels of an activation like ranges before it is quantised, without changing what the network computes.

INT8 has one scale for a whole activation. In a trained MobileNet some channels are a hundred times wider than others,
and the narrow ones drown. But ReLU, LeakyReLU and pooling commute with positive factors: a channel may be multiplied
in the convolution that makes it and divided in those that read it. The factors are powers of two, so that not even
rounding differs.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019,
    arXiv:1906.04721, section 4.1; the balance of activation and weight ranges is that of Xiao et al., "SmoothQuant",
    ICML 2023, arXiv:2211.10438, eq. 4 with alpha 0.5.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from .tflite_file import drop_unused, op_name, read_model, write_model

__all__ = ["can_equalise", "equalise"]

Float32 = NDArray[np.float32]

MAKERS = ("CONV_2D", "DEPTHWISE_CONV_2D")
# f(s * x) = s * f(x) for every channel and s > 0; each keeps channels where they are.
HOMOGENEOUS = ("LEAKY_RELU", "RELU", "MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "RESIZE_NEAREST_NEIGHBOR")
PASSING = (schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU)
LARGEST_STEP = 8  # factors from 2**-8 to 2**8: beyond, a channel is all but dead


@dataclass
class _Edge:
    """An activation whose channels may be scaled: the operator that makes it and those that read it."""

    maker: Any
    tensor: int
    readers: list[Any] = field(default_factory=list)


def equalise(data: bytes, samples: Sequence[Float32]) -> bytes:
    """Return a float file that computes the same with channels of like range.

    Args:
        data: float32 TFLite file of one graph.
        samples: inputs that show the ranges, each float32 of the input's shape.
    """
    model = read_model(data)
    graph = model.subgraphs[0]
    edges = _edges(model, graph)
    if not edges:
        return data
    ranges = _channel_ranges(data, [edge.tensor for edge in edges], samples)
    for edge in edges:
        factor = _factors(model, graph, edge, ranges[edge.tensor])
        _scale(model, graph, edge.maker, 1, _along_outputs(model, edge.maker, factor))
        if len(edge.maker.inputs) > 2 and edge.maker.inputs[2] >= 0:
            _scale(model, graph, edge.maker, 2, factor)
        for reader in edge.readers:
            _scale(model, graph, reader, 1, _along_inputs(model, graph, reader, 1.0 / factor))
    drop_unused(model, graph)
    return write_model(model)


def can_equalise(data: bytes) -> bool:
    """Return whether a float file has an activation whose channels may be scaled."""
    model = read_model(data)
    return bool(_edges(model, model.subgraphs[0]))


def _edges(model: Any, graph: Any) -> list[_Edge]:
    readers: dict[int, list[Any]] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            readers.setdefault(int(index), []).append(operator)
    outputs = {int(index) for index in graph.outputs}
    edges = []
    for operator in graph.operators:
        if op_name(model, operator) not in MAKERS or not _adjustable(model, graph, operator):
            continue
        edge = _Edge(operator, int(operator.outputs[0]))
        if operator.builtinOptions.fusedActivationFunction in PASSING and _collect(
            model, graph, edge, edge.tensor, readers, outputs
        ):
            edges.append(edge)
    return edges


def _collect(
    model: Any, graph: Any, edge: _Edge, tensor: int, readers: dict[int, list[Any]], outputs: set[int]
) -> bool:
    """Gather the convolutions that read a tensor, through operators that let a factor pass; False if another reads."""
    if tensor in outputs or not readers.get(tensor):
        return False
    for reader in readers[tensor]:
        kind = op_name(model, reader)
        if kind in MAKERS and int(reader.inputs[0]) == tensor and _adjustable(model, graph, reader):
            edge.readers.append(reader)
            continue
        passes = kind in HOMOGENEOUS and _plain(model, graph, reader)
        if not passes or not _collect(model, graph, edge, int(reader.outputs[0]), readers, outputs):
            return False
    return True


def _plain(model: Any, graph: Any, operator: Any) -> bool:
    """Return whether an operator keeps channels and has no activation that saturates."""
    options = operator.builtinOptions
    if getattr(options, "fusedActivationFunction", 0) not in PASSING:
        return False
    before, after = (graph.tensors[index].shape for index in (operator.inputs[0], operator.outputs[0]))
    return len(before) == len(after) == 4 and before[3] == after[3]


def _adjustable(model: Any, graph: Any, operator: Any) -> bool:
    """Return whether weights and bias are float32 constants, one filter a channel where it is depthwise."""
    for index in operator.inputs[1:]:
        tensor = graph.tensors[index]
        data = model.buffers[tensor.buffer].data
        if index >= 0 and (tensor.type != schema.TensorType.FLOAT32 or data is None or len(data) == 0):
            return False
    return op_name(model, operator) == "CONV_2D" or operator.builtinOptions.depthMultiplier == 1


def _channel_ranges(data: bytes, wanted: Sequence[int], samples: Sequence[Float32]) -> dict[int, Float32]:
    """Return the largest magnitude of every channel of the wanted tensors over all samples."""
    import warnings

    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns that keeping all tensors takes memory
        interpreter = Interpreter(model_content=data, num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    ranges: dict[int, Float32] = {}
    for sample in samples:
        interpreter.set_tensor(entry, np.ascontiguousarray(sample, np.float32))
        interpreter.invoke()
        for index in wanted:
            peak = np.abs(interpreter.get_tensor(index)).max(axis=(0, 1, 2))
            ranges[index] = np.maximum(ranges.get(index, peak), peak)
    return ranges


def _factors(model: Any, graph: Any, edge: _Edge, peak: Float32) -> Float32:
    """Return one power of two a channel.

    Where only depthwise filters read, each has a scale of its own and the ranges can be made equal at no cost; a
    dense filter pays for a wide activation with a narrow weight, and takes the geometric mean.
    """
    dense = [reader for reader in edge.readers if op_name(model, reader) == "CONV_2D"]
    alive = peak > peak.max() * 2.0**-12
    if not alive.any():
        return np.ones_like(peak)
    wish = np.where(alive, peak.max() / np.maximum(peak, 1e-30), 1.0)
    if dense:
        weight = np.max([_column_peaks(model, graph, reader, len(peak)) for reader in dense], axis=0)
        wish = np.sqrt(wish * np.maximum(weight, 2.0**-12))
    steps = np.round(np.log2(wish)) - np.round(np.log2(np.median(wish)))
    factors: Float32 = np.exp2(np.clip(np.where(alive, steps, 0), -LARGEST_STEP, LARGEST_STEP)).astype(np.float32)
    return factors


def _column_peaks(model: Any, graph: Any, reader: Any, channels: int) -> Float32:
    """Return how large the weights on every input channel are, each filter counted relative to its largest."""
    weight = _constant(model, graph, int(reader.inputs[1]))
    share = np.abs(weight).max(axis=(1, 2)) / np.maximum(np.abs(weight).max(axis=(1, 2, 3)), 1e-30)[:, None]
    groups = channels // weight.shape[3]
    peaks: Float32 = share.reshape(groups, -1, weight.shape[3]).max(axis=1).reshape(-1)
    return peaks


def _along_outputs(model: Any, operator: Any, factor: Float32) -> Float32:
    return factor if op_name(model, operator) == "DEPTHWISE_CONV_2D" else factor.reshape(-1, 1, 1, 1)


def _along_inputs(model: Any, graph: Any, reader: Any, factor: Float32) -> Float32:
    if op_name(model, reader) == "DEPTHWISE_CONV_2D":
        return factor
    shape = graph.tensors[reader.inputs[1]].shape
    groups = len(factor) // int(shape[3])
    by_group = factor.reshape(groups, 1, 1, 1, -1)
    rows = np.broadcast_to(by_group, (groups, int(shape[0]) // groups, 1, 1, int(shape[3])))
    return np.ascontiguousarray(rows).reshape(int(shape[0]), 1, 1, int(shape[3]))


def _constant(model: Any, graph: Any, index: int) -> Float32:
    tensor = graph.tensors[index]
    raw = np.ascontiguousarray(model.buffers[tensor.buffer].data).view(np.uint8)
    value: Float32 = raw.view("<f4").reshape([int(side) for side in tensor.shape])
    return value


def _scale(model: Any, graph: Any, operator: Any, position: int, factor: Float32) -> None:
    """Multiply a constant input of one operator; others that share the tensor keep theirs."""
    index = int(operator.inputs[position])
    value = np.ascontiguousarray(_constant(model, graph, index) * factor, "<f4")
    tensor, buffer = copy.copy(graph.tensors[index]), schema.BufferT()
    buffer.data = value.view(np.uint8).reshape(-1)
    model.buffers.append(buffer)
    tensor.buffer, tensor.name = len(model.buffers) - 1, f"equalised_{len(graph.tensors)}"
    graph.tensors.append(tensor)
    inputs = [int(item) for item in operator.inputs]
    inputs[position] = len(graph.tensors) - 1
    operator.inputs = np.asarray(inputs, np.int32)
