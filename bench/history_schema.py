"""The tables of the history database, and how a database of an older schema becomes one of this.

`STEPS[n]` turns schema n into n + 1; schema 0 is an empty file. A new database is made by the same steps that migrate
an old one, so that both are the same to the last letter: `check_tables` compares them, and takes nothing else for a
history, least of all one with triggers.

All steps are one transaction, and a copy of the database as it was is beside it before the first. A process that is
killed at any statement leaves the old schema or the new.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from ..runtime.errors import InputError

__all__ = ["APPLICATION_ID", "VERSION", "backup_path", "check_tables", "migrate", "schema_version"]

APPLICATION_ID = 0x65646765  # "edge", in the header of every file that is ours

# 1: runs with their documents; a row holds the three figures that there were.
_FIRST = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL CHECK (kind IN ('bench', 'eval', 'export')),
        digest TEXT NOT NULL UNIQUE,
        document BLOB NOT NULL,
        added TEXT NOT NULL,
        began TEXT,
        edge TEXT,
        note TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE rows (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs (id),
        position INTEGER NOT NULL,
        model TEXT NOT NULL,
        precision TEXT NOT NULL,
        target TEXT NOT NULL,
        file TEXT NOT NULL,
        sha256 TEXT,
        device TEXT,
        engine TEXT,
        engine_version TEXT,
        threads INTEGER,
        evidence TEXT,
        status TEXT NOT NULL,
        conditions TEXT NOT NULL,
        size_bytes INTEGER,
        p50_ms REAL,
        p90_ms REAL,
        UNIQUE (run, position)
    ) STRICT""",
    "CREATE INDEX rows_by_model ON rows (model, run)",
)
# 2: any number of figures, and the commit.
_SECOND = (
    "ALTER TABLE runs ADD COLUMN git_commit TEXT",
    """CREATE TABLE figures (
        row INTEGER NOT NULL REFERENCES rows (id),
        name TEXT NOT NULL,
        value REAL NOT NULL,
        PRIMARY KEY (row, name)
    ) STRICT, WITHOUT ROWID""",
    "INSERT INTO figures SELECT id, 'size_bytes', size_bytes FROM rows WHERE size_bytes IS NOT NULL",
    "INSERT INTO figures SELECT id, 'p50_ms', p50_ms FROM rows WHERE p50_ms IS NOT NULL",
    "INSERT INTO figures SELECT id, 'p90_ms', p90_ms FROM rows WHERE p90_ms IS NOT NULL",
    "ALTER TABLE rows DROP COLUMN size_bytes",
    "ALTER TABLE rows DROP COLUMN p50_ms",
    "ALTER TABLE rows DROP COLUMN p90_ms",
)
STEPS = (_FIRST, _SECOND)
VERSION = len(STEPS)


def schema_version(connection: sqlite3.Connection) -> int:
    """Return the schema of an open database; 0 where it is empty."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that is newer than this version of edge, or was not made by it.

    Args:
        connection: in autocommit mode; read-only is enough.
        path: what to call it.

    Raises:
        InputError: of a newer schema, or with other tables, indices or triggers than ours.
    """
    connection.execute("BEGIN")  # another process may be making the tables
    try:
        version, tables = schema_version(connection), _tables(connection)
    finally:
        connection.execute("ROLLBACK")
    if version > VERSION:
        raise InputError(
            f"history `{path}` was written by a newer edge", expected=f"schema {VERSION} at most", got=version,
            hint="upgrade edge; the file was not touched",
        )  # fmt: skip
    if version < 0 or tables != _expected(version):
        raise InputError(f"`{path}` is a database, and no history of edge", hint="name another file with --db")


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a checked database to this schema; nothing happens where it is there already.

    Args:
        connection: in autocommit mode.
        path: the database; the copy of an older one goes beside it, see `backup_path`.
    """
    while (version := schema_version(connection)) < VERSION:
        if version:
            _keep_copy(connection, path, version)
        connection.execute("BEGIN IMMEDIATE")
        try:
            if schema_version(connection) == version:  # another process may have been first
                for step in STEPS[version:]:
                    for statement in step:
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def backup_path(path: Path, version: int) -> Path:
    """Return where the copy of a database lies that had an older schema."""
    return path.with_name(f"{path.name}.schema-{version}")


def _keep_copy(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Write the whole database, as it is now, into one file beside it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        connection.execute("VACUUM INTO ?", (os.fspath(part),))
        with contextlib.closing(sqlite3.connect(part)) as copy:
            if schema_version(copy) != version:  # another process has migrated meanwhile, and kept its copy
                return
        handle = os.open(part, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(part, backup_path(path, version))
    finally:
        part.unlink(missing_ok=True)


def _expected(version: int) -> list[tuple[str, str, str]]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        for step in STEPS[:version]:
            for statement in step:
                fresh.execute(statement)
        return _tables(fresh)


def _tables(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    found = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'").fetchall()
    return sorted((str(kind), str(name), str(sql)) for kind, name, sql in found)
