"""Rewrite an exported PyTorch graph so that litert-torch needs no stray transposes.

litert-torch moves convolutions to channels-last and leaves a TRANSPOSE wherever it meets something that it cannot
move. Each pass removes one cause of that, and none changes what is computed beyond rounding:

    constants     expressions of weights alone are evaluated; scalar tensors become numbers
    padding       concatenation with zeros becomes padding, which can be moved
    shuffles      a permutation of channels is folded into the convolutions behind it
    tokens        (B, C, H, W) to (B, H*W, C) goes through channels-last
    layer norm    two means that keep their axis, instead of six reshapes
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

__all__ = ["allow_padding_channels_last", "prepare"]

aten = torch.ops.aten
RESHAPES = (aten.reshape.default, aten.view.default, aten._unsafe_view.default, aten.flatten.using_ints)
MOVES = (aten.permute.default, aten.transpose.int, aten.contiguous.default, aten.clone.default)
FILLED: dict[Any, float] = {aten.new_zeros.default: 0.0, aten.zeros_like.default: 0.0, aten.new_ones.default: 1.0}
MAKERS = (  # make a tensor of nothing
    aten.arange.default,
    aten.arange.start,
    aten.arange.start_step,
    aten.full.default,
    aten.zeros.default,
    aten.ones.default,
    aten.scalar_tensor.default,
)
ARITHMETIC = (aten.mul.Tensor, aten.add.Tensor, aten.sub.Tensor, aten.div.Tensor)
MAX_CONSTANT = 2**24  # elements; a larger result of folding would cost more in the file than it saves


def prepare(graph_module: GraphModule) -> dict[str, int]:
    """Run every pass over a graph; return how often each found something.

    Args:
        graph_module: of `ExportedProgram.module()`, with shapes in `meta["val"]`; changed in place, to be exported
            again.
    """
    counts = {
        "shuffles": _fold_shuffles(graph_module),
        "tokens": _tokens_through_channels_last(graph_module),
        "constants": _fold_constants(graph_module),
        "padding": _concat_to_pad(graph_module),
        "layer_norms": _rewrite_layer_norms(graph_module),
    }
    graph_module.graph.eliminate_dead_code()
    graph_module.graph.lint()
    graph_module.recompile()
    return counts


def allow_padding_channels_last() -> None:
    """Teach litert-torch 0.10.0 that constant padding may be moved to channels-last.

    Its table of movable operators lacks `constant_pad_nd`; without it every padded max-pool costs two transposes.
    """
    from litert_torch._convert.fx_passes.optimize_layout_transposes_pass import layout_rewrite

    def rewrite(node: Node) -> None:
        pads = list(node.args[1])  # type: ignore[arg-type]  # a list of ints by the operator's schema
        pads += [0] * (8 - len(pads))
        last_w, last_h, channel, batch = (pads[at : at + 2] for at in (0, 2, 4, 6))
        node.args = (node.args[0], [*channel, *last_w, *last_h, *batch], *node.args[2:])

    layout_rewrite.rewriters[aten.constant_pad_nd.default] = rewrite


def _fold_shuffles(graph_module: GraphModule) -> int:
    """Fold channel permutations (reshape, transpose, reshape) into the weights of the convolutions that read them."""
    found = 0
    for last in list(graph_module.graph.nodes):
        if last.target not in RESHAPES or not last.users:
            continue
        chain = _shape_chain(last)
        source = chain[0].args[0]
        if len(chain) < 3 or not isinstance(source, Node) or _shape(source) != _shape(last):
            continue
        permutation = _channel_permutation(source, chain)
        if permutation is None:
            continue
        found += 1
        if all(_plain_conv(user, last) for user in last.users):
            _permute_weights(graph_module, last, source, permutation)
        else:
            with graph_module.graph.inserting_after(last):
                index = _constant(graph_module, permutation, last)
                picked = graph_module.graph.call_function(aten.index_select.default, (source, 1, index))
            picked.meta["val"] = last.meta["val"]
            index.meta["val"] = permutation
            last.replace_all_uses_with(picked)
            last.graph.erase_node(last)
    return found


def _shape_chain(last: Node) -> list[Node]:
    """Return the longest run of shape-only nodes that ends in `last` and has no other readers."""
    chain = [last]
    while True:
        before = chain[0].args[0]
        if not isinstance(before, Node) or before.target not in (*RESHAPES, *MOVES) or len(before.users) != 1:
            return chain
        chain.insert(0, before)


def _channel_permutation(source: Node, chain: list[Node]) -> Tensor | None:
    """Return p with out[:, i] = in[:, p[i]] if the chain is exactly that, found by sending numbers through it."""
    shape = _shape(source)
    if len(shape) != 4 or shape[0] != 1:
        return None
    numbered = torch.arange(math.prod(shape)).reshape(shape)
    value: Any = numbered
    for node in chain:
        value = node.target(value, *node.args[1:], **node.kwargs)  # type: ignore[operator]  # all are functions
    permutation = value[0, :, 0, 0] // (shape[2] * shape[3])
    if torch.equal(value, numbered[:, permutation]) and not torch.equal(value, numbered):
        return torch.as_tensor(permutation)
    return None


def _plain_conv(user: Node, source: Node) -> bool:
    groups = user.args[6] if len(user.args) > 6 else user.kwargs.get("groups", 1)
    return bool(user.target is aten.conv2d.default and user.args[0] is source and groups == 1)


def _permute_weights(graph_module: GraphModule, last: Node, source: Node, permutation: Tensor) -> None:
    inverse = torch.argsort(permutation)
    for user in list(last.users):
        weight = user.args[1]
        assert isinstance(weight, Node)
        with graph_module.graph.inserting_before(user):
            index = _constant(graph_module, inverse, user)
            moved = graph_module.graph.call_function(aten.index_select.default, (weight, 1, index))
        index.meta["val"], moved.meta["val"] = inverse, weight.meta.get("val")
        user.args = (source, moved, *user.args[2:])


def _tokens_through_channels_last(graph_module: GraphModule) -> int:
    """Write "flatten the map, then move channels last" as "move channels last, then flatten"."""
    found = 0
    for node in list(graph_module.graph.nodes):
        if node.target not in MOVES[:2] or not isinstance(node.args[0], Node):
            continue
        flat = node.args[0]
        source = flat.args[0] if flat.target in RESHAPES else None
        if not isinstance(source, Node) or len(_shape(source)) != 4 or len(flat.users) != 1:
            continue
        batch, channels, height, width = _shape(source)
        if _shape(flat) != (batch, channels, height * width) or _shape(node) != (batch, height * width, channels):
            continue
        with graph_module.graph.inserting_before(node):
            moved = graph_module.graph.call_function(aten.permute.default, (source, [0, 2, 3, 1]))
            tokens = graph_module.graph.call_function(aten.reshape.default, (moved, list(_shape(node))))
        tokens.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(tokens)
        found += 1
    return found


def _fold_constants(graph_module: GraphModule) -> int:
    """Evaluate what depends on weights alone; give scalars to arithmetic as numbers."""
    known: dict[Node, Any] = {}
    found = 0
    for node in graph_module.graph.nodes:
        if node.op == "get_attr":
            known[node] = _attribute(graph_module, str(node.target))
        elif node.op == "call_function" and node.target in FILLED:
            known[node] = torch.full(_shape(node), FILLED[node.target])
        elif node.op == "call_function" and _depends_on(node, known):
            value = _evaluate(node, known)
            if value is not None:
                known[node] = value
    for node in list(graph_module.graph.nodes):
        if node not in known or node.op == "get_attr" or not isinstance(known[node], Tensor):
            continue
        readers = [user for user in node.users if user not in known]
        if not readers:
            continue
        found += 1
        for user in readers:
            if known[node].ndim == 0 and user.target in ARITHMETIC:
                user.replace_input_with(node, float(known[node]))  # type: ignore[arg-type]  # any argument is allowed
        if any(user not in known for user in node.users):
            with graph_module.graph.inserting_before(node):
                constant = _constant(graph_module, known[node], node)
            constant.meta["val"] = node.meta.get("val")
            known[constant] = known[node]
            node.replace_all_uses_with(constant)
    return found


def _depends_on(node: Node, known: dict[Node, Any]) -> bool:
    inputs = node.all_input_nodes
    return all(item in known for item in inputs) if inputs else node.target in MAKERS


def _evaluate(node: Node, known: dict[Node, Any]) -> Any:
    def value(item: Node) -> Any:
        return known[item]

    args = torch.fx.map_arg(node.args, value)
    kwargs = torch.fx.map_arg(node.kwargs, value)
    with torch.no_grad():
        result = node.target(*args, **kwargs)  # type: ignore[operator]  # call_function nodes hold a function
    if isinstance(result, Tensor) and result.numel() > MAX_CONSTANT:
        return None
    return result.detach() if isinstance(result, Tensor) else result


def _concat_to_pad(graph_module: GraphModule) -> int:
    """Turn a concatenation with zero constants into padding; two in a row become one."""
    found = 0
    for node in list(graph_module.graph.nodes):
        if node.target is not aten.cat.default or len(_shape(node)) != 4:
            continue
        parts = list(node.args[0])
        live = [part for part in parts if not _zeros(graph_module, part)]
        if len(live) != 1 or len(parts) < 2:
            continue
        axis = int(node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)) % 4
        at = parts.index(live[0])
        before = sum(_shape(part)[axis] for part in parts[:at])
        after = sum(_shape(part)[axis] for part in parts[at + 1 :])
        pads = [0] * 8
        pads[2 * (3 - axis) : 2 * (3 - axis) + 2] = before, after
        source = live[0]
        if source.target is aten.constant_pad_nd.default and len(source.users) == 1:
            inner = list(source.args[1])
            inner += [0] * (8 - len(inner))
            pads = list(map(operator.add, pads, inner))
            source = source.args[0]
        with graph_module.graph.inserting_before(node):
            padded = graph_module.graph.call_function(aten.constant_pad_nd.default, (source, pads, 0.0))
        padded.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(padded)
        found += 1
    return found


def _zeros(graph_module: GraphModule, part: Node) -> bool:
    if part.op == "get_attr":
        return not bool(torch.any(_attribute(graph_module, str(part.target)) != 0))
    return part.target in (aten.new_zeros.default, aten.zeros_like.default)


def _rewrite_layer_norms(graph_module: GraphModule) -> int:
    found = 0
    for node in graph_module.graph.nodes:
        if node.target is aten.layer_norm.default and len(node.args[1]) == 1 and len(node.args) > 2:
            node.target = _layer_norm
            found += 1
    return found


def _layer_norm(
    x: Tensor,
    shape: list[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn: bool = True,
) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + eps)
    if weight is not None:
        scaled = scaled * weight
    return scaled if bias is None else scaled + bias


def _shape(node: Node) -> tuple[int, ...]:
    value = node.meta.get("val")
    return tuple(int(side) for side in value.shape) if isinstance(value, Tensor) else ()


def _attribute(graph_module: GraphModule, path: str) -> Any:
    get: Callable[[Any, str], Any] = getattr
    value: Any = graph_module
    for part in path.split("."):
        value = get(value, part)
    return value.detach() if isinstance(value, nn.Parameter) else value


def _constant(graph_module: GraphModule, value: Tensor, near: Node) -> Node:
    """Register a tensor as a buffer and return the node that reads it, at the graph's present insertion point."""
    name = f"_edge_constant_{sum(1 for key in graph_module._buffers if key.startswith('_edge_constant_'))}"
    graph_module.register_buffer(name, value.contiguous())
    node = near.graph.get_attr(name)
    node.meta["val"] = value
    return node
