"""A tiny training run: a set of random pictures, a network with BatchNorm and dropout, a task; and a command to run it.

`python tiny_run.py FOLDER [--name value]...` trains and writes the final weights' digest and facts to
`FOLDER/result-RANK.json`; tests kill it and start it again. With `--stop STEP` it
trains in `FOLDER/whole`, then in FOLDER, where it stops at that step and goes on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge.models.data.samples import SampleError
from edge.models.training.loop import FitResult, TrainOptions, fit
from edge.models.training.task import Batch, Distillation, Outputs, Task
from edge.runtime.card import Card, InputSpec, OutputSpec

SIDE = 8  # pixels
CARD = Card(
    model="tiny",
    input=InputSpec(shape=(1, 3, SIDE, SIDE), colour="RGB"),
    outputs=(OutputSpec(name="answer", shape=(1, 2)),),
)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A random picture, and its mean and deviation as what is to be told."""

    image: NDArray[np.float32]
    target: NDArray[np.float32]


class Pictures:
    """`count` random pictures; those in `broken` cannot be read."""

    family = "custom"

    def __init__(self, count: int, broken: frozenset[int] = frozenset()) -> None:
        self.count, self.broken = count, broken
        self.label = f"random pictures ({count})"
        self.digest = f"{count}-{sorted(broken)}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Picture:
        if index in self.broken:
            raise SampleError(f"picture {index} is broken")
        rng = np.random.default_rng([7, index])
        image = (rng.normal(size=(3, SIDE, SIDE)) * rng.uniform(0.5, 2) + rng.normal()).astype(np.float32)
        return Picture(image=image, target=np.array([image.mean(), image.std()], np.float32))


class TinyTask(Task):
    """Tell the mean and the deviation of a picture."""

    family = "custom"

    def item(self, sample: Picture, rng: np.random.Generator | None) -> dict[str, NDArray[Any]]:
        flip = rng is not None and rng.random() < 0.5
        noise = (
            np.float32(0) if rng is None else rng.normal(size=sample.image.shape).astype(np.float32) * np.float32(0.1)
        )
        return {"input": (sample.image[:, :, ::-1] if flip else sample.image) + noise, "target": sample.target}

    def forward(self, module: nn.Module, inputs: Tensor) -> Outputs:
        return {"answer": module(inputs)}

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        errors = (outputs["answer"] - batch["target"]).square().mean(0)
        return {"total": errors.sum(), "mean": errors[0], "deviation": errors[1]}

    def teacher_inputs(self, inputs: Tensor, teacher: Card) -> Tensor:
        return inputs

    def distill(self, outputs: Outputs, teacher: Outputs, batch: Batch, how: Distillation) -> dict[str, Tensor]:
        own = self.loss(outputs, batch)["total"]
        copied = (outputs["answer"] - teacher["answer"]).square().mean(0).sum()
        return {"total": how.alpha * copied + (1 - how.alpha) * own, "task": own, "teacher": copied}

    def adapter(self, student: nn.Module, teacher: nn.Module) -> nn.Module | None:
        return Scale()


class Scale(nn.Module):
    """An adapter: one trained factor on the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, outputs: Outputs) -> Outputs:
        return {name: value * self.factor for name, value in outputs.items()}


def network(norm: bool = True) -> nn.Module:
    """Return a small network; without `norm` it has neither BatchNorm nor dropout."""
    torch.manual_seed(1)
    middle = [nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2)] if norm else [nn.ReLU()]
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        *middle,
        nn.Conv2d(8, 8, 3, 1, 1, groups=8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


OPTIONS = TrainOptions(steps=60, batch=8, lr=1e-2, warmup=5, precision="32-true", workers=0, save_every=10, ema=0.9)


def digest(module: nn.Module) -> str:
    """Return a name of a network's weights."""
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in module.state_dict().values())).hexdigest()


def main() -> None:
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    given = dict(zip((word.removeprefix("--") for word in words[::2]), words[1::2], strict=True))
    norm, stop = given.pop("norm", "1") == "1", int(given.pop("stop", "0"))
    teacher = (network(norm=False), CARD) if given.pop("teacher", "0") == "1" else None
    options = dataclasses.replace(OPTIONS, **{name: int(value) for name, value in given.items()})  # type: ignore[arg-type]  # options that are whole numbers
    torch.set_num_threads(1)

    def run(place: Path, stop: int = 0) -> FitResult:
        def end(step: int, module: nn.Module) -> None:
            if step == stop:
                raise KeyboardInterrupt

        pictures = Pictures(50, frozenset({3}))
        return fit(
            network(norm), TinyTask(CARD), pictures, options, place, val=Pictures(5), teacher=teacher, after_step=end
        )

    whole = digest(run(folder / "whole").module) if stop else None
    if stop:
        with contextlib.suppress(KeyboardInterrupt):
            run(folder, stop)
    result = run(folder)
    facts = {"weights": digest(result.module), "steps": result.steps, "loss": result.loss, "resumed": result.resumed}
    facts["whole"] = whole
    rank = os.environ.get("RANK", "0")
    folder.joinpath(f"result-{rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
