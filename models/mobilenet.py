"""Backbone of the face detectors: MobileNetV1 with free widths, tapped at strides 8, 16 and 32.

Source: Howard et al., "MobileNets", arXiv:1704.04861, at multiplier 0.25; key names of the public RetinaFace (MIT).
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["DENSE_WIDTHS", "FaceBackbone"]

DENSE_WIDTHS: tuple[int, ...] = (8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
STAGES = (6, 12, 14)  # layer counts at which a stage ends


class FaceBackbone(nn.Module):
    """Features at strides 8, 16 and 32 with `widths[5]`, `widths[11]` and `widths[13]` channels.

    Args:
        widths: output channels of the stem and the 13 depthwise separable units; `DENSE_WIDTHS` has 213,072 parameters.
    """

    def __init__(self, widths: tuple[int, ...] = DENSE_WIDTHS) -> None:
        super().__init__()
        if len(widths) != len(STRIDES) or min(widths) < 1:
            raise ValueError(f"the backbone needs {len(STRIDES)} positive widths, got {widths}")
        self.widths = tuple(widths)
        layers = [_stem(widths[0])]
        layers += [_separable(widths[i - 1], widths[i], STRIDES[i]) for i in range(1, len(widths))]
        self.stage1 = nn.Sequential(*layers[: STAGES[0]])
        self.stage2 = nn.Sequential(*layers[STAGES[0] : STAGES[1]])
        self.stage3 = nn.Sequential(*layers[STAGES[1] :])

    @property
    def taps(self) -> tuple[int, int, int]:
        """Channels at strides 8, 16 and 32."""
        return self.widths[5], self.widths[11], self.widths[13]

    def forward(self, x: Tensor) -> list[Tensor]:
        p3 = self.stage1(x)
        p4 = self.stage2(p3)
        return [p3, p4, self.stage3(p4)]


def _stem(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.LeakyReLU(0.1))


def _separable(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, stride, 1, groups=channels_in, bias=False),
        nn.BatchNorm2d(channels_in),
        nn.LeakyReLU(0.1),
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.LeakyReLU(0.1),
    )
