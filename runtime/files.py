"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

__all__ = ["replace_durably", "umask", "write_whole"]


def write_whole(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file in one step, in the place of an earlier one, and wait until it is on disk.

    Args:
        path: of the file; its folder is made where it is absent.
        data: text is written as UTF-8.

    Raises:
        OSError: it cannot be written; the message names the file, which is as it was.
    """
    final = Path(path)
    unfinished = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(prefix=f".{final.name[:64]}-", suffix=".part", dir=final.parent)
        with open(handle, "wb") as stream:
            stream.write(data.encode() if isinstance(data, str) else data)
        os.chmod(unfinished, 0o666 & ~umask())
        replace_durably(Path(unfinished), final)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, str(final)) from exc
    finally:
        if unfinished is not None:
            with contextlib.suppress(OSError):
                os.unlink(unfinished)


def replace_durably(unfinished: Path, final: Path) -> None:
    """Give a finished file its name, in one step, once its bytes are on disk."""
    _sync(unfinished)
    os.replace(unfinished, final)
    _sync(final.parent)


def umask() -> int:
    """Return the mask of this process, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
