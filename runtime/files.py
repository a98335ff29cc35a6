"""Files that are there whole or not at all, and JSON files of a size that can be borne."""

from __future__ import annotations

import errno
import glob
import json
import os
from pathlib import Path
from typing import Any

from .errors import InputError
from .scratch import scratch_file, sweep

__all__ = ["check_writable", "folders_with", "fsync", "read_json", "replace_durably", "umask", "write_whole"]


def write_whole(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file in one step, in the place of an earlier one, and wait until it is on disk.

    Args:
        path: of the file; its folder is made where it is absent.
        data: text is written as UTF-8.

    Raises:
        OSError: it cannot be written; the message names the file, which is as it was. A device or a pipe, such as
            /dev/null, is never replaced.
    """
    final = Path(path)
    if final.exists() and not final.is_file() and not final.is_dir():
        raise OSError(errno.EINVAL, "a device or a pipe, and no file", str(final))
    prefix, suffix = f".{final.name[:64]}-", ".part"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        sweep(final.parent.glob(f"{glob.escape(prefix)}*{suffix}"))  # what a killed process left
        with scratch_file(final.parent, prefix, suffix) as (unfinished, handle):
            with open(handle, "wb", closefd=False) as stream:
                stream.write(data.encode() if isinstance(data, str) else data)
            os.chmod(unfinished, 0o666 & ~umask())
            replace_durably(unfinished, final)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, str(final)) from exc


def check_writable(path: Path) -> None:
    """Refuse a file that `write_whole` could not write, before the work whose outcome it is to hold.

    Raises:
        InputError: it is a folder, a device or a pipe, or the nearest folder above it that is there takes no files.
    """
    if path.exists() and not path.is_file():
        got = "a folder" if path.is_dir() else "a device or a pipe"
        raise InputError(f"cannot write `{path}`", expected="the name of a file", got=got)
    folder = next(above for above in path.absolute().parents if above.exists())
    if not folder.is_dir():
        raise InputError(f"cannot write `{path}`", got=f"`{folder}`, which is no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"cannot write `{path}`", got=f"folder `{folder}`, which takes no files from this user")


def replace_durably(unfinished: Path, final: Path) -> None:
    """Give a finished file its name, in one step, once its bytes are on disk."""
    fsync(unfinished)
    os.replace(unfinished, final)
    fsync(final.parent)


def read_json(path: Path, most_bytes: int) -> Any:
    """Return what a JSON file holds.

    Args:
        path: of the file.
        most_bytes: that are read; a longer one is refused unread.

    Raises:
        InputError: it is too long, or cannot be read.
        FileNotFoundError: it is not there.
        ValueError, RecursionError: it is no JSON.
    """
    try:
        if path.stat().st_size > most_bytes:
            raise InputError(f"`{path}` is too long", expected=f"at most {most_bytes:,} bytes")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise InputError(f"cannot read `{path}`", got=exc.strerror) from exc


def folders_with(path: Path, *names: str) -> list[Path]:
    """Return the folder itself where it holds a file of one of these names, else the folders in it that do, sorted.

    Hidden folders are passed over: a run that is not done writes into one.
    """
    if any((path / name).is_file() for name in names):
        return [path]
    if not path.is_dir():
        return []
    found = {file.parent for name in names for file in path.glob(f"*/{name}") if file.is_file()}
    return sorted(folder for folder in found if not folder.name.startswith("."))


def umask() -> int:
    """Return the mask of this process, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def fsync(path: Path) -> None:
    """Wait until a file's bytes, or the names inside a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
