"""The face decoder: offsets from prior boxes to boxes and landmarks.

Source:
    Deng et al., "RetinaFace", CVPR 2020, arXiv:1905.00641, section 3; prior boxes after Liu et al., "SSD", ECCV 2016,
    arXiv:1512.02325, section 2.2; constants of the PyTorch RetinaFace and FeatherFace training configurations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .errors import CardError, ShapeError
from .geometry import Geometry
from .nms import nms
from .results import Face

__all__ = ["FaceParams", "decode_boxes", "decode_faces", "decode_landmarks", "priors"]

Float32 = NDArray[np.float32]

MAX_PRIORS = 2**22
# exp() overflows float32 above 88; an INT8 head that saturates would turn one box into inf. e**20 widths of a prior are
# far beyond any picture.
MAX_LOG_SIZE = 20.0
MAX_OFFSET = 1e9  # prior sizes; beyond, products of float32 would overflow


@dataclass(frozen=True, kw_only=True)
class FaceParams:
    """Constants of the face decoder.

    Attributes:
        min_sizes: prior sides of each level, input pixels.
        strides: input pixels a cell, of each level.
        variances: scales of centre and size offsets in training.
        score_threshold: candidates must exceed it.
        nms_iou, pre_nms, keep: see `nms.nms`.
        display_threshold: lowest score that a result lists by default.
    """

    min_sizes: tuple[tuple[float, ...], ...] = ((16, 32), (64, 128), (256, 512))
    strides: tuple[int, ...] = (8, 16, 32)
    variances: tuple[float, ...] = (0.1, 0.2)
    score_threshold: float = 0.02
    nms_iou: float = 0.4
    pre_nms: int = 5000
    keep: int = 750
    display_threshold: float = 0.5

    def __post_init__(self) -> None:
        if len(self.min_sizes) != len(self.strides) or not self.strides or not all(self.min_sizes):
            raise CardError("each stride needs its min_sizes", got=(self.min_sizes, self.strides))
        if min(self.strides) < 1 or min(min(level) for level in self.min_sizes) <= 0:
            raise CardError("strides and min_sizes must be above 0", got=(self.min_sizes, self.strides))
        if len(self.variances) != 2 or min(self.variances) <= 0:
            raise CardError("variances must be two numbers above 0", got=self.variances)
        if min(self.pre_nms, self.keep) < 1 or not 0 <= self.nms_iou <= 1:
            raise CardError(
                "pre_nms and keep must be at least 1, nms_iou 0..1", got=(self.pre_nms, self.keep, self.nms_iou)
            )


def priors(input_hw: tuple[int, int], min_sizes: Sequence[Sequence[float]], strides: Sequence[int]) -> Float32:
    """Return the prior boxes of a network input: by level, row, column, size.

    Args:
        input_hw: height and width of the input, pixels.
        min_sizes: prior sides of each level, pixels.
        strides: pixels a cell, of each level; a map has ceil(side / stride) cells.

    Returns:
        (N, 4) float32 (cx, cy, w, h), fraction of the input's width and height, read-only; not clipped to 0..1.

    Raises:
        ShapeError: there would be more than 2**22.
    """
    return _columns(input_hw, min_sizes, strides).T


def _columns(input_hw: tuple[int, int], min_sizes: Sequence[Sequence[float]], strides: Sequence[int]) -> Float32:
    """Return the prior boxes as (4, N) rows of cx, cy, w, h, read-only: NumPy's loops over columns are long ones."""
    return _cached(tuple(input_hw), tuple(tuple(sizes) for sizes in min_sizes), tuple(strides))


@lru_cache(maxsize=8)
def _cached(input_hw: tuple[int, int], min_sizes: tuple[tuple[float, ...], ...], strides: tuple[int, ...]) -> Float32:
    height, width = input_hw
    maps = [(math.ceil(height / stride), math.ceil(width / stride)) for stride in strides]
    total = sum(rows * columns * len(sizes) for (rows, columns), sizes in zip(maps, min_sizes, strict=True))
    if min(input_hw) < 1 or total > MAX_PRIORS:
        raise ShapeError("input size gives no or too many prior boxes", expected=f"1..{MAX_PRIORS}", got=input_hw)
    levels = []
    for (rows, columns), sizes, stride in zip(maps, min_sizes, strides, strict=True):
        level = np.empty((rows, columns, len(sizes), 4))
        level[..., 0] = ((np.arange(columns) + 0.5) * stride / width)[None, :, None]
        level[..., 1] = ((np.arange(rows) + 0.5) * stride / height)[:, None, None]
        level[..., 2] = np.array(sizes) / width
        level[..., 3] = np.array(sizes) / height
        levels.append(level.reshape(-1, 4))
    result = np.ascontiguousarray(np.concatenate(levels).astype(np.float32).T)
    result.setflags(write=False)
    return result


def decode_boxes(offsets: Float32, prior_boxes: Float32, variances: Sequence[float] = (0.1, 0.2)) -> Float32:
    """Return the corner boxes that a head's offsets describe.

    Args:
        offsets: (N, 4) float32, head output (dx, dy, dw, dh), unitless, finite.
        prior_boxes: (N, 4) float32 (cx, cy, w, h), fraction of the input side.
        variances: centre and size scales used in training.

    Returns:
        (N, 4) float32 (x1, y1, x2, y2), fraction of the input side, finite; not clipped to 0..1.

    Raises:
        ShapeError: the arrays are not both (N, 4) with the same N.
    """
    if offsets.shape != prior_boxes.shape or offsets.ndim != 2 or offsets.shape[1] != 4:
        raise ShapeError("offsets and priors must both be (N, 4)", got=(offsets.shape, prior_boxes.shape))
    return _corners(offsets.T, prior_boxes.T, variances).T


def decode_landmarks(offsets: Float32, prior_boxes: Float32, variances: Sequence[float] = (0.1, 0.2)) -> Float32:
    """Return the landmarks that a head's offsets describe.

    Args:
        offsets: (N, 10) float32, head output (dx, dy) of five points, unitless, finite.
        prior_boxes: (N, 4) float32 (cx, cy, w, h), fraction of the input side.
        variances: the first scales the offsets.

    Returns:
        (N, 5, 2) float32 (x, y), fraction of the input side; eye, eye, nose, mouth corner, mouth corner, each pair from
        image left to right; finite, not clipped to 0..1.

    Raises:
        ShapeError: the arrays are not (N, 10) and (N, 4).
    """
    if offsets.ndim != 2 or offsets.shape[1] != 10 or prior_boxes.shape != (len(offsets), 4):
        raise ShapeError("offsets must be (N, 10) and priors (N, 4)", got=(offsets.shape, prior_boxes.shape))
    return _points(offsets.T.reshape(5, 2, -1), prior_boxes.T, variances).transpose(2, 0, 1)


def decode_faces(
    loc: Float32,
    conf: Float32,
    landm: Float32,
    input_hw: tuple[int, int],
    params: FaceParams,
    geometry: Geometry | None = None,
    *,
    lowest: float = 0.0,
    finite: bool = False,
) -> tuple[list[Face], bool]:
    """Return the faces in a picture, best first, and whether a cap was hit.

    Only candidates are decoded: a picture without faces costs one comparison a prior. Rows with a value that is not
    finite take no part. `display_threshold` is not applied.

    Args:
        loc: (N, 4) float32, box offsets.
        conf: (N, 2) float32, probabilities of background and face, 0..1.
        landm: (N, 10) float32, landmark offsets.
        input_hw: height and width of the network input, pixels; N must be its number of priors.
        params: constants.
        geometry: maps to the original picture; None leaves input pixels.
        lowest: lowest score to return, 0..1. The result is the same as leaving out the others afterwards.
        finite: whether every value is known to be finite, which saves looking at landmarks of boxes that go.

    Raises:
        ShapeError: the arrays are not of these shapes.
    """
    anchors = _columns(input_hw, params.min_sizes, params.strides)
    count = anchors.shape[1]
    shapes = (loc.shape, conf.shape, landm.shape)
    if shapes != ((count, 4), (count, 2), (count, 10)):
        raise ShapeError(
            "face outputs do not fit the prior boxes of the input",
            expected=f"{count} rows of 4, 2 and 10 at {input_hw[0]} x {input_hw[1]}",
            got=shapes,
        )
    candidates = np.flatnonzero(conf[:, 1] > params.score_threshold)  # false for NaN
    if lowest > params.score_threshold and len(candidates) <= min(params.pre_nms, params.keep):
        # A box is suppressed by better ones only, and so few hit no cap: those that nobody asks for can go at once.
        candidates = candidates[conf[candidates, 1].astype(np.float64) >= lowest]
    if not finite:
        rows = [np.isfinite(head.take(candidates, axis=0)).all(axis=1) for head in (loc, conf, landm)]
        candidates = candidates[np.logical_and.reduce(rows)]
    if not len(candidates):
        return [], False
    scores = conf[candidates, 1]
    # Two steps, as in the origin: float32 rounding decides which of two boxes at the threshold survives.
    height, width = input_hw
    scale: Float32 = np.array([[width], [height]], np.float32)
    resize: Float32 = np.array((1.0, 1.0) if geometry is None else geometry.scale_xy, np.float32)[:, None]
    near = anchors.take(candidates, axis=1)
    boxes = _corners(np.ascontiguousarray(loc.take(candidates, axis=0).T), near, params.variances)
    corners = boxes.reshape(2, 2, -1)
    corners *= scale
    corners /= resize
    kept, truncated = nms(boxes.T, scores, params.nms_iou, pre_nms=params.pre_nms, keep=params.keep)
    scores = scores[kept]
    if lowest > params.score_threshold:
        kept = kept[: np.count_nonzero(scores.astype(np.float64) >= lowest)]
    points = _points(
        landm.take(candidates[kept], axis=0).T.reshape(5, 2, -1), near.take(kept, axis=1), params.variances
    )
    points *= scale
    points /= resize
    # Whole columns become Python numbers at once, and are zipped: number by number takes five times as long.
    columns = (boxes.take(kept, axis=1).tolist(), scores[: len(kept)].tolist(), points.tolist())
    landmarks = zip(*(zip(x, y, strict=True) for x, y in columns[2]), strict=True)
    faces = [
        Face(box_xyxy=box, score=score, landmarks=marks)
        for box, score, marks in zip(zip(*columns[0], strict=True), columns[1], landmarks, strict=True)
    ]
    return faces, truncated


def _corners(offsets: Float32, anchors: Float32, variances: Sequence[float]) -> Float32:
    """Return (4, N) boxes of (4, N) offsets: `decode_boxes` in columns, over which NumPy's loops are long."""
    offsets = np.clip(offsets, -MAX_OFFSET, MAX_OFFSET)
    size = anchors[2:] * np.exp(np.minimum(offsets[2:] * np.float32(variances[1]), MAX_LOG_SIZE))
    corners = np.empty((4, offsets.shape[1]), np.float32)
    low = anchors[:2] + offsets[:2] * np.float32(variances[0]) * anchors[2:]
    np.subtract(low, size / 2, out=corners[:2])
    np.add(corners[:2], size, out=corners[2:])
    return corners


def _points(offsets: Float32, anchors: Float32, variances: Sequence[float]) -> Float32:
    """Return (5, 2, N) landmarks of (5, 2, N) offsets: `decode_landmarks` in columns."""
    points = np.clip(offsets, -MAX_OFFSET, MAX_OFFSET) * np.float32(variances[0])
    points *= anchors[2:]
    points += anchors[:2]
    return points
