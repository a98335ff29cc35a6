"""Operators of an ONNX file, as onnxruntime runs them: QDQ folded into INT8, activations fused, constants gone."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from ..runtime.errors import ArtifactError, MissingExtraError
from .operators import Operator, elements

__all__ = ["onnx_operators"]

_KIND = {
    "Conv": "conv",
    "QLinearConv": "conv",
    "ConvInteger": "conv",
    "ConvTranspose": "deconv",
    "Gemm": "dense",
    "QLinearMatMul": "matmul",
    "MatMulInteger": "matmul",
    "MatMul": "matmul",
    "Softmax": "softmax",
    "LogSoftmax": "softmax",
    "Resize": "resize",
    "Upsample": "resize",
    "Concat": "concat",
} | {
    name: kind
    for kind, names in {
        "binary": "Add Sub Mul Div Max Min Pow QLinearAdd QLinearMul Where Equal Less Greater",
        "activation": "Relu Clip LeakyRelu PRelu HardSwish HardSigmoid Abs Neg Floor Round Sign",
        "transcendental": "Sigmoid Tanh Exp Gelu Elu Selu Sqrt Reciprocal Log Erf Softplus Mish Swish QLinearSigmoid",
        "pool": "MaxPool AveragePool",
        "reduce": "GlobalAveragePool GlobalMaxPool ReduceMean ReduceSum ReduceMax ReduceL2 ArgMax",
        "norm": "BatchNormalization LayerNormalization InstanceNormalization GroupNormalization LpNormalization",
        "move": "Transpose Slice Pad Split Gather GatherND GatherElements Tile Expand SpaceToDepth DepthToSpace",
        "reshape": "Reshape Flatten Squeeze Unsqueeze Identity Dropout",
        "cast": "Cast QuantizeLinear DequantizeLinear DynamicQuantizeLinear",
    }.items()
    for name in names.split()
}
_FUSED = ("Relu", "Clip")  # into the convolution before, by onnxruntime's own optimiser
_BITS = {10: 16, 16: 16, 4: 16, 5: 16, 2: 8, 3: 8, 9: 8, 7: 64, 11: 64}  # TensorProto.DataType; what is missing: 32
_HALF, _INTEGER = 10, (2, 3)


def onnx_operators(path: str | os.PathLike[str]) -> list[Operator]:
    """Return the operators of an ONNX file; see `read_operators`."""
    try:
        import onnx
        from onnx import numpy_helper, shape_inference
    except ImportError as exc:
        hint = "pip install 'edge-vision[export]'"
        raise MissingExtraError("the operators of an ONNX file need onnx, which is not installed", hint=hint) from exc
    name = Path(path).name
    try:
        # Weights outside the file are never followed: only their shapes are needed.
        model = onnx.load(os.fspath(path), load_external_data=False)
        model = shape_inference.infer_shapes(model, data_prop=True)
        graph = _Graph(model.graph, numpy_helper)
        return graph.listed()
    except ArtifactError as exc:
        raise ArtifactError(f"`{name}`: {exc.message}", expected=exc.expected, got=exc.got, hint=exc.hint) from exc
    except OSError as exc:
        raise ArtifactError(f"cannot read `{name}`", got=exc.strerror or exc) from exc
    except Exception as exc:  # protobuf's and the checker's own errors
        raise ArtifactError(f"`{name}` is damaged", got=f"{type(exc).__name__}: {exc}"[:120]) from exc


class _Graph:
    """A graph, its shapes, and which tensors are constant."""

    def __init__(self, graph: Any, numpy_helper: Any) -> None:
        self._nodes = list(graph.node)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._types: dict[str, int] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            if kind.HasField("shape"):
                self._shapes[value.name] = tuple(int(side.dim_value) for side in kind.shape.dim)
                self._types[value.name] = kind.elem_type
        self._constant: set[str] = set()
        for tensor in graph.initializer:
            self._shapes[tensor.name], self._types[tensor.name] = tuple(tensor.dims), tensor.data_type
            self._constant.add(tensor.name)
        for node in self._nodes:
            self._fold(node)
        self._uses = Counter(name for node in self._nodes for name in set(node.input))
        self._uses.update(value.name for value in graph.output)
        self._producer = {name: node for node in self._nodes for name in node.output}
        self._consumers: dict[str, list[Any]] = {}
        for node in self._nodes:
            for name in set(node.input):
                self._consumers.setdefault(name, []).append(node)

    def listed(self) -> list[Operator]:
        """Return what runs."""
        return [
            self._operator(node)
            for node in self._nodes
            if node.output[0] not in self._constant and not self._inside(node) and not self._fused(node)
        ]

    def _fold(self, node: Any) -> None:
        """Note what is computed when a file is loaded: constants, and all that hangs on constants only."""
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    self._shapes[node.output[0]] = tuple(attribute.t.dims)
                    self._types[node.output[0]] = attribute.t.data_type
        if all(name in self._constant for name in node.input if name):
            self._constant.update(node.output)
            if node.op_type in ("DequantizeLinear", "Cast"):  # bytes of weights are those that are stored
                self._types[node.output[0]] = self._types.get(node.input[0], 1)

    def _inside(self, node: Any) -> bool:
        """Return whether a quantise or dequantise node is part of an INT8 operator and never runs as its own."""
        if node.op_type == "DequantizeLinear":
            users = self._users(node.output[0])
            return bool(users) and len(users) == self._uses[node.output[0]] and all(map(self._integer, users))
        if node.op_type == "QuantizeLinear":
            maker = self._producer.get(node.input[0])
            if maker is not None and self._fused(maker):
                maker = self._producer.get(maker.input[0])
            return maker is not None and self._integer(maker)
        return False

    def _fused(self, node: Any) -> bool:
        if node.op_type not in _FUSED:
            return False
        maker = self._producer.get(node.input[0])
        return maker is not None and maker.op_type == "Conv" and self._uses[node.input[0]] == 1

    def _integer(self, node: Any) -> bool:
        """Return whether a node of a QDQ graph runs on integers: all its moving inputs and outputs are quantised."""
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            return False
        moving = [name for name in node.input if name and name not in self._constant]
        if not moving or not all(self._dequantised(name) for name in moving):
            return False
        return all(self._quantised(name) for name in node.output if name)

    def _dequantised(self, name: str) -> bool:
        maker = self._producer.get(name)
        return maker is not None and maker.op_type == "DequantizeLinear"

    def _quantised(self, name: str) -> bool:
        """Return whether an output goes into a QuantizeLinear, straight or through a fused activation."""
        users = self._users(name)
        if len(users) == 1 and users[0].op_type in _FUSED:
            users = self._users(users[0].output[0])
        return bool(users) and all(user.op_type == "QuantizeLinear" for user in users)

    def _users(self, name: str) -> list[Any]:
        return self._consumers.get(name, [])

    def _operator(self, node: Any) -> Operator:
        inputs = [name for name in node.input if name]
        outputs = [name for name in node.output if name]
        moving = [name for name in inputs if name not in self._constant]
        constant = [name for name in inputs if name in self._constant]
        shape = self._shape(outputs[0])
        kind = _KIND.get(node.op_type, "other")
        if node.op_type == "Resize" or kind in ("move", "reshape", "reduce", "activation"):
            constant = []  # axes, sizes, bounds
        attributes = {attribute.name: attribute for attribute in node.attribute}
        kernel = stride = 1
        channels = channels_out = macs = 0
        if kind in ("conv", "deconv"):
            weights = self._shape(node.input[3] if node.op_type == "QLinearConv" else node.input[1])
            group = int(attributes["group"].i) if "group" in attributes else 1
            strides = list(attributes["strides"].ints) if "strides" in attributes else [1]
            kernel, stride = elements(weights[2:]), elements(strides)
            channels_out = shape[1]
            channels = weights[1] if kind == "conv" else weights[0] // group
            pixels = elements(shape)
            if kind == "deconv":  # each input element meets the whole kernel
                pixels = elements(self._shape(inputs[0])) // weights[0] * channels_out
            macs = pixels * kernel * channels
            if kind == "conv" and group > 1:
                kind = "depthwise" if channels == 1 else "grouped"
            elif kind == "conv" and kernel == 1:
                kind = "pointwise"
        elif kind in ("dense", "matmul"):
            first = self._shape(inputs[0])
            turned = "transA" in attributes and attributes["transA"].i
            channels, channels_out = first[-2] if turned else first[-1], shape[-1]
            macs = elements(shape) * channels
            if any(len(self._shapes.get(name, ())) > 1 for name in constant):
                kind = "dense"
        return Operator(
            name=outputs[0],
            op=node.op_type,
            kind=kind,
            precision=self._precision(node, kind, constant),
            shape=shape,
            macs=macs,
            in_elements=sum(elements(self._shape(name)) for name in moving),
            out_elements=sum(elements(self._shape(name)) for name in outputs if name in self._shapes),
            weight_elements=sum(elements(self._shapes.get(name, (1,))) for name in constant),
            in_bytes=sum(self._bytes(name, node) for name in moving),
            out_bytes=sum(self._bytes(name, node) for name in outputs if name in self._shapes),
            weight_bytes=sum(self._bytes(name, None) for name in constant),
            kernel=kernel,
            stride=stride,
            channels=channels,
            channels_out=channels_out,
        )

    def _precision(self, node: Any, kind: str, constant: list[str]) -> str:
        if node.op_type.startswith("QLinear") or self._integer(node):
            return "int8"
        if node.op_type == "DequantizeLinear":
            return "int8"
        if self._types.get(node.output[0]) in _INTEGER:
            return "int8"
        if node.op_type in ("ConvInteger", "MatMulInteger"):
            return "dynamic"
        if kind in ("conv", "pointwise", "depthwise", "grouped", "deconv", "dense"):
            stored = {self._types.get(name) for name in constant}
            if stored & set(_INTEGER):
                return "dynamic"
            if _HALF in stored:
                return "fp16"
        return "fp16" if self._types.get(node.output[0]) == _HALF else "fp32"

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self._shapes.get(name)
        if shape is None or any(side <= 0 for side in shape):
            hint = "export it with a fixed input shape"
            raise ArtifactError(f"the shape of `{name}` is not fixed", got=shape, hint=hint)
        return shape

    def _bytes(self, name: str, node: Any | None) -> int:
        bits = _BITS.get(self._types.get(name, 1), 32)
        if node is not None and self._integer(node):
            bits = 8
        return elements(self._shapes.get(name, (1,))) * bits // 8
