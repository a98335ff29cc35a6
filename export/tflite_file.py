"""TFLite flatbuffers as bytes: read, name, embed the card, write with aligned constants.

The generated packer of `ai_edge_litert` forgets that constants are aligned to 16 bytes, and ai-edge-quantizer keeps
them behind the flatbuffer: both are put right here, so that every file is one plain flatbuffer and equal contents give
equal bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..runtime.errors import ArtifactError, ConversionError

__all__ = [
    "ALIGNMENT",
    "CARD_KEY",
    "FILE_ID",
    "OP_NAMES",
    "SIGNATURE",
    "TYPE_NAMES",
    "TensorInfo",
    "drop_unused",
    "embed_card",
    "name_tensors",
    "normalise",
    "op_name",
    "output_tensors",
    "read_model",
    "tensor_info",
    "write_model",
]

FILE_ID = b"TFL3"
CARD_KEY = "edge.card"
SIGNATURE = "serving_default"
ALIGNMENT = 16  # `force_align: 16` of Buffer.data in the schema
MAX_BYTES = 2**31 - 1  # offsets in a flatbuffer are 32 bits wide, signed

OP_NAMES: dict[int, str] = {value: name for name, value in vars(schema.BuiltinOperator).items() if type(value) is int}
TYPE_NAMES: dict[int, str] = {value: name for name, value in vars(schema.TensorType).items() if type(value) is int}


@dataclass(frozen=True)
class TensorInfo:
    """One tensor at the rim of a graph: index in the subgraph, name, shape and dtype ("FLOAT32", …)."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str


def read_model(data: bytes) -> Any:
    """Return the mutable `ModelT` of a TFLite file, every constant inside its `Buffer`.

    Args:
        data: the file's bytes.

    Raises:
        ArtifactError: the bytes are no TFLite flatbuffer, or point outside themselves.
    """
    if len(data) < 8 or data[4:8] != FILE_ID:
        raise ArtifactError("not a TFLite file", expected="file identifier `TFL3`", got=repr(bytes(data[4:8])))
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        for buffer in model.buffers:
            if buffer.offset:
                buffer.data = _slice(data, buffer.offset, buffer.size)
            buffer.offset = buffer.size = 0
        for graph in model.subgraphs:
            for operator in graph.operators or ():
                if operator.largeCustomOptionsOffset:
                    where, size = operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize
                    operator.customOptions = _slice(data, where, size)
                    operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
    except ArtifactError:
        raise
    except Exception as exc:  # the generated reader raises whatever a wild offset leads to
        raise ArtifactError("a TFLite file is damaged", got=f"{type(exc).__name__}: {exc}"[:120]) from exc
    return model


def write_model(model: Any) -> bytes:
    """Return the bytes of a `ModelT`: constants inline and aligned to 16 bytes; equal models give equal bytes.

    Args:
        model: from `read_model`; unchanged.

    Raises:
        ConversionError: the file would be larger than a flatbuffer can be.
    """
    buffers = model.buffers
    weight = sum(len(buffer.data) for buffer in buffers if buffer.data is not None)
    if weight > MAX_BYTES - 2**20:
        raise ConversionError(f"a TFLite file cannot hold {weight / 2**30:.1f} GiB of weights", expected="below 2 GiB")
    builder = flatbuffers.Builder(weight + weight // 8 + 2**16)
    model.buffers = [_AlignedBuffer(buffer.data) for buffer in buffers]
    try:
        builder.Finish(model.Pack(builder), file_identifier=FILE_ID)
    finally:
        model.buffers = buffers
    return bytes(builder.Output())


def normalise(data: bytes) -> bytes:
    """Return the same model with inline, aligned constants and without empty spare buffers."""
    model = read_model(data)
    _drop_spare_buffers(model)
    return write_model(model)


def embed_card(data: bytes, card_json: str) -> bytes:
    """Return the file with the card in its metadata, under `edge.card`; an earlier card is replaced.

    What the model computes is untouched: graph and constants are copied bit by bit.

    Args:
        data: a TFLite file.
        card_json: the card's canonical JSON text.
    """
    model = read_model(data)
    model.metadata = [entry for entry in model.metadata or [] if _text(entry.name) != CARD_KEY]
    _drop_spare_buffers(model)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(card_json.encode("utf-8"), np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = CARD_KEY, len(model.buffers) - 1
    model.metadata.append(entry)
    return write_model(model)


def output_tensors(data: bytes) -> list[TensorInfo]:
    """Return the outputs of a file's main graph, in graph order."""
    graph = read_model(data).subgraphs[0]
    return [tensor_info(graph, index) for index in graph.outputs]


def name_tensors(data: bytes, *, input_name: str, outputs: Sequence[tuple[int, str]]) -> bytes:
    """Return the file with the card's names and order at its rim, and short unique names inside.

    The converters' own names hold class names, source paths or nothing useful; here a tensor is called after the
    operator that makes it, `conv_2d_12`, and a constant after the one that reads it, `conv_2d_12/1`.

    Args:
        data: a TFLite file of one graph and one input.
        input_name: name of the input tensor and of the signature's input.
        outputs: (position in the present outputs, name), in the order wanted.

    Raises:
        ConversionError: the file has several graphs or inputs, or one tensor would get two names.
    """
    model = read_model(data)
    graph = model.subgraphs[0]
    if len(model.subgraphs) != 1 or len(graph.inputs) != 1:
        got = f"{len(model.subgraphs)} graphs, {len(graph.inputs)} inputs"
        raise ConversionError("only a TFLite file of one graph with one input can be used", got=got)
    chosen = [int(graph.outputs[position]) for position, _ in outputs]
    rim = [int(graph.inputs[0]), *chosen]
    if len(set(rim)) != len(rim):
        raise ConversionError("two outputs are one and the same tensor", got=[name for _, name in outputs])
    _rename_inner(model)
    for index, name in zip(rim, [input_name, *(name for _, name in outputs)], strict=True):
        graph.tensors[index].name = name
    graph.outputs = np.asarray(chosen, np.int32)
    graph.name = "main"
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    signature.inputs = [_tensor_map(input_name, rim[0])]
    signature.outputs = [_tensor_map(name, index) for index, (_, name) in zip(chosen, outputs, strict=True)]
    model.signatureDefs = [signature]
    _drop_spare_buffers(model)
    return write_model(model)


def op_name(model: Any, operator: Any) -> str:
    """Return the name of an operator: a builtin's, e.g. "CONV_2D", or `custom:` and the custom code."""
    code = model.operatorCodes[operator.opcodeIndex]
    # Old files keep the code in a byte, new ones in the wider field; the larger of both is right.
    name = OP_NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "UNKNOWN")
    return f"custom:{_text(code.customCode)}" if name == "CUSTOM" else name


def drop_unused(model: Any, graph: Any) -> None:
    """Remove the tensors that no operator of a graph touches, and the buffers that nobody holds any more."""
    used = {int(index) for index in (*graph.inputs, *graph.outputs)}
    for operator in graph.operators:
        used.update(int(index) for index in (*operator.inputs, *operator.outputs))
    used.discard(-1)
    moved = {old: new for new, old in enumerate(sorted(used))}
    moved[-1] = -1  # an optional input that is absent

    def renumber(indices: Any) -> Any:
        return np.asarray([moved[int(index)] for index in indices], np.int32)

    graph.tensors = [graph.tensors[old] for old in sorted(used)]
    graph.inputs, graph.outputs = renumber(graph.inputs), renumber(graph.outputs)
    for operator in graph.operators:
        operator.inputs, operator.outputs = renumber(operator.inputs), renumber(operator.outputs)
    number = next(at for at, other in enumerate(model.subgraphs) if other is graph)
    for signature in model.signatureDefs or []:
        if signature.subgraphIndex == number:
            for entry in (*signature.inputs, *signature.outputs):
                entry.tensorIndex = moved[int(entry.tensorIndex)]
    _drop_spare_buffers(model)


def tensor_info(graph: Any, index: int) -> TensorInfo:
    """Return what is known of one tensor of a graph."""
    tensor = graph.tensors[index]
    shape = tuple(int(side) for side in tensor.shape) if tensor.shape is not None else ()
    return TensorInfo(int(index), _text(tensor.name), shape, TYPE_NAMES.get(tensor.type, "UNKNOWN"))


class _AlignedBuffer:
    """Stands in for `BufferT` while a model is packed."""

    def __init__(self, data: Any) -> None:
        self.data = None if data is None else np.ascontiguousarray(data).view(np.uint8).reshape(-1)

    def Pack(self, builder: Any) -> int:
        """Write the buffer; called by the generated `ModelT.Pack`."""
        vector = None
        if self.data is not None:
            size = len(self.data)
            builder.StartVector(1, size, ALIGNMENT)
            builder.head -= size
            builder.Bytes[builder.head : builder.head + size] = self.data.tobytes()
            builder.vectorNumElems = size
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


def _slice(data: bytes, offset: int, size: int) -> Any:
    if offset + size > len(data):
        raise ArtifactError("a TFLite file is cut short", expected=f"{offset + size} bytes", got=len(data))
    return np.frombuffer(data, np.uint8, size, offset)


def _rename_inner(model: Any) -> None:
    graph = model.subgraphs[0]
    seen: Counter[str] = Counter()
    names: dict[int, str] = {}
    for operator in graph.operators:
        kind = op_name(model, operator).lower().replace(":", "_")
        label = f"{kind}_{seen[kind]}"
        seen[kind] += 1
        for position, index in enumerate(operator.outputs):
            names[int(index)] = label if len(operator.outputs) == 1 else f"{label}:{position}"
        for position, index in enumerate(operator.inputs):
            if index >= 0:
                names.setdefault(int(index), f"{label}/{position}")
    for index, tensor in enumerate(graph.tensors):
        tensor.name = names.get(index, f"unused_{index}")


def _drop_spare_buffers(model: Any) -> None:
    """Let every empty tensor point at buffer 0, as the schema has it, and forget buffers that nobody uses."""
    holders = [tensor for graph in model.subgraphs for tensor in graph.tensors] + list(model.metadata or [])
    kept: list[Any] = [schema.BufferT()]
    moved: dict[int, int] = {}
    for holder in holders:
        old = int(holder.buffer)
        buffer = model.buffers[old]
        if old not in moved:
            empty = buffer.data is None or len(buffer.data) == 0
            moved[old] = 0 if empty else len(kept)
            if not empty:
                kept.append(buffer)
        holder.buffer = moved[old]
    model.buffers = kept
    model.metadataBuffer = None  # superseded by `metadata`; holds old buffer numbers


def _tensor_map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
