"""The browser device with a real Chromium: results, overlays, and what is said when something breaks."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.bench.browser import BrowserDevice, visit
from edge.bench.device import Evidence
from edge.bench.keeper import children
from edge.bench.launch import Launch
from edge.bench.plan import Plan
from edge.runtime.card import ParityLimit
from edge.runtime.decode import decode
from edge.runtime.errors import DeviceError, EdgeError, InputError, MissingExtraError, ParityError, one_line
from edge.runtime.preprocess import prepare

from .browser_help import (
    FACES,
    PEOPLE,
    card_with,
    crowd_outputs,
    need_browser,
    people_outputs,
    sound_card,
    write_known,
    write_picture,
)

SILENCE_S = 300.0


@pytest.fixture
def no_orphans() -> Iterator[None]:
    """Check that a test leaves no process behind."""
    before = set(children(os.getpid()))
    yield
    assert set(children(os.getpid())) - before == set()


pytestmark = pytest.mark.usefixtures("no_orphans")


@pytest.mark.slow
def test_a_pose_file_is_measured_compared_and_drawn(tmp_path: Path) -> None:
    need_browser("onnxruntime")
    outputs = people_outputs(3)
    card = card_with(outputs, family="pose", decoder=PEOPLE, side=128)
    artifact, source = write_known(tmp_path / "pose.onnx", card, outputs), write_picture(tmp_path / "picture.npz")
    device = BrowserDevice(silence_s=SILENCE_S)

    launch = device.launch(artifact, _short("onnxruntime"), source, Launch())

    assert device.evidence is Evidence.MEASURED
    assert launch.complete
    assert launch.engine == {"name": "onnxruntime-web", "version": "1.30.0", "threads": 1}
    assert len(launch.wall_ms) >= 20
    assert launch.cpu_ms == []
    assert len(launch.pre_ms) == len(launch.infer_ms) == len(launch.decode_ms) >= 20
    assert launch.batch > 1  # an inference of this file is far below 200 ticks of the clock
    told = launch.started["browser"]
    assert told["cross_origin_isolated"] is True
    assert 0 < told["timer_resolution_ms"] <= 0.1
    assert told["preprocessing"] == "browser"
    assert launch.started["cores"] == os.cpu_count()
    assert launch.peak_rss_bytes is None or launch.peak_rss_bytes > 20e6
    assert {name: figures["max_error"] <= 1e-4 for name, figures in launch.agreement.items()} == {
        "heatmaps": True,
        "pafs": True,
    }

    answer = device.answer(artifact, source)

    picture = np.load(source)["picture"]
    tensor, geometry = prepare(picture, card.input)
    assert np.abs(answer.tensor - tensor).max() <= 1.001
    people = decode(card, answer.outputs, geometry).people
    assert len(answer.result["people"]) == len(people) > 0
    drawn = _pixels(answer.overlay)
    zoom = drawn.shape[1] // picture.shape[1]
    changed = np.any(drawn[::zoom, ::zoom] != picture, axis=2)
    assert 0.01 < changed.mean() < 0.7  # limbs, not the picture


@pytest.mark.slow
def test_a_face_file_is_drawn_and_refused_where_its_outputs_are_too_far_off(tmp_path: Path) -> None:
    need_browser("onnxruntime")
    outputs = crowd_outputs(6)
    card = card_with(outputs, family="face", decoder=FACES, side=320, parity={"fp32": ParityLimit(min_sqnr_db=500.0)})
    artifact, source = write_known(tmp_path / "face.onnx", card, outputs), write_picture(tmp_path / "p.npz", (640, 480))
    device = BrowserDevice(silence_s=SILENCE_S)
    launch = Launch()

    with pytest.raises(ParityError, match=r"`face.onnx` gives other numbers in the browser than on the host.*500"):
        device.launch(artifact, _short("onnxruntime"), source, launch)

    assert len(launch.wall_ms) >= 20  # what was measured is kept
    assert _pixels(device.overlay(artifact, source)).shape == (640, 480, 3)


@pytest.mark.slow
def test_an_emotion_file_gets_its_tensor_from_python_and_says_so(tmp_path: Path) -> None:
    need_browser("onnxruntime")
    card = sound_card()
    outputs = {"valence_arousal": np.array([[0.5, -0.25]], np.float32)}
    artifact, source = write_known(tmp_path / "emotion.onnx", card, outputs), tmp_path / "sound.npz"
    samples = np.sin(np.arange(22050) * 0.1).astype(np.float32)
    np.savez(source, samples=samples, rate=22050)
    device = BrowserDevice(silence_s=SILENCE_S)

    launch = device.launch(artifact, _short("onnxruntime"), source, Launch())
    answer = device.answer(artifact, source)

    assert launch.pre_ms == []
    assert len(launch.infer_ms) == len(launch.decode_ms) >= 20
    assert launch.started["browser"]["preprocessing"].startswith("host")
    assert answer.result["emotion"]["quadrant"] == "calm"
    assert _pixels(answer.overlay).shape == (720, 720, 3)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_a_tflite_file_runs_by_litert_with_the_threads_of_the_plan(
    write_tflite: Callable[..., Path], threads: int
) -> None:
    need_browser("litert")
    device = BrowserDevice(silence_s=SILENCE_S)

    launch = device.launch(write_tflite(), _short("litert", threads=threads), None, Launch())

    assert launch.engine == {"name": "litert.js", "version": "2.5.3", "threads": threads}
    assert launch.pre_ms == launch.infer_ms == launch.decode_ms == []
    assert launch.agreement["raw"]["max_error"] <= 1e-6


@pytest.mark.slow
def test_a_strict_run_times_every_query_by_itself_and_no_frames(
    write_onnx: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_browser("onnxruntime")
    monkeypatch.setattr("edge.bench.plan.STRICT_S", 0.2)  # ten minutes else
    plan = _short("onnxruntime", strict=True)

    launch = BrowserDevice(silence_s=SILENCE_S).launch(write_onnx(), plan, write_picture(tmp_path / "p.npz"), Launch())

    assert launch.batch == 1
    assert len(launch.wall_ms) >= 1024
    assert launch.infer_ms == []


@pytest.mark.slow
def test_the_browser_asks_nobody_but_its_server(write_onnx: Callable[..., Path], tmp_path: Path) -> None:
    need_browser("onnxruntime")
    log = tmp_path / "net.json"
    device = BrowserDevice(silence_s=SILENCE_S, options=(f"--log-net-log={log}", "--net-log-capture-mode=Everything"))

    device.launch(write_onnx(), _short("onnxruntime"), None, Launch())

    asked = set(re.findall(r'"url":"([a-z]+://[^/"]*)', log.read_text(errors="replace")))
    servers = {url for url in asked if re.fullmatch(r"http://127\.0\.0\.1:\d+", url)}
    assert servers - {"http://127.0.0.1:1"}  # port 1 stands in for its maker's servers, and nobody listens there
    assert {url for url in asked - servers if not url.startswith(("chrome", "data:"))} == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message"),
    [(b"--type=renderer", "the page in the browser crashed"), (b"--headless=new", "the browser ended|page .* crashed")],
)
def test_a_browser_that_is_killed_in_the_middle_is_one_line_and_keeps_its_samples(
    write_onnx: Callable[..., Path], kind: bytes, message: str
) -> None:
    need_browser("onnxruntime")
    launch = Launch()
    device = BrowserDevice(silence_s=SILENCE_S)
    plan = Plan(artifact="", engine="onnxruntime", seconds=3000.0, warmup_s=0.0)

    def kill() -> None:
        while not launch.wall_ms:
            time.sleep(0.1)
        for process in children(os.getpid()):
            command = Path(f"/proc/{process}/cmdline").read_bytes()
            if (
                kind in command
                and (kind == b"--type=renderer" or b"--type=" not in command)
                and b"keeper" not in command
            ):
                os.kill(process, signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    with pytest.raises(DeviceError, match=message) as failure:
        device.launch(write_onnx(), plan, None, launch)
    thread.join()

    assert failure.value.exit_code == 4
    assert launch.wall_ms
    assert "\n" not in one_line(failure.value)


@pytest.mark.slow
def test_closing_the_device_from_another_thread_ends_the_launch(write_onnx: Callable[..., Path]) -> None:
    need_browser("onnxruntime")
    launch, device = Launch(), BrowserDevice(silence_s=SILENCE_S)

    def close() -> None:
        while not launch.wall_ms:
            time.sleep(0.1)
        device.close()

    thread = threading.Thread(target=close, daemon=True)
    thread.start()
    with pytest.raises(DeviceError):
        device.launch(write_onnx(), Plan(artifact="", engine="onnxruntime", seconds=3000.0), None, launch)
    thread.join()

    assert launch.wall_ms
    device.close()


@pytest.mark.slow
def test_a_killed_parent_takes_the_browser_along(write_onnx: Callable[..., Path]) -> None:
    need_browser("onnxruntime")
    code = (
        "import sys; from pathlib import Path; from edge.bench.browser import BrowserDevice, Launch, Plan\n"
        "plan = Plan(artifact='', engine='onnxruntime', seconds=3000.0)\n"
        "BrowserDevice().launch(Path(sys.argv[1]), plan, None, Launch())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(write_onnx())], cwd=Path(__file__).parents[2])
    try:
        while len(family := children(parent.pid)) < 4:  # the keeper, the browser and its helpers
            assert parent.poll() is None
            time.sleep(0.1)
        profiles = {word for process in family for word in _command(process) if word.startswith("--user-data-dir=")}
    finally:
        parent.kill()
        parent.wait()

    _until_gone(family)
    assert profiles
    assert [p for p in profiles if Path(p.partition("=")[2]).exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        ({"kind": "nonsense"}, DeviceError, "the page failed"),
        ({"kind": "answer", "artifact": b"not a model"}, InputError, "onnxruntime-web refused the file"),
    ],
)
def test_a_page_that_fails_says_why_in_one_line(job: dict[str, Any], error: type[EdgeError], message: str) -> None:
    program = need_browser("onnxruntime")
    from edge.bench.web_engines import engine_files

    card = sound_card()
    values = {
        "schema": 1,
        "plan": {"engine": "onnxruntime", "threads": 1},
        "card": card.to_dict(),
        "engine": {"name": "onnxruntime-web"},
        "kind": job["kind"],
    }
    files = {
        **engine_files("onnxruntime"),
        "job.json": json.dumps(values).encode(),
        "artifact.bin": job.get("artifact", b""),
        "tensor.bin": np.zeros(card.input.shape, np.float32).tobytes(),
    }

    with visit(program, files, {}) as page, pytest.raises(error, match=message) as failure:
        list(page.events(SILENCE_S))

    assert failure.value.exit_code in (2, 4)


def test_without_a_browser_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("EDGE_CHROMIUM", raising=False)

    with pytest.raises(DeviceError, match="no browser on the path") as failure:
        BrowserDevice()

    assert "apt-get install chromium" in one_line(failure.value)


def test_a_browser_that_is_named_and_is_none_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_CHROMIUM", "/nowhere/chromium")

    with pytest.raises(DeviceError, match="`/nowhere/chromium` is no program"):
        BrowserDevice()


def test_without_the_engine_the_error_names_the_command_that_fetches_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write_onnx: Callable[..., Path]
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))

    with pytest.raises(MissingExtraError, match="onnxruntime-web") as failure:
        BrowserDevice("/bin/sh").launch(write_onnx(), Plan(artifact="", engine="onnxruntime"), None, Launch())

    assert "python -m edge.bench.web_engines" in one_line(failure.value)


def test_a_browser_that_never_answers_is_given_up(tmp_path: Path) -> None:
    program = _program(tmp_path, "exec sleep 1000")

    with (
        visit(program, {}, {}) as page,
        pytest.raises(DeviceError, match=r"does not answer, expected a line every 1 s"),
    ):
        list(page.events(1.0))


def test_a_browser_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    program = _program(tmp_path, "echo cannot open display >&2; exit 3")

    with visit(program, {}, {}) as page, pytest.raises(DeviceError, match=r"ended before.*cannot open display"):
        list(page.events(60.0))


def _short(engine: str, *, threads: int = 1, strict: bool = False) -> Plan:
    return Plan(
        artifact="",
        engine=engine,
        threads=threads,
        strict=strict,
        seconds=0.2,
        warmup_s=0.1,
        stages_s=0.2,
        runs=20,
    )


def _program(folder: Path, line: str) -> str:
    path = folder / "browser"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o700)
    return str(path)


def _pixels(png: bytes | None) -> Any:
    image = pytest.importorskip("PIL.Image")
    assert png is not None
    return np.asarray(image.open(io.BytesIO(png)).convert("RGB"))


def _command(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _until_gone(processes: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(_command(process) for process in processes):
        assert time.monotonic() < deadline, [_command(process)[:1] for process in processes]
        time.sleep(0.1)
