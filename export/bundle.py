"""The bundle: one folder a model, with its artifacts and a manifest, that appears whole or not at all.

A run writes into `.run-…` beside the final folder, makes every file durable, and moves it into place in one rename
(an exchange where a bundle stood there before). A lock file keeps two runs apart. A run locks its own folder, too:
what a killed run left behind is known by its free lock, and removed at the next start.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..runtime.errors import InputError
from ..runtime.files import fsync
from ..runtime.scratch import scratch_folder, sweep
from .seal import manifest_digest, manifest_text
from .store import sha256_file, write_durably

__all__ = ["MANIFEST", "commit", "intact", "locked", "open_run", "read_manifest", "remove_leftovers"]

MANIFEST = "manifest.json"
_LOCK = ".edge.lock"
_RUN = ".run-"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the output folder for this process; makes it if it is absent.

    Raises:
        InputError: it cannot be written, is a file, or another run holds it (named by its pid).
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as exc:
        _remove_empty(created)
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"output folder `{folder}` cannot be written", got=exc.strerror, hint="name another with --output"
        ) from exc
    with os.fdopen(handle, "r+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            stream.seek(0)
            raise InputError(
                f"output folder `{folder}` is in use by another run", got=f"pid {stream.read(16).strip()}"
            ) from exc
        try:
            stream.truncate(0)
            stream.write(f"{os.getpid()}\n")
            stream.flush()
            remove_leftovers(folder)
            yield
        finally:
            if created and list(folder.iterdir()) == [folder / _LOCK]:  # nothing was made: leave nothing
                (folder / _LOCK).unlink(missing_ok=True)
                _remove_empty(created)


@contextlib.contextmanager
def open_run(folder: Path, prefix: str = _RUN) -> Iterator[Path]:
    """Yield an empty folder beside the bundles; it is removed unless `commit` moved it into place."""
    with scratch_folder(folder, prefix) as run:
        run.chmod(0o755)
        yield run


def remove_leftovers(folder: Path, prefix: str = _RUN) -> None:
    """Remove what runs that were killed left in a folder."""
    sweep(folder.glob(f"{glob.escape(prefix)}*"))


def commit(run: Path, final: Path, manifest: dict[str, Any], name: str = MANIFEST) -> None:
    """Complete the manifest with every file's bytes and SHA-256, seal it, and move the run into place in one rename.

    Args:
        run: folder that `open_run` gave.
        final: the place; a folder that stands there is exchanged.
        manifest: plain JSON values; gets the keys `files` and `digest`.
        name: of its file.
    """
    files = sorted(path for path in run.iterdir() if path.is_file())
    manifest["files"] = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for path in files}
    for path in files:
        fsync(path)
    manifest["digest"] = manifest_digest(manifest)
    write_durably(run / name, manifest_text(manifest).encode())
    fsync(run)
    if final.exists():
        _exchange(run, final)
    else:
        os.rename(run, final)
    fsync(final.parent)


def read_manifest(bundle: Path) -> dict[str, Any] | None:
    """Return a bundle's manifest, or None where the folder is absent.

    Raises:
        InputError: something stands there that is no bundle.
    """
    if not bundle.exists() and not bundle.is_symlink():
        return None
    try:
        manifest: dict[str, Any] = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
        if manifest["schema"] == 1 and isinstance(manifest["files"], dict):
            return manifest
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"`{bundle}` stands in the way and is no bundle of edge", hint="name another folder with --output")


def intact(bundle: Path, manifest: dict[str, Any]) -> bool:
    """Return whether every file of the manifest is there with its bytes and hash."""
    try:
        return all(
            (bundle / name).stat().st_size == facts["bytes"] and sha256_file(bundle / name) == facts["sha256"]
            for name, facts in manifest["files"].items()
        )
    except (OSError, KeyError, TypeError):
        return False


def _exchange(run: Path, final: Path) -> None:
    """Swap two folders in one step where the system can (Linux), else in two renames."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        swap = getattr(libc, "renameat2", None)
        at_cwd, exchange = -100, 2
        if swap is not None and swap(at_cwd, os.fsencode(run), at_cwd, os.fsencode(final), exchange) == 0:
            return
    aside = run.with_name(run.name + ".old")
    os.rename(final, aside)
    os.rename(run, final)
    shutil.rmtree(aside, ignore_errors=True)


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders that hold nothing, the deepest first."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
