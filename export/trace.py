"""The first stage: a checkpoint becomes an ONNX file, a torch.export program, and PyTorch's own answers.

After it nothing of the pipeline needs the module, so that a later run can start from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..models import registry
from ..models.checkpoint import load_into, load_model, read_checkpoint
from ..models.seeded import seeded
from ..runtime.card import Card, ParityLimit, Precision
from ..runtime.errors import ConversionError
from . import own_model
from .calibration import Samples, stress_inputs, synthetic_samples
from .evaluate import Outputs
from .request import ExportRequest
from .store import sha256_file
from .tflite_convert import save_program
from .to_onnx import export_onnx

__all__ = ["Source", "answers", "load_source", "read_answers", "trace"]

Float32 = NDArray[np.float32]
SETTLING = 4  # synthetic samples that BatchNorm statistics of seeded weights come from; in no split


@dataclass(frozen=True, kw_only=True)
class Source:
    """A module with its weights and its card.

    Attributes:
        module: in eval mode.
        card: its provenance names the weights.
        notes: what people should know: random weights, dropped keys.
    """

    module: nn.Module
    card: Card
    notes: list[str]


def load_source(request: ExportRequest) -> Source:
    """Return the module that a request asks for, its weights loaded.

    Raises:
        CheckpointError: the weights are damaged, unsafe, or of another network.
        InputError: the user's own factory fails.
    """
    if request.factory is not None:
        return _own(request)
    entry = registry.get(request.name)
    card = entry.card(request.input_hw)
    if request.weights is None:
        batch = torch.from_numpy(np.concatenate(synthetic_samples(card, SETTLING, -1 - request.seed)))
        module = seeded(entry, card.input.shape, seed=request.seed, batch=batch)
        weights = f"random (seed {request.seed}), not trained: outputs mean nothing"
        # Random networks turn rounding into noise as trained ones do not: their INT8 figures are reported, not judged.
        judged = {word: limit for word, limit in card.parity.items() if word in (Precision.FP32, Precision.FP16)}
        card = replace(card, parity={**card.parity, **dict.fromkeys(set(card.parity) - set(judged), ParityLimit())})
        card = replace(card, provenance={**card.provenance, "training_data": "none"})
        return _source(module, card, weights, [f"weights are {weights}; limits of quantised files are not judged"])
    module, report = load_model(entry, request.weights)
    if request.training is None:
        return _source(module, card, _weights(request.weights), list(report.notes))
    notes = [f"weights are {request.training.summary()}", *report.notes]
    return Source(module=module, card=request.training.on(card), notes=notes)


def trace(source: Source, samples: Samples, folder: Path) -> dict[str, Any]:
    """Write `model.onnx`, `program.pt2`, `card.json` and `answers.npz` into a folder; return facts for the manifest.

    Raises:
        EdgeError: see `export_onnx`.
    """
    export_onnx(source.module, source.card, folder / "model.onnx")
    save_program(source.module, source.card, folder / "program.pt2")
    (folder / "card.json").write_text(source.card.to_json(), encoding="utf-8")
    arrays = {}
    for split, inputs in splits(samples).items():
        for name, values in answers(source.module, source.card, inputs).items():
            arrays[f"{split}/{name}"] = np.stack(values)
    np.savez(folder / "answers.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub knows only `allow_pickle` here
    return {"notes": source.notes, "parameters": sum(p.numel() for p in source.module.parameters())}


def splits(samples: Samples) -> dict[str, Sequence[Float32]]:
    """Return the inputs that PyTorch's answers are kept for."""
    return {"search": samples.search, "parity": samples.parity, "stress": stress_inputs(samples.parity)}


def answers(module: nn.Module, card: Card, inputs: Sequence[Float32]) -> Outputs:
    """Return what the module says to each input, by output name.

    Raises:
        ConversionError: an answer is not finite, or the outputs are not those of the card.
    """
    found: Outputs = {output.name: [] for output in card.outputs}
    with torch.no_grad():
        for sample in inputs:
            values = module(torch.from_numpy(sample.copy()))  # a network may change its input in place
            for output, value in zip(card.outputs, values, strict=True):
                array = value.numpy().copy()
                wrong = int(array.size - np.isfinite(array).sum())
                if wrong:
                    raise ConversionError(f"PyTorch's own output `{output.name}` has {wrong} non-finite values")
                found[output.name].append(array)
    return found


def read_answers(folder: Path, split: str) -> Outputs:
    """Return PyTorch's answers of one split from a folder that `trace` filled."""
    with np.load(folder / "answers.npz", allow_pickle=False) as data:
        names = [key for key in data if key.startswith(f"{split}/")]
        return {key.partition("/")[2]: list(data[key]) for key in names}


def read_card(folder: Path) -> Card:
    """Return the model's card from a folder that `trace` filled."""
    return Card.from_json((folder / "card.json").read_text(encoding="utf-8"))


def _own(request: ExportRequest) -> Source:
    assert request.factory is not None
    assert request.input_shape is not None
    module = own_model.make_module(request.factory, request.plugin_path, seed=request.seed)
    notes = []
    weights = "the factory's own"
    if request.checkpoint is not None:
        notes = list(load_into(module, read_checkpoint(request.checkpoint)).notes)
        weights = _weights(request.checkpoint)
    card = own_model.make_card(request.name, module, request.input_shape, request.card_file)
    return _source(own_model.TupleOutputs(module).eval(), card, weights, notes)


def _source(module: nn.Module, card: Card, weights: str, notes: list[str]) -> Source:
    return Source(module=module, card=replace(card, provenance={**card.provenance, "weights": weights}), notes=notes)


def _weights(checkpoint: Path) -> str:
    return f"{checkpoint.name}, sha256 {sha256_file(checkpoint)}"
