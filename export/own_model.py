"""A user's own `nn.Module`: found by `pkg.mod:factory`, given a card, made to answer with a tuple of tensors."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..runtime.card import Card, InputSpec, OutputSpec
from ..runtime.decode import decode
from ..runtime.errors import CardError, ConversionError, InputError

__all__ = ["TupleOutputs", "import_factory", "make_card", "make_module", "weights_digest"]


class TupleOutputs(nn.Module):
    """Wraps a module so that it returns a tuple, whatever it returned: a tensor, a list, a tuple or a dict."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the inner module's outputs as a flat tuple, a dict's in its own order."""
        return tuple(_named(self.inner(x)).values())


def import_factory(spec: str, plugin_path: Path | None) -> Any:
    """Return the object that "pkg.mod:factory" names.

    Args:
        spec: module path, a colon, and the name of a callable or of an `nn.Module`. Importing it runs its code.
        plugin_path: folder to look in first; the current folder is not searched unless it is named here.

    Raises:
        InputError: it cannot be imported, or has no such name.
    """
    module_name, colon, attribute = spec.partition(":")
    if not colon or not module_name or not attribute:
        raise InputError(f"`--model {spec}` is not understood", expected="pkg.mod:factory")
    if plugin_path is not None and str(plugin_path.resolve()) not in sys.path:
        sys.path.insert(0, str(plugin_path.resolve()))
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # stdout is ours: it carries data
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        raise InputError(
            f"module of `--model {spec}` was not found", got=str(exc), hint="name its folder with --plugin-path"
        ) from exc
    except (Exception, SystemExit) as exc:
        raise InputError(f"importing `{module_name}` failed", got=f"{type(exc).__name__}: {exc}") from exc
    if not hasattr(module, attribute):
        raise InputError(f"`{module_name}` has no `{attribute}`")
    return getattr(module, attribute)


def make_module(spec: str, plugin_path: Path | None, *, seed: int = 0) -> nn.Module:
    """Return the user's module in eval mode, with its own weights.

    Args:
        spec, plugin_path: see `import_factory`.
        seed: of torch's generator, so that a factory which draws its weights draws the same ones each time.

    Raises:
        InputError: the factory fails, or gives something else than an `nn.Module`.
    """
    torch.manual_seed(seed)  # before the import, which may build the module
    factory = import_factory(spec, plugin_path)
    torch.manual_seed(seed)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            made = factory if isinstance(factory, nn.Module) else factory()
    except (Exception, SystemExit) as exc:
        raise InputError(f"`{spec}` failed", got=f"{type(exc).__name__}: {exc}") from exc
    if not isinstance(made, nn.Module):
        raise InputError(f"`{spec}` gives no nn.Module", got=type(made).__name__)
    return made.eval()


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers, by name."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):  # a module may keep extra state of any kind
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def make_card(name: str, module: nn.Module, input_shape: tuple[int, ...], card_file: Path | None) -> Card:
    """Return the card of a user's module: outputs found by running it once, the rest from `card_file`.

    Args:
        name: what the model goes by.
        module: in eval mode.
        input_shape: of its one input.
        card_file: TOML or JSON with any of the card's keys; what it leaves out keeps its default.

    Raises:
        ConversionError: the module does not run on that input, or answers with something else than float tensors.
        CardError: the card file is malformed or contradicts the module.
    """
    # Checked before the module runs: a shape of a typing error must not ask for all memory.
    spec = InputSpec(shape=input_shape, layout="NCHW" if len(input_shape) == 4 else "any", kind="tensor")
    try:
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            answers = _named(module(torch.zeros(input_shape)))
    except ConversionError:
        raise
    except Exception as exc:
        hint = "its forward must take one tensor: wrap a model of several inputs in one that makes or fixes the others"
        raise ConversionError(
            f"`{name}` does not run on an input of {input_shape}",
            got=f"{type(exc).__name__}: {exc}",
            hint=hint if isinstance(exc, TypeError) else None,
        ) from exc
    outputs = tuple(OutputSpec(name=key, shape=tuple(value.shape)) for key, value in answers.items())
    card = Card(model=name, input=spec, outputs=outputs)
    if card_file is None:
        return card
    merged = Card.from_dict(_merge(card.to_dict(), read_table(card_file), "card"))
    if merged.input.shape != input_shape or [o.shape for o in merged.outputs] != [o.shape for o in outputs]:
        raise CardError(
            f"`{card_file}` contradicts the model's shapes",
            expected=[input_shape, *(o.shape for o in outputs)],
            got=[merged.input.shape, *(o.shape for o in merged.outputs)],
        )
    # The decoder and its constants are tried now, not by the user of the file.
    decode(merged, {output.name: value.numpy() for output, value in zip(merged.outputs, answers.values(), strict=True)})
    return merged


def read_table(path: Path) -> Mapping[str, Any]:
    """Return the values of a TOML or JSON card file, unchecked.

    Raises:
        CardError: it cannot be read or parsed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as exc:
        raise CardError(f"card `{path}` cannot be read", got=str(exc)[:100]) from exc
    if not isinstance(table, Mapping):
        raise CardError(f"card `{path}` is not a table", got=type(table).__name__)
    return table


def _named(answer: object) -> dict[str, Tensor]:
    if isinstance(answer, Mapping):
        named = {str(key): value for key, value in answer.items()}
    elif isinstance(answer, list | tuple):
        named = {f"output_{index}": value for index, value in enumerate(answer)}
    else:
        named = {"output": answer}
    if not named:
        raise ConversionError("the network gives no output", expected="a tensor, or a tuple, list or dict of them")
    for key, value in named.items():
        if not isinstance(value, Tensor) or value.dtype != torch.float32 or value.ndim == 0 or not value.numel():
            got = f"{value.dtype} of {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ConversionError(
                f"output `{key}` cannot be exported", expected="a float32 tensor with at least one element", got=got
            )
    return named


def _merge(base: dict[str, Any], over: Mapping[str, Any], path: str) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        here = merged.get(key)
        if key == "outputs" and isinstance(value, list) and isinstance(here, list):
            if len(value) != len(here):
                raise CardError(f"`{path}.outputs` has the wrong length", expected=len(here), got=len(value))
            if not all(isinstance(new, Mapping) for new in value):
                raise CardError(f"`{path}.outputs` is not a list of tables")
            merged[key] = [_merge(old, new, path) for old, new in zip(here, value, strict=True)]
        elif isinstance(value, Mapping) and isinstance(here, dict):
            merged[key] = _merge(here, value, f"{path}.{key}")
        else:
            merged[key] = value
    return merged
