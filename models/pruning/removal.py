"""Take channels away: in effect (`mask`, `unplug`) or for good (`remove`). All three give the same outputs.

What a zeroed filter leaves behind: BatchNorm makes of its zeros the constant beta - gamma * mean / std, the activation
another one, and a following 3x3 convolution with zero padding no constant at all, but one number inside and others at
the borders. No bias can stand for that. So `mask` zeroes with a filter the gamma and beta of its BatchNorm and those of
the depthwise convolution behind: the channel is zero everywhere, to the last bit, and nothing is left to fold.

The gate over places in an attention module is the one place where a channel of zeros is not an absent channel: the mean
divides by all, and the maximum of negative values becomes zero. A masked network's gates therefore look at the channels
that stay only (`LightCBAM.kept`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..cbam import LightCBAM
from ..face_nanob import NanoB, build_nanob, nanob_widths
from ..shuffle import shuffle_groups_first
from .fpgm import Plan, kept_units
from .groups import Unit

__all__ = ["mask", "remove", "unplug"]


@torch.no_grad()
def mask(module: NanoB, plan: Plan) -> None:
    """Make the channels that go zero, in place: their filters, and gamma and beta of every BatchNorm behind these.

    No gradient brings them back: at a zero filter under a zero gamma every derivative vanishes.
    """
    for unit, kept in kept_units(module, plan):
        gone = _gone(unit, kept)
        for name in (*unit.makers, *unit.followers):
            _conv(module, name).weight[gone] = 0.0
        for name in unit.norms:
            norm = module.get_submodule(name)
            assert isinstance(norm, nn.BatchNorm2d)
            norm.weight[gone] = 0.0
            norm.bias[gone] = 0.0
    _tell_gates(module, plan)


@torch.no_grad()
def unplug(module: NanoB, plan: Plan) -> None:
    """Zero, in place, what reads the channels that go: the network answers as if they were removed.

    This is the mask of soft pruning. Every channel goes on living, and its readers have a gradient from the first step,
    so that it can come back. With the filters themselves zeroed, most could not: behind BatchNorm and ReLU a zero
    channel has no gradient, and where it has one, BatchNorm brings it back at full strength after a single step.
    """
    for unit, kept in kept_units(module, plan):
        for name in unit.readers:
            conv = _conv(module, name)
            gone = [unit.offset + channel for channel in _gone(unit, kept)]
            if unit.shuffled:
                places = _columns_of_channels(conv.in_channels)
                gone = [places[channel] for channel in gone]
            span = conv.weight.shape[1]
            for i, rows in enumerate(conv.weight.chunk(conv.groups)):
                rows[:, [column - i * span for column in gone if column // span == i]] = 0.0
    _tell_gates(module, plan)


@torch.no_grad()
def remove(module: NanoB, plan: Plan) -> NanoB:
    """Return a new, smaller network without the channels that go, in eval mode on the same device.

    Args:
        module: left as it is.
        plan: from `choose`.

    Returns:
        a network that answers as the masked one does, within rounding.
    """
    rows: dict[str, list[int]] = {}
    columns: dict[str, list[int]] = {}
    shuffled: set[str] = set()
    for unit, kept in kept_units(module, plan):
        for name in (*unit.makers, *unit.norms, *unit.followers):
            rows[name] = list(kept)
        for name in unit.readers:
            columns.setdefault(name, []).extend(unit.offset + channel for channel in kept)
        if unit.shuffled:
            shuffled.update(unit.readers)
    state = {}
    for key, value in module.state_dict().items():
        name, _, leaf = key.rpartition(".")
        if leaf == "kept":
            continue
        if value.dim() and name in rows:
            value = value[rows[name]]
        if leaf == "weight" and name in columns:
            value = _take_columns(value, columns[name], _conv(module, name), shuffled=name in shuffled)
        state[key] = value.clone()
    smaller = build_nanob(nanob_widths(state)).to(next(module.parameters()).device)
    smaller.load_state_dict(state)
    return smaller.eval()


def _gone(unit: Unit, kept: tuple[int, ...]) -> list[int]:
    return sorted(set(range(unit.size)) - set(kept))


def _tell_gates(module: NanoB, plan: Plan) -> None:
    for unit, kept in kept_units(module, plan):
        for name in unit.gates:
            gate = module.get_submodule(name)
            assert isinstance(gate, LightCBAM)
            stays = torch.zeros(unit.size, dtype=torch.bool)
            stays[list(kept)] = True
            gate.kept = stays.to(gate.fc1.weight.device)


def _take_columns(weight: Tensor, channels: list[int], conv: nn.Conv2d, *, shuffled: bool) -> Tensor:
    """Return a weight whose rows are final with the columns of `channels`, each group of rows with its own."""
    if shuffled:
        columns, order = _columns_of_channels(conv.in_channels), _shuffle(len(channels))
        return weight[:, [columns[channels[source]] for source in order]]
    span = weight.shape[1]
    parts = weight.chunk(conv.groups)
    return torch.cat(
        [part[:, [channel - i * span for channel in channels if channel // span == i]] for i, part in enumerate(parts)]
    )


def _shuffle(channels: int) -> list[int]:
    """Return, for each place behind the shuffle, the channel that it holds."""
    order: list[int] = shuffle_groups_first(torch.arange(channels).reshape(1, -1, 1, 1)).flatten().tolist()
    return order


def _columns_of_channels(channels: int) -> list[int]:
    """Return, for each channel before the shuffle, its place behind it."""
    places = [0] * channels
    for place, channel in enumerate(_shuffle(channels)):
        places[channel] = place
    return places


def _conv(module: NanoB, name: str) -> nn.Conv2d:
    conv = module.get_submodule(name)
    assert isinstance(conv, nn.Conv2d)
    return conv
