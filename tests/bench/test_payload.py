"""What a device is sent: enough for the worker, the same bytes each time, and nothing that was damaged here."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.bench.payload import Platform, _kept, _payload, code_payload
from edge.bench.plan import Plan


def test_the_worker_runs_from_the_payload_alone(tmp_path: Path, write_onnx: Callable[..., Path]) -> None:
    pytest.importorskip("onnxruntime")
    payload = code_payload()
    zipfile.ZipFile(io.BytesIO(payload.content)).extractall(tmp_path / "there")
    plan = Plan(artifact=str(write_onnx()), engine="onnxruntime", warmup_s=0, seconds=0, runs=3)

    done = subprocess.run(
        [sys.executable, "-s", "-P", "-m", "edge.bench.worker"],
        input=json.dumps(plan.to_dict()),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "there"), "PATH": "/usr/bin:/bin"},
        check=False,
    )

    assert json.loads(done.stdout.splitlines()[-1])["event"] == "done", done.stdout + done.stderr


def test_the_same_code_gives_the_same_bytes_named_by_their_hash() -> None:
    first, second = code_payload(), code_payload()

    assert first.content == second.content
    assert first.sha256 == hashlib.sha256(first.content).hexdigest()
    assert first.unpacked_bytes > len(first.content)


def test_wheels_are_not_packed_twice() -> None:
    payload = _payload({"b.whl": b"x" * 1000, "a.py": b"y" * 1000}, 0)
    entries = zipfile.ZipFile(io.BytesIO(payload.content)).infolist()

    assert [(entry.filename, entry.compress_size == 1000) for entry in entries] == [("a.py", False), ("b.whl", True)]


def test_a_kept_payload_that_was_damaged_is_thrown_away(tmp_path: Path) -> None:
    payload = _payload({"a.py": b"1"}, 0)
    path = tmp_path / f"payload-{payload.sha256}.zip"
    path.write_bytes(payload.content)
    assert _kept(tmp_path) == payload.content

    path.write_bytes(payload.content[:-1] + b"!")

    assert _kept(tmp_path) is None
    assert not path.exists()


def test_a_platform_reads_as_people_say_it() -> None:
    assert str(Platform(machine="aarch64", python=(3, 11), glibc=(2, 36))) == "aarch64, Python 3.11, glibc 2.36"
