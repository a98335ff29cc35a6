"""A real sshd on loopback, and a small artifact to send there, for the tests of devices behind SSH."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.bench.loopback_sshd import LoopbackSshd, native_session

from .ssh_device import AGENT, WORKER, processes, wait_until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sshd")


@pytest.fixture(scope="module")
def running_server(folder: Path) -> Iterator[LoopbackSshd]:
    with LoopbackSshd(folder, native_session(folder)) as server:
        yield server


@pytest.fixture
def server(running_server: LoopbackSshd, folder: Path) -> Iterator[LoopbackSshd]:
    """A server whose home is empty, whose keys are right, and under which nothing is left running."""
    kept = {name: (folder / name).read_bytes() for name in ("known_hosts", "authorized_keys", "session")}
    shutil.rmtree(folder / "home", ignore_errors=True)
    (folder / "home").mkdir()
    yield running_server
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    wait_until(lambda: not processes(WORKER, str(folder)), "a worker is left on the device")
    wait_until(lambda: not processes(AGENT, str(folder)), "our program is left on the device")


@pytest.fixture
def artifact(write_onnx: Callable[..., Path]) -> Path:
    pytest.importorskip("onnxruntime")
    return write_onnx()
