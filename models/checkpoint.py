"""Put a checkpoint's tensors into a network: strictly, with every dropped or renamed key reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..runtime.errors import CheckpointError, EdgeError
from . import registry
from .checkpoint_file import read_checkpoint
from .registry import ModelEntry

__all__ = ["LoadReport", "MismatchError", "load_into", "load_model", "read_checkpoint", "which_model"]

# Bookkeeping that ai8x keeps beside each block's weights; None: its value does not enter a float forward pass.
AI8X_NEUTRAL: Mapping[str, float | None] = {
    "output_shift": 0.0,
    "activation_threshold": 0.0,
    "final_scale": 0.0,
    "weight_bits": 0.0,
    "quantize_activation": 0.0,
    "clamp_activation": 0.0,
    "bias_bits": None,
    "adjust_output_shift": None,
    "shift_quantile": None,
}
SHOWN = 2  # keys of each kind that fit into the one-line message


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What was done to make a checkpoint fit.

    Attributes:
        loaded: number of tensors that went into the network.
        dropped: checkpoint keys that were left out, by rule.
        renamed: (key in the checkpoint, key in the network).
        notes: one sentence for each thing a user should know.
    """

    loaded: int
    dropped: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


class MismatchError(CheckpointError):
    """The checkpoint belongs to another network; `details` holds every difference, one a line."""

    def __init__(self, message: str, *, details: tuple[str, ...], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.details = details


def load_model(entry: ModelEntry, path: str | Path) -> tuple[nn.Module, LoadReport]:
    """Return the network of a checkpoint, in eval mode; families with free widths take those of the checkpoint.

    Args:
        entry: the model.
        path: see `read_checkpoint`.

    Raises:
        CheckpointError: the file cannot be read, or is of another network.
    """
    state = read_checkpoint(path)
    module = _shaped_like(entry, state) or entry.build()
    report = load_into(module, state, entry)
    return module.eval(), report


def load_into(module: nn.Module, state: Mapping[str, Tensor], entry: ModelEntry | None = None) -> LoadReport:
    """Copy the tensors of `state` into `module`; every key and shape must fit.

    Args:
        module: the network; changed only if all fits.
        state: from `read_checkpoint`.
        entry: its registry entry, whose rules say which foreign keys may be dropped or renamed; None: thop's only.

    Raises:
        MismatchError: keys are missing, unexpected or of another shape.
        CheckpointError: a key that may be dropped carries a value that would change the network's answers.
    """
    fitted, dropped, renamed, notes = _by_rules(state, entry)
    own = module.state_dict()
    missing = [key for key in own if key not in fitted]
    unexpected = [key for key in fitted if key not in own]
    misshaped = [
        f"{key} is {_dims(fitted[key])} instead of {_dims(value)}"
        for key, value in own.items()
        if key in fitted and fitted[key].shape != value.shape
    ]
    mistyped = [
        f"{key} is {fitted[key].dtype} instead of {value.dtype}"
        for key, value in own.items()
        if key in fitted and fitted[key].is_floating_point() != value.is_floating_point()
    ]
    if missing or unexpected or misshaped or mistyped:
        raise _mismatch(state, entry, missing, unexpected, misshaped + mistyped)
    module.load_state_dict(fitted)
    return LoadReport(loaded=len(fitted), dropped=dropped, renamed=renamed, notes=notes)


def which_model(state: Mapping[str, Tensor]) -> str | None:
    """Return the name of the registered model that a state dict fits exactly, or None.

    Equal keys and shapes do not prove the same network, only that loading it would succeed.
    """
    for entry in registry.entries():
        try:
            fitted = _by_rules(state, entry)[0]
            with torch.device("meta"):
                module = _shaped_like(entry, state) or entry.build()
        except EdgeError:
            continue
        own = module.state_dict()
        if len(own) == len(fitted) and all(k in fitted and fitted[k].shape == v.shape for k, v in own.items()):
            return entry.name
    return None


def _shaped_like(entry: ModelEntry, state: Mapping[str, Tensor]) -> nn.Module | None:
    if entry.build_for is None:
        return None
    try:
        return entry.build_for(state)
    except (KeyError, ValueError, IndexError):
        return None  # not of this family: the nominal network then gives the readable difference


Fitted = tuple[dict[str, Tensor], tuple[str, ...], tuple[tuple[str, str], ...], tuple[str, ...]]


def _by_rules(state: Mapping[str, Tensor], entry: ModelEntry | None) -> Fitted:
    rules = entry.droppable if entry is not None else ("thop",)
    rename = entry.rename if entry is not None else None
    fitted: dict[str, Tensor] = {}
    dropped: dict[str, list[str]] = {}
    renamed = []
    for key, value in state.items():
        rule = next((rule for rule in rules if _is_droppable(rule, key, value)), None)
        if rule is not None:
            dropped.setdefault(rule, []).append(key)
            continue
        name = rename(key) if rename else key
        if name != key:
            renamed.append((key, name))
        if name in fitted:
            raise CheckpointError("two keys of the checkpoint mean the same tensor", got=name)
        fitted[name] = value
    notes = [f"dropped {len(keys)} keys ({_WHY[rule]})" for rule, keys in dropped.items()]
    if renamed:
        notes.append(f"renamed {len(renamed)} keys of transformers 5.x")
    return fitted, tuple(key for keys in dropped.values() for key in keys), tuple(renamed), tuple(notes)


_WHY = {
    "thop": "operation counts that thop left behind",
    "ai8x": "ai8x bookkeeping, all at neutral values",
    "vit-pooler": "the ViT pooler, which the network never uses",
}


def _is_droppable(rule: str, key: str, value: Tensor) -> bool:
    leaf = key.rpartition(".")[2]
    if rule == "thop":
        return leaf in ("total_ops", "total_params")
    if rule == "vit-pooler":
        return key.startswith("vit.pooler.")
    if rule == "ai8x" and leaf in AI8X_NEUTRAL:
        neutral = AI8X_NEUTRAL[leaf]
        if neutral is not None and bool((value.to(torch.float64) != neutral).any()):
            raise CheckpointError(
                f"`{key}` is not neutral: the checkpoint was trained quantisation-aware, and its forward pass is "
                "not plain convolution, BatchNorm and ReLU",
                expected=neutral,
                got=float(value.to(torch.float64).reshape(-1)[0]),
                hint="give the float checkpoint from before quantisation-aware training",
            )
        return True
    return False


def _mismatch(
    state: Mapping[str, Tensor], entry: ModelEntry | None, missing: list[str], unexpected: list[str], wrong: list[str]
) -> MismatchError:
    parts = [
        f"{len(keys)} {word} ({', '.join(key[:50] for key in keys[:SHOWN])}{', …' if len(keys) > SHOWN else ''})"
        for word, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
        if keys
    ]
    fits = which_model(state)
    wanted = f"`{entry.name}`" if entry is not None else "the network"
    message = f"checkpoint does not fit {wanted}: {', '.join(parts)}"
    details = tuple(
        [f"missing: {key}" for key in missing]
        + [f"unexpected: {key}" for key in unexpected]
        + [f"wrong: {line}" for line in wrong]
    )
    hint = f"it fits `{fits}`" if fits else None
    return MismatchError(message if len(message) <= 250 else message[:248] + " …", details=details, hint=hint)


def _dims(value: Tensor) -> str:
    return "x".join(str(side) for side in value.shape) or "scalar"
