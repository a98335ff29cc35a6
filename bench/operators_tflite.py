"""Operators of a TFLite file, through the schema that comes with the engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..runtime.engines import missing_engine
from ..runtime.errors import ArtifactError
from .operators import Operator, elements

__all__ = ["tflite_operators"]

_KIND = {
    "CONV_2D": "conv",
    "DEPTHWISE_CONV_2D": "depthwise",
    "TRANSPOSE_CONV": "deconv",
    "FULLY_CONNECTED": "dense",
    "BATCH_MATMUL": "matmul",
    "SOFTMAX": "softmax",
    "LOG_SOFTMAX": "softmax",
    "L2_NORMALIZATION": "norm",
    "RESIZE_BILINEAR": "resize",
    "RESIZE_NEAREST_NEIGHBOR": "resize",
    "CONCATENATION": "concat",
    "PACK": "concat",
    "RESHAPE": "reshape",
    "SQUEEZE": "reshape",
    "EXPAND_DIMS": "reshape",
    "QUANTIZE": "cast",
    "DEQUANTIZE": "cast",
    "CAST": "cast",
    "custom:TFLite_Detection_PostProcess": "postprocess",
} | {
    name: kind
    for kind, names in {
        "binary": "ADD SUB MUL DIV MAXIMUM MINIMUM SQUARED_DIFFERENCE POW",
        "activation": "RELU RELU6 RELU_N1_TO_1 HARD_SWISH LEAKY_RELU PRELU ABS NEG SQUARE FLOOR ROUND",
        "transcendental": "LOGISTIC TANH EXP GELU ELU SQRT RSQRT LOG SIN COS",
        "pool": "MAX_POOL_2D AVERAGE_POOL_2D",
        "reduce": "MEAN SUM REDUCE_MAX REDUCE_MIN ARG_MAX",
        "move": "TRANSPOSE SLICE STRIDED_SLICE PAD PADV2 MIRROR_PAD SPLIT SPLIT_V UNPACK GATHER GATHER_ND TILE "
        "SPACE_TO_DEPTH DEPTH_TO_SPACE SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND BROADCAST_TO REVERSE_V2",
    }.items()
    for name in names.split()
}
# Bits of an element by TensorType; what is missing counts as 32.
_BITS = {"FLOAT16": 16, "INT16": 16, "UINT16": 16, "INT8": 8, "UINT8": 8, "BOOL": 8, "INT4": 4, "INT64": 64}
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


def tflite_operators(path: str | os.PathLike[str]) -> list[Operator]:
    """Return the operators of a TFLite file's main graph; see `read_operators`."""
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as exc:
        raise missing_engine("litert", exc) from exc
    name = Path(path).name
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(Path(path).read_bytes(), 0))
        graph = _Graph(model, schema)
        return [found for operator in graph.operators if (found := graph.operator(operator)) is not None]
    except ArtifactError as exc:
        raise ArtifactError(f"`{name}`: {exc.message}", expected=exc.expected, got=exc.got, hint=exc.hint) from exc
    except OSError as exc:
        raise ArtifactError(f"cannot read `{name}`", got=exc.strerror or exc) from exc
    except Exception as exc:  # the generated reader raises whatever a wild offset leads to
        raise ArtifactError(f"`{name}` is damaged", got=f"{type(exc).__name__}: {exc}"[:120]) from exc


class _Graph:
    """The main graph, and what its tensors are."""

    def __init__(self, model: Any, schema: Any) -> None:
        self._model = model
        graph = model.subgraphs[0]
        self._tensors = graph.tensors
        self.operators = list(graph.operators or ())
        self._op_names = {value: key for key, value in vars(schema.BuiltinOperator).items() if type(value) is int}
        self._types = {value: key for key, value in vars(schema.TensorType).items() if type(value) is int}
        self._constant = {index for index, tensor in enumerate(self._tensors) if self._stored(tensor)}
        self._stored_type = {index: self._types.get(self._tensors[index].type, "") for index in self._constant}
        for operator in self.operators:  # half-precision weights are widened when the file is loaded
            if self._name(operator) == "DEQUANTIZE" and int(operator.inputs[0]) in self._constant:
                self._constant.add(int(operator.outputs[0]))
                self._stored_type[int(operator.outputs[0])] = self._stored_type[int(operator.inputs[0])]

    def operator(self, operator: Any) -> Operator | None:
        """Return one operator, or None for what is computed when the file is loaded."""
        outputs = [int(index) for index in operator.outputs if index >= 0]
        if not outputs or outputs[0] in self._constant:
            return None
        op = self._name(operator)
        inputs = [int(index) for index in operator.inputs if index >= 0]
        moving = [index for index in inputs if index not in self._constant]
        constant = [index for index in inputs if index in self._constant]
        shape = self._shape(outputs[0])
        weights = self._weights(op, inputs)
        kind = _KIND.get(op, "other")
        kernel = stride = 1
        channels = channels_out = macs = 0
        if weights is not None and len(weights) == 4:
            kernel = weights[1] * weights[2]
            options = operator.builtinOptions
            stride = int(getattr(options, "strideH", 1)) * int(getattr(options, "strideW", 1))
            channels_out = shape[-1]
            channels = 1 if op == "DEPTHWISE_CONV_2D" else weights[3]
            pixels = elements(shape)
            if op == "TRANSPOSE_CONV":  # each input element meets the whole kernel
                pixels = elements(self._shape(inputs[2])) // weights[3] * channels_out
            macs = pixels * kernel * channels
            if op == "CONV_2D" and kernel == 1:
                kind = "pointwise"
            if op == "CONV_2D" and self._shape(inputs[0])[-1] != channels:
                kind = "depthwise" if channels == 1 else "grouped"
        elif weights is not None:
            channels, channels_out = weights[-1], weights[0]
            macs = elements(shape) * channels
        elif kind == "matmul":
            channels, channels_out = self._shape(inputs[0])[-1], shape[-1]
            if getattr(operator.builtinOptions, "adjX", False):
                channels = self._shape(inputs[0])[-2]
            macs = elements(shape) * channels
        return Operator(
            name=self._text(self._tensors[outputs[0]].name),
            op=op,
            kind=kind,
            precision=self._precision(op, moving, outputs, constant),
            shape=shape,
            macs=macs,
            in_elements=sum(elements(self._shape(index)) for index in moving),
            out_elements=sum(elements(self._shape(index)) for index in outputs),
            weight_elements=sum(elements(self._shape(index)) for index in constant),
            in_bytes=sum(self._bytes(index) for index in moving),
            out_bytes=sum(self._bytes(index) for index in outputs),
            weight_bytes=sum(self._bytes(index) for index in constant),
            kernel=kernel,
            stride=stride,
            channels=channels,
            channels_out=channels_out,
        )

    def _name(self, operator: Any) -> str:
        code = self._model.operatorCodes[operator.opcodeIndex]
        # Old files keep the code in a byte, new ones in the wider field; the larger of both is right.
        name = self._op_names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "UNKNOWN")
        return f"custom:{self._text(code.customCode)}" if name == "CUSTOM" else name

    def _stored(self, tensor: Any) -> bool:
        buffer = self._model.buffers[tensor.buffer]
        return (buffer.data is not None and len(buffer.data) > 0) or bool(buffer.size)

    def _weights(self, op: str, inputs: list[int]) -> tuple[int, ...] | None:
        """Return the shape of what multiplies; None where nothing does."""
        return self._shape(inputs[1]) if op in _WEIGHTED else None

    def _shape(self, index: int) -> tuple[int, ...]:
        tensor = self._tensors[index]
        shape = tuple(int(side) for side in (tensor.shape if tensor.shape is not None else ()))
        if any(side <= 0 for side in shape) or any(
            side < 0 for side in (tensor.shapeSignature if tensor.shapeSignature is not None else ())
        ):
            raise ArtifactError(f"the shape of `{self._text(tensor.name)}` is not fixed", got=shape)
        return shape

    def _bytes(self, index: int) -> int:
        kind = self._stored_type.get(index, self._types.get(self._tensors[index].type, ""))
        return elements(self._shape(index)) * _BITS.get(kind, 32) // 8

    def _precision(self, op: str, moving: list[int], outputs: list[int], constant: list[int]) -> str:
        ends = moving if op == "DEQUANTIZE" else outputs
        kinds = {self._types.get(self._tensors[index].type, "") for index in ends}
        if kinds & {"INT8", "UINT8"}:
            return "int8"
        if "INT16" in kinds:
            return "w8a16"
        stored = {self._stored_type[index] for index in constant} if op in _WEIGHTED else set()
        if stored & {"INT8", "UINT8", "INT4"}:
            return "dynamic"
        return "fp16" if "FLOAT16" in stored else "fp32"

    @staticmethod
    def _text(value: Any) -> str:
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
