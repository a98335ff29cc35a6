"""Cards of the built-in models: what enters, what leaves, who decodes it, where it comes from. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..runtime.card import AudioSpec, Budget, Card, DecoderSpec, InputSpec, OutputSpec, ResizeSpec
from ..runtime.errors import InputError

__all__ = ["FACE_PARAMS", "POSE_PARAMS", "emotion_card", "face_card", "pose_card"]

MAX_SIDE = 4096  # pixels; larger inputs would only exhaust memory

# Lightweight OpenPose's decoder (arXiv:1811.12004 and the author's public code).
POSE_PARAMS: Mapping[str, Any] = {
    "stride": 8,
    "upsample": 8,
    "threshold": 0.1,
    "nms_radius": 6.0,
    "points": 10,
    "paf_threshold": 0.05,
    "min_ratio": 0.8,
    "min_keypoints": 3,
    "min_score": 0.2,
}

# RetinaFace's priors and post-processing (arXiv:1905.00641 and the public PyTorch code).
FACE_PARAMS: Mapping[str, Any] = {
    "min_sizes": [[16, 32], [64, 128], [256, 512]],
    "strides": [8, 16, 32],
    "variances": [0.1, 0.2],
    "score_threshold": 0.02,
    "nms_iou": 0.4,
    "pre_nms": 5000,
    "keep": 750,
    "display_threshold": 0.5,
}

BGR_MEAN = (104.0, 117.0, 123.0)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

WIDER = "WIDER FACE (research use only) with RetinaFace's landmark annotations"


def pose_card(
    name: str, input_hw: tuple[int, int], *, std: float, stages: int, provenance: Mapping[str, str], budget: Budget
) -> Card:
    """Return the card of a pose network.

    Args:
        name: registry name.
        input_hw: height and width, pixels, multiples of 8.
        std: pixels enter as (pixel - 128) / std.
        stages: pairs of maps that leave the network; the decoder reads the last pair.
        provenance: see `Card`.
        budget: see `Card`.

    Raises:
        InputError: the size does not fit the network.
    """
    height, width = _check_hw(name, input_hw, multiple=8)
    maps = (height // 8, width // 8)
    prefixes = [f"stage_{index}_" for index in range(stages - 1)] + [""]
    outputs = []
    for prefix in prefixes:
        stage = "an intermediate stage's " if prefix else ""
        outputs.append(
            OutputSpec(
                name=f"{prefix}heatmaps",
                shape=(1, 19, *maps),
                layout="NCHW",
                meaning=f"{stage}confidence of 18 keypoints, then background; about 0..1, linear",
            )
        )
        outputs.append(
            OutputSpec(
                name=f"{prefix}pafs",
                shape=(1, 38, *maps),
                layout="NCHW",
                meaning=f"{stage}part affinity fields of 19 limbs, x and y of a unit vector; linear",
            )
        )
    return Card(
        model=name,
        family="pose",
        input=InputSpec(
            shape=(1, 3, height, width),
            colour="BGR",
            mean=(128.0,) * 3,
            std=(std,) * 3,
            resize=ResizeSpec(interpolation="bicubic", rounding="truncate", fill=(128.0,) * 3),
        ),
        outputs=tuple(outputs),
        decoder=DecoderSpec(name="openpose-paf", params=dict(POSE_PARAMS)),
        budget=budget,
        provenance=dict(provenance),
    )


def face_card(name: str, input_hw: tuple[int, int], *, provenance: Mapping[str, str], budget: Budget) -> Card:
    """Return the card of a face network.

    Args:
        name: registry name.
        input_hw: height and width, pixels, multiples of 32.
        provenance: see `Card`.
        budget: see `Card`.

    Raises:
        InputError: the size does not fit the network.
    """
    height, width = _check_hw(name, input_hw, multiple=32)
    anchors = sum(2 * (height // stride) * (width // stride) for stride in FACE_PARAMS["strides"])
    return Card(
        model=name,
        family="face",
        input=InputSpec(
            shape=(1, 3, height, width),
            colour="BGR",
            mean=BGR_MEAN,
            resize=ResizeSpec(interpolation="bilinear", rounding="round", fill=BGR_MEAN),
        ),
        outputs=(
            OutputSpec(name="loc", shape=(1, anchors, 4), meaning="box offsets against the prior boxes"),
            OutputSpec(name="conf", shape=(1, anchors, 2), meaning="probability of background and of a face, 0..1"),
            OutputSpec(name="landm", shape=(1, anchors, 10), meaning="five landmarks' offsets against the prior boxes"),
        ),
        decoder=DecoderSpec(name="face-priors", params={key: value for key, value in FACE_PARAMS.items()}),
        budget=budget,
        provenance=dict(provenance),
    )


def emotion_card(name: str, input_hw: tuple[int, int] | None, *, provenance: Mapping[str, str], budget: Budget) -> Card:
    """Return the card of an emotion network: a clip's mel spectrogram in, valence and arousal out.

    Args:
        name: registry name.
        input_hw: None or (224, 224); the networks take nothing else.
        provenance: see `Card`.
        budget: see `Card`.

    Raises:
        InputError: another size was asked for.
    """
    if input_hw not in (None, (224, 224)):
        raise InputError(f"`{name}` has one input size only", expected="224x224", got=_times(input_hw))
    return Card(
        model=name,
        family="emotion",
        input=InputSpec(
            shape=(1, 3, 224, 224),
            kind="audio",
            colour="RGB",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            resize=ResizeSpec(rule="stretch", interpolation="bilinear"),
            audio=AudioSpec(),
        ),
        outputs=(OutputSpec(name="valence_arousal", shape=(1, 2), meaning="valence and arousal, -1..1; 1..9 is 4y+5"),),
        decoder=DecoderSpec(name="valence-arousal"),
        budget=budget,
        provenance=dict(provenance),
    )


def _check_hw(name: str, input_hw: tuple[int, int], multiple: int) -> tuple[int, int]:
    height, width = input_hw
    if any(side < multiple or side % multiple or side > MAX_SIDE for side in (height, width)):
        raise InputError(
            f"`{name}` does not take this input size",
            expected=f"height and width from {multiple} to {MAX_SIDE}, multiples of {multiple}",
            got=_times(input_hw),
        )
    return height, width


def _times(input_hw: tuple[int, int] | None) -> str:
    return "x".join(str(side) for side in input_hw or ())
