"""`edge eval`: how good a network is, by the metric of its family, with an interval; PyTorch, ONNX and TFLite alike."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..judging import family_of, is_artifact, open_candidate
from ..models.data.open import SYNTHETIC
from ..run_output import print_result
from ..runtime.errors import GateError, InputError
from ..runtime.progress import Progress
from ..runtime.trust import file_digest

if TYPE_CHECKING:
    from ..models.evaluate import Drop, Metrics
    from ..runtime.card import Card

__all__ = ["command"]

SCHEMA = 1
ROUNDS = 1000  # of resampling, for the intervals
COLUMNS = ("file", "metric", "value", "95 % interval", "parts", "drop, points")
LEGENDS = {
    "OKS-AP": "OKS-AP: COCO's keypoint AP, similarity 0.50 to 0.95.",
    "AP": "AP: faces over 10 px (hard), IoU 0.5, WIDER's rules; medium and easy are those over 30 and 50 px.",
    "CCC": "CCC: concordance, mean of valence and arousal, 0 for constant answers; rmse on the scale -1..1.",
}


@click.command()
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--data",
    "where",
    default=SYNTHETIC,
    show_default=True,
    metavar="synthetic|DIR",
    help="What to judge on: drawn or composed samples, or a data set; `edge data check DIR` says what it holds.",
)
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@click.option(
    "--family",
    type=click.Choice(["pose", "face", "emotion"]),
    help="Family of the data, where the card of a file does not say.",
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Judge N samples only; of a data set, those that --seed picks."
)
@click.option("--model", help="Architecture of the targets that are checkpoints; `edge models` lists them.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of synthetic data, of --limit, and of intervals.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "onnxruntime", "litert"]),
    default="auto",
    show_default=True,
    help="What executes an ONNX or TFLite file.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    help="CPU threads.  [default: the fastest number, measured once for each file and machine]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--min", "least", type=float, metavar="VALUE", help="Exit with 3 unless every target reaches this value.")
def command(
    targets: tuple[Path, ...],
    where: str,
    split: str,
    family: str | None,
    limit: int | None,
    model: str | None,
    seed: int,
    engine: str,
    threads: int | None,
    as_json: bool,
    least: float | None,
) -> None:
    """Measure how good networks are: OKS-AP of people, AP of faces, CCC of emotion.

    TARGET is an ONNX or TFLite file, or with --model a checkpoint (.safetensors, or .pth read as data only). All are
    judged on the same samples. The second and later ones also get their drop against the first, in points of a
    hundred, with an interval of its own: as the samples are the same, it is much narrower than the difference of two
    intervals.

    \b
    Example:
        edge eval face-nanob-fp32.onnx face-nanob-int8.tflite
        edge eval pose.safetensors pose-int8.onnx --model pose-student-2mb --data coco/ --split val --json
        edge eval emotion-int8.tflite --limit 100 --min 0.5
    """
    from ..models.data.open import open_source
    from ..models.evaluate import evaluate_all, paired_drop

    if least is not None and not math.isfinite(least):
        raise InputError("bad `--min`", expected="a finite number", got=least)
    cards = [_card(target, model) for target in targets]
    source = open_source(family_of(targets, cards, family), where, split=split, seed=seed, count=limit)
    with contextlib.ExitStack() as opened:
        candidates = [
            open_candidate(target, card, model, engine, threads, opened)
            for target, card in zip(targets, cards, strict=True)
        ]
        progress = opened.enter_context(Progress("judging", len(source)))
        metrics = evaluate_all(candidates, source, tick=progress.at, bootstrap=ROUNDS, seed=seed)
    drops = [None, *(paired_drop(metrics[0], other) for other in metrics[1:])]
    for note in _notes(targets, cards, metrics):
        click.echo(f"note: {note}", err=True)
    if as_json:
        print_result(json.dumps(_report(targets, cards, metrics, drops, where, split, seed), allow_nan=False))
    else:
        print_result(_table(targets, metrics, drops))
    for target, metric in zip(targets, metrics, strict=True):
        if least is not None and metric.value < least:
            raise GateError(
                f"{metric.name} of `{target.name}` is too low",
                expected=f"at least {least:g}",
                got=f"{metric.value:.4f}",
            )


def _card(target: Path, model: str | None) -> Card:
    """Return the card inside a file, or that of the architecture of a checkpoint."""
    if is_artifact(target):
        from ..runtime.embedded import read_card

        return read_card(target)
    if model is None:
        raise InputError(
            f"`{target}` is no ONNX or TFLite file", hint="pass `--model NAME` to judge a checkpoint of that model"
        )
    from ..models import registry

    return registry.get(model).card(None)


def _notes(targets: Sequence[Path], cards: Sequence[Card], metrics: Sequence[Metrics]) -> list[str]:
    """Return what somebody should know before believing the figures."""
    notes = []
    if metrics[0].skipped:
        notes.append(f"{metrics[0].skipped} samples could not be read and were left out")
    for target, card, metric in zip(targets, cards, metrics, strict=True):
        weights = card.provenance.get("weights", "") if is_artifact(target) else ""
        if weights.startswith("random"):
            notes.append(f"weights of `{target.name}` are {weights}")
        if metric.nonfinite:
            notes.append(f"`{target.name}` gave values that are not finite for {metric.nonfinite} samples")
    return notes


def _report(
    targets: Sequence[Path],
    cards: Sequence[Card],
    metrics: Sequence[Metrics],
    drops: Sequence[Drop | None],
    where: str,
    split: str,
    seed: int,
) -> dict[str, Any]:
    from .. import __version__

    first = metrics[0]
    return {
        "schema": SCHEMA,
        "command": "eval",
        "edge": __version__,
        "data": {
            "label": first.data,
            "digest": first.digest,
            "synthetic": where == SYNTHETIC,
            "split": split,
            "seed": seed,
            "samples": first.samples,
            "skipped": first.skipped,
        },
        "bootstrap": len(first.resampled),
        "targets": [
            {
                "file": str(target),
                "sha256": file_digest(target),
                "model": card.model,
                "precision": card.artifact.get("precision"),
                "target": card.artifact.get("target"),
                "metric": metric.to_dict(),
                "drop": None if drop is None else {"value": drop.value, "low": drop.low, "high": drop.high},
            }
            for target, card, metric, drop in zip(targets, cards, metrics, drops, strict=True)
        ],
    }


def _table(targets: Sequence[Path], metrics: Sequence[Metrics], drops: Sequence[Drop | None]) -> str:
    """Return aligned text, with lines on what its figures mean; the drop is a column where there are several files."""
    several = len(targets) > 1
    rows = [COLUMNS, *(_row(*item) for item in zip(targets, metrics, drops, strict=True))]
    rows = [row if several else row[:-1] for row in rows]
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    first = metrics[0]
    left_out = f", {first.skipped} left out" if first.skipped else ""
    lines.append(f"Data: {first.data}; {first.samples} samples judged{left_out}. {LEGENDS[first.name]}")
    resampled = f"Intervals: {len(first.resampled)} resamplings of the samples (percentile bootstrap)"
    return "\n".join([*lines, f"{resampled}; drops are paired." if several else f"{resampled}."])


def _row(target: Path, metric: Metrics, drop: Drop | None) -> tuple[str, ...]:
    parts = ", ".join(f"{name} {value:.3f}" for name, value in metric.parts.items())
    lost = "-" if drop is None else f"{100 * drop.value:+.2f} ({100 * drop.low:+.2f} to {100 * drop.high:+.2f})"
    interval = f"{metric.low:.4f} to {metric.high:.4f}"
    return (target.name, metric.name, f"{metric.value:.4f}", interval, parts, lost)
