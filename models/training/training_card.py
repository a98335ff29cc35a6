"""A checkpoint and the training card beside it: what it was made of, how, and how good it is.

Reading a card needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.errors import InputError
from ...runtime.trust import file_digest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["SCHEMA", "read_training_card", "write_checkpoint"]

SCHEMA = 1
PACKAGES = ("edge-vision", "torch", "lightning-fabric", "numpy", "pillow")


def write_checkpoint(folder: Path, name: str, module: nn.Module, facts: dict[str, Any]) -> Path:
    """Write `<name>.safetensors` and its training card `<name>.json`, each whole or not at all.

    Args:
        folder: where; made if it is absent.
        name: of both files.
        module: the network, whose state dict is written.
        facts: plain JSON values: model, data, seed, command, steps, options, teacher, metrics, hours. Added here are
            `schema`, `parameters`, `sha256` (of the checkpoint), `machine` and `versions`.

    Returns:
        The checkpoint's path.

    Raises:
        OSError: there is no room for them.
    """
    from safetensors.torch import save  # heavy: torch

    from .state import write_durably

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    weights = save({key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()})
    card = {
        "schema": SCHEMA,
        **_without_nan(facts),
        "parameters": sum(value.numel() for value in module.parameters()),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "machine": _machine(),
        "versions": {"python": platform.python_version(), **_versions()},
    }
    write_durably(path, weights)
    write_durably(path.with_suffix(".json"), (json.dumps(card, indent=2, allow_nan=False) + "\n").encode())
    return path


def read_training_card(checkpoint: str | Path) -> dict[str, Any] | None:
    """Return the training card beside a checkpoint, or None where there is none, or it is of another checkpoint.

    Raises:
        InputError: the card is not JSON, or of a schema this version does not know.
        OSError: it cannot be read.
    """
    path = Path(checkpoint).with_suffix(".json")
    if not path.is_file() or not Path(checkpoint).is_file():
        return None
    try:
        card = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"training card `{path}` is not JSON", got=str(exc)[:80]) from exc
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        got = card.get("schema") if isinstance(card, dict) else type(card).__name__
        raise InputError(f"training card `{path}` is of another schema", expected=SCHEMA, got=got)
    return card if card.get("sha256") == file_digest(checkpoint) else None


def _refuse(word: str) -> float:
    raise ValueError(f"{word} in a training card")  # NaN and infinities are no JSON, and cannot be written again


def _without_nan(values: Any) -> Any:
    """Return plain values in which numbers that JSON does not know are null."""
    if isinstance(values, Mapping):
        return {name: _without_nan(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_without_nan(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _machine() -> dict[str, Any]:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {"system": f"{platform.system()} {platform.machine()}", "device": device, "cores": os.cpu_count()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
