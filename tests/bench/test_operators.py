"""Operators of small files whose numbers can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.bench.operators import Operator, mac_shares, main_precision, read_operators, total_macs
from edge.runtime.errors import ArtifactError


@pytest.fixture
def tflite(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a TFLite file from tensors and operators, as tuples."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")

    def write(tensors: list[tuple[list[int], str, bool]], ops: list[tuple[str, list[int], list[int], int]]) -> Path:
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
        model.operatorCodes, graph.tensors, graph.operators = [], [], []
        for index, (shape, kind, constant) in enumerate(tensors):
            tensor = schema.TensorT()
            tensor.name, tensor.shape, tensor.type = f"t{index}".encode(), shape, getattr(schema.TensorType, kind)
            tensor.buffer = 0
            if constant:
                held = schema.BufferT()
                held.data = np.zeros(int(np.prod(shape)) * 4, np.uint8)
                model.buffers.append(held)
                tensor.buffer = len(model.buffers) - 1
            graph.tensors.append(tensor)
        for name, inputs, outputs, stride in ops:
            code, operator = schema.OperatorCodeT(), schema.OperatorT()
            code.builtinCode = getattr(schema.BuiltinOperator, name)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes), inputs, outputs
            if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                camel = "Conv2DOptions" if name == "CONV_2D" else "DepthwiseConv2DOptions"
                options = getattr(schema, f"{camel}T")()
                options.strideH = options.strideW = stride
                operator.builtinOptions = options
                operator.builtinOptionsType = getattr(schema.BuiltinOptions, camel)
            model.operatorCodes.append(code)
            graph.operators.append(operator)
        graph.inputs, graph.outputs = [0], [len(tensors) - 1]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path = tmp_path / "net.tflite"
        path.write_bytes(bytes(builder.Output()))
        return path

    return write


def test_a_tflite_file_of_three_layers_has_the_numbers_of_a_pencil(tflite: Callable[..., Path]) -> None:
    path = tflite(
        [
            ([1, 8, 8, 3], "FLOAT32", False),
            ([16, 3, 3, 3], "FLOAT32", True),
            ([1, 4, 4, 16], "FLOAT32", False),
            ([1, 3, 3, 16], "FLOAT32", True),
            ([1, 4, 4, 16], "FLOAT32", False),
            ([8, 1, 1, 16], "FLOAT32", True),
            ([1, 4, 4, 8], "FLOAT32", False),
        ],
        [("CONV_2D", [0, 1], [2], 2), ("DEPTHWISE_CONV_2D", [2, 3], [4], 1), ("CONV_2D", [4, 5], [6], 1)],
    )

    conv, depthwise, pointwise = read_operators(path)

    assert (conv.kind, conv.macs, conv.kernel, conv.stride) == ("conv", 16 * 16 * 27, 9, 4)
    assert (conv.name, conv.op, conv.shape, conv.precision) == ("t2", "CONV_2D", (1, 4, 4, 16), "fp32")
    assert (conv.in_bytes, conv.out_bytes, conv.weight_bytes) == (8 * 8 * 3 * 4, 4 * 4 * 16 * 4, 16 * 27 * 4)
    assert (depthwise.kind, depthwise.macs) == ("depthwise", 16 * 16 * 9)
    assert (pointwise.kind, pointwise.macs, pointwise.channels) == ("pointwise", 16 * 8 * 16, 16)
    assert total_macs([conv, depthwise, pointwise]) == 6912 + 2304 + 2048
    assert mac_shares([conv, depthwise, pointwise]) == pytest.approx([0.6136, 0.2045, 0.1818], abs=1e-4)


def test_integer_activations_make_an_operator_int8_and_integer_weights_alone_dynamic(
    tflite: Callable[..., Path],
) -> None:
    def precisions(activation: str, weights: str) -> list[str]:
        shape = [1, 4, 4, 8]
        path = tflite(
            [(shape, activation, False), ([8, 1, 1, 8], weights, True), (shape, activation, False)],
            [("CONV_2D", [0, 1], [2], 1)],
        )
        return [operator.precision for operator in read_operators(path)]

    assert precisions("INT8", "INT8") == ["int8"]
    assert precisions("INT16", "INT8") == ["w8a16"]
    assert precisions("FLOAT32", "INT8") == ["dynamic"]


def test_half_precision_weights_are_widened_at_load_and_the_widening_is_no_operator(
    tflite: Callable[..., Path],
) -> None:
    shape = [1, 4, 4, 8]
    path = tflite(
        [
            (shape, "FLOAT32", False),
            ([8, 1, 1, 8], "FLOAT16", True),
            ([8, 1, 1, 8], "FLOAT32", False),
            (shape, "FLOAT32", False),
        ],
        [("DEQUANTIZE", [1], [2], 1), ("CONV_2D", [0, 2], [3], 1)],
    )

    (operator,) = read_operators(path)

    assert (operator.precision, operator.weight_bytes) == ("fp16", 64 * 2)


def test_a_grouped_convolution_is_told_from_a_full_one_by_its_weights(tflite: Callable[..., Path]) -> None:
    path = tflite(
        [([1, 4, 4, 8], "FLOAT32", False), ([8, 3, 3, 2], "FLOAT32", True), ([1, 4, 4, 8], "FLOAT32", False)],
        [("CONV_2D", [0, 1], [2], 1)],
    )

    (operator,) = read_operators(path)

    assert (operator.kind, operator.macs) == ("grouped", 4 * 4 * 8 * 9 * 2)


def test_an_open_shape_is_refused_by_name(tflite: Callable[..., Path]) -> None:
    path = tflite([([1, 0, 4, 8], "FLOAT32", False), ([1, 0, 4, 8], "FLOAT32", False)], [("HARD_SWISH", [0], [1], 1)])

    with pytest.raises(ArtifactError, match=r"shape of `t[01]` is not fixed"):
        read_operators(path)


def test_a_damaged_tflite_file_is_refused_in_one_line(tflite: Callable[..., Path]) -> None:
    shape = [1, 4, 4, 8]
    path = tflite([(shape, "FLOAT32", False), (shape, "FLOAT32", False)], [("HARD_SWISH", [0], [1], 1)])
    content = bytearray(path.read_bytes())
    content[8:60] = b"\xff" * 52
    path.write_bytes(bytes(content))

    with pytest.raises(ArtifactError, match=r"`net.tflite`"):
        read_operators(path)


def onnx_file(path: Path, nodes: list[Any], constants: dict[str, Any], output: str, shape: list[int]) -> Path:
    """Write an ONNX file with one input `x` of 1 x 3 x 8 x 8."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kinds.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(output, kinds.FLOAT, shape)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_an_onnx_convolution_swallows_its_relu_and_a_sigmoid_stands_alone(tmp_path: Path) -> None:
    helper = pytest.importorskip("onnx").helper
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Sigmoid", ["r"], ["y"]),
    ]
    path = onnx_file(tmp_path / "n.onnx", nodes, {"w": np.zeros((16, 3, 3, 3), np.float32)}, "y", [1, 16, 4, 4])

    conv, sigmoid = read_operators(path)

    assert (conv.kind, conv.macs, conv.precision, conv.shape) == ("conv", 16 * 16 * 27, "fp32", (1, 16, 4, 4))
    assert (sigmoid.kind, sigmoid.out_elements, sigmoid.macs) == ("transcendental", 256, 0)


def test_quantise_and_dequantise_nodes_fold_into_the_int8_operator_between_them(tmp_path: Path) -> None:
    helper = pytest.importorskip("onnx").helper
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["rq"]),
        helper.make_node("DequantizeLinear", ["rq", "s", "z"], ["y"]),
    ]
    constants = {"s": np.float32(0.1), "z": np.int8(0), "wq": np.zeros((4, 3, 3, 3), np.int8)}
    path = onnx_file(tmp_path / "q.onnx", nodes, constants, "y", [1, 4, 8, 8])

    operators = read_operators(path)

    assert [operator.op for operator in operators] == ["QuantizeLinear", "Conv", "DequantizeLinear"]
    assert main_precision(operators) == "int8"
    assert (operators[1].in_bytes, operators[1].weight_bytes) == (3 * 64, 4 * 27)


def test_an_onnx_file_with_an_open_side_is_refused_with_a_hint(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    value = [helper.make_tensor_value_info(name, kinds.FLOAT, ["n", 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "net", [value[0]], [value[1]])
    onnx.save(helper.make_model(graph), tmp_path / "open.onnx")

    with pytest.raises(ArtifactError, match="not fixed") as caught:
        read_operators(tmp_path / "open.onnx")

    assert "fixed input shape" in (caught.value.hint or "")


def test_an_operator_of_an_unknown_class_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        Operator(name="a", op="A", kind="magic", precision="fp32", shape=(1,))
