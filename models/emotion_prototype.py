"""Emotion prototype: a depthwise separable stack on mel spectrograms, 81,154 parameters.

Source: the prototype of winzerprince/sentio, of which only facts (shapes, names) are used.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

__all__ = ["EmotionPrototype"]


class EmotionPrototype(nn.Module):
    """Valence and arousal of a 224x224 spectrogram."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
        super().__init__()
        self.conv_stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, 1), nn.BatchNorm2d(widths[0]), nn.ReLU())
        self.blocks = nn.ModuleList(_separable(a, b) for a, b in pairwise(widths))
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(widths[-1], 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 2), nn.Tanh()
        )

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return (valence_arousal,).

        Args:
            x: (B, 3, 224, 224) float32, a z-scored mel spectrogram three times, ImageNet-normalised.

        Returns:
            (B, 2) float32, valence and arousal, -1..1.
        """
        x = self.conv_stem(x)
        for block in self.blocks:
            x = block(x)
        return (self.head(x.mean((2, 3), keepdim=True)),)


def _separable(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, 2, 1, groups=channels_in),
        nn.BatchNorm2d(channels_in),
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, 1),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
