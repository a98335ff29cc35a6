"""What is said of an ONNX file is measured in it, and a file that is not what it claims is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.export.onnx_file import (
    OnnxFacts,
    check_precision,
    embed_card,
    inspect,
    macs_by_node,
    parse_model,
    read_card,
    save_model,
)
from edge.runtime.card import Card, InputSpec, OutputSpec, Precision
from edge.runtime.errors import ArtifactError, PrecisionError

CARD = Card(
    model="tiny",
    input=InputSpec(shape=(1, 4, 8, 8), kind="tensor"),
    outputs=(OutputSpec(name="y", shape=(1, 6, 8, 8)),),
    provenance={"licence": "größer"},
).to_json()


def _conv(*, weights: str = "float", per_channel: bool = True, activation: str = "uint8") -> onnx.ModelProto:
    """A 1x1 convolution 4 -> 6 on 8x8, written by hand in the arithmetic asked for."""
    nodes, tensors = [], []

    def constant(name: str, values: np.ndarray) -> None:
        tensors.append(numpy_helper.from_array(values, name))

    kernel, source = "w", "x"
    if weights == "float":
        constant("w", np.ones((6, 4, 1, 1), np.float32))
    elif weights == "half":
        constant("w16", np.ones((6, 4, 1, 1), np.float16))
        nodes.append(helper.make_node("Cast", ["w16"], ["w"], to=TensorProto.FLOAT))
    else:
        constant("wq", np.ones((6, 4, 1, 1), np.int8))
        constant("ws", np.full(6 if per_channel else (), 0.1, np.float32))
        constant("wz", np.zeros(6 if per_channel else (), np.int8))
        nodes.append(helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["w"], axis=0))
        if activation != "float":
            constant("s", np.array(0.1, np.float32))
            constant("z", np.zeros((), activation))
            nodes.append(helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]))
            nodes.append(helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]))
            source = "xd"
    nodes.append(helper.make_node("Conv", [source, kernel], ["y"], name="conv"))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, 8, 8])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _facts(**options: object) -> OnnxFacts:
    return inspect(_conv(**options).SerializeToString())  # type: ignore[arg-type]  # forwarded as they are


def test_macs_and_parameters_of_a_convolution_that_can_be_counted_by_hand() -> None:
    facts = _facts()

    assert facts.macs == 8 * 8 * 6 * 4
    assert facts.parameters == 24
    assert facts.elements == {"float32": 24}
    assert facts.ops == {"Conv": 1}
    assert facts.opsets == {"": 21}
    assert json.loads(json.dumps(facts.to_dict(), allow_nan=False))["mac_share"] == {"float": 1.0}


@pytest.mark.parametrize(
    ("node", "shapes", "macs"),
    [
        (("Gemm", {"transB": 1}), ((3, 5), (7, 5), (3, 7)), 3 * 5 * 7),
        (("Gemm", {"transA": 1}), ((5, 3), (5, 7), (3, 7)), 3 * 5 * 7),
        (("MatMul", {}), ((2, 3, 5), (2, 5, 7), (2, 3, 7)), 2 * 3 * 5 * 7),
        (("Conv", {"group": 4}), ((1, 8, 6, 6), (8, 2, 3, 3), (1, 8, 4, 4)), 16 * 8 * 2 * 9),
        (("ConvTranspose", {}), ((1, 3, 4, 4), (3, 5, 2, 2), (1, 5, 5, 5)), 16 * 3 * 5 * 4),
    ],
)
def test_macs_of_every_kind_of_product(
    node: tuple[str, dict[str, int]], shapes: tuple[tuple[int, ...], ...], macs: int
) -> None:
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in zip("xwy", shapes, strict=True)]
    body = [helper.make_node(node[0], ["x", "w"], ["y"], name="n", **node[1])]
    graph = helper.make_graph(body, "g", infos[:2], infos[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)

    assert macs_by_node(model) == {"n": macs}


@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({}, "float"),
        ({"weights": "int8"}, "w8a8"),
        ({"weights": "int8", "activation": "int8"}, "w8a8"),
        ({"weights": "int8", "per_channel": False}, "w8a8-tensor"),
        ({"weights": "int8", "activation": "uint16"}, "w8a16"),
        ({"weights": "int8", "activation": "float"}, "float"),
    ],
)
def test_arithmetic_is_read_from_the_graph(options: dict[str, object], share: str) -> None:
    assert _facts(**options).mac_share == {share: 1.0}


GOOD: dict[Precision, dict[str, object]] = {
    Precision.FP32: {},
    Precision.FP16: {"weights": "half"},
    Precision.INT8: {"weights": "int8"},
    Precision.W8A16: {"weights": "int8", "activation": "uint16"},
}


@pytest.mark.parametrize("claim", list(Precision))
@pytest.mark.parametrize("truth", list(GOOD))
def test_a_file_passes_for_its_own_precision_and_for_no_other(claim: Precision, truth: Precision) -> None:
    facts = _facts(**GOOD[truth])
    if claim is truth:
        check_precision(facts, claim)
    else:
        with pytest.raises(PrecisionError, match=f"not an {claim} file"):
            check_precision(facts, claim)


@pytest.mark.parametrize("options", [{"per_channel": False}, {"activation": "float"}])
def test_int8_weights_alone_do_not_make_an_int8_file(options: dict[str, object]) -> None:
    with pytest.raises(PrecisionError, match="per channel"):
        check_precision(_facts(weights="int8", **options), Precision.INT8)


def test_the_card_goes_in_comes_out_and_changes_nothing_else() -> None:
    data = _conv().SerializeToString()
    with_card = embed_card(data, CARD)

    assert read_card(data) is None
    assert read_card(with_card) == CARD
    assert Card.from_json(read_card(with_card) or "").provenance["licence"] == "größer"
    session = onnxruntime.InferenceSession(with_card, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"edge.card": CARD}
    assert parse_model(with_card).graph == parse_model(data).graph
    assert embed_card(with_card, CARD) == with_card


def test_a_new_card_replaces_the_old_one_and_foreign_notes_stay() -> None:
    model = _conv()
    helper.set_model_props(model, {"z": "1", "edge.card": "old"})
    props = {item.key: item.value for item in parse_model(embed_card(model.SerializeToString(), CARD)).metadata_props}
    assert props == {"edge.card": CARD, "z": "1"}


def test_a_path_is_rewritten_in_place_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save_model(_conv(), path)
    data = embed_card(path, CARD)

    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("data", [b"", b"no model", b"\x08\x0a", b"\xff" * 64])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    for read in (inspect, read_card, lambda item: embed_card(item, CARD)):
        with pytest.raises(ArtifactError):
            read(data)


def test_a_size_that_is_not_static_is_refused_by_node() -> None:
    model = _conv()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(ArtifactError, match="`conv` has no static shape"):
        inspect(model.SerializeToString())


def test_weights_in_another_file_are_seen() -> None:
    model = _conv()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    facts = inspect(model.SerializeToString())
    assert facts.external_data
    with pytest.raises(PrecisionError, match="another file"):
        check_precision(facts, Precision.FP32)
