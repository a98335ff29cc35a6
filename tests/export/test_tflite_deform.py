"""A deformable convolution made of TFLite's operators is the deformable convolution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.runtime.card import Card, InputSpec, OutputSpec
from edge.runtime.errors import ConversionError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def _inputs(spread: float) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Any:
        return torch.randn(shape, generator=generator)

    return draw(1, 4, 7, 5), draw(1, 18, 7, 5) * spread, draw(1, 9, 7, 5).sigmoid() * 2, draw(6, 4, 3, 3)


@pytest.mark.parametrize("spread", [0.0, 0.7, 4.0, 1e4])
def test_gathered_form_equals_the_reference_inside_and_far_outside_the_map(spread: float) -> None:
    from edge.export.deform_tflite import deform_conv2d_gather
    from edge.models.deform import deform_conv2d_taps

    inputs = _inputs(spread)

    wanted = deform_conv2d_taps(*inputs)
    np.testing.assert_allclose(deform_conv2d_gather(*inputs).numpy(), wanted.numpy(), atol=2e-5)


def test_whole_number_offsets_shift_the_map() -> None:
    from edge.export.deform_tflite import deform_conv2d_gather

    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 1] = 1.0
    offset = torch.zeros(1, 18, 3, 4)
    offset[:, 9] = 1.0  # dx of the centre tap

    shifted = deform_conv2d_gather(x, offset, torch.ones(1, 9, 3, 4), weight)

    assert shifted[0, 0].tolist() == [[1.0, 2.0, 3.0, 0.0], [5.0, 6.0, 7.0, 0.0], [9.0, 10.0, 11.0, 0.0]]


def test_a_batch_that_cannot_be_lowered_exactly_is_refused() -> None:
    from edge.export.deform_tflite import deform_conv2d_gather

    x = torch.zeros(2, 1, 3, 3)
    with pytest.raises(ConversionError, match="deform_conv2d"):
        deform_conv2d_gather(x, torch.zeros(2, 18, 3, 3), torch.zeros(2, 9, 3, 3), torch.zeros(1, 1, 3, 3))


def test_a_network_with_deformable_convolution_converts_exactly(
    convert_module: Any, run_tflite: Any, tmp_path: Path
) -> None:
    from edge.export.tflite_inspect import inspect
    from edge.export.tflite_quant import candidates, quantise
    from edge.models.deform import DeformableConv2d

    torch.manual_seed(0)
    deform = DeformableConv2d(4, 6)
    torch.nn.init.normal_(deform.offset_conv.weight, std=0.4)
    torch.nn.init.normal_(deform.modulator_conv.weight, std=0.2)
    norm = torch.nn.BatchNorm2d(6)
    norm.running_mean.uniform_(-1, 1)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), deform, norm, torch.nn.LeakyReLU(0.1)).eval()
    card = Card(
        model="deform",
        input=InputSpec(shape=(1, 3, 18, 14), mean=(0.0,) * 3, std=(1.0,) * 3),
        outputs=(OutputSpec(name="y", shape=(1, 6, 9, 7), layout="NCHW"),),
    )

    made = convert_module(module, card, tmp_path, "litert-torch")
    got = run_tflite(made.path.read_bytes(), made.x.transpose(0, 2, 3, 1))["y"]

    wanted = made.answers[0].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(got, wanted, atol=1e-5 * float(np.ptp(wanted)))
    assert inspect(made.path.read_bytes()).transposes == 0
    samples = [made.x.transpose(0, 2, 3, 1).copy()]
    quantise(made.path, candidates(made.path, "int8")[0], samples, tmp_path / "q.tflite")
    small = run_tflite((tmp_path / "q.tflite").read_bytes(), samples[0])["y"]
    assert float(np.corrcoef(small.ravel(), wanted.ravel())[0, 1]) > 0.95
