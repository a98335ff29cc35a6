"""The CSV logs of a run: whole rows of the steps that were taken, whatever a power cut has left of them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

pytest.importorskip("torch")

from edge.models.training.logs import CsvLog
from edge.models.training.loop import fit

from .tiny_run import CARD, OPTIONS, Pictures, TinyTask, network

pytestmark = pytest.mark.torch
TEN = dataclasses.replace(OPTIONS, steps=10, save_every=5)


def quiet(line: str) -> None:
    """Say nothing."""


@pytest.mark.parametrize(
    "torn", ["\0\0\0\0\n", "3,0.\0\0\0\n", "3\n", "3,0.5,7\n", "three,0.5\n", "\N{SUPERSCRIPT THREE},0.5\n"]
)
def test_a_log_is_cut_at_the_first_row_that_is_torn(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"step,total\n1,0.5\n2,nan\n{torn}\n4,0.5\n", encoding="utf-8")

    log = CsvLog(path, 9)

    assert log.last == 2
    assert path.read_text() == "step,total\n1,0.5\n2,nan\n"


@pytest.mark.parametrize("left", [b"", b"\0\0\0\0", b"\xff\xfe\n1,2\n", b"step,total\n", b"step,total\n9,1.5\n"])
def test_a_log_of_which_nothing_is_left_begins_again(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(left)

    log = CsvLog(path, 8)
    log.write([{"step": 9, "total": 0.25}])

    assert log.last == 0
    assert path.read_text() == "step,total\n9,0.25\n"


@pytest.mark.parametrize(("left", "said"), [(3, "4 to 5"), (0, "1 to 5")])
def test_a_log_that_is_behind_the_state_is_named_with_what_it_lacks(tmp_path: Path, left: int, said: str) -> None:
    fit(network(), TinyTask(CARD), Pictures(20), TEN, tmp_path, say=quiet)
    (tmp_path / "state-000000010.pt").unlink()
    log = tmp_path / "log.csv"
    head, *rows = log.read_text().splitlines()
    log.write_text("\n".join([head, *rows[:left], ""]) if left else "")
    lines: list[str] = []

    fit(network(), TinyTask(CARD), Pictures(20), TEN, tmp_path, say=lines.append)

    assert lines[0] == f"`{log}` lacks the steps {said}"
    steps = [int(row.split(",")[0]) for row in log.read_text().splitlines()[1:]]
    assert steps == [*range(1, left + 1), *range(6, 11)]


def test_a_log_is_on_disk_before_the_state_that_counts_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)

    fit(network(), TinyTask(CARD), Pictures(20), TEN, tmp_path, val=Pictures(3), say=quiet)

    files = [name for name in synced if name != tmp_path.name]
    state = "state-000000010.pt.part"
    assert files == ["log.csv", "state-000000005.pt.part", "log.csv", state, "log.csv", "val.csv", state]
