"""Training a pose network: augmented pictures, masked squared error on heatmaps and affinity fields, a teacher's maps.

The loss of one map set is the mean over pictures and cells of the squared error, summed over channels and halved; what
is within reach of somebody's joint or limb counts `FOREGROUND` times, for most cells of most channels are 0. (The
origin sums over cells and weighs all alike. The factor is a choice; it was not compared with 1.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...runtime.card import Card
from ...runtime.errors import InputError, MissingExtraError
from ...runtime.preprocess import prepare
from ...runtime.skeleton import KEYPOINTS
from ..data.samples import PoseSample
from .picture_task import PictureTask, takes_colour
from .pose_targets import cells_of_mask, heatmaps_and_pafs
from .task import Arrays, Batch, Distillation, Outputs

__all__ = ["PoseTask"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
UInt8 = NDArray[np.uint8]

STRIDE = 8
MAPS = ("heatmaps", "pafs")
FOREGROUND = 4.0
NEAR_HEATMAP, NEAR_PAF = 0.05, 0.05  # truth above which a cell is foreground of a channel
LEAST_SCALE, MOST_SCALE = 0.7, 1.25  # of the size at which the picture just fits
MOST_DEGREES = 30.0
SHIFT = 0.15  # of the input's side
BLUR_CHANCE, GREY_CHANCE = 0.1, 0.05
# Place of each keypoint's twin on the other side of the body.
TWINS = np.array(
    [
        KEYPOINTS.index(name.replace("right_", "L").replace("left_", "right_").replace("L", "left_"))
        for name in KEYPOINTS
    ]
)


class PoseTask(PictureTask):
    """Samples of people to heatmaps and affinity fields.

    Items hold "input" (3, H, W), "heatmaps" (19, H/8, W/8), "pafs" (38, H/8, W/8) and "mask" (1, H/8, W/8), 0 where no
    loss is taken, all float32. People of a crowd give no targets.

    Args:
        card: of the network that is trained.
        input_hw: height and width that it is trained at, pixels, multiples of 8; None takes the card's.

    Raises:
        InputError: the card does not take pictures in three colours as (1, 3, H, W), or the size does not fit.
    """

    family: ClassVar[str] = "pose"
    stride: ClassVar[int] = STRIDE

    def item(self, sample: PoseSample, rng: np.random.Generator | None) -> Arrays:
        """Return one training item, see the class; see `Task.item`.

        Raises:
            MissingExtraError: a picture is to be augmented or partly ignored, and OpenCV is not installed.
        """
        keypoints = sample.keypoints[~sample.crowd]
        if rng is None:
            tensor, geometry = prepare(sample.image, self.spec)
            scale_x, scale_y = geometry.scale_xy
            matrix = np.array([[scale_x, 0.0, 0.0], [0.0, scale_y, 0.0]])
            picture = tensor[0]
            keypoints = _moved(keypoints, matrix, geometry.content_hw)
        else:
            matrix = _random_affine(rng, sample.ignore.shape, self.input_hw)
            mirror = bool(np.linalg.det(matrix[:, :2]) < 0.0)
            picture = self._augmented(sample.image, matrix, rng)
            keypoints = _moved(keypoints[:, TWINS] if mirror else keypoints, matrix, self.input_hw)
        heatmaps, pafs = heatmaps_and_pafs(keypoints, self.input_hw, STRIDE)
        mask = cells_of_mask(self._warped_ignore(sample.ignore, matrix), STRIDE)
        return {"input": picture, "heatmaps": heatmaps, "pafs": pafs, "mask": mask}

    def forward(self, module: nn.Module, inputs: Tensor) -> Outputs:
        """Return "heatmaps" and "pafs" of the last stage, and "stage_0_heatmaps" and so on of earlier ones."""
        maps = module(inputs)
        stages = len(maps) // 2
        names = [f"stage_{stage}_{name}" if stage < stages - 1 else name for stage in range(stages) for name in MAPS]
        return dict(zip(names, maps, strict=True))

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return "total", the sum over stages and maps, and "heatmaps" and "pafs" of the last stage."""
        errors = self._errors(outputs, batch, batch)
        return {"total": _sum(errors), **{name: errors[name] for name in MAPS}}

    def teacher_inputs(self, inputs: Tensor, teacher: Card) -> Tensor:
        """Return the batch as the teacher takes it: back to pixels, its colour order, its size, its mean and deviation.

        Args:
            inputs: (B, 3, H, W) float32, in the student's contract.
            teacher: whose height and width may differ from the student's, but not its shape.

        Returns:
            (B, 3, H', W') float32; `inputs` itself if both contracts are the same.

        Raises:
            InputError: the teacher takes pictures of another shape or of another number of colours.
        """
        spec = teacher.input
        height, width = spec.hw
        if not takes_colour(spec) or height * self.input_hw[1] != width * self.input_hw[0]:
            raise InputError(
                "the teacher must take pictures in three colours and of the student's shape",
                expected=f"a multiple of {self.input_hw}",
                got=f"{spec.colour} {spec.hw}",
            )
        if spec.hw != self.input_hw:
            inputs = functional.interpolate(inputs, size=spec.hw, mode="bilinear", align_corners=False)
        return self.in_contract(inputs, spec)

    def distill(self, outputs: Outputs, teacher: Outputs, batch: Batch, how: Distillation) -> dict[str, Tensor]:
        """Return "total", "task" and "teacher", and the parts of the task loss; see `Task.distill`.

        The teacher's last maps are brought to the student's size by bilinear interpolation. They are weighted and
        masked as the truth is.
        """
        size = batch["heatmaps"].shape[-2:]
        wanted = {
            name: functional.interpolate(teacher[name].float(), size=size, mode="bilinear", align_corners=False)
            if teacher[name].shape[-2:] != size
            else teacher[name].float()
            for name in MAPS
        }
        task = self.loss(outputs, batch)
        likeness = _sum(self._errors(outputs, wanted, batch))
        total = how.alpha * likeness + (1.0 - how.alpha) * task["total"]
        return {**task, "total": total, "task": task["total"], "teacher": likeness}

    def _errors(self, outputs: Outputs, wanted: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return the loss of each of the outputs, by name, towards the wanted "heatmaps" and "pafs"."""
        mask = batch["mask"]
        weights = {"heatmaps": _near(batch["heatmaps"], NEAR_HEATMAP), "pafs": _near(batch["pafs"], NEAR_PAF)}
        weights["pafs"] = torch.maximum(weights["pafs"][:, 0::2], weights["pafs"][:, 1::2]).repeat_interleave(2, dim=1)
        cells = mask.sum().clamp(min=1.0)
        errors = {}
        for name, maps in outputs.items():
            kind = name.rsplit("_", 1)[-1]
            weight = mask * (1.0 + (FOREGROUND - 1.0) * weights[kind])
            errors[name] = (weight * (maps.float() - wanted[kind]).square()).sum() / (2.0 * cells)
        return errors

    def _augmented(self, image: UInt8, matrix: Float64, rng: np.random.Generator) -> Float32:
        """Return the picture moved, in other light, as the network takes it: (3, H, W) float32."""
        cv2 = _cv2()
        fill = [float(value) for value in np.broadcast_to(self.spec.resize.fill, 3)]
        rgb_fill = fill[::-1] if self.spec.colour == "BGR" else fill
        if rng.random() < GREY_CHANCE:
            image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)
        image = cv2.LUT(image, _light(rng))
        image = cv2.warpAffine(
            image, _to_indices(matrix), self.input_hw[::-1], flags=cv2.INTER_LINEAR, borderValue=rgb_fill
        )
        if rng.random() < BLUR_CHANCE:
            image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.0)))
        planes = image.transpose(2, 0, 1)[:: -1 if self.spec.colour == "BGR" else 1]
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (self.spec.mean, self.spec.std))
        return np.ascontiguousarray((planes - mean) / std, np.float32)

    def _warped_ignore(self, ignore: NDArray[np.bool_], matrix: Float64) -> NDArray[np.bool_]:
        if not ignore.any():
            return np.zeros(self.input_hw, np.bool_)
        cv2 = _cv2()
        moved = cv2.warpAffine(
            ignore.astype(np.uint8), _to_indices(matrix), self.input_hw[::-1], flags=cv2.INTER_NEAREST
        )
        return np.asarray(moved > 0)


def _random_affine(rng: np.random.Generator, hw: tuple[int, ...], input_hw: tuple[int, int]) -> Float64:
    """Return where points of the picture go, (2, 3): scaled, turned, shifted, mirrored half of the time."""
    scale = min(input_hw[0] / hw[0], input_hw[1] / hw[1])
    scale *= math.exp(rng.uniform(math.log(LEAST_SCALE), math.log(MOST_SCALE)))
    angle = math.radians(float(np.clip(rng.normal(0.0, MOST_DEGREES / 2.5), -MOST_DEGREES, MOST_DEGREES)))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    turn = scale * np.array([[flip * math.cos(angle), -math.sin(angle)], [flip * math.sin(angle), math.cos(angle)]])
    # A picture that is smaller than the input may be anywhere in it.
    slack = np.maximum(0.0, np.array(input_hw[::-1]) - scale * np.array(hw[::-1])) / 2.0
    shift = rng.uniform(-1.0, 1.0, 2) * (slack + SHIFT * np.array(input_hw[::-1]) * (rng.random() < 0.5))
    middle = np.array(input_hw[::-1]) / 2.0 + shift
    return np.concatenate([turn, (middle - turn @ (np.array(hw[::-1]) / 2.0))[:, None]], axis=1)


def _moved(keypoints: Float32, matrix: Float64, hw: tuple[int, int]) -> Float32:
    """Return keypoints (n, 18, 3) in the input; those outside of `hw` have visibility 0."""
    moved = keypoints.copy()
    moved[:, :, :2] = keypoints[:, :, :2] @ matrix[:, :2].T.astype(np.float32) + matrix[:, 2].astype(np.float32)
    inside = ((moved[:, :, :2] >= 0.0) & (moved[:, :, :2] < np.array(hw[::-1], np.float32))).all(axis=2)
    moved[:, :, 2] *= inside
    return moved


def _to_indices(matrix: Float64) -> Float64:
    """Return the affine map for OpenCV, to which the middle of the first pixel is 0 instead of 0.5."""
    indices = matrix.copy()
    indices[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    return indices


def _light(rng: np.random.Generator) -> UInt8:
    """Return a table for `cv2.LUT`, (256, 1, 3): brightness, contrast, and a cast of colour."""
    level = np.arange(256.0)[:, None]
    contrast = math.exp(rng.normal(0.0, 0.15))
    gain = np.exp(rng.normal(0.0, 0.06, 3))
    table = (level - 128.0) * contrast * gain + 128.0 + rng.normal(0.0, 14.0)
    return np.clip(table, 0.0, 255.0).astype(np.uint8)[:, None, :]


def _near(truth: Tensor, least: float) -> Tensor:
    return (truth.abs() > least).to(truth.dtype)


def _sum(errors: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(errors.values())).sum()


@cache
def _cv2() -> Any:
    try:
        import cv2
    except ImportError as exc:
        hint = "pip install 'edge-vision[train]'"
        raise MissingExtraError("augmenting pictures needs OpenCV, which is not installed", hint=hint) from exc
    cv2.setNumThreads(0)  # pictures are small, and threads of OpenCV do not survive the fork of a loader's workers
    return cv2
