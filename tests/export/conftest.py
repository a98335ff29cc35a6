"""A small network with everything that the TFLite side must carry, converted once for all tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.runtime.card import Card, InputSpec, OutputSpec

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Converted:
    """A float TFLite file with its module, cards, and PyTorch's answers to one input (NCHW)."""

    module: Any
    card: Card
    tflite_card: Card
    path: Path
    x: Float32
    answers: tuple[Float32, ...]


def tiny_card() -> Card:
    """Return the card of `tiny_module`; the names are not in alphabetical order."""
    return Card(
        model="tiny",
        input=InputSpec(name="picture", shape=(1, 3, 32, 32), mean=(0.0,) * 3, std=(1.0,) * 3),
        outputs=(
            OutputSpec(name="zeta", shape=(1, 5, 8, 8), layout="NCHW"),
            OutputSpec(name="alpha", shape=(1, 128, 2)),
        ),
    )


def tiny_module() -> Any:
    """Return a network with BatchNorm, LeakyReLU, depthwise filters, a channel shuffle and two kinds of output."""
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.1))
            self.body = nn.Sequential(
                nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.LeakyReLU(0.1), nn.Conv2d(8, 16, 1), nn.LeakyReLU(0.1)
            )
            self.share = nn.Parameter(torch.tensor([0.25, 0.75]))
            self.maps = nn.Conv2d(16, 5, 3, 1, 1)
            self.scores = nn.Conv2d(16, 4, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = self.body(self.stem(x))
            x = self.share.relu()[0] * x + self.share.relu()[1] * x.relu()
            x = x.reshape(1, 2, 8, 64).transpose(1, 2).reshape(1, 16, 8, 8)
            return self.maps(x), self.scores(x).permute(0, 2, 3, 1).reshape(1, 128, 2).softmax(-1)

    torch.manual_seed(0)
    module = Tiny().eval()
    norm: Any = module.stem[1]
    norm.running_mean.uniform_(-0.2, 0.2)
    norm.running_var.uniform_(0.5, 2.0)
    return module


def convert(module: Any, card: Card, folder: Path, via: str) -> Converted:
    """Convert a module by one route; ONNX comes from the project's own exporter."""
    import torch

    from edge.export.tflite_convert import convert_to_tflite, save_program

    program, onnx, out = folder / "p.pt2", folder / "m.onnx", folder / "m.tflite"
    save_program(module, card, program)
    if via == "onnx2tf":
        from edge.export.to_onnx import export_onnx

        export_onnx(module, card, onnx)
    made = convert_to_tflite(program=program, onnx=onnx, card=card, via=via, out=out, work=folder / "work")
    x = np.random.default_rng(5).standard_normal(card.input.shape, dtype=np.float32)
    with torch.no_grad():
        answers = module(torch.from_numpy(x))
    answers = answers if isinstance(answers, tuple) else (answers,)
    return Converted(module, card, made, out, x, tuple(answer.numpy() for answer in answers))


@pytest.fixture(scope="session")
def tiny_tflite(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """The small network as a float TFLite file, by litert-torch."""
    return convert(tiny_module(), tiny_card(), tmp_path_factory.mktemp("tiny"), "litert-torch")


@pytest.fixture(scope="session")
def convert_module() -> Any:
    """The function `convert`, for tests with a network of their own."""
    return convert


@pytest.fixture(scope="session")
def tiny() -> tuple[Any, Card]:
    """The small network and its card."""
    return tiny_module(), tiny_card()


@pytest.fixture(scope="session")
def run_tflite() -> Any:
    """A function from (file bytes, input NHWC) to the outputs by name, in graph order."""

    def run(data: bytes, x: Float32) -> dict[str, Float32]:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=data, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ascontiguousarray(x))
        interpreter.invoke()
        return {item["name"]: interpreter.get_tensor(item["index"]).copy() for item in interpreter.get_output_details()}

    return run
