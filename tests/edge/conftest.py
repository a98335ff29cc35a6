"""A command line as a user types it, and what the tests of `edge run` share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.cli import main
from edge.runtime.card import AudioSpec, Card, DecoderSpec, InputSpec, OutputSpec


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line; returns exit code, stdout, stderr."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give one test a cache in which nothing was measured or trusted before."""
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let SIGINT interrupt this process and its children, even if these tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder with two pictures and a text file that no picture suffix names."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, name in enumerate(["b.jpg", "a.png"]):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def listener(tmp_path: Path) -> Path:
    """Return an ONNX file that hears half a second of sound at 8 kHz and gives an emotion."""
    spec = AudioSpec(sample_rate=8000, seconds=0.5, n_fft=256, hop=64, mels=16, fmax=4000.0)
    card = Card(
        model="heard",
        input=InputSpec(shape=(1, 3, 8, 8), kind="audio", colour="RGB", audio=spec),
        outputs=(OutputSpec(name="raw", shape=(1, 2)),),
        decoder=DecoderSpec(name="valence-arousal"),
    )
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Reshape", ["mean", "three"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["product"]),
        helper.make_node("Tanh", ["product"], ["raw"]),
    ]
    ends = [
        helper.make_tensor_value_info("input", kinds.FLOAT, [1, 3, 8, 8]),
        helper.make_tensor_value_info("raw", kinds.FLOAT, [1, 2]),
    ]
    weights = [
        helper.make_tensor("three", kinds.INT64, [2], [1, 3]),
        helper.make_tensor("weights", kinds.FLOAT, [3, 2], [1.0, -1.0] * 3),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(model, {"edge.card": card.to_json()})
    path = tmp_path / "heard.onnx"
    path.write_bytes(model.SerializeToString())
    return path
