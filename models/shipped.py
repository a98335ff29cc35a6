"""Trained checkpoints: those that ship with the package, and what their training cards say. No torch here.

A training card is the JSON file beside `NAME.safetensors`, as `training.training_card` writes and reads it: data, seed,
command, steps, metric, hours, machine and the checkpoint's SHA-256. One that names another is of another checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..runtime.card import Card
from ..runtime.errors import CheckpointError, InputError
from .training.training_card import read_training_card

__all__ = ["WEIGHTS", "Trained", "shipped", "trained"]

WEIGHTS = Path(__file__).resolve().parent / "weights"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A checkpoint whose training is known.

    Attributes:
        path: the safetensors file.
        training: its training card.
        sha256: of the file.
    """

    path: Path
    training: Mapping[str, Any]
    sha256: str

    def on(self, card: Card) -> Card:
        """Return a model's card whose provenance tells of these weights and of the data they have seen."""
        facts = self.training
        how = f"trained by edge, seed {facts['seed']}, {facts['steps']} steps"
        weights = f"{how}; {self.path.name}, sha256 {self.sha256}"
        return replace(card, provenance={**card.provenance, "weights": weights, "training_data": self._data()})

    def summary(self) -> str:
        """Return one line for people: what data, and how good on which."""
        metric = self._metric()
        return f"trained by edge on {self._data()}" + (f": {metric}" if metric else "")

    def lines(self) -> list[tuple[str, str]]:
        """Return the training card as words and values for people, the most important first."""
        facts = self.training
        told = {
            "data": self._data(),
            "metric": self._metric(),
            "steps": facts["steps"],
            "seed": facts["seed"],
            "hours": facts.get("hours"),
            "machine": _words(facts.get("machine")),
            "command": facts.get("command"),
            "file": f"{self.path.name}, {self.path.stat().st_size:,} bytes, sha256 {self.sha256}",
        }
        return [(word, str(value)) for word, value in told.items() if value not in (None, "")]

    def _data(self) -> str:
        data, teacher = self.training["data"], self.training.get("teacher")
        teacher = teacher.get("model") if isinstance(teacher, Mapping) else teacher
        parts = [data["label"]]
        if data.get("synthetic") and "synthetic" not in data["label"]:
            parts.append("synthetic")
        return ", ".join([*parts, f"distilled from {teacher}"] if teacher else parts)

    def _metric(self) -> str:
        metric = self.training.get("metrics")
        if not metric:
            return ""
        interval = f" [{metric['low']:.3f}, {metric['high']:.3f}]" if metric.get("low") is not None else ""
        return f"{metric['name']} {metric['value']:.3f}{interval} on {metric['samples']} samples of {metric['data']}"


def shipped(name: str) -> Trained | None:
    """Return the checkpoint that ships with a model, or None.

    Raises:
        CheckpointError: the file has no training card of its own: the installation is damaged.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        return None
    found = trained(path)
    if found is None or found.training["model"] != name:
        hint = "install the package again; `edge export --untrained` does without it"
        raise CheckpointError(f"`{path.name}` ships without its training card, or with that of another", hint=hint)
    return found


def trained(path: Path) -> Trained | None:
    """Return what the training card beside a checkpoint says; None where there is none, or it is not of this file."""
    if path.suffix != ".safetensors":
        return None
    try:
        facts = read_training_card(path)
        if facts is None or not {"model", "seed", "steps"} <= set(facts):
            return None
        found = Trained(path=path, training=facts, sha256=facts["sha256"])
        found.summary()  # a card that cannot be told of is none of ours
    except (OSError, InputError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{word} {part}" if not isinstance(part, str) else part for word, part in value.items())
    return "" if value is None else str(value)
