"""FP16 and INT8 files: small, accurate, runnable, deterministic, and refused when the numbers are not sound."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from edge.export.onnx_boundary import spare_float_readers
from edge.export.onnx_calibration import calibrate, check_samples
from edge.export.onnx_equalise import equalise, equalise_inputs
from edge.export.onnx_file import inspect, parse_model, save_model
from edge.export.onnx_quant import OnnxRecipe, candidates, noise_by_part, quantise
from edge.export.onnx_rounding import quantise_weights, round_in_place
from edge.export.onnx_sensitivity import parts, within_budget
from edge.export.to_onnx import export_onnx
from edge.models.deform import DeformableConv2d
from edge.runtime.card import Card, InputSpec, OutputSpec, Precision
from edge.runtime.errors import ConversionError, EdgeError, InputError, PrecisionError, ShapeError
from edge.runtime.parity import OutputParity, compare

Float32 = NDArray[np.float32]
SHAPE = (1, 3, 32, 32)
STATIC = OnnxRecipe(name="static-all", scheme="static")


class Net(nn.Module):
    """Stem, depthwise and dense convolutions, a padded pool, and a small head of two products."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.depthwise = nn.Conv2d(32, 32, 3, 1, 1, groups=32)
        self.dense = nn.Conv2d(32, 48, 3, 2, 1)
        self.last = nn.Conv2d(48, 32, 1)
        self.head = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.leaky_relu(self.depthwise(F.relu(self.stem(x))), 0.1)
        x = F.max_pool2d(F.pad(self.dense(x), (0, 1, 0, 1)), 3, 2)
        x = self.last(x)
        return x, self.head(x.mean((2, 3)))


class Attention(nn.Module):
    """Products dominate; two of them multiply activations by activations."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(32, 96)
        self.out = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        mixed = torch.softmax(q @ k.transpose(1, 2) / 6, dim=-1) @ v
        out: Tensor = self.out(mixed)
        return out


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    export_onnx(_net(), _card(), path)
    return path


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("attention") / "attention.onnx"
    torch.manual_seed(1)
    card = Card(
        model="attention",
        input=InputSpec(shape=(1, 16, 32), kind="tensor", layout="any"),
        outputs=(OutputSpec(name="y", shape=(1, 16, 32)),),
    )
    export_onnx(Attention(), card, path)
    return path


def _card() -> Card:
    outputs = (OutputSpec(name="map", shape=(1, 32, 4, 4)), OutputSpec(name="score", shape=(1, 2)))
    return Card(model="net", input=InputSpec(shape=SHAPE, kind="tensor"), outputs=outputs)


@functools.cache
def _net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def _samples(count: int, *, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> list[Float32]:
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=shape) + 0.5).astype(np.float32) for _ in range(count)]


def _parity(fp32: Path, got: Path) -> dict[str, OutputParity]:
    """Compare on samples that did not calibrate, both through default sessions."""
    sides: list[dict[str, list[Float32]]] = []
    for path in (fp32, got):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [item.name for item in session.get_outputs()]
        source = session.get_inputs()[0]
        assert source.type == "tensor(float)"
        runs = [session.run(names, {source.name: x}) for x in _samples(6, seed=99, shape=tuple(source.shape))]
        sides.append({name: [run[index] for run in runs] for index, name in enumerate(names)})
    return compare(sides[0], sides[1])


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8, Precision.W8A16])
def test_every_recipe_gives_an_accurate_file_that_a_default_session_runs(
    net: Path, tmp_path: Path, precision: Precision
) -> None:
    floor = {"fp16": 55.0, "int8": 28.0, "w8a16": 35.0}[precision]  # random weights, white noise: measured minus 5 dB
    recipes = candidates(net, precision)
    calibration = calibrate(net, _samples(8))
    assert len({recipe.name for recipe in recipes}) == len(recipes) >= (1 if precision is Precision.FP16 else 2)
    for recipe in recipes:
        quantise(net, recipe, [], tmp_path / recipe.name, calibration=calibration)
        worst = min(item.sqnr_db for item in _parity(net, tmp_path / recipe.name).values())
        assert worst > floor, recipe.name
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(recipe.name for recipe in recipes)


@pytest.mark.parametrize("which", ["net", "attention"])
def test_dynamic_files_need_no_samples_and_quantise_gemm_too(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source: Path = request.getfixturevalue(which)
    for recipe in candidates(source, Precision.DYNAMIC):
        quantise(source, recipe, [], tmp_path / "out.onnx")
        facts = inspect((tmp_path / "out.onnx").read_bytes())
        assert facts.mac_share["dynamic"] > 0.5
        assert facts.domains == ()
        assert "Gemm" not in facts.ops
        assert min(item.sqnr_db for item in _parity(source, tmp_path / "out.onnx").values()) > 25


def test_products_of_two_activations_stay_float_under_the_products_rule(attention: Path, tmp_path: Path) -> None:
    recipe = OnnxRecipe(name="p", scheme="static", select="products")
    quantise(attention, recipe, _samples(8, shape=(1, 16, 32)), tmp_path / "p.onnx")

    share = inspect((tmp_path / "p.onnx").read_bytes()).mac_share
    constant, mixed = 16 * 32 * 96 + 16 * 32 * 32, 2 * 16 * 16 * 32
    assert share["w8a8"] == pytest.approx(constant / (constant + mixed))


def test_the_large_convs_rule_leaves_stem_and_depthwise_float(net: Path, tmp_path: Path) -> None:
    recipe = OnnxRecipe(name="large", scheme="static", select="large-convs")
    quantise(net, recipe, _samples(8), tmp_path / "out.onnx")

    model = onnx.load(tmp_path / "out.onnx")
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    convs = [makers.get(node.input[1]) for node in model.graph.node if node.op_type == "Conv"]
    assert convs == [None, None, "DequantizeLinear", "DequantizeLinear"]


def test_weights_are_signed_and_per_channel_and_activations_unsigned(net: Path, tmp_path: Path) -> None:
    quantise(net, STATIC, _samples(8), tmp_path / "out.onnx")

    model = onnx.load(tmp_path / "out.onnx")
    tensors = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            assert tensors[node.input[2]].data_type == onnx.TensorProto.UINT8
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors and len(tensors[node.input[0]].dims) > 1:
            assert tensors[node.input[0]].data_type == onnx.TensorProto.INT8
            assert len(tensors[node.input[1]].dims) == 1


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8, Precision.DYNAMIC, Precision.W8A16])
def test_equal_inputs_give_equal_bytes_without_traces_of_the_tools(
    net: Path, tmp_path: Path, precision: Precision
) -> None:
    recipe = candidates(net, precision)[-1]
    for name in ("a", "b"):
        quantise(net, recipe, _samples(8), tmp_path / name)

    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    model = onnx.load_model_from_string(data)
    assert (model.producer_name, model.producer_version, list(model.metadata_props)) == ("edge", "", [])
    assert str(tmp_path).encode() not in data


def test_fp16_halves_the_file_and_reports_what_was_flushed_to_zero(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Net()
    with torch.no_grad():
        module.dense.weight[:24] *= 1e-8
    export_onnx(module, _card(), tmp_path / "fp32.onnx")
    recipe = OnnxRecipe(name="half-weights", scheme="half-weights")
    notes = quantise(tmp_path / "fp32.onnx", recipe, [], tmp_path / "fp16.onnx")

    total = inspect((tmp_path / "fp32.onnx").read_bytes()).parameters
    assert notes["flushed_share"] == pytest.approx(24 * 32 * 9 / total, rel=0.05)
    assert (tmp_path / "fp16.onnx").stat().st_size < 0.6 * (tmp_path / "fp32.onnx").stat().st_size


def test_a_weight_beyond_half_precision_is_refused_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Net()
    with torch.no_grad():
        module.dense.weight[0, 0, 0, 0] = 70000.0
    export_onnx(module, _card(), tmp_path / "fp32.onnx")
    with pytest.raises(PrecisionError, match=r"`dense\.weight` does not fit into fp16.*70000"):
        quantise(tmp_path / "fp32.onnx", OnnxRecipe(name="h", scheme="half-weights"), [], tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def _with(sample: int, value: float) -> list[Float32]:
    samples = _samples(8)
    samples[sample][0, 0, 0, 0] = value
    return samples


BAD_SAMPLES: dict[str, tuple[Callable[[], list[Float32]], type[EdgeError], str]] = {
    "none": (list, InputError, "too few"),
    "nan": (lambda: _with(3, np.nan), InputError, "sample 3 has 1 non-finite of 3072"),
    "inf": (lambda: _with(5, np.inf), InputError, "sample 5 has 1 non-finite"),
    "minus inf": (lambda: _with(0, -np.inf), InputError, "sample 0 has 1 non-finite"),
    "all zero": (lambda: [np.zeros(SHAPE, np.float32)] * 8, InputError, "do not vary"),
    "one constant": (lambda: [np.full(SHAPE, 0.7, np.float32)], InputError, "do not vary"),
    "mostly constant": (
        lambda: [np.full(SHAPE, i / 8, np.float32) for i in range(5)] + _samples(3),
        InputError,
        "5 constant of 8",
    ),
    "one scaled by 100": (
        lambda: [x * (100 if i == 2 else 1) for i, x in enumerate(_samples(8))],
        InputError,
        "sample 2 is far out of line",
    ),
    "wrong shape": (lambda: [np.zeros((1, 3, 32, 31), np.float32)], ShapeError, r"float32 \(1, 3, 32, 32\)"),
    "wrong dtype": (lambda: [np.zeros(SHAPE, np.float64)], ShapeError, "float64"),  # type: ignore[list-item]  # the test
    "huge": (lambda: [x * 1e36 for x in _samples(8)], EdgeError, "not finite|out of range"),
}


@pytest.mark.parametrize("case", BAD_SAMPLES)
def test_unsound_calibration_samples_are_refused_and_nothing_is_written(net: Path, tmp_path: Path, case: str) -> None:
    make, error, message = BAD_SAMPLES[case]
    with pytest.raises(error, match=message):
        quantise(net, STATIC, make(), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_duplicates_do_not_count_as_samples() -> None:
    samples = _samples(1) * 40
    check_samples(samples, SHAPE)
    with pytest.raises(InputError, match="too few calibration samples, expected >= 32, got 1"):
        check_samples(samples, SHAPE, min_distinct=32)


def _dead_channel(module: Net) -> None:
    module.dense.weight[5] = 0.0


def _nearly_dead_channel(module: Net) -> None:
    module.dense.weight[5] *= 1e-25


def _dead_layer(module: Net) -> None:
    module.last.weight.zero_()


def _large_bias(module: Net) -> None:
    module.dense.weight[5] *= 1e-6
    assert module.dense.bias is not None
    module.dense.bias[5] = 50.0


@pytest.mark.parametrize("damage", [_dead_channel, _nearly_dead_channel, _dead_layer, _large_bias])
@pytest.mark.parametrize("scheme", ["static", "dynamic", "static-16"])
def test_degenerate_weights_are_safe(tmp_path: Path, damage: Callable[[Net], None], scheme: str) -> None:
    torch.manual_seed(0)
    module = Net()
    with torch.no_grad():
        damage(module)
    export_onnx(module, _card(), tmp_path / "fp32.onnx")
    select = "all" if scheme != "dynamic" else "dense"
    recipe = OnnxRecipe(name=scheme, scheme=scheme, select=select)
    quantise(tmp_path / "fp32.onnx", recipe, _samples(8), tmp_path / "out.onnx")

    parity = _parity(tmp_path / "fp32.onnx", tmp_path / "out.onnx")
    assert all(item.nonfinite == 0 for item in parity.values())
    assert parity["map"].sqnr_db > 20


def test_fp32_has_no_recipe_and_a_net_without_products_none_for_int8(tmp_path: Path, net: Path) -> None:
    with pytest.raises(InputError, match="fp32 needs no recipe"):
        candidates(net, Precision.FP32)
    card = Card(
        model="relu",
        input=InputSpec(shape=SHAPE, kind="tensor"),
        outputs=(OutputSpec(name="y", shape=SHAPE),),
    )
    export_onnx(nn.ReLU(), card, tmp_path / "relu.onnx")
    with pytest.raises(ConversionError, match="no recipe for int8"):
        candidates(tmp_path / "relu.onnx", Precision.INT8)


def test_a_recipe_that_leaves_most_in_float_fails_closed(net: Path, tmp_path: Path) -> None:
    recipe = OnnxRecipe(name="p", scheme="static", select="products")
    with pytest.raises(PrecisionError, match=r"not an int8 file, expected >= 50% .*got float 9"):
        quantise(net, recipe, _samples(8), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_rounding_keeps_the_sum_of_every_kernel_plane_and_the_peak_of_every_channel() -> None:
    weights = np.random.default_rng(0).normal(size=(20, 6, 3, 3)).astype(np.float32)
    integers, scales = quantise_weights(weights, 0)
    exact = weights / scales.reshape(-1, 1, 1, 1)

    assert np.abs((integers - exact).sum(axis=(2, 3))).max() <= 0.5 + 1e-3
    assert np.abs(integers - exact).max() < 1.0
    assert (np.abs(integers).reshape(20, -1).max(axis=1) == 127).all()
    nearest = np.abs((np.round(exact) - exact).sum(axis=(2, 3))).max()
    assert nearest > 0.8  # what rounding to nearest would have left


@pytest.mark.parametrize("axis", [0, 1])
def test_a_matrix_is_quantised_along_its_outputs(axis: int) -> None:
    weights = np.array([[1.0, 2.0, 0.0], [4.0, -8.0, 0.0]], np.float32)
    integers, scales = quantise_weights(weights, axis)

    want = [2 / 127, 8 / 127] if axis == 0 else [4 / 127, 8 / 127, 1.0]
    np.testing.assert_allclose(scales, want, rtol=1e-6)
    back = integers * (scales[:, None] if axis == 0 else scales[None])
    np.testing.assert_allclose(back, weights, atol=8 / 254)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose stem has channels of very different ranges, as trained MobileNets have."""
    torch.manual_seed(0)
    module = Net()
    with torch.no_grad():
        spread = torch.logspace(-3, 0, 32)
        module.stem.weight *= spread.reshape(-1, 1, 1, 1)
        assert module.stem.bias is not None
        module.stem.bias *= spread
        module.depthwise.weight /= spread.reshape(-1, 1, 1, 1)
    path = tmp_path_factory.mktemp("uneven") / "uneven.onnx"
    export_onnx(module, _card(), path)
    return path


def test_equalising_changes_ranges_but_not_what_the_network_computes(uneven: Path, tmp_path: Path) -> None:
    samples = _samples(4)
    before = calibrate(uneven, samples)
    model = parse_model(uneven.read_bytes())
    told = equalise(model, before)
    save_model(model, tmp_path / "even.onnx")
    seen = calibrate(tmp_path / "even.onnx", samples)

    assert min(item.sqnr_db for item in _parity(uneven, tmp_path / "even.onnx").values()) > 110  # float32 rounding
    for name in seen.lows:
        np.testing.assert_allclose(told.highs[name], seen.highs[name], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(told.means[name], seen.means[name], rtol=1e-3, atol=1e-4)
    stem = next(node.output[0] for node in model.graph.node if node.op_type == "Conv")
    assert np.ptp(np.log10(before.peaks(stem))) > 2
    assert np.ptp(np.log10(told.peaks(stem))) < 0.1  # the smallest would need more than the factor's bound


def test_uneven_channels_survive_static_quantisation(uneven: Path, tmp_path: Path) -> None:
    quantise(uneven, STATIC, _samples(8), tmp_path / "out.onnx")
    assert _parity(uneven, tmp_path / "out.onnx")["map"].sqnr_db > 28  # as good as the even network


def test_rounding_leaves_no_offset_on_average(net: Path) -> None:
    samples = [x + 3.0 for x in _samples(6)]  # far from zero, where offsets come from
    calibration = calibrate(net, samples)
    rounded = parse_model(net.read_bytes())
    round_in_place(rounded, [node.name for node in rounded.graph.node if node.op_type == "Conv"][:1], calibration.means)
    stem = rounded.graph.node[0]
    weight, bias = (
        onnx.numpy_helper.to_array(next(item for item in rounded.graph.initializer if item.name == name))
        for name in stem.input[1:]
    )
    module = _net()
    x = torch.from_numpy(np.concatenate(samples))
    with torch.no_grad():
        want = module.stem(x)
        got = F.conv2d(x, torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy()), 2, 1)
    offset = (got - want)[:, :, 1:, 1:].mean((0, 2, 3)).abs()  # the border sees padding, not the mean
    assert offset.max() < 0.1 * (got - want).std()
    assert (got - want).abs().max() > 0


class Deformed(nn.Module):
    """A map that a deformable convolution and the two convolutions that steer it share, with one loud channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.depthwise = nn.Conv2d(32, 32, 3, 1, 1, groups=32)
        self.dense = nn.Conv2d(32, 48, 1)
        self.deform = DeformableConv2d(48, 8)
        with torch.no_grad():
            nn.init.normal_(self.deform.offset_conv.weight, std=0.02)
            nn.init.normal_(self.deform.modulator_conv.weight, std=0.1)
            self.dense.weight[0] *= 30.0

    def forward(self, x: Tensor) -> Tensor:
        x = self.dense(F.leaky_relu(self.depthwise(F.relu(self.stem(x))), 0.1))
        y: Tensor = self.deform(x * torch.sigmoid(x))
        return y


@pytest.fixture(scope="module")
def deformed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deformed") / "deformed.onnx"
    torch.manual_seed(0)
    card = Card(
        model="deformed",
        input=InputSpec(shape=SHAPE, kind="tensor"),
        outputs=(OutputSpec(name="y", shape=(1, 8, 16, 16)),),
    )
    export_onnx(Deformed().eval(), card, path)
    return path


def _convs(path: Path) -> list[str]:
    return [node.name for node in parse_model(path.read_bytes()).graph.node if node.op_type == "Conv"]


def test_a_part_is_a_dense_convolution_with_the_depthwise_one_that_feeds_it(net: Path, deformed: Path) -> None:
    stem, depthwise, dense, offset, modulator = _convs(deformed)
    assert parts(parse_model(deformed.read_bytes())) == [(stem,), (depthwise, dense), (offset,), (modulator,)]
    # Here a pad is what the last convolution reads; the head's two products stand alone.
    assert [len(part) for part in parts(parse_model(net.read_bytes()))] == [1, 2, 1, 1, 1]


def test_the_budget_buys_most_multiply_adds_for_least_noise() -> None:
    noise = {("a",): 1e-3, ("b", "c"): 1e-3, ("d",): 9e-3, ("e",): 5e-2}
    macs = {"a": 10, "b": 5, "c": 100, "d": 300, "e": 10**6}

    assert within_budget(noise, macs, 60.0) == []
    assert within_budget(noise, macs, 29.0) == ["b", "c"]
    assert within_budget(noise, macs, 19.5) == ["b", "c", "d", "a"]
    assert within_budget(dict(reversed(noise.items())), macs, 19.5) == ["b", "c", "d", "a"]


def test_float_readers_get_the_float_map_and_accuracy_gains(deformed: Path, tmp_path: Path) -> None:
    recipe = OnnxRecipe(name="b", scheme="static", budget_db=20.0)
    samples = _samples(8)
    noise = {part: 1.0 for part in parts(parse_model(deformed.read_bytes()))}
    noise.update({(name,): 1e-9 for name in _convs(deformed)[3:]})  # the two that steer the sampling places
    quantise(deformed, recipe, samples, tmp_path / "out.onnx", noise=noise, min_mac_share=0.0)

    graph = onnx.load(tmp_path / "out.onnx").graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    deform = next(node for node in graph.node if node.op_type == "DeformConv")
    steering = [node for node in graph.node if node.op_type == "Conv"][3:]
    assert makers[deform.input[0]] == "Mul"
    assert makers[deform.input[2]] == "DequantizeLinear"
    assert [makers[node.input[0]] for node in steering] == ["DequantizeLinear"] * 2
    assert _parity(deformed, tmp_path / "out.onnx")["y"].sqnr_db > 30


def test_a_map_of_a_quantised_layer_stays_rounded_for_every_reader() -> None:
    def rounding(name: str) -> list[onnx.NodeProto]:
        scales = [f"{name}.s", f"{name}.z"]
        return [
            onnx.helper.make_node("QuantizeLinear", [name, *scales], [f"{name}.q"], name=f"{name}.Q"),
            onnx.helper.make_node("DequantizeLinear", [f"{name}.q", *scales], [f"{name}.d"], name=f"{name}.D"),
        ]

    nodes = [
        *rounding("x"),
        onnx.helper.make_node("MaxPool", ["x.d"], ["y"], name="pool", kernel_shape=[1, 1]),
        *rounding("y"),
        onnx.helper.make_node("Erf", ["x.d"], ["a"], name="first"),
        onnx.helper.make_node("Erf", ["y.d"], ["b"], name="second"),
        *rounding("b"),
        onnx.helper.make_node("Exp", ["b.d"], ["c"], name="third"),
    ]
    infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, 2, 2]) for name in "xac"]
    scales = [
        onnx.numpy_helper.from_array(value, f"{name}.{kind}")
        for name in "xyb"
        for kind, value in (("s", np.float32(0.1)), ("z", np.uint8(3)))
    ]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", infos[:1], infos[1:], scales))

    assert spare_float_readers(model) == 2
    read = {node.name: node.input[0] for node in model.graph.node}
    assert (read["pool"], read["first"], read["second"], read["third"]) == ("x.d", "x", "y.d", "b")
    assert not {"b.Q", "b.D"} & set(read)  # nobody reads them any more
    assert {item.name for item in model.graph.initializer} == {"x.s", "x.z", "y.s", "y.z"}


def test_noise_of_parts_adds_up_to_the_noise_of_the_file(deformed: Path, tmp_path: Path) -> None:
    samples = _samples(8)
    noise = noise_by_part(deformed, samples, calibrate(deformed, samples))
    assert noise == noise_by_part(deformed, samples, calibrate(deformed, samples))
    predicted = -10 * np.log10(sum(noise.values()))
    recipe = OnnxRecipe(name="b", scheme="static", budget_db=predicted - 0.01)
    quantise(deformed, recipe, samples, tmp_path / "out.onnx", noise=noise)
    assert abs(_parity(deformed, tmp_path / "out.onnx")["y"].sqnr_db - predicted) < 3


def test_scaled_inputs_change_ranges_but_not_what_the_network_computes(deformed: Path, tmp_path: Path) -> None:
    before = calibrate(deformed, _samples(4))
    model = parse_model(deformed.read_bytes())
    told = equalise_inputs(model, before, _convs(deformed)[3:])
    save_model(model, tmp_path / "even.onnx")
    seen = calibrate(tmp_path / "even.onnx", _samples(4))

    assert _parity(deformed, tmp_path / "even.onnx")["y"].sqnr_db > 100  # float32 rounding
    added = set(seen.lows) - set(before.lows)
    assert len(added) == 1
    name = added.pop()
    np.testing.assert_allclose(told.highs[name], seen.highs[name], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(told.means[name], seen.means[name], rtol=1e-3, atol=1e-4)
    source = name.removesuffix("/equal")
    assert np.ptp(np.log10(told.peaks(name))) < np.ptp(np.log10(before.peaks(source)))


def test_a_tensor_that_only_a_sigmoid_reads_spends_no_step_beyond_its_span(deformed: Path, tmp_path: Path) -> None:
    samples = [x * 30 for x in _samples(8)]
    quantise(deformed, STATIC, samples, tmp_path / "out.onnx")

    graph = onnx.load(tmp_path / "out.onnx").graph
    tensors = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    modulator = makers[[node for node in graph.node if node.op_type == "Sigmoid"][-1].input[0]]
    source = {node.name: node.output[0] for node in parse_model(deformed.read_bytes()).graph.node}
    peaks = calibrate(deformed, samples).peaks(source[_convs(deformed)[4]])
    assert peaks.max() > 16
    assert 255 * float(tensors[modulator.input[1]]) <= 16.0 + 1e-3


def test_the_floor_counts_what_has_8_bit_kernels_and_only_such_nets_get_budgets(
    net: Path, deformed: Path, tmp_path: Path
) -> None:
    names = [recipe.name for recipe in candidates(deformed, Precision.INT8)]
    assert [name for name in names if "within" in name] == [f"static-within-{db}db" for db in ("21.5", "22", "22.5")]
    assert not [recipe.name for recipe in candidates(net, Precision.INT8) if "within" in recipe.name]

    quantise(deformed, STATIC, _samples(8), tmp_path / "out.onnx")
    facts = inspect((tmp_path / "out.onnx").read_bytes())
    assert facts.mac_share["w8a8"] == pytest.approx(facts.int8_capable)
    assert 0.5 < facts.int8_capable < 0.95
    with pytest.raises(PrecisionError, match=f">= {0.5 * facts.int8_capable:.0%} of the multiply-adds w8a8"):
        recipe = OnnxRecipe(name="b", scheme="static", budget_db=20.0)
        first = {part: 0.1 * (index > 0) for index, part in enumerate(parts(parse_model(deformed.read_bytes())))}
        quantise(deformed, recipe, _samples(8), tmp_path / "short.onnx", noise=first)
