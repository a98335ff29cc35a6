"""What a run was asked to do: kept with its state, so that a folder is never gone on with by mistake."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ...runtime.card import Card
from ...runtime.errors import InputError
from ..data.samples import Source
from .options import TrainOptions
from .task import Distillation, Task

__all__ = ["check_same", "request_of"]


def request_of(
    module: nn.Module,
    task: Task,
    train: Source[Any] | None,
    options: TrainOptions,
    teacher: tuple[nn.Module, Card] | None,
    how: Distillation,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a saved state must have been made for, as plain values; what is None is not known yet."""
    shapes = str([(name, tuple(value.shape)) for name, value in module.state_dict().items()])
    return {
        **options.that_matter(),
        "network": hashlib.sha256(shapes.encode()).hexdigest()[:16],
        "task": f"{type(task).__name__} {task.card.model} {task.input_hw[0]}x{task.input_hw[1]}",
        **({"training set": f"{train.label} {train.digest}"} if train is not None else {}),
        "teacher": _weights_digest(teacher[0]) if teacher else "none",
        "distillation": f"alpha {how.alpha} temperature {how.temperature}" if teacher else "none",
        **facts,
    }


def check_same(old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with a run that was asked for otherwise.

    Raises:
        InputError: the requests differ; the message names in what.
    """
    differing = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if differing:
        name = differing[0]
        others = f" (and {', '.join(differing[1:])})" if len(differing) > 1 else ""
        raise InputError(
            f"`{folder}` holds a run with another {name}{others}",
            expected=old.get(name),
            got=new.get(name),
            hint="repeat its options to go on with it, or name another folder",
        )


def _weights_digest(module: nn.Module) -> str:
    seen = hashlib.sha256()
    for name, value in module.state_dict().items():
        seen.update(name.encode())
        seen.update(value.detach().cpu().contiguous().numpy().tobytes())
    return seen.hexdigest()[:16]
