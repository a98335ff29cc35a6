"""The fit: committed figures hold against the published table, and a user's own runs are used, never silently."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edge.bench.coefficients import COEFFICIENTS, read_coefficients
from edge.bench.emulation_model import FITTED_GHZ, CountModel, read_counts
from edge.bench.features import FEATURES
from edge.bench.fit import Run, fit, main, read_runs
from edge.bench.fitting import fit_count_models, fit_operator_models, summary
from edge.bench.latency_model import SAME, Measured, fit_model
from edge.bench.operators import Operator
from edge.bench.published import TABLE, read_table
from edge.runtime.errors import InputError

TABLES = [TABLE, Path(__file__).resolve().parents[4] / "shared" / "data" / "rpi4-published.csv"]
table = next((path for path in TABLES if path.is_file()), None)
needs_table = pytest.mark.skipif(table is None, reason="the published table is not beside the checkout")
COMMITTED = json.loads(COEFFICIENTS.read_text(encoding="utf-8"))


def committed(what: str) -> dict[str, Any]:
    return next(row for row in COMMITTED["errors"] if row["what"] == what)


def test_the_committed_errors_reach_the_goal() -> None:
    tflite, emulated = committed("TFLite"), committed("ncnn, emulated, 1 thread")

    assert tflite["rows"] > 300
    assert tflite["family_out"][0] <= 8
    assert tflite["family_out"][1] <= 20
    assert emulated["family_out"][0] <= 5.3
    assert emulated["family_out"][1] <= 13
    for what in ("TFLite fp32", "TFLite int8", "TFLite", "ncnn, emulated, 1 thread"):
        assert 0.88 <= committed(what)["coverage"] <= 0.95, what


@needs_table
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_committed_models_give_the_committed_errors_on_the_families_they_did_not_see(precision: str) -> None:
    assert table is not None
    fitted = read_coefficients().operators[precision]
    rows = [row for row in read_table(table).tflite if row.precision == precision]

    errors = [
        abs(fitted.without[row.family].milliseconds(row.features, row.library, row.threads) / row.ms - 1) * 100
        for row in rows
        if row.library in fitted.without[row.family].factors
    ]

    figures = committed(f"TFLite {precision}")
    assert len(errors) == figures["rows"]
    assert float(np.median(errors)) == pytest.approx(figures["family_out"][0], abs=0.1)
    assert float(np.percentile(errors, 90)) == pytest.approx(figures["family_out"][1], abs=0.1)


@needs_table
def test_a_refit_gives_the_committed_costs() -> None:
    assert table is not None
    rows = [row for row in read_table(table).tflite if row.precision == "int8"]

    model = fit_model(rows)
    without = fit_model([row for row in rows if row.family != "mobilenet-v3"])

    fitted = read_coefficients().operators["int8"]
    np.testing.assert_allclose(model.costs, fitted.model.costs, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(without.costs, fitted.without["mobilenet-v3"].costs, rtol=1e-3, atol=1e-6)


@needs_table
def test_the_emulation_model_gives_its_committed_errors() -> None:
    assert table is not None
    counts = table.with_name("rpi4-emulation-counts.csv")
    if not counts.is_file():
        pytest.skip("the emulation counts are not beside the checkout")
    rows, sha256 = read_counts(counts, table)

    fitted = fit_count_models(rows, 1)

    assert sha256 == COMMITTED["data"]["counts_sha256"]
    assert len(rows) == 34
    assert fitted.errors[0].to_dict() == committed("ncnn, emulated, 1 thread")


@needs_table
@pytest.mark.slow
def test_the_whole_fit_gives_the_committed_file() -> None:
    assert table is not None

    content, _ = fit(table, table.with_name("rpi4-emulation-counts.csv"))

    assert content["version"] == COMMITTED["version"]
    assert content["errors"] == COMMITTED["errors"]


def invented(seed: int = 3) -> list[Measured]:
    """Return rows of an invented machine on which every feature has one cost, as the model assumes."""
    rng = np.random.default_rng(seed)
    costs = rng.uniform(0.5, 2, 16) * [180, 360, 180, 700, 900, 1, 2, 1, 1, 1, 4, 8, 8, 1, 0.01, 10]
    for name, other in SAME.items():
        costs[list(FEATURES).index(name)] = costs[list(FEATURES).index(other)]
    rows = []
    for index in range(40):
        amounts = rng.uniform(0, 1, 16) * [0.3, 0.02, 0.3, 0.05, 0.01, 5, 5, 5, 5, 4, 2, 1, 0.001, 5, 80, 0.1]
        for threads in (1, 4):
            total = float(amounts @ costs) * (0.4 + 0.6 / threads) * float(rng.lognormal(0, 0.02))
            rows.append(
                Measured(
                    model=f"m{index}", family=f"f{index % 5}", precision="fp32", library="ruy", threads=threads,
                    features=amounts, ms=total,
                )
            )  # fmt: skip
    return rows


def test_intervals_of_an_invented_machine_hold_about_nine_in_ten() -> None:
    fitted = fit_operator_models(invented())

    found = summary("all", fitted.misses)
    assert found.family_out[0] < 4
    assert 0.8 <= found.coverage <= 1.0


def test_a_model_of_an_invented_machine_finds_how_threads_share_work() -> None:
    rows = invented()
    model = fit_model(rows)

    ratios = [model.milliseconds(row.features, "ruy", 1) / model.milliseconds(row.features, "ruy", 4) for row in rows]
    assert float(np.median(ratios)) == pytest.approx(1 / (0.4 + 0.6 / 4), rel=0.03)
    assert (model.costs >= 0).all()


def test_a_faster_clock_shortens_cycles_and_not_memory() -> None:
    model = CountModel(costs=np.array([1.0, 0.0, 0.0, 1.0]))

    assert model.milliseconds(np.array([1.0, 0, 0, 1.0]), FITTED_GHZ / 2) == pytest.approx(2.0 + 1.0)


@pytest.fixture
def runs(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a small network in ONNX and a list of runs of it."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes, constants, name = [], [], "x"
    for index in range(12):
        nodes.append(helper.make_node("Conv", [name, f"w{index}"], [f"y{index}"], pads=[1, 1, 1, 1]))
        weights = np.zeros((32, 3 if index == 0 else 32, 3, 3), np.float32)
        constants.append(onnx.numpy_helper.from_array(weights, f"w{index}"))
        name = f"y{index}"
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kinds.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info(name, kinds.FLOAT, [1, 32, 64, 64])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "net.onnx")

    def write(*entries: dict[str, Any]) -> Path:
        base = {"file": "net.onnx", "runtime": "onnxruntime", "threads": 1, "p50_ms": 200.0}
        path = tmp_path / "runs.json"
        path.write_text(json.dumps([{**base, **entry} for entry in entries]), encoding="utf-8")
        return path

    return write


def test_own_runs_alone_correct_the_scale_and_say_so(runs: Callable[..., Path], tmp_path: Path) -> None:
    output = tmp_path / "own.json"
    arguments = [
        "--table",
        str(tmp_path / "none.csv"),
        "--output",
        str(output),
        "--add",
        str(runs({}, {"p50_ms": 210.0})),
    ]

    done = CliRunner().invoke(main, arguments)

    assert done.exit_code == 0, done.output
    assert "own runs correct the scale only" in done.output
    assert "onnxruntime/1 threads: scaled by" in done.output
    assert "2 run only" in done.output
    found = read_coefficients(output)
    assert found.corrections["onnxruntime/1"]["runs"] == 2
    assert found.corrections["onnxruntime/1"]["spread"] == pytest.approx(math.log(210 / 200) / 2)
    assert found.version == COMMITTED["version"] + "+own2"


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ({"runtime": "tvm"}, "unknown runtime"),
        ({"threads": 9}, "bad number of threads"),
        ({"threads": True}, "bad number of threads"),
        ({"p50_ms": -1}, "bad latency"),
        ({"p50_ms": "fast"}, "bad latency"),
        ({"file": "gone.onnx"}, "does not exist"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused_in_one_line(
    runs: Callable[..., Path], tmp_path: Path, entry: dict[str, Any], word: str
) -> None:
    output = tmp_path / "own.json"

    done = CliRunner().invoke(main, ["--output", str(output), "--add", str(runs(entry))])

    assert done.exit_code == 2
    assert word in done.output
    assert done.output.count("\n") == 1
    assert not output.exists()


@needs_table
def test_a_run_of_a_class_that_no_feature_counts_cannot_join_the_fit_silently(tmp_path: Path) -> None:
    assert table is not None
    grouped = Operator(name="y", op="Conv", kind="grouped", precision="fp32", shape=(1, 8, 8, 8), macs=9216)
    run = Run(name="net.onnx", operators=(grouped,), runtime="onnxruntime", threads=1, p50_ms=1.0)

    with pytest.raises(InputError, match=r"`net\.onnx` cannot join the fit.*grouped"):
        fit(table, tmp_path / "none.csv", [run])


@pytest.mark.parametrize("text", ["", "{}", "[]", '[{"file": "a"}]', "[3]"])
def test_a_file_without_runs_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=r"`r.json`"):
        read_runs(tmp_path / "r.json")


def test_without_a_table_and_without_runs_the_fit_says_what_is_missing(tmp_path: Path) -> None:
    output = tmp_path / "own.json"

    done = CliRunner().invoke(main, ["--table", str(tmp_path / "none.csv"), "--output", str(output)])

    assert done.exit_code == 2
    assert "published table `none.csv`" in done.output
    assert not output.exists()
