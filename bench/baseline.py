"""A baseline: the artifacts of an accepted state, so that new ones can be run against them, not against old numbers.

A folder with the files and `baseline.json`: the hash of each, when and why they were accepted, and the reasons before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..runtime.errors import InputError
from ..runtime.files import read_json
from ..runtime.trust import file_digest

__all__ = ["BASELINE", "SCHEMA", "Accepted", "Baseline", "read_baseline"]

BASELINE = "baseline.json"
SCHEMA = 1
MAX_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A file of a baseline: where it is, and its hash."""

    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A baseline that was read.

    Attributes:
        path: its folder.
        files: name -> SHA-256.
        history: when and why it was changed, oldest first.
    """

    path: Path
    files: Mapping[str, str]
    history: tuple[Mapping[str, Any], ...] = field(default=())

    def find(self, name: str) -> Accepted | None:
        """Return a file of the baseline, or None where it has none of that name.

        Raises:
            InputError: the file is not the one that was accepted.
            ArtifactError: it is not there.
        """
        if name not in self.files:
            return None
        path = self.path / name
        if (found := file_digest(path)) != self.files[name]:
            raise InputError(
                f"`{path}` is not the file that was accepted",
                expected=f"SHA-256 {self.files[name][:12]}…",
                got=f"{found[:12]}…",
                hint="restore the baseline, or accept a new one with `edge gate --update --reason TEXT`",
            )
        return Accepted(path=path, sha256=found)


def read_baseline(folder: Path) -> Baseline:
    """Return the baseline in a folder.

    Raises:
        InputError: there is none, or its description is malformed.
    """
    file = folder / BASELINE
    try:
        values = read_json(file, MAX_BYTES)
        if values["schema"] != SCHEMA:
            raise InputError(f"`{file}` is of another schema", expected=SCHEMA, got=values["schema"])
        files = {str(name): str(facts["sha256"]) for name, facts in values["files"].items()}
        history = tuple(dict(entry) for entry in values["history"])
    except FileNotFoundError as exc:
        hint = "`edge gate BUNDLE --baseline DIR --update --reason TEXT` makes one"
        raise InputError(f"there is no baseline in `{folder}`", hint=hint) from exc
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise InputError(f"`{file}` is no baseline of edge", got=str(exc)[:80]) from exc
    strange = next((name for name in files if Path(name).name != name), None)
    if strange is not None:
        raise InputError(f"`{file}` names a file outside its folder", got=strange[:80])
    return Baseline(path=folder, files=files, history=history)
