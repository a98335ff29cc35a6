"""Emotion student: a small vision transformer on mel spectrograms, 11,987,144 parameters.

Source: the `MobileViTStudent` of winzerprince/sentio, of which only facts (shapes, names) are used. It holds no
MobileViT block: it is a plain transformer. Its patch embedding squeezes every 16x16x3 patch to 3 numbers, which is kept
because the checkpoints' shapes demand it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention import SelfAttention

__all__ = ["EmotionStudent"]


class EmotionStudent(nn.Module):
    """Valence and arousal of a 224x224 spectrogram.

    Args:
        width: channels of a token.
        depth: number of transformer blocks.
        heads: attention heads a block.
        hidden: channels inside a block's MLP.
        dropout: rate in training.
    """

    def __init__(
        self, width: int = 384, depth: int = 8, heads: int = 6, hidden: int = 1152, dropout: float = 0.15
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Sequential(
            nn.Conv2d(3, 3, 16, 16, groups=3, bias=False),
            nn.BatchNorm2d(3),
            nn.Conv2d(3, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.GELU(),
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 14 * 14 + 1, width))
        self.pos_drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, hidden, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(
            nn.Linear(width, width // 2), nn.GELU(), nn.Dropout(dropout), nn.Linear(width // 2, 2), nn.Tanh()
        )
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.02)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return (valence_arousal,).

        Args:
            x: (B, 3, 224, 224) float32, a z-scored mel spectrogram three times, ImageNet-normalised.

        Returns:
            (B, 2) float32, valence and arousal, -1..1.
        """
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), patches], 1) + self.pos_embed
        tokens = self.pos_drop(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        return (self.head(self.norm(tokens)[:, 0]),)


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP, both residual."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        mixed: Tensor = self.mlp(self.norm2(x))
        return x + mixed
