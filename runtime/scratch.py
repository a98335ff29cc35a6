"""Unfinished files and folders that know whether their maker lives: each is locked while it does.

The system frees the lock of a process however it ends, so that what a killed one left is told from what a living one
writes, and the next run removes it. No age decides, and no process number.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["scratch_file", "scratch_folder", "sweep"]


@contextlib.contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield an empty folder that is locked while we live; it is removed unless it was renamed."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        handle = os.open(folder, os.O_RDONLY)
        _lock(handle, wait=True)
        if folder.exists():
            break
        os.close(handle)  # another process swept it between its making and our lock
    try:
        yield folder
    finally:
        if folder.is_symlink():  # it stood in the place of what was made, and was exchanged with it
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


@contextlib.contextmanager
def scratch_file(parent: Path, prefix: str, suffix: str) -> Iterator[tuple[Path, int]]:
    """Yield a new file and its open handle, locked while we live; it is removed unless it was renamed."""
    while True:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=parent)
        _lock(handle, wait=True)
        if os.fstat(handle).st_nlink:
            break
        os.close(handle)  # swept before it was locked
    try:
        yield Path(name), handle
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)
        os.close(handle)


def sweep(paths: Iterable[Path]) -> None:
    """Remove those files and folders that nobody locks; links are let be."""
    for path in paths:
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                if not _lock(handle, wait=False):
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            finally:
                os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    """Lock a file or folder; false where another process has it, or the file system knows no locks."""
    try:
        import fcntl  # which Windows has not
    except ModuleNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
