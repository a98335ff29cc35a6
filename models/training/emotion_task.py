"""Training of emotion networks: spectrograms, the concordance loss, and a teacher's answer and features.

The loss is 1 - CCC, the mean of both dimensions over the batch. CCC is a property of a set: with several processes each
computes it over its own part of the batch and gradients are averaged, so a part should not be below 16 samples.

Source:
    Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45, 1989.
    Park et al., "SpecAugment", arXiv:1904.08779: masks of time and frequency.
    Romero et al., "FitNets", arXiv:1412.6550: a learned projection onto the teacher's features.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ...runtime.card import Card
from ...runtime.errors import InputError
from ..data.samples import SpectrogramSample
from .task import Arrays, Batch, Distillation, Outputs, Task

__all__ = ["EmotionTask", "concordance"]

Float32 = NDArray[np.float32]

ANSWER = "valence_arousal"
MSE_SHARE = 0.2  # a batch whose answers are all alike has no CCC to climb; the squared error still pulls them apart
FEATURE_SHARE = 0.3  # of the teacher's part; the rest is its answer
EPSILON = 1e-6  # keeps the CCC of a constant batch finite


class EmotionTask(Task):
    """Spectrograms to valence and arousal.

    Args:
        card: of the network that is trained: an input of kind "audio", NCHW.
        input_hw: None, or the card's own size.

    Raises:
        InputError: the card's input is none of sound, or another size is asked for.
    """

    family: ClassVar[str] = "emotion"

    def __init__(self, card: Card, input_hw: tuple[int, int] | None = None) -> None:
        super().__init__(card, input_hw)
        if card.input.kind != "audio" or card.input.layout != "NCHW":
            raise InputError(f"`{card.model}` takes no spectrograms", expected="audio, NCHW", got=card.input.kind)
        if self.input_hw != card.input.hw:
            raise InputError(f"`{card.model}` has one input size only", expected=card.input.hw, got=self.input_hw)

    def item(self, sample: SpectrogramSample, rng: np.random.Generator | None) -> Arrays:
        """Return "input" (3, 224, 224) float32 with the card's mean and deviation, and "target" (2,) float32."""
        spectrogram = sample.tensor if rng is None else _augment(sample.tensor[0], rng)[None]
        mean, std = (
            np.array(values, np.float32)[:, None, None] for values in (self.card.input.mean, self.card.input.std)
        )
        return {"input": (spectrogram - mean) / std, "target": sample.target}

    def forward(self, module: nn.Module, inputs: Tensor) -> Outputs:
        """Return "valence_arousal" (B, 2), and "features" (B, F), what the network's `head` is given.

        Args:
            module: a network with a part called `head`, possibly wrapped; called once.
            inputs: (B, 3, 224, 224) float32.
        """
        seen: list[Tensor] = []
        hook = _head(module).register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        try:
            answer = module(inputs)[0]
        finally:
            hook.remove()
        return {ANSWER: answer, "features": seen[0].flatten(1)}

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return "total", and its parts "valence" and "arousal", 1 - CCC of each, and "mse"."""
        answer, target = outputs[ANSWER].float(), batch["target"].float()
        apart = 1.0 - concordance(answer, target)
        mse = functional.mse_loss(answer, target)
        return {"total": apart.mean() + MSE_SHARE * mse, "valence": apart[0], "arousal": apart[1], "mse": mse}

    def teacher_inputs(self, inputs: Tensor, teacher: Card) -> Tensor:
        """Return the batch with the teacher's mean and deviation instead of the student's.

        Raises:
            InputError: the teacher hears in another way, or at another size.
        """
        mine, other = self.card.input, teacher.input
        if (mine.audio, mine.shape, mine.layout) != (other.audio, other.shape, other.layout):
            raise InputError(
                f"`{teacher.model}` cannot teach `{self.card.model}`: their spectrograms differ",
                expected=(mine.shape, mine.audio),
                got=(other.shape, other.audio),
            )
        if (mine.mean, mine.std) == (other.mean, other.std):
            return inputs
        mean, std, other_mean, other_std = (
            torch.tensor(values, dtype=inputs.dtype, device=inputs.device)[:, None, None]
            for values in (mine.mean, mine.std, other.mean, other.std)
        )
        return (inputs * std + mean - other_mean) / other_std

    def distill(self, outputs: Outputs, teacher: Outputs, batch: Batch, how: Distillation) -> dict[str, Tensor]:
        """Return "total", "answer" and "features", the teacher's parts, and the parts of the task loss.

        The teacher's part is the task loss towards the teacher's answer, and 1 - cosine of the student's features, as
        `adapter` projects them, and the teacher's.
        """
        task = self.loss(outputs, batch)
        answer = self.loss(outputs, {"target": teacher[ANSWER].detach()})["total"]
        likeness = functional.cosine_similarity(outputs["features"].float(), teacher["features"].float().detach())
        features = 1.0 - likeness.mean()
        taught = (1.0 - FEATURE_SHARE) * answer + FEATURE_SHARE * features
        total = how.alpha * taught + (1.0 - how.alpha) * task["total"]
        return {**task, "total": total, "task": task["total"], "answer": answer, "features": features}

    def adapter(self, student: nn.Module, teacher: nn.Module) -> nn.Module:
        """Return a linear projection of the student's features onto the teacher's."""
        return _Projection(_width(student), _width(teacher))


def concordance(answer: Tensor, target: Tensor) -> Tensor:
    """Return Lin's concordance correlation coefficient of each column.

    Args:
        answer, target: (B, K) float32.

    Returns:
        (K,) float32, -1..1; 0 where all answers are alike.
    """
    mean, wanted = answer.mean(0), target.mean(0)
    together = ((answer - mean) * (target - wanted)).mean(0)
    spread = (answer - mean).square().mean(0) + (target - wanted).square().mean(0)
    return 2.0 * together / (spread + (mean - wanted).square() + EPSILON)


class _Projection(nn.Module):
    """Outputs whose features are projected."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels_in, channels_out)

    def forward(self, outputs: Outputs) -> Outputs:
        return {**outputs, "features": self.linear(outputs["features"])}


def _head(module: nn.Module) -> nn.Module:
    """Return the part called `head`, at any depth of wrapping."""
    part: nn.Module
    for name, part in module.named_modules():
        if name.split(".")[-1] == "head":
            return part
    raise InputError("this network cannot be trained on emotions", expected="a part called `head`")


def _width(module: nn.Module) -> int:
    """Return the number of features that a network's head is given."""
    return next(part.in_features for part in _head(module).modules() if isinstance(part, nn.Linear))


# --- augmentation ---------------------------------------------------------------


def _augment(spectrogram: Float32, rng: np.random.Generator) -> Float32:
    """Return the same music, heard a little otherwise: the changes are too small to change what it makes people feel.

    Args:
        spectrogram: (224, 224) float32, z-scored; first row the lowest band, first column the start.
        rng: source of the changes.
    """
    height, width = spectrogram.shape
    # Time: a window of 93-100 % of the clip stretched to its length (a tempo up to 7 % slower), rolled.
    stretch = rng.uniform(0.93, 1.0)
    at = rng.uniform(0.0, (1.0 - stretch) * (width - 1)) + np.arange(width, dtype=np.float32) * np.float32(stretch)
    left = np.minimum(at.astype(np.intp), width - 2)
    share = (at - left).astype(np.float32)
    turn = int(rng.integers(width))
    left, share = np.roll(left, turn), np.roll(share, turn)
    out = spectrogram[:, left] * (1.0 - share) + spectrogram[:, left + 1] * share
    # Frequency: up to two rows, the outermost repeated.
    shift = int(rng.integers(-2, 3))
    out = out[np.clip(np.arange(height) - shift, 0, height - 1)]
    # An equaliser's tilt, a gain, hiss.
    tilt = rng.uniform(-0.2, 0.2) * np.linspace(-1.0, 1.0, height) + rng.uniform(-0.1, 0.1)
    out = out * np.float32(rng.uniform(0.93, 1.07)) + tilt[:, None].astype(np.float32)
    out += rng.standard_normal(out.shape, dtype=np.float32) * np.float32(rng.uniform(0.0, 0.15))
    for axis, most in ((0, 12), (1, 16)):
        size, start = int(rng.integers(0, most + 1)), int(rng.integers(0, out.shape[axis] - most))
        band: list[Any] = [slice(None), slice(None)]
        band[axis] = slice(start, start + size)
        out[tuple(band)] = 0.0  # the mean of a z-scored spectrogram
    return np.ascontiguousarray(out, np.float32)
