"""Backbones of published classifiers and detectors, from their papers' tables, as lists of operators."""

from __future__ import annotations

import math

from .sketch import Shape, Sketch, divisible

__all__ = [
    "lite_backbone",
    "mobiledet_backbone",
    "mobilenet_edgetpu_backbone",
    "resnet_backbone",
    "v1_backbone",
    "v2_backbone",
    "v3_backbone",
]

_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


def v1_backbone(net: Sketch, x: Shape, alpha: float) -> list[Shape]:
    """Return the last feature map of each stride: 2, 4, 8, 16, 32."""
    found = []
    x = net.conv(x, max(int(32 * alpha), 8), 3, 2)
    for channels, stride in _V1:
        if stride == 2:
            found.append(x)
        x = net.separable(x, max(int(channels * alpha), 8), 3, stride)
    return [*found, x]


_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def v2_backbone(net: Sketch, x: Shape, alpha: float) -> list[Shape]:
    """Return the expansion of the first block of stride 32 (what SSD reads), and the last feature map."""
    x = net.conv(x, divisible(32 * alpha), 3, 2)
    wide = x
    for expand, channels, repeats, first in _V2:
        for index in range(repeats):
            stride = first if index == 0 else 1
            middle = net.conv(x, x[2] * expand) if expand > 1 else x
            if stride == 2:
                wide = middle
            y = net.conv(net.depthwise(middle, 3, stride), divisible(channels * alpha))
            x = net.binary(x, y) if stride == 1 and y == x else y
    return [wide, net.conv(x, divisible(1280 * max(alpha, 1.0)))]


# kernel, expansion, output channels, squeeze and excite, hard swish, stride
_V3 = {
    "large": (
        (3, 1, 16, 0, 0, 1), (3, 4, 24, 0, 0, 2), (3, 3, 24, 0, 0, 1), (5, 3, 40, 1, 0, 2), (5, 3, 40, 1, 0, 1),
        (5, 3, 40, 1, 0, 1), (3, 6, 80, 0, 1, 2), (3, 2.5, 80, 0, 1, 1), (3, 2.3, 80, 0, 1, 1), (3, 2.3, 80, 0, 1, 1),
        (3, 6, 112, 1, 1, 1), (3, 6, 112, 1, 1, 1), (5, 6, 160, 1, 1, 2), (5, 6, 160, 1, 1, 1), (5, 6, 160, 1, 1, 1),
    ),
    "small": (
        (3, 1, 16, 1, 0, 2), (3, 4.5, 24, 0, 0, 2), (3, 88 / 24, 24, 0, 0, 1), (5, 4, 40, 1, 1, 2), (5, 6, 40, 1, 1, 1),
        (5, 6, 40, 1, 1, 1), (5, 3, 48, 1, 1, 1), (5, 3, 48, 1, 1, 1), (5, 6, 96, 1, 1, 2), (5, 6, 96, 1, 1, 1),
        (5, 6, 96, 1, 1, 1),
    ),
}  # fmt: skip


def v3_backbone(
    net: Sketch, x: Shape, size: str, alpha: float, *, minimalistic: bool = False, detection: bool = False
) -> list[Shape]:
    """Return the expansion of the first block of stride 32 (what SSD reads), and the last feature map."""

    def hard(y: Shape, yes: int) -> Shape:
        return net.unary("activation", y) if yes and not minimalistic else y

    x = hard(net.conv(x, 16, 3, 2), 1)
    wide, narrow = x, False
    for kernel, expand, channels, excite, swish, stride in _V3[size]:
        wider = divisible(x[2] * expand)
        middle = hard(net.conv(x, wider), swish) if expand > 1 else x
        if stride == 2:
            wide = middle
            narrow = narrow or (detection and channels in (160, 96))
        y = hard(net.depthwise(middle, 3 if minimalistic else kernel, stride), swish)
        if excite and not minimalistic:
            squeezed = net.conv(net.conv(net.mean(y), divisible(wider / 4)), wider)
            y = net.binary(y, net.binary(net.binary(squeezed)))  # hard sigmoid: add with ReLU6, multiply
        y = net.conv(y, divisible(channels * alpha / (2 if narrow else 1)))
        x = net.binary(x, y) if stride == 1 and y == x else y
    return [wide, hard(net.conv(x, divisible(x[2] * 6)), 1)]


# kernel, repeats, expansion, output channels, stride
_LITE = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 3, 6, 80, 2), (5, 3, 6, 112, 1), (5, 4, 6, 192, 2),
    (3, 1, 6, 320, 1),
)  # fmt: skip


def lite_backbone(net: Sketch, x: Shape, width: float, depth: float) -> list[Shape]:
    """Return the last feature map of each stride: 2, 4, 8, 16, 32."""
    x = net.conv(x, 32, 3, 2)
    found: list[Shape] = []
    for stage, (kernel, repeats, expand, channels, first) in enumerate(_LITE):
        count = repeats if stage in (0, len(_LITE) - 1) else math.ceil(repeats * depth)
        for index in range(count):
            stride = first if index == 0 else 1
            if stride == 2:
                found.append(x)
            middle = net.conv(x, x[2] * expand) if expand > 1 else x
            y = net.conv(net.depthwise(middle, kernel, stride), divisible(channels * width))
            x = net.binary(x, y) if stride == 1 and y == x else y
    return [*found, x]


def resnet_backbone(net: Sketch, x: Shape) -> list[Shape]:
    """Return the feature maps of strides 4, 8, 16, 32."""
    x = net.pool(net.conv(net.unary("move", x), 64, 7, 2), 3, 2)
    found = []
    for width, repeats, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for index in range(repeats):
            stride = first if index == 0 else 1
            shortcut = net.conv(x, width * 4, 1, stride) if index == 0 else x
            x = net.binary(shortcut, net.conv(net.conv(net.conv(x, width), width, 3, stride), width * 4))
        found.append(x)
    return found


# Kind of block, output channels, expansion, kernel, stride; a fused block has one convolution for the first two.
_EDGETPU = (
    ("fused", 32, 8, 3, 2), *(("fused", 32, 4, 3, 1),) * 3, ("fused", 48, 8, 3, 2),
    *(("fused", 48, 4, 3, 1),) * 3, ("ibn", 96, 8, 3, 2), *(("ibn", 96, 4, 3, 1),) * 3, ("ibn!", 96, 8, 3, 1),
    *(("ibn", 96, 4, 3, 1),) * 3, ("ibn", 160, 8, 5, 2), *(("ibn", 160, 4, 5, 1),) * 3, ("ibn", 192, 8, 3, 1),
)  # fmt: skip
_MOBILEDET_CPU = (
    ("ibn", 16, 4, 3, 2), ("ibn", 32, 8, 3, 2), *(("ibn", 32, 4, 3, 1),) * 3, ("ibn", 72, 8, 5, 2),
    ("ibn", 72, 8, 3, 1), ("ibn", 72, 4, 5, 1), ("ibn", 72, 4, 3, 1), ("ibn!", 72, 8, 3, 1),
    *(("ibn", 72, 8, 3, 1),) * 3, ("ibn", 104, 8, 5, 2), *(("ibn", 104, 4, 5, 1),) * 2, ("ibn", 104, 4, 3, 1),
    ("ibn", 144, 8, 3, 1),
)  # fmt: skip
_MOBILEDET_EDGETPU = (
    ("fused", 16, 8, 3, 2), ("fused", 16, 4, 3, 1), ("fused", 16, 8, 3, 1), ("fused", 16, 4, 3, 1),
    ("fused", 40, 8, 5, 2), *(("fused", 40, 4, 3, 1),) * 3, ("ibn", 72, 8, 3, 2), ("ibn", 72, 8, 3, 1),
    *(("fused", 72, 4, 3, 1),) * 2, ("ibn", 96, 8, 5, 1), ("ibn", 96, 8, 5, 1), *(("ibn", 96, 8, 3, 1),) * 2,
    ("ibn", 120, 8, 5, 2), ("ibn", 120, 8, 3, 1), ("ibn", 120, 4, 5, 1), ("ibn", 120, 8, 3, 1),
    ("ibn", 384, 8, 5, 1),
)  # fmt: skip


def mobilenet_edgetpu_backbone(net: Sketch, x: Shape) -> list[Shape]:
    """Return the expansion of the block of stride 32 (what SSD reads), and the last feature map.

    Source:
        tensorflow/models, research/slim/nets/mobilenet, README ("MobilenetEdgeTPU", 990 M multiply-adds, 4 M weights).
    """
    x = net.conv(net.conv(x, 32, 3, 2), 16)  # a fused block without expansion is its projection alone
    wide, x = _blocks(net, x, _EDGETPU)[:2]
    return [wide, net.conv(x, 1280)]


def mobiledet_backbone(net: Sketch, x: Shape, target: str) -> list[Shape]:
    """Return C4 and C5 of MobileDet for "cpu" (squeeze and excite, hard swish) or "edgetpu" (ReLU6).

    Source:
        Xiong et al. 2020, arXiv:2004.14525, figure 6; sizes as in TF1's Object Detection API.
    """
    if target == "cpu":
        x = net.unary("activation", net.conv(x, 16, 3, 2))
        x = net.conv(_excited(net, net.unary("activation", net.depthwise(x)), 8), 8)
        _, last, before = _blocks(net, x, _MOBILEDET_CPU, excite=True)
    else:
        x = net.conv(x, 32, 3, 2)
        x = net.conv(net.conv(net.conv(x, 8), 16, 3), 16)  # Tucker convolution; ranks rounded to 8
        _, last, before = _blocks(net, x, _MOBILEDET_EDGETPU)
    return [before, last]


def _blocks(
    net: Sketch, x: Shape, blocks: tuple[tuple[str, int, int, int, int], ...], *, excite: bool = False
) -> tuple[Shape, Shape, Shape]:
    """Return the expansion in the last block of stride 2, the last feature map, and that before its stride."""
    wide = before = x

    def active(y: Shape) -> Shape:
        return net.unary("activation", y) if excite else y

    for kind, channels, expand, kernel, stride in blocks:
        if stride == 2:
            before = x
        if kind == "fused":
            y = net.conv(x, x[2] * expand, kernel, stride)
            wide = y if stride == 2 else wide
        else:
            middle = active(net.conv(x, x[2] * expand))
            wide = middle if stride == 2 else wide
            y = active(net.depthwise(middle, kernel, stride))
            if excite:
                y = _excited(net, y, divisible(y[2] / 4))
        y = net.conv(y, channels)
        x = net.binary(x, y) if y == x and kind != "ibn!" else y
    return wide, x, before


def _excited(net: Sketch, x: Shape, squeezed: int) -> Shape:
    """Add squeeze and excite with a hard swish and a sigmoid."""
    y = net.unary("activation", net.conv(net.mean(x), squeezed))
    return net.binary(x, net.unary("transcendental", net.conv(y, x[2])))
