"""Two processes on this machine, started by torchrun."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from . import tiny_run

pytestmark = pytest.mark.torch


def torchrun(folder: Path, *words: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command += [tiny_run.__file__, str(folder), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def totals(log: Path) -> list[float]:
    with log.open(newline="") as stream:
        return [float(row["total"]) for row in csv.DictReader(stream)]


def test_two_ranks_take_the_same_steps_to_the_same_weights_as_one(tmp_path: Path) -> None:
    torchrun(tmp_path / "two", "--norm", "0", "--validate_every", "25")
    alone = [sys.executable, tiny_run.__file__, str(tmp_path / "one"), "--norm", "0"]
    subprocess.run(alone, check=True, capture_output=True)

    first, second = (json.loads((tmp_path / "two" / f"result-{rank}.json").read_text()) for rank in range(2))
    assert first["steps"] == second["steps"] == 60
    assert first["weights"] == second["weights"]
    # Means of halves of a batch are the mean of the batch, but for rounding: equal as far as 60 steps keep it so.
    assert totals(tmp_path / "two" / "log.csv") == pytest.approx(totals(tmp_path / "one" / "log.csv"), rel=1e-4)
    written = {path.name for path in (tmp_path / "two").iterdir()}
    assert written == {
        "log.csv", "val.csv", "state-000000050.pt", "state-000000060.pt", "result-0.json", "result-1.json"
    }  # fmt: skip


def test_two_ranks_with_a_teacher_that_were_stopped_go_on_to_the_same_weights(tmp_path: Path) -> None:
    torchrun(tmp_path, "--teacher", "1", "--steps", "30", "--stop", "17")

    first, second = (json.loads((tmp_path / f"result-{rank}.json").read_text()) for rank in range(2))
    assert (first["resumed"], second["resumed"]) == (10, 10)
    # Without a GPU the second rank's BatchNorm keeps statistics of its own; those of the first are what counts.
    assert first["weights"] == first["whole"]
    assert totals(tmp_path / "log.csv") == totals(tmp_path / "whole" / "log.csv")
