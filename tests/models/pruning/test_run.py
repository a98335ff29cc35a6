"""Pruning runs that are killed, given another budget, or have nothing but training pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("optuna")
pytest.importorskip("lightning_fabric")

from safetensors.torch import load_file, save_file  # noqa: E402

from edge.models import registry  # noqa: E402
from edge.models.pruning.request import PruneRequest  # noqa: E402
from edge.models.pruning.run import prune_model  # noqa: E402
from edge.models.pruning.search import Goal  # noqa: E402
from edge.models.training.options import TrainOptions  # noqa: E402
from edge.runtime.errors import InputError  # noqa: E402

pytestmark = pytest.mark.torch

# One process imports torch and forks the runs, so that each costs its work only; it kills them from outside.
RUNS = """
import os, sys, time
from pathlib import Path
import edge.models.evaluate, edge.models.training.loop, edge.models.training.tasks
from edge.models.pruning.request import PruneRequest
from edge.models.pruning.run import prune_model
from edge.models.pruning.search import Goal
from edge.models.training.options import TrainOptions

place = Path(sys.argv[1])

def run(out, reached):
    out.mkdir(exist_ok=True)
    log = out / "said.txt"
    child = os.fork()
    if not child:
        def say(line):
            with log.open("a") as stream:
                print(line, file=stream)
        prune_model(PruneRequest(
            name="face-nanob-dense", checkpoint=place / "dense.safetensors", data="synthetic", out=out,
            goal=Goal(low=142_000, high=165_000), budget=2, search_steps=3, soft_steps=6, finetune_steps=6,
            options=TrainOptions(steps=1, batch=2, workers=0, precision="32-true", save_every=1),
            input_hw=(64, 64), count=4, held_out=4, cache=place / "cache"), say=say)
        os._exit(0)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if reached and reached(out, log.read_text() if log.exists() else ""):
            os.kill(child, 9)
            reached = None
        time.sleep(0.003)

PHASES = {
    "search": lambda out, said: "search 1/2" in said and list(out.glob("trial-*/state-*")),
    "soft": lambda out, said: list(out.glob("soft/state-*")),
    "finetune": lambda out, said: list(out.glob("finetune/state-*")),
    "judging": lambda out, said: "\\njudging" in said,
}
print(run(place / "whole", None))
for phase, reached in PHASES.items():
    halved = place / "halved"
    code = run(halved, reached)
    print(phase, code, sorted(name for name in ("rates.json", "soft", "finetune") if (halved / name).exists()))
print(run(place / "halved", None), flush=True)
"""


def _dense(folder: Path) -> Path:
    torch.manual_seed(0)
    save_file(registry.get("face-nanob-dense").build().state_dict(), folder / "dense.safetensors")
    return folder / "dense.safetensors"


@pytest.mark.slow
def test_a_run_that_is_killed_inside_each_phase_goes_on_to_the_same_network(tmp_path: Path) -> None:
    _dense(tmp_path)

    done = subprocess.run(
        [sys.executable, "-c", RUNS, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    assert done.stdout.splitlines() == [
        "0",
        "search -9 []",
        "soft -9 ['rates.json', 'soft']",
        "finetune -9 ['finetune', 'rates.json', 'soft']",
        "judging -9 ['finetune', 'rates.json', 'soft']",
        "0",
    ], done.stderr
    whole, halved = (load_file(tmp_path / out / "face-nanob.safetensors") for out in ("whole", "halved"))
    assert all(torch.equal(value, halved[key]) for key, value in whole.items())
    reports = [json.loads((tmp_path / out / "report.json").read_text()) for out in ("whole", "halved")]
    for name in ("rates", "widths", "dense"):
        assert reports[0][name] == reports[1][name]
    assert not list((tmp_path / "halved").glob("trial-*"))


def _request(folder: Path, **changed: object) -> PruneRequest:
    options = {
        "name": "face-nanob-dense",
        "checkpoint": _dense(folder),
        "data": "synthetic",
        "out": folder / "out",
        "goal": Goal(low=142_000, high=165_000),
        "budget": 1,
        "search_steps": 1,
        "search_only": True,
        "options": TrainOptions(steps=1, batch=2, workers=0, precision="32-true"),
        "input_hw": (64, 64),
        "count": 4,
        "held_out": 4,
        "cache": folder / "cache",
        **changed,
    }
    return PruneRequest(**options)  # type: ignore[arg-type]


def _silent(text: str) -> None:
    pass


def test_a_finished_search_refuses_another_budget_and_says_how_to_go_on(tmp_path: Path) -> None:
    first = prune_model(_request(tmp_path), say=_silent)
    assert prune_model(_request(tmp_path), say=_silent) == first

    with pytest.raises(InputError, match="another budget, whose search is finished, expected 1, got 2") as caught:
        prune_model(_request(tmp_path, budget=2), say=_silent)
    assert "--storage" in str(caught.value.hint)

    journal = str(tmp_path / "out" / "search.journal")
    more = prune_model(_request(tmp_path, budget=2, out=tmp_path / "more", storage=journal), say=_silent)
    assert more["trials"][0] == first["trials"][0]
    assert len(more["trials"]) == 2


def test_a_candidate_is_judged_by_training_pictures_where_val_may_be_what_the_result_is_judged_on(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        images = tmp_path / "wider" / part / "images"
        images.mkdir(parents=True)
        for number in range(6 if part == "train" else 0):  # what is in "val" cannot be read
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(images / f"{number}.png")
        (images.parent / "label.txt").write_text("".join(f"# {number}.png\n8 8 40 40\n" for number in range(6)))

    found = prune_model(_request(tmp_path, data=str(tmp_path / "wider"), count=None), say=_silent)

    assert len(found["trials"]) == 1
    assert 0.0 < found["trials"][0]["loss"] < 100.0
