"""Which filters are worth least.

Source: He et al., "Filter Pruning via Geometric Median", CVPR 2019, arXiv:1811.00250, in the summed-distance form that
B-FPGM runs (`bfpgm-kd.md` section 1); magnitude is Li et al., "Pruning Filters for Efficient ConvNets",
arXiv:1608.08710, with the L2 norm.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor, nn

from ..face_nanob import NanoB, NanoBWidths
from .groups import Unit, units_of
from .widths import width_of

__all__ = ["Criterion", "Plan", "choose", "kept_units", "rank"]

Plan = dict[str, tuple[int, ...]]  # unit name -> channels that stay, ascending


class Criterion(StrEnum):
    """What makes a filter worth keeping."""

    FPGM = "fpgm"  # it is far from the others, so that they cannot stand in for it
    MAGNITUDE = "magnitude"  # its L2 norm


def rank(weight: Tensor, how: Criterion = Criterion.FPGM) -> Tensor:
    """Return what each filter is worth; the least goes first.

    Args:
        weight: (filters, ...) float32, one row a filter.
        how: FPGM gives d_i = sum over j of ||w_i - w_j||, magnitude ||w_i||.

    Returns:
        (filters,) float32, >= 0.
    """
    rows = weight.detach().flatten(1).float()
    if how == Criterion.MAGNITUDE:
        return rows.square().sum(dim=1).sqrt()
    # Not by way of the scalar product, which leaves equal rows a distance of 1e-3.
    distances: Tensor = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.sum(dim=1)


def choose(module: NanoB, widths: NanoBWidths, how: Criterion = Criterion.FPGM) -> Plan:
    """Return the channels of each unit that stay in a network of `widths`: those ranked highest.

    A unit that several convolutions make adds up their ranks, each divided by its mean, so that none speaks louder for
    having larger weights. A unit in parts keeps the same number in each.

    Args:
        module: the network that is pruned.
        widths: not above the network's own.
        how: criterion.
    """
    plan: Plan = {}
    for unit in units_of(module):
        scores = torch.stack([_scores(module.get_submodule(name), how) for name in unit.makers]).sum(0)
        keep, span = width_of(unit, widths) // unit.parts, unit.size // unit.parts
        if keep > span:
            raise ValueError(f"{unit.name} has {unit.size} channels, {keep * unit.parts} were to stay")
        parts = [part.topk(keep).indices + index * span for index, part in enumerate(scores.reshape(unit.parts, span))]
        plan[unit.name] = tuple(sorted(torch.cat(parts).tolist()))
    return plan


def _scores(conv: nn.Module, how: Criterion) -> Tensor:
    """Return the ranks of a convolution's filters over their mean; those of one group are compared with each other."""
    assert isinstance(conv, nn.Conv2d)
    scores = torch.cat([rank(part, how) for part in conv.weight.chunk(conv.groups)]).cpu()
    return scores / scores.mean().clamp(min=1e-12)


def kept_units(module: NanoB, plan: Plan) -> list[tuple[Unit, tuple[int, ...]]]:
    """Return each unit with the channels that stay."""
    return [(unit, plan[unit.name]) for unit in units_of(module)]
