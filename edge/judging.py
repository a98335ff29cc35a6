"""What `edge eval` and `edge gate` judge: the family of targets, and what runs each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .runtime.errors import InputError

if TYPE_CHECKING:
    from .models.evaluate import Candidate
    from .runtime.card import Card

__all__ = ["family_of", "is_artifact", "open_candidate"]

ARTIFACTS = (".onnx", ".tflite")
BY_DECODER = {"face-priors": "face", "openpose-paf": "pose", "valence-arousal": "emotion"}


def is_artifact(target: Path) -> bool:
    """Return whether a target is an exported file, by its name; anything else is a checkpoint."""
    return target.suffix.lower() in ARTIFACTS


def family_of(targets: Sequence[Path], cards: Sequence[Card], asked: str | None) -> str:
    """Return the one family that all targets are of."""
    found = [asked or BY_DECODER.get(card.decoder.name, card.family) for card in cards]
    for target, family in zip(targets, found, strict=True):
        if family not in BY_DECODER.values():
            hint = "pass `--family` if its decoder finds people, faces or an emotion"
            raise InputError(f"no metric is known for `{target.name}`", got=f"family `{family}`", hint=hint)
        if family != found[0]:
            raise InputError(
                "the targets are of different families",
                got=f"`{targets[0].name}` {found[0]}, `{target.name}` {family}",
                hint="judge each family by itself",
            )
    return found[0]


def open_candidate(
    target: Path,
    card: Card,
    model: str | None,
    engine: str,
    threads: int | None,
    opened: contextlib.ExitStack,
) -> Candidate:
    """Return what runs a target; a file that this machine does not know is tried in a child process first."""
    from .models.evaluate import Candidate

    if is_artifact(target):
        from .runtime.isolate import guard
        from .runtime.pipeline import Pipeline

        guard(target, card, engine=engine)
        pipeline = opened.enter_context(Pipeline.load(target, engine=engine, threads=threads, card=card))
        return Candidate(pipeline.engine.run, card)
    import torch

    from .models import registry
    from .models.checkpoint import load_model
    from .models.torch_engine import torch_runner

    assert model is not None
    if threads is not None:
        torch.set_num_threads(threads)
    module, _ = load_model(registry.get(model), target)
    return Candidate(torch_runner(module, card), card)
