"""A PyTorch module behind the call that engines have, so that the same code judges a checkpoint and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..runtime.card import Card
from ..runtime.errors import InputError, ShapeError

__all__ = ["torch_runner"]

Float32 = NDArray[np.float32]


def torch_runner(module: nn.Module, card: Card) -> Callable[[Float32], dict[str, Float32]]:
    """Return a function that gives a module's outputs by the card's names, as `runtime.engines.Engine.run` does.

    Args:
        module: returns a tensor, a tuple or list of them, or a mapping; it is put into eval mode and left so, and runs
            on the device and in the precision of its parameters.
        card: names the outputs, in the module's order; a mapping that has those names is read by name.

    Returns:
        Takes the input tensor, float32, the shape of the card's input, and gives float32 arrays. It raises ShapeError
        for another tensor, and InputError where the module returns something else than the card says.
    """
    module.eval()
    weights = next(module.parameters(), torch.empty(0))

    def run(tensor: Float32) -> dict[str, Float32]:
        if tensor.shape != card.input.shape:
            raise ShapeError(f"`{card.model}` takes another tensor", expected=card.input.shape, got=tensor.shape)
        with torch.no_grad():
            given = torch.from_numpy(tensor.copy())  # a network may change its input in place
            values = _values(module(given.to(weights.device, weights.dtype)), card)
            return {
                spec.name: value.detach().to("cpu", torch.float32).numpy()
                for spec, value in zip(card.outputs, values, strict=True)
            }

    return run


def _values(returned: Any, card: Card) -> list[Tensor]:
    """Return a module's outputs in the card's order."""
    names = [spec.name for spec in card.outputs]
    if isinstance(returned, Mapping):
        returned = [returned[name] for name in names] if set(names) <= set(returned) else list(returned.values())
    values = [returned] if isinstance(returned, Tensor) else returned
    if not isinstance(values, list | tuple) or not all(isinstance(value, Tensor) for value in values):
        raise InputError(f"the module of `{card.model}` returns no tensors", got=type(returned).__name__)
    if len(values) != len(names):
        raise InputError(f"`{card.model}` has another number of outputs", expected=len(names), got=len(values))
    return list(values)
