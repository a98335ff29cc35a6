"""Links that somebody has put at every name that edge will write: nothing is written through one (SEC-12)."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("jinja2")

from edge.bench.history import History
from edge.export.bundle import MANIFEST, commit, locked, open_run
from edge.runtime.errors import InputError

from ..bench.history_help import bench_document
from ..bench.report_help import write_bundle
from .gate_demo import write_demo

Say = Callable[..., tuple[int, str, str]]
VICTIM = b"somebody else's file"


@pytest.fixture
def victim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that links lead to; the current folder is one in which links may be put."""
    path = tmp_path / "victim"
    path.write_bytes(VICTIM)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return path


def put(victim: Path, *names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).symlink_to(victim)


def test_gate_and_its_baseline(say: Say, victim: Path) -> None:
    write_demo(Path())
    put(victim, "gate.xml", "gate.md", "accepted/baseline.json.part", ".accepted.run-1")
    words = ["gate", "bundle", "--stage", "file", "--junit", "gate.xml", "--summary", "gate.md"]

    assert say(*words, "--baseline", "fresh", "--update", "--reason", "the first one")[0] == 0
    Path("fresh/demo-fp16.onnx").unlink()
    Path("fresh/demo-fp16.onnx").symlink_to(victim)
    Path("fresh/notes.txt").symlink_to(victim)
    assert say(*words, "--baseline", "fresh", "--update", "--reason", "another one")[0] == 0

    assert victim.read_bytes() == VICTIM
    assert not Path("gate.xml").is_symlink()
    assert not Path("gate.md").is_symlink()
    assert Path("fresh/demo-fp16.onnx").read_bytes() == Path("bundle/demo-fp16.onnx").read_bytes()
    os.rename("fresh", "real")
    Path("fresh").symlink_to("real")
    before = {path.name: path.read_bytes() for path in Path("real").iterdir()}
    assert say(*words, "--baseline", "fresh", "--update", "--reason", "a third")[0] == 0
    assert {path.name: path.read_bytes() for path in Path("real").iterdir()} == before
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith(".")) == [".accepted.run-1"]


def test_report_and_its_page(say: Say, victim: Path) -> None:
    write_bundle(Path())
    put(victim, "page.html", ".page.html-1.part")

    assert say("report", "net", "--no-overlays", "--out", "page.html", "--force")[0] == 0

    assert victim.read_bytes() == VICTIM
    assert not Path("page.html").is_symlink()


def test_history_its_copies_and_exports(say: Say, victim: Path) -> None:
    Path("a.json").write_text(json.dumps(bench_document(1)))
    assert say("history", "add", "a.json", "--db", "h.db")[0] == 0
    with sqlite3.connect("h.db") as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    put(victim, "h.db-wal", "h.db-shm", "h.db-journal", f".h.db.{os.getpid()}.part", "out.csv", "out.json")

    for words in (["history", "add", "a.json"], ["history", "rebuild", "a.json", "--force"], ["history", "list"]):
        say(*words, "--db", "h.db")
    for form in ("csv", "json"):
        say("history", "export", "--format", form, "--output", f"out.{form}", "--db", "h.db")
    data = bytearray(Path("h.db").read_bytes())
    data[100:200] = bytes(100)
    Path("h.db").write_bytes(data)
    say("history", "list", "--db", "h.db")

    assert victim.read_bytes() == VICTIM


def test_a_bundle_and_its_lock(victim: Path) -> None:
    put(victim, "out/.edge.lock", "out/.run-1", "out/net")

    with pytest.raises(InputError, match=r"`out` cannot be written"), locked(Path("out")):
        pass
    Path("out/.edge.lock").unlink()
    with locked(Path("out")), open_run(Path("out")) as run:
        put(victim, f"{run}/{MANIFEST}")
        with pytest.raises(FileExistsError):
            commit(run, Path("out/net"), {"schema": 1})
        (run / MANIFEST).unlink()
        commit(run, Path("out/net"), {"schema": 1})

    assert victim.read_bytes() == VICTIM
    assert Path("out/net").is_dir()
    assert sorted(os.listdir("out")) == [".edge.lock", ".run-1", "net"]


def test_a_migration_and_its_copy(victim: Path) -> None:
    from edge.bench.history_schema import backup_path

    from ..bench.test_history import SCHEMA_1

    path = Path("h.db")
    with sqlite3.connect(path) as connection:
        for statement in SCHEMA_1:
            connection.execute(statement)
    connection.close()
    put(victim, str(backup_path(path, 1)))

    with History(path) as history:
        assert history.runs() == []

    assert victim.read_bytes() == VICTIM
    assert not backup_path(path, 1).is_symlink()
