"""What is really inside a TFLite file: operators, types, and which part of the work runs in which precision.

An `int8` in a file name is a promise about its tensors; `check_precision` holds the file to it.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..runtime.errors import PrecisionError
from .tflite_file import TYPE_NAMES, TensorInfo, op_name, read_model, tensor_info

__all__ = ["MAC_FLOOR", "Compute", "OpRow", "TfliteFacts", "check_precision", "inspect", "op_table"]

# Share of the multiply-adds that must run as the name says. A deliberately float stem is allowed below it.
MAC_FLOOR = 0.5

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
QUANTISED = ("INT8", "UINT8", "INT16", "INT4")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """One operator that multiplies.

    Attributes:
        index: place in the graph.
        op: name, e.g. "CONV_2D".
        output: name of its output tensor.
        shape: of the output.
        macs: multiply-adds of one inference.
        kind: "int8" or "w8a16" (static), "dynamic" (INT8 weights, float activations), "weight-only" (weights
            dequantised from INT8), "fp16" (weights dequantised from half precision), "fp32".
        channels_out: output channels of its weights; 1 where it has none.
        scales: number of weight scales; 0 in float, 1 per tensor, `channels_out` per channel.
    """

    index: int
    op: str
    output: str
    shape: tuple[int, ...]
    macs: int
    kind: str
    channels_out: int
    scales: int


@dataclass(frozen=True)
class OpRow:
    """One operator: its name, its first output's name and shape, and the names of its inputs."""

    op: str
    output: str
    shape: tuple[int, ...]
    inputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TfliteFacts:
    """What `inspect` found.

    Attributes:
        sha256: of the bytes, hexadecimal.
        size_bytes: length of the file.
        inputs, outputs: in graph order.
        ops: how many operators of each name.
        types: how many tensors of each dtype.
        macs: multiply-adds by `Compute.kind`.
        computes: the operators that multiply.
        parameters: elements of all constants that are weights or biases.
        half_share: share of the elements of float constants that are stored as FLOAT16.
        foreign: custom and Flex operators, by name; none of them runs in plain LiteRT.
    """

    sha256: str
    size_bytes: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    ops: Mapping[str, int]
    types: Mapping[str, int]
    macs: Mapping[str, int]
    computes: tuple[Compute, ...]
    parameters: int
    half_share: float
    foreign: tuple[str, ...]

    @property
    def transposes(self) -> int:
        """Number of TRANSPOSE operators."""
        return self.ops.get("TRANSPOSE", 0)

    def share(self, kind: str) -> float:
        """Return the share of all multiply-adds of one kind, 0..1."""
        total = sum(self.macs.values())
        return self.macs.get(kind, 0) / total if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return what a manifest keeps, as plain JSON values."""
        return {
            "ops": dict(sorted(self.ops.items())),
            "types": dict(sorted(self.types.items())),
            "mac_shares": {kind: round(self.share(kind), 4) for kind in sorted(self.macs)},
            "macs": sum(self.macs.values()),
            "parameters": self.parameters,
            "transposes": self.transposes,
            "foreign_ops": list(self.foreign),
        }


def inspect(data: bytes) -> TfliteFacts:
    """Return the facts about a TFLite file.

    Args:
        data: the file's bytes.

    Raises:
        ArtifactError: it is no TFLite file, or a damaged one.
    """
    model = read_model(data)
    ops: Counter[str] = Counter()
    types: Counter[str] = Counter()
    macs: Counter[str] = Counter()
    computes: list[Compute] = []
    for graph in model.subgraphs:
        ops.update(op_name(model, operator) for operator in graph.operators)
        types.update(TYPE_NAMES.get(tensor.type, "UNKNOWN") for tensor in graph.tensors)
        computes.extend(_computes(model, graph))
    for compute in computes:
        macs[compute.kind] += compute.macs
    parameters, half_share = _constants(model)
    main = model.subgraphs[0]
    return TfliteFacts(
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        inputs=tuple(tensor_info(main, index) for index in main.inputs),
        outputs=tuple(tensor_info(main, index) for index in main.outputs),
        ops=dict(ops),
        types=dict(types),
        macs=dict(macs),
        computes=tuple(computes),
        parameters=parameters,
        half_share=half_share,
        foreign=tuple(sorted(name for name in ops if name.startswith("custom:"))),
    )


def check_precision(facts: TfliteFacts, precision: str) -> None:
    """Check that a file is what its precision word says.

    `int8`, `dynamic` and `w8a16` need at least `MAC_FLOOR` of the multiply-adds in that form, with one scale an
    output channel for every INT8 weight; `fp16` needs nearly all float constants in half precision; `fp32` admits no
    quantised and no half-precision tensor. Inputs and outputs are float32 always.

    Args:
        facts: of the file.
        precision: "fp32", "fp16", "int8", "dynamic" or "w8a16".

    Raises:
        PrecisionError: it is something else; the message says what.
    """
    for tensor in (*facts.inputs, *facts.outputs):
        if tensor.dtype != "FLOAT32":
            raise PrecisionError(f"`{tensor.name}` is not float32", expected="FLOAT32", got=tensor.dtype)
    found = ", ".join(f"{kind} {facts.share(kind):.0%}" for kind in sorted(facts.macs)) or "nothing that multiplies"
    scaled = sum(facts.types.get(name, 0) for name in QUANTISED)
    if precision == "fp32":
        if scaled or facts.types.get("FLOAT16", 0):
            raise PrecisionError("an `fp32` file holds quantised or half-precision tensors", got=dict(facts.types))
    elif precision == "fp16":
        if scaled or facts.half_share < 0.8:  # biases and the smallest kernels stay float32
            got = f"{facts.half_share:.0%} of the float constants in half precision, {scaled} quantised tensors"
            raise PrecisionError("a file named `fp16` is not", expected="at least 90% and none", got=got)
    elif precision in ("int8", "dynamic", "w8a16"):
        if facts.share(precision) < MAC_FLOOR:
            expected = f"at least {MAC_FLOOR:.0%} of the multiply-adds so"
            raise PrecisionError(f"a file named `{precision}` is not", expected=expected, got=found)
        coarse = [item for item in facts.computes if item.scales == 1 and item.channels_out > 1]
        if coarse:
            raise PrecisionError(
                f"weights of `{coarse[0].output}` are quantised per tensor", expected="one scale an output channel"
            )
    else:
        raise PrecisionError("precision is not known", got=precision)


def op_table(data: bytes) -> list[OpRow]:
    """Return the operators of the main graph, in order."""
    model = read_model(data)
    graph = model.subgraphs[0]
    rows = []
    for operator in graph.operators:
        info = tensor_info(graph, operator.outputs[0])
        inputs = tuple(tensor_info(graph, index).name for index in operator.inputs if index >= 0)
        rows.append(OpRow(op_name(model, operator), info.name, info.shape, inputs))
    return rows


def _computes(model: Any, graph: Any) -> Iterator[Compute]:
    makers = {int(index): operator for operator in graph.operators for index in operator.outputs}
    for place, operator in enumerate(graph.operators):
        name = op_name(model, operator)
        if name not in (*WEIGHTED, "BATCH_MATMUL"):
            continue
        at_x, at_w = (2, 1) if name == "TRANSPOSE_CONV" else (0, 1)
        x, weight = (tensor_info(graph, operator.inputs[at]) for at in (at_x, at_w))
        out = tensor_info(graph, operator.outputs[0])
        scales, channels = 0, 1
        if name in WEIGHTED:
            channels = weight.shape[-1] if name == "DEPTHWISE_CONV_2D" else weight.shape[0]
            scales = _scales(model, graph, makers, weight.index)
        yield Compute(
            index=place,
            op=name,
            output=out.name,
            shape=out.shape,
            macs=_macs(name, x.shape, weight.shape, out.shape),
            kind=_kind(model, graph, makers, x, weight),
            channels_out=channels,
            scales=scales,
        )


def _macs(name: str, x: tuple[int, ...], weight: tuple[int, ...], out: tuple[int, ...]) -> int:
    if name == "DEPTHWISE_CONV_2D":
        return math.prod(out) * weight[1] * weight[2]
    if name == "TRANSPOSE_CONV":
        return math.prod(x) * weight[0] * weight[1] * weight[2]
    if name == "BATCH_MATMUL":
        return math.prod(out) * x[-1]
    return math.prod(out) * math.prod(weight[1:])  # CONV_2D (O, h, w, I / groups) and FULLY_CONNECTED (O, I)


def _kind(model: Any, graph: Any, makers: dict[int, Any], x: TensorInfo, weight: TensorInfo) -> str:
    if weight.dtype in ("INT8", "INT4"):
        return {"INT8": "int8", "INT16": "w8a16"}.get(x.dtype, "dynamic")
    if weight.dtype == "INT16":
        return "w8a16"
    source = _stored(model, graph, makers, weight.index).dtype
    return {"FLOAT16": "fp16", "INT8": "weight-only"}.get(source, "fp32")


def _stored(model: Any, graph: Any, makers: dict[int, Any], index: int) -> TensorInfo:
    """Return the constant behind a tensor: what a DEQUANTIZE reads, if one makes it of a constant."""
    maker = makers.get(index)
    if maker is not None and op_name(model, maker) == "DEQUANTIZE" and int(maker.inputs[0]) not in makers:
        index = int(maker.inputs[0])
    return tensor_info(graph, index)


def _scales(model: Any, graph: Any, makers: dict[int, Any], index: int) -> int:
    quantisation = graph.tensors[_stored(model, graph, makers, index).index].quantization
    scale = quantisation.scale if quantisation is not None else None
    return 0 if scale is None else len(scale)


def _constants(model: Any) -> tuple[int, float]:
    """Return (elements of weights and biases, share of float constants' elements that are FLOAT16)."""
    total = half = single = 0
    for graph in model.subgraphs:
        biases = {
            int(operator.inputs[2])
            for operator in graph.operators
            if op_name(model, operator) in WEIGHTED[:3] and len(operator.inputs) > 2
        }
        for index, tensor in enumerate(graph.tensors):
            data = model.buffers[tensor.buffer].data
            if data is None or len(data) == 0:
                continue
            info = tensor_info(graph, index)
            size = math.prod(info.shape)
            half += size * (info.dtype == "FLOAT16")
            single += size * (info.dtype == "FLOAT32")
            if info.dtype in ("FLOAT32", "FLOAT16", "INT8", "INT4", "UINT8") or index in biases:
                total += size
    return total, half / (half + single) if half + single else 0.0
