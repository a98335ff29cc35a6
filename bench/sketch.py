"""Operator lists of networks that are known from papers, without weights and without a framework.

A `Sketch` takes the layers of a network in order and notes for each what `read_operators` would find in its file.
Shapes are (height, width, channels); padding is "same"; batch normalisation is folded and ReLU is fused.
"""

from __future__ import annotations

from collections.abc import Sequence

from .operators import Operator, elements

__all__ = ["Shape", "Sketch", "divisible"]

Shape = tuple[int, int, int]
_BYTES = {"fp32": 4, "int8": 1}


class Sketch:
    """A network under construction.

    Args:
        precision: "fp32" or "int8", of all operators.

    Attributes:
        operators: what was added so far, in order.
    """

    def __init__(self, precision: str = "fp32") -> None:
        self.operators: list[Operator] = []
        self._precision = precision

    def conv(self, x: Shape, channels: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> Shape:
        """Add a convolution with a square kernel and its bias; return its output's shape."""
        out = (-(-x[0] // stride), -(-x[1] // stride), channels)
        summed = x[2] // groups
        kind = "pointwise" if kernel == 1 else "conv"
        if groups > 1:
            kind = "depthwise" if summed == 1 else "grouped"
        weights = kernel * kernel * summed * channels
        return self._add(
            kind,
            [x],
            out,
            macs=elements(out) * kernel * kernel * summed,
            weights=weights,
            bias=channels,
            kernel=kernel * kernel,
            stride=stride * stride,
            channels=summed,
        )

    def depthwise(self, x: Shape, kernel: int = 3, stride: int = 1) -> Shape:
        """Add a convolution of each channel alone."""
        return self.conv(x, x[2], kernel, stride, groups=x[2])

    def separable(self, x: Shape, channels: int, kernel: int = 3, stride: int = 1) -> Shape:
        """Add a depthwise and a pointwise convolution."""
        return self.conv(self.depthwise(x, kernel, stride), channels)

    def dense(self, x: Shape, channels: int) -> Shape:
        """Add a fully connected layer over all of `x`."""
        size = elements(x)
        return self._add(
            "dense",
            [x],
            (1, 1, channels),
            macs=size * channels,
            weights=size * channels,
            bias=channels,
            channels=size,
        )

    def binary(self, *inputs: Shape) -> Shape:
        """Add an element-wise operator of two tensors, the smaller one broadcast."""
        return self._add("binary", inputs, max(inputs, key=elements))

    def unary(self, kind: str, x: Shape, out: Shape | None = None) -> Shape:
        """Add an operator of one tensor: "activation", "transcendental", "softmax", "move", "cast", "reshape", ..."""
        return self._add(kind, [x], out or x)

    def swish(self, x: Shape) -> Shape:
        """Add x * sigmoid(x) as TFLite files have it: two operators."""
        return self.binary(x, self.unary("transcendental", x))

    def pool(self, x: Shape, kernel: int, stride: int) -> Shape:
        """Add a pooling operator."""
        out = (-(-x[0] // stride), -(-x[1] // stride), x[2])
        return self._add("pool", [x], out, kernel=kernel * kernel, stride=stride * stride)

    def mean(self, x: Shape) -> Shape:
        """Add a global average."""
        return self._add("reduce", [x], (1, 1, x[2]))

    def resize(self, x: Shape, height: int, width: int) -> Shape:
        """Add a resizing operator."""
        return self._add("resize", [x], (height, width, x[2]))

    def concat(self, inputs: Sequence[Shape]) -> Shape:
        """Add a concatenation along channels, or of (rows, 1, columns) along rows."""
        first = inputs[0]
        rows = all(x[1] == 1 and x[2] == first[2] for x in inputs) and len({x[0] for x in inputs}) > 1
        out = (sum(x[0] for x in inputs), 1, first[2]) if rows else (first[0], first[1], sum(x[2] for x in inputs))
        return self._add("concat", inputs, out)

    def postprocess(self, anchors: int, classes: int) -> None:
        """Add TFLite's detection post-processing; it always computes in float, and a QUANTISED file casts before."""
        scores = (anchors, 1, classes)
        if self._precision == "int8":
            self.unary("cast", scores)
        self._add("postprocess", [scores, (anchors, 1, 4)], (100, 1, 4), precision="fp32")

    def _add(
        self,
        kind: str,
        inputs: Sequence[Shape],
        out: Shape,
        *,
        macs: int = 0,
        weights: int = 0,
        bias: int = 0,
        kernel: int = 1,
        stride: int = 1,
        channels: int = 0,
        precision: str | None = None,
    ) -> Shape:
        chosen = precision or self._precision
        size = _BYTES[chosen]
        taken = sum(elements(x) for x in inputs)
        self.operators.append(
            Operator(
                name=f"{kind}_{len(self.operators)}",
                op=kind,
                kind=kind,
                precision=chosen,
                shape=(1, *out),
                macs=macs,
                in_elements=taken,
                out_elements=elements(out),
                weight_elements=weights + bias,
                in_bytes=taken * size,
                out_bytes=elements(out) * size,
                weight_bytes=weights * size + bias * 4,
                kernel=kernel,
                stride=stride,
                channels=channels,
                channels_out=out[2] if weights else 0,
            )
        )
        return out


def divisible(channels: float, by: int = 8) -> int:
    """Return the nearest multiple of `by`, at least `by`, that is not more than 10 % below.

    Source:
        MobileNetV2 and V3 and EfficientNet round their widths so (Sandler et al. 2018, arXiv:1801.04381).
    """
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded
