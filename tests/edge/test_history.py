"""`edge history`, as a user meets it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..bench.history_help import bench_document, bench_row, eval_document, manifest

Say = Callable[..., tuple[int, str, str]]
HOSTILE = [
    "-oProxyCommand=touch canary", "; touch canary", "$(touch canary)", "`touch canary`", "a\nb", "'\"", "../../x",
    "nul\0", "\u202eevil", "\x1b[2J", "\ud800", "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "<script>alert(1)</script>",
    "'); DROP TABLE runs; --", "%s%n", "é" * 900,
]  # fmt: skip


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own, which is no git checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


def write(name: str, document: dict[str, Any]) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def test_results_evaluations_and_bundles_are_kept_listed_and_shown(say: Say) -> None:
    write("runs/results.json", bench_document())
    write("out/net/manifest.json", manifest())
    write("eval.json", eval_document())

    code, out, _ = say("history", "add", "runs", "out", "eval.json", "--note", "first")
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()] == ["run 1", "run 2", "run 3"]
    assert say("history", "add", "eval.json")[1] == "run 3: eval.json (kept before)\n"

    _, out, _ = say("history", "list", "--json")
    assert [run["id"] for run in json.loads(out)["runs"]] == [3, 2, 1]
    assert "AP 0.800" in say("history", "list")[1]
    _, out, _ = say("history", "list", "--variant", "fp32", "--json")
    assert [run["kind"] for run in json.loads(out)["runs"]] == ["export"]
    assert "no runs" in say("history", "list", "--model", "none")[1]
    _, out, _ = say("history", "show", "1")
    assert "first" in out
    assert "cpu_p50_ms          0.900" in out
    _, out, _ = say("history", "show", "1", "--json")
    assert json.loads(out)["document"] == bench_document()
    assert say("history", "check") == (0, "3 runs, all well\n", "")


def test_a_run_without_a_row_is_listed_all_the_same(say: Say) -> None:
    write("none.json", {**bench_document(), "rows": []})
    assert say("history", "add", "none.json")[1] == "run 1: none.json\n"

    line = say("history", "list")[1].splitlines()[-1].split()

    assert (line[0], line[1], line[-2:]) == ("1", "bench", ["no", "rows"])


def test_the_commit_is_kept_where_there_is_one(say: Say) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *words], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    say("history", "add", write("r.json", bench_document()))

    assert json.loads(say("history", "show", "1", "--json")[1])["run"]["git_commit"] == head


def test_stdin_is_read(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(eval_document())))

    assert say("history", "add", "-")[:2] == (0, "run 1: stdin\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["list"], "there is no history"),
        (["show", "5", "--db", "made.db"], "there is no run 5"),
        (["add", "none.json"], "does not exist"),
        (["add", "."], "holds no results"),
        (["add", "text.json"], "is no JSON"),
        (["add", "good.json", "odd.json"], "odd.json"),
        (["add", "good.json", "--note", "n" * 20_000], "note is too long"),
        (["list", "--db", "text.json"], "no history of edge"),
        (["rebuild", "good.json", "--db", "made.db"], "is sound"),
        (["export", "--format", "mlflow", "--db", "made.db"], "needs `--output`"),
    ],
)
def test_what_cannot_be_is_refused_with_code_2(say: Say, words: list[str], says: str) -> None:
    write("good.json", bench_document())
    write("odd.json", {"schema": 1, "rows": 3})
    Path("text.json").write_text("no JSON")
    say("history", "add", write("a.json", bench_document(9)), "--db", "made.db")

    code, _, err = say("history", *words)

    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert not Path(".edge/history.db").exists() or not json.loads(say("history", "list", "--json")[1])["runs"]


def test_hostile_words_are_kept_shown_harmlessly_and_exported_as_text(say: Say) -> None:
    for number, text in enumerate(HOSTILE):
        row = bench_row(device=text, artifact={"model": text, "file": text})
        write(f"{number}.json", bench_document(number, row))
    code, _, err = say("history", "add", *(f"{number}.json" for number in range(len(HOSTILE))), "--note", "=cmd()")
    assert (code, err) == (0, "")

    for words in (
        ["list"],
        ["show", "9"],
        ["points"],
        *(["list", f"--model={text}"] for text in HOSTILE if "\0" not in text),
    ):
        code, out, _ = say("history", *words)
        assert code == 0
        assert out.replace("\n", "").isprintable()
    rows = list(csv.DictReader(io.StringIO(say("history", "export", "--format", "csv")[1])))
    assert len(rows) == len(HOSTILE)
    for row, text in zip(rows, HOSTILE, strict=True):
        kept = text.encode("utf-8", "backslashreplace").decode()
        assert row["model"] == (f"'{kept}" if kept[0] in "=+-@\t" else kept)
        assert row["note"] == "'=cmd()"
        assert float(row["p50_ms"]) == 1.0
    assert not list(Path().rglob("canary"))
    assert say("history", "check")[0] == 0


def test_exports_go_to_a_file_in_the_order_of_the_runs(say: Say) -> None:
    say("history", "add", write("a.json", bench_document(1)), write("b.json", bench_document(2)))

    assert say("history", "export", "--format", "json", "--output", "out.json") == (0, "", "")
    values = json.loads(Path("out.json").read_text())
    assert [run["id"] for run in values["runs"]] == [1, 2]
    assert values["runs"][0]["rows"][0]["figures"]["size_bytes"] == 1000


def test_change_points_are_advice(say: Say) -> None:
    for number in range(40):
        row = bench_row(infer_cpu={"p50_ms": 1.0 if number < 20 else 1.2})
        write(f"{number}.json", bench_document(number, row))
    say("history", "add", *(f"{number}.json" for number in range(40)))

    code, out, _ = say("history", "points")
    assert code == 0
    assert "+20.0 % from run 21 on" in out
    assert "Advice, not a verdict" in out
    values = json.loads(say("history", "points", "--json")[1])
    assert values["advisory"] is True
    assert [point["run"] for point in values["series"][0]["points"]] == [21]


def test_a_damaged_history_is_told_kept_and_made_anew(say: Say) -> None:
    for number in range(30):
        write(f"runs/{number}/results.json", bench_document(number))
    say("history", "add", *(f"runs/{number}" for number in range(30)))
    path = Path(".edge/history.db")
    data = bytearray(path.read_bytes())
    data[4096 : 3 * 4096] = os.urandom(2 * 4096)
    path.write_bytes(data)

    code, _, err = say("history", "list")
    assert code == 2
    assert "is damaged" in err
    assert "history rebuild" in err
    Path("runs/odd.json").write_text("{}")
    code, out, err = say("history", "rebuild", "runs")
    assert (code, out.startswith("30 runs in")) == (0, True)
    assert "left out: `runs/odd.json` is no result of edge" in err
    assert say("history", "check")[:2] == (0, "30 runs, all well\n")
    assert [one.read_bytes() for one in Path(".edge").glob("*.kept-*")] == [bytes(data)]


def test_mlflow_gets_each_row_once(say: Say) -> None:
    pytest.importorskip("mlflow")
    say("history", "add", write("a.json", bench_document(1)), write("b.json", eval_document()))
    again = ["history", "export", "--format", "mlflow", "--output", "ml.db"]
    code = f"from edge.cli import main\nfor _ in range(2):\n    assert main({again}) == 0"
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), *sys.path]))
    done = subprocess.run(  # a process of its own, as MLflow warns of this and that
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 runs written, 0 were there\n0 runs written, 3 were there\n"

    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect("ml.db")) as store:
        metrics = store.execute("SELECT key, value FROM metrics WHERE key IN ('p50_ms', 'metric')").fetchall()
        names = {row[0] for row in store.execute("SELECT value FROM params WHERE key = 'variant'")}
        states = {row[0] for row in store.execute("SELECT status FROM runs")}
    assert sorted(metrics) == [("metric", 0.8), ("p50_ms", 1.0), ("p50_ms", 1.0)]
    assert names == {"int8.tflite"}
    assert states == {"FINISHED"}
