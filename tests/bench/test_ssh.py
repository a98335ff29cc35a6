"""A device behind a real sshd on loopback: what goes right, and every fault with words of its own and nothing left."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.bench.device import Evidence
from edge.bench.launch import Launch
from edge.bench.loopback_sshd import LoopbackSshd, missing_ssh, native_session, write_session
from edge.bench.payload import Payload
from edge.bench.plan import Plan
from edge.bench.remote import MARK
from edge.bench.ssh import SshDevice
from edge.bench.ssh_session import START, Session
from edge.runtime.errors import DeviceError, EdgeError, InputError, MissingExtraError, one_line

from .ssh_device import AGENT, QUICK, WORKER, Running, config, processes, wait_until

pytestmark = [
    pytest.mark.skipif(bool(missing_ssh()), reason=missing_ssh()),
    pytest.mark.skipif(
        sys.prefix == sys.base_prefix, reason="not in a virtual environment whose packages could be used"
    ),
]


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


def cache_names(folder: Path) -> list[str]:
    """Return what the device keeps, long names by their suffix."""
    found = (folder / "home/.cache/edge-bench").glob("*")
    return sorted(path.suffix or "payload" if len(path.stem) == 64 else path.name for path in found)


def fails(device: SshDevice, message: str) -> DeviceError:
    with device, pytest.raises(DeviceError, match=message) as caught:
        device.connect()
    assert caught.value.exit_code == 4
    line = one_line(caught.value)
    assert line.isprintable()
    assert len(line) <= 300
    assert caught.value.hint
    return caught.value


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


@pytest.fixture
def small_disk(server: LoopbackSshd, folder: Path) -> LoopbackSshd:
    """Let sessions see a home of 1 MB."""
    probe = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("this system lets no one mount a small disk")
    home = folder / "home"
    mount = f'mount -t tmpfs -o size=1m none {home} && exec sh -c "$SSH_ORIGINAL_COMMAND"'
    write_session(folder, [f"export HOME={home}", f"exec unshare --map-root-user --mount sh -c '{mount}'"])
    return server


def test_a_disk_without_room_is_told_before_anything_is_sent(small_disk: LoopbackSshd, artifact: Path) -> None:
    with (
        SshDevice(config(small_disk)) as device,
        pytest.raises(DeviceError, match="no room on `edge-loopback`") as told,
    ):
        device.launch(artifact, Plan(**QUICK), None, Launch())

    assert "17 MB" in str(told.value.expected)
    assert told.value.got == "1 MB"


def test_a_disk_that_fills_up_while_writing_is_told(small_disk: LoopbackSshd) -> None:
    content = os.urandom(4 << 20)
    order = {"do": "put", "name": hashlib.sha256(content).hexdigest() + ".bin", "size": len(content), "room": 0}
    session = Session(config(small_disk), print)
    try:
        session.greet()
        with pytest.raises(DeviceError, match="no room on"):
            session.ask(order, content)
    finally:
        session.close()


@pytest.mark.parametrize("cut", [0, 1, 50, 99])
def test_an_upload_that_is_cut_leaves_nothing(server: LoopbackSshd, folder: Path, cut: int) -> None:
    content = os.urandom(1 << 20)
    order = {"do": "put", "name": hashlib.sha256(content).hexdigest() + ".bin", "size": len(content), "room": 0}
    session = Session(config(server), print)
    session.greet()
    session._send(order, content[: len(content) * cut // 100])

    session.close()

    wait_until(lambda: cache_names(folder) == ["lock"], f"left behind: {cache_names(folder)}")


def test_a_file_that_was_changed_on_the_way_is_not_kept(server: LoopbackSshd, folder: Path) -> None:
    content = b"what was meant"
    order = {"do": "put", "name": hashlib.sha256(content).hexdigest() + ".bin", "size": len(content), "room": 0}
    session = Session(config(server), print)
    try:
        session.greet()
        with pytest.raises(DeviceError, match="arrived damaged"):
            session.ask(order, b"what has come.")
    finally:
        session.close()

    assert cache_names(folder) == ["lock"]


def test_a_worker_that_is_killed_is_told_with_its_signal_and_its_samples_stay(
    server: LoopbackSshd, folder: Path, artifact: Path
) -> None:
    with SshDevice(config(server)) as device:
        running = Running(device, artifact)
        running.wait_for_samples()
        os.kill(processes(WORKER, str(folder))[0], signal.SIGKILL)
        running.wait()

        assert isinstance(running.error, DeviceError)
        assert "killed on the device by SIGKILL" in str(running.error)
        assert "memory" in str(running.error.hint)
        assert running.launch.wall_ms
        assert not running.launch.complete
        # and the next launch connects again
        assert device.launch(artifact, Plan(**{**QUICK, "runs": 1}), None, Launch()).complete


def test_a_worker_that_takes_too_long_is_killed_on_the_device(server: LoopbackSshd, artifact: Path) -> None:
    with SshDevice(config(server, timeout_s=3.0)) as device:
        running = Running(device, artifact)
        running.wait()

    assert "did not end in time" in str(running.error)
    assert "timeout_s" in str(running.error.hint) if running.error else False


def worker_that(text: str) -> Payload:
    """Return a payload whose worker is another program."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in (("__init__.py", ""), ("bench/__init__.py", ""), ("bench/worker.py", text)):
            archive.writestr(f"edge/{name}", content)
    return Payload(content=out.getvalue(), sha256=hashlib.sha256(out.getvalue()).hexdigest(), unpacked_bytes=1000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("print('\\x1b[2Jgarbage')", "line 1 of the device's answer is not JSON"),
        ("print('[1]')", "line 1 of the device's answer is no event"),
        ("import sys; sys.stdout.write('{\"event\": ')", "the device's answer ended early"),
        ("import sys; sys.stdout.write('x' * (9 << 20))", "too long|not JSON"),
        ("import sys; sys.exit('no such thing')", "ended with 1.*no such thing"),
        ("import os; os.abort()", "killed on the device by SIGABRT"),
        ("import os; os.write(1, bytes(range(256)) * 99)", "not JSON"),
    ],
    ids=["control characters", "a list", "half a line", "9 MB in one line", "an exit", "an abort", "bytes"],
)
def test_a_worker_that_says_nonsense_is_told(
    server: LoopbackSshd, artifact: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setattr("edge.bench.ssh.code_payload", lambda: worker_that(text))
    launch = Launch()

    with SshDevice(config(server)) as device, pytest.raises(DeviceError, match=message) as caught:
        device.launch(artifact, Plan(**QUICK), None, launch)

    assert one_line(caught.value).isprintable()
    assert not launch.complete


HELLO = '{"event": "hello", "schema": 1, "environment": %s}'
STRANGE = '{"architecture": ["x"], "python": {}}'


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (["yes"], "the shell of `edge-loopback` does not stop talking"),
        ([f"echo {MARK}", "echo nonsense"], "sent what is no answer, got nonsense"),
        ([f"echo {MARK}", "echo '!{]'"], "sent what is no answer"),
        ([f"echo {MARK}", 'echo \'!{"event": "hello", "schema": 99}\''], "did not greet"),
        ([f"echo {MARK}", f"echo '!{HELLO % 3}'"], "does not say what it is"),
        (
            [f"echo {MARK}", f"echo '!{HELLO % STRANGE}'", "sleep 9"],
            "no engine can be sent",
        ),
        ([f"echo {MARK}", 'echo \'!{"event": "failed", "kind": [], "message": {}}\''], "refused"),
        ([f"echo {MARK}"], "did not start our program|ended"),
    ],
)
def test_a_device_that_is_something_else_is_told(
    server: LoopbackSshd, folder: Path, artifact: Path, says: list[str], message: str
) -> None:
    write_session(folder, [f"export HOME={folder / 'home'}", *says, "exit 0"])

    with SshDevice(config(server)) as device, pytest.raises(DeviceError, match=message) as caught:
        device.launch(artifact, Plan(**QUICK), None, Launch())

    assert one_line(caught.value).isprintable()


def test_a_second_benchmark_on_a_device_is_refused_and_the_first_goes_on(server: LoopbackSshd, artifact: Path) -> None:
    with SshDevice(config(server)) as first:
        running = Running(first, artifact)
        running.wait_for_samples()

        error = fails(SshDevice(config(server, name="other")), "another benchmark runs on")

        assert str(error.got).removeprefix("process ").isdigit()
        assert running.error is None
        first.close()
        running.wait()


def test_a_device_that_is_closed_by_another_thread_ends_its_launch(server: LoopbackSshd, artifact: Path) -> None:
    device = SshDevice(config(server))
    running = Running(device, artifact)
    running.wait_for_samples()

    device.close()
    device.close()
    running.wait()

    assert "closed here" in str(running.error)


def stop_connection(server: LoopbackSshd) -> list[int]:
    """Freeze sshd's side of all connections, so that they fall silent without an end, and return what was frozen."""
    frozen = [pid for pid in server.sessions() if b"sshd" in Path(f"/proc/{pid}/cmdline").read_bytes()[:40]]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    return frozen


def test_a_connection_that_falls_silent_leaves_the_samples_here_and_nothing_there(
    server: LoopbackSshd, folder: Path, artifact: Path
) -> None:
    with SshDevice(config(server)) as device:
        running = Running(device, artifact)
        running.wait_for_samples()
        frozen = stop_connection(server)
        try:
            running.wait(60)
            assert isinstance(running.error, DeviceError)
            assert "was lost" in str(running.error)
            assert running.launch.wall_ms
            assert running.launch.error
            # a new connection waits until the device has given up on the old one
            assert device.launch(artifact, Plan(**{**QUICK, "runs": 1}), None, Launch()).complete
            # the line is still dead, and the device has ended the worker by itself
            wait_until(lambda: not processes(WORKER, str(folder)), "the worker outlives its connection")
            assert not list((folder / "home/.cache/edge-bench").glob("run-*"))
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)


def test_when_our_program_on_the_device_is_killed_its_worker_dies_too(
    server: LoopbackSshd, folder: Path, artifact: Path
) -> None:
    with SshDevice(config(server)) as device:
        running = Running(device, artifact)
        running.wait_for_samples()
        os.kill(processes(AGENT, str(folder))[0], signal.SIGKILL)
        running.wait()

    assert "our program on `edge-loopback` ended" in str(running.error)
    assert running.launch.wall_ms


def test_a_machine_without_ssh_is_told_what_to_install(server: LoopbackSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with SshDevice(config(server)) as device, pytest.raises(MissingExtraError, match="there is no `ssh`"):
        device.connect()


DRIVER = """
import sys
from pathlib import Path
from edge.bench.config import DeviceConfig
from edge.bench.launch import Launch
from edge.bench.plan import Plan
from edge.bench.ssh import SshDevice

class Told(Launch):
    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "first_ms" and value is not None:
            print("measuring", flush=True)

device = SshDevice(DeviceConfig(name="loop", ssh=sys.argv[1], ssh_config=sys.argv[2], python=sys.executable))
plan = Plan(artifact="", engine="onnxruntime", warmup_s=0, seconds=600, stages_s=0)
try:
    device.launch(Path(sys.argv[3]), plan, None, Told())
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_ctrl_c_and_even_a_kill_here_end_what_runs_there(
    server: LoopbackSshd, folder: Path, artifact: Path, name: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, config(server).ssh, str(server.ssh_config), str(artifact)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "measuring\n"
        assert processes(WORKER, str(folder))

        process.send_signal(signal.Signals[name])
        code = process.wait(30)

    assert code == (130 if name == "SIGINT" else -signal.SIGKILL)
    wait_until(lambda: not processes(WORKER, str(folder)), "the worker outlives us")
    wait_until(lambda: not processes("ssh", str(server.ssh_config)), "our ssh outlives us")
    wait_until(lambda: not list((folder / "home/.cache/edge-bench").glob("run-*")), "a folder is left")


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


def test_no_thread_is_left_behind(server: LoopbackSshd) -> None:
    before = threading.active_count()

    with SshDevice(config(server)) as device:
        device.connect()

    assert threading.active_count() == before


@pytest.mark.slow
def test_a_minute_without_network_leaves_an_incomplete_result_and_no_process(tmp_path: Path, artifact: Path) -> None:
    own_network = ["unshare", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*own_network, "true"], check=False).returncode:
        pytest.skip("this user cannot have a network of its own")

    done = subprocess.run(
        [*own_network, sys.executable, "-m", "tests.bench.network_drop", str(tmp_path / "device"), str(artifact), "60"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    print(seen)
    assert "connection to `edge-loopback` was lost" in seen["error"]
    assert seen["samples"] > 0
    assert seen["incomplete"]
    assert seen["left"] == 0
    assert seen["folders_left"] == 0
