"""Our own emotion networks: depthwise separable residual stacks that keep frequency apart from time.

What tells emotions apart in a spectrogram lies on both axes: mode in the distances between partials, tempo in the
distances between onsets. So neither axis is halved early without need, kernels are 5x5 in front, and the end is a mean
over time alone. A convolution does not know which band it looks at; the head does: it is given the stack's features in
7 bands, and what the stem hears on average in each of its 112 rows, half a semitone each above 1 kHz. Only convolution,
batch norm, ReLU, addition, mean, concatenation and linear layers: what every INT8 toolchain quantises well.

Source: separable convolutions, Howard et al., arXiv:1704.04861; residuals, He et al., arXiv:1512.03385. The layout is
our own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["STUDENT_WIDTHS", "TEACHER_WIDTHS", "EmotionSmall"]

STUDENT_WIDTHS = (24, 32, 64, 128, 192)
TEACHER_WIDTHS = (32, 48, 128, 384, 800)

SIDE = 224
STRIDES = ((2, 1), (2, 2), (2, 2), (2, 2))  # of the first block of each stage, frequency and time; the stem halves both
ROWS = SIDE // 2  # of frequency, that the stem leaves
BANDS = ROWS // 16  # that the stages leave


class EmotionSmall(nn.Module):
    """Valence and arousal of a 224x224 spectrogram.

    Args:
        widths: channels of the stem and of the four stages.
        depth: blocks a stage.
        rows_width: channels of each of the stem's rows that the head is given.
        bands_width: channels of each of the stack's bands that the head is given.
    """

    def __init__(
        self, widths: tuple[int, ...] = STUDENT_WIDTHS, depth: int = 2, rows_width: int = 8, bands_width: int = 48
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        blocks: list[nn.Module] = []
        for index, stride in enumerate(STRIDES):
            kernel = 5 if index < 2 else 3
            blocks.append(Block(widths[index], widths[index + 1], kernel, stride))
            blocks += [Block(widths[index + 1], widths[index + 1], kernel, (1, 1)) for _ in range(depth - 1)]
        self.blocks = nn.Sequential(*blocks)
        self.rows = _pointwise(widths[0], rows_width)
        self.bands = _pointwise(widths[-1], bands_width)
        self.head = nn.Sequential(
            nn.Linear(ROWS * rows_width + BANDS * bands_width, 96),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(96, 2),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return (valence_arousal,).

        Args:
            x: (B, 3, 224, 224) float32, a z-scored mel spectrogram three times, ImageNet-normalised.

        Returns:
            (B, 2) float32, valence and arousal, -1..1.
        """
        heard = self.stem(x)
        rows = self.rows(heard.mean(3, keepdim=True))
        bands = self.bands(self.blocks(heard)).mean(3, keepdim=True)
        return (self.head(torch.cat([rows.flatten(1), bands.flatten(1)], 1)),)


class Block(nn.Module):
    """Depthwise and pointwise convolution; residual where the shapes allow it."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.residual = channels_in == channels_out and stride == (1, 1)
        self.depthwise = nn.Sequential(
            nn.Conv2d(channels_in, channels_in, kernel, stride, kernel // 2, groups=channels_in, bias=False),
            nn.BatchNorm2d(channels_in),
            nn.ReLU(),
        )
        self.pointwise = _pointwise(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise(self.depthwise(x))
        return x + y if self.residual else y


def _pointwise(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU())
