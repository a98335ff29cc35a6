"""`edge gate` and `edge report`, stopped: by Ctrl-C, SIGTERM and kill -9, at every step of a write, and by a full disk.

What was there before is there after, nothing lies beside it, no process stays behind, and the next run works.
`EDGE_CRASH=20` takes so many moments for each signal.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("jinja2")

from edge import cli
from edge.bench.baseline import read_baseline
from edge.bench.gate import Subject
from edge.gate_baseline import clear_leftovers, write_baseline
from edge.gate_subjects import find_subjects
from edge.runtime.files import write_whole

from .gate_demo import LAYERS, write_demo, write_manifest, write_network
from .test_report import real_bundle

ROOT = Path(__file__).parents[2]
MOMENTS = int(os.environ.get("EDGE_CRASH", "1"))
# What Python tells of a process before it does it: each is a place to die, or to find no room.
STEPS = ("open", "os.mkdir", "os.chmod", "os.rename", "os.remove", "os.rmdir", "shutil.copyfile", "shutil.copymode")
NAMES = ["accepted", "bundle", "edge.toml", "songs"]
DONE = 77  # a child that had no such step
WRITES = ("open", "os.mkdir", "os.rename", "shutil.copyfile")

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo repository with a baseline, to be copied: its FP16 file has changed since."""
    root = write_demo(tmp_path_factory.mktemp("demo"))
    words = ["gate", str(root / "bundle"), "--config", str(root / "edge.toml"), "--stage", "file"]
    assert cli.main([*words, "--update", "--reason", "the first one"]) == 0
    write_network(root / "bundle" / "demo-fp16.onnx", "fp16", half=True, layers=LAYERS, note="another")
    write_manifest(root / "bundle")
    (root / "edge.toml").write_text(
        '[defaults]\nbaseline = "accepted"\n[[budget]]\nvariant = "fp16"\nsize_bytes = 2_000_000\np50_ms = 60_000\n'
    )
    return root


@pytest.fixture
def demo(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "demo"))


def contents(folder: Path) -> dict[str, str]:
    """Return every file under a folder with its hash, but for lock files of runs."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


# --- at each step of an update --------------------------------------------------


def subjects(root: Path) -> list[Subject]:
    found = find_subjects([root / "bundle"], [])
    return [one for one in found if one.variant == "fp16.onnx"]


def each_step(act: Callable[[], object], names: tuple[str, ...], end: Callable[[], None]) -> Iterator[int]:
    """Run `act` in a child again and again, with `end` before its first step, its second, ...; yield how it ended."""
    for step in range(1, 200):
        child = os.fork()
        if child == 0:
            _run_and_exit(act, step, names, end)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == DONE:
            assert step > 3
            return
        yield code
    pytest.fail("it never came to an end")


def _run_and_exit(act: Callable[[], object], step: int, names: tuple[str, ...], end: Callable[[], None]) -> NoReturn:
    left = step

    def hook(name: str, args: tuple[Any, ...]) -> None:
        nonlocal left
        if name in names and (name != "open" or args[2] & (os.O_WRONLY | os.O_RDWR)):
            left -= 1
            if left == 0:
                end()

    try:
        sys.addaudithook(hook)
        act()
    except OSError as exc:
        os._exit(5 if exc.errno == errno.ENOSPC else 1)
    except BaseException:
        os._exit(1)
    os._exit(DONE if left > 0 else 0)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def no_room() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_kill_at_any_step_of_an_update_leaves_the_old_baseline_or_the_new_and_the_next_run_tidies(
    demo: Path, made: Path
) -> None:
    accepted, files = demo / "accepted", subjects(demo)
    seen = set()

    def update() -> None:
        write_baseline(accepted, files, "the second one")

    for code in each_step(update, STEPS, kill):
        assert code == -signal.SIGKILL
        baseline = read_baseline(accepted)
        for name in baseline.files:
            assert baseline.find(name) is not None  # which looks at its hash
        seen.add(len(baseline.history))
        clear_leftovers(accepted)
        assert sorted(path.name for path in demo.iterdir()) == NAMES
        if len(baseline.history) == 2:
            shutil.rmtree(accepted)
            shutil.copytree(made / "accepted", accepted)
    assert seen == {1, 2}


def test_the_next_gate_clears_what_a_killed_update_left_and_not_what_a_living_one_writes(demo: Path, say: Say) -> None:
    code = (
        "import sys, time; from pathlib import Path; from edge.export.bundle import open_run\n"
        "with open_run(Path(sys.argv[1]), '.accepted.run-'): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, demo], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    words = ["gate", demo / "bundle", "--config", demo / "edge.toml", "--stage", "file"]

    assert say(*words)[0] == 0
    assert len(list(demo.glob(".accepted.run-*"))) == 1
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert say(*words)[0] == 0
    assert not list(demo.glob(".*"))


# --- no room --------------------------------------------------------------------


def test_no_room_at_any_step_of_an_update_leaves_the_baseline_and_nothing_beside_it(demo: Path, made: Path) -> None:
    accepted, files = demo / "accepted", subjects(demo)
    before = contents(demo)

    def update() -> None:
        write_baseline(accepted, files, "the second one")

    codes = set()
    for code in each_step(update, WRITES, no_room):
        codes.add(code)
        if code:
            assert contents(demo) == before
        else:  # a step that could be done without, such as looking into a folder that is there
            shutil.rmtree(accepted)
            shutil.copytree(made / "accepted", accepted)
        assert sorted(path.name for path in demo.iterdir()) == NAMES
    assert 5 in codes <= {0, 5}


def test_no_room_at_any_step_of_a_write_leaves_the_file_before_it(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")
    codes = []

    for code in each_step(lambda: write_whole(path, "after" * 9999), WRITES, no_room):
        codes.append(code)
        assert os.listdir(tmp_path) == ["report.html"]
        assert path.read_text() == ("before" if code else "after" * 9999)
        path.write_text("before")
    assert codes.count(5) > 2
    assert set(codes) <= {0, 5}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte."""
    if os.geteuid():
        pytest.skip("only root can mount a file system of its own")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this sandbox does not mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def until_there_is_room(disk: Path, start: int, step: int, run: Callable[[], int]) -> tuple[int, int]:
    """Run with more and more room on a disk, until it does; return how often there was too little, and the last code.

    Args:
        disk: of one megabyte.
        start, step: bytes that are free at first, and more each time.
        run: returns an exit code; 5 is no room.
    """
    filler = disk / "filler"
    for tries in range(200):
        filler.unlink(missing_ok=True)
        left = os.statvfs(disk)
        room = left.f_bavail * left.f_frsize - start - step * tries
        if room > 0:
            filler.write_bytes(bytes(room))
        before = contents(disk)
        code = run()
        if code != 5:
            return tries, code
        assert contents(disk) == before
    pytest.fail("it never came to an end")


def test_on_a_full_disk_an_update_ends_with_code_5_and_the_baseline_is_as_it_was(
    demo: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(demo / "accepted", disk / "accepted")
    words = [
        "gate",
        demo / "bundle",
        "--config",
        demo / "edge.toml",
        "--stage",
        "file",
        "--baseline",
        disk / "accepted",
    ]

    def update() -> int:
        code = cli.main([*map(str, words), "--update", "--reason", "the second one"])
        errors = capsys.readouterr().err
        assert code == 0 or (errors.count("error: ") == 1 and "free some space" in errors)
        return code

    tries, code = until_there_is_room(disk, 0, 16384, update)

    assert (tries > 3, code) == (True, 0)
    assert sorted(path.name for path in disk.iterdir()) in (["accepted"], ["accepted", "filler"])
    assert [one["reason"] for one in read_baseline(disk / "accepted").history] == ["the first one", "the second one"]


def test_on_a_full_disk_a_report_ends_with_code_5_and_the_page_before_it_stays(
    tmp_path: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = real_bundle(tmp_path)
    page = disk / "report.html"
    page.write_text("before")

    def write() -> int:
        code = cli.main(["report", str(bundle), "--no-overlays", "--force", "--out", str(page)])
        capsys.readouterr()
        return code

    tries, code = until_there_is_room(disk, 0, 8192, write)

    assert (tries > 1, code) == (True, 0)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_on_a_full_disk_a_history_keeps_the_runs_it_has(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ..bench.history_help import bench_document

    files = []
    for number in range(2):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps({**bench_document(number), "noise": os.urandom(40_000).hex()}))
    database = disk / "history.db"

    def add(number: int) -> int:
        code = cli.main(["history", "add", str(files[number]), "--db", str(database)])
        errors = capsys.readouterr().err
        assert code in (0, 5), errors
        return code

    def runs() -> int:
        assert cli.main(["history", "list", "--db", str(database), "--json"]) == 0
        return len(json.loads(capsys.readouterr().out)["runs"])

    assert add(0) == 0
    filler, refused = disk / "filler", 0
    for room in range(0, 400_000, 16384):
        left = os.statvfs(disk)
        filler.write_bytes(bytes(max(left.f_bavail * left.f_frsize - room, 0)))
        code = add(1)
        filler.unlink()
        assert runs() == (2 if code == 0 else 1)
        if code == 0:
            break
        refused += 1
    assert refused > 2
    assert cli.main(["history", "check", "--db", str(database)]) == 0


# --- signals --------------------------------------------------------------------


def started(words: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start `edge` in a session of its own, and wait until it hears signals."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None:
        caught = int(Path(f"/proc/{process.pid}/status").read_text().partition("SigCgt:")[2].split()[0], 16)
        if caught >> (signal.SIGTERM - 1) & 1:
            break
        time.sleep(0.005)
    return process


def stopped(words: list[str], folder: Path, number: signal.Signals, after: float) -> tuple[int, str]:
    """Run `edge`, send a signal to it after some seconds, and return its exit code and stderr; nobody is left then."""
    process = started(words, folder)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        if number is signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: to all of them
        else:
            process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    deadline = time.monotonic() + 30  # a killed one cannot wait for its children
    while number is signal.SIGKILL and alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(process.pid)
    return process.returncode, errors


def alive(session: int) -> bool:
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


CASES = {
    "gate": ["gate", "bundle", "--seconds", "0.4", "--launches", "3", "--update", "--reason", "the second one"],
    "report": ["report", "face", "--out", "page.html", "--force"],
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes as Linux tells them")
@pytest.mark.parametrize("verb", CASES)
def test_a_signal_at_any_moment_leaves_the_folder_as_it_was_and_no_process(demo: Path, verb: str) -> None:
    if verb == "report":
        real_bundle(demo)
        (demo / "page.html").write_text("before")
    before = contents(demo)
    began = time.monotonic()
    whole = started(CASES[verb], demo)
    _, errors = whole.communicate(timeout=120)
    taken = time.monotonic() - began
    assert whole.returncode == 0, errors
    after = contents(demo)
    assert set(after) == set(before)

    ends = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
    for number, expected in ends.items():
        for moment in range(MOMENTS):
            code, errors = stopped(CASES[verb], demo, number, taken * (moment + 0.5) / MOMENTS * 0.8)
            # Of a SIGINT that comes while Python builds a dataclass, or is ending, Python dies itself: 130 to a shell.
            assert code in (0, expected, *[-signal.SIGINT] * (number is signal.SIGINT)), errors
            assert "Traceback" not in errors
            if code > 0:
                assert errors.splitlines()[-1].startswith("error: interrupted" if code == 130 else "error: terminated")
            found = contents(demo)
            leftovers = {name for name in set(found) - set(before) if number is not signal.SIGKILL or "/" in name}
            assert not leftovers
            assert set(before) <= set(found)
    last = started(CASES[verb], demo)
    last.communicate(timeout=120)
    assert last.returncode == 0
    assert set(contents(demo)) == set(before)
