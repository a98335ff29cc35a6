"""Pruning from end to end: search the rates, prune softly, remove and fine-tune. What is done is not done again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from ...runtime.card import Card
from ...runtime.errors import EdgeError, InputError
from ...runtime.progress import Progress, print_line
from ...runtime.trust import file_digest
from .. import registry
from ..checkpoint import load_model
from ..data.open import SYNTHETIC, parted
from ..data.samples import Source
from ..face_nanob import NanoB, NanoBWidths, nanob_widths
from ..training.logs import silent
from ..training.options import FitResult
from ..training.task import Task
from .fpgm import Criterion, choose
from .groups import Group
from .removal import remove
from .request import Method, PruneRequest
from .run_folder import REPORT, REQUEST, SEARCHED, SOFT, compare, read_json, read_rates, write_json
from .search import search
from .soft import SoftPruner
from .widths import count_macs, count_parameters, uniform_rates, widths_for

__all__ = ["PRUNED", "prune_model"]

PRUNED = "face-nanob"  # the registered model that takes any widths
SOFT_EPOCHS = 5  # between two choices, as in B-FPGM; in a short run a tenth of it
RATES = ("widths", "parameters", "trials")  # what is in them, besides the rates
REPORTED = ("rates", "widths", "dense", "pruned", "trials")


def prune_model(request: PruneRequest, *, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Prune a network, or go on with the run in `request.out`.

    Args:
        request: what to do.
        say: takes lines of progress; None prints on stderr.

    Returns:
        the report: `rates`, `widths`, and rows "dense" and "pruned" with parameters, multiply-adds at the nominal size,
        bytes of the checkpoint, and metric; `checkpoint`, the path of the result. After `search_only`: the search.

    Raises:
        EdgeError: as `search`, `fit` and `evaluate` say.
    """
    from ..training.run import alone
    from ..training.training_card import read_training_card

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("pruning runs in one process", hint="share the search instead, by --storage and --search-only")
    with alone(request.out):
        run = _Run(request, say or print_line)
        report_file, checkpoint = request.out / REPORT, request.out / f"{PRUNED}.safetensors"
        # A folder may have been moved since, or what is in it deleted.
        if not request.search_only and report_file.exists() and read_training_card(checkpoint) is not None:
            return {**read_json(report_file, *REPORTED), "checkpoint": str(checkpoint)}
        run.claim()
        found = run.rates()
        if request.search_only:
            return found
        smaller, soft_hours = run.soften({Group(name): rate for name, rate in found["rates"].items()})
        report = run.finish(smaller, found, soft_hours)
        write_json(report_file, report)
        return report


class _Run:
    """What all phases need: networks, samples, task."""

    def __init__(self, request: PruneRequest, say: Callable[[str], None]) -> None:
        self.request, self.say = request, say
        self.entry = registry.get(request.name)
        module, _ = load_model(self.entry, request.checkpoint)
        if not isinstance(module, NanoB):
            raise InputError(f"model `{request.name}` cannot be pruned", expected="one of the Nano-B family")
        self.dense, self.widths = module, nanob_widths(module.state_dict())
        self.card: Card = self.entry.card(None)
        if request.input_hw is not None:
            self.entry.card(request.input_hw)  # refuses a size that does not fit
        self.teacher: tuple[nn.Module, Card] | None = None
        if request.teacher:
            from ..training.run import load_teacher

            self.teacher = load_teacher(request.teacher, registry.get(PRUNED))  # now: a refusal must not cost hours
        self.facts = self._facts()
        compare(request.out, self._wanted(), request.budget if request.method == Method.BFPGM else None)
        for left in request.out.glob("trial-*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)

    @functools.cached_property
    def task(self) -> Task:
        from ..training.tasks import task_for

        return task_for(self.card, self.request.input_hw)

    @functools.cached_property
    def train(self) -> Source[Any]:
        return self._source("train")

    @functools.cached_property
    def val(self) -> Source[Any]:
        return self._source("val")

    @functools.cached_property
    def search_sets(self) -> tuple[Source[Any], Source[Any]]:
        """What a candidate of the search is trained on, and what judges it.

        Of a folder these are 80 and 20 % of its training pictures, as in B-FPGM: "val" may be what the result is judged
        on. A synthetic set has pictures of their own for each.
        """
        if self.request.data == SYNTHETIC:
            return self.train, self.val
        return parted(self.train, self.request.options.seed)

    def _source(self, split: str) -> Source[Any]:
        from ..training.run import prepare_source

        request = self.request
        return prepare_source(
            "face",
            request.data,
            split,
            self.card,
            request.options.seed,
            request.count,
            held_out=request.held_out,
            workers=request.options.workers,
            cache=request.cache,
            say=self.say,
        )

    def _facts(self) -> dict[str, Any]:
        """Return what the search's answers depend on, as plain values."""
        request = self.request
        return {
            "model": request.name,
            "checkpoint": file_digest(request.checkpoint),
            "data": request.data,
            "count": request.count,
            "held_out": request.held_out,
            "goal": [request.goal.low, request.goal.high],
            "search_steps": request.search_steps,
            "input_hw": list(self.entry.card(request.input_hw).input.hw),
            **{f"option {name}": value for name, value in request.options.that_matter().items() if name != "steps"},
        }

    def claim(self) -> None:
        """Note whose folder this is, now that all that was asked for is there."""
        _ = self.train, self.val
        write_json(self.request.out / REQUEST, self._wanted())

    def _wanted(self) -> dict[str, Any]:
        request = self.request
        rest = {
            "method": str(request.method),
            "soft_steps": request.soft_steps,
            "finetune_steps": request.finetune_steps,
            "ramp": request.ramp,
            "teacher": [str(part) for part in request.teacher] if request.teacher else None,
            "distillation": dataclasses.asdict(request.how) if request.teacher else None,
            "rates_from": str(request.rates_from) if request.rates_from else None,
        }
        return {**self.facts, **rest}

    # --- phase 1 ----------------------------------------------------------------

    def rates(self) -> dict[str, Any]:
        """Return the rates: kept from before, searched, or by rule."""
        request, path = self.request, self.request.out / SEARCHED
        if path.exists():
            return read_rates(path, *RATES)
        if request.method == Method.BFPGM:
            study = f"{request.name}-{hashlib.sha256(json.dumps(self.facts).encode()).hexdigest()[:12]}"
            found = search(
                self._loss_of,
                self.widths,
                request.goal,
                budget=request.budget,
                storage=request.storage or str(request.out / "search.journal"),
                study=study,
                seed=request.options.seed,
                say=self.say,
            )
            rates, trials = found.rates, list(found.trials)
        else:
            rates, trials = self._rates_by_rule(), []
        widths = widths_for(rates, self.widths)
        answer = {
            "rates": {str(group): rate for group, rate in rates.items()},
            "widths": dataclasses.asdict(widths),
            "parameters": count_parameters(widths),
            "trials": trials,
            "budget": request.budget if request.method == Method.BFPGM else None,
        }
        write_json(path, answer)
        return read_json(path)

    def _rates_by_rule(self) -> dict[Group, float]:
        request = self.request
        other = read_rates(request.rates_from / SEARCHED, "parameters") if request.rates_from else None
        if other is not None and request.method == Method.MAGNITUDE:
            return {Group(name): float(rate) for name, rate in other["rates"].items()}
        return uniform_rates(other["parameters"] if other else request.goal.middle, self.widths)

    def _loss_of(self, widths: NanoBWidths) -> float:
        """Return the validation loss of the dense network cut to `widths` and trained for a moment."""
        from ..training.loop import mean_loss

        train, judge = self.search_sets
        smaller = remove(self.dense, choose(self.dense, widths))
        with tempfile.TemporaryDirectory(prefix="trial-", dir=self.request.out) as folder:
            try:
                result = self._fit(smaller, self.request.search_steps, Path(folder), {}, train=train, say=silent)
            except EdgeError as exc:
                if type(exc) is not EdgeError:  # of a kind that says it was not the training that went wrong
                    raise
                return _DIVERGED
        return mean_loss(result.module, self.task, judge, batch=self.request.options.batch)["total"]

    # --- phases 2 and 3 ---------------------------------------------------------

    def soften(self, rates: dict[Group, float]) -> tuple[NanoB, float]:
        """Return the network after soft pruning, its filters removed, and the hours that it took."""
        request, module = self.request, self.dense
        how = Criterion.MAGNITUDE if request.method == Method.MAGNITUDE else Criterion.FPGM
        hours = 0.0
        if request.soft_steps:
            epochs = math.ceil(SOFT_EPOCHS * len(self.train) / request.options.batch)
            every = min(epochs, max(request.soft_steps // 10, 1))
            pruner = SoftPruner(rates, every=every, total=request.soft_steps, how=how, ramp=request.ramp)
            pruner.start(module)
            facts = {"start": self.facts["checkpoint"], "rates": {str(k): v for k, v in rates.items()}, "how": str(how)}
            self.say(f"soft pruning: {request.soft_steps} steps, filters chosen every {every}")
            result = self._fit(module, request.soft_steps, request.out / SOFT, facts, after_step=pruner)
            hours = result.hours
        return remove(module, choose(module, widths_for(rates, self.widths), how)), hours

    def finish(self, smaller: NanoB, found: dict[str, Any], soft_hours: float) -> dict[str, Any]:
        """Fine-tune, judge, write the checkpoint, and return the report."""
        from ..training.run import teacher_facts
        from ..training.training_card import write_checkpoint

        request = self.request
        self.say(f"fine-tuning {count_parameters(nanob_widths(smaller.state_dict())):,} parameters")
        facts = {"start": self.facts["checkpoint"], "rates": found["rates"], "method": str(request.method)}
        result = self._fit(
            smaller, request.finetune_steps, request.out / "finetune", facts, val=self.val, teacher=self.teacher
        )
        test = self._source("test")
        self.say(f"judging {len(test)} samples, before and after: {test.label}")
        dense, _ = load_model(self.entry, request.checkpoint)  # phase 2 changed the one in memory
        assert isinstance(dense, NanoB)
        assert isinstance(result.module, NanoB)
        before, after = self._row(dense, test), self._row(result.module, test)
        pruning = {name: found[name] for name in ("rates", "widths")}
        pruning |= {"method": str(request.method), "evaluations": len(found["trials"]), "dense": before}
        searched = sum(trial["seconds"] for trial in found["trials"]) / 3600
        path = write_checkpoint(
            request.out,
            PRUNED,
            result.module,
            {
                "model": PRUNED,
                "method": "pruned",
                "data": {
                    "label": self.train.label,
                    "digest": self.train.digest,
                    "synthetic": request.data == SYNTHETIC,
                },
                "seed": request.options.seed,
                "command": request.command,
                "steps": request.soft_steps + result.steps,
                "options": {**self.facts, "soft_steps": request.soft_steps, "finetune_steps": request.finetune_steps},
                "teacher": teacher_facts(request.teacher, request.how) if request.teacher else None,
                "loss": result.loss,
                "val": dict(result.val),
                "metrics": after["metrics"],
                "macs": after["macs"],
                "hours": searched + soft_hours + result.hours,
                "pruning": pruning,
            },
        )
        rows = {
            "dense": {**before, "bytes": request.checkpoint.stat().st_size},
            "pruned": {**after, "bytes": path.stat().st_size},
        }
        return {"schema": 1, "model": PRUNED, **pruning, **rows, "trials": found["trials"], "checkpoint": str(path)}

    def _row(self, module: NanoB, test: Source[Any]) -> dict[str, Any]:
        from ..evaluate import evaluate
        from ..torch_engine import torch_runner

        seed = self.request.options.seed
        with Progress("judging", len(test), quiet=self.say is not print_line) as progress:
            metrics = evaluate(torch_runner(module, self.card), self.card, test, seed=seed, tick=progress.at)
        return {
            "parameters": sum(value.numel() for value in module.parameters()),
            "macs": count_macs(module, self.card.input.hw),
            "metrics": metrics.to_dict(),
        }

    def _fit(
        self,
        module: nn.Module,
        steps: int,
        folder: Path,
        facts: dict[str, Any],
        *,
        train: Source[Any] | None = None,
        val: Source[Any] | None = None,
        teacher: tuple[nn.Module, Card] | None = None,
        after_step: Callable[[int, nn.Module], None] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> FitResult:
        from ..training.loop import fit

        return fit(
            module,
            self.task,
            self.train if train is None else train,
            dataclasses.replace(self.request.options, steps=steps),
            folder,
            val=val,
            teacher=teacher,
            how=self.request.how,
            after_step=after_step,
            facts=facts,
            say=say or (None if self.say is print_line else self.say),  # a bar, where lines are not asked for
        )


_DIVERGED = 100.0  # the loss of a training that ended in NaN: worse than any that did not
