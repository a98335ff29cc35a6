"""The harness in a process of its own, on real files and both real engines."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest

from edge.bench.device import Evidence
from edge.bench.host import HostDevice
from edge.bench.launch import Launch, read_launch
from edge.bench.plan import Plan
from edge.runtime.errors import CardError, DeviceError, InputError

QUICK = {"warmup_s": 0.0, "seconds": 0.0, "runs": 20, "stages_s": 0.0}


def plan(**changes: Any) -> Plan:
    return Plan(**{"artifact": "", "engine": "onnxruntime", **QUICK, **changes})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A picture as the harness takes it."""
    path = tmp_path / "source.npz"
    np.savez(path, picture=np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    return path


@pytest.mark.parametrize("engine", ["onnxruntime", "litert"])
def test_both_engines_are_measured_in_a_process_of_their_own(
    engine: str, write_onnx: Callable[..., Path], write_tflite: Callable[..., Path], source: Path
) -> None:
    path = write_onnx() if engine == "onnxruntime" else write_tflite()

    launch = HostDevice().launch(path, plan(engine=engine, stages_s=0.01), source, Launch())

    assert launch.complete
    assert launch.engine["name"] == engine
    assert len(launch.wall_ms) == len(launch.cpu_ms) == 20
    assert len(launch.pre_ms) == len(launch.infer_ms) == len(launch.decode_ms) >= 20
    assert min(launch.wall_ms) > 0
    assert launch.started["python"]
    assert launch.ended["cores"] == os.cpu_count()
    assert launch.import_ms is not None
    assert launch.load_ms is not None
    assert launch.first_ms is not None


def test_without_a_source_inference_alone_is_measured(write_onnx: Callable[..., Path]) -> None:
    launch = HostDevice().launch(write_onnx(), plan(stages_s=1.0), None, Launch())

    assert launch.wall_ms
    assert launch.pre_ms == []


def test_a_process_is_held_to_the_cpus_it_is_told(write_onnx: Callable[..., Path]) -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system cannot pin")
    cpu = max(os.sched_getaffinity(0))

    launch = HostDevice().launch(write_onnx(), plan(pin=(cpu,)), None, Launch())

    assert launch.started["affinity"] == [cpu]


def test_a_cpu_that_is_not_there_is_refused(write_onnx: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="cannot pin"):
        HostDevice().launch(write_onnx(), plan(pin=(4095,)), None, Launch())


def test_a_damaged_file_is_refused_as_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no model")

    with pytest.raises(InputError, match="no model file"):
        HostDevice().launch(path, plan(), None, Launch())


def test_a_source_that_is_none_is_refused(write_onnx: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "source.npz"
    np.savez(path, other=np.zeros(3))

    with pytest.raises(InputError, match="no source of a benchmark"):
        HostDevice().launch(write_onnx(), plan(), path, Launch())


def test_what_hangs_is_killed_and_told(write_endless: Callable[[], Path]) -> None:
    with pytest.raises(DeviceError, match=r"did not end within .* and was killed"):
        HostDevice(patience_s=4).launch(write_endless(), plan(), None, Launch())
    assert not children()


def test_a_worker_that_is_killed_leaves_its_samples_and_the_signal(write_onnx: Callable[..., Path]) -> None:
    launch = Launch()

    def kill() -> None:
        while not launch.wall_ms:
            time.sleep(0.01)
        for child in children():
            child.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(DeviceError, match="killed by signal 9"):
        HostDevice().launch(write_onnx(), plan(seconds=60.0), None, launch)
    killer.join()

    assert launch.wall_ms


def children() -> list[psutil.Process]:
    """Return the workers of this process that live."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "edge.bench.worker" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
    return found


def worker(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge.bench.worker"], input=text, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "not a table"),
        ('{"engine": "litert"}', "lacks the key"),
        ('{"artifact": "x", "engine": "litert", "runz": 3}', "did you mean `runs`"),
        ('{"artifact": "x", "engine": "tensorrt"}', "unknown engine"),
        ('{"artifact": "/none.onnx", "engine": "litert"}', "does not exist"),
    ],
)
def test_a_worker_tells_in_band_what_it_refuses(text: str, words: str) -> None:
    done = worker(text)
    last = json.loads(done.stdout.splitlines()[-1])

    assert done.returncode == last["exit_code"] == 2
    assert last["event"] == "failed"
    assert words in last["message"]
    assert "Traceback" not in done.stderr


def test_a_worker_needs_neither_torch_nor_click(write_onnx: Callable[..., Path]) -> None:
    text = json.dumps(plan(artifact=str(write_onnx())).to_dict())
    code = (
        "import sys, runpy\n"
        "class No:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.split('.')[0] in ('torch', 'click', 'tensorflow', 'onnx', 'rich', 'psutil', 'scipy'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, No())\n"
        "sys.argv = ['worker']\n"
        "runpy.run_module('edge.bench.worker', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, check=False)

    assert read_launch(done.stdout.splitlines(), Launch()).complete, done.stderr


@pytest.mark.parametrize(
    "bad",
    [{"runs": 0}, {"seconds": -1.0}, {"seconds": float("nan")}, {"threads": 0}, {"pin": (1, 1)}, {"pin": (-1,)}],
)
def test_a_plan_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        plan(**bad)


def test_plans_survive_json() -> None:
    full = plan(artifact="a.onnx", source="b.npz", pin=(0, 3), strict=True)

    assert Plan.from_dict(json.loads(json.dumps(full.to_dict()))) == full
    assert full.least == (1024, 600.0)
    with pytest.raises(CardError, match="unknown key"):
        Plan.from_dict({**full.to_dict(), "speed": 1})


def test_this_machine_is_measured() -> None:
    assert HostDevice().evidence is Evidence.MEASURED
