"""Progress as a user sees it: each verb with its stderr on a real terminal, in a CI job, and into a file."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ..models.data.tiny_sets import write_deam

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
COLOUR = re.compile(r"\x1b\[(?!0m)[0-9;]*m")
NETS = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
"""
Call = tuple[str, ...]


class OnTerminal:
    """A command whose stderr is a terminal; stdout is a pipe, or the same terminal."""

    def __init__(self, words: Call, folder: Path, *, both: bool = False, **settings: str) -> None:
        ours, theirs = pty.openpty()
        self._ours = ours
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge", *words],
            stdin=subprocess.DEVNULL,
            stdout=theirs if both else subprocess.PIPE,
            stderr=theirs,
            cwd=folder,
            env=environment(**settings),
            text=True,
        )
        os.close(theirs)
        self.shown = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.shown, timeout=120), self.shown

    def end(self) -> tuple[int, str, str]:
        """Return exit code, stdout, and all that the terminal was sent."""
        out, _ = self.process.communicate(timeout=120)
        code = self.process.wait(timeout=120)
        self._reader.join(timeout=120)
        os.close(self._ours)
        return code, out or "", self.shown

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # EIO: nobody holds the other end any more
            while part := os.read(self._ours, 65536):
                with self._changed:
                    self.shown += part.decode("utf-8", "replace")
                    self._changed.notify_all()


def environment(**settings: str) -> Mapping[str, str]:
    left_out = ("CI", "NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    root = str(Path(__file__).parents[2])
    return kept | {"TERM": "xterm-256color", "PYTHONPATH": root} | settings


@pytest.fixture
def calls(tmp_path: Path, write_onnx: Callable[..., Path]) -> Mapping[str, Call]:
    """Return a short call of each kind of work, by what its bar is called."""
    artifact = str(write_onnx())
    quick = ("--launches", "2", "--seconds", "0.05", "--warmup", "0", "--runs", "11", "--threads", "1")
    write_deam(tmp_path / "songs")
    return {
        "songs train": ("data", "check", "songs", "--split", "train", "--workers", "1"),
        "measuring": ("bench", artifact, *quick),
    }


@pytest.mark.parametrize("name", ["songs train", "measuring"])
def test_a_terminal_shows_a_bar_and_stdout_is_pure_json(calls: Mapping[str, Call], name: str, tmp_path: Path) -> None:
    code, out, shown = OnTerminal((*calls[name], "--json"), tmp_path).end()

    assert code == 0, shown
    assert json.loads(out)["schema"] == 1
    assert name in shown
    assert re.search(r"\d+/\d+", shown)
    assert re.search(r"\d:\d\d left", shown)
    assert COLOUR.search(shown)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0  # the cursor is back
    assert "Traceback" not in shown


@pytest.mark.parametrize("name", ["songs train", "measuring"])
def test_no_color_takes_the_colours(calls: Mapping[str, Call], name: str, tmp_path: Path) -> None:
    code, _, shown = OnTerminal((*calls[name], "--json"), tmp_path, NO_COLOR="1").end()

    assert code == 0, shown
    assert re.search(r"\d+/\d+", shown)
    assert COLOUR.findall(shown) == []


@pytest.mark.parametrize("name", ["songs train", "measuring"])
def test_a_ci_job_gets_few_plain_lines_even_on_a_terminal(calls: Mapping[str, Call], name: str, tmp_path: Path) -> None:
    code, out, shown = OnTerminal((*calls[name], "--json"), tmp_path, CI="true").end()

    assert code == 0, shown
    assert json.loads(out)["schema"] == 1
    assert CONTROL.findall(shown.replace("\r\n", "\n")) == []
    assert shown.count("\n") <= 4


@pytest.mark.parametrize("name", ["songs train", "measuring"])
def test_a_file_gets_no_control_character(calls: Mapping[str, Call], name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge", *calls[name]], capture_output=True, text=True, cwd=tmp_path, env=environment()
    )

    assert done.returncode == 0, done.stderr
    assert CONTROL.findall(done.stderr + done.stdout) == []
    assert done.stderr.count("\n") <= 4


@pytest.mark.torch
def test_an_export_shows_its_stages_and_keeps_only_its_notes(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    own = ("export", "net", "--model", "nets:make", "--plugin-path", ".", "--input", "1,3,16,16")
    words = (*own, "--target", "onnx", "--precision", "fp32", "--json")

    code, out, shown = OnTerminal(words, tmp_path).end()

    assert code == 0, shown
    assert json.loads(out)["schema"] == 1
    assert "exporting" in shown
    assert "[1/1] net: exporting to ONNX" in shown  # cut where the terminal ends
    assert "left" not in shown.replace("left out", "")  # stages differ too much for a time to be promised
    kept = [
        line for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").splitlines() if "note" in line
    ]
    assert kept[-1].startswith("note: net: ")

    done = subprocess.run(
        [sys.executable, "-m", "edge", *words], capture_output=True, text=True, cwd=tmp_path, env=environment()
    )
    assert done.returncode == 0
    assert CONTROL.findall(done.stderr) == []
    assert re.search(r"^\[1/1\] net +\d+\.\d s  up to date$", done.stderr, re.MULTILINE)


def test_lines_of_json_are_not_disturbed_on_the_terminal_that_they_go_to(
    tmp_path: Path, write_onnx: Callable[..., Path]
) -> None:
    cv2 = pytest.importorskip("cv2")
    import numpy as np

    artifact = write_onnx()
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (32, 32))
    for level in range(12):
        writer.write(np.full((32, 32, 3), level, np.uint8))
    writer.release()
    words = ("run", str(artifact), "v.avi", "--threads", "1", "--no-isolate")

    code, _, shown = OnTerminal((*words, "--json"), tmp_path, both=True).end()
    assert code == 0, shown
    lines = shown.replace("\r\n", "\n").splitlines()
    assert [json.loads(line)["frame"] for line in lines if line.startswith("{")] == list(range(12))
    assert CONTROL.findall("\n".join(lines)) == []

    code, out, shown = OnTerminal((*words, "--json"), tmp_path).end()
    assert code == 0, shown
    assert len(out.splitlines()) == 12
    assert re.search(r"v\.avi.*\d+/12", shown)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_the_bar_away_and_leaves_one_line(
    calls: Mapping[str, Call], tmp_path: Path, number: signal.Signals
) -> None:
    running = OnTerminal((*calls["measuring"], "--launches", "90"), tmp_path)
    running.wait_for("/90")

    running.process.send_signal(number)
    code, out, shown = running.end()

    assert (code, out) == (128 + number, "")
    assert "\x1b[?25h" in shown
    assert re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines()[-1].startswith("error: ")
