"""Which samples a step trains on: a pure function of seed and step, so that a resumed run cannot tell the difference.

Samples come in epochs, each a permutation of its own; batches follow one another without a gap, so that a batch may
hold the end of one epoch and the start of the next, and a set may be smaller than a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from ...runtime.errors import InputError

__all__ = ["Key", "Keys", "seed_torch"]

Key = tuple[int, int]  # epoch, index


class Keys:
    """The keys of every batch of one process.

    Args:
        size: samples of the source.
        batch: samples of a step over all processes.
        seed: of the permutations.
        start, steps: first step, and the one after the last.
        rank, world: number of this process, and of all.
    """

    def __init__(
        self, size: int, batch: int, seed: int, *, start: int, steps: int, rank: int = 0, world: int = 1
    ) -> None:
        if size < 1:
            raise InputError("the training set is empty")
        if batch % world:
            raise InputError(
                "the batch does not divide over the processes", expected=f"a multiple of {world}", got=batch
            )
        self.size, self.batch, self.seed = size, batch, seed
        self.start, self.steps, self.rank, self.world = start, steps, rank, world

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        return (self.of_step(step) for step in range(self.start, self.steps))

    def of_step(self, step: int) -> list[Key]:
        """Return this process's part of the batch of a step: every `world`-th sample."""
        places = range(step * self.batch + self.rank, (step + 1) * self.batch, self.world)
        return [
            (place // self.size, int(_permutation(self.seed, place // self.size, self.size)[place % self.size]))
            for place in places
        ]


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(size)


def seed_torch(seed: int, step: int, rank: int) -> None:
    """Seed what torch draws in one step of one process, such as dropout."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> 1))
