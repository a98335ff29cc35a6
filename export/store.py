"""A store of finished stages, named by content: the same inputs are never converted twice.

An entry is a folder of files with `meta.json`, whose name is the SHA-256 of everything that went into it. It appears
by one rename, so that a kill leaves either the whole entry or none; every file is checked against its hash when it is
taken out, and a damaged entry counts as absent.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..runtime.files import fsync
from ..runtime.scratch import scratch_folder, sweep

__all__ = ["Store", "content_key", "sha256_file", "write_durably"]

_PART = ".part-"


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_key(stage: str, inputs: Mapping[str, Any]) -> str:
    """Return the name of what `stage` makes of `inputs` (plain JSON values)."""
    text = json.dumps([stage, inputs], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """A folder of finished stages.

    Args:
        root: the cache folder; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._swept = False

    def find(self, key: str) -> tuple[Path, dict[str, Any]] | None:
        """Return the folder and the facts of an entry whose every file is intact, or None."""
        folder = self.root / key[:2] / key
        if not (folder / "meta.json").is_file():
            return None
        try:
            meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            if all(sha256_file(folder / name) == digest for name, digest in meta["files"].items()):
                return folder, meta["facts"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
        return None

    def make(self, key: str, build: Callable[[Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
        """Return the entry of `key`; if it is absent, let `build` fill an empty folder and return its facts.

        Args:
            key: from `content_key`.
            build: writes files into the folder it is given and returns plain JSON facts.
        """
        if found := self.find(key):
            return found
        if not self._swept:
            self._swept = True
            sweep(self.root.glob(f"??/{_PART}*"))
        parent = self.root / key[:2]
        parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(parent, _PART) as folder:
            facts = self._built(build, folder)
            files = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
            for name in files:
                fsync(folder / name)
            meta = {"files": files, "facts": facts}
            write_durably(folder / "meta.json", json.dumps(meta, indent=1, sort_keys=True, allow_nan=False).encode())
            final = parent / key
            if final.exists():  # another process was first; both made the same
                return self.find(key) or self._replace(folder, final, facts)
            os.rename(folder, final)
            fsync(parent)
        return final, facts

    def _built(self, build: Callable[[Path], dict[str, Any]], folder: Path) -> dict[str, Any]:
        try:
            return build(folder)
        except OSError as exc:
            if exc.errno == errno.ENOSPC and exc.filename is None:  # a write knows no name; the user needs one
                exc.filename = os.fspath(self.root)
            raise

    def _replace(self, folder: Path, final: Path, facts: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
        shutil.rmtree(final, ignore_errors=True)
        os.rename(folder, final)
        return final, facts


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on disk; refuses to follow a link or to replace a file."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o644), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
