"""`edge gate --update`: accept files as the new baseline, whole or not at all, with the reason."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import __version__
from .bench.baseline import BASELINE, SCHEMA, Baseline, read_baseline
from .bench.gate import Subject
from .export.bundle import commit, open_run, remove_leftovers
from .runtime.errors import InputError

__all__ = ["check_reason", "clear_leftovers", "open_baseline", "write_baseline"]

MOST_LETTERS = 500


def check_reason(reason: str | None) -> str:
    """Return the reason of a new baseline.

    Raises:
        InputError: there is none, or it is no single line.
    """
    text = (reason or "").strip()
    if not text or len(text) > MOST_LETTERS or not text.isprintable():
        raise InputError(
            "a new baseline needs a reason",
            expected=f"one line of at most {MOST_LETTERS} letters",
            got=repr(text[:40]) if text else "nothing",
            hint='--reason "retrained on 20k more pictures"',
        )
    return text


def open_baseline(folder: Path) -> Baseline | None:
    """Return the baseline that is to be changed, or None where there is none yet.

    Raises:
        InputError: something else stands in its place.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not folder.is_dir() or not (folder / BASELINE).exists():
        raise InputError(f"`{folder}` stands in the way and is no baseline", hint="name another with --baseline")
    return read_baseline(folder)


def write_baseline(folder: Path, subjects: Sequence[Subject], reason: str) -> dict[str, Any]:
    """Make files the baseline and return what `baseline.json` then says.

    What the baseline has of other files stays, and so does what else is in its folder, such as `.gitattributes`.

    Args:
        folder: of the baseline; made where it is absent.
        subjects: files that are accepted.
        reason: see `check_reason`.

    Raises:
        InputError: something else stands in the folder's place.
    """
    before = open_baseline(folder)
    entry = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason,
        "edge": __version__,
        "files": {subject.path.name: subject.artifact.sha256 for subject in subjects},
    }
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "history": [*(dict(one) for one in (before.history if before else ())), entry],
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(folder)
    with open_run(folder.parent, _prefix(folder)) as run:
        if before is not None:
            _copy(folder, run)
        for subject in subjects:
            shutil.copyfile(subject.path, run / subject.path.name)
        commit(run, folder, manifest, BASELINE)
    return manifest


def _copy(folder: Path, run: Path) -> None:
    """Copy what a baseline has but its description; what cannot be copied is an OSError, which `copytree` hides."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            (run / path.relative_to(folder)).mkdir()
        elif path != folder / BASELINE:
            shutil.copy2(path, run / path.relative_to(folder))


def clear_leftovers(folder: Path) -> None:
    """Remove what an update that was killed left beside a baseline."""
    remove_leftovers(folder.parent, _prefix(folder))


def _prefix(folder: Path) -> str:
    return f".{folder.name[:64]}.run-"
