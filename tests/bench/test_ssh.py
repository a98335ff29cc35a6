"""A device behind a real sshd on loopback: what goes right, who is refused, what no shell takes for a command."""

from __future__ import annotations

import os
import socket
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from edge.bench.device import Evidence
from edge.bench.launch import Launch
from edge.bench.loopback_sshd import LoopbackSshd, write_session
from edge.bench.plan import Plan
from edge.bench.ssh import SshDevice
from edge.bench.ssh_session import START
from edge.runtime.errors import DeviceError, EdgeError, InputError, MissingExtraError

from .ssh_device import NEEDS_SSH, QUICK, cache_names, config, fails

pytestmark = NEEDS_SSH


def test_a_launch_gives_samples_and_leaves_only_the_cache(server: LoopbackSshd, folder: Path, artifact: Path) -> None:
    sent: list[str] = []
    source = artifact.with_name("picture.npz")
    np.savez(source, picture=np.zeros((20, 30, 3), np.uint8))
    plan = Plan(**{**QUICK, "runs": 7, "stages_s": 0.01})

    with SshDevice(config(server), tell=sent.append) as device:
        launch = device.launch(artifact, plan, source, Launch())
        again = device.launch(artifact, plan, source, Launch())

    assert launch.complete
    assert again.complete
    assert len(launch.wall_ms) >= 7
    assert launch.pre_ms
    assert launch.engine["name"] == "onnxruntime"
    assert launch.ended["system"]
    assert [line for line in sent if "sending" in line] == ["loop: sending 0.1 MB"]
    assert cache_names(folder) == [".npz", ".onnx", "lock", "payload"]
    assert [path.name for path in (folder / "home").iterdir()] == [".cache"]


def test_a_second_connection_sends_nothing_until_the_cache_is_cleared(
    server: LoopbackSshd, folder: Path, artifact: Path
) -> None:
    sent: list[str] = []
    for _ in range(2):
        with SshDevice(config(server), tell=sent.append) as device:
            device.launch(artifact, Plan(**{**QUICK, "runs": 1}), None, Launch())
    assert len(sent) == 1

    with SshDevice(config(server), tell=sent.append) as device:
        assert device.clear_cache() > artifact.stat().st_size
        assert cache_names(folder) == ["lock"]


def test_a_file_that_went_bad_on_the_device_is_sent_again(server: LoopbackSshd, folder: Path, artifact: Path) -> None:
    with SshDevice(config(server)) as device:
        device.launch(artifact, Plan(**{**QUICK, "runs": 1}), None, Launch())
        kept = next((folder / "home/.cache/edge-bench").glob("*.onnx"))
        kept.write_bytes(kept.read_bytes()[:-1])

        device.launch(artifact, Plan(**{**QUICK, "runs": 1}), None, Launch())

    assert kept.read_bytes() == artifact.read_bytes()


def test_this_machine_over_ssh_is_measured_as_what_it_is(server: LoopbackSshd) -> None:
    with SshDevice(config(server)) as device:
        state = device.connect()
        assert device.evidence is (Evidence.MEASURED if state["emulated"] is False else Evidence.SIMULATED)


def test_what_a_login_shell_says_is_passed_over(server: LoopbackSshd, folder: Path, artifact: Path) -> None:
    write_session(folder, [f"export HOME={folder / 'home'}", "echo Welcome to '!{' this machine", "echo noise >&2"])

    with SshDevice(config(server)) as device:
        assert device.launch(artifact, Plan(**{**QUICK, "runs": 1}), None, Launch()).complete


def test_what_the_worker_refuses_is_told_with_the_name_that_the_file_has_here(
    server: LoopbackSshd, tmp_path: Path
) -> None:
    bad = tmp_path / "broken.onnx"
    bad.write_bytes(b"nonsense")

    with SshDevice(config(server)) as device, pytest.raises(InputError, match=r"`broken\.onnx`"):
        device.launch(bad, Plan(**{**QUICK, "runs": 1}), None, Launch())


def test_a_refused_connection_is_told(server: LoopbackSshd) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        fails(SshDevice(config(server, port=closed.getsockname()[1])), "refused the connection")


def test_an_unknown_host_key_is_refused_and_nothing_is_sent(server: LoopbackSshd, folder: Path) -> None:
    server.forget_host_key()

    fails(SshDevice(config(server)), "host key of `edge-loopback` is not known; nothing was sent")

    assert not list((folder / "home").iterdir())


def test_a_changed_host_key_is_refused_and_nothing_is_sent(server: LoopbackSshd, folder: Path) -> None:
    server.change_known_host_key()
    before = server.log.read_text().count("Accepted")

    fails(SshDevice(config(server)), "has changed; nothing was sent")

    assert server.log.read_text().count("Accepted") == before
    assert not list((folder / "home").iterdir())


def test_a_refused_login_is_told(server: LoopbackSshd, folder: Path) -> None:
    (folder / "authorized_keys").write_text("")

    fails(SshDevice(config(server)), "refused the login")


def test_a_machine_that_is_no_pi_4_is_refused_as_one_with_what_it_is(server: LoopbackSshd, folder: Path) -> None:
    error = fails(SshDevice(config(server, kind="rpi4")), "`loop` is no Raspberry Pi 4")

    assert os.uname().machine in str(error.got)
    assert cache_names(folder) == ["lock"]


@pytest.mark.parametrize(
    ("board", "emulated", "is_one"),
    [
        ("Raspberry Pi 4 Model B Rev 1.5", False, True),
        ("Raspberry Pi 4 Model B Rev 1.5", True, False),
        ("Raspberry Pi 4 Model B Rev 1.5", None, False),
        ("Raspberry Pi 5 Model B Rev 1.0", False, False),
        (None, False, False),
    ],
)
def test_only_a_real_pi_4_passes_for_one(
    server: LoopbackSshd, board: str | None, emulated: bool | None, is_one: bool
) -> None:
    device = SshDevice(config(server, kind="rpi4"))
    hello = {"environment": {"board": board, "emulated": emulated, "architecture": "aarch64", "cpu": "ARM part 0xd08"}}

    if is_one:
        device._check(hello)
        assert device.evidence is Evidence.MEASURED
    else:
        with pytest.raises(DeviceError, match="is no Raspberry Pi 4"):
            device._check(hello)


def test_a_missing_python_is_told(server: LoopbackSshd) -> None:
    fails(SshDevice(config(server, python="/nowhere/python3")), "no Python on `edge-loopback`")


def test_a_python_that_is_too_old_is_told_with_its_version(server: LoopbackSshd, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    pretend = "import sys; sys.version_info = (3, 9, 2, 'final', 0); exec(sys.argv[3])"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{pretend}" "$@"\n')
    old.chmod(0o755)

    assert "expected 3.11 or newer, got 3.9.2" in str(fails(SshDevice(config(server, python=str(old))), "too old"))
    compile(START, "start", "exec")
    assert "f'" not in START  # an old Python must be able to read it


def test_a_virtual_environment_without_the_engine_is_told(server: LoopbackSshd, tmp_path: Path, artifact: Path) -> None:
    venv.create(tmp_path / "bare")

    with (
        SshDevice(config(server, python=str(tmp_path / "bare/bin/python"))) as device,
        pytest.raises(DeviceError, match=r"onnxruntime does not load.*No module named 'numpy'") as caught,
    ):
        device.launch(artifact, Plan(**QUICK), None, Launch())

    assert "install onnxruntime" in str(caught.value.hint)


def test_a_machine_without_ssh_is_told_what_to_install(server: LoopbackSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with SshDevice(config(server)) as device, pytest.raises(MissingExtraError, match="there is no `ssh`"):
        device.connect()


HOSTILE = [
    "; touch {canary}",
    "$(touch {canary})",
    "`touch {canary}`",
    "' ; touch {canary} ; '",
    '" ; touch {canary} ; "',
    "| touch {canary}",
    "&& touch {canary}",
    "> {canary}",
    "~/x; touch {canary}",
    "~/$(touch {canary})",
    "~/'; touch {canary}; '",
    'python3 -c \'open("{canary}", "w")\'',
    "../../../bin/touch {canary}",
    "%s%n{canary}",
    "${{IFS}}touch${{IFS}}{canary}",
    "\\; touch {canary}",
    "!touch {canary}",
    "*",
    "python3 {canary}",
    "a" * 4000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_word_of_the_configuration_is_run_by_a_shell(
    server: LoopbackSshd, folder: Path, tmp_path: Path, text: str
) -> None:
    canary = tmp_path / "canary"
    word = text.format(canary=canary)

    with SshDevice(config(server, python=word)) as device, pytest.raises(EdgeError):
        device.connect()

    assert not canary.exists()
    assert not list((folder / "home").iterdir())


def test_no_name_of_a_file_reaches_the_device(server: LoopbackSshd, folder: Path, artifact: Path) -> None:
    canary = artifact.with_name("canary")
    named = artifact.with_name("$(touch canary);`touch canary`\n.onnx;touch canary")
    named.write_bytes(artifact.read_bytes())

    with SshDevice(config(server)) as device:
        assert device.launch(named, Plan(**{**QUICK, "runs": 1}), None, Launch()).complete

    assert not canary.exists()
    assert cache_names(folder) == [".bin", "lock", "payload"]
