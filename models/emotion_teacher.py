"""Emotion teacher: ViT-B/16 with a regression head, 86,259,842 parameters.

Module names are those of Hugging Face transformers 4.x, so that its checkpoints load; the unused pooler is not built.
Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv:2010.11929; names from the public convention.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from .attention import attend

__all__ = ["EmotionTeacher", "rename_from_transformers_5"]

WIDTH, DEPTH, HEADS, HIDDEN, TOKENS = 768, 12, 12, 3072, 14 * 14 + 1
EPS = 1e-12

_LAYER = re.compile(r"^vit\.(?:encoder\.)?layers?\.(\d+)\.(.+)$")
_PARTS = {
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def rename_from_transformers_5(key: str) -> str:
    """Return the 4.x name of a state-dict key; a key that already has one comes back unchanged."""
    found = _LAYER.match(key)
    if found is None:
        return key
    part, _, leaf = found[2].rpartition(".")
    return f"vit.encoder.layer.{found[1]}.{_PARTS.get(part, part)}.{leaf}"


class EmotionTeacher(nn.Module):
    """Valence and arousal of a 224x224 spectrogram."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = ViT()
        self.head = nn.Sequential(
            nn.LayerNorm(WIDTH),
            nn.Dropout(0.1),
            nn.Linear(WIDTH, 512),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(512, 128),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(128, 2),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Return (valence_arousal,).

        Args:
            x: (B, 3, 224, 224) float32, a z-scored mel spectrogram three times, ImageNet-normalised.

        Returns:
            (B, 2) float32, valence and arousal, -1..1.
        """
        return (self.head(self.vit(x)[:, 0]),)


class ViT(nn.Module):
    """Tokens of a picture, class token first."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.encoder = Encoder()
        self.layernorm = nn.LayerNorm(WIDTH, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.layernorm(self.encoder(self.embeddings(x)))
        return tokens


class Embeddings(nn.Module):
    """Class token, patch embeddings and positions."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.position_embeddings = nn.Parameter(torch.zeros(1, TOKENS, WIDTH))
        self.patch_embeddings = PatchEmbeddings()
        nn.init.normal_(self.position_embeddings, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embeddings(x)
        return torch.cat([self.cls_token.expand(x.shape[0], -1, -1), patches], 1) + self.position_embeddings


class PatchEmbeddings(nn.Module):
    """One token a 16x16 patch."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, WIDTH, 16, 16)

    def forward(self, x: Tensor) -> Tensor:
        patches: Tensor = self.projection(x)
        return patches.flatten(2).transpose(1, 2)


class Encoder(nn.Module):
    """The transformer layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.ModuleList(EncoderLayer() for _ in range(DEPTH))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layer:
            x = layer(x)
        return x


class EncoderLayer(nn.Module):
    """Pre-norm attention and MLP, both residual."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.intermediate = Dense(WIDTH, HIDDEN)
        self.output = Dense(HIDDEN, WIDTH)
        self.layernorm_before = nn.LayerNorm(WIDTH, eps=EPS)
        self.layernorm_after = nn.LayerNorm(WIDTH, eps=EPS)
        self.gelu = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.layernorm_before(x))
        mixed: Tensor = self.output(self.gelu(self.intermediate(self.layernorm_after(x))))
        return x + mixed


class Attention(nn.Module):
    """Attention and its output projection."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = SplitAttention()
        self.output = Dense(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.output(self.attention(x))
        return out


class SplitAttention(nn.Module):
    """Attention with query, key and value projected apart."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = HEADS
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return attend(self.query(x), self.key(x), self.value(x), self.heads)


class Dense(nn.Module):
    """One linear layer under the name that the checkpoints use."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dense(x)
        return out
