"""Where the search keeps its evaluations: a journal file, or a data base that several machines reach."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from ...runtime.errors import DeviceError, InputError, MissingExtraError

__all__ = ["open_storage", "without_password"]

TRIES = 4
JOURNAL = b'{"op_code":'  # how each line of a journal begins


@contextlib.contextmanager
def open_storage(where: str) -> Iterator[BaseStorage]:
    """Give the storage; errors of opening it, and of the first use inside the block, are ours.

    Args:
        where: path of a journal file (made if it is absent; works on NFS too), or a URL as SQLAlchemy takes it, such as
            `postgresql://user:password@host/name`.

    Raises:
        MissingExtraError: the data base's driver is not installed.
        InputError: the URL or the file cannot be used.
        DeviceError: the data base does not answer.
    """
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    shown = without_password(where)
    try:
        if "://" in where:
            yield _open_data_base(where)
        else:
            Path(where).parent.mkdir(parents=True, exist_ok=True)
            _mend_journal(where)
            yield JournalStorage(JournalFileBackend(where))
    except ArgumentError as exc:
        raise InputError(f"storage `{shown}` is not a URL of a data base", got=type(exc).__name__) from exc
    except ImportError as exc:
        raise MissingExtraError(
            f"no driver for storage `{shown}` is installed", hint="for postgresql://: pip install 'psycopg[binary]'"
        ) from exc
    except (SQLAlchemyError, StorageInternalError) as exc:
        raise DeviceError(f"storage `{shown}` does not answer", got=str(exc).splitlines()[0][:120]) from exc
    except (KeyError, ValueError) as exc:
        raise InputError(f"`{shown}` is not a journal of a search", got=str(exc)[:80]) from exc


def _mend_journal(path: str) -> None:
    """Cut off a last line that a power cut or a full disk left unfinished: Optuna would read no further, ever."""
    if not _is_torn(path):
        return
    lock = JournalFileSymlinkLock(path)  # as `JournalFileBackend` takes by itself: somebody may be writing that line
    lock.acquire()
    try:
        if _is_torn(path):
            with open(path, "r+b") as stream:
                stream.truncate(stream.read().rfind(b"\n") + 1)
                os.fsync(stream.fileno())
    finally:
        lock.release()


def _is_torn(path: str) -> bool:
    """Return whether a file is a journal whose last line has no end."""
    if not os.path.isfile(path) or not os.path.getsize(path):
        return False
    with open(path, "rb") as stream:
        begin = stream.read(len(JOURNAL))
        stream.seek(-1, os.SEEK_END)
        return JOURNAL.startswith(begin) and stream.read(1) != b"\n"


def _open_data_base(url: str) -> RDBStorage:
    """Open a data base; workers that meet in an empty one make its tables at the same time, and all but one fail."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for _ in range(TRIES - 1):
        with contextlib.suppress(IntegrityError, ProgrammingError):
            return RDBStorage(url)
        time.sleep(1.0)
    return RDBStorage(url)


def without_password(where: str) -> str:
    """Return a URL as it may be shown."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", where)
