"""Ranges that INT8 kernels can work with.

A unit whose ReLU is never above zero, as trained networks have them, gives a tensor whose range is a point. Its scale
would be next to nothing and the factor from its inputs to it enormous; XNNPACK refuses factors of 256 and above for
the whole graph, and LiteRT 2.3.0 then frees memory twice and takes the process along.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..runtime.errors import ConversionError
from .tflite_file import op_name, read_model

__all__ = ["LARGEST_FACTOR", "check_factors", "widen_points"]

POINT = 1e-6  # narrower than that, zero included, nothing happens in a tensor
LARGEST_FACTOR = 256.0  # below it: XNNPACK's `xnn_define_convolution_2d` and its like
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def widen_points(ranges: dict[str, Any]) -> None:
    """Give every tensor that was zero on all samples the range 0..1; any scale tells zero exactly.

    Args:
        ranges: by tensor name, with arrays "min" and "max" of one shape; changed in place.
    """
    for entry in ranges.values():
        if "min" not in entry or "max" not in entry:
            continue
        low, high = np.asarray(entry["min"]), np.asarray(entry["max"])
        dead = np.maximum(high, 0.0) - np.minimum(low, 0.0) < POINT
        entry["max"] = np.where(dead, 1.0, high).astype(high.dtype)


def check_factors(data: bytes) -> None:
    """Refuse a file that would crash LiteRT.

    Args:
        data: a quantised TFLite file.

    Raises:
        ConversionError: a factor input scale * weight scale / output scale is `LARGEST_FACTOR` or more.
    """
    model = read_model(data)
    for graph in model.subgraphs:
        for operator in graph.operators:
            if op_name(model, operator) not in _WEIGHTED:
                continue
            source, weight = (_scales(graph.tensors[index]) for index in operator.inputs[:2])
            result = _scales(graph.tensors[operator.outputs[0]])
            if not (source.size and weight.size and result.size):
                continue  # float, or ranges taken at run time
            factor = float(source[0] * weight.max() / result[0])
            if factor >= LARGEST_FACTOR:
                name = graph.tensors[operator.outputs[0]].name.decode("utf-8", "replace")
                raise ConversionError(
                    f"the INT8 range of `{name}` is too narrow for its inputs",
                    expected=f"a factor below {LARGEST_FACTOR:g}",
                    got=f"{factor:.3g}",
                )


def _scales(tensor: Any) -> Any:
    scale = tensor.quantization.scale if tensor.quantization is not None else None
    return np.asarray([] if scale is None else scale, np.float64)
