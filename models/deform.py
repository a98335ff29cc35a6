"""Deformable convolution v2, 3x3, stride 1, padding 1: nine bilinear samples at learned places, each with its weight.

The computation is one function and one custom operator, `edge::deform_conv2d`, so that an exporter can map it to ONNX
`DeformConv` (opset 19) or decompose it. A plain convolution with the same weights is another network: it must never
stand in for this one.
Source: Zhu et al., "Deformable ConvNets v2", arXiv:1811.11168, eq. 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FORMS", "DeformableConv2d", "deform_conv2d", "deform_conv2d_taps", "use_form"]

FORMS = ("op", "taps")  # one custom operator; or the plain operators it consists of
TAPS = 9


def deform_conv2d_taps(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Return the deformable convolution, from floor, gather and one matrix product.

    Args:
        x: (B, C, H, W) float32.
        offset: (B, 18, H, W) float32, pixels; (dy, dx) for each tap, taps row by row.
        mask: (B, 9, H, W) float32, one factor a tap.
        weight: (O, C, 3, 3) float32.

    Returns:
        (B, O, H, W) float32; places outside the map count as 0.
    """
    batch, channels, height, width = x.shape
    places = height * width
    tap = torch.arange(TAPS, device=x.device)
    rows = torch.arange(height, device=x.device).reshape(1, 1, height, 1)
    columns = torch.arange(width, device=x.device).reshape(1, 1, 1, width)
    pairs = offset.reshape(batch, TAPS, 2, height, width)
    y = pairs[:, :, 0] + (rows + (tap // 3 - 1).reshape(1, TAPS, 1, 1)).to(x.dtype)
    x_at = pairs[:, :, 1] + (columns + (tap % 3 - 1).reshape(1, TAPS, 1, 1)).to(x.dtype)
    # Clamping just outside the map changes nothing (all is zero there) and keeps the integers below in range.
    y, x_at = y.clamp(-1.0, height), x_at.clamp(-1.0, width)
    top, left = y.floor(), x_at.floor()
    down, right = y - top, x_at - left

    table = x.permute(0, 2, 3, 1).reshape(batch * places, channels)
    first = (torch.arange(batch, device=x.device) * places).reshape(batch, 1, 1, 1)
    total: Tensor | None = None
    for step_y, share_y in ((0, 1 - down), (1, down)):
        for step_x, share_x in ((0, 1 - right), (1, right)):
            row, column = top + step_y, left + step_x
            inside = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
            share = share_y * share_x * mask * inside.to(x.dtype)
            index = row.clamp(0, height - 1).to(torch.int64) * width + column.clamp(0, width - 1).to(torch.int64)
            picked = table.index_select(0, (index + first).reshape(-1))
            part = picked.reshape(batch, TAPS, places, channels) * share.reshape(batch, TAPS, places, 1)
            total = part if total is None else total + part
    assert total is not None
    columns_of_taps = total.transpose(1, 2).reshape(batch * places, TAPS * channels)
    kernel = weight.permute(2, 3, 1, 0).reshape(TAPS * channels, weight.shape[0])
    out = torch.matmul(columns_of_taps, kernel)
    return out.reshape(batch, height, width, weight.shape[0]).permute(0, 3, 1, 2)


@torch.library.custom_op("edge::deform_conv2d", mutates_args=())
def _deform_conv2d_op(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    return deform_conv2d_taps(x, offset, mask, weight).contiguous()


@_deform_conv2d_op.register_fake
def _shape_of_op(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0], x.shape[2], x.shape[3]))


def _save_inputs(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    inputs = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
    with torch.enable_grad():
        out = deform_conv2d_taps(*inputs)
    return torch.autograd.grad(out, inputs, grad)


_deform_conv2d_op.register_autograd(_gradients, setup_context=_save_inputs)
for _device in ("cpu", "cuda"):  # mixed precision: bfloat16 cannot tell neighbouring pixels of a large map apart
    _deform_conv2d_op.register_autocast(_device, torch.float32)


def deform_conv2d(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Return the deformable convolution as one operator, `edge::deform_conv2d`; see `deform_conv2d_taps`."""
    out: Tensor = torch.ops.edge.deform_conv2d(x, offset, mask, weight)
    return out


class DeformableConv2d(nn.Module):
    """3x3 convolution whose taps move by learned offsets and are scaled by learned factors 0..2.

    Args:
        channels_in: input channels.
        channels_out: output channels.

    Attributes:
        form: "op" computes through the custom operator, "taps" through plain operators; equal up to rounding.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.form = "op"
        self.offset_conv = nn.Conv2d(channels_in, 2 * TAPS, 3, 1, 1)
        self.modulator_conv = nn.Conv2d(channels_in, TAPS, 3, 1, 1)
        self.regular_conv = nn.Conv2d(channels_in, channels_out, 3, 1, 1, bias=False)
        for conv in (self.offset_conv, self.modulator_conv):
            nn.init.zeros_(conv.weight)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        offset = self.offset_conv(x)
        mask = 2.0 * self.modulator_conv(x).sigmoid()
        compute = deform_conv2d if self.form == "op" else deform_conv2d_taps
        return compute(x, offset, mask, self.regular_conv.weight)


def use_form(module: nn.Module, form: str) -> int:
    """Set the form of every deformable convolution inside `module` and return how many there are.

    Args:
        module: any module.
        form: one of `FORMS`.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {FORMS}, got {form!r}")
    found = [part for part in module.modules() if isinstance(part, DeformableConv2d)]
    for part in found:
        part.form = form
    return len(found)
