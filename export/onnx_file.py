"""What an ONNX file holds: its card, its operators, the precision of its weights and of its arithmetic.

A file is measured, never believed: `check_precision` refuses an `int8` whose multiplications are float. Facts come from
shape inference, so this is for files that we wrote; a foreign file belongs in a child process first.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from ..runtime.card import Precision
from ..runtime.errors import ArtifactError, PrecisionError

__all__ = [
    "CARD_KEY",
    "FLOAT_ONLY",
    "MIN_MAC_SHARE",
    "OnnxFacts",
    "check_precision",
    "embed_card",
    "inspect",
    "int8_capable",
    "macs_by_node",
    "parse_model",
    "read_card",
    "save_model",
    "tensor_shapes",
]

CARD_KEY = "edge.card"
# Of the multiply-adds that the engine can do in 8 bits; a recipe may leave stem and depthwise layers in float, not most
# of a net. Nodes of `FLOAT_ONLY` are not in the base: no choice of ours could quantise them.
MIN_MAC_SHARE = 0.5
FLOAT_ONLY = frozenset({"DeformConv"})  # operators of which onnxruntime has no 8-bit kernel
MIN_HALF_SHARE = 0.8  # of the float elements; biases stay float32, one number in ten of a depthwise 3x3 layer


@dataclass(frozen=True, kw_only=True)
class OnnxFacts:
    """What stands in one ONNX file.

    Attributes:
        size_bytes: of the file.
        opsets: opset number by domain; "" is ONNX itself.
        domains: domains other than ONNX's own that nodes use.
        ops: number of nodes by operator.
        parameters: elements of all initialisers that are weights or biases; scales and zero points do not count.
        elements: elements of those by dtype word, e.g. {"int8": 1000, "float32": 24}.
        macs: multiply-adds of convolutions and matrix products at the static input shape.
        mac_share: share of `macs` by arithmetic, 0..1: "float", "w8a8" (static, weights per channel),
            "w8a8-tensor" (static, weights per tensor), "w8a16" (weights per channel), "dynamic".
        int8_capable: share of `macs` in operators for which onnxruntime has 8-bit kernels, 0..1; the rest is "float"
            in any file.
        external_data: whether an initialiser lives in another file.
    """

    size_bytes: int
    opsets: Mapping[str, int]
    domains: tuple[str, ...]
    ops: Mapping[str, int]
    parameters: int
    elements: Mapping[str, int]
    macs: int
    mac_share: Mapping[str, float]
    int8_capable: float
    external_data: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def parse_model(data: bytes) -> ModelProto:
    """Return the model that bytes hold.

    Raises:
        ArtifactError: they are no ONNX model, or hold no node.
    """
    try:
        model = onnx.load_model_from_string(data)
    except Exception as exc:  # protobuf raises its own kinds
        raise ArtifactError("not an ONNX file", got=f"{len(data)} bytes") from exc
    if not model.graph.node:  # onnx parses an empty file without complaint
        raise ArtifactError("the ONNX file holds no node", got=f"{len(data)} bytes")
    return model


def save_model(model: ModelProto, out: Path) -> None:
    """Write a model, weights inside, so that `out` is whole or absent; equal models give equal bytes."""
    _replace(out, model.SerializeToString(deterministic=True))


def embed_card(source: bytes | Path, card_json: str) -> bytes:
    """Return the file's bytes with the card in `metadata_props`; a path is rewritten as well.

    Args:
        source: an ONNX file, or its bytes. A card that is there is replaced.
        card_json: `Card.to_json()`.
    """
    model = parse_model(source.read_bytes() if isinstance(source, Path) else source)
    kept = [(item.key, item.value) for item in model.metadata_props if item.key != CARD_KEY]
    onnx.helper.set_model_props(model, dict(sorted([*kept, (CARD_KEY, card_json)])))
    data: bytes = model.SerializeToString(deterministic=True)
    if isinstance(source, Path):
        _replace(source, data)
    return data


def read_card(data: bytes) -> str | None:
    """Return the JSON text of the embedded card, or None."""
    return next((item.value for item in parse_model(data).metadata_props if item.key == CARD_KEY), None)


def inspect(data: bytes) -> OnnxFacts:
    """Return what stands in an ONNX file.

    Args:
        data: the file's bytes.

    Raises:
        ArtifactError: the bytes are no ONNX model, or shapes cannot be inferred.
    """
    model = parse_model(data)
    graph = model.graph
    weights = _weights(model)
    elements: Counter[str] = Counter()
    for item in weights:
        elements[_dtype_word(item.data_type)] += math.prod(item.dims)
    macs = _macs_by_arithmetic(model)
    total = sum(macs.values())
    return OnnxFacts(
        size_bytes=len(data),
        opsets={item.domain: item.version for item in model.opset_import},
        domains=tuple(sorted({node.domain for node in graph.node} - {"", "ai.onnx"})),
        ops=dict(sorted(Counter(node.op_type for node in graph.node).items())),
        parameters=sum(count for word, count in elements.items() if word not in _SHAPE_DTYPES),
        elements=dict(sorted(elements.items())),
        macs=total,
        mac_share={name: count / total for name, count in sorted(macs.items())} if total else {},
        int8_capable=int8_capable(model),
        external_data=any(item.data_location == TensorProto.EXTERNAL for item in graph.initializer),
    )


def check_precision(facts: OnnxFacts, precision: Precision, *, min_mac_share: float = MIN_MAC_SHARE) -> None:
    """Check that a file is what its name claims.

    Args:
        facts: of `inspect`.
        precision: the claim.
        min_mac_share: share that must be done in the claimed quantised arithmetic, of the multiply-adds for which
            there are 8-bit kernels (`OnnxFacts.int8_capable`).

    Raises:
        PrecisionError: it is not; the message says what was found.
    """
    if facts.external_data:
        raise PrecisionError("the file keeps weights in another file", expected="all weights inside")
    floats = {word: facts.elements.get(word, 0) for word in ("float32", "float16", "float64", "bfloat16")}
    if precision is Precision.FP32:
        if sum(facts.elements.values()) > floats["float32"] + _integers(facts):
            raise PrecisionError("not an fp32 file", expected="float32 weights only", got=dict(facts.elements))
        if facts.mac_share and facts.mac_share.get("float", 0.0) < 1.0:
            raise PrecisionError("not an fp32 file", expected="float arithmetic", got=_shares(facts))
    elif precision is Precision.FP16:
        total = sum(floats.values())
        share = floats["float16"] / total if total else 0.0
        if share < MIN_HALF_SHARE:
            raise PrecisionError(
                "not an fp16 file", expected=f">= {MIN_HALF_SHARE:.0%} float16 weights", got=f"{share:.1%}"
            )
    else:
        word = {Precision.INT8: "w8a8", Precision.DYNAMIC: "dynamic", Precision.W8A16: "w8a16"}[precision]
        floor = min_mac_share * facts.int8_capable
        if facts.mac_share.get(word, 0.0) < floor:
            expected = f">= {floor:.0%} of the multiply-adds {word}, weights per channel"
            raise PrecisionError(f"not an {precision} file", expected=expected, got=_shares(facts))
        if facts.elements.get("int8", 0) == 0:
            raise PrecisionError(f"not an {precision} file", expected="int8 weights", got=dict(facts.elements))


def _integers(facts: OnnxFacts) -> int:
    """Return the elements of shape constants: int64 and bool are never weights."""
    return sum(facts.elements.get(word, 0) for word in _SHAPE_DTYPES)


def _shares(facts: OnnxFacts) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in facts.mac_share.items()) or "no multiply-adds"


def _replace(out: Path, data: bytes) -> None:
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


def _dtype_word(data_type: int) -> str:
    word = str(TensorProto.DataType.Name(data_type)).lower()
    return "float32" if word == "float" else "float64" if word == "double" else word


_SHAPE_DTYPES = ("int64", "bool")
_SCALES = {"QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2), "MatMulInteger": (2, 3), "ConvInteger": (2, 3)}


def _weights(model: ModelProto) -> list[TensorProto]:
    """Return initialisers and Constant values, without scales and zero points."""
    skipped = {
        node.input[index]
        for node in model.graph.node
        for index in _SCALES.get(node.op_type, ())
        if index < len(node.input)
    }
    constants = [
        (node.output[0], item.t)
        for node in model.graph.node
        if node.op_type == "Constant"
        for item in node.attribute
        if item.name == "value"
    ]
    return [item for item in model.graph.initializer if item.name not in skipped] + [
        item for name, item in constants if name not in skipped
    ]


def macs_by_node(model: ModelProto) -> dict[str, int]:
    """Return the multiply-adds of every convolution and matrix product, by node name.

    Raises:
        ArtifactError: shapes cannot be inferred or are not static.
    """
    shapes = tensor_shapes(model)
    counts = {node.name: _macs(node, shapes) for node in model.graph.node}
    return {name: count for name, count in counts.items() if count}


def int8_capable(model: ModelProto) -> float:
    """Return the share of the multiply-adds in operators for which onnxruntime has 8-bit kernels; 1 without any.

    Raises:
        ArtifactError: shapes cannot be inferred or are not static.
    """
    shapes = tensor_shapes(model)
    counts = [(node.op_type, _macs(node, shapes)) for node in model.graph.node]
    total = sum(count for _, count in counts)
    return sum(count for op, count in counts if op not in FLOAT_ONLY) / total if total else 1.0


def _macs_by_arithmetic(model: ModelProto) -> Counter[str]:
    shapes = tensor_shapes(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    dtypes = {item.name: item.data_type for item in model.graph.initializer}
    macs: Counter[str] = Counter()
    for node in model.graph.node:
        count = _macs(node, shapes)
        if count:
            macs[_arithmetic(node, makers, dtypes, shapes)] += count
    return macs


def tensor_shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor by name; a size that is not static is 0.

    Raises:
        ArtifactError: shapes cannot be inferred.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as exc:
        raise ArtifactError("shapes of the ONNX file cannot be inferred") from exc
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    for info in [*graph.input, *graph.output, *graph.value_info]:
        shapes[info.name] = tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim)
    return shapes


def _macs(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the multiply-adds of one node; 0 for all but convolutions and matrix products.

    Source: definitions of Conv, ConvTranspose, DeformConv, Gemm and MatMul in the ONNX operator set.
    """
    op = node.op_type
    if op not in ("Conv", "ConvInteger", "DeformConv", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger"):
        return 0
    left, right, out = (shapes.get(name, ()) for name in (node.input[0], node.input[1], node.output[0]))
    if not out or not right or min((*out, *right, *left), default=0) < 1:
        raise ArtifactError(f"`{op}` node `{node.name}` has no static shape", got=(left, right, out))
    if op == "ConvTranspose":
        return math.prod(left) * math.prod(right[1:])
    if op in ("Conv", "ConvInteger", "DeformConv"):
        return math.prod(out) * math.prod(right[1:])
    transposed = any(item.name == "transA" and item.i for item in node.attribute)
    return math.prod(out) * (left[-2] if transposed else left[-1])


def _arithmetic(
    node: NodeProto,
    makers: Mapping[str, NodeProto],
    dtypes: Mapping[str, int],
    shapes: Mapping[str, tuple[int, ...]],
) -> str:
    if node.op_type in ("MatMulInteger", "ConvInteger"):
        return "dynamic" if dtypes.get(node.input[1]) in (TensorProto.INT8, TensorProto.UINT8) else "float"
    activation, weight = makers.get(node.input[0]), makers.get(node.input[1])
    if activation is None or weight is None:
        return "float"
    if activation.op_type != "DequantizeLinear" or weight.op_type != "DequantizeLinear":
        return "float"
    quantiser = makers.get(activation.input[0])
    zero = activation.input[2] if len(activation.input) > 2 else ""
    bits = {TensorProto.INT8: 8, TensorProto.UINT8: 8, TensorProto.INT16: 16, TensorProto.UINT16: 16}
    activation_bits = bits.get(dtypes.get(zero, 0), 0) if quantiser is not None else 0
    if dtypes.get(weight.input[0]) != TensorProto.INT8:
        return "float"  # weights that are float in the file, or a product of two activations
    per_channel = math.prod(shapes.get(weight.input[1], ())) == _channels(node, shapes)
    if activation_bits == 8:
        return "w8a8" if per_channel else "w8a8-tensor"
    return "w8a16" if activation_bits == 16 and per_channel else "float"


def _channels(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return the number of output channels, which is the number of scales that weights per channel have."""
    out = shapes[node.output[0]]
    return out[1] if node.op_type in ("Conv", "ConvTranspose", "DeformConv") else out[-1]
