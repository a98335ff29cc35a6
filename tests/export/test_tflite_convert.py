"""Both routes to TFLite give PyTorch's numbers, under the card's names, in the card's order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.export.tflite_inspect import inspect
from edge.runtime.card import Card, InputSpec, OutputSpec
from edge.runtime.errors import ConversionError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def _nhwc(x: Any) -> Any:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def _check(made: Any, run_tflite: Any) -> None:
    outputs = run_tflite(made.path.read_bytes(), _nhwc(made.x))

    assert list(outputs) == [spec.name for spec in made.card.outputs]
    for spec, answer in zip(made.tflite_card.outputs, made.answers, strict=True):
        wanted = _nhwc(answer) if spec.layout == "NHWC" else answer
        assert outputs[spec.name].shape == spec.shape
        np.testing.assert_allclose(outputs[spec.name], wanted, atol=1e-4 * float(np.ptp(wanted)))


def test_litert_torch_gives_pytorchs_numbers_in_the_cards_order(tiny_tflite: Any, run_tflite: Any) -> None:
    _check(tiny_tflite, run_tflite)


def test_onnx2tf_gives_pytorchs_numbers_in_the_cards_order(
    tiny: Any, convert_module: Any, run_tflite: Any, tmp_path: Path
) -> None:
    made = convert_module(*tiny, tmp_path, "onnx2tf")

    _check(made, run_tflite)


def test_the_tflite_card_has_channels_last_maps_and_leaves_other_outputs_alone(tiny_tflite: Any) -> None:
    card = tiny_tflite.tflite_card

    assert (card.input.shape, card.input.layout) == ((1, 32, 32, 3), "NHWC")
    assert [(item.shape, item.layout) for item in card.outputs] == [((1, 8, 8, 5), "NHWC"), ((1, 128, 2), "any")]


def test_shuffle_and_scalar_weights_leave_no_transpose(tiny_tflite: Any) -> None:
    assert inspect(tiny_tflite.path.read_bytes()).transposes == 0


def test_an_operator_without_counterpart_is_named(convert_module: Any, tmp_path: Path) -> None:
    class Inverse(torch.nn.Module):  # type: ignore[name-defined,misc]  # torch is Any here
        def forward(self, x: Any) -> Any:
            return torch.linalg.inv(x)

    card = Card(
        model="inverse",
        input=InputSpec(shape=(1, 4, 4), layout="any", kind="tensor"),
        outputs=(OutputSpec(name="y", shape=(1, 4, 4)),),
    )

    with pytest.raises(ConversionError, match="linalg") as caught:
        convert_module(Inverse(), card, tmp_path, "litert-torch")
    assert "log" in str(caught.value.hint)


def test_an_unknown_route_is_refused(tiny: Any, convert_module: Any, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"onnx2tf.*by-hand"):
        convert_module(*tiny, tmp_path, "by-hand")


def test_outputs_are_told_apart_by_their_numbers() -> None:
    from edge.export.tflite_worker import match_outputs

    card = Card(
        model="twins",
        input=InputSpec(shape=(1, 3, 4, 4), mean=(0.0,) * 3, std=(1.0,) * 3),
        outputs=(OutputSpec(name="a", shape=(1, 4, 4, 4), layout="NCHW"), OutputSpec(name="b", shape=(1, 4, 4, 4))),
    )
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((1, 4, 4, 4)).astype(np.float32) for _ in range(2))

    assert match_outputs(card, [b, a.transpose(0, 2, 3, 1)], [a, b]) == [(1, "a"), (0, "b")]


def test_a_shuffle_is_folded_into_the_weights_behind_it(tiny: Any) -> None:
    from edge.export.tflite_prepare import prepare

    module, _ = tiny
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        graph = torch.export.export(module, (x,)).module(check_guards=False)
        counts = prepare(graph)
        for got, wanted in zip(graph(x), module(x), strict=True):
            np.testing.assert_allclose(got.numpy(), wanted.numpy(), atol=1e-6)

    assert counts["shuffles"] == 1
    assert not any("transpose" in str(node.target) for node in graph.graph.nodes)
