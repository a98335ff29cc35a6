"""Exporting to ONNX: exact, deterministic, self-contained, and clear about what cannot be exported."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.export.onnx_padding import refuse_pad_before_maxpool, rewrite_pad_before_maxpool
from edge.export.to_onnx import OPSET, export_onnx
from edge.models.deform import DeformableConv2d
from edge.runtime.card import Card, InputSpec, OutputSpec
from edge.runtime.errors import CardError, ConversionError

SHAPE = (1, 3, 16, 16)


class Small(nn.Module):
    """Convolution, batch norm, GELU, and a max-pool behind zero padding of a tensor that is negative everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.bn(self.conv(x))
        below = -features.abs() - 1.0
        pooled = F.max_pool2d(F.pad(below, (0, 1, 0, 1)), 3, 2)
        # Not in the card's order.
        return {"mean": F.gelu(features.mean((2, 3))), "pooled": pooled}


def _card(*outputs: tuple[str, tuple[int, ...]], shape: tuple[int, ...] = SHAPE) -> Card:
    specs = tuple(OutputSpec(name=name, shape=size) for name, size in outputs)
    return Card(model="small", input=InputSpec(shape=shape, kind="tensor"), outputs=specs)


SMALL_CARD = _card(("pooled", (1, 8, 8, 8)), ("mean", (1, 8)))


def _small() -> Small:
    torch.manual_seed(3)
    return Small()


def _run(path: Path, x: Tensor) -> list[np.ndarray]:
    """Run a file the way any user would: from the path, in a default session."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, {"input": x.numpy()})
    return outputs


def _noise(shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.from_numpy(np.random.default_rng(7).normal(size=shape).astype(np.float32))


def test_outputs_have_the_cards_names_and_order_and_pytorchs_numbers_in_a_default_session(tmp_path: Path) -> None:
    module, x = _small(), _noise()
    export_onnx(module, SMALL_CARD, tmp_path / "small.onnx")

    pooled, mean = _run(tmp_path / "small.onnx", x)
    with torch.no_grad():
        want = module.eval()(x)

    np.testing.assert_allclose(pooled, want["pooled"].numpy(), atol=1e-5)  # float32 rounding of one convolution
    np.testing.assert_allclose(mean, want["mean"].numpy(), atol=1e-5)


def test_onnxruntime_still_misfuses_a_pad_in_front_of_a_max_pool_and_the_rewrite_mends_it() -> None:
    """If the first assertion fails one day, onnxruntime is mended and the rewrite may go."""
    model = _pad_and_pool()
    x = {"x": np.full((1, 2, 8, 8), -3.0, np.float32)}
    data = model.SerializeToString()
    wrong = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, x)[0]
    assert wrong.max() == -3.0  # the zeros are gone

    with pytest.raises(ConversionError, match="`edge_pad`"):
        refuse_pad_before_maxpool(model)
    assert rewrite_pad_before_maxpool(model) == 1
    refuse_pad_before_maxpool(model)
    onnx.checker.check_model(model, full_check=True)

    right = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, x)[0]
    want = np.full((1, 2, 4, 4), -3.0, np.float32)
    want[:, :, -1, :] = 0.0
    want[:, :, :, -1] = 0.0
    np.testing.assert_array_equal(right, want)


@pytest.mark.parametrize("middle", [True, False])
def test_a_pad_is_found_behind_an_identity_too(middle: bool) -> None:
    assert rewrite_pad_before_maxpool(_pad_and_pool(middle=middle)) == 1


def test_padding_with_minus_infinity_is_what_a_max_pool_does_and_stays() -> None:
    assert rewrite_pad_before_maxpool(_pad_and_pool(value=-np.inf)) == 0


@pytest.mark.parametrize("amounts", [(1, 0, 0, 2), (1, 1, 1, 1), (0, 2, 1, 0)])
def test_padding_on_any_side_is_rewritten_exactly(amounts: tuple[int, int, int, int]) -> None:
    top, left, bottom, right = amounts
    model = _pad_and_pool(pads=(0, 0, top, left, 0, 0, bottom, right), value=0.5)
    x = -np.random.default_rng(1).random((1, 2, 8, 8), np.float32)
    rewrite_pad_before_maxpool(model)
    got = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=0.5)
    want = F.max_pool2d(torch.from_numpy(padded), 3, 2).numpy()
    np.testing.assert_array_equal(got[0], want)


class Deformed(nn.Module):
    """Deformable convolution with a batch norm of trained statistics behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.dcn = DeformableConv2d(3, 4)
        self.bn = nn.BatchNorm2d(4)
        for tensor in (self.bn.weight.data, self.bn.bias.data, self.bn.running_mean, self.bn.running_var):
            assert tensor is not None
            nn.init.uniform_(tensor, 0.2, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.dcn(x))
        return out


def test_deformable_convolution_is_exact_with_offsets_far_outside_the_border(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Deformed().eval()
    nn.init.normal_(module.dcn.offset_conv.weight, std=2.0)
    nn.init.normal_(module.dcn.modulator_conv.weight, std=0.5)
    x = _noise()
    with torch.no_grad():
        offsets = module.dcn.offset_conv(x)
        want = module(x).numpy()
    assert offsets.abs().max() > 16 > 1 > offsets.abs().min()  # beyond the map, and inside

    export_onnx(module, _card(("out", (1, 4, 16, 16))), tmp_path / "d.onnx")

    model = onnx.load(tmp_path / "d.onnx")
    ops = [node.op_type for node in model.graph.node]
    assert ops.count("DeformConv") == 1
    assert "BatchNormalization" not in ops
    np.testing.assert_allclose(_run(tmp_path / "d.onnx", x)[0], want, atol=1e-5)


def test_two_exports_are_equal_byte_for_byte_and_leave_no_second_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_onnx(_small(), SMALL_CARD, tmp_path / f"{name}.onnx")

    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_another_process_in_another_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    export_onnx(_small(), SMALL_CARD, tmp_path / "here.onnx")
    other = tmp_path / "elsewhere"
    other.mkdir()
    code = (
        "import runpy, sys; from pathlib import Path; from edge.export.to_onnx import export_onnx\n"
        "space = runpy.run_path(sys.argv[1])\n"
        "export_onnx(space['_small'](), space['SMALL_CARD'], Path('there.onnx'))\n"
    )
    subprocess.run([sys.executable, "-c", code, __file__], cwd=other, check=True, timeout=300)

    hashes = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "here.onnx", other / "there.onnx")}
    assert len(hashes) == 1


def test_the_file_tells_nothing_of_the_machine(tmp_path: Path) -> None:
    export_onnx(_small(), SMALL_CARD, tmp_path / "small.onnx")

    data = (tmp_path / "small.onnx").read_bytes()
    model = onnx.load_model_from_string(data)
    for trace in (str(Path.home()), str(Path(__file__).parent), sys.prefix, str(Path(torch.__file__).parent), ".py"):
        assert trace.encode() not in data
    assert model.opset_import[0].version == OPSET
    assert (model.producer_name, model.producer_version, list(model.metadata_props)) == ("edge", "", [])


def test_export_says_nothing_on_the_terminal_and_restores_the_training_mode(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module = _small().train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(module, SMALL_CARD, tmp_path / "small.onnx")

    assert capfd.readouterr() == ("", "")
    assert module.training
    assert logging.root.manager.disable == logging.NOTSET


class Decomposed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = torch.linalg.svd(x[0])[1]
        return values


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.solver = Decomposed()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.solver(x) + 1
        return out


def test_an_operation_without_onnx_form_is_named_with_its_module_and_line(tmp_path: Path) -> None:
    with pytest.raises(
        ConversionError, match=r"`aten\._linalg_svd.*` has no ONNX form in module `solver` at test_onnx"
    ):
        export_onnx(Holder(), _card(("out", (3, 16))), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x + 1
        return x - 1


def test_a_branch_on_values_is_refused_with_its_line_and_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"decides by the values .* at test_onnx_export\.py:\d+") as info:
        export_onnx(Branching(), _card(("out", SHAPE)), tmp_path / "x.onnx")
    assert "torch.where" in (info.value.hint or "")


class Conditional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))
        return out


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class Selecting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[x > 0], (0, 1000))[:900].reshape(1, 900)


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (Conditional(), SHAPE, r"control flow \(`If`\)"),
        (Noisy(), SHAPE, r"random numbers \(`RandomUniformLike`\)"),
        (Selecting(), (1, 900), "size that depends on values"),
    ],
)
def test_what_is_not_a_fixed_graph_is_refused(
    tmp_path: Path, module: nn.Module, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ConversionError, match=message) as info:
        export_onnx(module, _card(("out", shape)), tmp_path / "x.onnx")
    assert info.value.hint
    assert not list(tmp_path.iterdir())


class Odd(nn.Module):
    """Gives its input, one tensor twice, and has a tensor inside that is called like the input."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = x * self.input
        return x, y, y


def test_outputs_that_are_inputs_or_the_same_tensor_and_clashing_names_are_no_trouble(tmp_path: Path) -> None:
    export_onnx(Odd(), _card(("mul", SHAPE), ("a", SHAPE), ("b", SHAPE)), tmp_path / "x.onnx")
    x = _noise()
    for got, want in zip(_run(tmp_path / "x.onnx", x), (x, 3 * x, 3 * x), strict=True):
        np.testing.assert_array_equal(got, want.numpy())


def test_parts_that_were_frozen_in_eval_mode_stay_frozen(tmp_path: Path) -> None:
    module = _small().train()
    module.bn.eval()
    export_onnx(module, SMALL_CARD, tmp_path / "x.onnx")
    assert (module.training, module.conv.training, module.bn.training) == (True, True, False)


class Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x @ x[:, :2]


def test_a_network_that_does_not_run_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"does not run: .* at test_onnx_export\.py:\d+"):
        export_onnx(Failing(), _card(("out", SHAPE)), tmp_path / "x.onnx")


class Exploding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x)


def test_outputs_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"output `out` has \d+ non-finite of 768 elements"):
        export_onnx(Exploding(), _card(("out", SHAPE)), tmp_path / "x.onnx")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["conv.weight", "bn.running_var"])
def test_weights_and_statistics_that_are_not_finite_are_refused_by_name(
    tmp_path: Path, name: str, value: float
) -> None:
    module = _small()
    module.state_dict()[name].view(-1)[1] = value
    with pytest.raises(ConversionError, match=rf"`{name}` has 1 non-finite of \d+"):
        export_onnx(module, SMALL_CARD, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_half_precision_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="not float32") as info:
        export_onnx(_small().half(), SMALL_CARD, tmp_path / "x.onnx")
    assert info.value.hint == "call `.float()` first"


@pytest.mark.parametrize(
    "card",
    [
        _card(("pooled", (1, 8, 8, 8))),
        _card(("pooled", (1, 8, 8, 8)), ("median", (1, 8))),
        _card(("pooled", (1, 8, 9, 9)), ("mean", (1, 8))),
    ],
)
def test_outputs_that_are_not_the_cards_are_refused(tmp_path: Path, card: Card) -> None:
    with pytest.raises(CardError, match="output"):
        export_onnx(_small(), card, tmp_path / "x.onnx")


def _pad_and_pool(
    *, value: float = 0.0, middle: bool = False, pads: tuple[int, ...] = (0, 0, 0, 0, 0, 0, 1, 1)
) -> onnx.ModelProto:
    helper = onnx.helper
    source = "q" if middle else "p"
    nodes = [helper.make_node("Pad", ["x", "pads", "value"], ["p"], name="edge_pad")]
    nodes += [helper.make_node("Identity", ["p"], ["q"])] if middle else []
    nodes += [helper.make_node("MaxPool", [source], ["y"], kernel_shape=[3, 3], strides=[2, 2])]
    side = [(8 + pads[axis] + pads[axis + 4] - 3) // 2 + 1 for axis in (2, 3)]
    graph = helper.make_graph(
        nodes,
        "pad",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2, 8, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2, *side])],
        [
            onnx.numpy_helper.from_array(np.array(pads, np.int64), "pads"),
            onnx.numpy_helper.from_array(np.array(value, np.float32), "value"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
