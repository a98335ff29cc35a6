"""A bundle appears whole or not at all."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.export.bundle import MANIFEST, commit, intact, locked, open_run, read_manifest
from edge.export.seal import manifest_digest, manifest_text
from edge.runtime.errors import InputError


def write_bundle(folder: Path, name: str, data: bytes) -> Path:
    with locked(folder), open_run(folder) as run:
        (run / "a.onnx").write_bytes(data)
        commit(run, folder / name, {"schema": 1})
    return folder / name


def test_a_committed_bundle_is_intact_and_nothing_else_is_left(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "out", "net", b"one")
    manifest = read_manifest(bundle)

    assert manifest is not None
    assert intact(bundle, manifest)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"net", ".edge.lock"}


def test_one_flipped_bit_is_found(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, "net", b"one")
    manifest = read_manifest(bundle)
    (bundle / "a.onnx").write_bytes(b"onf")

    assert manifest is not None
    assert not intact(bundle, manifest)


def test_a_second_bundle_takes_the_place_of_the_first(tmp_path: Path) -> None:
    write_bundle(tmp_path, "net", b"one")
    bundle = write_bundle(tmp_path, "net", b"two")

    assert (bundle / "a.onnx").read_bytes() == b"two"
    assert {path.name for path in tmp_path.iterdir()} == {"net", ".edge.lock"}


def test_a_failed_run_leaves_the_bundle_before_it(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, "net", b"one")

    with pytest.raises(ZeroDivisionError), locked(tmp_path), open_run(tmp_path) as run:
        (run / "a.onnx").write_bytes(b"two")
        raise ZeroDivisionError

    assert (bundle / "a.onnx").read_bytes() == b"one"
    assert {path.name for path in tmp_path.iterdir()} == {"net", ".edge.lock"}


def test_a_failed_run_in_a_new_folder_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "out"), open_run(tmp_path / "out"):
        raise ZeroDivisionError

    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "thesis.txt").write_text("mine")

    with pytest.raises(InputError, match="no bundle"):
        read_manifest(tmp_path / "net")


HOLD = (
    "import sys, time; from pathlib import Path; from edge.export.bundle import locked, open_run\n"
    "with locked(Path(sys.argv[1])), open_run(Path(sys.argv[1])) as run:\n"
    "    (run / 'half.onnx').write_bytes(b'x'); print('held', flush=True); time.sleep(60)"
)


def test_two_runs_on_one_folder_are_kept_apart_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"

    with pytest.raises(InputError, match=f"in use by another run, got pid {holder.pid}"), locked(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".edge.lock"]


@pytest.mark.parametrize("moment", range(12))
def test_a_kill_at_any_moment_leaves_the_old_bundle_or_the_new(tmp_path: Path, moment: int) -> None:
    write_bundle(tmp_path, "net", b"old" * 100_000)
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from edge.export.bundle import commit, locked, open_run\n"
        "print('go', flush=True)\n"
        "with locked(Path(sys.argv[1])), open_run(Path(sys.argv[1])) as run:\n"
        "    (run / 'a.onnx').write_bytes(b'new' * 100_000)\n"
        "    commit(run, Path(sys.argv[1]) / 'net', {'schema': 1})\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), os.getcwd()], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(moment * 0.0015)
    child.kill()
    child.wait()
    child.stdout.close()

    manifest = read_manifest(tmp_path / "net")
    assert manifest is not None
    assert intact(tmp_path / "net", manifest)
    assert json.loads((tmp_path / "net" / MANIFEST).read_text()) == manifest
    assert write_bundle(tmp_path, "net", b"again").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system of its own")
def test_a_full_disk_is_an_os_error_and_leaves_the_bundle_before_it(tmp_path: Path) -> None:
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=False)
    if mount.returncode:
        pytest.skip("this sandbox does not mount")
    try:
        bundle = write_bundle(tmp_path, "net", b"one")
        with pytest.raises(OSError, match="No space left"):
            write_bundle(tmp_path, "net", bytes(4_000_000))
        assert (bundle / "a.onnx").read_bytes() == b"one"
        assert {path.name for path in tmp_path.iterdir()} == {"net", ".edge.lock"}
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_manifest_vouches_for_all_it_says(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, "net", b"one")
    manifest = json.loads((bundle / MANIFEST).read_text())

    assert manifest["digest"] == manifest_digest(manifest)
    assert (bundle / MANIFEST).read_text() == manifest_text(manifest)
    assert manifest_digest({**manifest, "note": "another"}) != manifest["digest"]
