"""Mutated files: whatever is in them, loading and running ends in a result or an EdgeError, or dies in the child.

The reliability bar, SEC-1 and SEC-2. A fork server tries each mutant, and those that kill it there are replayed through
`isolate.guard`, which must refuse them. `EDGE_FUZZ=15` makes fifteen times as many, for a nightly run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.runtime import Pipeline
from edge.runtime.embedded import read_card
from edge.runtime.errors import ArtifactError, EdgeError, ResourceError
from edge.runtime.isolate import Limits, guard

from .fuzz_mutants import CRASHERS, crasher, mutate
from .fuzz_seeds import SEEDS, make_seed

for _needed in ("onnx", "onnxruntime", "flatbuffers", "ai_edge_litert.schema_py_generated", "resource"):
    pytest.importorskip(_needed)

COUNTS = {"bytes": 200, "structure": 100}
TIMES = int(os.environ.get("EDGE_FUZZ", "1"))


class Short(Limits):
    """Enough for any seed a hundred times over."""

    cpu_seconds = 10


class Server:
    """The fork server in its process."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("fuzz_server.py")
        self._child = subprocess.Popen(
            [sys.executable, "-P", os.fspath(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def ask(self, path: Path) -> tuple[str, str]:
        """Return the verdict on a file, and more."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{path}\n")
        self._child.stdin.flush()
        answer = json.loads(self._child.stdout.readline())
        return answer["verdict"], answer["what"]

    def close(self) -> int:
        """End it; return its exit status."""
        self._child.communicate(timeout=60)
        return self._child.returncode


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    assert made.close() == 0  # it has outlived every mutant


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))


def suffix(name: str) -> str:
    return "." + name.split("-")[0]


@pytest.mark.parametrize("name", SEEDS)
def test_a_seed_is_small_repeatable_and_finds_faces(name: str, server: Server, tmp_path: Path) -> None:
    seed = make_seed(name)
    path = tmp_path / f"seed{suffix(name)}"
    path.write_bytes(seed)

    with Pipeline.load(path, threads=1, threshold=0.0) as pipeline:
        faces = pipeline(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).faces

    assert len(seed) < 10_000
    assert make_seed(name) == seed
    assert faces
    assert server.ask(path) == ("ok", "")


@pytest.mark.parametrize("how", COUNTS)
@pytest.mark.parametrize("name", SEEDS)
def test_no_mutant_raises_anything_but_an_edge_error_or_passes_the_guard_that_dies(
    name: str, how: str, server: Server, tmp_path: Path
) -> None:
    seed = make_seed(name)
    path = tmp_path / f"mutant{suffix(name)}"
    verdicts: dict[str, int] = {}
    wrong: list[str] = []
    for index in range(COUNTS[how] * TIMES):
        path.write_bytes(mutate(name, seed, how, index))
        verdict, what = server.ask(path)
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
        if verdict == "leaked":
            wrong.append(f"{index}: {what}")
        elif verdict in ("died", "hung"):
            try:
                guard(path, read_card(path), limits=Short)
                wrong.append(f"{index}: {what}, and the guard let it pass")
            except (ArtifactError, ResourceError):
                pass
            except Exception as error:
                wrong.append(f"{index}: {what}, and the guard said {error!r}")

    assert wrong == []
    assert verdicts["refused"] > 0  # the mutants do reach what they should,
    assert verdicts["ok"] > 0  # and are not all turned away at the door


@pytest.mark.parametrize("what", CRASHERS)
def test_a_file_that_kills_the_engine_kills_the_child_only(what: str, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "crasher.tflite"
    path.write_bytes(crasher(make_seed("tflite-int8"), what))

    assert server.ask(path)[0] == "died"
    with pytest.raises(ArtifactError, match="crashed the engine") as caught:
        guard(path, read_card(path), limits=Short)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("what", CRASHERS[1:])
def test_edge_run_answers_such_a_file_with_one_line(what: str, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    path, picture = tmp_path / "crasher.tflite", tmp_path / "picture.png"
    path.write_bytes(crasher(make_seed("tflite-int8"), what))
    image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(picture)

    done = subprocess.run(
        [sys.executable, "-P", "-m", "edge", "run", path, picture], capture_output=True, text=True, timeout=300
    )

    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("error: `crasher.tflite` crashed the engine")
    assert done.stderr.count("\n") == 1


def test_the_server_tells_a_leaked_exception_from_an_edge_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from . import fuzz_server

    raised: list[Exception] = [KeyError("gone"), ArtifactError("refused"), MemoryError()]

    def load(*_: object, **__: object) -> None:
        raise raised[0]

    monkeypatch.setattr(Pipeline, "load", load)
    verdicts = []
    while raised:
        verdicts.append(fuzz_server.attempt(os.fspath(tmp_path))[0])
        raised.pop(0)

    assert verdicts == ["leaked", "refused", "leaked"]
    assert issubclass(ArtifactError, EdgeError)
