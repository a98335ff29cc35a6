"""What of a network's operators costs time: sums over its operators, in units that give coefficients near 1 ms.

Multiply-adds by the kernel that does them; elements that a kernel packs and writes beside them; weights that stream
through the caches; elements of the memory-bound operators; and one call for each operator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .operators import FREE, Operator

__all__ = ["CLASSES", "CLASS_OF", "FEATURES", "GROUPS", "GROUP_OF", "UNITS", "features", "uncovered"]

Float64 = NDArray[np.float64]

# Feature -> (group, unit, what it counts). Times of a group share how they scale with threads.
FEATURES = {
    "mac_conv": ("compute", 1e9, "multiply-adds of k x k convolutions with 8 or more input channels"),
    "mac_stem": ("compute", 1e9, "multiply-adds of k x k convolutions with fewer, as a picture has"),
    "mac_pointwise": ("compute", 1e9, "multiply-adds of 1 x 1 convolutions and fully connected layers"),
    "mac_depthwise": ("compute", 1e9, "multiply-adds of depthwise convolutions of stride 1"),
    "mac_strided": ("compute", 1e9, "multiply-adds of depthwise convolutions of larger stride, where less is reused"),
    "in_gemm": ("memory", 1e6, "input elements of matrix products, as often as a k x k kernel packs them"),
    "out_gemm": ("memory", 1e6, "output elements of matrix products"),
    "in_depthwise": ("memory", 1e6, "input elements of depthwise convolutions"),
    "out_depthwise": ("memory", 1e6, "output elements of depthwise convolutions"),
    "weights": ("memory", 1e6, "elements of all weights"),
    "activation": ("memory", 1e6, "elements of activations that are not fused, cheap ones"),
    "transcendental": ("memory", 1e6, "elements of sigmoid and the like"),
    "softmax": ("memory", 1e6, "elements of softmax"),
    "elementwise": ("memory", 1e6, "elements in and out of adding, pooling, resizing, copying, casting"),
    "calls": ("calls", 1.0, "operators"),
    "postprocess": ("serial", 1e6, "elements into detection post-processing"),
}
GROUPS = ("compute", "memory", "calls", "serial")
GROUP_OF = np.array([GROUPS.index(group) for group, _, _ in FEATURES.values()])
# What a network's time goes into, for telling whether it is like those that were measured.
CLASSES = {
    "matrix products": ("mac_conv", "mac_pointwise", "in_gemm", "out_gemm"),
    "the first convolution": ("mac_stem",),
    "depthwise convolutions": ("mac_depthwise", "mac_strided", "in_depthwise", "out_depthwise"),
    "streaming weights": ("weights",),
    "activations": ("activation", "transcendental", "softmax"),
    "adding, pooling, resizing and copying": ("elementwise",),
    "calls": ("calls",),
    "post-processing": ("postprocess",),
}
CLASS_OF = np.array([[name in members for members in CLASSES.values()] for name in FEATURES], float)  # (16, 8)
UNITS = np.array([unit for _, unit, _ in FEATURES.values()])
STEM_CHANNELS = 8  # kernels that take 8 channels at a time work half empty below

_NAMES = tuple(FEATURES)
_GEMM = ("conv", "pointwise", "dense")
_ELEMENTWISE = ("binary", "pool", "reduce", "resize", "concat", "move", "cast")
_UNARY = ("activation", "transcendental", "softmax")


def features(operators: Sequence[Operator]) -> Float64:
    """Return (16,) float64, the features of a network in the order and the units of `FEATURES`.

    Operators of a kind that no feature knows add their call only; see `uncovered`.
    """
    total = dict.fromkeys(_NAMES, 0.0)
    for operator in operators:
        if operator.kind in FREE:
            continue
        for name, amount in _counted(operator):
            total[name] += amount
    amounts: Float64 = np.array([total[name] for name in _NAMES]) / UNITS
    return amounts


def uncovered(operators: Sequence[Operator]) -> list[str]:
    """Return the kinds among the operators that no feature counts, sorted."""
    known = {*FREE, *_GEMM, *_ELEMENTWISE, *_UNARY, "depthwise", "postprocess"}
    return sorted({operator.kind for operator in operators} - known)


def _counted(operator: Operator) -> list[tuple[str, float]]:
    kind = operator.kind
    counted: list[tuple[str, float]] = [("calls", 1)]
    if kind in _GEMM:
        name = "mac_pointwise"
        if kind == "conv":
            name = "mac_conv" if operator.channels >= STEM_CHANNELS else "mac_stem"
        packed = operator.in_elements * operator.kernel / operator.stride
        counted += [(name, operator.macs), ("in_gemm", packed), ("out_gemm", operator.out_elements)]
        counted += [("weights", operator.weight_elements)]
    elif kind == "depthwise":
        name = "mac_depthwise" if operator.stride == 1 else "mac_strided"
        counted += [(name, operator.macs), ("in_depthwise", operator.in_elements)]
        counted += [("out_depthwise", operator.out_elements), ("weights", operator.weight_elements)]
    elif kind in _ELEMENTWISE:
        counted += [("elementwise", operator.in_elements + operator.out_elements)]
    elif kind in _UNARY:
        counted += [(kind, operator.out_elements)]
    elif kind == "postprocess":
        counted += [("postprocess", operator.in_elements)]
    return counted
