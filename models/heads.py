"""Detection heads: one 1x1 convolution a task and level, two anchors a place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ANCHORS", "DetectionHeads"]

ANCHORS = 2
CLASS, BOX, LANDMARK = 2, 4, 10  # numbers an anchor


class DetectionHeads(nn.Module):
    """Mix-in of the face networks: holds the three heads under the checkpoints' names and applies them.

    Args:
        channels: width of every pyramid level.
        levels: number of levels.
    """

    def __init__(self, channels: int, levels: int = 3) -> None:
        super().__init__()
        self.ClassHead = nn.ModuleList(Head(channels, CLASS) for _ in range(levels))
        self.BboxHead = nn.ModuleList(Head(channels, BOX) for _ in range(levels))
        self.LandmarkHead = nn.ModuleList(Head(channels, LANDMARK) for _ in range(levels))

    def detect(self, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return (loc, conf, landm).

        Args:
            levels: features at strides 8, 16, 32.

        Returns:
            loc (B, N, 4) and landm (B, N, 10), offsets against the prior boxes; conf (B, N, 2), background and face:
            probabilities in eval mode, logits in training mode. N runs over levels, rows, columns, anchors.
        """
        loc = torch.cat([head(level) for head, level in zip(self.BboxHead, levels, strict=True)], 1)
        conf = torch.cat([head(level) for head, level in zip(self.ClassHead, levels, strict=True)], 1)
        landm = torch.cat([head(level) for head, level in zip(self.LandmarkHead, levels, strict=True)], 1)
        return loc, conf if self.training else conf.softmax(dim=-1), landm


class Head(nn.Module):
    """(B, C, H, W) to (B, H * W * anchors, values)."""

    def __init__(self, channels: int, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(channels, ANCHORS * values, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        maps: Tensor = self.conv1x1(x)
        return maps.permute(0, 2, 3, 1).reshape(batch, height * width * ANCHORS, self.values)
