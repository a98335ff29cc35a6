"""Close the float islands that ai-edge-quantizer leaves in a statically quantised graph.

It knows no INT8 form of LEAKY_RELU and leaves DEQUANTIZE, LEAKY_RELU, QUANTIZE in its place. LiteRT has one: the same
operator reads INT8 and writes INT8, each with its own scale, and nothing is computed in between but the slope.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from .tflite_file import drop_unused, op_name, read_model, write_model

__all__ = ["merge_float_islands"]

INT8_VERSION = 2  # of LEAKY_RELU: the first with INT8


def merge_float_islands(data: bytes) -> bytes:
    """Return the file with every DEQUANTIZE, LEAKY_RELU, QUANTIZE in a row as one INT8 LEAKY_RELU.

    Args:
        data: a statically quantised TFLite file.
    """
    model = read_model(data)
    for graph in model.subgraphs:
        _merge(model, graph)
    return write_model(model)


def _merge(model: Any, graph: Any) -> None:
    makers = {int(index): operator for operator in graph.operators for index in operator.outputs}
    readers: dict[int, list[Any]] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            readers.setdefault(int(index), []).append(operator)
    outputs = {int(index) for index in graph.outputs}
    gone: list[Any] = []
    for operator in graph.operators:
        if op_name(model, operator) != "LEAKY_RELU":
            continue
        source, result = int(operator.inputs[0]), int(operator.outputs[0])
        before = makers.get(source)
        after = readers.get(result, [])
        if before is None or op_name(model, before) != "DEQUANTIZE" or len(after) != 1 or result in outputs:
            continue
        if op_name(model, after[0]) != "QUANTIZE":
            continue
        x, y = int(before.inputs[0]), int(after[0].outputs[0])
        if any(graph.tensors[index].type != schema.TensorType.INT8 for index in (x, y)):
            continue
        operator.inputs, operator.outputs = np.asarray([x], np.int32), np.asarray([y], np.int32)
        operator.opcodeIndex = _opcode(model, operator)
        readers[source].remove(operator)
        gone.append(after[0])
        if not readers[source] and source not in outputs:
            gone.append(before)
    dead = {id(operator) for operator in gone}
    graph.operators = [operator for operator in graph.operators if id(operator) not in dead]
    drop_unused(model, graph)


def _opcode(model: Any, operator: Any) -> int:
    """Return the number of the operator's code in its INT8 version; adds it to the table if need be."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.version >= INT8_VERSION:
        return int(operator.opcodeIndex)
    for at, other in enumerate(model.operatorCodes):
        if other.builtinCode == code.builtinCode and other.version == INT8_VERSION:
            return at
    newer = copy.copy(code)
    newer.version = INT8_VERSION
    model.operatorCodes.append(newer)
    return len(model.operatorCodes) - 1
