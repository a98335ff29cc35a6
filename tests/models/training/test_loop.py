"""The training loop on a tiny network: schedule, order of samples, averages, what is broken, logs."""

from __future__ import annotations

import csv
import dataclasses
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from edge.models.training.ema import MovingAverage
from edge.models.training.loop import TrainOptions, fit, mean_loss
from edge.models.training.options import learning_rate
from edge.models.training.sampler import Keys
from edge.models.training.task import Batch, Distillation, Outputs
from edge.runtime.errors import EdgeError, InputError

from .tiny_run import CARD, OPTIONS, Pictures, TinyTask, digest, network

pytestmark = pytest.mark.torch
SHORT = dataclasses.replace(OPTIONS, steps=12)


def quiet(line: str) -> None:
    """Say nothing."""


def rows(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def train(folder: Path, options: TrainOptions = SHORT, norm: bool = True, **given: Any) -> Any:
    return fit(network(norm), TinyTask(CARD), Pictures(20), options, folder, **{"say": quiet, **given})


# --- schedule, order, averages ----------------------------------------------------


def test_the_learning_rate_rises_in_a_line_and_falls_by_half_a_cosine_to_one_percent() -> None:
    options = TrainOptions(steps=1000, warmup=100, lr=1.0)

    rates = [learning_rate(options, step) for step in (0, 49, 99, 100, 550, 999)]

    assert rates == pytest.approx([0.01, 0.5, 1.0, 1.0, 0.505, 0.01], abs=1e-4)


def test_a_warm_up_takes_a_tenth_of_a_short_run_at_most() -> None:
    options = TrainOptions(steps=20, warmup=200, lr=1.0)

    assert [learning_rate(options, step) for step in range(3)] == pytest.approx([0.5, 1.0, 1.0])


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch": 0}, {"lr": math.nan}, {"ema": 1.0}, {"precision": "int8"}, {"log": "paper"}, {"seed": -1}],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"`{next(iter(wrong))}`"):
        TrainOptions(**{"steps": 1, **wrong})


@pytest.mark.parametrize("wrong", [{"alpha": math.nan}, {"alpha": 1.1}, {"temperature": math.inf}, {"temperature": 0}])
def test_weights_of_a_distillation_that_make_no_sense_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"`{next(iter(wrong))}`"):
        Distillation(**wrong)


def test_every_epoch_shows_every_sample_once_in_an_order_of_its_own() -> None:
    seen = [key for batch in Keys(7, 3, 5, start=0, steps=14) for key in batch]  # 42 samples: six epochs

    orders = [[index for epoch, index in seen if epoch == number] for number in range(6)]

    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_two_ranks_share_the_batches_that_one_rank_sees() -> None:
    whole = list(Keys(11, 4, 0, start=3, steps=9))
    shares = [list(Keys(11, 4, 0, start=3, steps=9, rank=rank, world=2)) for rank in range(2)]

    assert [sorted(first + second) for first, second in zip(*shares, strict=True)] == [sorted(keys) for keys in whole]
    assert {len(keys) for share in shares for keys in share} == {2}


def test_a_batch_that_does_not_divide_over_the_ranks_is_refused() -> None:
    with pytest.raises(InputError, match=r"multiple of 2.*5"):
        Keys(11, 5, 0, start=0, steps=1, rank=0, world=2)


def test_the_moving_average_starts_quickly_and_takes_statistics_along() -> None:
    module = nn.BatchNorm1d(1)
    average = MovingAverage(module, 0.999)
    with torch.no_grad():
        module.weight.fill_(12.0)  # was 1
        module.running_mean.fill_(11.0)  # type: ignore[union-attr]  # it tracks; was 0
        module.num_batches_tracked.fill_(5)  # type: ignore[union-attr]

    average.update(module, 1)  # decay (1 + 1) / (10 + 1)

    assert {name: value.item() for name, value in average.module.state_dict().items()} == pytest.approx(
        {"weight": 1 + 11 * 9 / 11, "bias": 0.0, "running_mean": 9.0, "running_var": 1.0, "num_batches_tracked": 5}
    )


# --- fit ---------------------------------------------------------------------------


def test_training_lowers_the_loss_and_gives_back_the_given_network_ready_to_use(tmp_path: Path) -> None:
    module, task, val = network(), TinyTask(CARD), Pictures(16)
    before = mean_loss(module, task, val, batch=8)["total"]

    result = fit(module, task, Pictures(50), OPTIONS, tmp_path, val=val, say=quiet)

    after = mean_loss(result.module, task, val, batch=8)
    assert result.module is module
    assert not module.training
    assert after["total"] < before / 4
    assert result.val == pytest.approx(after, rel=1e-5)
    logged = rows(tmp_path / "log.csv")
    assert [row["step"] for row in logged] == list(range(1, 61))
    assert result.loss == pytest.approx(np.mean([row["total"] for row in logged[-6:]]), rel=1e-6)
    assert [row["epoch"] for row in logged[5:8]] == [0, 0, 1]  # 50 samples, 8 a step
    assert all(value.is_contiguous() for value in module.state_dict().values())


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    made = [train(tmp_path / str(n), dataclasses.replace(SHORT, workers=n)) for n in (0, 2)]

    assert digest(made[0].module) == digest(made[1].module)


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    made = [train(tmp_path / str(n), dataclasses.replace(SHORT, seed=n)) for n in (0, 1)]

    assert digest(made[0].module) != digest(made[1].module)


def test_training_leaves_the_random_state_of_torch_alone(tmp_path: Path) -> None:
    module = network()
    state = torch.random.get_rng_state()

    fit(module, TinyTask(CARD), Pictures(20), SHORT, tmp_path, say=quiet)

    assert torch.equal(torch.random.get_rng_state(), state)


def test_mixed_precision_learns_too(tmp_path: Path) -> None:
    result = train(tmp_path, dataclasses.replace(OPTIONS, precision="bf16-mixed"))

    assert result.loss < 1.0  # it starts near 4
    assert {value.dtype for value in result.module.parameters()} == {torch.float32}


def test_weight_decay_spares_vectors(tmp_path: Path) -> None:
    class Indifferent(TinyTask):
        def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
            return {"total": outputs["answer"].sum() * 0}

    module, start = network(), network().state_dict()
    options = dataclasses.replace(SHORT, steps=3, weight_decay=10.0, ema=0.0)

    fit(module, Indifferent(CARD), Pictures(20), options, tmp_path, say=quiet)

    for name, value in module.named_parameters():
        assert torch.equal(value, start[name]) == (value.dim() == 1), name


def test_what_is_done_after_a_step_stays(tmp_path: Path) -> None:
    steps = []

    def silence(step: int, module: nn.Module) -> None:
        steps.append(step)
        with torch.no_grad():
            module.get_submodule("0").weight[2] = 0  # type: ignore[operator, index]  # a convolution

    result = train(tmp_path, after_step=silence, norm=False)

    assert steps == list(range(1, 13))
    # The moving average still holds a little of the random start: the product of the decays (1 + t) / (10 + t).
    assert result.module[0].weight[2].abs().max() < 1e-4 < result.module[0].weight[1].abs().max()


def test_a_teacher_is_followed_and_its_adapter_is_trained_beside(tmp_path: Path) -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.tensor([5.0, -3.0]))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.value.expand(len(inputs), 2)

    teacher = Constant()
    result = train(
        tmp_path, dataclasses.replace(OPTIONS, steps=120), teacher=(teacher, CARD), how=Distillation(alpha=1)
    )

    state = torch.load(tmp_path / "state-000000120.pt", weights_only=True)
    assert set(rows(tmp_path / "log.csv")[0]) >= {"total", "task", "teacher"}
    assert result.loss < 2  # 34 + at the start: the distance from the teacher's answers
    assert state["adapter"]["factor"].item() != 1
    assert teacher.value.tolist() == [5.0, -3.0]
    assert "factor" not in str(list(result.module.state_dict()))


def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(tmp_path: Path) -> None:
    class Exploding(TinyTask):
        def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
            return {"total": outputs["answer"].sum() * math.inf}

    with pytest.raises(EdgeError, match=r"loss is (nan|-?inf) at step 1") as caught:
        fit(network(), Exploding(CARD), Pictures(20), SHORT, tmp_path, say=quiet)

    assert "--lr" in str(caught.value.hint)
    assert not list(tmp_path.glob("state-*"))


def test_weights_that_are_no_numbers_end_the_run_before_it_is_judged_or_saved(tmp_path: Path) -> None:
    class Cornered(TinyTask):
        def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
            return {"total": (outputs["answer"] * 0).abs().sqrt().sum()}  # 0, of which the slope is not a number

    options = dataclasses.replace(SHORT, save_every=1, validate_every=1)

    with pytest.raises(EdgeError, match="the weights are no longer numbers after step 1") as caught:
        fit(network(), Cornered(CARD), Pictures(20), options, tmp_path, val=Pictures(4), say=quiet)

    assert type(caught.value) is EdgeError  # what pruning takes for a candidate that diverged
    assert "--precision 32-true" in str(caught.value.hint)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_one_norm_of_the_gradient_covers_the_adapter_too(tmp_path: Path, precision: str) -> None:
    norms = []

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        grads = [value.grad for group in optimizer.param_groups for value in group["params"]]
        norms.append(torch.stack([grad.norm() for grad in grads if grad is not None]).norm().item())

    hook = register_optimizer_step_pre_hook(look)
    try:
        train(
            tmp_path,
            dataclasses.replace(SHORT, steps=3, clip=0.01, precision=precision),
            teacher=(network(), CARD),
            how=Distillation(alpha=1),
        )
    finally:
        hook.remove()

    assert norms == pytest.approx([0.01] * 3, rel=1e-3)


# --- broken samples ----------------------------------------------------------------


def test_broken_samples_are_replaced_counted_and_the_first_ones_named(tmp_path: Path) -> None:
    lines: list[str] = []

    result = fit(network(), TinyTask(CARD), Pictures(20, frozenset(range(7))), SHORT, tmp_path, say=lines.append)

    assert result.broken == 7
    assert sum(line.startswith("skipped: picture ") for line in lines) == 5
    assert lines[-1].startswith("7 training samples are broken")
    assert result.steps == 12


def test_a_set_that_is_mostly_broken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"more than half.*picture \d+ is broken") as caught:
        fit(network(), TinyTask(CARD), Pictures(20, frozenset(range(12))), SHORT, tmp_path, say=quiet)

    assert "edge data check" in str(caught.value.hint)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_set_with_nothing_usable_is_refused_in_one_line(tmp_path: Path, workers: int) -> None:
    options = dataclasses.replace(SHORT, workers=workers)

    with pytest.raises(InputError, match="cannot be used") as caught:
        fit(network(), TinyTask(CARD), Pictures(20, frozenset(range(20))), options, tmp_path, say=quiet)

    assert "\n" not in str(caught.value)


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        fit(network(), TinyTask(CARD), Pictures(0), SHORT, tmp_path, say=quiet)


# --- validation and logs -------------------------------------------------------------


def test_mean_loss_leaves_out_what_is_broken_and_restores_the_mode() -> None:
    module, task = network().train(), TinyTask(CARD)

    found = mean_loss(module, task, Pictures(9, frozenset({0, 4})), batch=3, limit=7)

    pictures = [Pictures(9)[index] for index in (1, 2, 3, 5, 6)]
    module_copy = network().eval()
    with torch.no_grad():
        answers = module_copy(torch.from_numpy(np.stack([picture.image for picture in pictures])))
    errors = (answers - torch.from_numpy(np.stack([picture.target for picture in pictures]))).square().mean(0)
    assert found == pytest.approx(
        {"total": errors.sum().item(), "mean": errors[0].item(), "deviation": errors[1].item()}, rel=1e-5
    )
    assert module.training


def test_a_family_that_has_no_metric_is_judged_by_its_loss_alone(tmp_path: Path) -> None:
    class Weather(TinyTask):
        family = "weather"

    result = fit(network(), Weather(CARD), Pictures(20), SHORT, tmp_path, val=Pictures(4), say=quiet)

    assert set(result.val) == {"total", "mean", "deviation"}


def test_validation_is_logged_as_often_as_asked_and_at_the_end(tmp_path: Path) -> None:
    train(tmp_path, dataclasses.replace(SHORT, validate_every=5), val=Pictures(4))

    assert [row["step"] for row in rows(tmp_path / "val.csv")] == [5, 10, 12]


def test_tensorboard_gets_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # TensorBoard's own switch: without it, it imports all of TensorFlow, where that is installed.
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", types.ModuleType("notf"))
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    result = train(tmp_path, dataclasses.replace(SHORT, log="both"), val=Pictures(4))

    accumulator = events.EventAccumulator(str(tmp_path / "tensorboard" / "train"))
    accumulator.Reload()
    seen = [(event.step, event.value) for event in accumulator.Scalars("total")]
    assert seen == [(row["step"], pytest.approx(row["total"])) for row in rows(tmp_path / "log.csv")]
    assert result.log == tmp_path / "log.csv"
