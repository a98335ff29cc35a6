"""Soft filter pruning: train on, and every so often take the filters that are worth least out of use.

Source: He et al., "Soft Filter Pruning", IJCAI 2018, arXiv:1808.06866, as B-FPGM runs it: after every fifth epoch and
the last step; the ramp is Zhu and Gupta, "To prune, or not to prune", arXiv:1710.01878, eq. 1.
"""

from __future__ import annotations

from torch import nn

from ..face_nanob import NanoB, nanob_widths
from .fpgm import Criterion, choose
from .groups import Rates
from .removal import unplug
from .widths import widths_for

__all__ = ["SoftPruner"]


class SoftPruner:
    """The `after_step` of a training run; call `start` on the network before it.

    Args:
        rates: share of channels to take out of use, by group.
        every: steps between two choices.
        total: steps of the run.
        how: criterion.
        ramp: let the rates rise as s_f * (1 - (1 - t)^3) over the run instead of using them in full from the start.
    """

    def __init__(
        self, rates: Rates, *, every: int, total: int, how: Criterion = Criterion.FPGM, ramp: bool = False
    ) -> None:
        self.rates, self.every, self.total, self.how, self.ramp = dict(rates), every, total, how, ramp

    def start(self, module: NanoB) -> None:
        """Choose and unplug for the first time."""
        self._prune(module, 0)

    def __call__(self, step: int, module: nn.Module) -> None:
        """Choose anew where it is time, and unplug.

        Args:
            step: steps done.
            module: the Nano-B that is trained.
        """
        if step % self.every == 0 or step == self.total:
            assert isinstance(module, NanoB)
            self._prune(module, step)

    def share(self, step: int) -> float:
        """Return which part of the rates holds after a step, 0..1."""
        return 1 - (1 - min(step / self.total, 1.0)) ** 3 if self.ramp else 1.0

    def _prune(self, module: NanoB, step: int) -> None:
        share = self.share(step)
        rates = {group: rate * share for group, rate in self.rates.items()}
        widths = widths_for(rates, nanob_widths(module.state_dict()))
        unplug(module, choose(module, widths, self.how))
