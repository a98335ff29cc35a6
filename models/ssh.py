"""Context modules of the face detectors: three receptive fields side by side.

Source: Najibi et al., "SSH: Single Stage Headless Face Detector", arXiv:1708.03979; key names of the public RetinaFace.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .deform import DeformableConv2d

__all__ = ["SSH", "GroupedSSH"]


class SSH(nn.Module):
    """3x3, 5x5 and 7x7 context as stacks of 3x3 convolutions.

    Args:
        channels: input and output channels, a multiple of 4.
        deformable: build the convolutions as deformable ones.
    """

    def __init__(self, channels: int, *, deformable: bool = False) -> None:
        super().__init__()
        slope = 0.1 if channels <= 64 else 0.0
        quarter = channels // 4
        conv: Callable[[int, int], nn.Module] = DeformableConv2d if deformable else _plain
        self.conv3X3 = _unit(conv(channels, channels // 2), channels // 2)
        self.conv5X5_1 = _unit(conv(channels, quarter), quarter, slope)
        self.conv5X5_2 = _unit(conv(quarter, quarter), quarter)
        self.conv7X7_2 = _unit(conv(quarter, quarter), quarter, slope)
        self.conv7x7_3 = _unit(conv(quarter, quarter), quarter)  # lower-case x: so the checkpoints have it

    def forward(self, x: Tensor) -> Tensor:
        near = self.conv3X3(x)
        middle = self.conv5X5_1(x)
        far = self.conv7x7_3(self.conv7X7_2(middle))
        return torch.cat([near, self.conv5X5_2(middle), far], 1).relu()


class GroupedSSH(nn.Module):
    """The same in grouped convolutions, as in the Nano-B diagram.

    Args:
        channels: input channels, a multiple of 2 * groups.
        groups: groups of every convolution.
        inner: widths inside the 5x5 and the 7x7 branch, multiples of `groups`; None takes a quarter of `channels`.
        outer: output widths of the 3x3, 5x5 and 7x7 branch, multiples of `groups`; None takes a half and two quarters.
    """

    def __init__(
        self,
        channels: int,
        groups: int = 2,
        *,
        inner: tuple[int, int] | None = None,
        outer: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        middle, far = inner or (channels // 4, channels // 4)
        out3, out5, out7 = outer or (channels // 2, channels // 4, channels // 4)
        self.b3 = _unit(_plain(channels, out3, groups), out3)
        self.b5a = _unit(_plain(channels, middle, groups), middle, 0.0)
        self.b5b = _unit(_plain(middle, out5, groups), out5)
        self.b7a = _unit(_plain(middle, far, groups), far, 0.0)
        self.b7b = _unit(_plain(far, out7, groups), out7)

    def forward(self, x: Tensor) -> Tensor:
        middle = self.b5a(x)
        return torch.cat([self.b3(x), self.b5b(middle), self.b7b(self.b7a(middle))], 1).relu()


def _plain(channels_in: int, channels_out: int, groups: int = 1) -> nn.Module:
    return nn.Conv2d(channels_in, channels_out, 3, 1, 1, groups=groups, bias=False)


def _unit(conv: nn.Module, channels: int, slope: float | None = None) -> nn.Sequential:
    layers = [conv, nn.BatchNorm2d(channels)]
    if slope is not None:
        layers.append(nn.LeakyReLU(slope) if slope else nn.ReLU())
    return nn.Sequential(*layers)
