"""What `edge train`, `edge distill` and `edge prune` share: options, the run, and the lines it ends in."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from .runtime.errors import InputError, MissingExtraError

__all__ = [
    "data_options",
    "interval_of",
    "resumable",
    "run_and_print",
    "size",
    "teacher_options",
    "training_options",
]

F = TypeVar("F", bound=Callable[..., Any])
SCHEMA = 1


class _RunFolder(click.Path):
    """A path that says something: an empty one, of a variable that is not set, would be the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


def data_options(command: F) -> F:
    """Add the options that say what a run sees and where it is kept."""
    return _with(command, _DATA_OPTIONS)


def training_options(command: F) -> F:
    """Add the options that every training run takes, those of its data among them."""
    return data_options(_with(command, _OPTIONS))


def teacher_options(*, required: bool) -> Callable[[F], F]:
    """Add --teacher, a name and a path or None, and the weights of the distillation."""
    teacher = click.option(
        "--teacher",
        callback=_named_checkpoint,
        required=required,
        metavar="NAME[:CHECKPOINT]",
        help="Model to learn from, with the weights it ships with or those of a file.",
    )
    return lambda command: _with(command, (teacher, *_DISTILLATION_OPTIONS))


def size(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Return the height and width that an option HxW says; the callback of such options."""
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", value)
    if not found:
        raise InputError(f"`{parameter.opts[0]} {value}` is not understood", expected="HxW, such as 320x320")
    return int(found[1]), int(found[2])


def run_and_print(
    name: str, teacher: tuple[str, Path | None] | None, as_json: bool, how: dict[str, float], **given: Any
) -> None:
    """Train as the options say and print what came of it.

    Args:
        name: of the model.
        teacher: name and checkpoint to distil from.
        as_json: print the training card as JSON.
        how: weights of the distillation, by name.
        given: the values of `training_options`; None where an option was left out.
    """
    import dataclasses

    from .models import registry

    try:
        from .models.training.recipes import recipe_for
        from .models.training.run import TrainRequest, train_model
        from .models.training.task import Distillation
    except ModuleNotFoundError as exc:
        raise MissingExtraError(
            f"training needs the package {exc.name}", hint="pip install 'edge-vision[train]'"
        ) from exc

    data, out, cache = given.pop("data"), given.pop("out"), given.pop("cache")
    count, held_out, epochs, init = (given.pop(option) for option in ("count", "held_out", "epochs", "init"))
    input_hw, qat = given.pop("input_size"), given.pop("qat")
    if epochs is not None and given["steps"] is not None:
        raise InputError("`--steps` and `--epochs` both say how long to train", hint="give one of them")
    if qat and given["precision"] not in (None, "32-true"):
        raise InputError("`--qat` trains in float32", expected="--precision 32-true", got=given["precision"])
    recipe = recipe_for(registry.get(name))
    chosen = {option: value for option, value in given.items() if value is not None}
    request = TrainRequest(
        name=name,
        data=data,
        out=out,
        options=dataclasses.replace(recipe.options, **chosen),
        epochs=epochs,
        input_hw=input_hw or recipe.input_hw,
        init=init,
        teacher=teacher,
        how=Distillation(**how),
        count=count,
        held_out=held_out,
        qat=qat,
        cache=cache,
        command=shlex.join(["edge", *sys.argv[1:]]),
    )
    with resumable():
        card = train_model(request)
    if card is None:  # another process prints
        return
    click.echo(json.dumps({"schema": SCHEMA, "training": card}, allow_nan=False) if as_json else _summary(card))


def _summary(card: dict[str, Any]) -> str:
    metrics = card["metrics"]
    lines = [
        f"{card['model']}, {card['method']}: {card['parameters']:,} parameters after {card['steps']:,} steps"
        f" and {card['hours']:.2f} h, loss {card['loss']:.4g}",
        f"{metrics['name']} {metrics['value']:.3f}{interval_of(metrics)}"
        f" on {metrics['samples']} samples of {metrics['data']}",
        *([f"{card['skipped']} broken training samples were skipped"] if card["skipped"] else []),
        f"{card['checkpoint']}, with its training card beside it",
    ]
    return "\n".join(lines)


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Say how to go on where a signal ends the run in the block."""
    try:
        yield
    except BaseException as exc:
        if not isinstance(exc, Exception):  # Ctrl-C, SIGTERM
            click.echo("stopped; the same command goes on from the last saved state", err=True)
        raise


def interval_of(metrics: dict[str, Any]) -> str:
    """Return the interval of a training card's metric, to stand behind its value; empty where there is none."""
    return "" if metrics["low"] is None else f" ({metrics['low']:.3f} to {metrics['high']:.3f})"


def _with(command: F, options: Sequence[Callable[[F], F]]) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def _named_checkpoint(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, Path | None] | None:
    if value is None:
        return None
    name, colon, path = value.partition(":")
    if colon and not path:
        raise InputError(f"`{parameter.opts[0]} {value}` names no file after the colon")
    return name, Path(path) if path else None


_DATA_OPTIONS = (
    click.option("--data", default="synthetic", show_default=True, metavar="synthetic|DIR",
                 help="What to train on: a generated set, or the folder of a data set."),
    click.option("--out", type=_RunFolder(), required=True, metavar="RUNDIR",
                 help="Folder of the run; a run that stopped there goes on."),
    click.option("--count", type=click.IntRange(1), metavar="N", help="Use N training samples at most."),
    click.option("--held-out", type=click.IntRange(1), metavar="N", help="Judge on N samples of val and test at most."),
    click.option("--data-cache", "cache", type=click.Path(path_type=Path), metavar="DIR",
                 help="Folder of rendered samples; default: edge's cache folder."),
)  # fmt: skip
_DISTILLATION_OPTIONS = (
    click.option("--alpha", type=click.FloatRange(0, 1), default=0.7, show_default=True,
                 help="Part of the loss that is the teacher's."),
    click.option("--temperature", type=click.FloatRange(0, min_open=True), default=4.0, show_default=True,
                 help="Of softened class probabilities; for families with classes."),
)  # fmt: skip
_OPTIONS = (
    click.option("--steps", type=int, help="Optimizer steps.  [default: the model's recipe, as all below]"),
    click.option("--epochs", type=click.FloatRange(0, min_open=True), help="Times the set is seen, instead of steps."),
    click.option("--batch", type=int, help="Samples of one step, over all processes."),
    click.option("--lr", type=float, help="Peak learning rate."),
    click.option("--weight-decay", type=float, help="Of AdamW; norms and biases are spared."),
    click.option("--warmup", type=int, help="Steps over which the learning rate rises."),
    click.option("--clip", type=float, help="Largest norm of the gradient; 0: none."),
    click.option("--ema", type=float, help="Decay of the moving average of the weights."),
    click.option("--precision", type=click.Choice(["bf16-mixed", "32-true", "16-mixed"]), help="Of the arithmetic."),
    click.option("--seed", type=int, help="Of everything random."),
    click.option("--workers", type=int, help="Processes that prepare samples; they do not change the result."),
    click.option("--input-size", callback=size, metavar="HxW", help="Size of training crops, pixels."),
    click.option("--init", type=click.Path(path_type=Path), metavar="CHECKPOINT", help="Start from these weights."),
    click.option("--qat", is_flag=True, help="Round to 8 bits while training, for an INT8 that loses less."),
    click.option("--save-every", type=int, metavar="N", help="Steps between saved states: what a kill costs at most."),
    click.option("--log", type=click.Choice(["csv", "tensorboard", "both"]), help="Kind of log in RUNDIR."),
    click.option("--devices", type=int, metavar="N", help="Processes here, a GPU each; `torchrun` decides for itself."),
    click.option("--json", "as_json", is_flag=True, help="Print the training card as JSON."),
)  # fmt: skip
