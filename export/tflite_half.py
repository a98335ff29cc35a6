"""Prepare a float TFLite file for half precision: kernels rounded so that their sums stay; see `half_rounding`."""

from __future__ import annotations

import numpy as np

from .half_rounding import round_to_half
from .tflite_file import op_name, read_model, write_model

__all__ = ["round_kernels_to_half"]

# Input axes of a kernel as TFLite lays it out, where the kernel has more than one tap, and where it has one.
AXES = {
    "CONV_2D": ((1, 2), (3,)),
    "TRANSPOSE_CONV": ((1, 2), (3,)),
    "DEPTHWISE_CONV_2D": ((1, 2), (1, 2)),
    "FULLY_CONNECTED": ((1,), (1,)),
}
HALF_MAX = 65504.0


def round_kernels_to_half(data: bytes) -> bytes:
    """Return the float32 file with every kernel on values that half precision holds exactly.

    Args:
        data: a float32 TFLite file; a kernel beyond half precision's range is left for the quantiser to refuse.
    """
    model = read_model(data)
    done: set[int] = set()
    for graph in model.subgraphs:
        for operator in graph.operators or ():
            name = op_name(model, operator)
            if name not in AXES or len(operator.inputs) < 2:
                continue
            tensor = graph.tensors[operator.inputs[1]]
            buffer = model.buffers[tensor.buffer]
            if tensor.type != 0 or buffer.data is None or tensor.buffer in done:  # 0 is FLOAT32
                continue
            weights = np.frombuffer(bytes(buffer.data), np.float32).reshape(tensor.shape)
            if np.abs(weights).max(initial=0.0) > HALF_MAX:
                continue
            taps = int(np.prod(tensor.shape[1:3])) if weights.ndim == 4 else 1
            rounded = round_to_half(weights, AXES[name][0 if taps > 1 else 1])
            buffer.data = np.frombuffer(rounded.tobytes(), np.uint8)
            done.add(tensor.buffer)
    return write_model(model)
