"""How each model is trained unless told otherwise: found by trying, on the synthetic sets, on one CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from ..registry import ModelEntry
from .options import TrainOptions

__all__ = ["RECIPES", "Recipe", "recipe_for"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Options, and the height and width of the training crops, pixels; None takes the card's."""

    options: TrainOptions
    input_hw: tuple[int, int] | None = None


# On a CPU the depthwise convolutions of these networks are slower in bfloat16 than in float32, up to 1.8 times, even
# where AMX makes matrix products faster; the transformer has none.
_EMOTION = TrainOptions(
    steps=1500,
    batch=32,
    lr=2e-3,
    weight_decay=1e-2,
    warmup=100,
    ema=0.995,
    precision="32-true",
    workers=2,
    validate_every=500,
)
# By model name, else by family.
RECIPES: Mapping[str, Recipe] = {
    "pose": Recipe(options=TrainOptions(steps=5000, batch=32, lr=3e-3, validate_every=1000)),
    "face": Recipe(
        options=TrainOptions(steps=2500, batch=16, lr=8e-3, clip=10.0, warmup=100, ema=0.998, validate_every=500),
        input_hw=(320, 320),
    ),
    "emotion": Recipe(options=_EMOTION),
    "emotion-teacher-cnn": Recipe(options=dataclasses.replace(_EMOTION, lr=1e-3)),
    "emotion-student-12m": Recipe(
        options=dataclasses.replace(_EMOTION, lr=3e-4, batch=16, steps=600, precision="bf16-mixed")
    ),
}


def recipe_for(entry: ModelEntry) -> Recipe:
    """Return the recipe of a model: its own, its family's, or 1,000 steps with the defaults."""
    return RECIPES.get(entry.name) or RECIPES.get(entry.family) or Recipe(options=TrainOptions(steps=1000))
