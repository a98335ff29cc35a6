"""Training that rounds as INT8 does: what it learns, and that it leaves no trace."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edge.models import registry
from edge.models.training.loop import fit
from edge.models.training.qat import finish_qat, start_qat
from edge.runtime.errors import InputError

from .tiny_run import CARD, OPTIONS, Pictures, TinyTask, digest, network

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads only wait for each other on networks this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Lopsided(nn.Module):
    """Two hidden units three hundred times louder than the rest: one scale a tensor leaves the rest few steps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.norm, self.last = nn.Linear(6, 16, bias=False), nn.BatchNorm1d(16), nn.Linear(16, 3)
        with torch.no_grad():
            self.norm.weight[:2] *= 300
            self.last.weight[:, :2] /= 300

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.last(self.norm(self.first(x)).relu())
        return answer


def batches(count: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield torch.randn(64, 6, generator=generator)


def as_int8(net: Lopsided, calibration: Tensor, x: Tensor) -> Tensor:
    """Answer as a static INT8 file does, written out: BatchNorm folded, ranges of a calibration set, whole numbers."""
    norm: Any = net.norm
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded = net.first.weight * gain[:, None], norm.bias - norm.running_mean * gain
    seen = calibration
    for weight, bias in (folded, (net.last.weight, net.last.bias)):
        low, high = seen.min().clamp(max=0), seen.max().clamp(min=0)
        step = (high - low) / 255
        zero = (-low / step).round()
        whole = ((x / step).round() + zero).clamp(0, 255) - zero
        weight_step = weight.abs().amax(1, keepdim=True) / 127
        x = (whole @ (weight / weight_step).round().T) * step * weight_step.T + bias
        seen = seen @ weight.T + bias
        if weight is folded[0]:
            x, seen = x.relu(), seen.relu()
    return x


def train(net: nn.Module, target: nn.Module, steps: int) -> None:
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for x in batches(steps):
        with torch.no_grad():
            answer = target(x)
        loss = nn.functional.mse_loss(net.train()(x), answer)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        optimiser.step()
        rate.step()
    net.eval()


def settled() -> Lopsided:
    net = Lopsided().train()
    with torch.no_grad():
        for x in batches(200):
            net(x)
    return net.eval()


@torch.no_grad()
def error(net: Lopsided, target: nn.Module) -> float:
    generator = torch.Generator().manual_seed(1)
    calibration, x = torch.randn(512, 6, generator=generator), torch.randn(512, 6, generator=generator)
    return float(nn.functional.mse_loss(as_int8(net, calibration, x), target(x)))


def test_training_that_rounds_loses_less_as_int8_than_training_that_does_not() -> None:
    target = settled()
    plain, rounding = copy.deepcopy(target), copy.deepcopy(target)
    train(plain, target, 150)
    start_qat(rounding)
    train(rounding, target, 150)
    finish_qat(rounding)

    before = error(target, target)
    assert error(rounding, target) < 0.5 * before
    assert error(rounding, target) < 0.5 * error(plain, target)


@torch.no_grad()
def test_a_rounding_layer_answers_as_whole_numbers_do() -> None:
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight[:] = torch.tensor([[1.27, 0.254]])
    net = nn.Sequential(layer)
    start_qat(net)
    net.train()(torch.tensor([[-0.55, 2.0]]))

    # Steps: 0.01 of the weight, (2 + 0.55) / 255 = 0.01 of the input; 0.254 becomes 0.25, 0.104 becomes 0.10.
    answer = net.eval()(torch.tensor([[0.104, 1.0]]))

    assert float(answer) == pytest.approx(1.27 * 0.10 + 0.25 * 1.0, abs=1e-6)
    assert float(net(torch.tensor([[0.0, 3.0]]))) == pytest.approx(0.25 * 2.0, abs=1e-6)  # clipped to what was seen


def test_the_weights_grid_is_that_of_the_weight_with_batchnorm_folded_in() -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv2d(3, 4, 3, bias=False), torch.randn(1, 3, 8, 8)
    gain = torch.tensor([0.01, 100.0, -3.0, 1.0])
    folded = copy.deepcopy(conv)
    with torch.no_grad():
        folded.weight *= gain.view(4, 1, 1, 1)
    float_answer = conv(x)
    start_qat(nn.ModuleList([conv, folded]).eval())

    torch.testing.assert_close(folded(x), conv(x) * gain.view(4, 1, 1))
    assert not torch.allclose(conv(x), float_answer, atol=1e-5)  # it does round


def test_the_state_dict_is_as_before_when_it_is_finished_and_copies_come_off_too() -> None:
    net = registry.get("emotion-proto-81k").build()
    keys, kinds = list(net.state_dict()), [type(part) for part in net.modules()]
    names = start_qat(net)
    average = copy.deepcopy(net)
    added = set(net.state_dict()) - set(keys)

    for module in (net, average):
        finish_qat(module)
        assert list(module.state_dict()) == keys
        assert [type(part) for part in module.modules()] == kinds
    assert added == {f"{name}.fakequant_{end}" for name, end in itertools.product(names, ("low", "high"))}


def test_ranges_survive_saving_and_loading() -> None:
    first, second = settled(), settled()
    for net in (first, second):
        start_qat(net)
    x = next(batches(1))
    first.train()(x)
    second.load_state_dict(first.state_dict())

    assert torch.equal(first.eval()(x), second.eval()(x))
    assert not torch.equal(first(x), settled()(x))


def test_the_training_loop_trains_averages_saves_and_takes_up_a_rounding_network(tmp_path: Path) -> None:
    answers = []
    for _ in range(2):  # the second run finds the first one's state
        net = network()
        keys = list(net.state_dict())
        start_qat(net)
        options = dataclasses.replace(OPTIONS, steps=12)
        result = fit(net, TinyTask(CARD), Pictures(20), options, tmp_path, say=lambda line: None)
        assert float(result.module[0].fakequant_high) > 1.0  # type: ignore[index, operator, union-attr]  # a Sequential
        finish_qat(result.module)
        assert list(result.module.state_dict()) == keys
        answers.append(digest(result.module))

    assert result.resumed == 12
    assert answers[0] == answers[1]


def test_before_any_batch_was_seen_only_weights_are_rounded() -> None:
    net = nn.Sequential(nn.Linear(1, 1, bias=False)).eval()
    x = torch.linspace(-3, 3, 50)[:, None]
    plain = net(x)
    start_qat(net)

    torch.testing.assert_close(net(x), plain)  # the only weight of a channel is on its own grid


def test_layers_to_skip_stay_float_and_unknown_ones_are_refused() -> None:
    net = settled()

    assert start_qat(net, skip=["first"]) == ["last"]
    assert type(net.first) is nn.Linear
    with pytest.raises(InputError, match="already"):
        start_qat(net)
    with pytest.raises(InputError, match="got norm"):
        start_qat(settled(), skip=["norm"])
