"""FP16 and INT8 forms of a float32 ONNX file.

A recipe says what is quantised and how; recipes come from the graph (shapes, groups, constant weights), never from a
model's name. INT8 activations are unsigned, ranges are the true minimum and maximum over the calibration samples,
weights are signed and per channel; inputs and outputs stay float32.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from ..runtime.card import Precision
from ..runtime.errors import ConversionError, InputError, PrecisionError
from .onnx_boundary import spare_float_readers
from .onnx_calibration import Calibration, calibrate, open_session
from .onnx_dynamic import quantise_dynamic
from .onnx_equalise import equalise, equalise_inputs
from .onnx_file import (
    FLOAT_ONLY,
    MIN_MAC_SHARE,
    check_precision,
    inspect,
    int8_capable,
    macs_by_node,
    parse_model,
    save_model,
    tensor_shapes,
)
from .onnx_half import check_half_range, half_weights
from .onnx_rounding import round_in_place
from .onnx_sensitivity import Part, measure_noise, within_budget

__all__ = ["OnnxRecipe", "candidates", "noise_by_part", "quantise"]

LARGE_CONV = 1024  # in x out channels; below, quantising and dequantising costs more than the convolution saves
STRIDES = (1, 4, 8, 16, 32)
BUDGETS_DB = (21.5, 22.0, 22.5)  # above the INT8 limit of 20 dB with the margin of the search, 1.9
NOISE_SAMPLES = 2  # more move the order of parts little, and each costs a run a part
SIGMOID_SPAN = 8.0  # beyond, a sigmoid is within 3.4e-4 of 0 or 1: under a tenth of the error that 8 bits leave
SCALE_RANGE = (1e-12, 1e6)  # NUM-2 of the reliability bar
BIAS_TYPE = TensorProto.INT32


@dataclass(frozen=True, kw_only=True)
class OnnxRecipe:
    """One way of making a smaller file.

    Attributes:
        name: word for tables, e.g. "static-large-convs".
        scheme: "half-weights" (stored in half precision, computed in float32), "static" (8-bit activations),
            "static-16" (16-bit activations), or "dynamic".
        select: which nodes: "all", "dense" (convolutions and products with constant weights), "large-convs"
            (ungrouped, >= 1024 in x out channels, not the stem), "large-dense" (those and products), "products".
        from_stride: nodes before the first convolution at this stride of the input stay float32: early, wide maps
            lose most by 8-bit activations. 1: none.
        budget_db: SQNR that all quantised parts together may leave by `onnx_sensitivity`, dB; those that give most for
            least are taken. None: no measurement; `select` and `from_stride` decide.
    """

    name: str
    scheme: str
    select: str = "all"
    from_stride: int = 1
    budget_db: float | None = None


def candidates(model_path: Path, precision: Precision, *, min_mac_share: float = MIN_MAC_SHARE) -> list[OnnxRecipe]:
    """Return the recipes that are worth trying on a file, the plainest first.

    Args:
        model_path: float32 ONNX file.
        precision: fp16, int8, dynamic or w8a16.
        min_mac_share: recipes that would quantise less of the multiply-adds that have 8-bit kernels are left out.

    Where some have none, the rest is too little for coarse rules, and recipes that measure every part are added.

    Raises:
        InputError: fp32, which needs no recipe.
        ConversionError: the network has nothing to quantise.
    """
    if precision is Precision.FP32:
        raise InputError("fp32 needs no recipe", expected="fp16 | int8 | dynamic | w8a16")
    if precision is Precision.FP16:
        return [OnnxRecipe(name="half-weights", scheme="half-weights")]
    model = parse_model(model_path.read_bytes())
    scheme, selects = {
        Precision.INT8: ("static", ("all", "dense", "large-dense", "large-convs", "products")),
        Precision.DYNAMIC: ("dynamic", ("products", "large-dense", "dense")),
        Precision.W8A16: ("static-16", ("all", "dense")),
    }[precision]
    macs = macs_by_node(model)
    total = max(sum(macs.values()), 1)
    capable = int8_capable(model)
    for node in model.graph.node:
        if node.op_type in FLOAT_ONLY:
            macs.pop(node.name, None)
    found: list[OnnxRecipe] = []
    seen: list[list[str]] = []
    for select in selects:
        for stride in STRIDES if scheme == "static" and select in ("all", "large-dense") else (1,):
            nodes = _selected(model, select, stride)
            share = sum(macs.get(name, 0) for name in nodes) / total
            if share >= min_mac_share * capable and nodes not in seen:
                seen.append(nodes)
                name = f"{scheme}-{select}" + (f"-from-{stride}" if stride > 1 else "")
                found.append(OnnxRecipe(name=name, scheme=scheme, select=select, from_stride=stride))
    if scheme == "static" and found and capable < 1:
        found += [OnnxRecipe(name=f"static-within-{db:g}db", scheme=scheme, budget_db=db) for db in BUDGETS_DB]
    if not found:
        raise ConversionError(
            f"no recipe for {precision} reaches {min_mac_share:.0%} of the multiply-adds", hint="take fp16"
        )
    return found


def quantise(
    fp32: Path,
    recipe: OnnxRecipe,
    samples: Sequence[NDArray[np.float32]],
    out: Path,
    *,
    calibration: Calibration | None = None,
    noise: Mapping[Part, float] | None = None,
    min_mac_share: float = MIN_MAC_SHARE,
) -> dict[str, float]:
    """Write the file that a recipe makes; equal inputs give equal bytes.

    Args:
        fp32: float32 ONNX file with one input, static shapes.
        recipe: of `candidates`.
        samples: calibration inputs, each of the file's input shape; not used by fp16 and dynamic recipes.
        out: file to write, whole or not at all.
        calibration: of `onnx_calibration.calibrate` on the same file, to save calibrating for every recipe.
        noise: of `noise_by_part` on the same file, to save measuring for every recipe with a budget.
        min_mac_share: see `onnx_file.check_precision`, which every file must pass.

    Returns:
        Notes for the manifest: "flushed_share" (fp16: weights that became zero, 0..1) or "quantised_nodes".

    Raises:
        InputError: the samples do not fit, are not finite, do not vary, or one is far out of line.
        PrecisionError: a weight is beyond half precision, or a scale is out of range.
        ConversionError: the quantiser gave up, or its file does not run in onnxruntime's default session.
    """
    data = fp32.read_bytes()
    source, model = parse_model(data), parse_model(data)  # the second one is changed
    notes: dict[str, float] = {}
    with _quiet():
        if recipe.scheme == "half-weights":
            notes["flushed_share"] = check_half_range(model)
            result = half_weights(model)
        elif recipe.scheme == "dynamic":
            result = quantise_dynamic(model, _selected(model, recipe.select, recipe.from_stride))
        elif recipe.scheme in ("static", "static-16"):
            calibration = calibration if calibration is not None else calibrate(fp32, samples)
            if recipe.budget_db is None:
                nodes = _selected(model, recipe.select, recipe.from_stride)
            else:
                noise = noise if noise is not None else noise_by_part(fp32, samples, calibration)
                nodes = within_budget(noise, macs_by_node(model), recipe.budget_db)
            result = _static(
                model, nodes, calibration, wide=recipe.scheme == "static-16", scale_inputs=recipe.budget_db is not None
            )
        else:
            raise InputError(f"scheme `{recipe.scheme}` is not known", got=recipe)
    if "flushed_share" not in notes:
        notes["quantised_nodes"] = float(sum(node.op_type in _QUANTISED for node in result.graph.node))
    _finish(result, source)
    check_precision(inspect(result.SerializeToString()), PRECISION[recipe.scheme], min_mac_share=min_mac_share)
    save_model(result, out)
    return notes


def noise_by_part(fp32: Path, samples: Sequence[NDArray[np.float32]], calibration: Calibration) -> dict[Part, float]:
    """Return what every part of a network costs when it alone is in 8 bits, see `onnx_sensitivity.measure_noise`.

    Args:
        fp32: float32 ONNX file.
        samples: of the calibration; `NOISE_SAMPLES` of them, evenly spread, are used.
        calibration: of the same file.
    """
    data = fp32.read_bytes()
    step = max(len(samples) // NOISE_SAMPLES, 1)
    with _quiet():
        return measure_noise(
            parse_model(data),
            samples[::step][:NOISE_SAMPLES],
            lambda nodes: _static(parse_model(data), nodes, calibration, wide=False, scale_inputs=True),
        )


PRECISION = {
    "half-weights": Precision.FP16,
    "static": Precision.INT8,
    "static-16": Precision.W8A16,
    "dynamic": Precision.DYNAMIC,
}
_QUANTISED = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})


def _selected(model: ModelProto, select: str, from_stride: int = 1) -> list[str]:
    """Return the names of the nodes that a rule takes; "all" leaves shape arithmetic to the quantiser."""
    graph = model.graph
    constant = {item.name: tuple(item.dims) for item in graph.initializer}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    late = list(graph.node)[_first_at_stride(model, from_stride) :]
    convs = [node for node in late if node.op_type == "Conv" and node.input[1] in constant]
    stem = next((node.name for node in graph.node if node.op_type == "Conv"), "")
    products = [node for node in late if _is_product(node, constant)]
    large = [
        node
        for node in convs
        if _group(node) == 1 and math.prod(constant[node.input[1]][:2]) >= LARGE_CONV and node.name != stem
    ]
    if select == "all":
        return [node.name for node in late] if convs or products else []
    taken = {
        "dense": convs + products,
        "large-convs": large,
        "large-dense": large + products,
        "products": products,
    }[select]
    names = {node.name for node in taken}
    for node in taken:
        # A ReLU behind a quantised convolution costs nothing: the zero point clips.
        names |= {reader.name for reader in readers.get(node.output[0], []) if reader.op_type in ("Relu", "Clip")}
    return [node.name for node in graph.node if node.name in names]


def _first_at_stride(model: ModelProto, stride: int) -> int:
    """Return the index of the first convolution whose map is `stride` times smaller than the input; 0 for stride 1."""
    shapes = tensor_shapes(model)
    height = shapes[model.graph.input[0].name][2:3]
    for index, node in enumerate(model.graph.node if stride > 1 and height else ()):
        if node.op_type == "Conv" and shapes[node.output[0]][2] * stride <= height[0]:
            return index
    return 0


def _gates(model: ModelProto) -> list[str]:
    """Return the tensors that nobody but a sigmoid reads; their tails need no steps."""
    readers: dict[str, list[str]] = {item.name: ["output"] for item in model.graph.output}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    return [name for name, ops in readers.items() if set(ops) == {"Sigmoid"}]


def _is_product(node: NodeProto, constant: Mapping[str, tuple[int, ...]]) -> bool:
    return node.op_type in ("Gemm", "MatMul") and len(constant.get(node.input[1], ())) == 2


def _group(node: NodeProto) -> int:
    return next((int(item.i) for item in node.attribute if item.name == "group"), 1)


def _static(
    model: ModelProto, nodes: list[str], calibration: Calibration, *, wide: bool, scale_inputs: bool = False
) -> ModelProto:
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry

    activation = QuantType.QUInt16 if wide else QuantType.QUInt8
    calibration = equalise(model, calibration)
    if scale_inputs:
        calibration = equalise_inputs(model, calibration, nodes)
    if not wide:  # 16 bits have steps to spare
        calibration = calibration.clipped(_gates(model), SIGMOID_SPAN)
    round_in_place(model, nodes, calibration.means)
    if wide:
        model = onnx.version_converter.convert_version(model, 21)  # the first whose QuantizeLinear takes 16 bits
    model = onnx.shape_inference.infer_shapes(model)
    data = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in calibration.ranges().items()
    }
    try:
        quantiser: Any = QDQQuantizer(
            model,
            True,  # weights per channel
            False,  # full 8-bit range
            QuantType.QInt8,
            activation,
            TensorsData(CalibrationMethod.MinMax, data),
            nodes,
            [],
            list(QDQRegistry),
            # Products may hand on float32: the engine's kernel dequantises for nothing, and nothing is rounded.
            {"ActivationSymmetric": False, "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
        )
        quantiser.quantize_model()
    except Exception as exc:
        raise ConversionError(f"onnxruntime's quantiser gave up: {type(exc).__name__}: {str(exc)[:160]}") from exc
    result: ModelProto = quantiser.model.model
    spare_float_readers(result)
    return result


def _finish(result: ModelProto, source: ModelProto) -> None:
    """Strip the tool's traces, and check signature, scales, validity, and that the default session takes the file."""
    result.producer_name, result.producer_version, result.doc_string = "edge", "", ""
    result.graph.name, result.graph.doc_string = source.graph.name, ""
    _sort_nodes(result)
    del result.metadata_props[:]
    # Passes of the quantisers add opsets that no node uses.
    used = {node.domain for node in result.graph.node} | {""}
    kept = [item for item in result.opset_import if item.domain in used]
    del result.opset_import[:]
    result.opset_import.extend(sorted(kept, key=lambda item: item.domain))
    for side in ("input", "output"):
        wanted = [(item.name, item.type.tensor_type.elem_type) for item in getattr(source.graph, side)]
        got = [(item.name, item.type.tensor_type.elem_type) for item in getattr(result.graph, side)]
        if wanted != got:
            raise ConversionError(f"the quantiser changed the {side}s", expected=wanted, got=got)
    _check_scales(result)
    try:
        onnx.checker.check_model(result)
    except Exception as exc:
        raise ConversionError(f"the quantised graph is not valid: {str(exc)[:160]}") from exc
    open_session(result.SerializeToString())


def _sort_nodes(model: ModelProto) -> None:
    """Put every node behind those that it reads; converters append theirs at the end. Stable, so deterministic."""
    waiting = list(model.graph.node)
    missing = {name for node in waiting for name in node.output}
    ordered: list[NodeProto] = []
    while waiting:
        later = []
        for node in waiting:
            if missing.intersection(node.input):
                later.append(node)
            else:
                ordered.append(node)
                missing.difference_update(node.output)
        if len(later) == len(waiting):
            raise ConversionError(f"the quantised graph has a cycle at `{later[0].name}`")
        waiting = later
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def _check_scales(model: ModelProto) -> None:
    """Check every stored scale: finite and within `SCALE_RANGE`; a bias's is a product of two and need only be > 0.

    Raises:
        PrecisionError: one is not; the message names the tensor.
    """
    tensors = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.input[1] not in tensors:
            continue
        scale = numpy_helper.to_array(tensors[node.input[1]]).astype(np.float64)
        is_bias = node.input[0] in tensors and tensors[node.input[0]].data_type == BIAS_TYPE
        low, high = (0.0 if is_bias else SCALE_RANGE[0]), SCALE_RANGE[1]
        if not (np.isfinite(scale).all() and (scale > 0).all() and scale.min() >= low and scale.max() <= high):
            raise PrecisionError(
                f"scale of `{node.input[0]}` is out of range",
                expected=f"{low:g}..{high:g}",
                got=f"{scale.min():g}..{scale.max():g}",
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tools' advice off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
