"""Budgets in a report: those that `edge gate` holds, file by file and device by device, with the same answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edge.bench.budgets import Budget
from edge.bench.gate import Subject
from edge.bench.gate_latency import latency_checks
from edge.bench.record import Artifact
from edge.bench.report import build_page
from edge.bench.report_judge import Judgement, judge, points
from edge.bench.report_limits import Given, limits_for
from edge.bench.report_plots import budgets_of, pareto_plot
from edge.bench.report_read import read_facts, read_rows
from edge.runtime.card import Card, InputSpec, OutputSpec

from .report_help import digest, evaluation, manifest, predicted, profile, results, row, write_bundle, write_json

FP32, ONNX, TFLITE = "net-fp32.onnx", "net-int8.onnx", "net-int8.tflite"
CARD = Card(
    model="net",
    input=InputSpec(kind="tensor", shape=(1, 4), layout="any"),
    outputs=(OutputSpec(name="y", shape=(1, 4)),),
)


def judged(
    folder: Path,
    budgets: Sequence[Budget],
    rows: Sequence[Mapping[str, Any]] = (),
    metrics: Mapping[str, float] | None = None,
    **given: float,
) -> dict[str, Judgement]:
    paths = [write_json(folder / "b.json", results(rows))] if rows else []
    evals = [write_json(folder / "e.json", evaluation(metrics))] if metrics else []
    facts = read_facts([write_bundle(folder)], paths, evals)
    found = judge(facts.bundles[0], facts, lambda bundle, variant: limits_for(bundle, variant, budgets, Given(**given)))
    return {one.variant.file: one for one in found}


def test_the_last_budget_that_matches_a_file_holds_and_the_card_where_none_does(tmp_path: Path) -> None:
    budgets = [
        Budget(variant="int8", size_bytes=355_000, line=3),
        Budget(model="net", variant="onnx", size_bytes=1_250_000, line=7),
        Budget(model="other", size_bytes=1),
    ]

    found = judged(tmp_path, budgets)

    assert {name: one.limits.max_bytes for name, one in found.items()} == {
        FP32: 1_250_000,
        ONNX: 1_250_000,
        TFLITE: 355_000,
    }
    assert found[TFLITE].limits.source == "edge.toml line 3"
    assert found[FP32].why[0] == "1,300,000 bytes, 50,000 over 1,250,000"
    assert found[FP32].limits.max_ms == 50  # of the card
    assert judged(tmp_path, budgets, max_bytes=2e6)[FP32].size == "pass"
    assert judged(tmp_path, [])[FP32].limits.max_bytes == 2_000_000


@pytest.mark.parametrize(
    ("parity", "why"),
    [
        ({}, "the manifest holds no parity of it"),
        ({"y": {"sqnr_db": 200.0, "nonfinite": 3}}, "output `y`: 3 non-finite elements"),
        ({"y": {"sqnr_db": None}}, "output `y`: the manifest holds no SQNR of it"),
        ({"y": {"sqnr_db": 19.0}}, "output `y`: SQNR 19.0 dB, limit 20 dB"),
    ],
)
def test_decibels_are_held_by_figures_that_are_there_and_mean_something(
    tmp_path: Path, parity: dict[str, Any], why: str
) -> None:
    variants = manifest()["variants"]
    variants[TFLITE]["parity"] = parity
    facts = read_facts([write_bundle(tmp_path, variants=variants)], [], [])
    budgets = [Budget(parity=20.0)]

    found = judge(facts.bundles[0], facts, lambda bundle, variant: limits_for(bundle, variant, budgets, Given()))

    verdicts = {one.variant.file: one.parity for one in found}
    assert verdicts == {FP32: "pass", ONNX: "pass", TFLITE: "no"}
    assert why in next(one.why for one in found if one.variant.file == TFLITE)


ROWS = {
    "quick": row(TFLITE, 2.0),
    "slow": row(TFLITE, 4.0),
    "near": row(TFLITE, 2.85),
    "busy": row(TFLITE, 4.0, busy=True),
    "few": row(TFLITE, 2.0, count=20),
    "void": row(TFLITE, 2.0, status="void", why=["throttled"]),
    "failed": row(TFLITE, 2.0, status="failed"),
    "predicted": predicted(TFLITE, 1, 2, 2.5, device="host", threads=1),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("evidence", ["measured", "predicted"])
def test_a_row_gets_the_verdict_and_the_words_of_the_gate(tmp_path: Path, name: str, evidence: str) -> None:
    predicting = evidence == "predicted"
    budget = Budget(
        variant="int8.tflite",
        evidence=evidence,
        p50_ms=3.0 if predicting else None,
        p90_ms=None if predicting else 3.0,
    )

    found = judged(tmp_path, [budget], [ROWS[name]])[TFLITE]

    artifact = Artifact(
        path=Path(TFLITE), bytes=350_000, sha256=digest(TFLITE), model="net", target="tflite", precision="int8"
    )
    (limit_of_gate,) = found.limits.latencies
    subject = Subject(artifact=artifact, card=CARD, variant="int8.tflite", limits=[limit_of_gate])
    (check,) = latency_checks(subject, limit_of_gate, read_rows([ROWS[name]]))
    assert found.latency == check.verdict
    assert found.why == (() if check.verdict == "pass" else (check.why,))


def test_a_budget_of_a_device_is_for_that_device_and_missing_figures_prove_nothing(tmp_path: Path) -> None:
    budgets = [Budget(variant="tflite", p90_ms=50, device="pi", threads=4, line=2)]
    on_host, on_pi = row(TFLITE, 900.0), row(TFLITE, 20.0, device="pi", threads=4)

    assert judged(tmp_path, budgets, [on_host])[TFLITE].why == (
        "missing evidence: no figure on `pi` with 4 threads was given",
    )
    assert judged(tmp_path, budgets, [on_host, on_pi])[TFLITE].latency == "pass"
    assert judged(tmp_path, budgets, [on_host, on_pi], max_ms=50)[TFLITE].latency == "no"  # on every device


def test_a_loss_that_a_budget_asks_for_must_be_known(tmp_path: Path) -> None:
    budgets = [Budget(metric_drop=0.5)]

    assert [one.drop for one in judged(tmp_path, budgets).values()] == [None, "inconclusive", "inconclusive"]
    found = judged(tmp_path, budgets, metrics={FP32: 0.24, ONNX: 0.2395, TFLITE: 0.23})
    assert [one.drop for one in found.values()] == [None, "pass", "no"]
    assert "loses 1.00 points [0.80, 1.20] of OKS-AP against `net-fp32.onnx`" in found[TFLITE].why[-1]
    assert found[TFLITE].why[-1].endswith("; at most 0.5 are allowed")


def test_decibels_of_a_budget_go_before_what_the_export_held(tmp_path: Path) -> None:
    values = manifest()["variants"]
    values[TFLITE]["complaints"] = ["output `maps`: SQNR 30.5 dB, limit 40 dB"]
    facts = read_facts([write_bundle(tmp_path, variants=values)], [], [])

    def parity(*budgets: Budget) -> list[str]:
        found = judge(facts.bundles[0], facts, lambda bundle, variant: limits_for(bundle, variant, budgets, Given()))
        return [str(one.parity) for one in found]

    assert parity(Budget(parity="card")) == ["pass", "pass", "no"]
    assert parity(Budget(parity=30)) == ["pass", "pass", "pass"]
    assert parity(Budget(parity=31)) == ["no", "no", "no"]


def test_the_plane_draws_each_budget_and_says_whose_it_is(tmp_path: Path) -> None:
    budgets = [
        Budget(variant="int8", size_bytes=400_000, p90_ms=2.5),
        Budget(variant="int8.tflite", p50_ms=1.9),
        Budget(variant="fp32", size_bytes=2_000_000, operators=9),
    ]
    rows = [row(FP32, 9.0), row(ONNX, 2.0), row(TFLITE, 1.5)]
    found = list(judged(tmp_path, budgets, rows).values())
    group = points(found)["host"]

    svg = ElementTree.fromstring(pareto_plot(group, budgets_of(group, "host"), "host", "p1"))

    texts = [one.text for one in svg.iter("text") if one.get("class") == "budget"]
    assert texts == ["budget 400 kB, int8", "budget 2 MB, fp32", "budget 2.5 ms, int8", "budget 50 ms, fp32"]
    (within,) = (one for one in svg.iter("rect") if one.get("class") == "within")
    lines = [one for one in svg.iter("line") if one.get("class") == "budget"]
    assert float(within.get("width", "0")) + 50 == pytest.approx(float(lines[0].get("x1", "0")), abs=0.11)
    assert found[0].limits.unseen == ("operators",)


def test_figures_of_another_file_of_that_name_are_left_out_and_said(tmp_path: Path) -> None:
    metrics = evaluation({FP32: 0.24, TFLITE: 0.23})
    metrics["targets"][1]["sha256"] = "f" * 64
    paths = [write_json(tmp_path / "p.json", profile(ONNX, sha256="e" * 64))]

    facts = read_facts([write_bundle(tmp_path)], paths, [write_json(tmp_path / "e.json", metrics)])
    page = build_page(facts, lambda bundle, variant: limits_for(bundle, variant, (), Given()))

    assert page.summary["left_out"] == [
        f"1 profiles of other files: {ONNX} (another file of that name)",
        f"1 metrics of other files: {TFLITE} (another file of that name)",
    ]
    model = page.values["models"][0]
    assert model["profiles"] == []
    assert [file["value"] for file in model["files"]] == ["0.240", "\N{EN DASH}", "\N{EN DASH}"]


def test_figures_without_a_hash_go_by_name(tmp_path: Path) -> None:
    metrics = evaluation({FP32: 0.24, TFLITE: 0.23})
    for target in metrics["targets"]:
        del target["sha256"]

    facts = read_facts([write_bundle(tmp_path)], [], [write_json(tmp_path / "e.json", metrics)])
    page = build_page(facts, lambda bundle, variant: limits_for(bundle, variant, (), Given()))

    assert [file["value"] for file in page.values["models"][0]["files"]] == ["0.240", "\N{EN DASH}", "0.230"]
