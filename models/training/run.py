"""A whole training run: data, training, the metric on the test split, a checkpoint and its card."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...runtime.card import Card
from ...runtime.errors import InputError
from ...runtime.progress import Progress, print_line
from ...runtime.trust import file_digest, private_folder
from .. import registry
from ..checkpoint import load_model
from ..data.open import SYNTHETIC
from ..data.samples import Source
from ..registry import ModelEntry
from .logs import silent
from .options import MOST, TrainOptions
from .task import Distillation

__all__ = ["TrainRequest", "alone", "load_teacher", "prepare_source", "teacher_facts", "train_model"]

# Pixels of rendered training pictures: somewhat more than the networks see, for crops and scales to draw from.
RENDERED_HW = {"pose": (192, 192), "face": (448, 448)}
FULL = "32-true"  # of rounding to 8 bits: bfloat16 would round once more


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What is to be trained, on what.

    Attributes:
        name: of a registered model.
        data: "synthetic", or the folder of a data set.
        out: folder of the run; it takes checkpoint, card, logs and saved states.
        options: of the training.
        epochs: times the training set is seen, instead of `options.steps`.
        input_hw: height and width of the training crops, pixels; None takes the card's.
        init: checkpoint to start from; None starts from random weights.
        teacher: name and checkpoint of the model to distil from; without a checkpoint the one that it ships with.
        how: weights of the distillation.
        count: training samples at most; None takes the whole split.
        held_out: samples of "val" and of "test" at most; None takes all.
        qat: round weights and activations to 8 bits while training, in float32 whatever `options` say; see `qat`.
        cache: folder of rendered samples; None takes one in edge's cache folder.
        command: what the training card says was typed.
    """

    name: str
    data: str
    out: Path
    options: TrainOptions
    epochs: float | None = None
    input_hw: tuple[int, int] | None = None
    init: Path | None = None
    teacher: tuple[str, Path | None] | None = None
    how: Distillation = Distillation()  # noqa: RUF009 - frozen
    count: int | None = None
    held_out: int | None = None
    qat: bool = False
    cache: Path | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if self.epochs is not None and not 0 < self.epochs <= MOST:
            raise InputError("`epochs` is out of range", expected=f"above 0, at most {MOST:,}", got=self.epochs)


def train_model(request: TrainRequest, *, say: Callable[[str], None] | None = None) -> dict[str, Any] | None:
    """Train a model, or go on with the run in `request.out`; write `<name>.safetensors` and its training card there.

    Args:
        request: what to do.
        say: takes lines of progress; None prints on stderr.

    Returns:
        The training card, with `checkpoint`, its path; None in all processes but the first.

    Raises:
        EdgeError: as `prepare_source`, `fit` and `evaluate` say.
    """
    from ...runtime.metrics_pose import check_installed
    from ..evaluate import evaluate
    from ..torch_engine import torch_runner
    from .loop import fit
    from .qat import finish_qat, start_qat
    from .ranks import start_ranks
    from .request import check_same, request_of
    from .state import load_state
    from .tasks import task_for
    from .training_card import read_training_card, write_checkpoint

    entry = registry.get(request.name)
    card = entry.card(None)
    if request.input_hw is not None:
        entry.card(request.input_hw)  # refuses a size that does not fit
    if entry.family == "pose":
        check_installed()  # what judges the result, hours from now
    task = task_for(card, request.input_hw)
    options = dataclasses.replace(request.options, precision=FULL) if request.qat else request.options
    module = _start(entry, request.init, options.seed)
    if request.qat:
        start_qat(module)
    teacher = load_teacher(request.teacher, entry) if request.teacher else None
    facts = {"start": file_digest(request.init) if request.init else "random", "qat": request.qat}
    asked = request_of(module, task, None, options, teacher, request.how, facts)
    if request.epochs is not None:
        del asked["steps"]  # known when the samples are counted

    fabric = start_ranks(options)
    first = fabric.is_global_zero
    tell = (say or print_line) if first else silent
    with alone(request.out) if first else contextlib.nullcontext():
        if state := load_state(request.out, silent):  # before anything is rendered; `fit` looks at the rest
            check_same({name: state["request"].get(name) for name in asked}, asked, request.out)
        with fabric.rank_zero_first():
            train, val, test = (
                prepare_source(
                    entry.family,
                    request.data,
                    split,
                    card,
                    options.seed,
                    request.count,
                    held_out=request.held_out,
                    workers=options.workers,
                    cache=request.cache,
                    say=tell,
                )
                for split in ("train", "val", "test")
            )
        if request.epochs is not None:
            options = dataclasses.replace(options, steps=math.ceil(request.epochs * len(train) / options.batch))
        result = fit(
            module,
            task,
            train,
            options,
            request.out,
            val=val,
            teacher=teacher,
            how=request.how,
            facts=facts,
            say=say,
        )
        if not first:
            return None
        if request.qat:
            finish_qat(result.module)
        tell(f"judging {len(test)} samples: {test.label}")
        with Progress("judging", len(test), quiet=say is not None) as progress:
            metrics = evaluate(torch_runner(result.module, card), card, test, seed=options.seed, tick=progress.at)
        told = {
            "model": entry.name,
            "method": "distilled" if teacher else "plain",
            "data": {"label": train.label, "digest": train.digest, "synthetic": request.data == SYNTHETIC},
            "seed": options.seed,
            "command": request.command,
            "steps": result.steps,
            "options": {
                **options.that_matter(),
                "input_hw": list(task.input_hw),
                "processes": fabric.world_size,
                **facts,
            },
            "teacher": teacher_facts(request.teacher, request.how) if request.teacher else None,
            "loss": result.loss,
            "val": dict(result.val),
            "metrics": metrics.to_dict(),
            "skipped": result.broken,
            "hours": result.hours,
        }
        path = write_checkpoint(request.out, entry.name, result.module, told)
        return {**(read_training_card(path) or {}), "checkpoint": str(path)}


def prepare_source(
    family: str,
    where: str,
    split: str,
    card: Card,
    seed: int,
    count: int | None = None,
    *,
    held_out: int | None = None,
    hw: tuple[int, int] | None = None,
    workers: int = 1,
    cache: Path | None = None,
    say: Callable[[str], None],
) -> Source[Any]:
    """Return one split of a data set, ready for the family's task: rendered once where that takes longer than reading.

    Args:
        family: "pose", "face" or "emotion".
        where: "synthetic" or a folder.
        split: "train", "val" or "test".
        card: of the network; sound becomes the spectrograms that it takes.
        seed: of a synthetic set.
        count: samples of the training split at most; None takes all.
        held_out: samples of the other splits at most; None takes all, of a synthetic set its default number.
        hw: size of synthetic pictures, pixels; None renders training and validation pictures somewhat larger than the
            networks see, and test pictures as varied as the set's own default.
        workers: processes that render.
        cache: folder of rendered samples; None takes one in edge's cache folder.
        say: takes lines of progress.

    Raises:
        InputError: there is no such data set, or the cache folder cannot be used.
    """
    from ..data.cache import cached
    from ..data.open import open_source

    synthetic = where == SYNTHETIC
    if synthetic and hw is None and split != "test":
        hw = RENDERED_HW.get(family)
    wanted = count if split == "train" else held_out
    source: Source[Any] = open_source(family, where, split=split, seed=seed, count=wanted, hw=hw)
    if family == "emotion":
        from ..data.synthetic_music import Spectrograms

        source = Spectrograms(source, card.input)
    if not synthetic and family != "emotion":
        return source
    return cached(source, cache or _cache_folder(), workers=max(workers, 1), say=say)


def _cache_folder() -> Path:
    try:
        return private_folder("samples")
    except OSError as exc:
        raise InputError(
            "the cache folder cannot be used", got=exc.strerror or str(exc), hint="name one with --data-cache"
        ) from exc


def _start(entry: ModelEntry, init: Path | None, seed: int) -> nn.Module:
    if init is not None:
        return load_model(entry, init)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return entry.build()


def load_teacher(wanted: tuple[str, Path | None], student: ModelEntry) -> tuple[nn.Module, Card]:
    """Return a teacher's network and card.

    Args:
        wanted: its name and checkpoint; None takes the one that it ships with.
        student: what it is to teach.

    Raises:
        InputError: it is of another family, or ships without weights and no checkpoint was named.
        CheckpointError: the checkpoint is not its own.
    """
    entry = registry.get(wanted[0])
    if entry.family != student.family:
        raise InputError(f"`{entry.name}` cannot teach `{student.name}`", expected=student.family, got=entry.family)
    return load_model(entry, _teacher_file(wanted))[0], entry.card(None)


def teacher_facts(wanted: tuple[str, Path | None], how: Distillation) -> dict[str, Any]:
    """Return what a training card says of a teacher: model, file and SHA-256 of its checkpoint, weights of the loss.

    Args:
        wanted: its name and checkpoint; None takes the one that it ships with.
        how: weights of the distillation.

    Raises:
        InputError: it ships without weights and no checkpoint was named.
    """
    path = _teacher_file(wanted)
    return {"model": wanted[0], "checkpoint": path.name, "sha256": file_digest(path), **dataclasses.asdict(how)}


def _teacher_file(wanted: tuple[str, Path | None]) -> Path:
    from ..shipped import shipped

    name, path = wanted
    if path is not None:
        return path
    found = shipped(name)
    if found is None:
        raise InputError(f"`{name}` ships without weights", hint=f"name a checkpoint: --teacher {name}:FILE")
    return found.path


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder for this process; it is let go however the process ends, and not left behind empty."""
    fresh = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("w")
    except OSError as exc:
        raise InputError(f"`{folder}` cannot be written", got=exc.strerror, hint="name another with --out") from exc
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise InputError(
                f"`{folder}` is in use by another run", hint="wait for it, or name another folder"
            ) from exc
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if fresh and [path.name for path in folder.iterdir()] == [".lock"]:
                    (folder / ".lock").unlink()
                    folder.rmdir()
