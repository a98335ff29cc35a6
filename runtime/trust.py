"""The list of artifacts that have proved harmless on this machine: exported here, or run once in a child process.

One empty file per artifact and engine version, named by hash, in the cache folder: adding is atomic, two processes
cannot tear it, and an upgraded engine asks again. A list that somebody else could write to counts as empty.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path

from .errors import ArtifactError

__all__ = ["cache_folder", "is_trusted", "trust"]

MAX_ENTRIES = 2000


def cache_folder() -> Path:
    """Return the cache folder: `$EDGE_CACHE`, else `$XDG_CACHE_HOME/edge`, else `~/.cache/edge`; it may not exist."""
    if named := os.environ.get("EDGE_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(os.path.expanduser("~")) / ".cache") / "edge"


def is_trusted(path: str | os.PathLike[str]) -> bool:
    """Return whether an artifact, byte for byte, is on the list for the installed engine.

    Raises:
        ArtifactError: the file cannot be read, or is neither ONNX nor TFLite.
    """
    entry = _entry(path)
    return _is_private(entry.parent) and entry.is_file()


def trust(path: str | os.PathLike[str]) -> bool:
    """Put an artifact on the list; return False where the cache folder cannot be written, which costs time only.

    Raises:
        ArtifactError: the file cannot be read, or is neither ONNX nor TFLite.
    """
    entry = _entry(path)
    try:
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(entry.parent):
            return False
        with contextlib.suppress(FileExistsError):
            os.close(os.open(entry, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600))
        _forget_oldest(entry.parent)
    except OSError:
        return False
    return True


def _entry(path: str | os.PathLike[str]) -> Path:
    from .engines import engine_version, pick_engine  # NumPy comes with it; `edge doctor` does without

    engine = pick_engine(path)
    try:
        with open(path, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        raise ArtifactError(f"cannot read `{os.fspath(path)}`", got=exc.strerror) from exc
    return cache_folder() / "trusted" / f"{digest}-{engine}-{engine_version(engine)}"


def _is_private(folder: Path) -> bool:
    """Return whether `folder` is a real folder of this user that nobody else may write to."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    if not hasattr(os, "geteuid"):  # Windows keeps a user's cache private by inheritance
        return stat.S_ISDIR(status.st_mode)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _forget_oldest(folder: Path) -> None:
    entries = list(folder.iterdir())
    if len(entries) > MAX_ENTRIES:
        for stale in sorted(entries, key=lambda entry: entry.lstat().st_mtime)[: len(entries) - MAX_ENTRIES]:
            stale.unlink(missing_ok=True)
