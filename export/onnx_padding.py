"""Constant padding in front of a max-pool, written so that no runtime can mis-fuse it.

onnxruntime (1.31.1, default session) fuses `Pad` with zeros into the `MaxPool` behind it. A max-pool pads with minus
infinity, so that wherever the padded tensor is negative the fused result is another one, without a word. As a `Concat`
with a constant the same padding is left alone by every optimiser we know.

Source: microsoft/onnxruntime issue 24737; BiFPN pads its pools with zeros (Tan et al., arXiv:1911.09070, the
    authors' code).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper

from ..runtime.errors import ConversionError

__all__ = ["refuse_pad_before_maxpool", "rewrite_pad_before_maxpool"]


def rewrite_pad_before_maxpool(model: ModelProto) -> int:
    """Replace every constant `Pad` that feeds a `MaxPool` by `Concat` with a constant; return how many there were.

    Args:
        model: changed in place; shapes must be static.

    Raises:
        ConversionError: such a `Pad` has amounts, a value or an input shape that are not known from the file.
    """
    risky = list(_risky_pads(model))
    if not risky:
        return 0
    shapes = _shapes(model)
    constants = _constants(model)
    nodes = list(model.graph.node)
    for pad in risky:
        shape = shapes.get(pad.input[0])
        if shape is None or len(pad.input) < 2 or pad.input[1] not in constants:
            raise ConversionError(f"padding `{pad.name}` in front of a max-pool has no static shape", hint=_HINT)
        at = nodes.index(pad)
        nodes[at : at + 1] = _concats(model, pad, shape, constants)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_unused(model, {name for pad in risky for name in pad.input})
    return len(risky)


def refuse_pad_before_maxpool(model: ModelProto) -> None:
    """Check that no `Pad` is left that onnxruntime would fuse into a `MaxPool`.

    Raises:
        ConversionError: one is left; the message has its name.
    """
    for pad in _risky_pads(model):
        raise ConversionError(
            f"constant padding `{pad.name}` feeds a max-pool; onnxruntime fuses it wrongly", hint=_HINT
        )


_HINT = "pad with torch.cat and zeros in the network, or use the padding of the max-pool itself"


def _risky_pads(model: ModelProto) -> Iterator[NodeProto]:
    """Yield constant pads, value above minus infinity, no negative amount, with a max-pool among their readers."""
    constants = _constants(model)
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in model.graph.node:
        if node.op_type != "Pad" or _mode(node) != "constant" or not _reaches_maxpool(node.output[0], readers):
            continue
        amounts = constants.get(node.input[1]) if len(node.input) > 1 else None
        cropping = amounts is not None and bool((amounts < 0).any())
        if not cropping and _pad_value(node, constants) != -math.inf:
            yield node


def _mode(node: NodeProto) -> str:
    return next((item.s.decode() for item in node.attribute if item.name == "mode"), "constant")


def _reaches_maxpool(name: str, readers: dict[str, list[NodeProto]]) -> bool:
    for node in readers.get(name, []):
        # Optimisers remove an Identity first, then fuse.
        if node.op_type == "MaxPool" or (node.op_type == "Identity" and _reaches_maxpool(node.output[0], readers)):
            return True
    return False


def _pad_value(node: NodeProto, constants: dict[str, np.ndarray]) -> float:
    if len(node.input) < 3 or not node.input[2]:
        return 0.0
    value = constants.get(node.input[2])
    return 0.0 if value is None else float(value.reshape(-1)[0])


def _concats(model: ModelProto, pad: NodeProto, shape: list[int], constants: dict[str, np.ndarray]) -> list[NodeProto]:
    """Return one Concat per padded axis; together they compute what `pad` did."""
    value = _pad_value(pad, constants)
    amounts = [int(item) for item in constants[pad.input[1]].reshape(-1)]
    axes = list(range(len(shape)))
    if len(pad.input) > 3 and pad.input[3]:
        axes = [int(item) % len(shape) for item in constants[pad.input[3]].reshape(-1)]
    before, after = amounts[: len(axes)], amounts[len(axes) :]
    steps = [(axis, b, a) for axis, b, a in zip(axes, before, after, strict=True) if b or a]
    if not steps:
        return [onnx.helper.make_node("Identity", [pad.input[0]], [pad.output[0]], name=pad.name)]
    nodes = []
    current, size = pad.input[0], list(shape)
    for index, (axis, b, a) in enumerate(steps):
        out = pad.output[0] if index == len(steps) - 1 else f"{pad.output[0]}.axis{axis}"
        parts = []
        for count, side in ((b, "before"), (0, ""), (a, "after")):
            if not side:
                parts.append(current)
            elif count:
                border = np.full([*size[:axis], count, *size[axis + 1 :]], value, np.float32)
                name = f"{pad.output[0]}.axis{axis}.{side}"
                model.graph.initializer.append(numpy_helper.from_array(border, name))
                parts.append(name)
        nodes.append(onnx.helper.make_node("Concat", parts, [out], name=f"{pad.name}/Concat_{axis}", axis=axis))
        size[axis] += b + a
        current = out
    return nodes


def _drop_unused(model: ModelProto, names: set[str]) -> None:
    """Remove those of the named initialisers that no node reads any more; engines warn about them."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [item for item in model.graph.initializer if item.name in used or item.name not in names]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _shapes(model: ModelProto) -> dict[str, list[int]]:
    """Return the static float32 shapes that shape inference finds, by tensor name."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=False).graph
    found = {}
    for info in [*graph.input, *graph.output, *graph.value_info]:
        kind = info.type.tensor_type
        if kind.elem_type == onnx.TensorProto.FLOAT and kind.HasField("shape"):
            dims = [dim.dim_value for dim in kind.shape.dim]
            if all(dim > 0 for dim in dims):
                found[info.name] = dims
    return found


def _constants(model: ModelProto) -> dict[str, np.ndarray]:
    """Return small constants (amounts and values of pads) by tensor name."""
    found = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer if math.prod(item.dims) <= 64}
    for node in model.graph.node:
        for item in node.attribute if node.op_type == "Constant" else ():
            if item.name == "value":
                found[node.output[0]] = numpy_helper.to_array(item.t)
    return found
