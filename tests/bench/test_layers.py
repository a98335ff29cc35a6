"""Where the time goes: pooled times against a slow reference, both engines' layers, and the picture of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bench.layers import Layer, Profile, kernel_times, pool, profile
from edge.bench.layers_picture import layers_svg, layers_table
from edge.runtime.errors import InputError

times = st.lists(st.floats(0, 100), min_size=1, max_size=30)


def slow_pool(values: list[float]) -> list[float]:
    """Isotonic regression by its min-max formula."""
    count = len(values)
    return [
        max(min(float(np.mean(values[i : j + 1])) for j in range(k, count)) for i in range(k + 1)) for k in range(count)
    ]


@given(times)
def test_pooling_gives_what_the_min_max_formula_gives(values: list[float]) -> None:
    np.testing.assert_allclose(pool(values), slow_pool(values), atol=1e-9)


@given(times)
def test_pooled_times_never_fall_and_keep_their_sum(values: list[float]) -> None:
    found = pool(values)

    assert (np.diff(found) >= 0).all()
    assert sum(found) == pytest.approx(sum(values), abs=1e-6)


def event(index: int, name: str, op: str, us: int, shapes: list[list[int]], out: list[int]) -> dict[str, object]:
    inputs = [{"float": shape} for shape in shapes]
    args = {"node_index": str(index), "op_name": op, "input_type_shape": inputs, "output_type_shape": [{"float": out}]}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": us, "args": args}


def test_kernels_are_told_by_their_median_after_the_first_runs() -> None:
    runs = [(9000, 10), (9000, 10), (100, 10), (300, 10), (200, 50)]
    events: list[dict[str, object]] = [{"cat": "Session", "name": "model_run", "dur": 1}]
    for conv, add in runs:
        events.append(event(0, "a_nchwc", "Conv", conv, [[1, 3, 8, 8], [4, 3, 3, 3], [4]], [1, 4, 8, 8]))
        events.append(event(1, "b", "Add", add, [[1, 4, 8, 8], [1, 4, 8, 8]], [1, 4, 8, 8]))

    assert kernel_times(events, 2, {}) == [("a", "Conv", 0.2, 4 * 8 * 8 * 27), ("b", "Add", 0.01, 0)]


@pytest.mark.parametrize(
    ("op", "shapes", "out", "macs"),
    [
        ("Conv", [[1, 8, 4, 4], [8, 1, 3, 3]], [1, 8, 4, 4], 8 * 16 * 9),
        ("FusedConv", [[1, 8, 4, 4], [16, 8, 1, 1]], [1, 16, 4, 4], 16 * 16 * 8),
        ("FusedMatMul", [[2, 5, 7], [7, 3]], [2, 5, 3], 2 * 5 * 3 * 7),
        ("Gemm", [[1, 100], [100, 10], [10]], [1, 10], 1000),
        ("ConvTranspose", [[1, 4, 5, 5], [4, 6, 2, 2]], [1, 6, 10, 10], 4 * 25 * 6 * 4),
        ("Transpose", [[1, 4, 5, 5]], [1, 5, 5, 4], 0),
    ],
)
def test_multiply_adds_come_from_the_shapes(op: str, shapes: list[list[int]], out: list[int], macs: int) -> None:
    assert kernel_times([event(0, "x", op, 10, shapes, out)], 0, {})[0][3] == macs


def test_kernels_whose_weights_are_packed_are_known_by_name() -> None:
    packed = event(0, "conv2/Conv_2_token_7", "QLinearConv", 10, [[1, 8, 8, 3], []], [1, 8, 8, 4])

    assert kernel_times([packed], 0, {"conv2/Conv_2": 77}) == [("conv2/Conv_2", "QLinearConv", 0.01, 77)]


def test_both_engines_name_the_layer_of_a_small_file(
    write_onnx: Callable[..., Path], write_tflite: Callable[..., Path]
) -> None:
    for path, engine, op in ((write_onnx(), "onnxruntime", "Add"), (write_tflite(), "litert", "ADD")):
        found = profile(path, runs=5)

        assert found.engine == engine
        assert [layer.op for layer in found.layers] == [op]
        assert found.layers[0].time_share == pytest.approx(1.0)
        assert found.total_ms > 0
        json.dumps(found.to_dict(), allow_nan=False)


def test_a_network_of_several_layers_is_cut_after_each(write_chain: Callable[..., Path]) -> None:
    found = profile(write_chain(), runs=5)

    assert [layer.op for layer in found.layers] == ["CONV_2D", "MAX_POOL_2D", "ADD"]
    assert [layer.macs for layer in found.layers] == [32 * 32 * 16 * 27, 0, 0]
    assert min(layer.ms for layer in found.layers) >= 0
    assert sum(layer.ms for layer in found.layers) == pytest.approx(found.total_ms, rel=1e-3)


def a_profile(name: str = "a<b>&.tflite") -> Profile:
    layers = (
        Layer(name='conv "1"', op="CONV_2D", ms=3.0, time_share=0.75, macs=900, mac_share=0.9),
        Layer(name="x" * 80, op="PAD", ms=1.0, time_share=0.25, macs=100, mac_share=0.1),
    )
    return Profile(file=name, sha256="0" * 64, engine="litert", how="by hand", total_ms=4.0, layers=layers)


def test_the_table_names_layers_and_their_shares() -> None:
    text = layers_table([a_profile()])

    assert "4.00 ms in 2 layers, litert, 1 thread" in text
    assert "75.0" in text
    assert "90.0" in text
    assert "2.5" in text  # a quarter of the time for a tenth of the multiply-adds


def test_the_picture_is_one_svg_without_script_or_reference() -> None:
    text = layers_svg([a_profile(), a_profile("other.onnx")])
    root = ElementTree.fromstring(text)

    assert root.tag.endswith("svg")
    bars = [element for element in root.iter() if element.tag.endswith("rect") and element.get("height") == "8"]
    assert [float(bar.attrib["width"]) for bar in bars[:2]] == [pytest.approx(350, abs=0.1), pytest.approx(116.7)]
    assert "<script" not in text
    assert text.count("http") == 1  # the namespace


def test_a_file_without_a_card_cannot_be_profiled(write_onnx: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="holds no card"):
        profile(write_onnx(card=None))
