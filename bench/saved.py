"""Launches that are complete, kept one file each, so that a benchmark that was stopped goes on with what is left."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from ..runtime.errors import ResourceError
from ..runtime.files import write_whole
from .launch import Launch

__all__ = ["SavedLaunches"]

SCHEMA = 1


class SavedLaunches:
    """A folder of launches by name.

    Args:
        folder: of the files; made when the first is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> Launch | None:
        """Return a launch that was kept, or None; a damaged file counts as none."""
        try:
            values = json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
            if values.pop("schema") != SCHEMA or values.pop("key") != key:
                return None
            launch = Launch(**values)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        sound = launch.complete and bool(launch.wall_ms) and all(isinstance(value, float) for value in launch.wall_ms)
        return launch if sound else None

    def keep(self, key: str, launch: Launch) -> None:
        """Write a launch, whole or not at all.

        Raises:
            ResourceError: there is no room for it, or the folder cannot be written.
        """
        values = {"schema": SCHEMA, "key": key, **dataclasses.asdict(launch)}
        try:
            write_whole(self.folder / f"{key}.json", json.dumps(values, allow_nan=False))
        except OSError as exc:
            raise ResourceError(f"cannot keep a launch in `{self.folder}`", got=exc.strerror) from exc
