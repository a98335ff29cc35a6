"""From six rates to whole widths, and how many parameters a network of such widths has."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise

import torch

from ..face_nanob import NanoB, NanoBWidths, build_nanob, nanob_widths
from .groups import EARLY_LAYERS, Group, Rates, Unit

__all__ = ["count_macs", "count_parameters", "uniform_rates", "width_of", "widths_for", "widths_key"]

# Backbone widths are multiples of 4 and the pyramid's of 8, as bfpgm-kd.md section 3 has it; context widths serve two
# groups; an attention module's hidden layer is a matrix with a vector, where alignment buys nothing.
STEPS = {Group.EARLY: 4, Group.LATE: 4, Group.CBAM: 1, Group.BIFPN: 8, Group.SSH: 2, Group.HEADS: 2}
STEPS_OF_BISECTION = 40


def widths_for(rates: Rates, dense: NanoBWidths) -> NanoBWidths:
    """Return the widths that stay when each group loses its rate of `dense`, rounded to the group's step.

    Args:
        rates: share of channels to remove by group, 0..1; at least one step stays.
        dense: widths before.
    """

    def kept(group: Group, sizes: tuple[int, ...]) -> tuple[int, ...]:
        step = STEPS[group]
        return tuple(min(size, max(step, int(size * (1 - rates[group]) / step + 0.5) * step)) for size in sizes)

    context = kept(Group.SSH, dense.inner), kept(Group.HEADS, dense.outer)
    return NanoBWidths(
        backbone=kept(Group.EARLY, dense.backbone[:EARLY_LAYERS]) + kept(Group.LATE, dense.backbone[EARLY_LAYERS:]),
        pyramid=kept(Group.BIFPN, (dense.pyramid,))[0],
        hidden=kept(Group.CBAM, dense.hidden),
        inner=(context[0][0], context[0][1]),
        outer=(context[1][0], context[1][1], context[1][2]),
    )


def width_of(unit: Unit, widths: NanoBWidths) -> int:
    """Return how many channels of a unit stay in a network of these widths."""
    kind, *rest = unit.name.split(".")
    if kind == "body":
        starts = {"stage1": 0, "stage2": 6, "stage3": 12}
        return widths.backbone[starts[rest[0]] + int(rest[1])]
    if kind == "bifpn":
        return widths.pyramid
    if kind == "ssh":
        sizes = dict(zip(("b5a", "b7a", "b3", "b5b", "b7b"), widths.inner + widths.outer, strict=True))
        return sizes[rest[1]]
    return widths.hidden[3 * (int(kind.removeprefix("cbam")) - 1) + int(rest[0])]


def widths_key(widths: NanoBWidths) -> str:
    """Return a short text that is the same for equal widths only."""
    parts = (value if isinstance(value, tuple) else (value,) for value in asdict(widths).values())
    return "/".join(",".join(map(str, part)) for part in parts)


def count_parameters(widths: NanoBWidths) -> int:
    """Return the trainable numbers of a network of these widths, without building it: a search asks often."""
    body, pyramid = widths.backbone, widths.pyramid
    taps = (body[5], body[11], body[13])
    total = 27 * body[0] + 2 * body[0]  # 3x3 convolution of the picture; BatchNorm has two numbers a channel
    total += sum(11 * before + before * after + 2 * after for before, after in pairwise(body))
    total += sum(2 * width * hidden + 98 for width, hidden in zip((*taps, *3 * (pyramid,)), widths.hidden, strict=True))
    total += sum(width + width * pyramid + 2 * pyramid for width in taps)
    total += 4 * (9 * pyramid + pyramid * pyramid + 2 * pyramid) + 9  # four nodes, nine fusion weights
    middle, far = widths.inner
    out3, out5, out7 = widths.outer
    context = ((pyramid, out3), (pyramid, middle), (middle, out5), (middle, far), (far, out7))
    total += 3 * sum(9 * (before // 2) * after + 2 * after for before, after in context)
    return total + 3 * 32 * (sum(widths.outer) + 1)  # two anchors of 2 + 4 + 10 numbers


def count_macs(module: NanoB, hw: tuple[int, int]) -> int:
    """Return the multiply-adds of one picture of height and width `hw`, pixels."""
    from ..inspect import inspect_module

    with torch.device("meta"):
        twin = build_nanob(nanob_widths(module.state_dict())).eval()
    return inspect_module(twin, (1, 3, *hw)).macs


def uniform_rates(parameters: int, dense: NanoBWidths) -> dict[Group, float]:
    """Return the one rate for all groups, 0..0.95, whose network comes closest to a number of parameters.

    The groups' bounds do not apply: it is what pruning without a search would do.
    """
    low, high, best = 0.0, 0.95, 0.0

    def distance(rate: float) -> int:
        return abs(count_parameters(widths_for(dict.fromkeys(Group, rate), dense)) - parameters)

    for _ in range(STEPS_OF_BISECTION):
        middle = (low + high) / 2
        best = min(best, middle, key=distance)
        if count_parameters(widths_for(dict.fromkeys(Group, middle), dense)) > parameters:
            low = middle
        else:
            high = middle
    return dict.fromkeys(Group, best)
