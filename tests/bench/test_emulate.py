"""Artifacts on their aarch64 engines in emulation, and what is told when that fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge.bench import emulation_counts
from edge.bench.arm64_userland import Userland, default_folder, open_userland
from edge.bench.emulate import emulate, main
from edge.bench.emulation_counts import Counts, cache_key, counts
from edge.bench.emulator import Limits, _death, command_line, plugin_option, run_in_emulation
from edge.runtime.embedded import read_card
from edge.runtime.engines import noise_input
from edge.runtime.errors import DeviceError, EdgeError, ResourceError, ShapeError, one_line
from edge.runtime.trust import private_folder

BUILT = default_folder()  # of the user's own cache; the tests get another one later
COUNTS = Counts(
    insns=55,
    simd_fma=1,
    simd_intmul=2,
    simd_other=3,
    ld_vec=4,
    st_vec=5,
    ld_gpr=6,
    st_gpr=7,
    branch=8,
    int_mul=9,
    other=10,
    simd_fma_plain=1,
    mem=30,
    l1d_miss=3,
    l2_miss=2,
    engine="litert",
    engine_version="2.3.0",
    qemu="7.2.22",
)


@pytest.fixture
def userland() -> Userland:
    """Return the userland that the command built, or skip."""
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("needs qemu-aarch64, of Debian 12's qemu-user")
    try:
        found = open_userland(BUILT)
        for engine in ("onnxruntime", "litert"):
            found.engine_version(engine)
    except DeviceError as exc:
        pytest.skip(f"needs `python -m edge.bench.arm64_userland`: {exc}")
    return found


@pytest.fixture
def plain_userland(tmp_path: Path) -> Userland:
    """Return the description of a userland that is not there."""
    return Userland(root=tmp_path / "a, root", packages={}, wheels={}, digest="d" * 64)


def test_the_command_line_ends_with_the_parent_and_has_limits(plain_userland: Userland) -> None:
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("needs qemu-aarch64, of Debian 12's qemu-user")

    command = command_line(plain_userland, Path("/o.json"), plugin="p.so,out=c", memory_bytes=7, file_bytes=5)

    names = [Path(word).name for word in command]
    assert names[:4] == ["prlimit", "--as=7", "--fsize=5", "--core=0"]
    assert names[4:7] == ["setpriv", "--pdeathsig", "KILL"]
    assert command[8:10] == ["-cpu", "cortex-a72"]
    assert command[command.index("-plugin") + 1] == "p.so,out=c"
    assert command[-1] == "/o.json"


def test_a_comma_in_a_path_is_doubled_for_qemu() -> None:
    assert plugin_option(Path("/a,b/c.so"), out="/t,/x") == "/a,,b/c.so,out=/t,,/x"


def test_counts_survive_json() -> None:
    assert Counts.from_dict(json.loads(json.dumps(COUNTS.to_dict()))) == COUNTS


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"insns": 54},
        {"l2_miss": 4},
        {"simd_fma_plain": 4},
        {"mem": -1},
        {"mem": 30.0},
        {"mem": True},
        {"engine": 3},
        {"more": 1},
    ],
)
def test_counts_that_contradict_themselves_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"schema|add up|misses|is "):
        Counts.from_dict({**COUNTS.to_dict(), **change})


def test_counts_are_kept_under_all_that_they_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {cache_key(*digests) for digests in (("a", "b", "c"), ("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x"))}
    monkeypatch.setattr(emulation_counts, "FLAGS", ("-O1",))
    keys.add(cache_key("a", "b", "c"))
    monkeypatch.setattr(emulation_counts, "SEED", "2")
    keys.add(cache_key("a", "b", "c"))

    assert len(keys) == 6


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', json.dumps({**COUNTS.to_dict(), "insns": 1})])
def test_damaged_counts_in_the_cache_are_not_believed(content: str) -> None:
    emulation_counts._keep("k", COUNTS)
    assert emulation_counts._kept("k") == COUNTS
    private_folder("emulation-counts").joinpath("k.json").write_text(content, encoding="utf-8")

    assert emulation_counts._kept("k") is None


def test_without_a_userland_the_command_that_builds_it_is_named(write_onnx: Callable[..., Path]) -> None:
    done = CliRunner().invoke(main, [str(write_onnx())])

    assert done.exit_code == 4
    assert done.stderr.count("\n") == 1
    assert "there is no aarch64 userland" in done.stderr
    assert "`python -m edge.bench.arm64_userland`" in done.stderr


@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.tflite"])
@pytest.mark.slow
def test_a_tiny_network_answers_the_same_in_emulation(
    name: str, userland: Userland, write_onnx: Callable[..., Path], write_tflite: Callable[..., Path]
) -> None:
    path = (write_onnx if name.endswith("onnx") else write_tflite)(name)
    tensor = noise_input(read_card(path))

    found = emulate(path, [tensor], userland=userland)

    assert found.agrees
    assert [item.verdict for item in found.agreements] == ["bit-equal"]
    np.testing.assert_array_equal(found.outputs[0]["raw"], tensor + 1)
    told = found.to_dict()
    assert told["evidence"] == "simulated"
    assert not any("ms" in key or "time" in key or "second" in key for key in (*told, *told["ran"]))


@pytest.mark.slow
def test_counts_repeat_and_are_kept(userland: Userland, write_tflite: Callable[..., Path]) -> None:
    path = write_tflite()

    first = counts(path, userland=userland)
    said: list[str] = []
    kept = counts(path, userland=userland, log=said.append)
    again = counts(path, userland=userland, fresh=True, log=said.append)

    assert kept == first
    assert len(said) == 1  # the second asked the cache
    assert (again.simd_fma, again.simd_fma_plain, again.simd_intmul) == (
        first.simd_fma,
        first.simd_fma_plain,
        first.simd_intmul,
    )
    assert again.insns == pytest.approx(first.insns, rel=5e-4)
    assert first.simd_other >= 8 * 8 * 3 // 4  # the sums of the network, four at a time


@pytest.mark.slow
def test_a_file_that_never_ends_is_stopped_and_leaves_no_process(
    userland: Userland, write_endless: Callable[[], Path]
) -> None:
    path = write_endless()
    card = read_card(path)

    with pytest.raises(ResourceError, match="did not finish in emulation, expected at most 20 s"):
        run_in_emulation(path, card, [noise_input(card)], userland, limits=Limits(wall_seconds=20))

    assert emulated_processes(path) == []


@pytest.mark.slow
def test_killing_the_parent_leaves_no_emulated_process(userland: Userland, write_endless: Callable[[], Path]) -> None:
    path = write_endless()
    code = (
        "import sys; from pathlib import Path; from edge.bench.arm64_userland import open_userland;"
        "from edge.bench.emulator import run_in_emulation; from edge.runtime.embedded import read_card;"
        "from edge.runtime.engines import noise_input; path = Path(sys.argv[1]); card = read_card(path);"
        "run_in_emulation(path, card, [noise_input(card)], open_userland(Path(sys.argv[2])))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(path), str(userland.root)])
    try:
        child = eventually(lambda: emulated_processes(path))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()

    assert child
    assert eventually(lambda: not emulated_processes(path))


@pytest.mark.slow
def test_an_engine_that_refuses_the_file_is_told_in_one_line(
    userland: Userland, write_onnx: Callable[..., Path]
) -> None:
    path = write_onnx()
    card = read_card(path)
    path.write_bytes(path.read_bytes().replace(b"Add", b"Bdd"))

    with pytest.raises(
        EdgeError, match=r"the aarch64 engine gave up on `tiny.onnx`, got InvalidGraph: .*Bdd"
    ) as caught:
        run_in_emulation(path, card, [noise_input(card)], userland)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "log", "line"),
    [
        (
            -4,
            "qemu: uncaught",
            "error: `x.onnx` met an instruction that a cortex-a72 does not have, got SIGILL; hint: ",
        ),
        (-11, "", "error: `x.onnx` crashed its engine in emulation, got SIGSEGV"),
        (-9, "", "error: `x.onnx` was killed in emulation, got SIGKILL; hint: is memory short?"),
        (None, "", "error: `x.onnx` did not finish in emulation, expected at most 1800 s"),
        (1, "Traceback\nMemoryError", "error: `x.onnx` ran out of memory in emulation, got MemoryError"),
        (1, "Traceback\na.b.Fail: no a.b: c", "error: the aarch64 engine gave up on `x.onnx`, got Fail: no a.b: c"),
        (1, "counts: expected out=FILE", "error: QEMU does not load the counting plug-in, got counts: expected"),
        (127, "no such loader", "error: the emulation of `x.onnx` failed, got exit status 127: no such loader"),
    ],
)
def test_each_death_is_one_line(code: int | None, log: str, line: str) -> None:
    assert one_line(_death("x.onnx", code, log, Limits())).startswith(line)


def test_an_input_of_another_shape_is_refused_before_anything_runs(
    plain_userland: Userland, write_onnx: Callable[..., Path]
) -> None:
    path = write_onnx()

    with pytest.raises(ShapeError, match=r"`tiny` takes another tensor, expected float32 \(1, 3, 8, 8\)"):
        run_in_emulation(path, read_card(path), [np.zeros((1, 3, 8, 9), np.float32)], plain_userland)


def test_an_engine_of_another_version_is_refused(plain_userland: Userland) -> None:
    other = replace(plain_userland, wheels={"onnxruntime": "0.1"})

    with pytest.raises(DeviceError, match=r"another onnxruntime than this machine, expected .*, got 0\.1"):
        other.engine_version("onnxruntime")


def emulated_processes(artifact: Path) -> list[int]:
    """Return the processes that emulate a run of this artifact, which their orders name."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            order = next((word for word in words if word.endswith(b"order.json")), None)
            if order is not None and os.fsencode(artifact) in Path(os.fsdecode(order)).read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def eventually(what: Callable[[], object]) -> object:
    """Return the first true answer, or the last one after two minutes."""
    answer = what()
    for _ in range(1200):
        if answer:
            break
        time.sleep(0.1)
        answer = what()
    return answer
