"""A unit that never fires must not take the engine along."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.export.tflite_ranges import check_factors, widen_points
from edge.runtime.card import Card, InputSpec, OutputSpec
from edge.runtime.errors import ConversionError

torch = pytest.importorskip("torch")
pytest.importorskip("ai_edge_quantizer")
pytest.importorskip("litert_torch")

LOAD = (
    "import sys; from ai_edge_litert.interpreter import Interpreter; "
    "made = Interpreter(model_path=sys.argv[1]); made.allocate_tensors(); print('runs')"
)


@pytest.fixture(scope="module")
def dead(convert_module: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a float TFLite file with a convolution whose ReLU is zero on every input of 0..1."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1)
    ).eval()
    with torch.no_grad():
        net[2].bias.fill_(-50.0)
    card = Card(
        model="dead",
        input=InputSpec(name="picture", shape=(1, 3, 8, 8), mean=(0.0,) * 3, std=(1.0,) * 3),
        outputs=(OutputSpec(name="answer", shape=(1, 2, 8, 8), layout="NCHW"),),
    )
    path: Path = convert_module(net, card, tmp_path_factory.mktemp("dead"), "litert-torch").path
    return path


def _samples(count: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.uniform(0, 1, (1, 8, 8, 3)).astype(np.float32) for _ in range(count)]


def test_a_network_with_a_dead_layer_quantises_to_a_file_that_runs(dead: Path, tmp_path: Path) -> None:
    from edge.export.tflite_quant import candidates, quantise

    for recipe in candidates(dead, "int8"):
        out = tmp_path / f"{recipe.name}.tflite"
        quantise(dead, recipe, _samples(4), out)
        done = subprocess.run([sys.executable, "-c", LOAD, str(out)], capture_output=True, text=True, check=False)
        assert done.stdout == "runs\n", (recipe.name, done.returncode, done.stderr[-200:])


def test_ranges_of_points_become_wide_and_others_stay() -> None:
    ranges = {
        "dead": {"min": np.array([[0.0]], np.float32), "max": np.array([[0.0]], np.float32)},
        "constant": {"min": np.array([[2.0]], np.float32), "max": np.array([[2.0]], np.float32)},
        "alive": {"min": np.array([[-1.0]], np.float32), "max": np.array([[0.5]], np.float32)},
        "unseen": {},
    }
    widen_points(ranges)

    assert ranges["dead"]["max"].item() == 1.0
    assert ranges["constant"]["max"].item() == 2.0
    assert (ranges["alive"]["min"].item(), ranges["alive"]["max"].item()) == (-1.0, 0.5)


def test_a_file_that_would_crash_the_engine_is_refused(
    dead: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import edge.export.tflite_quant as quant

    monkeypatch.setattr(quant, "widen_points", lambda ranges: None)
    monkeypatch.setattr(quant, "_CACHE", OrderedDict())
    with pytest.raises(ConversionError, match="too narrow"):
        quant.quantise(dead, quant.candidates(dead, "int8")[0], _samples(4), tmp_path / "q.tflite")


def test_a_float_file_has_no_factors_to_check(dead: Path) -> None:
    check_factors(dead.read_bytes())
