"""A run that was killed goes on as if it had not been."""

from __future__ import annotations

import csv
import dataclasses
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edge.models.training.loop import fit
from edge.models.training.qat import start_qat
from edge.runtime.errors import InputError

from . import tiny_run
from .tiny_run import CARD, OPTIONS, Pictures, TinyTask, digest, network

pytestmark = pytest.mark.torch
STEPS = 600


def quiet(line: str) -> None:
    """Say nothing."""


def train(folder: Path, **changes: Any) -> Any:
    options = dataclasses.replace(OPTIONS, **changes)
    return fit(network(), TinyTask(CARD), Pictures(50), options, folder, val=Pictures(5), say=quiet)


def rows(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def run(folder: Path, workers: int, until: int | None = None) -> int:
    """Run, or go on with a run, and return its exit code; kill it once its log has come to step `until`."""
    words = ["--steps", str(STEPS), "--save_every", "40", "--validate_every", "90", "--workers", str(workers)]
    log = folder / "log.csv"
    command = [sys.executable, tiny_run.__file__, str(folder), *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if until is not None and log.exists() and log.read_bytes().count(b"\n") > until:
                process.kill()
                break
            time.sleep(0.005)
    return process.returncode


def test_killed_at_five_random_points_the_curve_is_that_of_an_uninterrupted_run(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(whole, workers=1) == 0
    points = sorted(random.Random(4).sample(range(20, STEPS - 50), 5))

    assert [run(killed, workers=2, until=point) for point in points] == [-signal.SIGKILL] * 5
    assert run(killed, workers=2) == 0

    for name in ("log.csv", "val.csv"):
        expected, found = rows(whole / name), rows(killed / name)
        for row in expected + found:
            row.pop("seconds", None)
        assert [row["step"] for row in found] == [row["step"] for row in expected]
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other, rel=1e-6), (name, one, other)
    facts = [json.loads((folder / "result-0.json").read_text()) for folder in (whole, killed)]
    assert facts[0]["resumed"] == 0
    assert facts[1]["resumed"] >= points[-1] - 40 - 20  # the states are 40 steps apart; the log is up to 20 behind
    assert facts[0]["weights"] == facts[1]["weights"]


@pytest.mark.parametrize("kind", ["taught", "rounded"])
def test_a_run_with_more_to_keep_than_a_network_goes_on_to_the_same_weights(tmp_path: Path, kind: str) -> None:
    def run(folder: Path, stop: int | None = None) -> Any:
        def end(step: int, module: nn.Module) -> None:
            if step == stop:
                raise KeyboardInterrupt

        module, teacher = network(), None
        options = dataclasses.replace(OPTIONS, steps=40)
        if kind == "taught":
            teacher = (network(norm=False), CARD)
            options = dataclasses.replace(options, precision="bf16-mixed")
        else:
            start_qat(module)
        return fit(module, TinyTask(CARD), Pictures(50), options, folder, teacher=teacher, after_step=end, say=quiet)

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", stop=27)
    result = run(tmp_path / "cut")

    assert result.resumed == 20
    assert digest(result.module) == digest(whole.module)
    assert result.loss == whole.loss
    kept = [torch.load(tmp_path / name / "state-000000040.pt", weights_only=True) for name in ("whole", "cut")]
    assert kept[0]["adapter"] == kept[1]["adapter"]
    assert bool(kept[0]["adapter"]) == (kind == "taught")
    assert any("fakequant" in name for name in kept[0]["network"]) == (kind == "rounded")


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = train(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    second = train(tmp_path)

    assert (second.resumed, second.steps) == (60, 60)
    assert (second.loss, second.val, second.hours) == (first.loss, first.val, first.hours)
    assert digest(second.module) == digest(first.module)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("changes", "named"), [({"lr": 0.5}, "lr"), ({"steps": 70}, "steps"), ({"batch": 4}, "batch")])
def test_a_folder_of_another_request_is_refused_and_the_difference_named(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    train(tmp_path, steps=10)

    with pytest.raises(InputError, match=f"run with another {named}") as caught:
        train(tmp_path, **{"steps": 10, **changes})

    assert "another folder" in str(caught.value.hint)


def test_a_folder_of_another_training_set_is_refused(tmp_path: Path) -> None:
    options = dataclasses.replace(OPTIONS, steps=10)
    train(tmp_path, steps=10)

    with pytest.raises(InputError, match="another training set"):
        fit(network(), TinyTask(CARD), Pictures(49), options, tmp_path, val=Pictures(5), say=quiet)


@pytest.mark.parametrize("damage", ["cut", "zeros", "empty"])
def test_a_torn_state_falls_back_to_the_one_before(tmp_path: Path, damage: str) -> None:
    expected = digest(train(tmp_path / "whole").module)
    train(tmp_path / "torn")
    newest = tmp_path / "torn" / "state-000000060.pt"
    data = newest.read_bytes()
    half = len(data) // 2
    newest.write_bytes({"cut": data[:half], "zeros": data[:half] + bytes(len(data) - half), "empty": b""}[damage])

    result = train(tmp_path / "torn")

    assert result.resumed == 50
    assert digest(result.module) == expected


def test_a_log_that_ends_in_the_middle_of_a_line_is_cut_to_the_saved_step(tmp_path: Path) -> None:
    train(tmp_path)
    (tmp_path / "state-000000060.pt").unlink()
    with (tmp_path / "log.csv").open("a") as stream:
        stream.write("61,9,0.0")

    train(tmp_path)

    assert [row["step"] for row in rows(tmp_path / "log.csv")] == list(range(1, 61))
    assert [row["step"] for row in rows(tmp_path / "val.csv")] == [60]


def test_two_states_are_kept(tmp_path: Path) -> None:
    train(tmp_path)

    assert sorted(path.name for path in tmp_path.glob("*state*")) == ["state-000000050.pt", "state-000000060.pt"]


class Stopping(Pictures):
    """Pictures of which the first look ends the process."""

    def __getitem__(self, index: int) -> Any:
        raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [30, 60])
def test_a_run_that_ends_in_a_validation_has_saved_before_it_and_makes_up_for_it(tmp_path: Path, stop: int) -> None:
    changes: dict[str, Any] = {"validate_every": 30} if stop == 30 else {}
    whole = train(tmp_path / "whole", **changes)
    options = dataclasses.replace(OPTIONS, **changes)

    with pytest.raises(KeyboardInterrupt):
        fit(network(), TinyTask(CARD), Pictures(50), options, tmp_path / "cut", val=Stopping(5), say=quiet)
    result = train(tmp_path / "cut", **changes)

    assert result.resumed == stop
    assert digest(result.module) == digest(whole.module)
    assert result.val == whole.val
    assert rows(tmp_path / "cut" / "val.csv") == rows(tmp_path / "whole" / "val.csv")
