"""`edge train`: train a model on a data set or on generated samples."""

from __future__ import annotations

from typing import Any

import click

from ..training_options import run_and_print, training_options


@click.command(context_settings={"max_content_width": 110})
@click.argument("name")
@training_options
def command(name: str, as_json: bool, **given: Any) -> None:
    r"""Train the model NAME, judge it on the test split, and write its checkpoint and training card.

    The same command goes on with a run that was stopped or killed, exactly. Under `torchrun` it trains on several
    GPUs or machines.

    \b
    Examples:
        edge train pose-student-2mb --out runs/pose
        edge train face-nanob-dense --data WIDER --out runs/face --epochs 40
        torchrun --nproc-per-node 4 -m edge train emotion-proto-81k --out runs/emotion
    """
    run_and_print(name, None, as_json, {}, **given)
