"""What is looked at beside the training loss: samples that are not trained on, and the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from ...runtime.errors import EdgeError, InputError
from ..data.samples import SampleError, Source
from ..evaluate import FAMILIES, evaluate
from ..torch_engine import torch_runner
from .task import Batch, Task

__all__ = ["CALM_DOWN", "check_finite", "family_metric", "mean_loss"]

CALM_DOWN = "lower `--lr`, or use `--precision 32-true`"


def check_finite(modules: Sequence[nn.Module], step: int) -> None:
    """Refuse networks of which a weight or a statistic is no longer a number: one backward pass can do that.

    Raises:
        EdgeError: there is one; it names the steps done.
    """
    values = [value for module in modules for value in module.state_dict().values() if value.is_floating_point()]
    if not bool(torch.stack([value.isfinite().all() for value in values]).all()):
        raise EdgeError(f"the weights are no longer numbers after step {step}", hint=CALM_DOWN)


def family_metric(module: nn.Module, task: Task, source: Source[Any], *, limit: int) -> dict[str, float]:
    """Return the metric of the task's family by its name, without an interval; nothing where the family has none.

    Args:
        module: the network.
        task: of its family.
        source: samples.
        limit: number of samples taken, from the first.

    Raises:
        EdgeError: as `evaluate` says.
    """
    if task.family not in FAMILIES:
        return {}
    metrics = evaluate(torch_runner(module, task.card), task.card, source, limit=limit, bootstrap=0)
    return {metrics.name: metrics.value}


def mean_loss(
    module: nn.Module, task: Task, source: Source[Any], *, batch: int, limit: int | None = None
) -> dict[str, float]:
    """Return the mean task loss, "total" and its parts, without augmentation; broken samples are left out.

    Args:
        module: the network; its mode is restored.
        task: of its family.
        source: samples.
        batch: samples at a time.
        limit: number of samples taken, from the first; None takes all.

    Raises:
        InputError: there is no usable sample.
    """
    device = next(module.parameters()).device
    sums: dict[str, float] = {}
    count = 0
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            for made in _validation_batches(task, source, batch, limit):
                moved = {name: value.to(device) for name, value in made.items()}
                size = len(moved["input"])
                for name, value in task.loss(task.forward(module, moved["input"]), moved).items():
                    sums[name] = sums.get(name, 0.0) + float(value) * size
                count += size
    finally:
        module.train(was_training)
    if not count:
        raise InputError("the validation set has no usable sample", got=source.label)
    return {name: value / count for name, value in sums.items()}


def _validation_batches(task: Task, source: Source[Any], batch: int, limit: int | None) -> Iterator[Batch]:
    items: list[Any] = []
    for index in range(len(source) if limit is None else min(limit, len(source))):
        try:
            items.append(task.item(source[index], None))
        except SampleError:
            continue
        if len(items) == batch:
            yield task.collate(items)
            items = []
    if items:
        yield task.collate(items)
