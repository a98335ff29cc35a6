"""The local history of runs: one SQLite file that several processes write to and that survives being killed.

    with History(Path(".edge/history.db")) as history:
        number, new = history.add(document, note="after pruning")
        history.runs(model="face-nanob", limit=5)

Write-ahead log, `synchronous=FULL`, `BEGIN IMMEDIATE` and a patient busy time-out: a run that `add` returned is there
after a power cut, and one that it did not is there wholly or not at all. The document itself is kept beside the rows
that were read from it, so that `check` can read it again and compare.

Runs are ordered by their number. Clocks are set, and differ between machines: a time is shown, and decides nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from ..runtime.errors import EdgeError, InputError, ResourceError
from .history_schema import APPLICATION_ID, check_tables, migrate
from .run_facts import MAX_BYTES, RunRow, canonical, run_facts

__all__ = ["DEFAULT", "History", "Run", "rebuild"]

DEFAULT = Path(".edge/history.db")
BUSY_S = 60.0
MAX_NOTE = 10_000
MAGIC = b"SQLite format 3\0"
ROW_COLUMNS = tuple(name for name in RunRow.__dataclass_fields__ if name not in ("conditions", "figures"))
# Primary result codes of SQLite.
BUSY, LOCKED, READONLY, IO_ERROR, CORRUPT, FULL, CANNOT_OPEN, NOT_A_DATABASE = 5, 6, 8, 10, 11, 13, 14, 26
NO_SHARED_MEMORY = "SQLITE_IOERR_SHMSIZE"  # the index of the log does not fit on the disk


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as it is kept.

    Attributes:
        id: its number; a later run has a larger one.
        kind: "bench", "eval" or "export".
        digest: SHA-256 of the document.
        added, began: UTC, ISO 8601, by clocks that may be wrong; `began` is what the document says.
        edge: version that made it.
        git_commit: what was checked out where it was added.
        note: of whoever added it.
        rows: what it found.
    """

    id: int
    kind: str
    digest: str
    added: str
    began: str | None
    edge: str | None
    git_commit: str | None
    note: str
    rows: tuple[RunRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        head = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "rows"}
        rows = [{**{name: getattr(row, name) for name in RunRow.__dataclass_fields__}} for row in self.rows]
        for row in rows:
            row["conditions"], row["figures"] = dict(row["conditions"]), dict(row["figures"])
        return {**head, "rows": rows}


class History:
    """An open history.

    Args:
        path: the database.
        create: make it where there is none; its folder, too.

    Raises:
        InputError: it is not there, damaged, no history, of a newer edge, or cannot be read. A damaged one is copied
            beside itself, once.
        ResourceError: another process held it for too long, or the disk is full.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        if not path.exists() or path.stat().st_size == 0:
            if not create:
                raise InputError(f"there is no history `{path}`", hint="`edge history add` makes one")
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            _examine(path)
        with _told(path):
            self._connection = _open(path)
            try:
                _prepare(self._connection)
                check_tables(self._connection, path)
                migrate(self._connection, path)
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> History:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._connection.close()

    def add(self, document: Mapping[str, Any], *, note: str = "", git_commit: str | None = None) -> tuple[int, bool]:
        """Keep a document and return its number, and whether it is new: the same document is kept once.

        It is on disk when this returns.

        Args:
            document: see `run_facts`.
            note: for people, at most 10,000 characters.
            git_commit: what was checked out.

        Raises:
            InputError: the document or the note is refused; nothing was written then.
            ResourceError: the disk is full, or another process held the database for too long.
        """
        if len(note) > MAX_NOTE:
            raise InputError("the note is too long", expected=f"at most {MAX_NOTE} characters", got=len(note))
        facts, data = run_facts(document), canonical(document)
        digest = hashlib.sha256(data).hexdigest()
        head = (facts.kind, digest, zlib.compress(data), _now(), facts.began, facts.edge, git_commit, _clean(note))
        with _told(self.path), _transaction(self._connection) as connection:
            known = connection.execute("SELECT id FROM runs WHERE digest = ?", (digest,)).fetchone()
            if known:
                return int(known[0]), False
            columns = "kind, digest, document, added, began, edge, git_commit, note"
            made = connection.execute(f"INSERT INTO runs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", head)  # noqa: S608 - constants
            number = made.lastrowid
            assert number is not None
            for position, row in enumerate(facts.rows):
                _insert_row(connection, number, position, row)
        return number, True

    def runs(
        self,
        *,
        model: str | None = None,
        variant: str | None = None,
        device: str | None = None,
        sha256: str | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        """Return runs with the rows that match, the latest first; a run without such rows is left out.

        Args:
            model, device: exact names.
            sha256: of the file.
            variant: a precision, a target, or both: "int8", "tflite", "int8.tflite".
            limit: so many runs at most.
        """
        where, values = _filters(model=model, variant=variant, device=device, sha256=sha256)
        most = "" if limit is None else f" LIMIT {int(limit)}"
        query = f"SELECT id FROM runs WHERE id IN (SELECT run FROM rows WHERE {where}) ORDER BY id DESC{most}"  # noqa: S608 - constants
        if where == "1":  # runs without a single row count, too
            query = f"SELECT id FROM runs ORDER BY id DESC{most}"  # noqa: S608 - constants
        with _told(self.path), _snapshot(self._connection):
            found = self._connection.execute(query, values if where != "1" else ()).fetchall()
            return [self._run(int(number), where, values) for (number,) in found]

    def run(self, number: int) -> Run:
        """Return one run.

        Raises:
            InputError: there is none of that number.
        """
        with _told(self.path), _snapshot(self._connection):
            return self._run(number, "1", ())

    def document(self, number: int) -> dict[str, Any]:
        """Return the document of a run, as it was added.

        Raises:
            InputError: there is no such run, or it is damaged.
        """
        with _told(self.path):
            found = self._connection.execute("SELECT digest, document FROM runs WHERE id = ?", (number,)).fetchone()
        if not found:
            raise _no_run(number, self.path)
        data = _unpacked(found[1])
        if data is None or hashlib.sha256(data).hexdigest() != found[0]:
            raise _damaged(self.path, f"the document of run {number} is not what was added")
        with _told(self.path):
            document: dict[str, Any] = json.loads(data)
        return document

    def check(self) -> list[str]:
        """Return what is wrong with the database, one line each: its pages, and each run against its own document."""
        with _told(self.path):
            lines = [str(row[0]) for row in self._connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
            lines += [
                f"row {row[1]} of {row[0]} points nowhere"
                for row in self._connection.execute("PRAGMA foreign_key_check")
            ]
            numbers = [int(row[0]) for row in self._connection.execute("SELECT id FROM runs ORDER BY id")]
        for number in numbers:
            try:
                facts, run = run_facts(self.document(number)), self.run(number)
            except EdgeError as exc:
                lines.append(f"run {number}: {exc}")
                continue
            # A migrated run holds fewer figures than its document: those that its schema had.
            same = len(facts.rows) == len(run.rows) and all(
                kept.figures.items() <= said.figures.items()
                and all(getattr(kept, name) == getattr(said, name) for name in ROW_COLUMNS)
                for said, kept in zip(facts.rows, run.rows, strict=True)
            )
            if not same:
                lines.append(f"run {number}: its rows are not those of its document")
        return lines

    def _run(self, number: int, where: str, values: tuple[Any, ...]) -> Run:
        columns = ("id", "kind", "digest", "added", "began", "edge", "git_commit", "note")
        head = self._connection.execute(f"SELECT {', '.join(columns)} FROM runs WHERE id = ?", (number,)).fetchone()  # noqa: S608 - constants
        if head is None:
            raise _no_run(number, self.path)
        query = f"SELECT id, conditions, {', '.join(ROW_COLUMNS)} FROM rows WHERE run = ? AND {where} ORDER BY position"  # noqa: S608 - constants
        rows = []
        for key, conditions, *cells in self._connection.execute(query, (number, *values)).fetchall():
            figures = self._connection.execute("SELECT name, value FROM figures WHERE row = ? ORDER BY name", (key,))
            rows.append(
                RunRow(
                    **dict(zip(ROW_COLUMNS, cells, strict=True)),
                    conditions=json.loads(conditions),
                    figures=dict(figures.fetchall()),
                )
            )
        return Run(**dict(zip(columns, head, strict=True)), rows=tuple(rows))


def rebuild(path: Path, documents: Sequence[Mapping[str, Any]], *, note: str = "rebuilt") -> tuple[int, Path | None]:
    """Make a history anew from documents, in their order, and return how many runs it has and where the old one is.

    The new one is complete before it takes the old one's place. No other process may have the old one open.

    Args:
        path: the database; what stands there is kept beside it.
        documents: see `run_facts`.
        note: of every run.

    Raises:
        InputError: a document is refused; nothing was changed then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    _remove(part)
    try:
        with History(part, create=True) as fresh:
            numbers = {fresh.add(document, note=note)[0] for document in documents}
            fresh._connection.execute("PRAGMA journal_mode = DELETE")  # all of it in one file, which is then renamed
        kept = _keep_damaged(path) if path.exists() else None
        for suffix in ("-wal", "-shm"):  # of the old one: SQLite would play it back into the new
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        os.replace(part, path)
    finally:
        _remove(part)
    return len(numbers), kept


def _examine(path: Path) -> None:
    """Look at a database before anything is written to it, and refuse one that is damaged, foreign or newer."""
    try:
        with path.open("rb") as stream:
            header = stream.read(100)
    except OSError as exc:
        raise InputError(f"cannot read the history `{path}`", got=exc.strerror) from exc
    if not header.startswith(MAGIC):
        if header[68:72] == APPLICATION_ID.to_bytes(4, "big"):
            raise _damaged(path, "its first bytes are not SQLite's")
        raise InputError(
            f"`{path}` is no history of edge", expected="an SQLite database", hint="name another with --db"
        )
    with _told(path):
        try:
            _look(f"{path.resolve().as_uri()}?mode=ro", path)
        except sqlite3.OperationalError as exc:
            if _code(exc) != READONLY:
                raise
            _look(path, path)  # a writer was killed: SQLite has to put its last steps right before anybody can read


def _look(where: Path | str, path: Path) -> None:
    with contextlib.closing(_open(where)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
        if found != ["ok"]:
            raise _damaged(path, found[0] if found else "its check said nothing")
        check_tables(connection, path)


def _open(where: Path | str) -> sqlite3.Connection:
    """Return a connection in autocommit mode, to a path or a `file:` address."""
    return sqlite3.connect(where, timeout=BUSY_S, isolation_level=None, uri=isinstance(where, str))


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    end = time.monotonic() + BUSY_S
    while True:  # the change to a log takes no notice of the busy time-out
        try:
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
                return
        except sqlite3.OperationalError as exc:
            if _code(exc) not in (BUSY, LOCKED) or time.monotonic() > end:
                raise
        if time.monotonic() > end:
            return  # a file system without shared memory: SQLite's older journal is as safe, and slower
        time.sleep(0.01)


def _insert_row(connection: sqlite3.Connection, run: int, position: int, row: RunRow) -> None:
    conditions = json.dumps(dict(row.conditions), sort_keys=True, allow_nan=False)
    cells = (run, position, conditions, *(getattr(row, name) for name in ROW_COLUMNS))
    marks = ", ".join("?" * len(cells))
    made = connection.execute(
        f"INSERT INTO rows (run, position, conditions, {', '.join(ROW_COLUMNS)}) VALUES ({marks})",  # noqa: S608 - constants
        cells,
    )
    figures = [(made.lastrowid, name, value) for name, value in row.figures.items()]
    connection.executemany("INSERT INTO figures VALUES (?, ?, ?)", figures)


def _filters(**wanted: str | None) -> tuple[str, tuple[Any, ...]]:
    """Return a condition on rows, and its values."""
    parts, values = [], []
    for name, value in wanted.items():
        if value is None:
            continue
        if name == "variant":
            precision, dot, target = value.partition(".")
            parts.append("(precision = ? AND target = ?)" if dot else "(precision = ? OR target = ?)")
            values += [precision, target if dot else precision]
        else:
            parts.append(f"{name} = ?")
            values.append(_clean(value))
    return " AND ".join(parts) or "1", tuple(values)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Read all that belongs together at one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what SQLite says into one of our errors."""
    try:
        yield
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as exc:  # the latter: JSON in it that is none
        code = _code(exc)
        if code in (BUSY, LOCKED):
            raise ResourceError(f"history `{path}` is in use", expected=f"free within {BUSY_S:.0f} s") from exc
        if code == FULL or getattr(exc, "sqlite_errorname", "") == NO_SHARED_MEMORY:
            raise ResourceError(f"no room to write the history `{path}`", hint="free some space") from exc
        if code in (READONLY, CANNOT_OPEN, IO_ERROR):
            raise InputError(f"cannot use the history `{path}`", got=str(exc), hint="is its folder writable?") from exc
        raise _damaged(path, str(exc)) from exc


def _code(exc: Exception) -> int:
    return int(getattr(exc, "sqlite_errorcode", CORRUPT)) & 0xFF


def _damaged(path: Path, why: str) -> InputError:
    kept = _keep_damaged(path)
    return InputError(
        f"history `{path}` is damaged",
        got=f"{why[:80]}; a copy is `{kept.name}`",
        hint="`edge history rebuild FROM...` makes it anew from results and manifests",
    )


def _keep_damaged(path: Path) -> Path:
    """Copy a database and its log beside themselves, once for the same content, and return the copy."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:12]
    kept = path.with_name(f"{path.name}.kept-{digest}")
    for suffix in ("-wal", ""):
        source, copy = path.with_name(path.name + suffix), kept.with_name(kept.name + suffix)
        if source.exists() and source.stat().st_size and not copy.exists():
            part = path.with_name(f".{copy.name}.{os.getpid()}.part")
            part.unlink(missing_ok=True)
            shutil.copy2(source, part)
            os.replace(part, copy)
    return kept


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _unpacked(blob: object) -> bytes | None:
    """Return a document's bytes; None where they are none, or too many."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(blob, MAX_BYTES + 1) if isinstance(blob, bytes) else b""
    except zlib.error:
        return None
    return data if unpacker.eof and len(data) <= MAX_BYTES else None


def _no_run(number: int, path: Path) -> InputError:
    return InputError(f"there is no run {number} in `{path}`", hint="`edge history list` shows them")


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
