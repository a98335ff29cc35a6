"""Two stored results beside each other: ratios with intervals, what differs, and what may not be said."""

from __future__ import annotations

import random
from typing import Any

import pytest

from edge.bench.stored import compare_documents, time_ratio

from .history_help import MACHINE, bench_document, bench_row, eval_document, manifest


def launches(level: float, count: int = 3, seed: int = 0) -> list[list[float]]:
    rng = random.Random(seed)
    return [[level * rng.lognormvariate(0, 0.02) for _ in range(21)] for _ in range(count)]


def only_pair(first: dict[str, Any], second: dict[str, Any], **options: Any) -> Any:
    (pair,), alone = compare_documents(first, second, **options)
    assert alone == []
    return pair


def test_a_ratio_of_three_launches_is_enclosed_by_the_extreme_ones() -> None:
    found = time_ratio("p50_ms", [[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]])

    assert (found.first, found.second, found.ratio) == (2.0, 5.0, 2.5)
    assert (found.low, found.high) == (4 / 3, 6.0)
    assert (found.confidence, found.method) == (0.75, "order statistics")


def test_one_launch_a_side_has_no_interval_and_no_reach() -> None:
    found = time_ratio("p50_ms", [[1.0, 2.0, 3.0]], [[4.0]])

    assert (found.ratio, found.low, found.high, found.smallest) == (2.0, None, None, None)


def test_the_interval_of_ten_launches_holds_the_truth_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(100):
        found = time_ratio("p50_ms", launches(1.0, 10, seed), launches(1.1, 10, seed + 1000))
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 1.1 <= found.high
    assert hits >= 85  # 95 are promised; a bootstrap of ten medians is a little narrow


def test_the_smallest_change_it_sees_falls_with_the_launches() -> None:
    few, many = (time_ratio("t", launches(1.0, n, 1), launches(1.0, n, 2)).smallest for n in (3, 30))

    assert few is not None
    assert many is not None
    assert 0 < many < few


def test_rows_belong_together_by_what_ran_them_and_the_rest_is_listed() -> None:
    first = bench_document(0, bench_row(), bench_row(threads=2), bench_row(device="pi"))
    second = bench_document(1, bench_row(threads=2), bench_row(launches=launches(2.0)))

    pairs, alone = compare_documents(first, second)

    assert [(pair.first.threads, pair.second.threads) for pair in pairs] == [(1, 1), (2, 2)]
    assert alone == ["only in the first: net int8.tflite pi litert 1"]
    assert pairs[0].times[0].ratio == pytest.approx(2.0, rel=0.03)
    assert {one.name for one in pairs[0].times} == {"p50_ms", "cpu_p50_ms"}


def test_two_models_are_compared_variant_by_variant() -> None:
    pairs, alone = compare_documents(manifest(), manifest(model="other"))

    assert [pair.first.variant for pair in pairs] == ["fp32.onnx", "int8.onnx"]
    assert alone == []
    assert pairs[1].figures["size_bytes"] == (1000.0, 1000.0)
    assert pairs[1].differences == ("model: net -> other",)


def test_what_was_different_is_told() -> None:
    other = {**MACHINE, "cpu": "Test 9000", "governor": "performance"}
    row = bench_row(machine=other, engine={"name": "litert", "version": "2.4.0"}, artifact={"sha256": "00" * 32})

    pair = only_pair(bench_document(0, bench_row()), bench_document(1, row))

    assert set(pair.differences) == {
        "engine_version: 2.3.0 -> 2.4.0",
        "sha256: abababababab… -> 000000000000…",
        "cpu: Test 3000 -> Test 9000",
        "governor: None -> performance",
    }


def test_measured_and_predicted_are_not_compared_unless_that_is_asked_for() -> None:
    predicted = bench_row(
        evidence="predicted", status="predicted", infer=None, infer_cpu=None, launches=[],
        prediction={"p50_ms": 9.0, "low_ms": 6.0, "high_ms": 12.0},
    )  # fmt: skip
    sides = bench_document(0, bench_row()), bench_document(1, predicted)

    refused = only_pair(*sides)
    asked = only_pair(*sides, across_evidence=True)

    assert refused.refused == "measured against predicted: evidence of two grades"
    assert refused.times == ()
    assert set(refused.figures) == {"size_bytes"}
    assert asked.figures["p50_ms"] == (1.0, 9.0)
    assert "evidence: measured -> predicted" in asked.differences


def test_a_void_or_broken_row_is_not_compared() -> None:
    for status in ("void", "incomplete", "failed"):
        pair = only_pair(bench_document(0, bench_row()), bench_document(1, bench_row(status=status)))
        assert pair.refused == f"the second is {status}"


def test_metrics_are_compared_on_the_same_samples_only() -> None:
    pair = only_pair(eval_document(0.8), eval_document(0.7))
    assert pair.refused is None
    assert pair.figures["metric"] == (0.8, 0.7)

    assert only_pair(eval_document(0.8), eval_document(0.7, digest="d2")).refused == "judged on different samples"


def test_launches_that_hold_no_times_are_passed_over() -> None:
    odd = bench_row(launches=[["x"], [0.0], [1.0, None], [-1.0], [True]])

    pair = only_pair(bench_document(0, bench_row()), bench_document(1, odd))

    assert pair.times == ()
    assert pair.figures["p50_ms"] == (1.0, 1.0)


def test_the_clock_of_a_simulation_is_not_compared() -> None:
    sides = [bench_document(number, bench_row(device="pi", evidence="simulated")) for number in (0, 1)]

    pair = only_pair(*sides)

    assert pair.refused is None
    assert pair.times == ()
    assert "size_bytes" in pair.figures
    assert [name for name in pair.figures if name.endswith("_ms")] == []
