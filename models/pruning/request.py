"""What is to be pruned, and how."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ...runtime.errors import InputError
from ..training.options import TrainOptions
from ..training.task import Distillation
from .search import Goal

__all__ = ["Method", "PruneRequest"]


class Method(StrEnum):
    """Whose rates, and whose ranking."""

    BFPGM = "bfpgm"  # rates of the search, FPGM
    UNIFORM = "uniform"  # one rate everywhere, FPGM
    MAGNITUDE = "magnitude"  # rates of another run, or one rate everywhere; L2 norm


@dataclass(frozen=True, kw_only=True)
class PruneRequest:
    """What is to be pruned, and how.

    Attributes:
        name: registered model of the checkpoint, one of the Nano-B family.
        checkpoint: of the dense network.
        data: "synthetic", or the folder of a data set.
        out: folder of the run.
        goal: range of parameters.
        method: see `Method`.
        budget: evaluations of the search.
        search_steps: training steps of one evaluation.
        soft_steps: steps of soft pruning; 0 goes without.
        finetune_steps: steps after the filters are gone.
        options: of all three trainings; its `steps` are not used.
        input_hw: height and width of the training crops, pixels; None takes the card's.
        ramp: let the rates of soft pruning rise.
        teacher: name and checkpoint of the model to distil from while fine-tuning.
        how: weights of the distillation.
        storage: of the search, see `search.search`; None keeps a journal in `out`.
        rates_from: folder of a finished search: its rates for "magnitude", its number of parameters for "uniform".
        search_only: stop after the search, as a helper of a search that others share.
        count: training samples at most; None takes the whole split.
        held_out: samples of "val" and of "test" at most; None takes all.
        cache: folder of rendered samples; None takes one in edge's cache folder.
        command: what the training card says was typed.
    """

    name: str
    checkpoint: Path
    data: str
    out: Path
    goal: Goal
    method: Method = Method.BFPGM
    budget: int = 25
    search_steps: int = 100
    soft_steps: int = 1000
    finetune_steps: int = 1000
    options: TrainOptions
    input_hw: tuple[int, int] | None = (320, 320)
    ramp: bool = False
    teacher: tuple[str, Path | None] | None = None
    how: Distillation = Distillation()  # noqa: RUF009 - frozen
    storage: str | None = None
    rates_from: Path | None = None
    search_only: bool = False
    count: int | None = None
    held_out: int | None = None
    cache: Path | None = None
    command: str = ""

    def __post_init__(self) -> None:
        least = {"budget": 1, "search_steps": 1, "soft_steps": 0, "finetune_steps": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InputError(f"`{name}` is too small", expected=f"at least {lowest}", got=getattr(self, name))
        if self.rates_from is not None and self.method == Method.BFPGM:
            raise InputError("rates of another run go with uniform and magnitude pruning", got=str(self.rates_from))
        if self.search_only and self.method != Method.BFPGM:
            raise InputError(f"method `{self.method}` searches nothing")
