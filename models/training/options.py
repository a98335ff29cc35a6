"""What a training run is told, and what it gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import nn

from ...runtime.errors import InputError

__all__ = ["FINAL_RATE", "LOGS", "PRECISIONS", "FitResult", "TrainOptions", "learning_rate"]

PRECISIONS = ("bf16-mixed", "32-true", "16-mixed")
LOGS = ("csv", "tensorboard", "both")
FINAL_RATE = 0.01  # of the learning rate, where the cosine ends
WARM_UP = 0.1  # longest part of a run that the warm-up may take
MOST = 10**9 - 1  # names of saved states have nine digits
SAME_RESULT = ("workers", "save_every", "validate_every", "log", "devices")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How one network is trained.

    Attributes:
        steps: optimizer steps, 1 to 10**9 - 1.
        batch: samples of one step, over all processes together.
        lr: learning rate of AdamW at its peak.
        weight_decay: of AdamW; see `optimizer` for what is spared.
        warmup: steps over which the learning rate rises to `lr`; at most a tenth of all steps are taken. From there a
            half cosine falls to 1 % of `lr`.
        clip: largest norm of the gradient, one over the network and a distillation's adapter; 0 does not clip.
        ema: decay of the moving average of weights and of BatchNorm's statistics, 0..1, below 1.
        precision: of Lightning Fabric: "bf16-mixed", "32-true" or "16-mixed".
        seed: of everything random; see `sampler`.
        workers: processes that prepare samples; 0 prepares them in this one. Does not change the result.
        save_every: steps from one saved state to the next: what a kill costs at most.
        validate_every: steps from one validation to the next; None validates at the end only.
        log: "csv", "tensorboard" or "both".
        devices: processes of this machine when it is not `torchrun` that starts them.
    """

    steps: int
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 200
    clip: float = 1.0
    ema: float = 0.999
    precision: str = "bf16-mixed"
    seed: int = 0
    workers: int = 2
    save_every: int = 500
    validate_every: int | None = None
    log: str = "csv"
    devices: int = 1

    def __post_init__(self) -> None:
        for name, least in {"steps": 1, "batch": 1, "save_every": 1, "devices": 1, "workers": 0, "warmup": 0}.items():
            if getattr(self, name) < least:
                raise InputError(f"`{name}` is too small", expected=f"at least {least}", got=getattr(self, name))
            if getattr(self, name) > MOST:
                raise InputError(f"`{name}` is too large", expected=f"at most {MOST:,}", got=getattr(self, name))
        if self.validate_every is not None and self.validate_every < 1:
            raise InputError("`validate_every` is too small", expected="at least 1", got=self.validate_every)
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InputError("`lr` must be above 0", got=self.lr)
        for name in ("weight_decay", "clip"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InputError(f"`{name}` must be 0 or more", got=getattr(self, name))
        if not 0 <= self.ema < 1:
            raise InputError("`ema` is out of range", expected="0 <= ema < 1", got=self.ema)
        if not 0 <= self.seed < 2**32:
            raise InputError("`seed` is out of range", expected="0 to 2**32 - 1", got=self.seed)
        for name, words in {"precision": PRECISIONS, "log": LOGS}.items():
            if getattr(self, name) not in words:
                raise InputError(f"`{name}` is not known", expected=" | ".join(words), got=getattr(self, name))

    def that_matter(self) -> dict[str, Any]:
        """Return the options that change the trained weights, by name, as plain values."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in SAME_RESULT}


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What training gave.

    Attributes:
        module: the network that was given, on the CPU, in eval mode, with the moving average of its weights.
        steps: optimizer steps, those before a resume included.
        loss: mean total loss of the last steps (a tenth of the run, at most 50).
        hours: spent training, those before a resume included.
        val: last row of the validation log without its step; empty without a validation set.
        log: the file or folder of the log.
        broken: training samples that were skipped because they could not be used.
        resumed: step from which this call went on; 0 for a fresh run.
    """

    module: nn.Module
    steps: int
    loss: float
    hours: float
    val: Mapping[str, float]
    log: Path
    broken: int
    resumed: int


def learning_rate(options: TrainOptions, step: int) -> float:
    """Return the learning rate of step `step`, counted from 0: linear warm-up, then half a cosine.

    Source:
        Loshchilov and Hutter, "SGDR", ICLR 2017, arXiv:1608.03983, eq. 5, without restarts.
    """
    warmup = min(options.warmup, int(options.steps * WARM_UP))
    if step < warmup:
        return options.lr * (step + 1) / warmup
    done = (step - warmup) / max(options.steps - warmup, 1)
    return options.lr * (FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * done)) / 2)
