"""Quantisation-aware training: the network learns while its weights and activations are rounded as INT8 rounds them.

    start_qat(module)
    ...train...              # float32: bfloat16's 8 bits of mantissa would round the 8-bit grid once more
    finish_qat(module)       # a plain float network again, for the usual export

Every convolution and linear layer rounds its input and its weight in the forward pass; gradients go straight through,
and stop where a value was clipped (Jacob et al., arXiv:1712.05877; Bengio et al., arXiv:1308.3432).

- Weights: symmetric, one scale for each output channel, -127..127. Exporters quantise after folding BatchNorm in, which
  multiplies a channel and its scale by one constant and leaves its rounding as it was: the grid of the unfolded weight
  is the one the file gets.
- Activations: asymmetric, one scale a tensor, 0..255, over a moving average of the observed minimum and maximum. They
  are kept in buffers, so that saving, resuming and averaging weights take care of them; `finish_qat` drops them.

Not rounded: what leaves the network, and what goes only into additions and products of two activations.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...runtime.errors import InputError

__all__ = ["finish_qat", "start_qat"]

KEEP = 0.99  # of the range seen so far, at each training step
LOW, HIGH = "fakequant_low", "fakequant_high"


def start_qat(module: nn.Module, *, skip: Collection[str] = ()) -> list[str]:
    """Make every `nn.Conv2d` and `nn.Linear` of a module round as INT8 does, and return their names.

    The state dict gains two buffers a layer, `*.fakequant_low` and `*.fakequant_high`; nothing else is renamed.
    Until a layer has seen a batch in training mode its input is not rounded.

    Args:
        module: changed in place; stays on its device.
        skip: names of layers that stay float, as `named_modules` gives them.

    Raises:
        InputError: a name in `skip` is no such layer, or the module is instrumented already.
    """
    layers = {name: part for name, part in module.named_modules() if type(part) in _QUANTISED}
    unknown = sorted(set(skip) - set(layers))
    if unknown:
        raise InputError("layers to skip are no convolution or linear layer of the network", got=", ".join(unknown))
    if any(isinstance(part, _Rounding) for part in module.modules()):
        raise InputError("the network rounds as INT8 already")
    chosen = {name: part for name, part in layers.items() if name not in skip}
    for part in chosen.values():
        device = next(part.parameters()).device
        part.register_buffer(LOW, torch.zeros((), device=device))
        part.register_buffer(HIGH, torch.zeros((), device=device))
        part.__class__ = _QUANTISED[type(part)]
    return list(chosen)


def finish_qat(module: nn.Module) -> None:
    """Make a module, or a copy of one, the plain float network that it was: same keys, the weights it has learnt."""
    for part in module.modules():
        if isinstance(part, _Rounding):
            part.__class__ = part.plain  # type: ignore[assignment]  # mypy takes it for a narrowing
            del part._buffers[LOW], part._buffers[HIGH]


class _Rounding(nn.Module):
    """What the rounding layers share; instances come about by a change of class."""

    plain: ClassVar[type[nn.Module]]
    fakequant_low: Tensor
    fakequant_high: Tensor

    def _rounded_input(self, x: Tensor) -> Tensor:
        if self.training:
            self._observe(x.detach())
        elif not self.fakequant_high > self.fakequant_low:  # nothing was seen yet
            return x
        span = self.fakequant_high - self.fakequant_low
        scale = torch.where(span > 0, span, 1.0) / 255  # an input that is 0 throughout has no range
        zero_point = (-self.fakequant_low / scale).round().clamp(0, 255).int()
        rounded: Tensor = torch.fake_quantize_per_tensor_affine(x.float(), scale, zero_point, 0, 255)
        return rounded

    def _observe(self, x: Tensor) -> None:
        low, high = (value.float() for value in torch.aminmax(x))
        first = self.fakequant_high == self.fakequant_low
        for buffer, value in ((self.fakequant_low, low.clamp(max=0)), (self.fakequant_high, high.clamp(min=0))):
            buffer.copy_(torch.where(first, value, buffer + (1 - KEEP) * (value - buffer)))


class _RoundingConv2d(_Rounding, nn.Conv2d):
    plain = nn.Conv2d

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self._conv_forward(self._rounded_input(x), _rounded_weight(self.weight), self.bias)
        return answer


class _RoundingLinear(_Rounding, nn.Linear):
    plain = nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self._rounded_input(x), _rounded_weight(self.weight), self.bias)


def _rounded_weight(weight: Tensor) -> Tensor:
    largest = weight.detach().float().flatten(1).abs().amax(1)
    scale = torch.where(largest > 0, largest, 1.0) / 127
    zero_point = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight.float(), scale, zero_point, 0, -127, 127)


_QUANTISED: dict[type[nn.Module], type[_Rounding]] = {nn.Conv2d: _RoundingConv2d, nn.Linear: _RoundingLinear}
