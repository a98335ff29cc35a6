"""Dynamic quantisation: 8-bit weights per channel, activations quantised while the network runs.

No calibration is needed. Written by hand because onnxruntime's own tool leaves Gemm in float and gives a convolution
one scale for all its channels.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .onnx_rounding import quantise_weights

__all__ = ["quantise_dynamic"]


def quantise_dynamic(model: ModelProto, nodes: Iterable[str]) -> ModelProto:
    """Replace named Conv, Gemm and MatMul nodes by integer ones; return the changed model.

    Args:
        model: changed in place; the weights of the nodes are float32 initialisers.
        nodes: names; nodes of other kinds are skipped.
    """
    wanted = set(nodes)
    tensors = {item.name: item for item in model.graph.initializer}
    quantised: set[str] = set()
    written: list[NodeProto] = []
    for node in model.graph.node:
        if node.name not in wanted or node.op_type not in ("Conv", "Gemm", "MatMul"):
            written.append(node)
            continue
        source = node.input[0]
        if source not in quantised:
            quantised.add(source)
            written.append(
                helper.make_node(
                    "DynamicQuantizeLinear",
                    [source],
                    [f"{source}.q", f"{source}.scale", f"{source}.zero"],
                    name=f"{source}/DynamicQuantizeLinear",
                )
            )
        written += _integer_node(model, node, tensors)
    del model.graph.node[:]
    model.graph.node.extend(written)
    used = {name for node in written for name in node.input}
    kept = [item for item in model.graph.initializer if item.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _integer_node(model: ModelProto, node: NodeProto, tensors: dict[str, TensorProto]) -> list[NodeProto]:
    """Return product in integers, scale, bias: the chain that onnxruntime fuses into one kernel."""
    source, out = node.input[0], node.output[0]
    weights = numpy_helper.to_array(tensors[node.input[1]])
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    is_conv = node.op_type == "Conv"
    bias = numpy_helper.to_array(tensors[node.input[2]]) if len(node.input) > 2 and node.input[2] else None
    if not is_conv:
        if attributes.get("transB"):
            weights = np.ascontiguousarray(weights.T)
        weights = (weights * attributes.get("alpha", 1.0)).astype(np.float32)
        bias = None if bias is None else (bias * attributes.get("beta", 1.0)).astype(np.float32)
    integers, scales = quantise_weights(weights, 0 if is_conv else 1)
    column = (1, -1, *[1] * (weights.ndim - 2)) if is_conv else (-1,)
    names = {part: f"{node.name}.{part}" for part in ("weight", "scale", "zero", "bias")}
    _add(model, names["weight"], integers)
    _add(model, names["scale"], scales.reshape(column))
    _add(model, names["zero"], np.zeros((), np.int8))
    inputs = [f"{source}.q", names["weight"], f"{source}.zero", names["zero"]]
    kind = "ConvInteger" if is_conv else "MatMulInteger"
    chain = [
        helper.make_node(kind, inputs, [f"{out}.int32"], name=node.name, **(attributes if is_conv else {})),
        helper.make_node("Cast", [f"{out}.int32"], [f"{out}.cast"], name=f"{node.name}/Cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{source}.scale", names["scale"]], [f"{out}.step"], name=f"{node.name}/Step"),
        helper.make_node("Mul", [f"{out}.cast", f"{out}.step"], [f"{out}.scaled"], name=f"{node.name}/Scale"),
    ]
    if bias is None:
        chain[-1].output[0] = out
        return chain
    _add(model, names["bias"], bias.reshape(column) if is_conv else bias)
    chain.append(helper.make_node("Add", [f"{out}.scaled", names["bias"]], [out], name=f"{node.name}/Bias"))
    return chain


def _add(model: ModelProto, name: str, values: NDArray[np.generic]) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
