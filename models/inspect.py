"""What a network consists of and costs: layers, shapes, parameters, multiply-adds, bytes, keys.

One MAC is one multiply-add of a convolution, a linear layer or attention's two matrix products; BatchNorm, activations,
pooling and bilinear sampling are not counted. A layer that runs twice has two rows and costs twice; its parameters are
counted once in every sum.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .attention import SelfAttention
from .deform import DeformableConv2d
from .emotion_teacher import SplitAttention
from .registry import ModelEntry

__all__ = ["Inspection", "LayerRow", "inspect_entry", "inspect_module"]


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One call of one layer.

    Attributes:
        name: module path, the prefix of its keys.
        type: class name.
        channels_in, channels_out: channels or features; None where the layer has none of its own.
        kernel, stride, padding, dilation: pixels; None outside convolutions and pools.
        groups: of a convolution.
        bias: whether it adds one; None where it could not.
        output: "HxW", "tokens x width" or "features".
        parameters: trainable numbers.
        macs: multiply-adds of this call.
    """

    name: str
    type: str
    channels_in: int | None = None
    channels_out: int | None = None
    kernel: int | None = None
    stride: int | None = None
    padding: int | None = None
    dilation: int | None = None
    groups: int | None = None
    bias: bool | None = None
    output: str = ""
    parameters: int = 0
    macs: int = 0


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Everything `edge models NAME` prints of a network.

    Attributes:
        input_shape: of the pass.
        output_shapes: in order.
        layers: in the order in which they run.
        blocks: parameters of each child of the network; "(direct)" are those it holds itself.
        parameters: trainable numbers.
        buffers: other numbers in the state dict.
        macs: multiply-adds of one pass.
        weight_bytes: parameters in float32.
        activation_bytes: most bytes of activations alive at once, in float32, counting PyTorch's eager execution
            without in-place work; an engine that plans memory needs at most about that.
        keys: (name, shape) of the state dict.
    """

    input_shape: tuple[int, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    layers: tuple[LayerRow, ...]
    blocks: dict[str, int]
    parameters: int
    buffers: int
    macs: int
    weight_bytes: int
    activation_bytes: int
    keys: tuple[tuple[str, tuple[int, ...]], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain = asdict(self)
        plain["keys"] = [[name, list(shape)] for name, shape in self.keys]
        return plain


def inspect_entry(entry: ModelEntry, input_hw: tuple[int, int] | None = None) -> Inspection:
    """Return the inspection of a registered model without allocating its weights.

    Args:
        entry: the model.
        input_hw: height and width, pixels; None takes the nominal size.

    Raises:
        InputError: the network does not take that size.
    """
    shape = entry.card(input_hw).input.shape
    with torch.device("meta"):
        module = entry.build()
    return inspect_module(module, shape)


def inspect_module(module: nn.Module, input_shape: tuple[int, ...]) -> Inspection:
    """Return the inspection of a module whose forward takes one tensor.

    Args:
        module: on any device, also "meta"; runs once in eval mode without gradients.
        input_shape: of that tensor.
    """
    layers: list[LayerRow] = []
    first = next(iter(module.parameters()), None)
    device = first.device if first is not None else torch.device("cpu")
    was_training = module.training
    hooks = [
        part.register_forward_hook(_recorder(name, part, layers))
        for name, part in module.named_modules()
        if _is_row(part)
    ]
    try:
        with torch.no_grad(), _LiveBytes() as live:
            answers = module.eval()(torch.zeros(input_shape, device=device))
    finally:
        for hook in hooks:
            hook.remove()
        module.train(was_training)
    state = module.state_dict()
    parameters = sum(value.numel() for value in module.parameters())
    outputs = answers.values() if isinstance(answers, dict) else answers
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    return Inspection(
        input_shape=tuple(input_shape),
        output_shapes=tuple(tuple(value.shape) for value in outputs),
        layers=tuple(layers),
        blocks=_blocks(module),
        parameters=parameters,
        buffers=sum(value.numel() for value in state.values()) - parameters,
        macs=sum(row.macs for row in layers),
        weight_bytes=4 * parameters,
        activation_bytes=live.peak,
        keys=tuple((key, tuple(value.shape)) for key, value in state.items()),
    )


def _blocks(module: nn.Module) -> dict[str, int]:
    blocks = {name: sum(p.numel() for p in child.parameters()) for name, child in module.named_children()}
    direct = sum(p.numel() for p in module.parameters(recurse=False))
    if direct:
        blocks["(direct)"] = direct
    return {name: count for name, count in blocks.items() if count}


def _is_row(part: nn.Module) -> bool:
    if isinstance(part, DeformableConv2d | SelfAttention | SplitAttention):
        return True
    return next(part.children(), None) is None


def _recorder(name: str, part: nn.Module, layers: list[LayerRow]) -> Callable[[nn.Module, Any, Any], None]:
    def record(module: nn.Module, inputs: Any, answer: Any) -> None:
        if isinstance(answer, Tensor):
            row = _row(name, part, answer)
            if isinstance(part, SelfAttention):  # its output projection ran before it and is part of it
                while layers and layers[-1].name.startswith(f"{name}."):
                    layers.pop()
            layers.append(row)

    return record


def _row(name: str, part: nn.Module, answer: Tensor) -> LayerRow:
    kind = type(part).__name__
    size = _size(answer)
    own = sum(p.numel() for p in part.parameters())
    if isinstance(part, DeformableConv2d):  # offsets and modulation have rows of their own
        return _conv_row(f"{name}.regular_conv", part.regular_conv, answer)
    if isinstance(part, nn.Conv2d):
        return _conv_row(name, part, answer)
    if isinstance(part, nn.Linear):
        rows = answer.numel() // part.out_features
        return LayerRow(
            name=name,
            type=kind,
            channels_in=part.in_features,
            channels_out=part.out_features,
            bias=part.bias is not None,
            output=size,
            parameters=own,
            macs=rows * part.in_features * part.out_features,
        )
    if isinstance(part, SelfAttention):
        batch, tokens, width = answer.shape
        macs = batch * (4 * tokens * width * width + 2 * tokens * tokens * width)
        return LayerRow(
            name=name, type=kind, channels_in=width, channels_out=width, output=size, parameters=own, macs=macs
        )
    if isinstance(part, SplitAttention):  # query, key and value have rows of their own
        batch, tokens, width = answer.shape
        return LayerRow(
            name=name,
            type=kind,
            channels_in=width,
            channels_out=width,
            output=size,
            macs=batch * 2 * tokens * tokens * width,
        )
    return LayerRow(name=name, type=kind, channels_out=_channels(answer), output=size, parameters=own)


def _conv_row(name: str, conv: nn.Conv2d, answer: Tensor) -> LayerRow:
    places = answer.shape[0] * math.prod(answer.shape[2:])
    return LayerRow(
        name=name,
        type="Conv2d",
        channels_in=conv.in_channels,
        channels_out=conv.out_channels,
        kernel=conv.kernel_size[0],
        stride=conv.stride[0],
        padding=int(conv.padding[0]),
        dilation=conv.dilation[0],
        groups=conv.groups,
        bias=conv.bias is not None,
        output=_size(answer),
        parameters=sum(p.numel() for p in conv.parameters()),
        macs=places * conv.weight.numel(),
    )


def _size(answer: Tensor) -> str:
    sides = answer.shape[2:] if answer.dim() == 4 else answer.shape[1:]
    return "x".join(str(side) for side in sides)


def _channels(answer: Tensor) -> int | None:
    return int(answer.shape[1] if answer.dim() == 4 else answer.shape[-1]) if answer.dim() > 1 else None


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class is untyped
    """Counts bytes of the storages that operators create, for as long as they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's class is untyped
        self.now = 0
        self.peak = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        for value in answer if isinstance(answer, tuple | list) else (answer,):
            if not isinstance(value, Tensor):
                continue
            storage = value.untyped_storage()
            key = storage._cdata
            if key in self._known or any(
                isinstance(given, Tensor) and given.untyped_storage()._cdata == key for given in args
            ):
                continue
            self._known[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)
        return answer

    def _forget(self, key: int) -> None:
        self.now -= self._known.pop(key, 0)
