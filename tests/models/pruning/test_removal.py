"""What is masked and what is removed answer alike; what is removed is as small as the widths say."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from edge.models import registry  # noqa: E402
from edge.models.face_nanob import NanoB, NanoBWidths, nanob_widths  # noqa: E402
from edge.models.pruning.fpgm import Criterion, Plan, choose  # noqa: E402
from edge.models.pruning.groups import BOUNDS, Group, units_of  # noqa: E402
from edge.models.pruning.removal import mask, remove, unplug  # noqa: E402
from edge.models.pruning.widths import count_parameters, width_of, widths_for  # noqa: E402

pytestmark = pytest.mark.torch


def _network(seed: int) -> NanoB:
    """A dense Nano-B with BatchNorms far from neutral, so that a zeroed filter would leave a constant behind."""
    torch.manual_seed(seed)
    module = NanoB()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_(0.3, 0.5)
                assert part.running_mean is not None
                assert part.running_var is not None
                part.running_mean.normal_(0.0, 0.3)
                part.running_var.uniform_(0.2, 0.6)
        for name, value in module.named_parameters():
            if ".w" in name and value.dim() == 1 and "weight" not in name:
                value.uniform_(0.5, 1.5)
    return module.eval()


def _random_plan(module: NanoB, seed: int) -> tuple[Plan, NanoBWidths]:
    chance = random.Random(seed)
    rates = {group: chance.uniform(0.05, 0.7) for group in Group}
    widths = widths_for(rates, nanob_widths(module.state_dict()))
    plan = {}
    for unit in units_of(module):
        span, keep = unit.size // unit.parts, width_of(unit, widths) // unit.parts
        chosen = [part * span + c for part in range(unit.parts) for c in chance.sample(range(span), keep)]
        plan[unit.name] = tuple(sorted(chosen))
    return plan, widths


def _inputs(seed: int) -> Tensor:
    noise: Tensor = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(seed))
    return noise.mul_(40)


def _largest_difference(one: NanoB, other: NanoB, inputs: Tensor) -> float:
    with torch.no_grad():
        pairs = list(zip(one(inputs), other(inputs), strict=True))
    assert all(bool(a.std() > 1e-3) for a, _ in pairs)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in pairs)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("take_away", [mask, unplug])
def test_the_smaller_network_answers_as_the_masked_one(seed: int, take_away: Callable[[NanoB, Plan], None]) -> None:
    dense = _network(seed)
    plan, widths = _random_plan(dense, seed)
    masked = copy.deepcopy(dense)
    take_away(masked, plan)

    smaller = remove(dense, plan)

    assert nanob_widths(smaller.state_dict()) == widths
    for number in range(2):
        assert _largest_difference(smaller, masked, _inputs(number)) < 1e-5
        assert _largest_difference(dense, masked, _inputs(number)) > 1e-2


def test_a_masked_network_can_be_removed_too() -> None:
    dense = _network(5)
    plan, _ = _random_plan(dense, 5)
    masked = copy.deepcopy(dense)
    unplug(masked, plan)

    again = remove(masked, plan)

    assert _largest_difference(again, masked, _inputs(0)) < 1e-5
    assert set(again.state_dict()) == set(dense.state_dict())


@pytest.mark.parametrize("half", ["weight", "bias"])
def test_zero_filters_alone_would_leave_something_behind(half: str) -> None:
    dense = _network(1)
    plan, _ = _random_plan(dense, 1)
    masked = copy.deepcopy(dense)
    mask(masked, plan)
    smaller = remove(masked, plan)
    with torch.no_grad():  # as if gamma, or beta, of the BatchNorms had not been zeroed
        for unit in units_of(dense):
            for name in unit.norms:
                getattr(masked.get_submodule(name), half).copy_(getattr(dense.get_submodule(name), half))

    assert _largest_difference(smaller, masked, _inputs(0)) > 1e-3


def test_the_gates_of_a_masked_network_look_at_the_channels_that_stay_only() -> None:
    dense = _network(2)
    plan, _ = _random_plan(dense, 2)
    masked = copy.deepcopy(dense)
    mask(masked, plan)
    smaller = remove(masked, plan)
    for gate in (*masked.cbam1, *masked.cbam2):
        gate.kept = None

    assert _largest_difference(smaller, masked, _inputs(0)) > 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_the_networks_inside_the_bounds_have_the_parameters_that_were_foretold(seed: int) -> None:
    dense, chance = _network(seed), random.Random(seed)
    widths = widths_for({g: chance.uniform(*BOUNDS[g]) for g in Group}, nanob_widths(dense.state_dict()))

    smaller = remove(dense, choose(dense, widths))

    assert sum(value.numel() for value in smaller.parameters()) == count_parameters(widths)


def test_nothing_is_lost_when_everything_stays() -> None:
    dense = _network(3)
    widths = widths_for(dict.fromkeys(Group, 0.0), nanob_widths(dense.state_dict()))

    same = remove(dense, choose(dense, widths, Criterion.MAGNITUDE)).state_dict()

    assert all(torch.equal(value, same[key]) for key, value in dense.state_dict().items())


def test_a_pruned_network_can_be_pruned_again_and_rebuilt_from_its_state() -> None:
    first = remove(_network(4), _random_plan(_network(4), 4)[0])
    build_for = registry.get("face-nanob").build_for
    assert build_for is not None
    rebuilt = build_for(first.state_dict())
    rebuilt.load_state_dict(first.state_dict())
    assert isinstance(rebuilt, NanoB)
    plan, _ = _random_plan(rebuilt, 7)
    masked = copy.deepcopy(rebuilt)
    mask(masked, plan)

    assert _largest_difference(remove(rebuilt, plan), masked, _inputs(0)) < 1e-5


def _weight(module: NanoB, name: str) -> Tensor:
    conv = module.get_submodule(name)
    assert isinstance(conv, nn.Conv2d)
    return conv.weight.detach()


def _step(module: NanoB) -> None:
    module.train()
    loss = sum(output.pow(2).mean() for output in module(_inputs(1)))
    torch.optim.SGD(module.parameters(), 1e-2).zero_grad()
    loss.backward()
    torch.optim.SGD(module.parameters(), 1e-2).step()


def test_unplugged_channels_come_back_where_zeroed_filters_cannot() -> None:
    dense = _network(6)
    plan, _ = _random_plan(dense, 6)
    soft, hard = copy.deepcopy(dense), copy.deepcopy(dense)
    unplug(soft, plan)
    mask(hard, plan)
    _step(soft)
    _step(hard)

    for unit in units_of(dense):
        gone = sorted(set(range(unit.size)) - set(plan[unit.name]))
        if not gone:
            continue
        makers = [_weight(hard, name) for name in unit.makers]
        assert all(float(weight[gone].abs().max()) == 0.0 for weight in makers), unit.name
        if unit.parts == 1:
            columns = _weight(soft, unit.readers[0])[:, gone]
            assert float(columns.abs().max()) > 0.0, unit.name
