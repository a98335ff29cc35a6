"""Which parts of a network bear 8 bits: each part is quantised alone, and what that does to the outputs is measured.

A rule such as "all large convolutions" is too coarse where a few layers lose most: on the public RetinaFace with
deformable context one depthwise convolution of the first stage leaves 12 dB of the box offsets, while the twelve
convolutions of the second leave 33 to 37 dB each. Noises add up: their sum predicted the SQNR of five choices between
22 and 26 dB within 0.3 dB on that network, so that a choice needs one measurement a part, not one a set of parts.

A part is a convolution or product with constant weights, together with the depthwise convolution that alone feeds it:
between the two, quantising costs time for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from ..runtime.parity import compare
from .onnx_calibration import open_session

__all__ = ["measure_noise", "parts", "within_budget"]

Float32 = NDArray[np.float32]
Part = tuple[str, ...]

_PASSED = ("Relu", "LeakyRelu", "Clip")  # one map in, one out, value by value


def parts(model: ModelProto) -> list[Part]:
    """Return the parts of a graph as node names, in the order of the graph."""
    constant = {item.name: len(item.dims) for item in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, int] = {}
    for name in (name for node in model.graph.node for name in node.input):
        readers[name] = readers.get(name, 0) + 1
    found: list[Part] = []
    taken: set[str] = set()
    for node in model.graph.node:
        if not _is_weighted(node, constant):
            continue
        feeder = _feeder(node, makers, readers)
        own = [node.name]
        if feeder is not None and _group(feeder) > 1 and _group(node) == 1 and feeder.name in taken:
            found.remove((feeder.name,))
            own.insert(0, feeder.name)
        taken.add(node.name)
        found.append(tuple(own))
    return found


def measure_noise(
    model: ModelProto, samples: Sequence[Float32], quantise: Callable[[list[str]], ModelProto]
) -> dict[Part, float]:
    """Return, for every part of a graph, its noise power as a fraction of the signal's, at the output it hurts most.

    Args:
        model: float32, one input.
        samples: inputs to measure on.
        quantise: returns the network with the named nodes quantised.
    """
    reference = _answers(model, samples)
    noise = {}
    for part in parts(model):
        figures = compare(reference, _answers(quantise(list(part)), samples))
        worst = min(item.sqnr_db for item in figures.values())
        noise[part] = 10 ** (-worst / 10)
    return noise


def within_budget(noise: Mapping[Part, float], macs: Mapping[str, int], sqnr_db: float) -> list[str]:
    """Return the nodes to quantise: most multiply-adds for the least noise first, while the sum stays in the budget.

    Args:
        noise: of `measure_noise`.
        macs: multiply-adds by node name.
        sqnr_db: SQNR that the noises of all returned nodes together may leave, dB.
    """
    budget = 10 ** (-sqnr_db / 10)
    chosen: list[str] = []
    # The name settles ties, so that the choice does not depend on the order of a mapping.
    for part in sorted(noise, key=lambda part: (noise[part] / max(sum(macs.get(name, 0) for name in part), 1), part)):
        if noise[part] <= budget:
            budget -= noise[part]
            chosen += part
    return chosen


def _answers(model: ModelProto, samples: Sequence[Float32]) -> dict[str, list[Float32]]:
    session = open_session(model.SerializeToString())
    source = session.get_inputs()[0].name
    names = [item.name for item in session.get_outputs()]
    runs = [session.run(names, {source: sample}) for sample in samples]
    return {name: [run[index] for run in runs] for index, name in enumerate(names)}


def _is_weighted(node: NodeProto, constant: Mapping[str, int]) -> bool:
    if node.op_type == "Conv":
        return node.input[1] in constant
    return node.op_type in ("Gemm", "MatMul") and constant.get(node.input[1]) == 2


def _feeder(node: NodeProto, makers: Mapping[str, NodeProto], readers: Mapping[str, int]) -> NodeProto | None:
    """Return the convolution whose output a node alone reads, through an activation or not."""
    name = node.input[0]
    while readers[name] == 1 and name in makers:
        maker = makers[name]
        if maker.op_type == "Conv":
            return maker
        if maker.op_type not in _PASSED:
            return None
        name = maker.input[0]
    return None


def _group(node: NodeProto) -> int:
    return next((int(item.i) for item in node.attribute if item.name == "group"), 1)
