"""Pose students: plain convolution stacks that give heatmaps and part affinity fields at stride 8.

Source: `Pose8MB` and `Pose2MB` of the J-kal/ai8x-training fork (Apache-2.0), re-implemented. The names tell the size of
their training checkpoints, not of their weights: those are 2.64 MB and 1.32 MB in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["WIDTHS_2MB", "WIDTHS_8MB", "PoseStudent", "PoseWidths"]

HEATMAPS = 19  # 18 keypoints and the background
PAFS = 38  # 19 limbs, x and y


@dataclass(frozen=True, kw_only=True)
class PoseWidths:
    """Output channels of each block.

    Attributes:
        trunk: conv1..conv8.
        context: cpm1..cpm3.
        head: hidden channels of both heads.
    """

    trunk: tuple[int, int, int, int, int, int, int, int]
    context: int
    head: int


WIDTHS_8MB = PoseWidths(trunk=(32, 32, 64, 64, 96, 96, 128, 128), context=96, head=64)
WIDTHS_2MB = PoseWidths(trunk=(24, 24, 48, 48, 64, 64, 96, 96), context=64, head=48)


class FusedBlock(nn.Module):
    """Optional 2x2 max-pool, then convolution with bias, BatchNorm and ReLU."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, pool: bool = False
    ) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, 2) if pool else None
        self.op = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(channels_out, eps=1e-5, momentum=0.05)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = self.pool(x)
        x = self.bn(self.op(x))
        return x.relu()


class LinearOutput(nn.Module):
    """The last 1x1 convolution of a head: bias, no BatchNorm, no activation."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.op(x)
        return out


class PoseStudent(nn.Module):
    """Keypoint heatmaps and part affinity fields of a 128x128 picture.

    Args:
        widths: `WIDTHS_8MB` (659,001 parameters) or `WIDTHS_2MB` (330,753), or any other.
    """

    def __init__(self, widths: PoseWidths = WIDTHS_8MB) -> None:
        super().__init__()
        trunk, context, head = widths.trunk, widths.context, widths.head
        self.widths = widths
        self.conv1 = FusedBlock(3, trunk[0], 3, stride=2)
        self.conv2 = FusedBlock(trunk[0], trunk[1], 3)
        self.conv3 = FusedBlock(trunk[1], trunk[2], 3)
        self.conv4 = FusedBlock(trunk[2], trunk[3], 3, pool=True)
        self.conv5 = FusedBlock(trunk[3], trunk[4], 3)
        self.conv6 = FusedBlock(trunk[4], trunk[5], 3, pool=True)
        self.conv7 = FusedBlock(trunk[5], trunk[6], 3)
        self.conv8 = FusedBlock(trunk[6], trunk[7], 3)
        self.cpm1 = FusedBlock(trunk[7], context, 1)
        self.cpm2 = FusedBlock(context, context, 3)
        self.cpm3 = FusedBlock(context, context, 3)
        self.heat_conv = FusedBlock(context, head, 1)
        self.heat_out = LinearOutput(head, HEATMAPS)
        self.paf_conv = FusedBlock(context, head, 1)
        self.paf_out = LinearOutput(head, PAFS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (heatmaps, pafs).

        Args:
            x: (B, 3, H, W) float32, BGR, (pixel - 128) / 128; H and W multiples of 8.

        Returns:
            heatmaps (B, 19, H/8, W/8), trained towards 0..1, and pafs (B, 38, H/8, W/8), unit-vector components;
            both linear, unbounded.
        """
        x = self.conv3(self.conv2(self.conv1(x)))
        x = self.conv5(self.conv4(x))
        x = self.conv8(self.conv7(self.conv6(x)))
        x = self.cpm3(self.cpm2(self.cpm1(x)))
        return self.heat_out(self.heat_conv(x)), self.paf_out(self.paf_conv(x))
