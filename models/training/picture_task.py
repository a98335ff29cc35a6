"""What training on pictures has in common, whatever is looked for in them."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from ...runtime.card import Card, InputSpec
from ...runtime.errors import InputError
from .task import Task

__all__ = ["PictureTask", "takes_colour"]


class PictureTask(Task):
    """A task whose network takes pictures.

    Args:
        card: of the network that is trained.
        input_hw: height and width that it is trained at, pixels, multiples of `stride`; None takes the card's.

    Raises:
        InputError: the card does not take pictures in three colours as (1, 3, H, W), or the size does not fit.
    """

    stride: ClassVar[int]  # pixels

    def __init__(self, card: Card, input_hw: tuple[int, int] | None = None) -> None:
        super().__init__(card, input_hw)
        spec, word = card.input, f"a {self.family} network"
        if not takes_colour(spec) or spec.layout != "NCHW":
            raise InputError(f"{word} is trained on pictures (1, 3, H, W)", got=f"{spec.kind} {spec.shape}")
        if min(self.input_hw) < self.stride or any(side % self.stride for side in self.input_hw):
            raise InputError(f"{word} needs sides that are multiples of {self.stride}", got=self.input_hw)
        self.spec = replace(spec, shape=(1, 3, *self.input_hw))

    def in_contract(self, inputs: Tensor, other: InputSpec) -> Tensor:
        """Return a batch with the colour order, mean and deviation of another input; `inputs` if they are the same.

        Args:
            inputs: (B, 3, H, W) float32.
            other: of pictures in three colours.
        """
        mine = self.spec
        if (other.colour, other.mean, other.std) == (mine.colour, mine.mean, mine.std):
            return inputs
        pixels = inputs * _per_channel(mine.std, inputs) + _per_channel(mine.mean, inputs)
        if other.colour != mine.colour:
            pixels = pixels.flip(1)
        return (pixels - _per_channel(other.mean, inputs)) / _per_channel(other.std, inputs)


def takes_colour(spec: InputSpec) -> bool:
    """Return whether an input is a picture in three colours."""
    return spec.kind == "image" and spec.channels == 3 and spec.colour != "GRAY"


def _per_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]
