"""The half-precision form of a float32 ONNX graph: weights stored in fp16, computed in float32.

Computing in half precision as well was tried with onnxruntime's converter and left: on a CPU it is never faster, and on
the public V1-base it lost 11 dB (46.4 against 57.5 dB).
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

from ..runtime.errors import PrecisionError
from .half_rounding import round_to_half, smallest_kernels

__all__ = ["check_half_range", "half_weights"]

MIN_HALF_ELEMENTS = 16  # smaller constants (eps, scales) stay float32: no bytes to win, accuracy to lose
HALF_MAX = 65504.0
HALF_MIN = 2.0**-25  # half of the smallest subnormal: rounds to zero


def check_half_range(model: ModelProto) -> float:
    """Return the share of non-zero weights that half precision flushes to zero.

    Raises:
        PrecisionError: a weight is beyond its largest number.
    """
    flushed = total = 0
    for item in _float_weights(model):
        values = np.abs(numpy_helper.to_array(item))
        if float(values.max(initial=0.0)) > HALF_MAX:
            raise PrecisionError(
                f"weight `{item.name}` does not fit into fp16", expected=f"|w| <= {HALF_MAX:g}", got=float(values.max())
            )
        flushed += int(((values > 0) & (values <= HALF_MIN)).sum())
        total += values.size
    return flushed / total if total else 0.0


def _float_weights(model: ModelProto) -> list[TensorProto]:
    return [
        item
        for item in model.graph.initializer
        if item.data_type == TensorProto.FLOAT and math.prod(item.dims) >= MIN_HALF_ELEMENTS
    ]


def half_weights(model: ModelProto) -> ModelProto:
    """Store weights in half precision behind a Cast, which engines fold once when they load the file.

    Vectors (biases, norms) and the smallest kernels stay float32: they are few, a rounded bias is an offset of a whole
    channel, and see `half_rounding`.
    """
    matrices = {item.name: math.prod(item.dims) for item in _float_weights(model) if len(item.dims) > 1}
    exact = smallest_kernels(matrices)
    _round_kernels(model, exact)
    casts = []
    for item in _float_weights(model):
        if item.name not in matrices or item.name in exact:
            continue
        values = numpy_helper.to_array(item).astype(np.float16)
        name = item.name
        item.CopyFrom(numpy_helper.from_array(values, f"{name}.fp16"))
        casts.append(onnx.helper.make_node("Cast", [item.name], [name], name=f"{name}/Cast", to=TensorProto.FLOAT))
    nodes = casts + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _round_kernels(model: ModelProto, exact: Collection[str] = ()) -> None:
    """Round the constants of convolutions and matrix products so that what they answer to a constant input stays."""
    tensors = {item.name: item for item in _float_weights(model) if item.name not in exact}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "DeformConv", "Gemm", "MatMul") or len(node.input) < 2:
            continue
        item = tensors.pop(node.input[1], None)  # popped: a tensor that two nodes read is rounded once
        if item is None:
            continue
        values = numpy_helper.to_array(item)
        if node.op_type == "Gemm" or values.ndim < 3:
            transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
            axes: tuple[int, ...] = (1 if transposed else values.ndim - 2,)
        else:
            axes = tuple(range(2, values.ndim)) if max(values.shape[2:]) > 1 else (1,)
        if values.ndim >= 2:
            item.CopyFrom(numpy_helper.from_array(round_to_half(values, axes), item.name))
