"""Classifiers and detectors whose Raspberry Pi 4 latency somebody published, rebuilt from their papers' tables.

Each function adds a network to a `Sketch`. Their multiply-adds and parameters are held against the published ones by
tests/bench/test_published.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from .published_backbones import (
    lite_backbone,
    mobiledet_backbone,
    mobilenet_edgetpu_backbone,
    resnet_backbone,
    v1_backbone,
    v2_backbone,
    v3_backbone,
)
from .sketch import Shape, Sketch

__all__ = [
    "efficientdet_lite",
    "efficientnet_lite",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3",
    "resnet50",
    "ssd",
    "ssd_fpn",
    "yolox",
]

COCO_CLASSES = 91  # with the background, as TF1's detectors count them


def mobilenet_v1(net: Sketch, alpha: float, side: int) -> None:
    """Howard et al. 2017, arXiv:1704.04861, table 1."""
    x = v1_backbone(net, (side, side, 3), alpha)[-1]
    _classify(net, x)


def mobilenet_v2(net: Sketch, alpha: float, side: int) -> None:
    """Sandler et al. 2018, arXiv:1801.04381, table 2; the last convolution is never narrower than 1280."""
    x = v2_backbone(net, (side, side, 3), alpha)[-1]
    _classify(net, x)


def mobilenet_v3(net: Sketch, size: str, alpha: float, side: int, *, minimalistic: bool = False) -> None:
    """Howard et al. 2019, arXiv:1905.02244, tables 1 and 2; "minimalistic" has 3 x 3 kernels, no SE, ReLU only."""
    x = v3_backbone(net, (side, side, 3), size, alpha, minimalistic=minimalistic)[-1]
    x = net.conv(net.mean(x), 1280 if size == "large" else 1024)
    if not minimalistic:
        x = net.unary("activation", x)
    net.unary("softmax", net.unary("reshape", net.conv(x, 1001)))


LITE = ((1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 280), (1.4, 1.8, 300))


def efficientnet_lite(net: Sketch, number: int) -> None:
    """EfficientNet (Tan and Le 2019, arXiv:1905.11946) without SE, ReLU6; stem, head, first and last stage unscaled.

    Source:
        tensorflow/tpu, models/official/efficientnet/lite, README and table.
    """
    width, depth, side = LITE[number]
    x = lite_backbone(net, (side, side, 3), width, depth)[-1]
    net.unary("softmax", net.dense(net.mean(net.conv(x, 1280)), 1000))


def resnet50(net: Sketch, side: int = 224) -> None:
    """He et al. 2015, arXiv:1512.03385, table 1, with the stride in the 3 x 3 convolution (v1.5, as MLPerf has it)."""
    x = resnet_backbone(net, (side, side, 3))[-1]
    net.unary("softmax", net.dense(net.mean(x), 1001))


# EfficientDet-Lite: (EfficientNet-Lite number, width of the BiFPN, its cells, convolutions of a head)
DET_LITE = {"0": (0, 64, 3, 3), "1": (1, 88, 4, 3), "2": (2, 112, 5, 3), "3": (3, 160, 6, 4), "3x": (3, 200, 6, 4)}
DET_LITE["4"] = (4, 224, 7, 4)


def efficientdet_lite(net: Sketch, variant: str, side: int) -> None:
    """EfficientDet (Tan et al. 2020, arXiv:1911.09070) on EfficientNet-Lite, plain sums in its BiFPN, ReLU6.

    Source:
        google/automl, efficientdet, README (Lite models) and configuration of efficientdet-lite.
    """
    number, width, cells, repeats = DET_LITE[variant]
    scales = LITE[number]
    features = lite_backbone(net, (side, side, 3), scales[0], scales[1])
    levels = [features[2], features[3], features[4]]
    sixth = net.pool(net.conv(levels[2], width), 3, 2)
    levels += [sixth, net.pool(sixth, 3, 2)]
    for _ in range(cells):
        levels = _bifpn(net, levels, width)
    anchors = 0
    outputs: dict[int, list[Shape]] = {}
    for channels in (9 * 90, 9 * 4):
        for level in levels:
            x = level
            for _ in range(repeats):
                x = net.separable(x, width)
            x = net.separable(x, channels)
            flat = net.unary("reshape", x, (x[0] * x[1] * 9, 1, channels // 9))
            outputs.setdefault(channels, []).append(flat)
    scores = net.concat(outputs[9 * 90])
    net.concat(outputs[9 * 4])
    anchors = scores[0]
    net.unary("transcendental", scores)
    net.postprocess(anchors, 90)


YOLOX = {"nano": (0.25, True), "tiny": (0.375, False)}


def yolox(net: Sketch, variant: str, side: int) -> None:
    """YOLOX (Ge et al. 2021, arXiv:2107.08430), depth 0.33; sizes from the authors' experiment files."""
    width, separable = YOLOX[variant]
    base = int(64 * width)

    def conv(x: Shape, channels: int, kernel: int = 1, stride: int = 1) -> Shape:
        return net.swish(net.conv(x, channels, kernel, stride))

    def big(x: Shape, channels: int, stride: int = 1) -> Shape:
        if not separable:
            return conv(x, channels, 3, stride)
        return conv(net.swish(net.depthwise(x, 3, stride)), channels)

    def csp(x: Shape, channels: int, count: int, *, shortcut: bool = True) -> Shape:
        half = channels // 2
        left, right = conv(x, half), conv(x, half)
        for _ in range(count):
            inner = big(conv(left, half), half)
            left = net.binary(left, inner) if shortcut else inner
        return conv(net.concat([left, right]), channels)

    x: Shape = (side, side, 3)
    quarter: Shape = (side // 2, side // 2, 3)
    for _ in range(4):
        net.unary("move", x, quarter)
    x = conv(net.concat([quarter] * 4), base, 3)
    x = csp(big(x, base * 2, 2), base * 2, 1)
    third = csp(big(x, base * 4, 2), base * 4, 3)
    fourth = csp(big(third, base * 8, 2), base * 8, 3)
    x = conv(big(fourth, base * 16, 2), base * 8)
    x = conv(net.concat([x, *(net.pool(x, kernel, 1) for kernel in (5, 9, 13))]), base * 16)
    fifth = csp(x, base * 16, 1, shortcut=False)
    top = conv(fifth, base * 8)
    x = net.concat([net.resize(top, *fourth[:2]), fourth])
    middle = conv(csp(x, base * 8, 1, shortcut=False), base * 4)
    small = csp(net.concat([net.resize(middle, *third[:2]), third]), base * 4, 1, shortcut=False)
    medium = csp(net.concat([big(small, base * 4, 2), middle]), base * 8, 1, shortcut=False)
    large = csp(net.concat([big(medium, base * 8, 2), top]), base * 16, 1, shortcut=False)
    rows: list[Shape] = []
    for level in (small, medium, large):
        hidden = int(256 * width)
        stem = conv(level, hidden)
        classes = net.conv(big(big(stem, hidden), hidden), 80)
        regions = big(big(stem, hidden), hidden)
        boxes, objectness = net.conv(regions, 4), net.conv(regions, 1)
        parts = [boxes, net.unary("transcendental", objectness), net.unary("transcendental", classes)]
        joined = net.concat(parts)
        rows.append(net.unary("reshape", joined, (joined[0] * joined[1], 1, joined[2])))
    net.concat(rows)


def ssd(net: Sketch, backbone: str, side: int, *, lite: bool, kernel: int = 3) -> None:
    """SSD (Liu et al. 2016, arXiv:1512.02325) as TF1's Object Detection API builds it; "lite" is MobileNetV2's SSDLite.

    Args:
        net: takes the operators.
        backbone: "v1", "v2", "v3-large", "v3-small", "edgetpu", "mobiledet-cpu" or "mobiledet-edgetpu".
        side: of the input, pixels.
        lite: separable convolutions in the predictors and the extra layers.
        kernel: of the predictors, where they are not lite.
    """
    x = (side, side, 3)
    if backbone == "v1":
        levels = v1_backbone(net, x, 1.0)[-2:]
    elif backbone == "v2":
        levels = v2_backbone(net, x, 1.0)
    elif backbone == "edgetpu":
        levels = mobilenet_edgetpu_backbone(net, x)
    elif backbone.startswith("mobiledet-"):
        levels = mobiledet_backbone(net, x, backbone.removeprefix("mobiledet-"))
    else:
        levels = v3_backbone(net, x, backbone.removeprefix("v3-"), 1.0, detection=True)
    top = levels[-1]
    for channels in (512, 256, 256, 128):
        top = net.conv(top, channels // 2)
        top = net.separable(top, channels, 3, 2) if lite else net.conv(top, channels, 3, 2)
        levels.append(top)
    boxes: list[Shape] = []
    scores: list[Shape] = []
    for index, level in enumerate(levels):
        count = 3 if index == 0 else 6
        for width, rows in ((4, boxes), (COCO_CLASSES, scores)):
            y = net.separable(level, count * width) if lite else net.conv(level, count * width, kernel)
            rows.append(net.unary("reshape", y, (y[0] * y[1] * count, 1, width)))
    net.concat(boxes)
    total = net.concat(scores)
    net.unary("transcendental", total)
    net.postprocess(total[0], COCO_CLASSES)


def ssd_fpn(net: Sketch, backbone: str, side: int) -> None:
    """RetinaNet's head (Lin et al. 2017, arXiv:1708.02002) as TF1's Object Detection API ships it, 256 channels."""
    x = (side, side, 3)
    features = v1_backbone(net, x, 1.0) if backbone == "v1" else resnet_backbone(net, x)
    third, fourth, fifth = features[-3:]
    five = net.conv(fifth, 256)
    four = net.binary(net.resize(five, *fourth[:2]), net.conv(fourth, 256))
    three = net.binary(net.resize(four, *third[:2]), net.conv(third, 256))
    levels = [net.conv(three, 256, 3), net.conv(four, 256, 3), five]
    levels.append(net.conv(five, 256, 3, 2))
    levels.append(net.conv(levels[-1], 256, 3, 2))
    boxes: list[Shape] = []
    scores: list[Shape] = []
    for level in levels:
        for width, rows in ((4, boxes), (COCO_CLASSES, scores)):
            y = level
            for _ in range(4):
                y = net.conv(y, 256, 3)
            y = net.conv(y, 6 * width, 3)
            rows.append(net.unary("reshape", y, (y[0] * y[1] * 6, 1, width)))
    net.concat(boxes)
    total = net.concat(scores)
    net.unary("transcendental", total)
    net.postprocess(total[0], COCO_CLASSES)


def _classify(net: Sketch, x: Shape) -> None:
    """Add the end of TF-Slim's classifiers: average pooling, a 1 x 1 convolution, softmax."""
    net.unary("softmax", net.unary("reshape", net.conv(net.mean(x), 1001)))


def _bifpn(net: Sketch, levels: Sequence[Shape], width: int) -> list[Shape]:
    """Return the five levels after one cell of EfficientDet, figure 3."""

    def at(level: Shape) -> Shape:
        return level if level[2] == width else net.conv(level, width)

    def merge(*inputs: Shape) -> Shape:
        total = inputs[0]
        for other in inputs[1:]:
            total = net.binary(total, other)
        return net.separable(total, width)

    down = [levels[-1]]
    for level in reversed(levels[:-1]):  # top-down: strides 64, 32, 16, 8
        same = at(level)
        down.append(merge(same, net.resize(down[-1], *same[:2])))
    down.reverse()
    out = [down[0]]
    for index in range(1, len(levels)):
        inputs = [at(levels[index]), net.pool(out[-1], 3, 2)]
        if index < len(levels) - 1:
            inputs.insert(1, down[index])
        out.append(merge(*inputs))
    return out
