"""The optimizer, and what of a network it lets decay."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .options import TrainOptions

__all__ = ["make_optimizer"]

LEARNT_TOKENS = ("cls_token", "pos_embed", "position_embeddings")  # vectors with further axes of length 1 or of places


def make_optimizer(modules: list[nn.Module], options: TrainOptions) -> torch.optim.Optimizer:
    """Return AdamW over all parameters that are trained: matrices and kernels decay.

    Vectors (biases, norms, fusion weights), class tokens and embeddings of positions do not.
    """
    named = [pair for module in modules for pair in module.named_parameters() if pair[1].requires_grad]
    spared = [value for name, value in named if value.dim() <= 1 or name.endswith(LEARNT_TOKENS)]
    decayed = [value for name, value in named if not (value.dim() <= 1 or name.endswith(LEARNT_TOKENS))]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    # Fused AdamW cannot work with the loss scaling of half precision.
    fused = options.precision != "16-mixed"
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=options.lr, fused=fused)
