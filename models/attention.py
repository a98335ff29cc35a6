"""Multi-head self-attention from plain matmul and softmax, so that every exporter sees ordinary operators.

`nn.MultiheadAttention` takes a fused path in eval mode that ONNX and TFLite exporters cannot lower cleanly.
Source: Vaswani et al., "Attention Is All You Need", arXiv:1706.03762, eq. 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SelfAttention", "attend"]


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Return softmax(q k^T / sqrt(d)) v, heads side by side.

    Args:
        query, key, value: (B, N, C) float32; C a multiple of `heads`.
        heads: number of heads.

    Returns:
        (B, N, C) float32.
    """
    batch, tokens, width = query.shape
    depth = width // heads

    def split(x: Tensor) -> Tensor:
        return x.reshape(batch, tokens, heads, depth).transpose(1, 2)

    scores = torch.matmul(split(query) * depth**-0.5, split(key).transpose(2, 3))
    mixed = torch.matmul(scores.softmax(dim=-1), split(value))
    return mixed.transpose(1, 2).reshape(batch, tokens, width)


class SelfAttention(nn.Module):
    """Self-attention with query, key and value stacked in one projection, keys named as in `nn.MultiheadAttention`.

    Args:
        width: channels C.
        heads: number of heads; divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        out: Tensor = self.out_proj(attend(query, key, value, self.heads))
        return out
