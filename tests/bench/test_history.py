"""The history keeps what it has acknowledged, whoever kills it, and refuses what it cannot trust."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import sqlite3
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from edge.bench import history as history_module
from edge.bench import history_schema
from edge.bench.history import History, rebuild
from edge.bench.history_schema import VERSION, backup_path
from edge.runtime.errors import EdgeError, InputError

from .history_help import bench_document, bench_row, eval_document, manifest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

# Schema 1 as it was, letter by letter; never to be changed, or its files would no longer be known.
SCHEMA_1 = [
    "PRAGMA application_id = 1701078885",
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
    "PRAGMA user_version = 1",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a history may be made."""
    return tmp_path / ".edge" / "history.db"


def write_schema_1(path: Path, runs: int = 5) -> None:
    """Write a history of schema 1 with two rows a run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in SCHEMA_1:
            connection.execute(statement)
        connection.execute("BEGIN")
        for number in range(1, runs + 1):
            data = json.dumps(bench_document(number), sort_keys=True, separators=(",", ":")).encode()
            head = (number, "bench", hashlib.sha256(data).hexdigest(), zlib.compress(data), "t", None, "0.1.0", "old")
            connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", head)
            for threads in (1, 2):
                row = ["net", "int8", "tflite", "net-int8.tflite", "ab" * 32, "host", "litert", "2.3.0", threads]
                cells = [number, threads - 1, *row, "measured", "complete", "{}", 1000, 1.0, 1.2]
                marks = ", ".join("?" * (len(cells) + 1))
                connection.execute(f"INSERT INTO rows VALUES ({marks})", [None, *cells])
        connection.execute("COMMIT")


def test_a_run_comes_back_as_it_was_added(path: Path) -> None:
    document = bench_document(7)
    with History(path, create=True) as history:
        added = history.add(document, note="why", git_commit="c" * 40)
    with History(path) as history:
        run = history.run(added[0])

        assert added == (1, True)
        assert history.document(1) == document
        assert history.check() == []
    assert (run.kind, run.note, run.git_commit, run.edge) == ("bench", "why", "c" * 40, "0.1.0")
    assert [row.threads for row in run.rows] == [1, 2]
    assert run.rows[0].figures == {
        "size_bytes": 1000.0, "p50_ms": 1.0, "p90_ms": 1.2, "cpu_p50_ms": 0.9, "load_ms": 5.0, "first_ms": 2.0,
        "peak_rss_bytes": 5e7,
    }  # fmt: skip
    assert run.rows[0].conditions["cpu"] == "Test 3000"


def test_of_an_evaluation_and_of_a_manifest_the_figures_that_matter_are_kept(path: Path) -> None:
    with History(path, create=True) as history:
        history.add(eval_document(0.8))
        history.add(manifest())
        export, evaluation = history.runs()

    assert evaluation.rows[0].figures["metric"] == 0.8
    assert evaluation.rows[0].conditions["metric"] == "AP"
    assert [row.variant for row in export.rows] == ["fp32.onnx", "int8.onnx"]
    assert export.rows[0].figures["parity_sqnr_db"] == 30.0  # the worst output
    assert export.rows[0].figures["parity_max_error"] == 1e-3


def test_the_same_document_is_kept_once(path: Path) -> None:
    with History(path, create=True) as history:
        assert history.add(bench_document()) == (1, True)
        assert history.add(bench_document(), note="again") == (1, False)
        assert len(history.runs()) == 1


def test_runs_are_found_by_model_variant_and_device_and_come_latest_first(path: Path) -> None:
    with History(path, create=True) as history:
        for number in range(3):
            history.add(bench_document(number))
        history.add(bench_document(9, bench_row(device="pi", artifact={"model": "other", "precision": "fp16"})))

        assert [run.id for run in history.runs()] == [4, 3, 2, 1]
        assert [run.id for run in history.runs(model="net", limit=2)] == [3, 2]
        for variant in ("fp16", "fp16.tflite"):
            assert [run.id for run in history.runs(variant=variant)] == [4]
        assert len(history.runs(variant="tflite")) == 4
        assert history.runs(device="moon") == []


def test_order_is_that_of_adding_whatever_the_clock_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with History(path, create=True) as history:
        for number, year in enumerate((2026, 2036, 2016)):
            monkeypatch.setattr(history_module, "_now", lambda year=year: f"{year}-01-01T00:00:00+00:00")
            history.add(bench_document(number))

        assert [run.id for run in history.runs()] == [3, 2, 1]
        assert [run.added[:4] for run in history.runs()] == ["2016", "2036", "2026"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "schema"),
        ({"schema": 2, "command": "bench", "rows": []}, "schema"),
        ({"schema": 1}, "holds no results"),
        (bench_document(0, {}), r"rows\[0\].artifact"),
        (bench_document(0, bench_row(threads="two")), r"rows\[0\].threads"),
        (bench_document(0, bench_row(threads=True)), r"rows\[0\].threads"),
        (bench_document(0, bench_row(infer={"p50_ms": 1e300})), r"rows\[0\].infer.p50_ms"),
        (bench_document(0, bench_row(artifact={"sha256": "../../etc"})), "SHA-256"),
        (bench_document(0, bench_row(artifact={"model": "m" * 2000})), "1000 characters"),
        (bench_document(0, bench_row(load_ms=float("nan"))), "load_ms"),
        (manifest(variants={"a": 3}), "variants.a"),
    ],
)
def test_a_document_that_is_none_is_refused_and_nothing_is_kept(path: Path, document: Any, words: str) -> None:
    with History(path, create=True) as history:
        with pytest.raises(InputError, match=words):
            history.add(document)

        assert history.runs() == []


def test_half_a_surrogate_pair_and_a_nul_are_kept_without_harm(path: Path) -> None:
    document = bench_document(0, bench_row(artifact={"model": "n\ud800t\0"}))
    with History(path, create=True) as history:
        history.add(document, note="\udcff")

        assert history.run(1).rows[0].model == "n\\ud800t\0"
        assert history.document(1) == document
        assert history.check() == []


def script(body: str) -> list[str]:
    """Return the command of a process that may import the history and the documents of tests."""
    head = f"import sys, os; sys.path[:0] = [{str(ROOT)!r}, {str(HERE)!r}]\n"
    head += (
        "from pathlib import Path\nfrom edge.bench.history import History\nfrom history_help import bench_document\n"
    )
    return [sys.executable, "-c", head + body]


KILLED = """
import random, signal, time
path, rng = Path(sys.argv[1]), random.Random(0)
for kill in range(100):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with History(path, create=True) as history:
            for number in range(10_000):
                done = history.add(bench_document(kill * 10_000 + number))[0]
                os.write(writing, f"{done}\\n".encode())
    os.close(writing)
    with os.fdopen(reading) as told:
        lines = [told.readline() for _ in range(kill % 4)]  # from in the middle of opening to a few runs on
        time.sleep(rng.uniform(0.0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        sys.stdout.write("".join([*lines, *told]))
"""


def test_a_hundred_kills_lose_no_run_that_was_acknowledged_and_leave_none_in_part(path: Path) -> None:
    done = subprocess.run([*script(KILLED), str(path)], capture_output=True, text=True, check=True)
    # A last line may lack its end, and then its number is cut off: it was not acknowledged.
    told = {int(line) for line in done.stdout.splitlines(keepends=True) if line.endswith("\n")}

    with History(path) as history:
        kept = {run.id for run in history.runs()}
        assert history.check() == []  # every run has exactly the rows and figures of its document
    assert len(told) >= 150  # 0, 1, 2, 3, 0, ... were waited for
    assert told <= kept
    assert len(kept - told) <= 100  # at most the one of each kill that was not told of


MANY = """
with History(Path(sys.argv[1]), create=True) as history:
    for number in range(int(sys.argv[3])):
        history.add(bench_document(int(sys.argv[2]) * 1000 + number))
"""


def test_eight_writers_of_sixty_runs_leave_480(path: Path) -> None:
    writers = [
        subprocess.Popen([*script(MANY), str(path), str(number), "60"], stderr=subprocess.PIPE) for number in range(8)
    ]
    errors = [writer.communicate()[1] for writer in writers]

    assert [writer.returncode for writer in writers] == [0] * 8, errors
    with History(path) as history:
        assert len(history.runs()) == 480
        assert history.check() == []


def test_the_journal_is_a_log_and_a_commit_waits_for_the_disk(path: Path) -> None:
    with History(path, create=True) as history:
        ask = history._connection.execute

        assert ask("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert ask("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        assert ask("PRAGMA busy_timeout").fetchone()[0] >= 30_000
        assert ask("PRAGMA user_version").fetchone()[0] == VERSION


def test_a_history_of_schema_1_is_migrated_with_all_it_had_and_kept_as_it_was(path: Path) -> None:
    write_schema_1(path)
    with contextlib.closing(sqlite3.connect(path)) as old:
        before = old.execute("SELECT COUNT(*), SUM(size_bytes), SUM(p50_ms), SUM(p90_ms) FROM rows").fetchone()

    with History(path) as history:
        runs = history.runs()
        figures = [row.figures for run in runs for row in run.rows]
        assert history.check() == []
        assert history.add(bench_document(99)) == (6, True)
    sums = [sum(one[name] for one in figures) for name in ("size_bytes", "p50_ms", "p90_ms")]

    assert [len(figures), *sums] == pytest.approx(list(before))
    assert [run.id for run in runs] == [5, 4, 3, 2, 1]
    assert {run.note for run in runs} == {"old"}
    with contextlib.closing(sqlite3.connect(backup_path(path, 1))) as copy:
        assert copy.execute("PRAGMA user_version").fetchone()[0] == 1
        assert copy.execute("SELECT COUNT(*), SUM(size_bytes) FROM rows").fetchone() == before[:2]


MIGRATED = """
import shutil, signal, sqlite3
seed, left, real = Path(sys.argv[1]), 0, sqlite3.connect

def count(statement):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def connect(*words, **options):
    made = real(*words, **options)
    if str(words[0]) != ":memory:":
        made.set_trace_callback(count)
    return made

for moment in range(1, 200):
    path = seed.with_name(f"{moment}.db")
    shutil.copy(seed, path)
    if (child := os.fork()) == 0:
        left, sqlite3.connect = moment, connect
        History(path).__exit__(None, None, None)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:  # it had fewer statements than that
        break
    print(path, flush=True)
"""


def test_a_kill_at_any_statement_of_a_migration_leaves_the_old_schema_or_the_new(tmp_path: Path) -> None:
    write_schema_1(tmp_path / "seed.db")
    command = [*script(MIGRATED), str(tmp_path / "seed.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    killed = [Path(line) for line in done.stdout.splitlines()]
    schemas = set()
    for path in killed:
        with contextlib.closing(sqlite3.connect(path)) as left:
            version = left.execute("PRAGMA user_version").fetchone()[0]
            columns = {row[1] for row in left.execute("PRAGMA table_info(rows)")}
        schemas.add(version)
        assert ("p50_ms" in columns) == (version == 1)
        with History(path) as history:
            assert len(history.runs()) == 5
            assert history.check() == []
    assert len(killed) > 15
    assert schemas == {1, 2}


def test_two_processes_may_migrate_at_once(path: Path) -> None:
    write_schema_1(path, runs=200)
    both = [subprocess.Popen([*script(MANY), str(path), str(number), "5"]) for number in (1, 2)]

    assert [one.wait() for one in both] == [0, 0]
    with History(path) as history:
        assert len(history.runs()) == 210
    with contextlib.closing(sqlite3.connect(backup_path(path, 1))) as copy:
        assert copy.execute("SELECT COUNT(*) FROM runs").fetchone() == (200,)


def test_a_history_of_a_newer_edge_is_refused_and_not_touched(path: Path) -> None:
    with History(path, create=True) as history:
        history.add(bench_document())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = hashlib.sha256(path.read_bytes()).hexdigest()

    with pytest.raises(InputError, match="newer edge") as refused:
        History(path)

    assert refused.value.exit_code == 2
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_another_programs_database_and_one_with_a_trigger_are_no_history(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE friends (name TEXT)")
    with History(tmp_path / "odd.db", create=True):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "odd.db")) as odd:
        odd.execute("CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM rows; END")

    for name in ("other.db", "odd.db"):
        with pytest.raises(InputError, match="no history of edge"):
            History(tmp_path / name, create=True)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff" * 100)
    with pytest.raises(InputError, match="no history of edge"):
        History(tmp_path / "photo.jpg", create=True)
    assert not list(tmp_path.glob("*.kept-*"))


@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_random_bytes_are_noticed_and_the_damaged_file_is_kept(path: Path, seed: int) -> None:
    with History(path, create=True) as history:
        for number in range(40):
            history.add(bench_document(number))
    data, rng = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(100):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)

    with pytest.raises(InputError) as refused, History(path) as history:
        found = history.check()  # what the quick check lets pass, as a changed digit, is found here
        assert not found
    assert refused.value.exit_code == 2
    assert "damaged" in str(refused.value)
    kept = list(path.parent.glob("*.kept-*"))
    assert [one.read_bytes() for one in kept] == [bytes(data)]
    with pytest.raises(InputError):
        History(path)
    assert list(path.parent.glob("*.kept-*")) == kept  # once

    count, old = rebuild(path, [bench_document(number) for number in range(40)])
    assert count == 40
    assert old is not None
    assert old.read_bytes() == bytes(data)
    with History(path) as history:
        assert history.check() == []
        assert [run.id for run in history.runs()] == list(range(40, 0, -1))


def test_a_changed_figure_or_document_is_found_by_the_whole_check(path: Path) -> None:
    with History(path, create=True) as history:
        history.add(bench_document())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE figures SET value = 2000 WHERE name = 'size_bytes'")
        connection.commit()
    with History(path) as history:
        assert history.check() == ["run 1: its rows are not those of its document"]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE runs SET document = ?", (zlib.compress(b"{}"),))
        connection.commit()
    with History(path) as history, pytest.raises(InputError, match="not what was added"):
        history.document(1)


def test_a_document_that_unpacks_to_gigabytes_is_refused(path: Path) -> None:
    with History(path, create=True) as history:
        history.add(bench_document())
    packed = zlib.compress(bytes(65 << 20), 1)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE runs SET document = ?", (packed,))
        connection.commit()

    with History(path) as history, pytest.raises(InputError, match="not what was added"):
        history.document(1)


def test_rebuilding_refuses_a_bad_document_and_leaves_what_is_there(path: Path) -> None:
    with History(path, create=True) as history:
        history.add(bench_document())

    with pytest.raises(InputError):
        rebuild(path, [bench_document(5), {}])

    with History(path) as history:
        assert len(history.runs()) == 1
    assert not list(path.parent.glob(".*.part*"))


MUTANTS = """
import random, sqlite3
from edge.runtime.errors import EdgeError
seed, rng, answers = Path(sys.argv[1]).read_bytes(), random.Random(1), set()
for number in range(300):
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 4, 30))):
        at = rng.randrange(len(data))
        data[at] = rng.choice((0, 255, data[at] ^ (1 << rng.randrange(8)), rng.randrange(256)))
    path = Path(sys.argv[1]).with_name("mutant.db")
    path.write_bytes(data[: rng.randrange(len(data))] if number % 10 == 0 else data)
    try:
        with History(path, create=True) as history:
            for run in history.runs():
                history.document(run.id)
            history.check()
            history.add(bench_document(number))
        answers.add(0)
    except EdgeError as error:
        assert error.exit_code in (2, 5), error
        answers.add(error.exit_code)
    for one in path.parent.glob("mutant.db*"):
        one.unlink()
print(sorted(answers))
"""


def test_mutants_of_a_history_are_answered_and_kill_nobody(tmp_path: Path) -> None:
    seed = tmp_path / "seed.db"
    with History(seed, create=True) as history:
        for number in range(4):
            history.add(bench_document(number))

    done = subprocess.run([*script(MUTANTS), str(seed)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "[0, 2]\n"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises((EdgeError, OSError), match=r"file|Not a directory"):
        History(tmp_path / "file" / "history.db", create=True)
    with pytest.raises(InputError, match="there is no history"):
        History(tmp_path / "none.db")


def test_the_steps_of_the_schema_are_those_that_were_released() -> None:
    assert [statement.split() for statement in history_schema.STEPS[0]] == [one.split() for one in SCHEMA_1[:-1]]
