"""Deformable convolution from operators that TFLite has: one 1x1 convolution, four gathers, a weighted sum.

TFLite has no deformable convolution, and no converter offers one. But the nine taps of the kernel are linear, and so
is bilinear sampling, so that their order may be exchanged: first every tap's 1x1 product for every place of the map
(an ordinary convolution with 9 x O outputs, which may run in INT8), then sample those products where the offsets say,
weight by mask and distance, and add. The sum is the same; only rounding differs.

A border of zeros around the products stands for "outside the map counts as 0": places are clamped into the border,
so that no further test is needed.
Source: Zhu et al., "Deformable ConvNets v2", arXiv:1811.11168, eq. 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.nn import functional

from ..runtime.errors import ConversionError

__all__ = ["OPERATOR", "deform_conv2d_gather", "lower_deformable", "teach_litert_torch"]

OPERATOR = "edge::deform_conv2d"
TAPS = 9
EXACT_INTEGERS = 2**24  # float32 counts no further; places are computed in float and made integers once


def deform_conv2d_gather(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the deformable convolution 3x3, stride 1, padding 1.

    Args:
        x: (1, C, H, W) float32.
        offset: (1, 18, H, W) float32, pixels; (dy, dx) for each tap, taps row by row.
        mask: (1, 9, H, W) float32, one factor a tap.
        weight: (O, C, 3, 3) float32.
        bias: (O,) float32, added to every place.

    Returns:
        (1, O, H, W) float32; places outside the map count as 0.

    Raises:
        ConversionError: the batch is not 1, or the map is too large for exact places.
    """
    batch, channels, height, width = x.shape
    outputs = weight.shape[0]
    places, row = height * width, width + 3
    if batch != 1 or (height + 3) * row * TAPS >= EXACT_INTEGERS:
        raise ConversionError(f"`{OPERATOR}` of shape {tuple(x.shape)} cannot be lowered exactly", expected="batch 1")

    kernel = weight.permute(2, 3, 0, 1).reshape(TAPS * outputs, channels, 1, 1)
    products = functional.conv2d(x, kernel).permute(0, 2, 3, 1).reshape(height, width, TAPS * outputs)
    # One row and column of zeros before, two after: the corner below a sample at H is H + 1.
    table = functional.pad(products, (0, 0, 1, 2, 1, 2)).reshape((height + 3) * row * TAPS, outputs)

    pairs = offset.permute(0, 2, 3, 1).reshape(places, TAPS, 2)
    base_y, base_x, first = _grid(height, width)
    y = (pairs[:, :, 0].reshape(height, width, TAPS) + base_y).clamp(0.0, height + 1.0).reshape(places, TAPS)
    across = (pairs[:, :, 1].reshape(height, width, TAPS) + base_x).clamp(0.0, width + 1.0).reshape(places, TAPS)
    top, left = y.floor(), across.floor()
    down, right = y - top, across - left
    corner = (top * (row * TAPS) + left * TAPS + first).to(torch.int32)

    factor = mask.permute(0, 2, 3, 1).reshape(places, TAPS)
    lower, upper = factor * down, factor * (1.0 - down)
    total: Tensor | None = None
    for step, share in (
        (0, upper * (1.0 - right)),
        (TAPS, upper * right),
        (row * TAPS, lower * (1.0 - right)),
        (row * TAPS + TAPS, lower * right),
    ):
        picked = torch.ops.edge.gather_rows(table, (corner + step).reshape(-1)).reshape(places, TAPS, outputs)
        part = picked * share.reshape(places, TAPS, 1)
        total = part if total is None else total + part
    assert total is not None
    summed = total.sum(1) if bias is None else total.sum(1) + bias
    maps: Tensor = torch.ops.edge.channels_last(summed.reshape(1, height, width, outputs).permute(0, 3, 1, 2))
    return maps


@torch.library.custom_op("edge::gather_rows", mutates_args=())
def _gather_rows(table: Tensor, index: Tensor) -> Tensor:
    return table.index_select(0, index)


@_gather_rows.register_fake
def _shape_of_rows(table: Tensor, index: Tensor) -> Tensor:
    return table.new_empty((index.shape[0], table.shape[1]))


@torch.library.custom_op("edge::channels_last", mutates_args=())
def _channels_last(x: Tensor) -> Tensor:
    return x.clone()


@_channels_last.register_fake
def _shape_of_map(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def teach_litert_torch() -> None:
    """Teach litert-torch 0.10.0 the two operators that a lowered deformable convolution needs.

    `edge::gather_rows` becomes one gather. litert-torch's own `index_select` guards every index against being out of
    range, with seven operators that cost more than the gather; ours are in range by construction.
    `edge::channels_last` becomes nothing: it only says that a map is better kept channels-last, which saves the four
    transposes with which litert-torch would otherwise join three of them.
    """
    import jax
    from litert_torch._convert.fx_passes.optimize_layout_transposes_pass import layout_check, layout_rewrite
    from litert_torch.backend import jax_bridge
    from litert_torch.backend.lowerings import registry

    def gather(table: Any, index: Any) -> Any:
        numbers = jax.lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,))
        return jax.lax.gather(
            table, index[:, None], numbers, (1, table.shape[1]), mode=jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS
        )

    bridged = jax_bridge.wrap(gather)
    registry.lower(torch.ops.edge.gather_rows.default)(lambda context, table, index: bridged(context, table, index))

    hint = torch.ops.edge.channels_last.default
    layout_check.nhwcable_node_checkers[hint] = lambda node: layout_check.NHWCable(can_be=True, must_be=True)
    layout_rewrite.rewriters[hint] = lambda node: None
    registry.lower(hint)(lambda context, x: x)


def lower_deformable(graph_module: GraphModule) -> int:
    """Lower every `edge::deform_conv2d` of an exported graph, with the BatchNorm behind it; return how many there were.

    Args:
        graph_module: of `ExportedProgram.module()`; changed in place, to be exported again.
    """
    found = 0
    for node in list(graph_module.graph.nodes):
        if node.op != "call_function" or node.target is not torch.ops.edge.deform_conv2d.default:
            continue
        found += 1
        node.target = deform_conv2d_gather
        after = next(iter(node.users)) if len(node.users) == 1 else None
        if after is not None and after.target is torch.ops.aten.batch_norm.default and not after.args[5]:
            scale, shift, mean, variance, eps = (after.args[at] for at in (1, 2, 3, 4, 7))
            with graph_module.graph.inserting_before(after):
                merged = graph_module.graph.call_function(
                    _with_batch_norm, (*node.args, scale, shift, mean, variance, eps)
                )
            after.replace_all_uses_with(merged)
            graph_module.graph.erase_node(after)
            graph_module.graph.erase_node(node)
    graph_module.recompile()
    return found


def _with_batch_norm(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
) -> Tensor:
    factor = torch.rsqrt(variance + eps)
    factor = factor if scale is None else factor * scale
    bias = -mean * factor if shift is None else shift - mean * factor
    return deform_conv2d_gather(x, offset, mask, weight * factor.reshape(-1, 1, 1, 1), bias)


def _grid(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return undisplaced rows (H, 1, 9) and columns (1, W, 9) in the bordered map, and the numbers of the taps."""
    tap = torch.arange(TAPS)
    rows = torch.arange(height).reshape(-1, 1, 1) + tap // 3  # +1 for the border, -1 for the first tap
    columns = torch.arange(width).reshape(1, -1, 1) + tap % 3
    return rows.float(), columns.float(), tap.float().reshape(1, TAPS)
