"""`edge compare`, as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.runtime.card import Card
from edge.runtime.trust import file_digest

from ..bench.history_help import bench_document, bench_row, eval_document, manifest

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def write(name: str, document: dict[str, Any]) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def test_two_artifacts_are_measured_in_turns_and_what_is_known_of_them_is_told(
    say: Say, write_onnx: Callable[..., Path], tiny_card: Callable[..., Card]
) -> None:
    first = write_onnx("old.onnx")
    second = write_onnx("new.onnx", replace(tiny_card(), artifact={"precision": "fp32", "target": "onnx"}))
    facts = {"file": "old.onnx", "sha256": file_digest(first), "metric": {"name": "AP", "value": 0.5, "samples": 9}}
    write("eval.json", {**eval_document(), "targets": [facts]})
    say("history", "add", "eval.json")
    told = manifest()
    told["variants"]["net-int8.onnx"]["sha256"] = file_digest(first)
    write("manifest.json", told)

    code, out, _ = say("compare", first, second, "--pairs", "10", "--json")

    values = json.loads(out)
    assert code == 0
    assert values["evidence"] == "measured"
    assert values["verdict"] in ("slower", "faster", "no difference")
    assert values["latency"]["low"] <= values["latency"]["change"] <= values["latency"]["high"]
    assert values["latency"]["smallest"] >= 0.03
    assert values["first"]["metric"]["value"] == 0.5
    assert values["first"]["parity"]["parity_sqnr_db"] == 30.0
    assert values["second"]["parity"] is None
    code, out, _ = say("compare", first, second, "--pairs", "10")
    assert code == 0
    assert "smallest slow-down that such a comparison sees" in out
    assert "AP 0.5" in out


def test_two_stored_results_are_laid_side_by_side_without_a_verdict(say: Say) -> None:
    slow = [[2.0, 2.1, 1.9]] * 3
    write("a/results.json", bench_document(0, bench_row()))
    write("b/results.json", bench_document(1, bench_row(launches=slow, machine={"cpu": "Other"})))

    code, out, _ = say("compare", "a", "b")
    assert code == 0
    assert "ratio 2.000" in out
    assert "! cpu: Test 3000 -> Other" in out
    assert "No verdict" in out
    values = json.loads(say("compare", "a", "b", "--json")[1])
    assert values["verdict"] is None
    assert values["pairs"][0]["times"][0]["ratio"] == 2.0


def test_runs_of_the_history_are_compared_by_number(say: Say) -> None:
    say("history", "add", write("a.json", eval_document(0.8)), write("b.json", eval_document(0.7)))

    code, out, _ = say("compare", "1", "2")

    assert code == 0
    assert "0.8 -> 0.7" in out


def test_what_cannot_be_said_is_code_6(say: Say) -> None:
    predicted = bench_row(evidence="predicted", status="predicted", infer=None, launches=[], prediction={"p50_ms": 9.0})
    write("a.json", bench_document(0, bench_row()))
    write("b.json", bench_document(1, predicted))
    write("c.json", bench_document(2, bench_row(device="x"), bench_row(device="y")))
    write("m.json", manifest())

    code, _, err = say("compare", "a.json", "b.json")
    assert code == 6
    assert "measured against predicted" in err
    assert "--across-evidence" in err
    code, out, _ = say("compare", "a.json", "b.json", "--across-evidence")
    assert code == 0
    assert "1 -> 9" in out
    assert say("compare", "a.json", "c.json")[0] == 6
    code, _, err = say("compare", "a.json", "m.json")
    assert code == 6
    assert "two kinds" in err


def test_of_two_results_the_malformed_one_is_named(say: Say) -> None:
    write("good.json", bench_document())
    write("bad.json", {**bench_document(), "rows": [{}]})

    for names in (("good.json", "bad.json"), ("bad.json", "good.json")):
        code, _, err = say("compare", *names)
        assert (code, err.startswith("error: `bad.json`: `rows[0]")) == (2, True), err


def test_what_is_none_is_refused_with_code_2(say: Say, write_onnx: Callable[..., Path]) -> None:
    write("a.json", bench_document())
    Path("empty").mkdir()
    artifact = write_onnx()
    Path("bad.onnx").write_bytes(b"no model")

    for words, says in (
        (["a.json", artifact], "two of a kind"),
        (["none", "a.json"], "does not exist"),
        (["empty", "a.json"], "holds no results"),
        (["7", "a.json"], "there is no history"),
        ([artifact, "bad.onnx"], "no model file"),
    ):
        code, _, err = say("compare", *words)
        assert code == 2
        assert says in err
