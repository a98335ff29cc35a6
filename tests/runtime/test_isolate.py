"""What a child process does with files that would end the main one."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.runtime import trust
from edge.runtime.card import Card
from edge.runtime.embedded import read_card
from edge.runtime.errors import ArtifactError, EdgeError, ResourceError
from edge.runtime.isolate import Limits, guard, probe

Write = Callable[..., Path]
Cards = Callable[..., Card]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def child_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that puts a Python program in the place of the child."""

    def replace(program: str) -> None:
        script = tmp_path / "child"
        script.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\n{program}\n")
        script.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(script))

    return replace


def test_a_good_file_passes_once_and_is_trusted_afterwards(write_onnx: Write) -> None:
    pytest.importorskip("onnxruntime")
    path = write_onnx()
    card = read_card(path)

    assert guard(path, card) is True
    assert guard(path, card) is False

    path.write_bytes(path.read_bytes() + b"\x1a\x00")  # an empty producer_version: the same model, other bytes
    assert guard(path, card) is True


def test_a_good_tflite_file_passes_under_the_limits(write_tflite: Write) -> None:
    pytest.importorskip("ai_edge_litert")
    path = write_tflite()

    probe(path, read_card(path))


def test_what_edge_exported_needs_no_child(write_onnx: Write, child_that: Callable[[str], None]) -> None:
    path = write_onnx()
    assert trust.trust(path)
    child_that("os._exit(99)")

    assert guard(path, read_card(path)) is False


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGFPE", "SIGBUS"])
def test_a_crash_is_an_artifact_error_and_earns_no_trust(
    name: str, write_onnx: Write, child_that: Callable[[str], None]
) -> None:
    path = write_onnx()
    child_that(
        f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), signal.{name})"
    )

    with pytest.raises(ArtifactError, match=f"crashed the engine, got {name}") as caught:
        guard(path, read_card(path))
    assert caught.value.exit_code == 2
    assert not trust.is_trusted(path)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGXCPU"])
def test_a_child_that_hits_a_limit_is_a_resource_error(
    name: str, write_onnx: Write, child_that: Callable[[str], None]
) -> None:
    path = write_onnx()
    child_that(f"os.kill(os.getpid(), signal.{name})")

    with pytest.raises(ResourceError) as caught:
        probe(path, read_card(path))
    assert caught.value.exit_code == 5


def test_bad_alloc_counts_as_memory_and_not_as_a_crash(write_onnx: Write, child_that: Callable[[str], None]) -> None:
    path = write_onnx()
    child_that("sys.stderr.write('std::bad_alloc'); sys.stderr.flush(); os.kill(os.getpid(), signal.SIGABRT)")

    with pytest.raises(ResourceError, match="memory"):
        probe(path, read_card(path))


def test_a_child_that_never_ends_is_killed(
    write_onnx: Write, child_that: Callable[[str], None], tmp_path: Path
) -> None:
    path = write_onnx()
    child_that(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)")

    class Short(Limits):
        wall_seconds = 2.0

    with pytest.raises(ResourceError, match="did not finish"):
        probe(path, read_card(path), limits=Short)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), signal.SIG_DFL)


@pytest.mark.parametrize("printed", ["", "not json", '{"kind": "SystemExit", "message": "x", "hint": null}', "[1]"])
def test_a_child_that_talks_nonsense_is_an_artifact_error(
    printed: str, write_onnx: Write, child_that: Callable[[str], None]
) -> None:
    path = write_onnx()
    child_that(f"print({printed!r}); sys.exit(3)")

    with pytest.raises(ArtifactError, match="exit status 3"):
        probe(path, read_card(path))


def test_an_error_in_the_child_keeps_its_words(write_onnx: Write, tiny_card: Cards) -> None:
    pytest.importorskip("onnxruntime")
    path = write_onnx(outputs=("other",), card=tiny_card())

    with pytest.raises(ArtifactError, match="lacks the output `raw`") as caught:
        probe(path, read_card(path))
    assert "--card" in str(caught.value.hint)


def test_a_graph_that_asks_for_terabytes_ends_under_the_limits(tmp_path: Path, tiny_card: Cards) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    ends = [helper.make_tensor_value_info(name, kinds.FLOAT, [1, 3, 8, 8]) for name in ("input", "raw")]
    nodes = [
        helper.make_node("ConstantOfShape", ["huge"], ["filled"]),
        helper.make_node("ReduceSum", ["filled"], ["sum"], keepdims=0),
        helper.make_node("Add", ["input", "sum"], ["raw"]),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [helper.make_tensor("huge", kinds.INT64, [1], [2**40])])
    path = tmp_path / "bomb.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )

    with pytest.raises(EdgeError) as caught:
        probe(path, tiny_card())
    assert caught.value.exit_code in (2, 5)


def test_a_loop_without_end_is_stopped_by_the_limit_of_cpu_time(write_endless: Callable[[], Path]) -> None:
    pytest.importorskip("onnxruntime")
    path = write_endless()

    class Short(Limits):
        cpu_seconds = 2

    with pytest.raises(ResourceError, match="at most 2 s of CPU"):
        probe(path, read_card(path), limits=Short)


def test_a_list_that_others_may_write_to_is_not_believed(write_onnx: Write, tmp_path: Path) -> None:
    path = write_onnx()
    assert trust.trust(path)
    folder = tmp_path / "cache" / "trusted"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    folder.chmod(0o777)

    assert not trust.is_trusted(path)
    assert not trust.trust(path)


def test_a_cache_that_cannot_be_written_only_costs_time(
    write_onnx: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "file" / "below"))

    assert not trust.trust(write_onnx())


def test_a_user_without_a_home_gets_no_folder_called_tilde(
    write_onnx: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it is where the user's number has no name
    monkeypatch.chdir(tmp_path)
    path = write_onnx()
    before = sorted(tmp_path.iterdir())

    assert not trust.trust(path)
    assert not trust.is_trusted(path)
    assert sorted(tmp_path.iterdir()) == before
