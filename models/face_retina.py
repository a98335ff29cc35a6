"""RetinaFace on MobileNet 0.25, 426,608 parameters.

Source: Deng et al., "RetinaFace", arXiv:1905.00641; key names of the public PyTorch code (MIT).
"""

from __future__ import annotations

from torch import Tensor, nn

from .bifpn import upsample_to
from .heads import DetectionHeads
from .mobilenet import FaceBackbone
from .ssh import SSH

__all__ = ["RetinaFace"]


class RetinaFace(DetectionHeads):
    """Faces with five landmarks.

    Args:
        channels: pyramid width.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__(channels)
        self.body = FaceBackbone()
        self.fpn = FPN(self.body.taps, channels)
        self.ssh1 = SSH(channels)
        self.ssh2 = SSH(channels)
        self.ssh3 = SSH(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (loc, conf, landm); see `DetectionHeads.detect`.

        Args:
            x: (B, 3, H, W) float32, BGR minus (104, 117, 123); H and W multiples of 32.
        """
        p3, p4, p5 = self.fpn(self.body(x))
        return self.detect([self.ssh1(p3), self.ssh2(p4), self.ssh3(p5)])


class FPN(nn.Module):
    """Top-down pyramid: laterals, nearest up-sampling, sum, 3x3 smoothing."""

    def __init__(self, taps: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.output1 = _unit(taps[0], channels, 1)
        self.output2 = _unit(taps[1], channels, 1)
        self.output3 = _unit(taps[2], channels, 1)
        self.merge1 = _unit(channels, channels, 3)
        self.merge2 = _unit(channels, channels, 3)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        p3, p4, p5 = self.output1(levels[0]), self.output2(levels[1]), self.output3(levels[2])
        p4 = self.merge2(p4 + upsample_to(p5, p4))
        p3 = self.merge1(p3 + upsample_to(p4, p3))
        return [p3, p4, p5]


def _unit(channels_in: int, channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels, kernel, 1, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.LeakyReLU(0.1 if channels <= 64 else 0.0))
