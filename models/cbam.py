"""Convolutional block attention: a gate over channels, then a gate over places.

Source: Woo et al., "CBAM", arXiv:1807.06521; `LightCBAM` is the economical form of the Nano-B diagram.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CBAM", "LightCBAM"]


class CBAM(nn.Module):
    """Both gates, as FeatherFace has them: linear layers with bias, BatchNorm behind the 7x7 convolution.

    Args:
        channels: input and output channels.
        reduction: the hidden layer has `channels // reduction` units.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.ChannelGate = ChannelGate(channels, reduction)
        self.SpatialGate = SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.SpatialGate(self.ChannelGate(x))
        return out


class ChannelGate(nn.Module):
    """Scale every channel by a function of its mean and its maximum."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = channels // reduction
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels = x.shape[:2]
        # amax instead of an adaptive max-pool: litert-torch has no lowering for that.
        gate = self.mlp(x.mean((2, 3), keepdim=True)) + self.mlp(x.amax((2, 3), keepdim=True))
        scaled: Tensor = x * gate.sigmoid().reshape(batch, channels, 1, 1)
        return scaled


class SpatialGate(nn.Module):
    """Scale every place by a function of the maximum and the mean over channels, in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.spatial = SpatialConv()

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        gate: Tensor = self.spatial(pooled)
        return x * gate.sigmoid()


class SpatialConv(nn.Module):
    """7x7 convolution and BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, 1, 3, bias=False)
        self.bn = nn.BatchNorm2d(1, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


class LightCBAM(nn.Module):
    """Both gates without bias and BatchNorm; mean before maximum in the spatial one.

    Args:
        channels: input and output channels.
        hidden: units of the hidden layer; None takes max(channels // 8, 4).

    Attributes:
        kept: (channels,) bool, while the network is pruned softly: the channels that the gate over places looks at, so
            that it is the gate of the network without the others. None, and then in no state dict, otherwise.
    """

    kept: Tensor | None

    def __init__(self, channels: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = max(channels // 8, 4) if hidden is None else hidden
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)
        self.sp = nn.Conv2d(2, 1, 7, 1, 3, bias=False)
        self.register_buffer("kept", None)

    def forward(self, x: Tensor) -> Tensor:
        x = x * (self._score(x.mean((2, 3), keepdim=True)) + self._score(x.amax((2, 3), keepdim=True))).sigmoid()
        place: Tensor = self.sp(torch.cat(self._over_channels(x), 1))
        return x * place.sigmoid()

    def _over_channels(self, x: Tensor) -> list[Tensor]:
        if self.kept is None:
            return [x.mean(1, keepdim=True), x.amax(1, keepdim=True)]
        gone = ~self.kept.reshape(1, -1, 1, 1)
        total = x.masked_fill(gone, 0.0).sum(1, keepdim=True)
        return [total / self.kept.sum(), x.masked_fill(gone, -torch.inf).amax(1, keepdim=True)]

    def _score(self, pooled: Tensor) -> Tensor:
        hidden: Tensor = self.fc1(pooled)
        score: Tensor = self.fc2(hidden.relu())
        return score
