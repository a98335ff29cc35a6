"""Tiny real artifacts, each with a card inside: one Add, in ONNX and in TFLite, and a TFLite file of three layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.runtime.card import Card, InputSpec, OutputSpec, ResizeSpec

HW = 8  # side of the tiny networks' input, pixels


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests measure and trust out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def tiny_card() -> Callable[..., Card]:
    """Return a function that builds the card of a network which adds 1 to an 8 x 8 RGB picture."""

    def build(target: str = "onnx", **changes: Any) -> Card:
        nchw = target == "onnx"
        shape = (1, 3, HW, HW) if nchw else (1, HW, HW, 3)
        values: dict[str, Any] = {
            "model": "tiny",
            "input": InputSpec(
                shape=shape,
                layout="NCHW" if nchw else "NHWC",
                colour="RGB",
                mean=(0.0, 0.0, 0.0),
                std=(255.0, 255.0, 255.0),
                resize=ResizeSpec(rule="stretch"),
            ),
            "outputs": (OutputSpec(name="raw", shape=shape, layout="NCHW" if nchw else "NHWC", meaning="pixels + 1"),),
        }
        return Card(**{**values, **changes})

    return build


@pytest.fixture
def write_onnx(tmp_path: Path, tiny_card: Callable[..., Card]) -> Callable[..., Path]:
    """Return a function that writes the tiny ONNX file; `card=None` leaves the card out."""
    onnx = pytest.importorskip("onnx")

    def write(
        name: str = "tiny.onnx", card: Card | str | None = "default", outputs: tuple[str, ...] = ("raw",)
    ) -> Path:
        helper, kinds = onnx.helper, onnx.TensorProto
        shape = [1, 3, HW, HW]
        graph = helper.make_graph(
            [helper.make_node("Add", ["input", "one"], [name]) for name in outputs],
            "tiny",
            [helper.make_tensor_value_info("input", kinds.FLOAT, shape)],
            [helper.make_tensor_value_info(name, kinds.FLOAT, shape) for name in outputs],
            [helper.make_tensor("one", kinds.FLOAT, [1], [1.0])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        if card is not None:
            text = tiny_card().to_json() if card == "default" else card.to_json() if isinstance(card, Card) else card
            helper.set_model_props(model, {"other": "1", "edge.card": text})
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.fixture
def write_endless(tmp_path: Path, tiny_card: Callable[..., Card]) -> Callable[[], Path]:
    """Return a function that writes a valid ONNX file whose loop runs 2**62 times."""
    onnx = pytest.importorskip("onnx")

    def write() -> Path:
        helper, kinds = onnx.helper, onnx.TensorProto
        value = helper.make_tensor_value_info
        shape = [1, 3, HW, HW]
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["go"], ["go_on"]),
                helper.make_node("Add", ["carried", "carried"], ["next"]),
            ],
            "body",
            [value("step", kinds.INT64, []), value("go", kinds.BOOL, []), value("carried", kinds.FLOAT, shape)],
            [value("go_on", kinds.BOOL, []), value("next", kinds.FLOAT, shape)],
        )
        graph = helper.make_graph(
            [helper.make_node("Loop", ["trips", "always", "input"], ["raw"], body=body)],
            "endless",
            [value("input", kinds.FLOAT, shape)],
            [value("raw", kinds.FLOAT, shape)],
            [
                helper.make_tensor("trips", kinds.INT64, [], [2**62]),
                helper.make_tensor("always", kinds.BOOL, [], [True]),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        helper.set_model_props(model, {"edge.card": tiny_card().to_json()})
        path = tmp_path / "endless.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.fixture
def write_tflite(tmp_path: Path, tiny_card: Callable[..., Card]) -> Callable[..., Path]:
    """Return a function that writes the tiny TFLite file; `card=None` leaves the card out."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")

    def tensor(name: str, shape: list[int], buffer: int) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), shape, schema.TensorType.FLOAT32, buffer
        return made

    def write(name: str = "tiny.tflite", card: Card | str | None = "default", output: str = "raw") -> Path:
        import numpy as np

        model, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = [0, 1], [2]
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
        shape = [1, HW, HW, 3]
        graph.tensors = [tensor("input", shape, 0), tensor("one", [1], 1), tensor(output, shape, 0)]
        graph.inputs, graph.outputs, graph.operators = [0], [2], [operator]
        one, empty = schema.BufferT(), schema.BufferT()
        one.data = np.frombuffer(np.float32(1).tobytes(), np.uint8)
        model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [empty, one]
        if card is not None:
            chosen = tiny_card("tflite") if card == "default" else card
            text = chosen.to_json() if isinstance(chosen, Card) else chosen
            held, entry = schema.BufferT(), schema.MetadataT()
            held.data = np.frombuffer(text.encode(), np.uint8)
            entry.name, entry.buffer = b"edge.card", 2
            model.buffers.append(held)
            model.metadata = [entry]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path = tmp_path / name
        path.write_bytes(bytes(builder.Output()))
        return path

    return write


@pytest.fixture
def write_chain(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a TFLite file of three layers, one output of which is needed twice."""
    pytest.importorskip("tensorflow")
    return lambda name="chain.tflite": _write_chain(tmp_path / name)


def _write_chain(path: Path) -> Path:
    """Write a convolution whose output is pooled, and enlarged by what was pooled: a layer that is needed twice."""
    import numpy as np
    import tensorflow as tf

    from edge.export.tflite_file import embed_card

    kernel = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 3, 16)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec((1, 32, 32, 3), tf.float32)])  # type: ignore[untyped-decorator]
    def network(x: object) -> object:
        y = tf.nn.conv2d(x, kernel, 1, "SAME")
        return {"y": tf.nn.max_pool2d(y, 3, 1, "SAME") + y}

    module = tf.Module()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()], module)
    card = Card(
        model="chain",
        input=InputSpec(kind="tensor", shape=(1, 32, 32, 3), layout="NHWC"),
        outputs=(OutputSpec(name="y", shape=(1, 32, 32, 16), layout="NHWC", meaning="sums"),),
    )
    path.write_bytes(embed_card(bytes(converter.convert()), card.to_json()))
    return path
