"""The training loop that all families share: mixed precision, moving average, one process or many, exact resume.

Whatever is random depends on the seed, the step and the sample alone, so that a run that was killed goes on as if it
had not been, and the number of workers changes nothing.
"""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...runtime.card import Card
from ...runtime.errors import EdgeError, InputError
from ..data.samples import Source
from .ema import MovingAverage
from .loader import SEE_BROKEN, Broken, Loaded, load
from .logs import CsvLog, Log, Progress, open_logs, silent
from .optimizer import make_optimizer
from .options import FitResult, TrainOptions, learning_rate
from .ranks import start_ranks
from .request import check_same, request_of
from .sampler import Keys, seed_torch
from .state import load_state, save_state
from .task import Batch, Distillation, Task
from .validate import CALM_DOWN, check_finite, family_metric, mean_loss

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["FitResult", "TrainOptions", "fit", "mean_loss"]

FLUSH_EVERY = 20  # steps between two looks at the losses: each one waits for the device
NAMED = 5  # broken samples that are named in the log
VAL_LOSS_SAMPLES = 512
VAL_METRIC_SAMPLES = 100
MAX_RECENT = 50


def fit(
    module: nn.Module,
    task: Task,
    train: Source[Any],
    options: TrainOptions,
    folder: Path,
    *,
    val: Source[Any] | None = None,
    teacher: tuple[nn.Module, Card] | None = None,
    how: Distillation = Distillation(),  # noqa: B008 - frozen
    after_step: Callable[[int, nn.Module], None] | None = None,
    facts: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> FitResult:
    """Train a network, or go on where an earlier call with the same folder stopped.

    `folder` then holds the last two states, `log.csv` (or TensorBoard's events) and, with a validation set, `val.csv`.
    A finished run is not trained again. Only the first of several processes writes.

    Args:
        module: the network; its weights are the start and, at the end, the result.
        task: how samples become tensors and losses.
        train: training samples; the broken ones are replaced, and counted.
        options: see there.
        folder: of the run; made if it is absent.
        val: validation samples.
        teacher: network and card to distil from; plain training without.
        how: weights of the distillation.
        after_step: called with the steps done and the network after each step, before the moving average sees it.
        facts: what else tells this run from another, plain JSON values.
        say: takes lines of progress; None prints on stderr.

    Raises:
        MissingExtraError: lightning-fabric or TensorBoard is not installed.
        InputError: the folder holds a run of another request, or no whole state of its own; the set is empty, or most
            of it is broken.
        EdgeError: the loss, or a weight, is no longer a number.
        OSError: there is no room for the state or the logs.
    """
    fabric = start_ranks(options)
    request = request_of(module, task, train, options, teacher, how, facts or {})
    with torch.random.fork_rng(devices=[]):
        run = _Run(fabric, module, task, options, folder, teacher, how)
        try:
            run.resume(request, say)
            run.train(train, val, after_step, request)
        finally:
            run.close()
        return run.result(module)


class _Run:
    """One process's networks, optimizer, logs and counts."""

    def __init__(
        self,
        fabric: Fabric,
        module: nn.Module,
        task: Task,
        options: TrainOptions,
        folder: Path,
        teacher: tuple[nn.Module, Card] | None,
        how: Distillation,
    ) -> None:
        self.fabric, self.task, self.options, self.folder, self.how = fabric, task, options, folder, how
        seed_torch(options.seed, 0, 0)  # an adapter starts from random weights
        self.teacher = teacher
        self.adapter = adapter = task.adapter(module, teacher[0]) if teacher else None
        if teacher:
            fabric.to_device(teacher[0].eval())
        fabric.to_device(module.train())
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
        self.average = MovingAverage(module, options.ema)
        self.network = module
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(module))  # type: ignore[no-untyped-call]
        self.trained = [part for part in (self.network, adapter) if part is not None]
        self.optimizer = make_optimizer(self.trained, options)
        self.wrapped = fabric.setup_module(self.network)
        self.wrapped_adapter = fabric.setup_module(adapter) if adapter is not None else None
        self.stepper: Any = fabric.setup_optimizers(self.optimizer)
        self.step = self.resumed = 0
        self.seconds = 0.0
        self.broken: set[int] = set()
        self.recent: list[float] = []
        self.val: dict[str, float] = {}
        self.pending: list[tuple[int, float, float, dict[str, Tensor]]] = []
        self.logs: list[Log] = []
        self.val_logs: list[Log] = []

    # --- resume ---------------------------------------------------------------

    def resume(self, request: dict[str, Any], say: Callable[[str], None] | None) -> None:
        """Take up the saved state, if there is one, and cut the logs to it."""
        first, options = self.fabric.is_global_zero, self.options
        if first:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.fabric.barrier()
        notes: list[str] = []
        if state := load_state(self.folder, notes.append):
            check_same(state["request"], request, self.folder)
            self._restore(state)
        self.fabric.barrier()  # the first process writes from here on
        if first:
            self.logs = open_logs(self.folder, options.log, self.step, "train")
            self.val_logs = open_logs(self.folder, options.log, self.step - self._unjudged, "val")
        self.progress = Progress(options.steps, self.step, options.batch, say if first else silent)
        lacking = [log for log in self.logs if isinstance(log, CsvLog) and log.last < self.step]
        for note in [*notes, *(f"`{log.path}` lacks the steps {log.last + 1} to {self.step}" for log in lacking)]:
            self.progress.line(note)
        if self.resumed and self.step < options.steps:
            self.progress.line(f"resuming at step {self.step} of {options.steps}")

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.module.load_state_dict(state["average"])
        if self.adapter is not None:
            self.adapter.load_state_dict(state["adapter"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.step = self.resumed = state["step"]
        self.seconds, self.recent, self.val = state["seconds"], state["recent"], state["val"]
        self.broken = set(state["broken"])

    def save(self, request: dict[str, Any]) -> None:
        """Write the state; only the first process does, with what all have met."""
        if self.fabric.world_size > 1:
            met: list[Any] = [None] * self.fabric.world_size
            torch.distributed.all_gather_object(met, self.broken)
            self.broken = set().union(*met)
        if self.fabric.is_global_zero:
            values = {
                "request": request,
                "step": self.step,
                "seconds": self.seconds,
                "recent": self.recent,
                "val": self.val,
                "broken": sorted(self.broken),
                "network": self.network.state_dict(),
                "average": self.average.module.state_dict(),
                "adapter": self.adapter.state_dict() if self.adapter is not None else {},
                "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
            }
            for log in self.logs + self.val_logs:
                log.sync()  # first, so that a power cut leaves no log that is behind its state
            save_state(self.folder, self.step, values)

    # --- train ----------------------------------------------------------------

    def train(
        self,
        train: Source[Any],
        val: Source[Any] | None,
        after_step: Callable[[int, nn.Module], None] | None,
        request: dict[str, Any],
    ) -> None:
        """Do the steps that are left."""
        options, rank, world = self.options, self.fabric.global_rank, self.fabric.world_size
        if self.resumed and self._unjudged and val is not None:
            self._validate(val)
            self.save(request)
        keys = Keys(
            len(train), options.batch, options.seed, start=self.step, steps=options.steps, rank=rank, world=world
        )
        if not len(keys):
            return
        before, began = self.seconds, monotonic()
        pin = self.fabric.device.type == "cuda"
        for loaded in load(train, self.task, options.seed, keys, workers=options.workers, pin=pin):
            self._count_broken(loaded.broken, len(train))
            rate = learning_rate(options, self.step)
            parts = self._one_step(loaded, rate)
            self.step += 1
            if after_step is not None:
                after_step(self.step, self.network)
            self.average.update(self.network, self.step)
            self.seconds = before + monotonic() - began
            self.pending.append((self.step, rate, self.seconds, parts))
            last = self.step == options.steps
            save = last or self.step % options.save_every == 0
            if save or len(self.pending) == FLUSH_EVERY or (self.progress.due and world == 1):
                self._flush(len(train))
            judges = val if self._due else None
            if save or judges is not None:
                check_finite([*self.trained, self.average.module], self.step)
            if judges is not None:
                self.val = {}
                if save:  # first, for validation takes long, and may fail
                    self.save(request)
                self._validate(judges)
            if save:
                self.save(request)

    def _one_step(self, loaded: Loaded, rate: float) -> dict[str, Tensor]:
        seed_torch(self.options.seed, self.step, self.fabric.global_rank)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch: Batch = self.fabric.to_device(loaded.batch)
        if batch["input"].dim() == 4:
            batch["input"] = batch["input"].contiguous(memory_format=torch.channels_last)
        parts = self._loss(batch)
        self.fabric.backward(parts["total"])
        if self.options.clip:  # one norm over all that the optimizer holds: network and adapter
            self.fabric.clip_gradients(self.wrapped, self.stepper, max_norm=self.options.clip, error_if_nonfinite=False)
        self.stepper.step()
        self.stepper.zero_grad()
        return {name: value.detach() for name, value in parts.items()}

    def _loss(self, batch: Batch) -> dict[str, Tensor]:
        outputs = self.task.forward(self.wrapped, batch["input"])
        if self.teacher is None:
            return self.task.loss(outputs, batch)
        network, card = self.teacher
        with torch.no_grad(), self.fabric.autocast():
            wanted = self.task.forward(network, self.task.teacher_inputs(batch["input"], card))
        if self.wrapped_adapter is not None:
            outputs = self.wrapped_adapter(outputs)
        return self.task.distill(outputs, {name: value.float() for name, value in wanted.items()}, batch, self.how)

    def _count_broken(self, met: tuple[Broken, ...], size: int) -> None:
        for broken in met:
            if broken.index in self.broken:
                continue
            self.broken.add(broken.index)
            if len(self.broken) <= NAMED:
                self.progress.line(f"skipped: {broken.why}")
            elif len(self.broken) == NAMED + 1:
                self.progress.line("more broken samples are skipped; the total comes at the end")
            if len(self.broken) > size / 2:
                raise InputError("more than half of the training samples are broken", got=broken.why, hint=SEE_BROKEN)

    def _flush(self, size: int) -> None:
        """Read the losses of the last steps from the device, mean over the processes, into the logs."""
        names = list(self.pending[0][3])
        values = torch.stack([torch.stack([parts[name].float() for name in names]) for *_, parts in self.pending])
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(values)
            values /= self.fabric.world_size
        rows: list[Mapping[str, float]] = []
        for (step, rate, seconds, _), numbers in zip(self.pending, values.tolist(), strict=True):
            losses = dict(zip(names, numbers, strict=True))
            if not math.isfinite(losses["total"]):
                raise EdgeError(f"the loss is {losses['total']} at step {step}", hint=CALM_DOWN)
            epoch = (step - 1) * self.options.batch // size
            rows.append({"step": step, "epoch": epoch, "lr": rate, **losses, "seconds": seconds})
            self.recent.append(losses["total"])
        kept = min(max(self.options.steps // 10, 1), MAX_RECENT)
        self.recent = self.recent[-kept:]
        self.pending = []
        for log in self.logs:
            log.write(rows)
        if self.progress.due:
            self.progress.update(self.step, losses, rate)

    # --- validate -------------------------------------------------------------

    @property
    def _due(self) -> bool:
        """Whether the network is to be validated at this step."""
        every = self.options.validate_every
        return self.step == self.options.steps or bool(every and self.step % every == 0)

    @property
    def _unjudged(self) -> bool:
        """Whether the run stopped between the save before a validation and the one after it."""
        return self._due and not self.val

    def _validate(self, val: Source[Any]) -> None:
        if self.fabric.is_global_zero:
            found = mean_loss(self.average.module, self.task, val, batch=self.options.batch, limit=VAL_LOSS_SAMPLES)
            self.val = {**found, **family_metric(self.average.module, self.task, val, limit=VAL_METRIC_SAMPLES)}
            for log in self.val_logs:
                log.write([{"step": self.step, **self.val}])
            numbers = " ".join(f"{name} {value:.4g}" for name, value in self.val.items())
            self.progress.line(f"step {self.step}/{self.options.steps}  validation: {numbers}")
        self.fabric.barrier()

    # --- end ------------------------------------------------------------------

    def close(self) -> None:
        """Close the logs."""
        for log in self.logs + self.val_logs:
            log.close()
        if hasattr(self, "progress"):
            self.progress.wipe()

    def result(self, module: nn.Module) -> FitResult:
        """Put the moving average into the network that `fit` was given."""
        module.load_state_dict(self.average.module.state_dict())
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # not in torch's stubs
        if self.broken:
            self.progress.line(f"{len(self.broken)} training samples are broken and were skipped")
        tensorboard = self.options.log == "tensorboard"
        return FitResult(
            module=module.cpu().eval(),
            steps=self.step,
            loss=statistics.fmean(self.recent),
            hours=self.seconds / 3600,
            val=dict(self.val),
            log=self.folder / ("tensorboard" if tensorboard else "log.csv"),
            broken=len(self.broken),
            resumed=self.resumed,
        )
