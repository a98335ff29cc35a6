"""`edge distill`: train a model on a data set and on what a better one says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..training_options import run_and_print, teacher_options, training_options


@click.command(context_settings={"max_content_width": 110})
@click.argument("name")
@teacher_options(required=True)
@training_options
def command(
    name: str, teacher: tuple[str, Path | None], alpha: float, temperature: float, as_json: bool, **given: Any
) -> None:
    r"""Train the model NAME as `edge train` does, with a teacher.

    \b
    Example:
        edge distill pose-student-2mb --teacher pose-teacher-mnv1:teacher.pth --out runs/pose-distilled
    """
    run_and_print(name, teacher, as_json, {"alpha": alpha, "temperature": temperature}, **given)
