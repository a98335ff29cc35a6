"""Tables of what training was worth say what the committed rows say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edge.export.readme import main as readme_main
from edge.models import registry
from edge.models.training import results
from edge.models.training.results import Row, emotion, pruning, read_rows, students, write_rows
from edge.runtime.errors import InputError


def row(**changes: Any) -> Row:
    usual = {"student": "pose-student-2mb", "variant": "plain", "metric": "OKS-AP", "value": 0.5, "low": 0.4,
             "high": 0.6, "samples": 500, "data": "synthetic people", "machine": "a CPU", "command": "c"}  # fmt: skip
    return Row(**{**usual, **changes})


def pose_rows() -> list[Row]:
    network = {"parameters": 330_753, "macs": 183_447_552}
    lost = {"value": 0.004, "low": -0.001, "high": 0.0094}
    return [
        row(variant="untrained", value=0.001, low=0.0, high=0.002, **network),
        row(**network, minutes=40.4),
        row(variant="distilled", value=0.61234, shipped=True, **network, minutes=61.0, machine="a GPU"),
        row(variant="int8-onnx", value=0.608, drop=lost, bytes=360_000),
        row(variant="int8-tflite", value=0.6, bytes=350_000),
    ]


def line_of(text: str, start: str) -> list[str]:
    """Return the cells of the one table line whose first cell is `start`."""
    found = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    assert len(found) == 1
    return [cell.strip() for cell in found[0].strip("|").split("|")]


def test_a_student_shows_how_it_was_trained_what_ships_and_what_int8_costs() -> None:
    text = students(pose_rows())

    assert line_of(text, "student")[2:5] == ["untrained", "plain", "distilled"]
    assert line_of(text, "pose-student-2mb") == [
        "pose-student-2mb",
        "OKS-AP",
        "0.001 [0.000, 0.002]",
        "0.500 [0.400, 0.600]",
        "**0.612 [0.400, 0.600]**",
        "0.608, loses 0.4 [-0.1, 0.9]",
        "0.600",
        "360,000 / 350,000",
        "330,753",
        "183.4",
    ]
    assert "Judged on 500 samples of synthetic people." in text
    assert "pose-student-2mb plain 40 (a CPU), pose-student-2mb distilled 61 (a GPU)" in text


def test_what_was_not_measured_is_a_dash() -> None:
    cells = line_of(students([row()]), "pose-student-2mb")

    assert cells[3:] == ["-", "-", "- / -", "-", "-"]


def test_pruning_is_compared_at_one_size_and_simpler_rules_are_no_students() -> None:
    face = {"metric": "AP", "parts": {"easy": 0.9, "medium": 0.8, "hard": 0.55}, "value": 0.55}
    rows = [
        row(student="face-nanob-dense", parameters=369_367, macs=648_256_384, **face),
        row(student="face-nanob", variant="distilled", parameters=1, macs=1, **face),
        row(student="face-nanob", variant="pruned", parameters=150_000, macs=300_000_000, **face),
        row(student="face-nanob", variant="int8-tflite", bytes=250_000, **{**face, "parts": {"easy": 0.7}}),
        row(student="face-nanob-magnitude", variant="pruned", parameters=151_000, macs=1_000_000, **face),
    ]

    text = pruning(rows)

    interval = "0.550 [0.400, 0.600]"
    assert line_of(text, "B-FPGM")[1:4] == ["150,000", "300.0", "250,000"]
    assert line_of(text, "B-FPGM")[4:] == [interval, "0.900", "0.800", "0.550", interval, "0.700", "-", "-"]
    assert line_of(text, "dense")[1:4] == ["369,367", "648.3", "-"]
    assert "magnitude" in text
    assert "uniform |" not in text
    assert "face-nanob-magnitude" not in students(rows)


def test_emotion_students_are_held_against_both_goals() -> None:
    rows = [
        row(student="small", metric="CCC", parameters=300_000, macs=2_000_000),
        row(student="small", variant="int8-tflite", metric="CCC", bytes=1_999_999, latency_ms=49.9, machine="a Pi"),
        row(student="large", metric="CCC"),
        row(student="large", variant="int8-tflite", metric="CCC", bytes=2_000_000, latency_ms=50.0, machine="a Pi"),
        row(student="pose-student-2mb"),
    ]

    text = emotion(rows)

    assert line_of(text, "small")[3:7] == ["1,999,999", "yes", "49.90", "yes"]
    assert line_of(text, "large")[3:7] == ["2,000,000", "**no**", "50.00", "**no**"]
    assert "one thread on a Pi" in text
    assert "pose" not in text


def test_rows_are_read_back_as_written_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_rows(path, pose_rows()[::-1])

    assert read_rows(path) == pose_rows()
    assert read_rows(tmp_path / "absent.json") == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda figures: figures.update(schema=2), "no results of training"),
        (lambda figures: figures["rows"][1].pop("value"), "row 2 of the results is malformed.*value"),
        (lambda figures: figures["rows"][0].update(colour="red"), "row 1 .*colour"),
        (lambda figures: figures["rows"][0].update(variant="magic"), "variant of `pose-student-2mb`.*magic"),
    ],
)
def test_malformed_results_are_refused(tmp_path: Path, change: Any, said: str) -> None:
    path = tmp_path / "results.json"
    write_rows(path, pose_rows())
    figures = json.loads(path.read_text(encoding="utf-8"))
    change(figures)
    path.write_text(json.dumps(figures), encoding="utf-8")

    with pytest.raises(InputError, match=said):
        read_rows(path)


def test_readme_gets_the_section_of_its_name(tmp_path: Path) -> None:
    readme, source = tmp_path / "README.md", tmp_path / "results.json"
    write_rows(source, pose_rows())
    readme.write_text("a\n<!-- table: students -->\nold\n<!-- end -->\nb\n", encoding="utf-8")

    done = CliRunner().invoke(readme_main, [str(readme), str(source), "--section", "students"])
    refused = CliRunner().invoke(readme_main, [str(readme), str(source), "--section", "micro"])

    assert done.exit_code == 0
    assert readme.read_text(encoding="utf-8") == (
        f"a\n<!-- table: students -->\n{students(pose_rows())}\n<!-- end -->\nb\n"
    )
    assert refused.exit_code == 2
    assert "students, pruning, emotion" in refused.output


@pytest.mark.torch
def test_what_eval_printed_becomes_rows_with_their_costs(tmp_path: Path) -> None:
    from edge.models.training.training_card import write_checkpoint

    entry = registry.get("emotion-proto-81k")
    facts = {"model": entry.name, "data": {"label": "synthetic music"}, "seed": 0, "steps": 5, "hours": 0.5}
    weights = write_checkpoint(tmp_path, "kd", entry.build(), {**facts, "command": "edge distill"})
    file = tmp_path / "net-int8.tflite"
    file.write_bytes(bytes(1234))
    manifest = {
        "model": entry.name,
        "machine": {"cpu": "a CPU"},
        "variants": {file.name: {"latency": {"best_ms": 0.2}}},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    metric = {"name": "CCC", "value": 0.8, "low": 0.7, "high": 0.9, "parts": {"rmse": 0.1}, "samples": 9, "data": "x"}
    drop = {"value": 0.01, "low": 0.0, "high": 0.02}
    report = {"targets": [{"file": str(weights), "metric": metric, "drop": None},
                          {"file": str(file), "metric": {**metric, "value": 0.79}, "drop": drop}]}  # fmt: skip
    path = tmp_path / "results.json"
    write_rows(path, [row(), row(student=entry.name, variant="distilled", metric="CCC")])
    words = [str(path), entry.name, "distilled", "int8-tflite", "--shipped", "distilled"]

    done = CliRunner().invoke(results.main, words, input=json.dumps(report), catch_exceptions=False)

    assert done.exit_code == 0
    network, artifact, pose = read_rows(path)
    assert pose == row()
    assert (network.value, network.shipped, network.minutes, network.command) == (0.8, True, 30.0, "edge distill")
    assert (network.parameters, network.macs, network.drop) == (entry.parameters, entry.macs, None)
    assert dataclasses.asdict(artifact)["drop"] == drop
    assert (artifact.bytes, artifact.latency_ms, artifact.machine, artifact.shipped) == (1234, 0.2, "a CPU", False)
