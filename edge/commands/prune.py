"""`edge prune`: make a Nano-B really smaller, by B-FPGM."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from ..runtime.errors import InputError, MissingExtraError
from ..training_options import data_options, interval_of, resumable, size, teacher_options

__all__ = ["command"]

SCHEMA = 1
LEARNING_RATE, BATCH = 4e-3, 16


def _range(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,9}):(\d{1,9})", value)
    if not found:
        raise InputError(f"`--parameters {value}` is not understood", expected="LOW:HIGH, such as 120000:180000")
    return int(found[1]), int(found[2])


@click.command(context_settings={"max_content_width": 110})
@click.argument("name")
@click.option("--checkpoint", type=click.Path(path_type=Path), required=True, help="Weights of NAME before pruning.")
@data_options
@click.option(
    "--parameters",
    callback=_range,
    default="142000:165000",
    show_default=True,
    metavar="LOW:HIGH",
    help="What the pruned network may have.",
)
@click.option(
    "--method",
    type=click.Choice(["bfpgm", "uniform", "magnitude"]),
    default="bfpgm",
    show_default=True,
    help="bfpgm: searched rates; uniform: one rate everywhere; magnitude: ranks filters by their norm.",
)
@click.option("--budget", type=int, default=25, show_default=True, help="Evaluations of the search, by all workers.")
@click.option("--search-steps", type=int, default=100, show_default=True, help="Training steps of one evaluation.")
@click.option("--soft-steps", type=int, default=1000, show_default=True, help="Training steps of soft pruning.")
@click.option("--finetune-steps", type=int, default=1000, show_default=True, help="Training steps after the removal.")
@click.option("--ramp", is_flag=True, help="Let the rates of soft pruning rise to their values over the phase.")
@click.option(
    "--storage",
    metavar="FILE|URL",
    help="Where evaluations are kept: a journal file or a data base (postgresql://…) that workers share.",
)
@click.option("--search-only", is_flag=True, help="Take part in the search in --storage, then stop.")
@click.option(
    "--rates-from",
    type=click.Path(path_type=Path),
    metavar="RUNDIR",
    help="Run whose rates (magnitude) or number of parameters (uniform) are taken.",
)
@teacher_options(required=False)
@click.option("--batch", type=int, default=BATCH, show_default=True, help="Samples of one step.")
@click.option("--lr", type=float, default=LEARNING_RATE, show_default=True, help="Peak learning rate of each phase.")
@click.option(
    "--precision",
    type=click.Choice(["bf16-mixed", "32-true", "16-mixed"]),
    default="bf16-mixed",
    show_default=True,
    help="Of the arithmetic.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option("--workers", type=int, default=2, show_default=True, help="Processes that prepare samples.")
@click.option(
    "--input-size",
    callback=size,
    default="320x320",
    show_default=True,
    metavar="HxW",
    help="Size of training crops, pixels.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(name: str, as_json: bool, **given: Any) -> None:
    r"""Prune the Nano-B called NAME: search six rates, prune softly, remove the filters and fine-tune.

    RUNDIR then holds face-nanob.safetensors, a smaller network and not a masked one, its training card, and
    report.json. The same command goes on with a run that was stopped or killed. Only the fine-tuning hears --teacher.

    \b
    Examples:
        edge prune face-nanob-dense --checkpoint runs/dense/face-nanob-dense.safetensors --out runs/pruned
        edge prune face-nanob-dense --checkpoint dense.safetensors --out runs/uniform --method uniform \
            --rates-from runs/pruned
        edge export face-nanob --checkpoint runs/pruned/face-nanob.safetensors
    """
    try:
        from ..models.pruning.request import Method, PruneRequest
        from ..models.pruning.run import prune_model
        from ..models.pruning.search import Goal
        from ..models.training.recipes import RECIPES
        from ..models.training.task import Distillation
    except ModuleNotFoundError as exc:
        raise MissingExtraError(
            f"pruning needs the package {exc.name}", hint="pip install 'edge-vision[train]'"
        ) from exc

    low, high = given.pop("parameters")
    told = {option: given.pop(option) for option in ("batch", "lr", "precision", "seed", "workers")}
    options = dataclasses.replace(RECIPES["face"].options, **told)
    how = Distillation(alpha=given.pop("alpha"), temperature=given.pop("temperature"))
    request = PruneRequest(
        name=name,
        goal=Goal(low=low, high=high),
        method=Method(given.pop("method")),
        input_hw=given.pop("input_size"),
        how=how,
        options=options,
        command=shlex.join(["edge", *sys.argv[1:]]),
        **given,
    )
    with resumable():
        report = prune_model(request)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "pruning": report}, allow_nan=False))
    else:
        click.echo(_summary(report))


def _summary(report: dict[str, Any]) -> str:
    rates = ", ".join(f"{group} {rate:.3f}" for group, rate in report["rates"].items())
    if "pruned" not in report:
        return f"rates: {rates}\n{report['parameters']:,} parameters"
    lines = [f"{'':8}{'parameters':>12}{'MMACs':>9}{'bytes':>11}  metric"]
    for word in ("dense", "pruned"):
        row = report[word]
        metrics = row["metrics"]
        lines.append(
            f"{word:8}{row['parameters']:>12,}{row['macs'] / 1e6:>9.1f}{row['bytes']:>11,}"
            f"  {metrics['name']} {metrics['value']:.3f}{interval_of(metrics)}"
        )
    judged = report["pruned"]["metrics"]
    return "\n".join(
        [*lines, f"judged on {judged['samples']} samples of {judged['data']}", f"rates: {rates}", report["checkpoint"]]
    )
