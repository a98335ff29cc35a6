"""The saved state of a run: whole files only, two generations, so that neither a kill nor a torn write loses a run."""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ...runtime.errors import InputError
from ...runtime.files import replace_durably

__all__ = ["load_state", "save_state", "write_durably"]

GENERATIONS = 2
NEEDED = {"request", "step", "network", "average", "optimizer", "precision"}  # of what the loop saves
_NAME = re.compile(r"state-(\d{9})\.pt")


def save_state(folder: Path, step: int, values: dict[str, Any]) -> None:
    """Write the state after `step` and remove all but the newest two.

    Args:
        folder: of the run.
        step: steps done.
        values: tensors, numbers and strings in dictionaries and lists.

    Raises:
        OSError: there is no room for it.
    """
    data = io.BytesIO()  # into a file torch writes by itself, and a full disk would be a RuntimeError
    torch.save(values, data)
    write_durably(folder / f"state-{step:09d}.pt", data.getvalue())
    for stale in _states(folder)[GENERATIONS:]:
        stale.unlink(missing_ok=True)


def load_state(folder: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Return the newest state that is whole, on the CPU, or None where there is none at all.

    Only tensors and plain values are read, never code.

    Args:
        folder: of the run.
        say: takes a line where a damaged state is passed over.

    Raises:
        InputError: there are states, and each is damaged.
        OSError: one cannot be read.
    """
    states = _states(folder)
    for path in states:
        values = _whole(path.read_bytes())
        if values is not None:
            return values
        say(f"`{path}` is damaged and passed over")
    if states:
        raise InputError(f"no saved state in `{folder}` is whole", hint="delete state-*.pt to start again")
    return None


def write_durably(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        OSError: there is no room for it; the message names the file.
    """
    unfinished = path.with_name(path.name + ".part")
    try:
        unfinished.write_bytes(data)
        replace_durably(unfinished, path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise OSError(exc.errno, exc.strerror, str(path)) from exc


def _whole(data: bytes) -> dict[str, Any] | None:
    """Return the values of a state, or None where a torn write or another program left something else."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if archive.testzip() is not None:
                return None
        values = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # a bad archive, a pickle cut short, a name that no state has: parsers fail in every way
        return None
    return values if isinstance(values, dict) and values.keys() >= NEEDED else None


def _states(folder: Path) -> list[Path]:
    """Return the saved states, newest first."""
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: path.name, reverse=True)
