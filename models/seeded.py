"""Deterministic weights for networks that ship none, so that their pipelines can be exercised end to end.

The outputs mean nothing: such a network has seen no data. What they do have is healthy ranges, so that exporters and
quantisers work on signals that resemble a trained network's rather than on zeros or overflow.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from .attention import SelfAttention
from .deform import DeformableConv2d
from .registry import ModelEntry

__all__ = ["seeded", "structured_noise"]

M = TypeVar("M", bound=nn.Module)
PASSES = 4  # pictures in the one batch that sets BatchNorm statistics
# BatchNorm shift: most units stay active. Random networks whose units are off half of the time are chaotic: they turn a
# rounding error of the first layer into noise as large as the answer, which no trained network does.
SHIFT = 1.0


def seeded(
    model: ModelEntry | nn.Module,
    input_shape: tuple[int, ...] | None = None,
    seed: int = 0,
    batch: Tensor | None = None,
) -> nn.Module:
    """Return a network in eval mode with weights that depend on `seed` and `batch` only; a module is changed in place.

    Weights are drawn as by Kaiming for ReLU, plus an orthogonal map; BatchNorm statistics come from one pass of
    `batch`; the last layer of a face detector is biased towards background, and pose maps are scaled to their working
    range.

    Args:
        model: a registry entry or a module.
        input_shape: (1, C, H, W) of the pass; None takes the entry's card.
        seed: any whole number.
        batch: (N, C, H, W) float32 of the kind the network will see; None takes structured noise of unit variance.

    Raises:
        ValueError: a bare module was given without a shape.
    """
    if isinstance(model, ModelEntry):
        input_shape = input_shape or model.card(None).input.shape
        module = model.build()
    else:
        module = model
    if input_shape is None:
        raise ValueError("a bare module needs the shape of its input")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, part in module.named_modules():
            _draw(part, name, generator)
        _draw_loose(module, generator)
        _settle(module, structured_noise((PASSES, *input_shape[1:]), seed) if batch is None else batch)
    return module.eval()


def structured_noise(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return smooth blobs plus a little grain: (N, C, H, W) float32, zero mean, unit variance for each sample.

    Args:
        shape: of the batch; other ranks get plain noise.
        seed: any whole number.
    """
    generator = np.random.default_rng(seed)
    if len(shape) != 4:
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
    total = torch.zeros(shape)
    for cells in (3, 8, 24, 72):
        coarse = generator.standard_normal((*shape[:2], cells, cells), dtype=np.float32)
        total += nn.functional.interpolate(torch.from_numpy(coarse), size=shape[2:], mode="bilinear")
    total += 0.3 * torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
    flat = total.flatten(1)
    total -= flat.mean(1).reshape(-1, 1, 1, 1)
    return total / flat.std(1).reshape(-1, 1, 1, 1)


def _draw(part: nn.Module, name: str, generator: torch.Generator) -> None:
    if isinstance(part, nn.Conv2d | nn.Linear):
        fan_in = math.prod(part.weight.shape[1:])
        part.weight.normal_(0.0, math.sqrt(2.0 / fan_in), generator=generator)
        if part.bias is not None:
            part.bias.zero_()
        if name.endswith(("offset_conv", "modulator_conv")):
            part.weight.mul_(0.3)  # offsets of about a pixel, as trained networks have
        elif "cbam" in name or "Gate" in name:
            part.weight.mul_(0.1)  # gates that are neither open nor shut
        elif isinstance(part, nn.Conv2d):
            _pass_through(part, generator)
    elif isinstance(part, nn.BatchNorm2d):
        part.weight.uniform_(0.8, 1.2, generator=generator)
        part.bias.normal_(SHIFT, 0.1, generator=generator)
    elif isinstance(part, nn.LayerNorm):
        part.weight.fill_(1.0)
        part.bias.zero_()
    elif isinstance(part, SelfAttention):
        part.in_proj_weight.normal_(0.0, 1.0 / math.sqrt(part.width), generator=generator)
        part.in_proj_bias.zero_()
    elif isinstance(part, DeformableConv2d):
        return  # its three convolutions are drawn on their own


def _pass_through(conv: nn.Conv2d, generator: torch.Generator) -> None:
    """Add an orthogonal map at the centre tap, so that what enters a layer can still be told from what leaves it.

    Source: Xiao et al., "Dynamical isometry and a mean field theory of CNNs", ICML 2018, arXiv:1806.05393 (the
    delta-orthogonal kernel).
    """
    out, into, height, width = conv.weight.shape
    if into == 1:
        centre = torch.ones(out, into)
    else:
        square = torch.empty(max(out, into), min(out, into)).normal_(generator=generator)
        basis = torch.linalg.qr(square)[0]
        centre = (basis if out >= into else basis.T) * math.sqrt(2.0 * max(1.0, out / into))
    conv.weight[:, :, height // 2, width // 2] += centre


def _draw_loose(module: nn.Module, generator: torch.Generator) -> None:
    """Tokens, positions and fusion weights: parameters that belong to no layer."""
    for name, value in module.named_parameters():
        leaf = name.rpartition(".")[2]
        if leaf in ("cls_token", "pos_embed", "position_embeddings"):
            value.normal_(0.0, 0.2, generator=generator)
        elif value.dim() == 1 and leaf not in ("weight", "bias", "in_proj_bias"):
            value.uniform_(0.5, 1.5, generator=generator)


def _settle(module: nn.Module, batch: Tensor) -> None:
    """Set BatchNorm statistics from one pass, then bring the last layers to a working range."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [part.momentum for part in norms]
    dropouts = [part for part in module.modules() if isinstance(part, nn.Dropout)]
    module.train()
    for drop in dropouts:
        drop.eval()
    for part in norms:
        part.reset_running_stats()
        part.momentum = None  # a plain average over what it sees, here one batch
    module(batch)
    for part, momentum in zip(norms, momenta, strict=True):
        part.momentum = momentum
        assert part.running_var is not None
        part.running_var.clamp_(min=1e-3)  # a gate's single channel may hardly vary
    module.eval()
    last = _last_layers(module)
    for _ in range(2):  # twice: a first stage's outputs are a second stage's inputs
        answers = _answers(module, [layer for layer, _, _ in last], batch)
        for (layer, scale, bias), answer in zip(last, answers, strict=True):
            centre = answer.mean((0, 2, 3)) if answer.dim() == 4 else answer.mean(0)
            spread = answer - (centre.reshape(1, -1, 1, 1) if answer.dim() == 4 else centre)
            gain = scale / max(float(spread.std()), 1e-6)
            layer.weight.mul_(gain)
            if layer.bias is not None:
                layer.bias.copy_(bias - gain * (centre - layer.bias))


Last = tuple[nn.Conv2d | nn.Linear, float, Tensor]


def _last_layers(module: nn.Module) -> list[Last]:
    """Return (layer, wanted standard deviation, wanted mean) of the layers that produce the outputs."""
    parts = dict(module.named_modules())
    found: list[Last] = []
    for name, part in parts.items():
        if not isinstance(part, nn.Conv2d | nn.Linear):
            continue
        width = part.weight.shape[0]
        if name.startswith("ClassHead."):
            found.append((part, 1.5, torch.tensor([1.5, -1.5]).repeat(width // 2)))  # mostly background
        elif name.startswith(("BboxHead.", "LandmarkHead.")):
            found.append((part, 1.0, torch.zeros(width)))
        elif isinstance(part, nn.Conv2d) and width in (19, 38) and part.kernel_size == (1, 1):
            found.append((part, 0.2, torch.zeros(width)))  # heatmaps and part affinity fields
        elif isinstance(part, nn.Linear) and width == 2:
            found.append((part, 0.5, torch.zeros(width)))  # before tanh
    return found


def _answers(module: nn.Module, layers: list[nn.Conv2d | nn.Linear], batch: Tensor) -> list[Tensor]:
    caught: dict[int, Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda part, _, answer: caught.__setitem__(id(part), answer)) for layer in layers
    ]
    module(batch)
    for hook in hooks:
        hook.remove()
    return [caught[id(layer)] for layer in layers]
