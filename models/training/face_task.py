"""Training a face detector: random square crops, the multibox loss, a teacher's classes, boxes and landmarks."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.nn import functional

from ...runtime.card import Card, build
from ...runtime.errors import InputError
from ...runtime.face import FaceParams, priors
from ...runtime.preprocess import prepare
from ...runtime.resize import resize
from ..data.samples import FaceSample
from .multibox import FACE, IGNORED, NEGATIVES, match, multibox_loss
from .picture_task import PictureTask, takes_colour
from .task import Arrays, Batch, Distillation, Outputs

__all__ = ["FaceTask"]

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

LEAST_CROP = 0.3  # of the shorter side
ZOOM_OUT_CHANCE, MOST_ZOOM_OUT = 0.25, 2.0
MIRROR_CHANCE, BLUR_CHANCE, GREY_CHANCE, ANTIALIAS_CHANCE = 0.5, 0.08, 0.06, 0.5
LEAST_SIDE_PX = 5.0  # of a face in the network's input; smaller ones are ignored
LEAST_INSIDE = 0.3  # share of a face in the crop; of less nothing is asked
MIRRORED = np.array([1, 0, 2, 4, 3])  # landmarks after a horizontal flip
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
PROBABILITY_FLOOR = 1e-12
SURE = 0.3  # face probability from which the teacher's box and landmarks are followed
WEIGHTS = {"classes": 1.0, "boxes": 1.0, "points": 0.8}  # fixed: learned ones would fall without end


class FaceTask(PictureTask):
    """Samples of faces to the targets of prior boxes.

    Items hold "input" (3, H, W) float32 and, for each of N priors, "loc" (N, 4) and "landm" (N, 10) float32, "conf"
    (N,) int64 and "landm_mask" (N,) bool; see `multibox.Matched`. Batches hold the same with a first axis.

    Args:
        card: of the network that is trained; its decoder's constants give the priors.
        input_hw: height and width that it is trained at, pixels, multiples of 32; None takes the card's.

    Raises:
        InputError: the card does not take pictures in three colours as (1, 3, H, W), or the size does not fit.
    """

    family: ClassVar[str] = "face"
    stride: ClassVar[int] = 32

    def __init__(self, card: Card, input_hw: tuple[int, int] | None = None) -> None:
        super().__init__(card, input_hw)
        self.params: FaceParams = build(FaceParams, card.decoder.params, "card.decoder.params")
        self.priors = priors(self.input_hw, self.params.min_sizes, self.params.strides)

    def item(self, sample: FaceSample, rng: np.random.Generator | None) -> Arrays:
        """Return one training item; see the class and `Task.item`.

        With `rng`, a random part of the picture in the input's aspect ratio, 0.3 to 1 of the largest that fits, or now
        and then the whole picture on a larger mean-coloured ground; mirrored, recoloured, blurred or grey by chance.
        Without, the picture as the runtime's `prepare` takes it.
        """
        boxes, landmarks = sample.boxes, sample.landmarks
        has, ignore = sample.has_landmarks, sample.ignore
        if rng is None:
            tensor, geometry = prepare(sample.image, self.spec)
            picture = tensor[0]
            scale = np.array(geometry.scale_xy, np.float32)
            boxes, landmarks = boxes * np.tile(scale, 2), landmarks * scale
        else:
            x, y, width, height = _random_crop(rng, sample.image.shape[:2], self.input_hw)
            picture = self._picture(rng, sample.image, (x, y, width, height))
            scale = np.array([self.input_hw[1] / width, self.input_hw[0] / height], np.float32)
            corner = np.array([x, y], np.float32)
            boxes, landmarks = (boxes - np.tile(corner, 2)) * np.tile(scale, 2), (landmarks - corner) * scale
            if rng.random() < MIRROR_CHANCE:
                side = np.float32(self.input_hw[1])
                picture = np.ascontiguousarray(picture[:, :, ::-1])
                boxes = np.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], axis=1)
                landmarks = landmarks[:, MIRRORED] * np.array([-1, 1], np.float32) + np.array([side, 0], np.float32)
        limit = np.array([*self.input_hw[::-1]] * 2, np.float32)
        clipped = np.clip(boxes, 0.0, limit)
        sides = clipped[:, 2:] - clipped[:, :2]
        within = sides.prod(axis=1) / np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1e-6)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        central = ((centres > 0) & (centres < limit[:2])).all(axis=1)
        ignore = ignore | ~central | (within < LEAST_INSIDE) | (sides.min(axis=1) < LEAST_SIDE_PX)
        kept = sides.min(axis=1) > 0
        matched = match(
            np.asarray((clipped / limit)[kept], np.float32),
            np.asarray((landmarks / limit[:2])[kept], np.float32),
            has[kept],
            ignore[kept],
            self.priors,
            variances=self.params.variances,
        )
        return {
            "input": picture,
            "loc": matched.loc,
            "conf": matched.conf,
            "landm": matched.landm,
            "landm_mask": matched.landm_mask,
        }

    def forward(self, module: nn.Module, inputs: Tensor) -> Outputs:
        """Return "loc" (B, N, 4), "conf" (B, N, 2) and "landm" (B, N, 10), float32; "conf" are logits in either mode.

        In eval mode the networks give probabilities: their logarithm is a logit, since softmax of it is themselves.
        """
        loc, conf, landm = (output.float() for output in module(inputs))
        if not module.training:
            conf = conf.clamp(min=PROBABILITY_FLOOR).log()
        return {"loc": loc, "conf": conf, "landm": landm}

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return "total" = 2 * "loc" + "cls" + "landm", see `multibox.multibox_loss`."""
        targets = (batch["loc"], batch["conf"], batch["landm"], batch["landm_mask"])
        return multibox_loss(outputs["loc"], outputs["conf"], outputs["landm"], targets)

    def teacher_inputs(self, inputs: Tensor, teacher: Card) -> Tensor:
        """Return the batch as the teacher takes it: back to pixels, its colour order, its mean and deviation.

        The teacher sees pictures of the student's size, whatever size its card was made for: these networks are fully
        convolutional, and only so do both have the same priors.

        Args:
            inputs: (B, 3, H, W) float32, in the student's contract.
            teacher: of a network with the same priors and variances.

        Returns:
            (B, 3, H, W) float32; `inputs` itself if both contracts are the same.

        Raises:
            InputError: the teacher takes no pictures in three colours, or has other priors or variances.
        """
        spec = teacher.input
        if not takes_colour(spec) or spec.layout != "NCHW":
            raise InputError("the teacher must take pictures (1, 3, H, W)", got=f"{spec.kind} {spec.shape}")
        params: FaceParams = build(FaceParams, teacher.decoder.params, "card.decoder.params")
        theirs, ours = (
            (constants.min_sizes, constants.strides, constants.variances) for constants in (params, self.params)
        )
        if theirs != ours:
            raise InputError("the teacher must have the student's priors and variances", expected=ours, got=theirs)
        return self.in_contract(inputs, spec)

    def distill(self, outputs: Outputs, teacher: Outputs, batch: Batch, how: Distillation) -> dict[str, Tensor]:
        """Return "total", "task" and "teacher" with the parts of both; see `Task.distill`.

        teacher = classes + boxes + 0.8 * points. A prior is taught if it has a face, or the teacher's face probability
        is above 0.3. Boxes and points: mean over taught priors of the squared error, summed over coordinates. Classes:
        KL divergence of the softened probabilities times the squared temperature, its mean over taught priors plus 7
        times its mean over the others, the proportion of the task loss. (The plain mean over all priors is too small to
        be felt; a sum over all of them per face is 40 times the task's, nearly all of it background.) Ignored priors
        take no part.
        """
        task = self.loss(outputs, batch)
        valid = batch["conf"] != IGNORED
        sure = valid & (teacher["conf"].softmax(dim=-1)[..., 1] > SURE)
        taught = sure | (batch["conf"] == FACE)
        rest = valid & ~taught
        count, others = taught.sum().clamp(min=1), rest.sum().clamp(min=1)
        soft, wanted = ((side["conf"] / how.temperature).log_softmax(dim=-1) for side in (outputs, teacher))
        apart = functional.kl_div(soft, wanted, reduction="none", log_target=True).sum(dim=-1)
        parts = {
            "classes": how.temperature**2 * (apart[taught].sum() / count + NEGATIVES * apart[rest].sum() / others),
            "boxes": (outputs["loc"][taught] - teacher["loc"][taught]).square().sum() / count,
            "points": (outputs["landm"][taught] - teacher["landm"][taught]).square().sum() / count,
        }
        likeness = torch.stack([WEIGHTS[name] * part for name, part in parts.items()]).sum()
        total = how.alpha * likeness + (1.0 - how.alpha) * task["total"]
        return {**task, **parts, "total": total, "task": task["total"], "teacher": likeness}

    def _picture(self, rng: np.random.Generator, image: UInt8, crop: tuple[int, int, int, int]) -> Float32:
        """Return a part of the picture in other light, as the network takes it: (3, H, W) float32."""
        x, y, width, height = crop
        left, top, right, bottom = max(0, x), max(0, y), min(image.shape[1], x + width), min(image.shape[0], y + height)
        part = image[top:bottom, left:right]
        if part.shape[:2] != (height, width):
            whole = np.empty((height, width, 3), np.uint8)
            fill = np.broadcast_to(np.asarray(self.spec.resize.fill), 3)
            whole[:] = fill[::-1] if self.spec.colour == "BGR" else fill
            whole[top - y : bottom - y, left - x : right - x] = part
            part = whole
        part = resize(np.ascontiguousarray(part), self.input_hw, antialias=rng.random() < ANTIALIAS_CHANCE)
        if rng.random() < BLUR_CHANCE:
            blur = ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.2)))
            part = np.asarray(Image.fromarray(part).filter(blur))
        matrix, shift = _recolouring(rng)
        if self.spec.colour == "BGR":
            matrix, shift = matrix[::-1], shift[::-1]
        planes = (matrix @ part.reshape(-1, 3).astype(np.float32).T + shift[:, None]).reshape(3, *self.input_hw)
        np.clip(planes, 0.0, 255.0, out=planes)
        planes -= np.array(self.spec.mean, np.float32)[:, None, None]
        planes /= np.array(self.spec.std, np.float32)[:, None, None]
        return planes


def _random_crop(
    rng: np.random.Generator, image_hw: tuple[int, ...], input_hw: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return x, y, width and height of a part of the picture, pixels, in the input's aspect ratio.

    It may reach beyond the picture, if zoomed out.
    """
    height, width = image_hw
    largest = min(height / input_hw[0], width / input_hw[1])
    if rng.random() < ZOOM_OUT_CHANCE:
        scale = largest * rng.uniform(1.0, MOST_ZOOM_OUT)
    else:
        scale = largest * rng.uniform(LEAST_CROP, 1.0)
    crop_h, crop_w = max(1, round(scale * input_hw[0])), max(1, round(scale * input_hw[1]))
    x, y = (
        int(rng.integers(min(0, side - crop), max(0, side - crop) + 1))
        for side, crop in ((width, crop_w), (height, crop_h))
    )
    return x, y, crop_w, crop_h


def _recolouring(rng: np.random.Generator) -> tuple[Float32, Float32]:
    """Return (3, 3) and (3,): brightness, contrast, saturation and cast of colour as one affine map of RGB, 0..255."""
    saturation = 0.0 if rng.random() < GREY_CHANCE else math.exp(rng.normal(0.0, 0.2))
    mix = saturation * np.eye(3) + (1.0 - saturation) * np.tile(LUMA, (3, 1))
    gain = np.exp(rng.normal(0.0, 0.18) + rng.normal(0.0, 0.04, 3))
    matrix = gain[:, None] * mix
    grey = 128.0 * (1.0 - gain) + rng.normal(0.0, 14.0)
    return matrix.astype(np.float32), grey.astype(np.float32)
