"""The operators of a file, one by one: class, precision, shapes, multiply-adds, elements and bytes.

    for operator in read_operators("pose-int8.tflite"):
        print(operator.name, operator.kind, operator.shape, operator.macs)

What a latency model and a per-layer table need, the same for TFLite and for ONNX. Activations that an engine fuses into
the operator before them (ReLU, ReLU6) are not listed; neither is what is computed once when a file is loaded.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..runtime.card import Target
from ..runtime.embedded import file_target

__all__ = [
    "FREE",
    "KINDS",
    "PRECISIONS",
    "Operator",
    "elements",
    "mac_shares",
    "main_precision",
    "read_operators",
    "total_macs",
]

# Class of an operator -> what belongs to it.
KINDS = {
    "conv": "convolution with a kernel above 1 x 1, all channels",
    "pointwise": "convolution with a 1 x 1 kernel",
    "depthwise": "convolution of each channel alone",
    "grouped": "convolution in groups of several channels",
    "deconv": "transposed convolution",
    "dense": "fully connected, constant weights",
    "matmul": "product of two activations",
    "binary": "add, multiply, ... of two tensors",
    "activation": "one tensor, element by element, cheap: hard swish, PReLU, leaky ReLU, an unfused ReLU",
    "transcendental": "one tensor, element by element, by exp or tanh: sigmoid, swish, GELU",
    "softmax": "softmax along an axis",
    "pool": "max or average pooling",
    "reduce": "mean, sum or maximum over axes; global pooling",
    "norm": "normalisation that was not folded into weights",
    "resize": "bilinear or nearest resizing",
    "concat": "concatenation",
    "move": "copies that reorder or cut: transpose, slice, pad, gather, space to depth",
    "reshape": "a new shape for the same bytes",
    "cast": "quantise, dequantise, change the type",
    "postprocess": "detection post-processing of a TFLite file: anchors, sorting, NMS",
    "other": "anything else",
}
FREE = ("reshape",)  # takes no time worth counting, but is listed
PRECISIONS = ("fp32", "fp16", "int8", "dynamic", "w8a16")


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of a graph.

    Attributes:
        name: of its first output, as the file has it.
        op: the format's own name, e.g. "CONV_2D" or "Conv".
        kind: of `KINDS`.
        precision: "fp32"; "fp16": float activations, half-precision weights; "int8": integer activations; "dynamic":
            float activations, INT8 weights; "w8a16": INT16 activations.
        shape: of the first output, as the file has it.
        macs: multiply-adds of one inference; 0 where nothing is multiplied and summed.
        in_elements: elements of all inputs that are not constant.
        out_elements: elements of all outputs.
        weight_elements: elements of its constants.
        in_bytes, out_bytes, weight_bytes: the same in bytes, as stored in the file.
        kernel: elements of the kernel (9 for 3 x 3), 1 where there is none.
        stride: product of the strides.
        channels: input channels that each output sums over, times kernel = length of a dot product; 0 for none.
        channels_out: output channels.
    """

    name: str
    op: str
    kind: str
    precision: str
    shape: tuple[int, ...]
    macs: int = 0
    in_elements: int = 0
    out_elements: int = 0
    weight_elements: int = 0
    in_bytes: int = 0
    out_bytes: int = 0
    weight_bytes: int = 0
    kernel: int = 1
    stride: int = 1
    channels: int = 0
    channels_out: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.precision not in PRECISIONS:
            raise ValueError(f"operator {self.name!r}: unknown kind {self.kind!r} or precision {self.precision!r}")


def read_operators(path: str | os.PathLike[str]) -> list[Operator]:
    """Return the operators of an artifact in the order they run.

    Args:
        path: an ONNX or TFLite file; its content decides which, not its name.

    Raises:
        ArtifactError: the file is missing, damaged, foreign, or a shape in it is not fixed.
        MissingExtraError: onnx (for ONNX files) or ai-edge-litert (for TFLite files) is not installed.
    """
    if file_target(path) is Target.TFLITE:
        from .operators_tflite import tflite_operators

        return tflite_operators(path)
    from .operators_onnx import onnx_operators

    return onnx_operators(path)


def total_macs(operators: Iterable[Operator]) -> int:
    """Return the multiply-adds of one inference."""
    return sum(operator.macs for operator in operators)


def mac_shares(operators: Sequence[Operator]) -> list[float]:
    """Return each operator's share of all multiply-adds, 0..1; zeros where nothing multiplies."""
    total = total_macs(operators)
    return [operator.macs / total if total else 0.0 for operator in operators]


def main_precision(operators: Sequence[Operator]) -> str:
    """Return the precision that most multiply-adds run in; "fp32" where nothing multiplies."""
    macs: Counter[str] = Counter()
    for operator in operators:
        macs[operator.precision] += operator.macs
    found = macs.most_common(1)
    return found[0][0] if found and found[0][1] else "fp32"


def elements(shape: Sequence[int]) -> int:
    """Return the number of elements of a shape; 1 for a scalar."""
    return math.prod(shape)
