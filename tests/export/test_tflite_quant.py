"""Quantised TFLite files are what their names say, and lose no more than they must."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.export.tflite_equalise import equalise
from edge.export.tflite_file import op_name, read_model
from edge.export.tflite_inspect import check_precision, inspect
from edge.runtime.errors import ConversionError, PrecisionError

pytest.importorskip("ai_edge_quantizer")


def _samples(count: int, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((1, 32, 32, 3), dtype=np.float32) for _ in range(count)]


def _made(source: Path, precision: str, tmp_path: Path, name: str | None = None) -> bytes:
    from edge.export.tflite_quant import candidates, quantise

    recipes = candidates(source, precision)
    recipe = recipes[0] if name is None else next(item for item in recipes if item.name == name)
    quantise(source, recipe, _samples(4), tmp_path / "q.tflite")
    return (tmp_path / "q.tflite").read_bytes()


def _sqnr(reference: Any, other: Any) -> float:
    return float(10 * np.log10((reference**2).sum() / ((reference - other) ** 2).sum()))


def test_facts_of_the_small_network_match_a_count_by_hand(tiny_tflite: Any) -> None:
    facts = inspect(tiny_tflite.path.read_bytes())

    # stem 3x3x3x8 at 16x16, depthwise 3x3x8, 1x1 8x16, 3x3x16x5 and 1x1 16x4 at 8x8
    assert sum(facts.macs.values()) == 216 * 256 + (72 + 128 + 720 + 64) * 64
    assert facts.share("fp32") == 1.0
    assert facts.foreign == ()


@pytest.mark.parametrize("word", ["int8", "fp16", "dynamic", "w8a16"])
def test_a_float_file_under_another_name_is_refused(tiny_tflite: Any, word: str) -> None:
    facts = inspect(tiny_tflite.path.read_bytes())

    check_precision(facts, "fp32")
    with pytest.raises(PrecisionError, match=word):
        check_precision(facts, word)


@pytest.mark.parametrize("precision", ["fp16", "int8", "dynamic", "w8a16"])
def test_each_precision_is_what_it_says_and_close_to_float(
    tiny_tflite: Any, run_tflite: Any, tmp_path: Path, precision: str
) -> None:
    data = _made(tiny_tflite.path, precision, tmp_path)
    x = _samples(1, seed=9)[0]
    wanted, got = run_tflite(tiny_tflite.path.read_bytes(), x), run_tflite(data, x)

    check_precision(inspect(data), precision)
    with pytest.raises(PrecisionError):
        check_precision(inspect(data), "fp32")
    assert list(got) == list(wanted)
    assert all(_sqnr(wanted[name], got[name]) > 20 for name in wanted)


def test_every_static_candidate_keeps_the_floor_and_has_a_name_of_its_own(tiny_tflite: Any, tmp_path: Path) -> None:
    from edge.export.tflite_quant import candidates, quantise

    recipes = candidates(tiny_tflite.path, "int8")

    assert len({item.name for item in recipes}) == len(recipes) > 1
    for recipe in recipes:
        quantise(tiny_tflite.path, recipe, _samples(2), tmp_path / "q.tflite")
        check_precision(inspect((tmp_path / "q.tflite").read_bytes()), "int8")


def test_calibration_takes_true_extremes_and_clips_nothing(tiny_tflite: Any, tmp_path: Path) -> None:
    from edge.export.tflite_quant import candidates, quantise

    samples = _samples(8)
    samples[3][0, 0, 0, 0] = 40.0  # a moving average would forget it by the last sample
    quantise(tiny_tflite.path, candidates(tiny_tflite.path, "int8")[0], samples, tmp_path / "q.tflite")

    model = read_model((tmp_path / "q.tflite").read_bytes())
    graph = model.subgraphs[0]
    first = next(item for item in graph.operators if op_name(model, item) == "QUANTIZE")
    scale = graph.tensors[first.outputs[0]].quantization
    assert scale.scale[0] * (127 - scale.zeroPoint[0]) >= 40.0 - scale.scale[0]


def test_leaky_relu_runs_in_int8(tiny_tflite: Any, tmp_path: Path) -> None:
    model = read_model(_made(tiny_tflite.path, "int8", tmp_path))
    graph = model.subgraphs[0]

    kinds = [graph.tensors[item.inputs[0]].type for item in graph.operators if op_name(model, item) == "LEAKY_RELU"]

    assert len(kinds) == 3
    assert set(kinds) == {9}  # TensorType.INT8


def test_no_int8_recipe_rounds_probabilities_to_256_steps(tiny_tflite: Any, run_tflite: Any, tmp_path: Path) -> None:
    from edge.export.tflite_quant import candidates, quantise

    x = _samples(1, seed=9)[0]
    for recipe in candidates(tiny_tflite.path, "int8"):
        quantise(tiny_tflite.path, recipe, _samples(4), tmp_path / "q.tflite")
        shares = run_tflite((tmp_path / "q.tflite").read_bytes(), x)["alpha"]
        steps = shares * 256
        assert np.abs(steps - np.round(steps)).max() > 0.1, recipe.name
        np.testing.assert_allclose(shares.sum(-1), 1.0, atol=1e-6)


def test_quantising_twice_gives_the_same_bytes(tiny_tflite: Any, tmp_path: Path) -> None:
    first = _made(tiny_tflite.path, "int8", tmp_path)

    assert _made(tiny_tflite.path, "int8", tmp_path) == first


def test_a_static_recipe_without_samples_is_refused(tiny_tflite: Any, tmp_path: Path) -> None:
    from edge.export.tflite_quant import candidates, quantise

    recipe = candidates(tiny_tflite.path, "int8")[0]
    with pytest.raises(ConversionError, match=r"static-all.*samples"):
        quantise(tiny_tflite.path, recipe, [], tmp_path / "q.tflite")


def _lopsided(data: bytes) -> bytes:
    """Return the same function with a stem whose channels differ a thousandfold: filters times f, readers by f."""
    from edge.export import tflite_equalise as module

    model = read_model(data)
    graph = model.subgraphs[0]
    edge = module._edges(model, graph)[0]
    factor = np.exp2(np.arange(8) - 5.0).astype(np.float32)
    module._scale(model, graph, edge.maker, 1, module._along_outputs(model, edge.maker, factor))
    module._scale(model, graph, edge.maker, 2, factor)
    for reader in edge.readers:
        module._scale(model, graph, reader, 1, module._along_inputs(model, graph, reader, 1 / factor))
    from edge.export.tflite_file import drop_unused, write_model

    drop_unused(model, graph)
    return write_model(model)


def test_equalising_changes_no_bit_and_mends_lopsided_channels(
    tiny_tflite: Any, run_tflite: Any, tmp_path: Path
) -> None:
    lopsided = _lopsided(tiny_tflite.path.read_bytes())
    x = _samples(1, seed=9)[0]
    wanted = run_tflite(tiny_tflite.path.read_bytes(), x)
    for data in (lopsided, equalise(lopsided, _samples(4))):
        assert all(run_tflite(data, x)[name].tobytes() == wanted[name].tobytes() for name in wanted)

    source = tmp_path / "lopsided.tflite"
    source.write_bytes(lopsided)
    plain = run_tflite(_made(source, "int8", tmp_path, "static-all-float-tail"), x)
    mended = run_tflite(_made(source, "int8", tmp_path, "static-all-float-tail-equalised"), x)
    assert _sqnr(wanted["zeta"], mended["zeta"]) > _sqnr(wanted["zeta"], plain["zeta"]) + 6


def test_least_noise_reaches_the_floor_and_drops_what_a_later_part_made_needless() -> None:
    from edge.export.tflite_sensitivity import least_noise

    noise = {("small",): 0.001, ("deep", "wide"): 0.2, ("loud",): 0.9}
    macs = {"small": 1, "deep": 10, "wide": 90, "loud": 50}

    assert least_noise(noise, macs, 100) == ["deep", "wide"]
    assert least_noise(noise, macs, 151) == ["small", "deep", "wide", "loud"]
