"""Four small face networks of one shape, as ONNX and TFLite, float32 and INT8, with their cards: seeds to mutate.

Each holds the operators that the exports hold: strided, depthwise and pointwise convolutions, activations, a sum, a
pool, a resize, a mean, concatenations, reshapes, a split and a softmax; 10 prior boxes at two strides.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SEEDS", "make_seed"]

SEEDS = ("onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8")
SIDE = 16  # of the input, pixels
SPLIT = (4, 2, 10)  # loc, conf, landm of each prior
NAMES = ("loc", "conf", "landm")
SCALE = 0.05  # of every INT8 activation
INT8_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "QUANTIZE": 1, "RESHAPE": 1, "SPLIT_V": 1, "SOFTMAX": 1}
# name -> (output channels, input channels per group, kernel side, stride, groups)
CONVS = {"stem": (4, 3, 3, 2, 1), "depth": (4, 1, 3, 1, 4), "fine": (32, 8, 1, 4, 1), "coarse": (32, 8, 1, 1, 1)}


def make_seed(name: str) -> bytes:
    """Return the file of one of `SEEDS`; the same bytes every time."""
    target, precision = name.split("-")
    return (_onnx if target == "onnx" else _tflite)(precision == "int8")


def _card(target: str) -> str:
    """Return a card of only what has no default, so that few mutations are spent on it."""
    nchw = target == "onnx"
    card = {
        "model": "seed",
        "input": {"shape": [1, 3, SIDE, SIDE] if nchw else [1, SIDE, SIDE, 3], "layout": "NCHW" if nchw else "NHWC"},
        "outputs": [{"name": name, "shape": [1, 10, width]} for name, width in zip(NAMES, SPLIT, strict=True)],
        "decoder": {"name": "face-priors", "params": {"min_sizes": [[4, 8], [8, 16]], "strides": [8, 16]}},
    }
    return json.dumps(card)


def _weights(name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return seeded (out, in, k, k) weights and (out,) biases of one convolution."""
    out, inside, side, _, _ = CONVS[name]
    generator = np.random.default_rng([len(name), out, inside])
    weights = generator.normal(0, 1 / (side * inside**0.5), (out, inside, side, side))
    return weights.astype(np.float32), generator.normal(0, 0.1, out).astype(np.float32)


def _onnx(int8: bool) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, values: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def quantised(value: str) -> str:
        """Pass an activation through INT8 and back."""
        if not int8:
            return value
        into = node("QuantizeLinear", [value, "scale", "zero"], f"{value}_q")
        return node("DequantizeLinear", [into, "scale", "zero"], f"{value}_dq")

    def conv(name: str, value: str) -> str:
        _, _, side, stride, groups = CONVS[name]
        weights, bias = _weights(name)
        if int8:
            scales = np.abs(weights).max((1, 2, 3)) / np.float32(127)
            constant(f"{name}_w8", np.round(weights / scales[:, None, None, None]).astype(np.int8))
            constant(f"{name}_s", scales)
            constant(f"{name}_z", np.zeros(len(scales), np.int8))
            held = node("DequantizeLinear", [f"{name}_w8", f"{name}_s", f"{name}_z"], f"{name}_w", axis=0)
        else:
            held = constant(f"{name}_w", weights)
        inputs = [quantised(value), held, constant(f"{name}_b", bias)]
        pads, strides = [side // 2] * 4, [stride] * 2
        return node("Conv", inputs, name, kernel_shape=[side] * 2, pads=pads, strides=strides, group=groups)

    if int8:
        constant("scale", np.float32(SCALE))
        constant("zero", np.int8(0))
    a = node("Relu", [conv("stem", "input")], "a")
    b = node("LeakyRelu", [conv("depth", a)], "b", alpha=0.1)
    c = node("MaxPool", [node("Add", [a, b], "sum")], "c", kernel_shape=[2, 2], strides=[2, 2])
    sizes = constant("sizes", np.array([1, 4, 8, 8], np.int64))
    up = node("Resize", [c, "", "", sizes], "up", mode="nearest", coordinate_transformation_mode="asymmetric")
    both = node("Concat", [a, up], "both", axis=1)
    shape = constant("shape", np.array([1, -1, sum(SPLIT)], np.int64))
    levels = [conv("fine", both), conv("coarse", node("GlobalAveragePool", [both], "mean"))]
    flat = [
        node("Reshape", [node("Transpose", [level], f"{level}_t", perm=[0, 2, 3, 1]), shape], f"{level}_r")
        for level in levels
    ]
    joined = node("Concat", flat, "joined", axis=1)
    parts = constant("parts", np.array(SPLIT, np.int64))
    nodes.append(helper.make_node("Split", [joined, parts], ["loc", "logits", "landm"], name="split", axis=2))
    node("Softmax", ["logits"], "conf", axis=-1)
    graph = helper.make_graph(
        nodes,
        "seed",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 10, width])
            for name, width in zip(NAMES, SPLIT, strict=True)
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"edge.card": _card("onnx")})
    return bytes(model.SerializeToString(deterministic=True))


def _tflite(int8: bool) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], [schema.BufferT()], []
    graph.tensors, graph.operators = [], []
    kinds = schema.TensorType
    inner = kinds.INT8 if int8 else kinds.FLOAT32

    def tensor(name: str, shape: list[int], kind: int, values: Any = None, scales: Any = None, axis: int = 0) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), shape, kind, 0
        if scales is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.atleast_1d(np.float32(scales))
            made.quantization.zeroPoint = np.zeros(np.size(scales), np.int64)
            made.quantization.quantizedDimension = axis
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def value(name: str, *shape: int) -> int:
        return tensor(name, list(shape), inner, scales=SCALE if int8 else None)

    def operator(kind: str, inputs: list[int], outputs: list[int], options: str = "", **values: Any) -> None:
        number = getattr(schema.BuiltinOperator, kind)
        known = [code.builtinCode for code in model.operatorCodes]
        if number not in known:
            code = schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
            if int8:  # what the kernels were called when they learnt INT8
                code.version = INT8_VERSIONS.get(kind, 2)
            model.operatorCodes.append(code)
            known.append(number)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = known.index(number), inputs, outputs
        if options:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            made.builtinOptions = getattr(schema, options + "T")()
            for name, given in values.items():
                setattr(made.builtinOptions, name, given)
        graph.operators.append(made)

    def conv(name: str, source: int, *shape: int, activation: int = 0) -> int:
        out, stride, groups = CONVS[name][0], *CONVS[name][3:]
        weights, bias = _weights(name)
        weights = weights.transpose(1, 2, 3, 0) if groups > 1 else weights.transpose(0, 2, 3, 1)
        axis = 3 if groups > 1 else 0
        if int8:
            rest = tuple(place for place in range(4) if place != axis)
            scales = np.abs(weights).max(rest, keepdims=True) / np.float32(127)
            held = tensor(f"{name}_w", list(weights.shape), kinds.INT8, np.round(weights / scales).astype(np.int8),
                          scales.ravel(), axis)  # fmt: skip
            steps = scales.ravel() * np.float32(SCALE)
            shift = tensor(f"{name}_b", [out], kinds.INT32, np.round(bias / steps).astype(np.int32), steps)
        else:
            held = tensor(f"{name}_w", list(weights.shape), kinds.FLOAT32, weights)
            shift = tensor(f"{name}_b", [out], kinds.FLOAT32, bias)
        made = value(name, *shape)
        common = {"strideW": stride, "strideH": stride, "fusedActivationFunction": activation}
        if groups > 1:
            operator("DEPTHWISE_CONV_2D", [source, held, shift], [made], "DepthwiseConv2DOptions",
                     depthMultiplier=1, **common)  # fmt: skip
        else:
            operator("CONV_2D", [source, held, shift], [made], "Conv2DOptions", **common)
        return made

    given = tensor("input", [1, SIDE, SIDE, 3], kinds.FLOAT32)
    entry = given
    if int8:
        entry = value("input_q", 1, SIDE, SIDE, 3)
        operator("QUANTIZE", [given], [entry], "QuantizeOptions")
    a = conv("stem", entry, 1, 8, 8, 4, activation=schema.ActivationFunctionType.RELU)
    depth = conv("depth", a, 1, 8, 8, 4)
    b, total, c, up, both = (
        value("b", 1, 8, 8, 4), value("sum", 1, 8, 8, 4), value("c", 1, 4, 4, 4), value("up", 1, 8, 8, 4),
        value("both", 1, 8, 8, 8),
    )  # fmt: skip
    operator("LEAKY_RELU", [depth], [b], "LeakyReluOptions", alpha=0.1)
    operator("ADD", [a, b], [total], "AddOptions")
    operator("MAX_POOL_2D", [total], [c], "Pool2DOptions", strideW=2, strideH=2, filterWidth=2, filterHeight=2)
    size = tensor("size", [2], kinds.INT32, np.array([8, 8], np.int32))
    operator("RESIZE_NEAREST_NEIGHBOR", [c, size], [up], "ResizeNearestNeighborOptions")
    operator("CONCATENATION", [a, up], [both], "ConcatenationOptions", axis=3)
    fine = conv("fine", both, 1, 2, 2, 32)
    mean = value("mean", 1, 1, 1, 8)
    axes = tensor("axes", [2], kinds.INT32, np.array([1, 2], np.int32))
    operator("MEAN", [both, axes], [mean], "ReducerOptions", keepDims=True)
    coarse = conv("coarse", mean, 1, 1, 1, 32)
    flat = []
    for name, level, cells in (("fine_r", fine, 8), ("coarse_r", coarse, 2)):
        shape = tensor(f"{name}_shape", [3], kinds.INT32, np.array([1, cells, 16], np.int32))
        flat.append(value(name, 1, cells, 16))
        operator("RESHAPE", [level, shape], [flat[-1]], "ReshapeOptions", newShape=[1, cells, 16])
    joined = value("joined", 1, 10, 16)
    operator("CONCATENATION", flat, [joined], "ConcatenationOptions", axis=1)
    if int8:
        quantised, joined = joined, tensor("joined_f", [1, 10, 16], kinds.FLOAT32)
        operator("DEQUANTIZE", [quantised], [joined], "DequantizeOptions")
    parts = [tensor(name, [1, 10, width], kinds.FLOAT32) for name, width in zip(NAMES, SPLIT, strict=True)]
    logits, conf = tensor("logits", [1, 10, 2], kinds.FLOAT32), parts[1]
    widths = tensor("widths", [3], kinds.INT32, np.array(SPLIT, np.int32))
    axis = tensor("axis", [1], kinds.INT32, np.array([2], np.int32))
    operator("SPLIT_V", [joined, widths, axis], [parts[0], logits, parts[2]], "SplitVOptions", numSplits=3)
    operator("SOFTMAX", [logits], [conf], "SoftmaxOptions", beta=1.0)
    graph.inputs, graph.outputs = [given], parts
    held, entry_t = schema.BufferT(), schema.MetadataT()
    held.data = np.frombuffer(_card("tflite").encode(), np.uint8)
    entry_t.name, entry_t.buffer = b"edge.card", len(model.buffers)
    model.buffers.append(held)
    model.metadata = [entry_t]
    builder = flatbuffers.Builder(1 << 14)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
