"""Predictions: sense, intervals, verdicts, and the cases in which there is none."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.bench.coefficients import COEFFICIENTS, read_coefficients
from edge.bench.conformal import cv_plus, weighted_quantile
from edge.bench.emulation_model import counts_vector
from edge.bench.features import FEATURES, features, uncovered
from edge.bench.operators import Operator
from edge.bench.predict import Prediction, predict, verdict
from edge.bench.published import rebuild
from edge.runtime.errors import InputError

COUNTS = {"insns": 1.0e8, "st_vec": 2.2e6, "l1d_miss": 4.8e6, "l2_miss": 2.1e6}  # like ncnn's MobileNetV2


def network(model: str = "mobilenet-v2-1.0-224", precision: str = "fp32") -> list[Operator]:
    built = rebuild(model, "224", precision)
    assert built is not None
    return built[1]


def test_a_published_network_is_predicted_near_its_measured_latency() -> None:
    found = predict(network(), runtime="tflite-ruy", threads=4)

    assert found.p50_ms == pytest.approx(55.57, rel=0.1)  # MLPerf v1.1, TFLite 2.5
    assert found.low_ms is not None
    assert found.high_ms is not None
    assert found.low_ms < 55.57 < found.high_ms
    assert (found.evidence, found.basis, found.validated) == ("predicted", "operators", True)
    assert found.version.startswith("rpi4-")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_more_threads_are_never_slower_and_never_more_than_their_number_faster(precision: str) -> None:
    times = [predict(network(precision=precision), threads=threads).p50_ms or math.nan for threads in (1, 2, 3, 4)]

    assert times == sorted(times, reverse=True)
    assert all(times[0] / time <= threads + 1e-9 for threads, time in zip((1, 2, 3, 4), times, strict=True))


def test_a_wider_network_takes_longer_and_int8_less_than_float() -> None:
    narrow, wide, integer = (
        predict(network(model, precision)).p50_ms or math.nan
        for model, precision in (
            ("mobilenet-v2-0.5-224", "fp32"),
            ("mobilenet-v2-1.0-224", "fp32"),
            ("mobilenet-v2-1.0-224", "int8"),
        )
    )

    assert narrow < wide
    assert integer < wide


def test_half_precision_weights_run_as_float() -> None:
    halves = [replace(operator, precision="fp16") for operator in network()]

    assert predict(halves).p50_ms == predict(network()).p50_ms


def test_int8_on_xnnpack_is_wider_and_says_that_it_was_not_checked() -> None:
    found = predict(network(precision="int8"), runtime="litert", threads=4)

    assert not found.validated
    assert found.coverage is None
    assert "one family" in found.notes[0]
    assert found.high_ms is not None
    assert found.high_ms / (found.p50_ms or 0) > 1.3


def test_onnxruntime_is_not_validated_and_its_interval_holds_tflites() -> None:
    here, there = (predict(network(), runtime=runtime, threads=4) for runtime in ("onnxruntime", "litert"))

    assert (here.validated, there.validated) == (False, True)
    assert (here.low_ms or 0) <= (there.low_ms or 0) < (there.high_ms or 0) <= (here.high_ms or 0)
    assert "nothing of onnxruntime was published" in here.notes[0]


def changed(operator: Operator, **changes: Any) -> Operator:
    return replace(operator, **changes)


def test_an_unseen_class_is_answered_with_its_name_and_no_figures() -> None:
    operators = network()
    operators[3] = changed(operators[3], kind="matmul")

    found = predict(operators)

    assert found.p50_ms is found.low_ms is found.high_ms is None
    assert found.abstained == "no published network has operators of class matmul"
    assert verdict(found, 1e6) == "undetermined"
    assert uncovered(operators) == ["matmul"]


def test_an_unseen_precision_is_answered_with_its_name() -> None:
    found = predict([changed(operator, precision="w8a16") for operator in network()])

    assert found.abstained == "no published latency is of precision w8a16"


def test_a_network_a_thousand_times_smaller_than_all_measured_ones_is_out_of_range() -> None:
    tiny = [
        Operator(
            name="y", op="CONV_2D", kind="pointwise", precision="fp32", shape=(1, 4, 4, 8),
            macs=1024, in_elements=128, out_elements=128, weight_elements=64, channels=8, channels_out=8,
        )
    ]  # fmt: skip

    assert "far outside what was measured" in (predict(tiny).abstained or "")


def test_a_network_of_additions_alone_is_unlike_all_others() -> None:
    size = 50_000_000
    adds = [
        Operator(name=f"y{index}", op="ADD", kind="binary", precision="fp32", shape=(1, size), in_elements=size)
        for index in range(3)
    ]

    assert "unlike all measured networks" in (predict([*adds, *network("mobilenet-v2-0.35-96")]).abstained or "")


def test_five_threads_are_more_than_a_pi_has() -> None:
    assert "4 cores" in (predict(network(), threads=5).abstained or "")


def test_an_unknown_runtime_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"runtime `tvm`.*litert"):
        predict(network(), runtime="tvm")


def test_ncnn_is_predicted_from_counts_near_its_published_latency() -> None:
    found = predict([], runtime="ncnn", threads=1, counts=COUNTS)

    assert found.p50_ms == pytest.approx(93.5, rel=0.1)  # ncnn's README of 2023-06, mobilenet_v2
    assert (found.basis, found.clock_ghz, found.validated) == ("emulation", 1.8, True)


def test_ncnn_without_counts_or_on_three_threads_abstains() -> None:
    assert "emulation counts only" in (predict([], runtime="ncnn").abstained or "")
    assert "1, 4 threads" in (predict([], runtime="ncnn", threads=3, counts=COUNTS).abstained or "")


def test_counts_and_operators_meet_between_the_two() -> None:
    alone = predict(network(), threads=1)
    joined = predict(network(), threads=1, counts=COUNTS)

    assert joined.basis == "emulation+operators"
    assert not joined.validated
    slower = predict(network(), threads=1, counts={name: 1.2 * value for name, value in COUNTS.items()})
    assert (slower.p50_ms or 0) > (joined.p50_ms or 0)
    assert "not checked on litert" in joined.notes[-1]
    assert alone.basis == "operators"


def test_counts_answer_alone_where_an_operator_was_never_published() -> None:
    operators = [
        changed(operator, kind="grouped") if operator.kind == "pointwise" else operator for operator in network()
    ]

    single, four = (predict(operators, threads=threads, counts=COUNTS) for threads in (1, 4))

    assert single.basis == "emulation"
    assert single.p50_ms is not None
    assert single.low_ms is not None
    assert single.p50_ms / 4 < (four.p50_ms or 0) < single.p50_ms
    assert four.low_ms == pytest.approx(single.low_ms / 4)  # perfect scaling
    assert four.high_ms == pytest.approx(single.high_ms)  # none
    assert "operators of class grouped" in four.notes[-1]
    strange = [changed(operator, precision="w8a16") for operator in operators]
    assert "counts are of one thread" in (predict(strange, threads=4, counts=COUNTS).abstained or "")


@pytest.mark.parametrize("broken", [{"insns": 1e8}, {**COUNTS, "l2_miss": -1}, {**COUNTS, "insns": math.nan}])
def test_incomplete_counts_are_refused(broken: dict[str, float]) -> None:
    with pytest.raises(InputError, match="counts of an emulated run are incomplete"):
        counts_vector(broken)


@pytest.mark.parametrize(
    ("budget", "word"), [(31, "pass"), (30, "pass"), (29, "undetermined"), (10, "undetermined"), (9, "fail")]
)
def test_a_verdict_needs_the_whole_interval_on_one_side(budget: float, word: str) -> None:
    found = Prediction(runtime="litert", threads=1, p50_ms=20, low_ms=10, high_ms=30)

    assert verdict(found, budget) == word


@pytest.mark.parametrize("budget", [0, -1, math.nan, math.inf])
def test_a_budget_that_is_no_time_is_refused(budget: float) -> None:
    with pytest.raises(InputError, match="bad latency budget"):
        verdict(Prediction(runtime="litert", threads=1), budget)


def test_a_prediction_is_plain_json() -> None:
    assert json.loads(json.dumps(predict(network()).to_dict(), allow_nan=False))["evidence"] == "predicted"


def test_features_of_a_sum_are_sums_of_features() -> None:
    first, second = network(), network("mobilenet-v1-0.5-128")

    np.testing.assert_allclose(features(first + second), features(first) + features(second))
    assert len(features(first)) == len(FEATURES)


def test_an_interval_widens_with_the_scores_and_holds_every_centre_at_score_zero() -> None:
    centres = {"a": 10.0, "b": 12.0}

    assert cv_plus(centres, {"a": [0.0], "b": [0.0]}) == pytest.approx((10.0, 12.0))
    low, high = cv_plus(centres, {"a": [math.log(2)], "b": [math.log(2)]})
    assert (low, high) == pytest.approx((5.0, 24.0))


def test_a_weighted_quantile_is_a_plain_one_where_weights_are_equal() -> None:
    values = np.arange(1.0, 11.0)

    assert weighted_quantile(values, np.ones(10), 0.9) == 9.0
    assert weighted_quantile(values, np.where(values == 1, 100.0, 1.0), 0.9) == 1.0


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda c: c.update(schema=99), "another schema"),
        (lambda c: c.pop("operators"), "no coefficients"),
        (lambda c: c["operators"]["fp32"]["costs"].update(weights=-1), "no number of at least 0"),
        (lambda c: c["operators"]["fp32"]["costs"].pop("weights"), "weights"),
        (lambda c: c["operators"]["int8"]["factors"].update(ruy=[[1, 2]]), "factors of ruy"),
        (lambda c: c["operators"]["int8"].update(scores={}), "scores and left-out families differ"),
        (lambda c: c["counts"]["1"].update(span_ms=[5, 1]), "ascending"),
        (lambda c: c.update(one_family=True), "True is no number"),
    ],
)
def test_malformed_coefficients_are_refused_in_one_line(tmp_path: Path, change: Any, word: str) -> None:
    content = json.loads(COEFFICIENTS.read_text(encoding="utf-8"))
    change(content)
    (tmp_path / "c.json").write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(InputError, match=r"`c\.json`") as caught:
        read_coefficients(tmp_path / "c.json")

    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_family_that_alone_has_a_library_needs_no_scores(tmp_path: Path) -> None:
    content = json.loads(COEFFICIENTS.read_text(encoding="utf-8"))
    content["operators"]["fp32"]["without"]["own"] = content["operators"]["fp32"]["without"]["yolox"]
    (tmp_path / "c.json").write_text(json.dumps(content), encoding="utf-8")

    found = predict(network(), threads=4, coefficients=read_coefficients(tmp_path / "c.json"))

    assert found.high_ms == predict(network(), threads=4).high_ms


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": NaN}', "[" * 100_000])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=r"`c\.json`"):
        read_coefficients(tmp_path / "c.json")


def test_own_runs_scale_a_prediction_and_widen_it() -> None:
    plain = read_coefficients()
    own = replace(plain, corrections={"litert/1": {"scale": 1.25, "spread": 0.1, "runs": 3}})

    before, after = (predict(network(), coefficients=coefficients) for coefficients in (plain, own))

    assert after.p50_ms == pytest.approx(1.25 * (before.p50_ms or 0))
    assert after.high_ms == pytest.approx(1.25 * math.exp(0.1) * (before.high_ms or 0))
    assert "from 3 own runs" in after.notes[-1]
    assert predict(network(), threads=2, coefficients=own).p50_ms == predict(network(), threads=2).p50_ms
