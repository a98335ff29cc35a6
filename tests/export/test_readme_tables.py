"""README's tables are made from JSON files, and say what those say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from edge.export.readme import main, replace_section
from edge.export.readme_bench import alarms, bench, footprint, micro, overhead

MACHINE = {"cpu": "Some CPU", "cores": 4, "python": "3.11.9", "numpy": "2.4.6", "engines": {"litert": "2.3.0"}}


def verdict(**changes: Any) -> dict[str, Any]:
    usual = {"what": "face decode", "value": 0.21, "unit": "ms", "sense": "<=", "limit": 0.3, "goal": 0.15,
             "reference_ms": None, "ratio": None, "held": True, "busy": False, "note": ""}  # fmt: skip
    return {**usual, **changes}


def micro_figures(*verdicts: dict[str, Any]) -> dict[str, Any]:
    students = {
        "title": "students as INT8",
        "columns": ["model", "engine", "best", "pre", "busy"],
        "rows": [
            {"model": "net", "engine": "litert", "best": True, "pre": 0.5, "busy": False},
            {"model": "net", "engine": "onnxruntime", "best": False, "pre": 0.75, "busy": False},
        ],
        "note": "Weights are random.",
    }
    rest = {
        "title": "where the rest goes",
        "columns": ["model", "engine", "stage", "part", "ms"],
        "rows": [
            {"model": "net", "engine": "litert", "stage": "pre", "part": part, "ms": ms}
            for part, ms in (("whole", 0.5), ("resize", 0.25), ("(rest)", 0.125))
        ],
        "note": "Warm.",
    }
    sections = [
        {"name": "face", "tables": [], "verdicts": list(verdicts), "skipped": ["the oracle: not here"]},
        {"name": "students", "tables": [students, rest], "verdicts": [], "skipped": []},
    ]
    return {"schema": 1, "command": "micro", "machine": MACHINE, "sections": sections, "held": True}


def footprint_figures() -> dict[str, Any]:
    size = {"name": "numpy", "version": "2.4.6", "files": 3, "size_bytes": 71_400_000, "compiled_bytes": 14_000_000}
    wheel = {"name": "numpy", "version": "2.4.6", "engine": "litert", "platform": "aarch64", "python": "3.13",
             "file": "numpy.whl", "tag": "cp313", "zip_bytes": 1, "unpacked_bytes": 54_900_000,
             "compiled_bytes": 12_900_000, "reason": ""}  # fmt: skip
    lost = {**wheel, "name": "lost", "file": None, "tag": None, "unpacked_bytes": 0, "compiled_bytes": 0}
    install = {"engine": "litert", "total_mb": 71.4, "uncompiled_mb": 57.4, "used_mb": 60.4, "sizes": [size],
               "left_out": ["pip 23.2.1"], "largest": []}  # fmt: skip
    return {"schema": 1, "command": "footprint", "machine": MACHINE, "goal_mb": 130.0, "installs": [install],
            "wheels": [wheel, lost], "held": True}  # fmt: skip


def test_limits_come_with_ours_the_reference_and_the_ratio() -> None:
    text = micro(micro_figures(verdict(), verdict(what="pose", value=1.5, reference_ms=300.0, ratio=200.0, busy=True)))

    assert "| what | ours | limit | reference, ms | ratio | verdict |" in text
    assert "| face decode | 0.210 ms | at most 0.300 ms | - | - | held |" in text
    assert "| pose | 1.50 ms | at most 0.300 ms | 300 | 200 x | held (busy) |" in text
    assert "processor time, because the machine had other work" in text


def test_a_limit_that_is_not_held_stands_out() -> None:
    text = micro(micro_figures(verdict(value=2.0, held=False), verdict(value=None, unit="", held=False)))

    assert "| face decode | 2 ms | at most 0.300 ms | - | - | **over** |" in text
    assert "| face decode | - | at most 0.300 | - | - | **over** |" in text


def test_students_show_their_best_engine_only_and_what_was_skipped_is_said() -> None:
    text = micro(micro_figures(verdict()))

    assert "| net | litert | 0.500 |" in text
    assert "onnxruntime" not in text
    assert "Weights are random." in text
    assert "| net | pre | 0.500 | resize 0.250, (rest) 0.125 |" in text
    assert "Not measured: face: the oracle: not here." in text
    assert "Some CPU, 4 cores, Python 3.11.9, NumPy 2.4.6, litert 2.3.0." in text


def test_a_footprint_has_a_row_for_each_machine_and_says_which_is_computed() -> None:
    text = footprint(footprint_figures())

    assert "| litert | installed here, Python 3.11.9 | 71.4 | 57.4 | 60.4 | - |" in text
    assert "| litert | aarch64, Python 3.13, computed from wheels | 67.8 | 54.9 | 57.9 | missing: lost |" in text
    assert "numpy 2.4.6 71.4; not counted: pip 23.2.1." in text
    assert "130 MB" in text


def test_a_footprint_without_missing_wheels_counts_them() -> None:
    figures = footprint_figures()
    del figures["wheels"][1]

    assert "| 1 of 1 |" in footprint(figures)


def bench_row(threads: int, **changes: Any) -> dict[str, Any]:
    usual = {
        "artifact": {"file": "net-int8.tflite"}, "device": "host", "evidence": "measured", "threads": threads,
        "engine": {"name": "litert", "version": "2.3.0"}, "status": "complete", "busy": False, "prediction": None,
        "infer": {"p50_ms": 1.25 / threads, "p90_ms": 1.5 / threads}, "stages": None,
        "launches": [{"started": {"cpu": "Some CPU", "cores": 4}}],
    }  # fmt: skip
    return {**usual, **changes}


def test_measured_rows_stand_side_by_side_by_threads() -> None:
    stages = {name: {"p50_ms": ms} for name, ms in (("pre", 0.5), ("infer", 1.25), ("decode", 0.25))}
    text = bench({"rows": [bench_row(1, stages=stages), bench_row(2, busy=True)]})

    assert "| file | engine | 1 thread: p50 / p90 ms | 2 threads: p50 / p90 ms | pre + infer + decode, ms |" in text
    assert "| net-int8.tflite | litert | 1.25 / 1.50 | 0.625 / 0.750 (busy) | 0.500 + 1.25 + 0.250 |" in text
    assert "Evidence: measured (host); Some CPU, 4 cores; litert 2.3.0." in text


def test_a_row_that_was_not_measured_says_why_it_is_empty() -> None:
    assert "| net-int8.tflite | litert | failed |" in bench({"rows": [bench_row(1, status="failed", infer=None)]})


def test_predictions_carry_their_interval_verdict_and_basis() -> None:
    told = {"p50_ms": 20.14, "low_ms": 14.92, "high_ms": 27.18, "verdict": "pass", "basis": "emulation",
            "budget_ms": 50.0, "version": "c1", "notes": ["not checked"]}  # fmt: skip
    blank = {**told, "p50_ms": None, "verdict": "undetermined", "notes": []}
    rows = [
        bench_row(1, device="rpi4", evidence="predicted", infer=None, launches=[], prediction=told),
        bench_row(4, device="rpi4", evidence="predicted", infer=None, launches=[], prediction=blank),
    ]
    text = bench({"rows": rows})

    assert "| 20.1 [14.9, 27.2] | pass (emulation) | abstains | undetermined |" in text
    assert "Evidence: predicted (rpi4); litert 2.3.0; budget 50 ms, coefficients c1; not checked." in text


def test_an_overhead_is_held_by_both_of_its_limits() -> None:
    row = {"file": "a.onnx", "engine": "onnxruntime", "bare_ms": 1.25, "added": 0.004, "low": 0.001, "high": 0.007,
           "reported": -0.003, "pairs": 200}  # fmt: skip
    figures = {"limit": 0.01, "reported_limit": 0.02, "machine": MACHINE, "rows": [row, {**row, "reported": -0.021}]}
    text = overhead(figures)

    assert "| a.onnx | onnxruntime | 1.25 | 0.4 % [0.1 %, 0.7 %] | -0.3 % | held |" in text
    assert "| -2.1 % | **over** |" in text


def test_alarms_are_counted_with_the_load_they_were_counted_at() -> None:
    row = {"file": "a.onnx", "engine": "onnxruntime", "load": [2.04, 3.5], "same": 300, "alarms": 1, "slower": 100,
           "caught": 99, "slightly": 50, "slightly_caught": 48, "smallest": 0.034, "pairs": 60}  # fmt: skip
    text = alarms({"machine": MACHINE, "rows": [row]})

    assert "| a.onnx | onnxruntime | 1 of 300 | 99 of 100 | 48 of 50 | 3.4 % | 2.0 to 3.5 |" in text
    assert "Comparisons of 60 pairs." in text


def test_the_command_writes_the_section_that_the_json_is_of(tmp_path: Path) -> None:
    readme, source = tmp_path / "README.md", tmp_path / "micro.json"
    readme.write_text("before\n<!-- table: micro -->\nold\n<!-- end -->\nafter\n", encoding="utf-8")
    source.write_text(json.dumps(micro_figures(verdict())), encoding="utf-8")

    done = CliRunner().invoke(main, [str(readme), str(source), "--section", "micro"])

    text = readme.read_text(encoding="utf-8")
    assert done.exit_code == 0
    assert text.startswith("before\n<!-- table: micro -->\n| what | ours |")
    assert text.endswith("\n<!-- end -->\nafter\n")
    assert "old" not in text


def test_a_section_that_is_not_there_is_an_error() -> None:
    with pytest.raises(click.ClickException, match="no section `micro`"):
        replace_section("nothing", "micro", "")
