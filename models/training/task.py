"""What a family brings to the training loop: how a sample becomes tensors, and what is to be made small."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...runtime.card import Card
from ...runtime.errors import InputError

__all__ = ["Batch", "Distillation", "Outputs", "Task"]

Batch = dict[str, Tensor]
Outputs = dict[str, Tensor]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How much of a teacher goes into the loss: total = alpha * teacher part + (1 - alpha) * task part.

    Attributes:
        alpha: 0..1.
        temperature: of the softened class probabilities, > 0; families without classes ignore it.
    """

    alpha: float = 0.7
    temperature: float = 4.0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise InputError("`alpha` is out of range", expected="0 to 1", got=self.alpha)
        if not 0 < self.temperature < math.inf:
            raise InputError("`temperature` must be above 0 and finite", got=self.temperature)


class Task(ABC):
    """One family's part of training; holds no state that changes.

    Args:
        card: of the network that is trained.
        input_hw: height and width that it is trained at, pixels; None takes the card's.
    """

    family: ClassVar[str]

    def __init__(self, card: Card, input_hw: tuple[int, int] | None = None) -> None:
        self.card = card
        self.input_hw = input_hw or card.input.hw

    @abstractmethod
    def item(self, sample: Any, rng: np.random.Generator | None) -> Arrays:
        """Return one training item: arrays of shapes that are the same for every sample.

        Args:
            sample: of the family's `Source`.
            rng: source of every augmentation; None takes none, for validation.

        Returns:
            "input" (C, H, W) float32 as the network takes it, and whatever `loss` needs.
        """

    def collate(self, items: Sequence[Arrays]) -> Batch:
        """Return a batch: each array of the items stacked along a new first axis."""
        return {name: torch.from_numpy(np.stack([item[name] for item in items])) for name in items[0]}

    @abstractmethod
    def forward(self, module: nn.Module, inputs: Tensor) -> Outputs:
        """Return the network's outputs by name, in the form that `loss` takes, whether it is in training mode or not.

        Args:
            module: the network, possibly wrapped for several processes: call it, do not reach into it.
            inputs: (B, C, H, W) float32.
        """

    @abstractmethod
    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the task loss as float32 scalars: "total", and its parts for the log."""

    @abstractmethod
    def teacher_inputs(self, inputs: Tensor, teacher: Card) -> Tensor:
        """Return a student's batch as a teacher of another contract takes it: its scale, colour order and size."""

    @abstractmethod
    def distill(self, outputs: Outputs, teacher: Outputs, batch: Batch, how: Distillation) -> dict[str, Tensor]:
        """Return "total", alpha * teacher part + (1 - alpha) * task loss, and the parts for the log.

        Args:
            outputs: of the student.
            teacher: of the teacher, detached, from `forward` on `teacher_inputs`.
            batch: as for `loss`.
            how: weights.
        """

    def adapter(self, student: nn.Module, teacher: nn.Module) -> nn.Module | None:
        """Return what is trained beside the student to compare inner features, or None; it is thrown away at the end.

        Where there is one, the loop calls `adapter(outputs)` on the student's outputs before `distill`, which gives
        the outputs it returns.
        """
        return None
