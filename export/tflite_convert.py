"""PyTorch or ONNX to float TFLite, by one of two routes behind one function.

    litert-torch   from the exported program; no ONNX in between
    onnx2tf        from the ONNX file; takes any ONNX

Both run in a process of their own and give channels-last maps, the card's names in the card's order, builtin
operators only.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..runtime.card import Card, InputSpec, OutputSpec
from ..runtime.errors import ConversionError
from .child import run_module

__all__ = ["ROUTES", "convert_to_tflite", "save_program", "tflite_card"]

ROUTES = ("litert-torch", "onnx2tf")
TIMEOUT_S = 1800.0
Spec = TypeVar("Spec", InputSpec, OutputSpec)


def save_program(module: nn.Module, card: Card, path: Path) -> None:
    """Write the module as an exported program, its outputs a tuple in the card's order.

    Args:
        module: takes one tensor of `card.input.shape`; gives a tensor, a sequence in the card's order, or a mapping
            by the card's output names. It is put in eval mode while it is exported.
        card: of the module.
        path: `.pt2` file to write.

    Raises:
        ConversionError: `torch.export` cannot trace the module; the message says where.
    """
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.export warns of its own internals
            program = torch.export.export(_Ordered(module, card), (torch.zeros(card.input.shape),), strict=False)
            torch.export.save(program, path)
    except Exception as exc:  # torch.export raises many kinds for one cause: the module cannot be traced
        line = str(exc).strip().splitlines()
        raise ConversionError(
            f"`{card.model}` cannot be traced by torch.export", got=line[0][:150] if line else type(exc).__name__
        ) from exc
    finally:
        module.train(was_training)


def convert_to_tflite(
    *,
    program: Path,
    onnx: Path,
    card: Card,
    via: str,
    out: Path,
    work: Path,
    timeout_s: float = TIMEOUT_S,
    verbose: bool = False,
) -> Card:
    """Write the float32 TFLite file of a model and return its card.

    Args:
        program: from `save_program`; read by "litert-torch".
        onnx: the fp32 ONNX file; read by "onnx2tf".
        card: of the PyTorch module and the ONNX file (NCHW).
        via: one of `ROUTES`.
        out: file to write; its card is not embedded yet, since parity and recipe are not known.
        work: folder for the converter's files and log; made if absent.
        timeout_s: wall-clock limit, seconds.
        verbose: pass on what the converter prints, after it ended.

    Returns:
        The card with channels-last layouts and shapes, as the file has them.

    Raises:
        ConversionError: the converter refused, crashed or met an operator without TFLite counterpart, named.
        ResourceError: out of time, memory or disk.
    """
    if via not in ROUTES:
        raise ConversionError("route to TFLite is not known", expected=" | ".join(ROUTES), got=via)
    work.mkdir(parents=True, exist_ok=True)
    job = {
        "via": via,
        "program": str(program.resolve()),
        "onnx": str(onnx.resolve()),
        "card": card.to_dict(),
        "out": str(out.resolve()),
        "work": str(work.resolve()),
    }
    order = work / f"{via}.json"
    order.write_text(json.dumps(job, sort_keys=True), encoding="utf-8")
    arguments = [str(order.resolve())]
    run_module("edge.export.tflite_worker", arguments, log=work / f"{via}.log", timeout_s=timeout_s, verbose=verbose)
    return tflite_card(card)


def tflite_card(card: Card) -> Card:
    """Return the card with every NCHW map moved to NHWC, shapes with it; "any" stays as it is."""
    return dataclasses.replace(
        card, input=_channels_last(card.input), outputs=tuple(_channels_last(item) for item in card.outputs)
    )


def _channels_last(spec: Spec) -> Spec:
    if spec.layout != "NCHW" or len(spec.shape) != 4:
        return spec
    batch, channels, height, width = spec.shape
    return dataclasses.replace(spec, shape=(batch, height, width, channels), layout="NHWC")


class _Ordered(nn.Module):
    """The module with its outputs as a tuple in the card's order."""

    def __init__(self, module: nn.Module, card: Card) -> None:
        super().__init__()
        self.module = module
        self.names = [item.name for item in card.outputs]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs: Any = self.module(x)
        if isinstance(outputs, Mapping):
            return tuple(outputs[name] for name in self.names)
        return tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)
