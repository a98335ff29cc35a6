"""Synthetic scenes for the face decoder: what a head might put out for a crowd, and boxes to suppress.

No network and no photograph is behind them: the boxes are drawn at random and encoded by the equations of the decoder
turned round. Their counts, not their looks, are what the times of `runtime.face` and `runtime.nms` depend on.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..runtime.errors import InputError
from ..runtime.face import FaceParams, priors

__all__ = ["face_outputs", "nms_candidates"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

PRIORS_A_FACE = (
    12  # a trained 640 x 640 head fires 50 to 100 priors above 0.02 around one large face, and a few for a small one
)
CENTRES = 75  # of clustered candidates
# Eyes, nose, mouth corners of an upright face, fractions of its box.
LANDMARKS = np.array([[0.32, 0.40], [0.68, 0.40], [0.50, 0.60], [0.35, 0.78], [0.65, 0.78]])


def face_outputs(faces: int, input_hw: tuple[int, int], *, seed: int = 0) -> tuple[Float32, Float32, Float32, Float32]:
    """Return the outputs of an imagined RetinaFace head for a crowd, and the faces it sees.

    Each face fires the dozen priors that cover it best, with jitter and with scores that fall from near 1 to the
    decoder's threshold; the others stay below it. Faces do not overlap.

    Args:
        faces: how many, at least 0.
        input_hw: height and width of the network input, pixels.
        seed: of the generator.

    Returns:
        (N, 4) float32 box offsets, (N, 2) float32 probabilities of background and face, (N, 10) float32 landmark
        offsets, for the priors of `FaceParams()`; and (faces, 4) float32 (x1, y1, x2, y2), input pixels.

    Raises:
        InputError: that many faces find no room.
    """
    rng = np.random.default_rng(seed)
    params = FaceParams()
    anchors = priors(input_hw, params.min_sizes, params.strides).astype(np.float64)
    truth = _crowd(rng, faces, input_hw)
    loc = rng.normal(0, 0.3, (len(anchors), 4))
    landm = rng.normal(0, 0.3, (len(anchors), 10))
    score = params.score_threshold * rng.beta(1, 8, len(anchors))
    free = np.ones(len(anchors), np.bool_)
    for face in truth / np.tile(input_hw[::-1], 2):
        overlap = np.where(free, _overlap(face, anchors), -1)
        fired = np.argsort(-overlap, kind="stable")[:PRIORS_A_FACE]
        free[fired] = False
        loc[fired], landm[fired] = _encode(rng, face, anchors[fired], params.variances)
        # From near 1 for the best down to the threshold in even steps of the logit: of the candidates of trained heads,
        # too, a sixth to a third is above 0.9 and two fifths to a half are above 0.5.
        logit = np.linspace(5.5, -3.5, len(fired)) + rng.normal(0, 0.5, len(fired))
        score[fired] = 1 / (1 + np.exp(-logit))
    conf = np.stack([1 - score, score], axis=1)
    return loc.astype(np.float32), conf.astype(np.float32), landm.astype(np.float32), truth.astype(np.float32)


def nms_candidates(kind: Literal["clustered", "scattered"], count: int, *, seed: int = 0) -> tuple[Float32, Float32]:
    """Return boxes for suppression, in a picture of 640 x 640.

    Args:
        kind: "clustered": jittered around 75 centres, as a detector gives them; "scattered": anywhere, with sides from
            16 to 256 pixels, log-uniform and independent, so that hundreds stay.
        count: how many.
        seed: of the generator.

    Returns:
        (count, 4) float32 (x1, y1, x2, y2), pixels; (count,) float32 scores, 0..1, in no order.
    """
    rng = np.random.default_rng(seed)
    if kind == "clustered":
        side = np.exp(rng.uniform(np.log(16), np.log(128), (CENTRES, 1))) * [1.0, 1.25]
        centre = rng.uniform(64, 576, (CENTRES, 2))
        which = rng.integers(CENTRES, size=count)
        size = side[which] * np.exp(rng.normal(0, 0.1, (count, 2)))
        low = centre[which] + side[which] * rng.normal(0, 0.06, (count, 2)) - size / 2
    else:
        size = np.exp(rng.uniform(np.log(16), np.log(256), (count, 2)))
        low = rng.uniform(0, 1, (count, 2)) * (640 - size)
    boxes = np.concatenate([low, low + size], axis=1)
    return boxes.astype(np.float32), rng.uniform(0, 1, count).astype(np.float32)


def _crowd(rng: np.random.Generator, faces: int, input_hw: tuple[int, int]) -> Float64:
    """Return boxes inside the input that do not overlap; they are drawn smaller when there is little room."""
    height, width = input_hw
    placed = np.empty((0, 4))
    largest = min(input_hw) / 5
    for _ in range(200 * faces):
        if len(placed) == faces:
            break
        across = np.exp(rng.uniform(np.log(min(10, largest)), np.log(largest)))
        size = np.array([across, across * 1.25])
        low = rng.uniform(0, 1, 2) * (np.array([width, height]) - size)
        box = np.concatenate([low, low + size])
        apart = (box[:2] >= placed[:, 2:]) | (box[2:] <= placed[:, :2])
        if apart.any(axis=1).all():
            placed = np.concatenate([placed, box[None]])
        else:
            largest = max(largest * 0.99, 4.0)
    if len(placed) < faces:
        raise InputError(f"{faces} faces find no room in {height} x {width}", got=len(placed))
    return placed


def _overlap(face: Float64, anchors: Float64) -> Float64:
    """Return the IoU of one corner box with (N, 4) centre boxes."""
    low = np.maximum(face[:2], anchors[:, :2] - anchors[:, 2:] / 2)
    high = np.minimum(face[2:], anchors[:, :2] + anchors[:, 2:] / 2)
    shared = np.maximum(high - low, 0).prod(axis=1)
    union = (face[2:] - face[:2]).prod() + anchors[:, 2:].prod(axis=1) - shared
    result: Float64 = shared / union
    return result


def _encode(
    rng: np.random.Generator, face: Float64, anchors: Float64, variances: tuple[float, ...]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the offsets that decode to a face and its landmarks, each with jitter of a few per cent of its size."""
    size = face[2:] - face[:2]
    centres = face[:2] + size / 2 + size * rng.normal(0, 0.03, (len(anchors), 2))
    shift = (centres - anchors[:, :2]) / anchors[:, 2:] / variances[0]
    grow = np.log(size / anchors[:, 2:]) / variances[1] + rng.normal(0, 0.2, (len(anchors), 2))
    points = face[:2] + LANDMARKS * size + size * rng.normal(0, 0.02, (len(anchors), 5, 2))
    marks = (points - anchors[:, None, :2]) / anchors[:, None, 2:] / variances[0]
    return np.concatenate([shift, grow], axis=1), marks.reshape(-1, 10)
