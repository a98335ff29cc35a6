"""Batches of training items, prepared by several processes; what is broken is replaced and told, never raised."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from ...runtime.errors import InputError
from ..data.samples import SampleError, Source
from .sampler import Key, Keys
from .task import Batch, Task

__all__ = ["SEE_BROKEN", "Broken", "Loaded", "load"]

SEE_BROKEN = "`edge data check` lists what is broken"
TRIES = 20  # samples that may stand in for a broken one


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A sample that could not be used: its index, and the line that says why."""

    index: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A batch, and the samples that others had to replace in it."""

    batch: Batch
    broken: tuple[Broken, ...]


def load(source: Source[Any], task: Task, seed: int, keys: Keys, *, workers: int, pin: bool) -> Iterator[Loaded]:
    """Yield the batches of `keys`, in order; they do not depend on the number of workers.

    Args:
        source: training samples.
        task: makes an item of a sample.
        seed: of augmentations: an item depends on the seed, its epoch and its index only.
        keys: what each batch is made of.
        workers: processes; 0 prepares in this one.
        pin: put batches into memory that a GPU copies from without waiting.

    Raises:
        InputError: no usable sample was found in `TRIES` others.
    """
    # Workers live as long as the one iterator that covers all steps.
    made: DataLoader[Any] = DataLoader(
        _Items(source, task, seed),
        batch_sampler=keys,  # type: ignore[arg-type]  # any iterable of lists of keys will do
        num_workers=workers,
        collate_fn=_Collate(task),
        pin_memory=pin,
        worker_init_fn=_end_quietly,
        prefetch_factor=4 if workers else None,
    )
    for batch, broken in made:
        if batch is None:
            raise InputError(
                f"{TRIES + 1} training samples in a row cannot be used",
                got=broken[-1][1],
                hint=SEE_BROKEN,
            )
        yield Loaded(batch=batch, broken=tuple(Broken(index=index, why=why) for index, why in broken))


class _Items(Dataset[Any]):
    """Items by (epoch, index), with the broken samples that were met on the way."""

    def __init__(self, source: Source[Any], task: Task, seed: int) -> None:
        self.source, self.task, self.seed = source, task, seed

    def __getitem__(self, key: Key) -> tuple[Any, list[tuple[int, str]]]:
        epoch, index = key
        broken: list[tuple[int, str]] = []
        for candidate in self._candidates(epoch, index):
            try:
                sample = self.source[candidate]
                return self.task.item(sample, np.random.default_rng([self.seed, epoch, index])), broken
            except SampleError as exc:
                broken.append((candidate, str(exc)))
        return None, broken

    def _candidates(self, epoch: int, index: int) -> Iterator[int]:
        yield index
        yield from np.random.default_rng([self.seed, epoch, index, 1]).integers(len(self.source), size=TRIES).tolist()


class _Collate:
    """Stack items in the worker; plain tuples come back, which every way between processes can carry."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(self, loaded: Sequence[tuple[Any, list[tuple[int, str]]]]) -> tuple[Batch | None, list[Any]]:
        items = [item for item, _ in loaded]
        # Of each chain only the last failure matters when none of its candidates was usable.
        broken = [row for item, rows in loaded for row in rows if item is not None]
        lost = [row for item, rows in loaded for row in rows if item is None]
        return (None if lost else self.task.collate(items)), broken + lost


def _end_quietly(worker: int) -> None:
    """Leave Ctrl-C, which the terminal sends to every process, to the one that ends the others.

    The thread that hands tensors over says through the hook that nobody takes them any more; samples' errors go to the
    other process and pass by it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = lambda *_: None
