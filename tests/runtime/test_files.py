"""Files are there whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.runtime.errors import InputError
from edge.runtime.files import check_writable, umask, write_whole


def test_text_and_bytes_take_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "größer")
    write_whole(path, b"\x00\x01")

    assert path.read_bytes() == b"\x00\x01"
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_is_made_or_the_error_names_the_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "a.json", "{}")
    with pytest.raises(OSError, match=r"exists|directory") as caught:
        write_whole(tmp_path / "new" / "a.json" / "b.json", "{}")

    assert caught.value.filename == str(tmp_path / "new" / "a.json" / "b.json")
    assert (tmp_path / "new" / "a.json").read_text() == "{}"


def test_what_cannot_take_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()

    with pytest.raises(OSError, match=r"a\.json"):
        write_whole(tmp_path / "a.json", "{}")

    assert os.listdir(tmp_path) == ["a.json"]


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(OSError, match="a device or a pipe"):
        write_whole(pipe, "{}")

    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def test_what_could_not_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("")

    for path, says in (
        (tmp_path, "expected the name of a file, got a folder"),
        (tmp_path / "pipe", "got a device or a pipe"),
        (tmp_path / "file" / "a" / "b.json", f"got `{tmp_path / 'file'}`, which is no folder"),
    ):
        with pytest.raises(InputError, match=says):
            check_writable(path)
    for path in (tmp_path / "file", tmp_path / "new" / "er" / "a.json"):
        check_writable(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "pipe"]  # it has looked, and made nothing


def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    code = (
        "import sys; from edge.runtime.files import write_whole\n"
        "for count in range(10**9): write_whole(sys.argv[1], bytes([count % 256]) * 100_000)"
    )
    for wait in (0.02, 0.05, 0.11):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=Path(__file__).parents[2])
        while not path.exists():
            time.sleep(0.005)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        data = path.read_bytes()
        assert len(data) == 100_000
        assert len(set(data)) == 1
