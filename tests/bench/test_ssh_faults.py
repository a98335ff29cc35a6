"""What goes wrong on a device behind a real sshd while it works: each fault with words of its own, and nothing left."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from edge.bench.launch import Launch
from edge.bench.loopback_sshd import LoopbackSshd, write_session
from edge.bench.payload import Payload
from edge.bench.plan import Plan
from edge.bench.remote import MARK
from edge.bench.ssh import SshDevice
from edge.bench.ssh_session import Session
from edge.runtime.errors import DeviceError, one_line

from .ssh_device import AGENT, NEEDS_SSH, QUICK, WORKER, Running, cache_names, config, fails, processes, wait_until

pytestmark = NEEDS_SSH


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
