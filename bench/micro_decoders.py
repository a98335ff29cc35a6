"""The steps of the decoders, called one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..runtime.card import Card, build
from ..runtime.decode import energy
from ..runtime.face import FaceParams, decode_boxes, priors
from ..runtime.geometry import Geometry
from ..runtime.limbs import Connection, match_limbs
from ..runtime.nms import nms
from ..runtime.paf import HEATMAPS, PAFS, PafParams, content_pixels
from ..runtime.peaks import Peaks, find_peaks
from ..runtime.people import assemble
from ..runtime.skeleton import KEYPOINTS

__all__ = ["decoder_stages"]

Float32 = NDArray[np.float32]


def decoder_stages(
    card: Card, outputs: Mapping[str, Float32], geometry: Geometry | None
) -> dict[str, Callable[[], object]]:
    """Return steps of a card's decoder by name; none for a decoder that is too short to have any.

    Args:
        card: names the decoder.
        outputs: of the network, by name.
        geometry: of the picture.
    """
    if card.decoder.name == "openpose-paf":
        return _pose_stages(card, outputs, geometry)
    if card.decoder.name == "face-priors":
        return _face_stages(card, outputs)
    return {}


def _pose_stages(
    card: Card, outputs: Mapping[str, Float32], geometry: Geometry | None
) -> dict[str, Callable[[], object]]:
    params: PafParams = build(PafParams, card.decoder.params, "card.decoder.params")

    def layout() -> dict[int, Float32]:
        return {
            len(planes): np.ascontiguousarray(planes)
            for planes in (
                outputs[spec.name][0] if spec.layout == "NCHW" else outputs[spec.name][0].transpose(2, 0, 1)
                for spec in card.outputs
            )
        }

    maps = layout()
    heatmaps, pafs = maps[HEATMAPS][: len(KEYPOINTS)], maps[PAFS]
    content = None if geometry is None else content_pixels(geometry, params)

    def find() -> Peaks:
        return find_peaks(heatmaps, params.threshold, params.nms_radius, upsample=params.upsample, content_hw=content)

    def match() -> list[list[Connection]]:
        return match_limbs(
            pafs,
            peaks.table[:, :2],
            peaks.counts,
            upsample=params.upsample,
            points=params.points,
            paf_threshold=params.paf_threshold,
            min_ratio=params.min_ratio,
        )

    peaks = find()
    connections = match()
    heights = peaks.table[:, 2].tolist()
    return {
        "layout": layout,
        "finite check": lambda: [energy(values) for values in outputs.values()],
        "peaks": find,
        "limbs": match,
        "assembly": lambda: assemble(
            connections, heights, min_keypoints=params.min_keypoints, min_score=params.min_score
        ),
    }


def _face_stages(card: Card, outputs: Mapping[str, Float32]) -> dict[str, Callable[[], object]]:
    params: FaceParams = build(FaceParams, card.decoder.params, "card.decoder.params")
    heads = {spec.shape[-1]: outputs[spec.name][0] for spec in card.outputs}
    loc, conf = heads[4], heads[2]
    anchors = priors(card.input.hw, params.min_sizes, params.strides)
    chosen = np.flatnonzero(conf[:, 1] > params.score_threshold)
    side = np.float32(max(card.input.hw))
    boxes = decode_boxes(loc[chosen], anchors[chosen], params.variances) * side
    scores = conf[chosen, 1]
    return {
        "threshold": lambda: np.flatnonzero(conf[:, 1] > params.score_threshold),
        "boxes": lambda: decode_boxes(loc[chosen], anchors[chosen], params.variances),
        "suppression": lambda: nms(boxes, scores, params.nms_iou, pre_nms=params.pre_nms, keep=params.keep),
    }
