"""Pose teacher: Lightweight OpenPose on MobileNetV1 with one refinement stage, 4,091,698 parameters.

Source: Osokin, "Real-time 2D Multi-Person Pose Estimation on CPU: Lightweight OpenPose", arXiv:1811.12004, and the
layer order and key names of the author's public code (Apache-2.0).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PoseTeacher"]

HEATMAPS = 19
PAFS = 38

# (in, out, stride, dilation) of the depthwise separable units after the stem.
BACKBONE: tuple[tuple[int, int, int, int], ...] = (
    (32, 64, 1, 1),
    (64, 128, 2, 1),
    (128, 128, 1, 1),
    (128, 256, 2, 1),
    (256, 256, 1, 1),
    (256, 512, 1, 1),
    (512, 512, 1, 2),
    (512, 512, 1, 1),
    (512, 512, 1, 1),
    (512, 512, 1, 1),
    (512, 512, 1, 1),
)


class PoseTeacher(nn.Module):
    """Heatmaps and part affinity fields of two stages; decode the last two outputs.

    Args:
        width: channels of the stages.
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.model = nn.Sequential(stem, *(_separable(*unit) for unit in BACKBONE))
        self.cpm = ContextModule(BACKBONE[-1][1], width)
        self.initial_stage = InitialStage(width)
        self.refinement_stages = nn.ModuleList([RefinementStage(width + HEATMAPS + PAFS, width)])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return (stage-0 heatmaps, stage-0 pafs, heatmaps, pafs).

        Args:
            x: (B, 3, H, W) float32, BGR, (pixel - 128) / 256; H and W multiples of 8.

        Returns:
            four maps (B, 19 or 38, H/8, W/8), linear; the last two are the refined ones.
        """
        features = self.cpm(self.model(x))
        maps = list(self.initial_stage(features))
        for stage in self.refinement_stages:
            maps.extend(stage(torch.cat([features, maps[-2], maps[-1]], 1)))
        return tuple(maps)


class ContextModule(nn.Module):
    """Bring the backbone's features to the width of the stages."""

    def __init__(self, channels_in: int, width: int) -> None:
        super().__init__()
        self.align = _conv(channels_in, width, 1)
        self.trunk = nn.Sequential(*(_separable_elu(width) for _ in range(3)))
        self.conv = _conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.align(x)
        out: Tensor = self.conv(x + self.trunk(x))
        return out


class InitialStage(nn.Module):
    """First estimate of both maps."""

    def __init__(self, width: int, hidden: int = 512) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(_conv(width, width, 3) for _ in range(3)))
        self.heatmaps = _head(width, hidden, HEATMAPS)
        self.pafs = _head(width, hidden, PAFS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(x)
        return self.heatmaps(x), self.pafs(x)


class RefinementStage(nn.Module):
    """Second estimate, from the features and the first one."""

    def __init__(self, channels_in: int, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(RefinementBlock(width if index else channels_in, width) for index in range(5)))
        self.heatmaps = _head(width, width, HEATMAPS)
        self.pafs = _head(width, width, PAFS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(x)
        return self.heatmaps(x), self.pafs(x)


class RefinementBlock(nn.Module):
    """Residual pair of 3x3 convolutions, the second dilated, for a large receptive field at low cost."""

    def __init__(self, channels_in: int, width: int) -> None:
        super().__init__()
        self.initial = _conv(channels_in, width, 1)
        self.trunk = nn.Sequential(_conv(width, width, 3, norm=True), _conv(width, width, 3, norm=True, dilation=2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.initial(x)
        refined: Tensor = self.trunk(x)
        return x + refined


def _conv(channels_in: int, width: int, kernel: int, *, norm: bool = False, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    layers: list[nn.Module] = [nn.Conv2d(channels_in, width, kernel, 1, padding, dilation)]
    if norm:
        layers.append(nn.BatchNorm2d(width))
    return nn.Sequential(*layers, nn.ReLU())


def _head(width: int, hidden: int, maps: int) -> nn.Sequential:
    return nn.Sequential(_conv(width, hidden, 1), nn.Sequential(nn.Conv2d(hidden, maps, 1)))


def _separable(channels_in: int, channels_out: int, stride: int, dilation: int) -> nn.Sequential:
    depthwise = nn.Conv2d(channels_in, channels_in, 3, stride, dilation, dilation, groups=channels_in, bias=False)
    return nn.Sequential(
        depthwise,
        nn.BatchNorm2d(channels_in),
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def _separable_elu(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False),
        nn.ELU(),
        nn.Conv2d(width, width, 1, bias=False),
        nn.ELU(),
    )
