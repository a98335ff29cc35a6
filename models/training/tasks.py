"""The task of each family."""

from __future__ import annotations

from ...runtime.card import Card
from ...runtime.errors import InputError
from .task import Task

__all__ = ["task_for"]


def task_for(card: Card, input_hw: tuple[int, int] | None = None) -> Task:
    """Return the training task of a card's family.

    Args:
        card: of the network that is trained.
        input_hw: height and width that it is trained at, pixels; None takes the card's.

    Raises:
        InputError: nothing is known about training that family.
    """
    if card.family == "pose":
        from .pose_task import PoseTask

        return PoseTask(card, input_hw)
    if card.family == "face":
        from .face_task import FaceTask

        return FaceTask(card, input_hw)
    if card.family == "emotion":
        from .emotion_task import EmotionTask

        return EmotionTask(card, input_hw)
    raise InputError(f"model `{card.model}` cannot be trained", expected="pose | face | emotion", got=card.family)
