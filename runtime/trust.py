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

__all__ = ["cache_folder", "file_digest", "forget_oldest", "is_private", "is_trusted", "private_folder", "trust"]

MAX_ENTRIES = 2000


def cache_folder() -> Path:
    """Return the cache folder: `$EDGE_CACHE`, else `$XDG_CACHE_HOME/edge`, else `~/.cache/edge`; it may not exist.

    Where there is no home either, it is a place in which nothing can be.
    """
    if named := os.environ.get("EDGE_CACHE"):
        return Path(named)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "edge"
    home = os.path.expanduser("~")
    if not os.path.isabs(home):  # a user without a name, as in some containers: no folder `~` shall appear here
        return Path(os.devnull) / "edge"
    return Path(home) / ".cache" / "edge"


def is_trusted(path: str | os.PathLike[str]) -> bool:
    """Return whether an artifact, byte for byte, is on the list for the installed engine.

    Raises:
        ArtifactError: the file cannot be read, or is neither ONNX nor TFLite.
    """
    entry = _entry(path)
    return is_private(entry.parent) and entry.is_file()


def trust(path: str | os.PathLike[str]) -> bool:
    """Put an artifact on the list; return False where the cache folder cannot be written, which costs time only.

    Raises:
        ArtifactError: the file cannot be read, or is neither ONNX nor TFLite.
    """
    entry = _entry(path)
    try:
        folder = private_folder(entry.parent.name)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(entry, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600))
        forget_oldest(folder, MAX_ENTRIES)
    except OSError:
        return False
    return True


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal.

    Raises:
        ArtifactError: the file cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        raise ArtifactError(f"cannot read `{os.fspath(path)}`", got=exc.strerror) from exc


def private_folder(name: str) -> Path:
    """Return a folder inside the cache folder, made if it is absent, that nobody else may write to.

    Raises:
        OSError: it cannot be made, or somebody else may write to it: what is in it cannot be believed.
    """
    folder = cache_folder() / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_private(folder):
        raise PermissionError(f"others may write to {folder}")
    return folder


def is_private(path: Path) -> bool:
    """Return whether `path` is a real file or folder, no link, of this user that nobody else may write to."""
    try:
        status = path.lstat()
    except OSError:
        return False
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        return False
    if not hasattr(os, "geteuid"):  # Windows keeps a user's cache private by inheritance
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def forget_oldest(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` files of a folder; another process may do the same meanwhile."""
    entries = list(folder.iterdir())
    if len(entries) <= keep:
        return
    ages: list[tuple[int, Path]] = []
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):
            ages.append((entry.lstat().st_mtime_ns, entry))
    for _, stale in sorted(ages)[: max(0, len(ages) - keep)]:
        stale.unlink(missing_ok=True)


def _entry(path: str | os.PathLike[str]) -> Path:
    from .engines import engine_version, pick_engine  # NumPy comes with it; `edge doctor` does without

    engine = pick_engine(path)
    return cache_folder() / "trusted" / f"{file_digest(path)}-{engine}-{engine_version(engine)}"
