"""`edge train` and `edge distill`: what they refuse, and a run of two steps from data to training card."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edge.cli import main

from ..models.data.tiny_sets import write_coco

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Let torch use one thread: more cost more than they save here."""
    pytest.importorskip("torch").set_num_threads(1)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "0"], "`steps` is too small"),
        (["--steps", "100000000000000000000"], "`steps` is too large"),
        (["--epochs", "nan"], "`epochs` is out of range"),
        (["--epochs", "inf"], "`epochs` is out of range"),
        (["--steps", "2", "--out", ""], "the path is empty"),
        (["--steps", "2", "--epochs", "1"], "give one of them"),
        (["--steps", "2", "--input-size", "64"], "HxW"),
        (["--steps", "2", "--lr", "nan"], "`lr` must be above 0"),
        (["--steps", "2", "--data", "/nowhere"], "there is no folder `/nowhere`"),
        (["--steps", "2", "--init", "/nowhere.pth"], "does not exist"),
        (["--steps", "2", "--devices", "0"], "`devices` is too small"),
        (["--steps", "2", "--precision", "int4"], "int4"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert said in refused(capsys, "train", "emotion-proto-81k", "--out", str(tmp_path / "run"), *words)
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_not_known_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean" in refused(capsys, "train", "emotion-proto-81", "--out", str(tmp_path))


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ("pose-student-2mb:x.pth", "cannot teach"),
        ("emotion-teacher-vit-b16", "ships without weights"),
        ("emotion-proto-81k:", "names no file"),
        ("nobody", "no model is called"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], teacher: str, said: str
) -> None:
    words = ("distill", "emotion-proto-81k", "--out", str(tmp_path / "run"), "--steps", "2", "--teacher", teacher)

    assert said in refused(capsys, *words)


def trained(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> dict[str, Any]:
    common = ["--out", str(folder), "--steps", "2", "--batch", "2", "--count", "8", "--held-out", "6", "--workers", "0"]
    assert main([*words, *common, "--data-cache", str(folder.parent / "cache"), "--json"]) == 0
    card: dict[str, Any] = json.loads(capsys.readouterr().out)["training"]
    return card


def test_a_run_gives_a_checkpoint_that_loads_and_a_card_that_tells_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge.models import registry
    from edge.models.checkpoint import load_model
    from edge.models.training.training_card import read_training_card

    card = trained(capsys, tmp_path / "plain", "train", "emotion-proto-81k", "--seed", "3")
    path = tmp_path / "plain" / "emotion-proto-81k.safetensors"
    again = trained(capsys, tmp_path / "plain", "train", "emotion-proto-81k", "--seed", "3")
    distilled = trained(
        capsys, tmp_path / "kd", "distill", "emotion-proto-81k", "--teacher", f"emotion-proto-81k:{path}", "--seed", "3"
    )

    load_model(registry.get("emotion-proto-81k"), path)
    assert card["checkpoint"] == str(path)
    assert (card["model"], card["method"], card["steps"], card["seed"]) == ("emotion-proto-81k", "plain", 2, 3)
    assert card["data"]["synthetic"]
    assert "8 clips" in card["data"]["label"]
    assert (card["metrics"]["name"], card["metrics"]["samples"]) == ("CCC", 6)
    assert read_training_card(path) == {name: value for name, value in card.items() if name != "checkpoint"}
    assert again == card  # a finished run is not trained again
    assert distilled["method"] == "distilled"
    assert distilled["teacher"]["sha256"] == card["sha256"]


def test_count_cuts_the_training_split_and_held_out_the_others(tmp_path: Path) -> None:
    from edge.models import registry
    from edge.models.training.run import prepare_source

    write_coco(tmp_path)
    write_coco(tmp_path, part="train2017")
    card = registry.get("pose-student-2mb").card(None)

    def sizes(count: int | None = None, held_out: int | None = None) -> list[int]:
        sources = (
            prepare_source("pose", str(tmp_path), split, card, 0, count, held_out=held_out, say=pytest.fail)
            for split in ("train", "val", "test")
        )
        return [len(source) for source in sources]

    everything = sizes()
    assert sizes(count=1) == [1, *everything[1:]]
    assert sizes(held_out=1) == [everything[0], 1, 1]


def test_a_folder_of_another_run_is_refused_before_anything_is_rendered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(capsys, tmp_path / "run", "train", "emotion-proto-81k")
    words = ["--steps", "2", "--batch", "3", "--workers", "0", "--data-cache", str(tmp_path / "unused")]

    error = refused(capsys, "train", "emotion-proto-81k", "--out", str(tmp_path / "run"), *words)

    assert "holds a run with another batch" in error
    assert not (tmp_path / "unused").exists()


def test_without_what_judges_poses_no_training_begins(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['faster_coco_eval'] = None\n"
        "from edge.cli import main\n"
        f"sys.exit(main(['train', 'pose-student-2mb', '--steps', '1', '--out', {str(tmp_path / 'run')!r}]))\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 2
    assert "faster-coco-eval" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_folder_is_held_by_one_run_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    with (tmp_path / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)

        assert "in use by another run" in refused(capsys, "train", "emotion-proto-81k", "--out", str(tmp_path))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, number: int, code: int) -> None:
    words = ["--steps", "100000", "--batch", "2", "--count", "6", "--held-out", "6", "--workers", "1"]
    command = [sys.executable, "-m", "edge", "train", "emotion-proto-81k", "--out", str(tmp_path / "run"), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while run.poll() is None and not (tmp_path / "run" / "log.csv").exists():
            time.sleep(0.05)
        run.send_signal(number)
        out, err = run.communicate(timeout=60)

    assert (run.returncode, out) == (code, "")
    assert "the same command goes on" in err.splitlines()[-2]
    assert "Traceback" not in err
