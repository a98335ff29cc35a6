"""Filters' ranks, the six rates, and the widths they lead to."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from edge.models.cbam import LightCBAM  # noqa: E402
from edge.models.face_nanob import NanoB, build_nanob, nanob_widths  # noqa: E402
from edge.models.pruning.fpgm import Criterion, choose, rank  # noqa: E402
from edge.models.pruning.groups import BOUNDS, Group, units_of  # noqa: E402
from edge.models.pruning.soft import SoftPruner  # noqa: E402
from edge.models.pruning.widths import (  # noqa: E402
    count_macs,
    count_parameters,
    uniform_rates,
    width_of,
    widths_for,
    widths_key,
)

pytestmark = pytest.mark.torch

DENSE = nanob_widths(NanoB().state_dict())
MIDDLE = {group: (low + high) / 2 for group, (low, high) in BOUNDS.items()}


def _weight(module: NanoB, name: str) -> Tensor:
    conv = module.get_submodule(name)
    assert isinstance(conv, nn.Conv2d)
    return conv.weight


def test_the_filter_in_the_midst_of_the_others_goes_first_by_the_geometric_median() -> None:
    filters = torch.tensor([[1.0, 0.0], [5.0, 0.0], [4.0, 0.0], [9.0, 0.0]])

    assert rank(filters).tolist() == pytest.approx([15.0, 9.0, 9.0, 17.0])
    assert rank(filters, Criterion.MAGNITUDE).tolist() == pytest.approx([1.0, 5.0, 4.0, 9.0])


def test_fpgm_equals_the_sum_over_pairs() -> None:
    filters = torch.randn(7, 3, 3, 3, generator=torch.Generator().manual_seed(0))

    slow = [sum(float((one - other).norm()) for other in filters) for one in filters]
    assert rank(filters).tolist() == pytest.approx(slow, rel=1e-5)


def test_equal_filters_are_at_no_distance() -> None:
    assert rank(torch.ones(40, 100) * 0.1).max() < 1e-5


def test_the_plan_keeps_the_filters_that_rank_highest() -> None:
    module = NanoB()
    with torch.no_grad():
        _weight(module, "body.stage1.3.3")[[2, 9]] *= 50
    plan = choose(module, widths_for(MIDDLE, DENSE), Criterion.MAGNITUDE)

    assert {2, 9} <= set(plan["body.stage1.3"])
    assert len(plan["body.stage1.3"]) == 24


def test_what_grouped_convolutions_read_stays_the_same_in_both_halves() -> None:
    module = NanoB()
    plan = choose(module, widths_for(MIDDLE, DENSE))

    for unit in units_of(module):
        if unit.parts == 2:
            kept = plan[unit.name]
            assert len([channel for channel in kept if channel < unit.size // 2]) * 2 == len(kept)


def test_the_units_cover_every_width_of_the_network() -> None:
    module = NanoB()
    sizes = {unit.name: unit.size for unit in units_of(module)}

    assert {unit.group for unit in units_of(module)} == set(Group)
    assert all(width_of(unit, DENSE) == unit.size for unit in units_of(module))
    makers = {name for unit in units_of(module) for name in unit.makers}
    heads = {name for name, _ in module.named_modules() if name.endswith("conv1x1")}
    gates = {name for name, _ in module.named_modules() if name.endswith(".sp")}
    followers = {name for unit in units_of(module) for name in unit.followers}
    laterals = {f"bifpn.lat.{level}.dw" for level in range(3)}
    convs = {name for name, part in module.named_modules() if isinstance(part, nn.Conv2d)}
    assert convs == makers | followers | heads | gates | laterals
    assert len(sizes) == 14 + 6 + 1 + 15


@pytest.mark.parametrize("group", Group)
def test_each_of_the_six_rates_changes_the_network_by_itself(group: Group) -> None:
    low = {other: bounds[0] for other, bounds in BOUNDS.items()}
    high = widths_for({**low, group: BOUNDS[group][1]}, DENSE)

    assert count_parameters(high) < count_parameters(widths_for(low, DENSE))


def test_the_bounds_at_their_ends_give_these_networks() -> None:
    low = widths_for({group: bounds[0] for group, bounds in BOUNDS.items()}, DENSE)
    high = widths_for({group: bounds[1] for group, bounds in BOUNDS.items()}, DENSE)

    assert (count_parameters(low), count_parameters(high)) == (310_225, 105_151)
    assert high.backbone == (
        4,
        8,
        20,
        20,
        40,
        40,
        64,
        64,
        64,
        64,
        64,
        64,
        128,
        128,
    )  # as the audit of the design has it
    assert (high.pyramid, high.hidden, high.inner, high.outer) == (32, (4, 8, 16, 5, 5, 5), (10, 10), (26, 12, 12))


@pytest.mark.parametrize("seed", range(4))
def test_the_foretold_number_of_parameters_is_that_of_the_network(seed: int) -> None:
    chance = random.Random(seed)
    widths = widths_for({group: chance.uniform(0.0, 0.9) for group in Group}, DENSE)
    with torch.device("meta"):
        network = build_nanob(widths)

    assert count_parameters(widths) == sum(value.numel() for value in network.parameters())


def test_widths_never_vanish_and_never_grow() -> None:
    none = widths_for(dict.fromkeys(Group, 1.0), DENSE)

    assert widths_for(dict.fromkeys(Group, 0.0), DENSE) == DENSE
    assert (min(none.backbone), none.pyramid, min(none.hidden), none.inner, none.outer) == (4, 8, 1, (2, 2), (2, 2, 2))
    assert count_parameters(none) > 0


def test_equal_widths_have_equal_keys_only() -> None:
    assert widths_key(DENSE) == widths_key(nanob_widths(NanoB().state_dict()))
    assert widths_key(DENSE) != widths_key(widths_for({**dict.fromkeys(Group, 0.0), Group.SSH: 0.2}, DENSE))


@pytest.mark.parametrize("wanted", [125_000, 150_000, 175_000])
def test_uniform_pruning_comes_close_to_a_number_of_parameters(wanted: int) -> None:
    rates = uniform_rates(wanted, DENSE)

    assert len(set(rates.values())) == 1
    assert abs(count_parameters(widths_for(rates, DENSE)) - wanted) < 8_000  # the pyramid's step of 8 is that coarse


def test_multiply_adds_are_counted_at_the_size_given() -> None:
    assert count_macs(NanoB(), (640, 640)) == 648_256_384


def test_soft_pruning_unplugs_at_its_steps_and_lets_channels_come_back_between() -> None:
    module = NanoB()
    gate = module.cbam2[0]
    assert isinstance(gate, LightCBAM)
    pruner = SoftPruner(MIDDLE, every=5, total=12)
    pruner.start(module)
    zeroed = []
    for step in range(1, 13):
        with torch.no_grad():  # as training would
            _weight(module, "bifpn.node.0.pw").add_(1.0)
        pruner(step, module)
        assert gate.kept is not None
        if not _weight(module, "bifpn.node.0.pw")[:, ~gate.kept].any():
            zeroed.append(step)

    assert zeroed == [5, 10, 12]
    assert gate.kept is not None
    assert int(gate.kept.sum()) == widths_for(MIDDLE, DENSE).pyramid


def test_the_ramp_rises_from_nothing_to_the_rates() -> None:
    ramp = SoftPruner(MIDDLE, every=1, total=10, ramp=True)
    flat = SoftPruner(MIDDLE, every=1, total=10)

    assert [ramp.share(step) for step in (0, 5, 10)] == pytest.approx([0.0, 0.875, 1.0])
    assert flat.share(0) == 1.0
