"""Bidirectional feature pyramids with learned, normalised fusion weights.

Source: Tan et al., "EfficientDet", arXiv:1911.09070, section 3; on three levels, as FeatherFace has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BiFPNCell", "LightBiFPN", "fuse", "pool_half", "upsample_to"]

EPS = 1e-4  # keeps the normalised weights finite when all of them are clipped to zero


def fuse(weights: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """Return the weighted mean of the inputs, weights clipped at 0.

    All weights enter the normalising sum, even those beyond the inputs: the published `p5_w2` has three entries of
    which two are applied.

    Args:
        weights: (K,) float32.
        inputs: at most K arrays of one shape.

    Returns:
        an array of that shape.
    """
    positive = weights.relu()
    shares = positive / (positive.sum() + EPS)
    total = shares[0] * inputs[0]
    for index in range(1, len(inputs)):
        total = total + shares[index] * inputs[index]
    return total


def upsample_to(x: Tensor, like: Tensor) -> Tensor:
    """Return `x` at the height and width of `like`, nearest neighbour."""
    return functional.interpolate(x, size=(like.shape[2], like.shape[3]), mode="nearest")


def pool_half(x: Tensor) -> Tensor:
    """Return the 3x3 maximum at stride 2 with *zeros* around, (B, C, ceil(H/2), ceil(W/2)).

    The zeros are concatenated: onnxruntime fuses a zero `Pad` into the following `MaxPool`, which then pads with minus
    infinity and changes negative maxima (onnxruntime issue 24737).
    """
    batch, channels, height, width = x.shape
    left, top = width % 2, height % 2  # an odd side is padded on both ends, an even one at the far end only
    column = x.new_zeros((batch, channels, height, 1))
    x = torch.cat([column, x, column] if left else [x, column], 3)
    row = x.new_zeros((batch, channels, 1, width + 1 + left))
    x = torch.cat([row, x, row] if top else [x, row], 2)
    return functional.max_pool2d(x, 3, 2)


class BiFPNCell(nn.Module):
    """One cell of three levels; swish before every node.

    Args:
        channels: pyramid width.
        taps: backbone channels at strides 8, 16, 32 for the first cell, None for the others.
    """

    def __init__(self, channels: int, taps: tuple[int, int, int] | None = None) -> None:
        super().__init__()
        self.p4_w1 = nn.Parameter(torch.ones(2))
        self.p3_w1 = nn.Parameter(torch.ones(2))
        self.p4_w2 = nn.Parameter(torch.ones(3))
        self.p5_w2 = nn.Parameter(torch.ones(3))
        self.conv4_up = SeparableNode(channels)
        self.conv3_up = SeparableNode(channels)
        self.conv4_down = SeparableNode(channels)
        self.conv5_down = SeparableNode(channels)
        self.first = taps is not None
        if taps is not None:
            self.p5_down_channel = _lateral(taps[2], channels)
            self.p4_down_channel = _lateral(taps[1], channels)
            self.p3_down_channel = _lateral(taps[0], channels)
            self.p4_down_channel_2 = _lateral(taps[1], channels)
            self.p5_down_channel_2 = _lateral(taps[2], channels)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        in3, in4, in5 = levels
        late4, late5 = in4, in5
        if self.first:
            late4, late5 = self.p4_down_channel_2(in4), self.p5_down_channel_2(in5)
            in3, in4, in5 = self.p3_down_channel(in3), self.p4_down_channel(in4), self.p5_down_channel(in5)
        up4 = self.conv4_up(_swish(fuse(self.p4_w1, [in4, upsample_to(in5, in4)])))
        out3 = self.conv3_up(_swish(fuse(self.p3_w1, [in3, upsample_to(up4, in3)])))
        out4 = self.conv4_down(_swish(fuse(self.p4_w2, [late4, up4, pool_half(out3)])))
        out5 = self.conv5_down(_swish(fuse(self.p5_w2, [late5, pool_half(out4)])))
        return [out3, out4, out5]


class SeparableNode(nn.Module):
    """Depthwise 3x3, pointwise 1x1 with bias, BatchNorm; no activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise_conv = NamedConv(channels, channels, 3, groups=channels, bias=False)
        self.pointwise_conv = NamedConv(channels, channels, 1)
        self.bn = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.pointwise_conv(self.depthwise_conv(x)))
        return out


class NamedConv(nn.Module):
    """A same-size convolution under the name `conv`, as the checkpoints have it."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, groups: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, 1, kernel // 2, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class LightBiFPN(nn.Module):
    """The pyramid of the Nano-B diagram: separable laterals, four separable fusion nodes with ReLU.

    Args:
        taps: backbone channels at strides 8, 16, 32.
        channels: pyramid width.
    """

    def __init__(self, taps: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.ones(2))
        self.w2 = nn.Parameter(torch.ones(2))
        self.w3 = nn.Parameter(torch.ones(3))
        self.w4 = nn.Parameter(torch.ones(2))
        self.lat = nn.ModuleList(LightNode(width, channels, kernel=1, relu=False) for width in taps)
        self.node = nn.ModuleList(LightNode(channels, channels, kernel=3, relu=True) for _ in range(4))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        in3, in4, in5 = (lateral(level) for lateral, level in zip(self.lat, levels, strict=True))
        up4 = self.node[0](fuse(self.w1, [in4, upsample_to(in5, in4)]))
        out3 = self.node[1](fuse(self.w2, [in3, upsample_to(up4, in3)]))
        out4 = self.node[2](fuse(self.w3, [in4, up4, pool_half(out3)]))
        out5 = self.node[3](fuse(self.w4, [in5, pool_half(out4)]))
        return [out3, out4, out5]


class LightNode(nn.Module):
    """Depthwise, pointwise, BatchNorm, no bias; ReLU if asked."""

    def __init__(self, channels_in: int, channels_out: int, *, kernel: int, relu: bool) -> None:
        super().__init__()
        self.dw = nn.Conv2d(channels_in, channels_in, kernel, 1, kernel // 2, groups=channels_in, bias=False)
        self.pw = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels_out)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.pw(self.dw(x)))
        return x.relu() if self.relu else x


def _lateral(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(NamedConv(channels_in, channels_out, 1), nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01))


def _swish(x: Tensor) -> Tensor:
    return x * x.sigmoid()
