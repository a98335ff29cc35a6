"""What the readers of data sets share: bounded files, names that stay in their folder, and splits by a hash."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError, MediaError
from ...runtime.image import read_image
from .samples import SampleError

__all__ = ["SPLITS", "check_split", "digest_of", "read_bytes", "read_picture", "resolve", "split_of"]

SPLITS = ("train", "val", "test")
SHARES = {"val": (8, 9), "test": (9, 10)}  # tenths; the rest is for training


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of an annotation file.

    Args:
        path: a regular file.
        limit: largest size, bytes.

    Raises:
        InputError: missing, a directory, a pipe or a device, empty, or larger.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device could block for ever
            raise InputError(f"`{path}` is not a regular file")
        if not 0 < status.st_size <= limit:
            raise InputError(f"`{path}` has a size that is not read", expected=f"1..{limit} bytes", got=status.st_size)
        return path.read_bytes()
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise InputError(f"cannot read `{path}`: {reason}") from exc


def read_picture(path: Path, place: str) -> NDArray[np.uint8]:
    """Return a picture, (h, w, 3) uint8 RGB.

    Args:
        path: of the picture.
        place: where the annotations name it, for the message.

    Raises:
        SampleError: it cannot be read.
    """
    try:
        return read_image(path)
    except MediaError as error:
        raise SampleError(f"{place}: {error.message}", expected=error.expected, got=error.got) from error


def resolve(folder: Path, name: str) -> Path | None:
    """Return the path of a file that annotations name, or None where the name leaves the folder or is no name."""
    parts = PurePosixPath(name)
    if not name or parts.is_absolute() or ".." in parts.parts or not name.isprintable():
        return None
    return folder / name


def digest_of(*parts: str | bytes) -> str:
    """Return a hex name for a sequence of texts and contents."""
    total = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        total.update(len(content).to_bytes(8, "little"))
        total.update(content)
    return total.hexdigest()


def split_of(name: str) -> str:
    """Return "train", "val" or "test" for a sample of a set without splits: 80, 10 and 10 % by a hash of its name.

    It depends on the name alone: whoever adds samples moves none from one split to another.
    """
    tenth = int(digest_of(name)[:8], 16) % 10
    return next((split for split, (low, high) in SHARES.items() if low <= tenth < high), "train")


def check_split(split: str) -> None:
    """Raise InputError unless it is one of `SPLITS`."""
    if split not in SPLITS:
        raise InputError("there is no such split", expected=" | ".join(SPLITS), got=split)
