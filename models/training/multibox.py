"""Prior boxes against faces: which prior is to find which face, and the loss of a single-shot detector.

Source:
    Liu et al., "SSD", ECCV 2016, arXiv:1512.02325, sections 2.2 (matching, loss, hard negatives); Deng et al.,
    "RetinaFace", CVPR 2020, arXiv:1905.00641 (landmarks); thresholds of the PyTorch RetinaFace training configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...runtime.errors import ShapeError

__all__ = [
    "BACKGROUND",
    "FACE",
    "IGNORED",
    "NEGATIVES",
    "Matched",
    "encode",
    "encode_landmarks",
    "match",
    "multibox_loss",
]

Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]
Places = NDArray[np.intp]

IGNORED, BACKGROUND, FACE = -1, 0, 1
LEAST_IOU = 0.2  # a face whose best prior overlaps less is of no use to learn from
NEGATIVES = 7  # hard negatives for each positive prior
LOCALISATION_WEIGHT = 2.0
LOG_FLOOR = 1e-6  # of a size ratio: keeps the logarithm of an empty box finite


@dataclass(frozen=True, kw_only=True)
class Matched:
    """What each of N priors is to say.

    Attributes:
        loc: (N, 4) float32, box offsets; 0 where there is no face.
        conf: (N,) int64: 1 face, 0 background, -1 ignored.
        landm: (N, 10) float32, landmark offsets; 0 where there are none.
        landm_mask: (N,) bool.
    """

    loc: Float32
    conf: NDArray[np.int64]
    landm: Float32
    landm_mask: Bools


def match(
    boxes: Float32,
    landmarks: Float32,
    has_landmarks: Bools,
    ignore: Bools,
    priors: Float32,
    *,
    threshold: float = 0.35,
    variances: Sequence[float] = (0.1, 0.2),
) -> Matched:
    """Return the targets of all priors.

    Each prior belongs to the face it overlaps most, if IoU reaches the threshold; and each face gets the prior that
    overlaps it most, whatever the threshold, if IoU is at least 0.2. Faces without such a prior are ignored, like those
    marked `ignore`: a prior that belongs to one, or has its middle in one and belongs to no other, takes part in
    nothing.

    Args:
        boxes: (M, 4) float32 (x1, y1, x2, y2), fraction of the input side.
        landmarks: (M, 5, 2) float32, the same unit.
        has_landmarks: (M,) bool.
        ignore: (M,) bool.
        priors: (N, 4) float32 (cx, cy, w, h), the same unit.
        threshold: least IoU, 0..1.
        variances: scales of centre and size offsets.

    Raises:
        ShapeError: the arrays are not of these shapes.
    """
    count, total = len(boxes), len(priors)
    shapes = (boxes.shape, landmarks.shape, has_landmarks.shape, ignore.shape, priors.shape)
    if shapes != ((count, 4), (count, 5, 2), (count,), (count,), (total, 4)):
        raise ShapeError(
            "faces and priors do not fit each other", expected="(M, 4), (M, 5, 2), (M,), (M,), (N, 4)", got=shapes
        )
    conf = np.full(total, BACKGROUND, np.int64)
    result = Matched(
        loc=np.zeros((total, 4), np.float32),
        conf=conf,
        landm=np.zeros((total, 10), np.float32),
        landm_mask=np.zeros(total, np.bool_),
    )
    if not count:
        return result
    overlaps = _overlaps(boxes, priors)
    best, owner = overlaps.max(axis=0), overlaps.argmax(axis=0)
    first = overlaps.argmax(axis=1)
    useful = overlaps[np.arange(count), first] >= LEAST_IOU
    learnt = useful & ~ignore
    for face in np.flatnonzero(learnt)[np.argsort(overlaps.max(axis=1)[learnt], kind="stable")]:
        best[first[face]], owner[first[face]] = 2.0, face  # of two faces with one prior, the better one keeps it
    positive = best >= threshold
    conf[positive] = np.where(learnt[owner[positive]], FACE, IGNORED)
    for face in np.flatnonzero(~learnt):
        x1, y1, x2, y2 = boxes[face]
        inside = (priors[:, 0] >= x1) & (priors[:, 0] <= x2) & (priors[:, 1] >= y1) & (priors[:, 1] <= y2)
        conf[inside & (conf == BACKGROUND)] = IGNORED
    found = np.flatnonzero(conf == FACE)
    result.loc[found] = encode(boxes[owner[found]], priors[found], variances)
    marked = found[has_landmarks[owner[found]]]
    result.landm[marked] = encode_landmarks(landmarks[owner[marked]], priors[marked], variances)
    result.landm_mask[marked] = True
    return result


def encode(boxes: Float32, priors: Float32, variances: Sequence[float] = (0.1, 0.2)) -> Float32:
    """Return the offsets of which `runtime.face.decode_boxes` makes these boxes.

    Args:
        boxes: (N, 4) float32 (x1, y1, x2, y2), fraction of the input side.
        priors: (N, 4) float32 (cx, cy, w, h), the same unit.
        variances: scales of centre and size offsets.

    Returns:
        (N, 4) float32 (dx, dy, dw, dh), unitless, finite.
    """
    centre = ((boxes[:, :2] + boxes[:, 2:]) / 2 - priors[:, :2]) / (variances[0] * priors[:, 2:])
    ratio = np.maximum((boxes[:, 2:] - boxes[:, :2]) / priors[:, 2:], LOG_FLOOR)
    return np.concatenate([centre, np.log(ratio) / variances[1]], axis=1).astype(np.float32)


def encode_landmarks(landmarks: Float32, priors: Float32, variances: Sequence[float] = (0.1, 0.2)) -> Float32:
    """Return the offsets, (N, 10) float32, of which `runtime.face.decode_landmarks` makes these (N, 5, 2) points."""
    offsets = (landmarks - priors[:, None, :2]) / (variances[0] * priors[:, None, 2:])
    return offsets.reshape(len(priors), 10).astype(np.float32)


def multibox_loss(
    loc: Tensor, conf: Tensor, landm: Tensor, targets: tuple[Tensor, Tensor, Tensor, Tensor]
) -> dict[str, Tensor]:
    """Return the loss of a batch: 2 * loc + cls + landm, each a sum divided by the number of positive priors.

    Boxes and landmarks count at positive priors only (smooth L1); classes (cross entropy) at those and at the 7 times
    as many background priors of the same picture that are farthest from right. A picture without a face gives its 7
    worst.

    Args:
        loc: (B, N, 4), offsets.
        conf: (B, N, 2), logits of background and face.
        landm: (B, N, 10), offsets.
        targets: loc (B, N, 4), conf (B, N), landm (B, N, 10), landm_mask (B, N), as in `Matched`.

    Returns:
        float32 scalars "total", "loc", "cls", "landm".
    """
    loc, conf, landm = loc.float(), conf.float(), landm.float()
    loc_t, conf_t, landm_t, marked = targets
    positive = conf_t == FACE
    count = positive.sum().clamp(min=1)
    boxes = functional.smooth_l1_loss(loc[positive], loc_t[positive], reduction="sum")
    points = functional.smooth_l1_loss(landm[marked], landm_t[marked], reduction="sum")
    wrong = functional.cross_entropy(conf.flatten(0, 1), positive.flatten().long(), reduction="none").view_as(conf_t)
    with torch.no_grad():
        negative = conf_t == BACKGROUND
        hardness = torch.where(negative, wrong, -1.0)
        rank = hardness.argsort(dim=1, descending=True).argsort(dim=1)
        wanted = NEGATIVES * positive.sum(dim=1, keepdim=True).clamp(min=1)
        chosen = positive | (negative & (rank < wanted))
    parts = {
        "loc": boxes / count,
        "cls": torch.where(chosen, wrong, 0.0).sum() / count,
        "landm": points / count,
    }
    return {"total": LOCALISATION_WEIGHT * parts["loc"] + parts["cls"] + parts["landm"], **parts}


def _overlaps(boxes: Float32, priors: Float32) -> Float32:
    """Return the IoU of M boxes with N priors: (M, N) float32."""
    half = priors[:, 2:] / 2
    low, high = (priors[:, :2] - half).T, (priors[:, :2] + half).T
    width = np.minimum(boxes[:, 2:3], high[0]) - np.maximum(boxes[:, 0:1], low[0])
    height = np.minimum(boxes[:, 3:4], high[1]) - np.maximum(boxes[:, 1:2], low[1])
    shared = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    areas = np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 0.0)
    union = areas[:, None] + priors[:, 2] * priors[:, 3] - shared
    return np.asarray(shared / np.maximum(union, 1e-12), np.float32)
