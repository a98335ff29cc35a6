"""Files are there whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.runtime.files import umask, write_whole


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
