"""What a program leaves behind when it ends, is ended, or loses its parent: nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.bench import keeper

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux only")

# A child, and one in a session of its own whose parent goes at once; then it tells that both are there.
FAMILY = "sleep 987 & setsid sh -c 'sleep 987 & exit' ; echo ready; wait"


def _start(folder: Path, script: str, cpus: str = "-") -> subprocess.Popen[str]:
    command = [sys.executable, "-I", "-S", keeper.__file__, str(folder), cpus, "/bin/sh", "-c", script]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _close(process: subprocess.Popen[str]) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    status = process.wait(60)
    process.stdout.close()
    return status


def _alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_closing_stdin_ends_the_whole_family_and_removes_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "profile"
    folder.mkdir()
    (folder / "file").write_text("x")
    process = _start(folder, FAMILY)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    family = keeper.children(process.pid)

    status = _close(process)

    assert len(family) >= 3
    assert [child for child in family if _alive(child)] == []
    assert not folder.exists()
    assert status == 1


def test_a_program_that_ends_gives_its_status_and_its_orphans_go(tmp_path: Path) -> None:
    process = _start(tmp_path / "profile", "setsid sleep 987 & echo $!; exit 7")
    assert process.stdout is not None
    orphan = int(process.stdout.readline())

    assert process.wait(60) == 7
    assert not _alive(orphan)
    _close(process)


def test_a_killed_parent_takes_the_family_along(tmp_path: Path) -> None:
    folder = tmp_path / "profile"
    folder.mkdir()
    code = (
        "import subprocess, sys\n"
        "kept = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        "print(kept.pid, flush=True); kept.wait()\n"
    )
    keeping = [sys.executable, "-I", "-S", keeper.__file__, str(folder), "-", "/bin/sh", "-c", FAMILY]
    parent = subprocess.Popen([sys.executable, "-c", code, *keeping], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    lines = {parent.stdout.readline().strip() for _ in range(2)}
    (kept,) = (int(line) for line in lines if line.isdecimal())
    family = [kept, *keeper.children(kept)]

    parent.kill()
    parent.wait()
    parent.stdout.close()

    deadline = time.monotonic() + 60
    while any(_alive(process) for process in family) or folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_keeper_takes_its_program_along(tmp_path: Path) -> None:
    process = _start(tmp_path / "profile", "echo $$; exec sleep 987")
    assert process.stdout is not None
    program = int(process.stdout.readline())

    process.kill()
    _close(process)

    deadline = time.monotonic() + 60
    while _alive(program):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_program_is_held_to_the_cpus_that_are_named(tmp_path: Path) -> None:
    process = _start(tmp_path / "profile", "grep Cpus_allowed_list /proc/self/status", cpus="0")
    assert process.stdout is not None

    assert process.stdout.readline().split()[-1] == "0"
    assert process.wait(60) == 0
    _close(process)
