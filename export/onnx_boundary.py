"""Where 8-bit and float parts of a quantised graph meet: float readers read the float tensor.

onnxruntime's quantiser puts one QuantizeLinear and DequantizeLinear on a tensor that a quantised node reads, and gives
the rounded tensor to all its readers, also to those that compute in float. These gain nothing and lose much: on the
public RetinaFace with deformable context the map that its offset convolutions and its deformable convolutions share has
steps wider than its standard deviation. Box offsets with the five offset convolutions of that level in 8 bits: 14.8 dB
where all read the rounded map; where the deformable ones read the float map, 26 dB by the sum of each measured alone.
"""

from __future__ import annotations

from onnx import ModelProto, NodeProto

__all__ = ["spare_float_readers"]

# What onnxruntime makes an 8-bit kernel of where its output is quantised as well; all else computes in float.
# Source: onnxruntime, core/optimizer/qdq_transformer/selectors_actions/qdq_selector_action_transformer.cc.
_FUSED = frozenset(
    {"Add", "Concat", "Conv", "ConvTranspose", "Gemm", "MatMul", "Mul", "Where"}
    | {"Clip", "LeakyRelu", "Relu", "Sigmoid", "Softmax", "AveragePool", "GlobalAveragePool", "MaxPool"}
    | {"Flatten", "Gather", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
_PRODUCTS = ("Gemm", "MatMul")  # 8-bit also where they hand on float32


def spare_float_readers(model: ModelProto) -> int:
    """Let float readers of a tensor that was computed in float read it unrounded, in place; return how many inputs did.

    A tensor that a quantised node computes stays rounded for everybody: a second reader of the exact one would keep the
    engine from using its 8-bit kernel.

    Args:
        model: with QuantizeLinear and DequantizeLinear nodes, in any order; its nodes have names.
    """
    nodes = list(model.graph.node)
    makers = {name: node for node in nodes for name in node.output}
    rounded = {name for node in nodes if node.op_type == "QuantizeLinear" for name in node.input[:1]}
    fused = {node.name for node in nodes if _is_fused(node, makers, rounded)}
    spared = 0
    for node in nodes:
        if node.name in fused or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for index, name in enumerate(node.input):
            exact = _exact(name, makers)
            if exact is None:
                continue
            maker = makers.get(exact)
            if maker is None or maker.name not in fused:
                node.input[index] = exact
                spared += 1
    _prune(model)
    return spared


def _prune(model: ModelProto) -> None:
    """Remove roundings that nobody reads any more, and their scales."""
    outputs = {item.name for item in model.graph.output}
    kept = list(model.graph.node)
    for op in ("DequantizeLinear", "QuantizeLinear"):
        read = outputs.union(*(node.input for node in kept))
        kept = [node for node in kept if node.op_type != op or node.output[0] in read]
    if len(kept) == len(model.graph.node):
        return
    read = outputs.union(*(node.input for node in kept))
    tensors = [item for item in model.graph.initializer if item.name in read]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)


def _is_fused(node: NodeProto, makers: dict[str, NodeProto], rounded: set[str]) -> bool:
    if node.op_type not in _FUSED or not _all_rounded(node, makers):
        return False
    return node.op_type in _PRODUCTS or all(name in rounded for name in node.output)


def _all_rounded(node: NodeProto, makers: dict[str, NodeProto]) -> bool:
    """Return whether every computed input of a node comes out of a DequantizeLinear, and there is one."""
    computed = [makers[name] for name in node.input if name in makers]
    return bool(computed) and all(maker.op_type == "DequantizeLinear" for maker in computed)


def _exact(name: str, makers: dict[str, NodeProto]) -> str | None:
    """Return the float tensor that a tensor is the rounded form of; None where it is none."""
    dequantiser = makers.get(name)
    if dequantiser is None or dequantiser.op_type != "DequantizeLinear":
        return None
    quantiser = makers.get(dequantiser.input[0])
    if quantiser is None or quantiser.op_type != "QuantizeLinear":
        return None
    return str(quantiser.input[0])
