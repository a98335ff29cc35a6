"""A moving average of a network's weights and statistics: what is evaluated and kept."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

__all__ = ["MovingAverage"]


class MovingAverage:
    """Exponential moving average of parameters and float buffers (BatchNorm's among them); others are copied.

    Args:
        module: the network as it is before training; copied.
        decay: 0..1; warmed up, so that a short run does not keep its random start: at step t it is
            min(decay, (1 + t) / (10 + t)).

    Source:
        Decay warm-up as in `tf.train.ExponentialMovingAverage`, argument `num_updates`.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after step `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine, theirs = self.module.state_dict(), module.state_dict()
        kept: list[Tensor] = []
        new: list[Tensor] = []
        for name, value in mine.items():
            if value.is_floating_point():
                kept.append(value)
                new.append(theirs[name])
            else:
                value.copy_(theirs[name])
        torch._foreach_lerp_(kept, new, 1 - decay)
