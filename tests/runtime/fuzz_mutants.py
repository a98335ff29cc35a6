"""Mutants of model files: of their bytes, and of what the bytes say. A generator decides everything."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["CRASHERS", "byte_mutant", "crasher", "mutate", "onnx_mutant", "tflite_mutant"]

Rng = np.random.Generator
# Numbers at which sizes, places and counters tend to break.
EDGES = (0, 1, 2, 3, 7, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**30, 2**31 - 1, -1, -2, -128, -(2**31))
WIDE = (*EDGES, 2**31, 2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, -1.0, 1e-45, 1e38, -1e38, float("inf"), float("-inf"), float("nan"))


# What LiteRT 2.3.0 does not survive, found by this suite: changes of a TFLite seed.
CRASHERS = ("pool of no width", "unknown padding", "sum without scale")


def mutate(name: str, seed: bytes, how: str, index: int) -> bytes:
    """Return one mutant; the same for the same words, whichever others are made.

    Args:
        name: of the seed, "onnx-..." or "tflite-...".
        seed: its file.
        how: "bytes" or "structure".
        index: which of them.
    """
    rng = np.random.default_rng([20, *name.encode(), *how.encode(), index])
    if how == "bytes":
        return byte_mutant(seed, rng)
    return onnx_mutant(seed, rng) if name.startswith("onnx") else tflite_mutant(seed, rng)


def byte_mutant(seed: bytes, rng: Rng) -> bytes:
    """Return `seed` with one to three changes of its bytes."""
    data = bytearray(seed)
    for _ in range(int(rng.integers(1, 4))):
        _pick(rng, _BYTE_CHANGES)(data, rng)
        if not data:
            break
    return bytes(data)


def _flip_bits(data: bytearray, rng: Rng) -> None:
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))


def _random_bytes(data: bytearray, rng: Rng) -> None:
    for _ in range(int(rng.integers(1, 5))):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))


def _run_of(value: int) -> Callable[[bytearray, Rng], None]:
    def change(data: bytearray, rng: Rng) -> None:
        start, length = int(rng.integers(len(data))), 2 ** int(rng.integers(0, 8))
        length = min(length, len(data) - start)
        data[start : start + length] = bytes([value]) * length

    return change


def _truncate(data: bytearray, rng: Rng) -> None:
    del data[int(rng.integers(len(data))) :]


def _splice(data: bytearray, rng: Rng) -> None:
    """Copy a block over another place, put it in, or cut it out."""
    length = min(2 ** int(rng.integers(2, 9)), len(data))
    source, place = (int(rng.integers(len(data) - length + 1)) for _ in range(2))
    block = data[source : source + length]
    how = int(rng.integers(3))
    if how == 0:
        data[place : place + length] = block
    elif how == 1:
        data[place:place] = block
    else:
        del data[source : source + length]


def _length_field(data: bytearray, rng: Rng) -> None:
    """Write an edge value where a length, an offset or an index may be: one to eight bytes, little-endian."""
    width = int(_pick(rng, (1, 2, 4, 4, 4, 8)))
    place = int(rng.integers(max(1, len(data) - width + 1)))
    place -= place % width
    value = int(_pick(rng, (*WIDE, len(data), len(data) - 1, len(data) - place)))
    data[place : place + width] = (value & (2 ** (8 * width) - 1)).to_bytes(width, "little")


_BYTE_CHANGES = (_flip_bits, _random_bytes, _run_of(0), _run_of(0xFF), _truncate, _splice, _length_field, _length_field)


def onnx_mutant(seed: bytes, rng: Rng) -> bytes:
    """Return a ModelProto that says one to three strange things."""
    import onnx

    model = onnx.ModelProto.FromString(seed)
    for _ in range(int(rng.integers(1, 4))):
        _pick(rng, _ONNX_CHANGES)(model, rng)
    return bytes(model.SerializeToString())


def _onnx_dims(model: Any, rng: Rng) -> None:
    tensor = _pick(rng, model.graph.initializer)
    if tensor.dims and rng.random() < 0.8:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = _pick(rng, WIDE) % 2**63 if rng.random() < 0.7 else -1
    else:
        tensor.dims.append(int(_pick(rng, (0, 1, 2, -1, 2**31, 2**62))))


def _onnx_data(model: Any, rng: Rng) -> None:
    tensor = _pick(rng, model.graph.initializer)
    raw = tensor.raw_data
    how = int(rng.integers(5))
    if how == 0:
        tensor.raw_data = raw[: int(rng.integers(len(raw) + 1))]
    elif how == 1:
        tensor.raw_data = raw * 2
    elif how == 2:  # shapes, split sizes and axes are tensors, too
        word = int(_pick(rng, WIDE)) & (2**64 - 1)
        place = 8 * int(rng.integers(max(1, len(raw) // 8)))
        tensor.raw_data = (raw[:place] + word.to_bytes(8, "little") + raw[place + 8 :])[: max(len(raw), 1)]
    elif how == 3:
        tensor.raw_data = np.float32(_pick(rng, FLOATS)).tobytes() * max(1, len(raw) // 4)
    else:
        tensor.ClearField("raw_data")


def _onnx_type(model: Any, rng: Rng) -> None:
    how = int(rng.integers(3))
    if how == 0:
        _pick(rng, model.graph.initializer).data_type = int(rng.integers(-1, 30))
    elif how == 1:
        ends = [*model.graph.input, *model.graph.output]
        _pick(rng, ends).type.tensor_type.elem_type = int(rng.integers(-1, 30))
    else:
        dims = _pick(rng, [*model.graph.input, *model.graph.output]).type.tensor_type.shape.dim
        if dims:
            dim = _pick(rng, dims)
            if rng.random() < 0.5:
                dim.dim_value = int(_pick(rng, WIDE))
            else:
                dim.dim_param = "n"


def _onnx_attribute(model: Any, rng: Rng) -> None:
    node = _pick(rng, [node for node in model.graph.node if node.attribute] or model.graph.node)
    if not node.attribute:
        return
    attribute = _pick(rng, node.attribute)
    how = int(rng.integers(6))
    if how == 0:
        node.attribute.remove(attribute)
    elif how == 1:
        attribute.name = _pick(rng, ("axis", "group", "kernel_shape", "pads", "mode", "to", ""))
    elif how == 2:
        attribute.type = int(rng.integers(0, 15))
    elif how == 3 and attribute.ints:
        attribute.ints[int(rng.integers(len(attribute.ints)))] = int(_pick(rng, WIDE))
    elif how == 4 and attribute.ints:
        attribute.ints.append(int(_pick(rng, EDGES)))
    else:
        attribute.i = int(_pick(rng, WIDE))
        attribute.f = float(_pick(rng, FLOATS))
        attribute.s = b"\xff\x00nonsense"


def _onnx_wire(model: Any, rng: Rng) -> None:
    """Connect a node to something else, to nothing, to itself or twice."""
    node = _pick(rng, model.graph.node)
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    ends = node.input if rng.random() < 0.75 else node.output
    if not ends:
        return
    how = int(rng.integers(4))
    if how == 0:
        ends[int(rng.integers(len(ends)))] = _pick(rng, names)
    elif how == 1:
        ends[int(rng.integers(len(ends)))] = _pick(rng, ("", "nowhere", "x" * 5000, "a\n\x1bb"))
    elif how == 2:
        del ends[int(rng.integers(len(ends)))]
    else:
        ends.append(_pick(rng, names))


def _onnx_operator(model: Any, rng: Rng) -> None:
    node = _pick(rng, model.graph.node)
    how = int(rng.integers(3))
    if how == 0:
        node.op_type = _pick(rng, _ONNX_OPERATORS)
    elif how == 1:
        node.domain = _pick(rng, ("com.microsoft", "ai.onnx.ml", "nowhere"))
    else:
        node.op_type, node.domain = _pick(rng, _MICROSOFT_OPERATORS), "com.microsoft"


_ONNX_OPERATORS = (
    "Add", "AveragePool", "Cast", "Concat", "ConstantOfShape", "Conv", "ConvTranspose", "CumSum", "DepthToSpace",
    "DequantizeLinear", "Div", "Einsum", "Expand", "Flatten", "GRU", "Gather", "GatherElements", "GatherND", "Gemm",
    "GridSample", "If", "LRN", "LSTM", "Loop", "MatMul", "MatMulInteger", "MaxPool", "MaxUnpool", "Mod",
    "NonMaxSuppression", "OneHot", "Pad", "QLinearConv", "QuantizeLinear", "Range", "ReduceMean", "ReduceSum",
    "Reshape", "Resize", "ReverseSequence", "RoiAlign", "Scan", "ScatterElements", "ScatterND", "Slice", "Softmax",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "TopK", "Transpose", "Unsqueeze", "Upsample", "Where", "Zzz", "",
)  # fmt: skip
_MICROSOFT_OPERATORS = ("FusedConv", "QLinearAdd", "QLinearConcat", "NhwcMaxPool", "MatMulNBits", "Gelu", "FusedMatMul")


def _onnx_graph(model: Any, rng: Rng) -> None:
    graph = model.graph
    how = int(rng.integers(9))
    if how == 0:
        graph.node.remove(_pick(rng, graph.node))
    elif how == 1:
        graph.node.add().CopyFrom(_pick(rng, graph.node))
    elif how == 2:
        graph.initializer.remove(_pick(rng, graph.initializer))
    elif how == 3:
        graph.initializer.add().CopyFrom(_pick(rng, graph.initializer))
    elif how == 4:
        _pick(rng, graph.output).name = _pick(rng, ("loc", "conf", "input", "", "other"))
    elif how == 5:
        graph.input.add().CopyFrom(_pick(rng, [*graph.input, *graph.output]))
    elif how == 6:
        model.ir_version = int(_pick(rng, WIDE))
    elif how == 7:
        model.opset_import[0].version = int(_pick(rng, (*range(1, 30), *WIDE)))
    else:
        tensor = _pick(rng, graph.initializer)
        tensor.data_location = 1
        for key in ("location", "offset", "length"):
            tensor.external_data.add(key=key, value=_pick(rng, ("seed.onnx", "/dev/zero", "0", "-1", str(2**62))))


def _onnx_card(model: Any, rng: Rng) -> None:
    entry = next((entry for entry in model.metadata_props if entry.key == "edge.card"), None)
    if entry is not None:
        entry.value = _changed_card(entry.value, rng)


def tflite_mutant(seed: bytes, rng: Rng) -> bytes:
    """Return a TFLite file that says one to three strange things."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    original = schema.ModelT.InitFromObj(schema.Model.GetRootAs(seed, 0))
    while True:
        model = copy.deepcopy(original)
        for _ in range(int(rng.integers(1, 4))):
            _pick(rng, _TFLITE_CHANGES)(model, rng)
        builder = flatbuffers.Builder(1 << 14)
        try:
            builder.Finish(model.Pack(builder), b"TFL3")
        except (TypeError, ValueError, OverflowError, AttributeError):  # a number its field cannot hold: draw again
            continue
        return bytes(builder.Output())


def crasher(seed: bytes, what: str) -> bytes:
    """Return the INT8 TFLite seed with one change, of `CRASHERS`, that ends the process in LiteRT's native code."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(seed, 0))
    graph = model.subgraphs[0]
    pool = next(operator for operator in graph.operators if hasattr(operator.builtinOptions, "filterWidth"))
    if what == "pool of no width":
        pool.builtinOptions.filterWidth = 0
    elif what == "unknown padding":
        pool.builtinOptions.padding = 7
    else:
        next(tensor for tensor in graph.tensors if tensor.name == b"sum").quantization = None
    builder = flatbuffers.Builder(1 << 14)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _change_list(values: Any, rng: Rng, choices: tuple[int, ...]) -> list[int]:
    changed = [int(value) for value in values] if values is not None else []
    how = int(rng.integers(4))
    if how == 0 and changed:
        del changed[int(rng.integers(len(changed)))]
    elif how == 1:
        changed.append(int(_pick(rng, choices)))
    elif changed:
        changed[int(rng.integers(len(changed)))] = int(_pick(rng, choices))
    return changed


def _tflite_tensor(model: Any, rng: Rng) -> None:
    tensor = _pick(rng, model.subgraphs[0].tensors)
    how = int(rng.integers(7))
    if how <= 1:
        tensor.shape = _change_list(tensor.shape, rng, EDGES)
    elif how == 2:
        tensor.type = int(rng.integers(0, 20))
    elif how == 3:
        tensor.buffer = int(_pick(rng, (*range(len(model.buffers) + 2), 2**31, 2**32 - 1)))
    elif how == 4:
        tensor.shapeSignature = _change_list(tensor.shape, rng, EDGES)
    elif how == 5:
        tensor.isVariable = not tensor.isVariable
    else:
        tensor.shape = None


def _tflite_quantisation(model: Any, rng: Rng) -> None:
    tensors = model.subgraphs[0].tensors
    tensor = _pick(rng, [tensor for tensor in tensors if tensor.quantization is not None] or tensors)
    held = tensor.quantization
    if held is None:
        return
    how = int(rng.integers(5))
    if how == 0:
        held.scale = np.full(len(held.scale), _pick(rng, FLOATS), np.float32)
    elif how == 1:
        held.scale = np.float32(np.resize(held.scale, int(_pick(rng, (0, 1, 2, 3, 5, 300)))))
    elif how == 2:
        held.zeroPoint = np.full(len(held.zeroPoint), _pick(rng, (*EDGES, 2**62, -(2**63))), np.int64)
    elif how == 3:
        held.quantizedDimension = int(_pick(rng, EDGES))
    else:
        tensor.quantization = None


def _tflite_operator(model: Any, rng: Rng) -> None:
    graph = model.subgraphs[0]
    operator = _pick(rng, graph.operators)
    count = len(graph.tensors)
    how = int(rng.integers(8))
    if how <= 1:
        operator.inputs = _change_list(operator.inputs, rng, (*range(count), *EDGES))
    elif how == 2:
        operator.outputs = _change_list(operator.outputs, rng, (*range(count), *EDGES))
    elif how == 3:
        operator.opcodeIndex = int(_pick(rng, (*range(len(model.operatorCodes) + 1), 2**31, 2**32 - 1)))
    elif how == 4:
        graph.operators.remove(operator)
    elif how == 5:
        graph.operators.insert(int(rng.integers(len(graph.operators) + 1)), operator)
    elif how == 6:
        operator.builtinOptions, operator.builtinOptionsType = None, int(rng.integers(0, 126))
    else:
        operator.intermediates = [int(_pick(rng, (*range(count), *EDGES)))]


def _tflite_options(model: Any, rng: Rng) -> None:
    operators = [operator for operator in model.subgraphs[0].operators if operator.builtinOptions is not None]
    if not operators:
        return
    options = _pick(rng, operators).builtinOptions
    fields = list(vars(options))
    if not fields:
        return
    name = _pick(rng, fields)
    value = getattr(options, name)
    if isinstance(value, float):
        setattr(options, name, float(_pick(rng, FLOATS)))
    elif isinstance(value, int):
        setattr(options, name, int(_pick(rng, EDGES)))
    else:
        setattr(options, name, _change_list(value, rng, EDGES))


def _tflite_code(model: Any, rng: Rng) -> None:
    code = _pick(rng, model.operatorCodes)
    how = int(rng.integers(3))
    if how == 0:
        code.builtinCode = int(rng.integers(0, 212))
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    elif how == 1:
        code.version = int(_pick(rng, (*range(1, 8), *EDGES)))
    else:
        code.builtinCode, code.customCode = 32, b"nonsense"


def _tflite_buffer(model: Any, rng: Rng) -> None:
    buffer = _pick(rng, [buffer for buffer in model.buffers if buffer.data is not None] or model.buffers)
    if buffer.data is None:
        return
    data = bytes(buffer.data)
    how = int(rng.integers(5))
    if how == 0:
        buffer.data = np.frombuffer(data[: int(rng.integers(len(data) + 1))], np.uint8)
    elif how == 1:
        buffer.data = np.frombuffer(data * 3, np.uint8)
    elif how == 2:  # shapes, sizes and axes are buffers, too
        word = (int(_pick(rng, EDGES)) & (2**32 - 1)).to_bytes(4, "little")
        place = 4 * int(rng.integers(max(1, len(data) // 4)))
        buffer.data = np.frombuffer(data[:place] + word + data[place + 4 :], np.uint8)
    elif how == 3:
        buffer.data = None
    else:
        buffer.offset, buffer.size = int(_pick(rng, (0, 1, 16, 2**32, 2**63))), int(_pick(rng, (1, 64, 2**40)))


def _tflite_graph(model: Any, rng: Rng) -> None:
    graph = model.subgraphs[0]
    choices = (*range(len(graph.tensors)), *EDGES)
    how = int(rng.integers(7))
    if how <= 1:
        graph.inputs = _change_list(graph.inputs, rng, choices)
    elif how == 2:
        graph.outputs = _change_list(graph.outputs, rng, choices)
    elif how == 3:
        graph.tensors.remove(_pick(rng, graph.tensors))
    elif how == 4:
        model.subgraphs.append(graph)
    elif how == 5:
        model.buffers.remove(_pick(rng, model.buffers))
    else:
        model.version = int(_pick(rng, (0, 1, 2, 4, 2**31)))


def _tflite_card(model: Any, rng: Rng) -> None:
    for entry in model.metadata or ():
        if entry.name == b"edge.card" and entry.buffer < len(model.buffers):
            held = model.buffers[entry.buffer]
            if held.data is not None:
                text = _changed_card(bytes(held.data).decode("utf-8", "replace"), rng)
                held.data = np.frombuffer(text.encode(), np.uint8)


def _changed_card(text: str, rng: Rng) -> str:
    """Return a card's JSON with one number or word replaced."""
    places = [match.span() for match in re.finditer(r"-?\d+(?:\.\d+)?|\"[A-Za-z-]+\"|true|false|null", text)]
    if not places:
        return text
    start, end = _pick(rng, places)
    words = ("NCHW", "NHWC", "audio", "tensor", "none", "openpose-paf", "valence-arousal", "")
    values: list[Any] = [*WIDE, *words, 0.5, 1e308, 10**400, None, True, [], {}, [1, 2]]
    return text[:start] + json.dumps(_pick(rng, values)) + text[end:]


_ONNX_CHANGES = (
    _onnx_dims, _onnx_data, _onnx_data, _onnx_type, _onnx_attribute, _onnx_attribute, _onnx_wire, _onnx_wire,
    _onnx_operator, _onnx_graph, _onnx_card,
)  # fmt: skip
_TFLITE_CHANGES = (
    _tflite_tensor, _tflite_tensor, _tflite_quantisation, _tflite_operator, _tflite_operator, _tflite_options,
    _tflite_options, _tflite_code, _tflite_buffer, _tflite_graph, _tflite_card,
)  # fmt: skip


def _pick(rng: Rng, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]
