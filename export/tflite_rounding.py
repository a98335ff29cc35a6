"""Put the kernels of a float TFLite file on the grid of 8 or 16 bits that a quantiser will find there.

Rounding each weight to the nearest step leaves an error whose sum over a kernel is an offset of the channel wherever
activations sit far from zero. Kernels are rounded here so that the sum of every plane stays, and the quantiser, which
rounds to the nearest step itself, then has nothing left to round: see `onnx_rounding` and `half_rounding`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from .half_rounding import round_to_half, smallest_kernels
from .onnx_rounding import quantise_weights
from .tflite_file import op_name, read_model, tensor_info, write_model

__all__ = ["round_kernels_to_half", "round_kernels_to_int8", "smallest_layers"]

Float32 = NDArray[np.float32]
KERNELS = ("CONV_2D", "TRANSPOSE_CONV", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
HALF_MAX = 65504.0


def smallest_layers(data: bytes) -> tuple[str, ...]:
    """Return the output tensors of the operators whose kernels are better left in float32; see `half_rounding`."""
    model = read_model(data)
    sizes = {}
    for graph in model.subgraphs:
        for operator in graph.operators or ():
            if op_name(model, operator) in KERNELS:
                kernel = tensor_info(graph, int(operator.inputs[1]))
                sizes[tensor_info(graph, operator.outputs[0]).name] = math.prod(kernel.shape)
    return tuple(sorted(smallest_kernels(sizes)))


def round_kernels_to_half(data: bytes, keep: Collection[str]) -> bytes:
    """Return the float32 file with kernels on values that half precision holds exactly.

    Args:
        data: a float32 TFLite file; a kernel beyond half precision's range is left for the quantiser to refuse.
        keep: names of output tensors whose operators stay as they are.
    """

    def to_half(kernel: Float32) -> Float32:
        if np.abs(kernel).max(initial=0.0) > HALF_MAX:
            return kernel
        return round_to_half(kernel, (2, 3) if kernel.ndim == 4 and max(kernel.shape[2:]) > 1 else (1,))

    return _with_kernels(data, to_half, keep=keep)


def round_kernels_to_int8(data: bytes, ops: Collection[str], keep: Collection[str]) -> bytes:
    """Return the float32 file with kernels on the grid of 8 bits per output channel.

    Args:
        data: a float32 TFLite file.
        ops: operators whose kernels are rounded; empty means all.
        keep: names of output tensors whose operators stay as they are.
    """

    def to_int8(kernel: Float32) -> Float32:
        steps, scales = quantise_weights(kernel, 0)
        return steps.astype(np.float32) * scales.reshape(-1, *[1] * (kernel.ndim - 1))

    return _with_kernels(data, to_int8, keep=keep, ops=ops or KERNELS)


def _with_kernels(
    data: bytes,
    change: Callable[[Float32], Float32],
    keep: Collection[str],
    ops: Collection[str] = KERNELS,
) -> bytes:
    """Change every float32 kernel that one operator reads, seen as (O, I, H, W) or (O, I)."""
    model = read_model(data)
    for graph in model.subgraphs:
        readers = [int(index) for operator in graph.operators or () for index in operator.inputs]
        for operator in graph.operators or ():
            name = op_name(model, operator)
            if name not in KERNELS or name not in ops or tensor_info(graph, operator.outputs[0]).name in keep:
                continue
            index = int(operator.inputs[1])
            tensor = graph.tensors[index]
            buffer = model.buffers[tensor.buffer]
            if tensor.type != 0 or buffer.data is None or readers.count(index) > 1:  # 0 is FLOAT32
                continue
            weights = np.frombuffer(bytes(buffer.data), np.float32).reshape(tensor.shape)
            # OHWI, and 1HWC of depthwise kernels, whose channels are outputs.
            order = (3, 0, 1, 2) if name == "DEPTHWISE_CONV_2D" else (0, 3, 1, 2)
            if weights.ndim == 2:
                changed = change(weights)
            else:
                changed = change(np.ascontiguousarray(weights.transpose(order))).transpose(np.argsort(order))
            buffer.data = np.frombuffer(np.ascontiguousarray(changed, np.float32).tobytes(), np.uint8)
    return write_model(model)
