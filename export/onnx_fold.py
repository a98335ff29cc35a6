"""Batch normalisation behind a deformable convolution, folded into its weights; the exporter folds only plain ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

__all__ = ["fold_deform_batch_norm"]


def fold_deform_batch_norm(model: ModelProto) -> int:
    """Fold every BatchNormalization that alone reads a DeformConv, in place; return how many there were.

    A deformable convolution is linear in its weights, so that the fold is exact up to rounding.
    """
    tensors = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    reads: dict[str, int] = {}
    for name in [*(name for node in model.graph.node for name in node.input), *(o.name for o in model.graph.output)]:
        reads[name] = reads.get(name, 0) + 1
    folded: list[NodeProto] = []
    for norm in model.graph.node:
        if norm.op_type != "BatchNormalization":
            continue
        conv = makers.get(norm.input[0])
        if conv is None or conv.op_type != "DeformConv" or reads[norm.input[0]] != 1:
            continue
        constants = [*norm.input[1:5], conv.input[1], *([conv.input[3]] if _has_bias(conv) else [])]
        if all(name in tensors for name in constants) and reads[conv.input[1]] == 1:
            _fold(model, conv, norm, tensors)
            folded.append(norm)
    if folded:
        kept = [node for node in model.graph.node if node not in folded]
        del model.graph.node[:]
        model.graph.node.extend(kept)
        used = {name for node in kept for name in node.input}
        weights = [item for item in model.graph.initializer if item.name in used]
        del model.graph.initializer[:]
        model.graph.initializer.extend(weights)
    return len(folded)


def _has_bias(conv: NodeProto) -> bool:
    return len(conv.input) > 3 and bool(conv.input[3])


def _fold(model: ModelProto, conv: NodeProto, norm: NodeProto, tensors: dict[str, NDArray[np.float32]]) -> None:
    gamma, beta, mean, variance = (tensors[name].astype(np.float64) for name in norm.input[1:5])
    epsilon = next((item.f for item in norm.attribute if item.name == "epsilon"), 1e-5)
    gain = gamma / np.sqrt(variance + epsilon)
    old_bias = tensors[conv.input[3]] if _has_bias(conv) else 0.0
    weight = tensors[conv.input[1]] * gain.reshape(-1, 1, 1, 1)
    names = {part: f"{norm.output[0]}.{part}" for part in ("weight", "bias")}
    for name, values in ((names["weight"], weight), (names["bias"], beta + (old_bias - mean) * gain)):
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    inputs = [*conv.input[:1], names["weight"], conv.input[2], names["bias"], *conv.input[4:]]
    attributes = {item.name: helper.get_attribute_value(item) for item in conv.attribute}
    conv.CopyFrom(helper.make_node("DeformConv", inputs, [norm.output[0]], name=conv.name, **attributes))
