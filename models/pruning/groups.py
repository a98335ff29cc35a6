"""Which channels of Nano-B live and die together, and the six groups whose shares the search chooses.

A `Unit` is a set of channels that can be removed one by one without changing the shape of anything else: the filters
that make them, what passes them on channel by channel, and the convolutions that read them. What each rate acts on:

- `backbone-early`, `backbone-late`: the outputs of layers 0-5 and 6-13, each layer its own unit. A depthwise
  convolution follows the pointwise one that feeds it, and has no unit of its own.
- `cbam`: the hidden units of the six attention modules. Their channels are those of the backbone and the pyramid.
- `bifpn`: the pyramid width: one unit, since laterals and nodes are added together; with it the attention behind the
  pyramid and what the context modules read. In two halves, which the grouped convolutions see apart.
- `ssh`: the widths inside the context branches (the two that no head sees).
- `heads`: what the heads read, that is the outputs of the context branches. The heads' own outputs are never pruned.

So no rate is tied to another. Bounds: `bfpgm-kd.md` section 2, the seed's column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..face_nanob import NanoB, nanob_widths

__all__ = ["BOUNDS", "Group", "Rates", "Unit", "units_of"]


class Group(StrEnum):
    """Parts of Nano-B that have one rate each."""

    EARLY = "backbone-early"
    LATE = "backbone-late"
    CBAM = "cbam"
    BIFPN = "bifpn"
    SSH = "ssh"
    HEADS = "heads"


Rates = Mapping[Group, float]
BOUNDS: dict[Group, tuple[float, float]] = {
    Group.EARLY: (0.0, 0.4),
    Group.LATE: (0.1, 0.5),
    Group.CBAM: (0.1, 0.5),
    Group.BIFPN: (0.15, 0.6),
    Group.SSH: (0.1, 0.5),
    Group.HEADS: (0.0, 0.3),
}
EARLY_LAYERS = 6  # up to stride 8
STAGES = (6, 12, 14)
TAPPED = (5, 11, 13)  # layers whose output goes to the pyramid too
LEVELS = range(3)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Channels 0..size-1 that are removed one by one.

    Attributes:
        name: for plans and reports.
        group: whose rate it has.
        size: channels.
        parts: equal ranges of channels of which the same number must stay.
        makers: convolutions whose filters make the channels, and by which they are ranked.
        norms: BatchNorms over the channels.
        followers: layers with one filter a channel that makes no decision: depthwise convolutions, an attention
            module's second layer.
        readers: convolutions that read the channels as their input.
        gates: attention modules whose gate over places looks at the channels.
        offset: where the channels begin in what the readers read.
        shuffled: the readers read the channels after `shuffle_groups_first`.
    """

    name: str
    group: Group
    size: int
    parts: int = 1
    makers: tuple[str, ...]
    norms: tuple[str, ...] = ()
    followers: tuple[str, ...] = ()
    readers: tuple[str, ...]
    gates: tuple[str, ...] = ()
    offset: int = 0
    shuffled: bool = False


def units_of(module: NanoB) -> list[Unit]:
    """Return the units of a network, from its input to its heads."""
    widths = nanob_widths(module.state_dict())
    backbone = [_layer(index, size) for index, size in enumerate(widths.backbone)]
    hidden = [_hidden(*place, size) for place, size in zip(_attention(), widths.hidden, strict=True)]
    context = [unit for level in LEVELS for unit in _context(level, widths.inner, widths.outer)]
    return [*backbone, *hidden, _pyramid(widths.pyramid), *context]


def _layer(index: int, size: int) -> Unit:
    stem, place = index == 0, _place(index)
    following = _place(index + 1) if index + 1 < STAGES[-1] else None
    norms = [f"{place}.1" if stem else f"{place}.4"]
    followers, readers, gates = [], [], []
    if following is not None:
        norms.append(f"{following}.1")
        followers.append(f"{following}.0")
        readers.append(f"{following}.3")
    if index in TAPPED:
        level = TAPPED.index(index)
        followers += [f"cbam1.{level}.fc2", f"bifpn.lat.{level}.dw"]
        readers += [f"cbam1.{level}.fc1", f"bifpn.lat.{level}.pw"]
        gates.append(f"cbam1.{level}")
    return Unit(
        name=place,
        group=Group.EARLY if index < EARLY_LAYERS else Group.LATE,
        size=size,
        makers=(f"{place}.0" if stem else f"{place}.3",),
        norms=tuple(norms),
        followers=tuple(followers),
        readers=tuple(readers),
        gates=tuple(gates),
    )


def _place(index: int) -> str:
    stage = next(number for number, end in enumerate(STAGES) if index < end)
    return f"body.stage{stage + 1}.{index - (0, *STAGES)[stage]}"


def _attention() -> list[tuple[int, int]]:
    return [(gate, level) for gate in (1, 2) for level in LEVELS]


def _hidden(gate: int, level: int, size: int) -> Unit:
    place = f"cbam{gate}.{level}"
    return Unit(name=place, group=Group.CBAM, size=size, makers=(f"{place}.fc1",), readers=(f"{place}.fc2",))


def _pyramid(size: int) -> Unit:
    blocks = [f"bifpn.lat.{level}" for level in LEVELS] + [f"bifpn.node.{node}" for node in range(4)]
    nodes = blocks[len(LEVELS) :]
    return Unit(
        name="bifpn",
        group=Group.BIFPN,
        size=size,
        parts=2,
        makers=tuple(f"{block}.pw" for block in blocks),
        norms=tuple(f"{block}.bn" for block in blocks),
        followers=(*(f"{node}.dw" for node in nodes), *(f"cbam2.{level}.fc2" for level in LEVELS)),
        readers=(
            *(f"{node}.pw" for node in nodes),
            *(f"cbam2.{level}.fc1" for level in LEVELS),
            *(f"ssh.{level}.{branch}.0" for level in LEVELS for branch in ("b3", "b5a")),
        ),
        gates=tuple(f"cbam2.{level}" for level in LEVELS),
    )


def _context(level: int, inner: tuple[int, int], outer: tuple[int, int, int]) -> list[Unit]:
    heads = tuple(f"{head}.{level}.conv1x1" for head in ("ClassHead", "BboxHead", "LandmarkHead"))
    read = {"b5a": ("b5b", "b7a"), "b7a": ("b7b",)}
    inside = [
        _branch(level, name, Group.SSH, size, tuple(f"ssh.{level}.{reader}.0" for reader in read[name]))
        for name, size in zip(read, inner, strict=True)
    ]
    offsets = (0, outer[0], outer[0] + outer[1])
    outside = [
        _branch(level, name, Group.HEADS, size, heads, offset, shuffled=True)
        for name, size, offset in zip(("b3", "b5b", "b7b"), outer, offsets, strict=True)
    ]
    return inside + outside


def _branch(
    level: int, name: str, group: Group, size: int, readers: tuple[str, ...], offset: int = 0, *, shuffled: bool = False
) -> Unit:
    place = f"ssh.{level}.{name}"
    return Unit(
        name=place, group=group, size=size, parts=2, makers=(f"{place}.0",), norms=(f"{place}.1",), readers=readers,
        offset=offset, shuffled=shuffled,
    )  # fmt: skip
