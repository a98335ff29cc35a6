"""`edge data`: look at a data set before days are spent on it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..run_output import print_result, shown_name, write_picture
from ..run_plan import PICTURE_FORMATS
from ..runtime.errors import InputError
from ..runtime.progress import Progress

if TYPE_CHECKING:
    from ..models.data.check import CheckReport

__all__ = ["command"]

SCHEMA = 1
FAMILIES = ("pose", "face", "emotion")
SPLITS = ("train", "val", "test")
SHOWN = 20  # messages and groups that people get to read; --json has them all


@click.group(no_args_is_help=False)
def command() -> None:
    """Check and show data sets: COCO keypoints, WIDER FACE, DEAM or PMEmo, and the synthetic ones.

    \b
    Example:
        edge data check coco/
        edge data show synthetic --family face --out faces.png
    """


@command.command()
@click.argument("where", metavar="DIR")
@click.option("--family", type=click.Choice(FAMILIES), help="What it holds.  [default: found out]")
@click.option("--split", type=click.Choice(SPLITS), help="Check one.  [default: all there are; synthetic: test]")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes.  [default: one for each core]")
@click.option("--limit", type=click.IntRange(1), help="Read only the first samples of each split.")
@click.option("--count", type=click.IntRange(1), help="Size of a synthetic set.  [default: 500]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of a synthetic set.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(
    where: str,
    family: str | None,
    split: str | None,
    workers: int | None,
    limit: int | None,
    count: int | None,
    seed: int,
    as_json: bool,
) -> int:
    """Read every sample of DIR (or `synthetic`), list the broken ones by file and line, and count what is there.

    Exits with 0 where all is well, with 1 where samples are broken, which training passes over, and with 2 where the
    folder cannot be used at all.

    \b
    Example:
        edge data check coco/ --split val
        edge data check widerface/ --workers 8 --json
        edge data check synthetic --family face --count 50
    """
    from ..models.data.check import check_source
    from ..models.data.open import SYNTHETIC, find_family, find_splits, open_source

    if where == SYNTHETIC:
        family = _named(family)
        splits = [split or "test"]
    else:
        if count is not None:
            raise InputError("`--count` is for synthetic sets", hint="use `--limit`")
        family = family or find_family(where)
        splits = [split] if split else find_splits(family, where)
    reports: dict[str, CheckReport] = {}
    for name in splits:
        source = open_source(family, where, split=name, seed=seed, count=count)
        with Progress(f"{shown_name(Path(where))} {name}") as progress:

            def tell(done: int, total: int, broken: int, progress: Progress = progress) -> None:
                progress.at(done, total, f"{broken} broken")

            reports[name] = check_source(source, workers=workers or _cores(), limit=limit, say=tell)
    broken = sum(len(report.broken) for report in reports.values())
    faults = sum(len(report.faults) for report in reports.values())
    if as_json:
        values = {name: report.to_dict() for name, report in reports.items()}
        head = {"schema": SCHEMA, "where": where, "family": family, "broken": broken, "faults": faults}
        print_result(json.dumps({**head, "splits": values}, allow_nan=False))
    else:
        print_result(_safe("\n".join(line for name, report in reports.items() for line in _lines(name, report))))
    if broken == sum(report.samples for report in reports.values()):
        raise InputError(f"`{where}` cannot be used: every sample is broken")
    return 1 if broken or faults else 0


@command.command()
@click.argument("where", metavar="DIR")
@click.option("--family", type=click.Choice(FAMILIES), help="What it holds.  [default: found out]")
@click.option("--split", type=click.Choice(SPLITS), default="train", show_default=True, help="Which samples.")
@click.option("--out", "written", required=True, type=click.Path(), help="Picture to write: .png or .jpg.")
@click.option("--count", type=click.IntRange(1, 400), default=16, show_default=True, help="Tiles.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Chooses or draws the samples.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(
    where: str, family: str | None, split: str, written: str, count: int, seed: int, force: bool, as_json: bool
) -> None:
    """Draw some samples of DIR (or `synthetic`) with their labels onto one picture.

    \b
    Example:
        edge data show coco/ --split val --out sheet.png
        edge data show synthetic --family emotion --out sheet.png --count 9 --seed 3
    """
    from ..models.data.open import SYNTHETIC, find_family, open_source
    from ..models.data.samples import SampleError

    out = Path(written)
    if written.endswith(("/", os.sep)) or out.is_dir():  # `Path` forgets the stroke
        raise InputError(f"`{written}` is a folder", expected="the name of a picture")
    if out.suffix.lower() not in PICTURE_FORMATS:
        raise InputError(f"`{out}` has a suffix that is not written", expected=" | ".join(PICTURE_FORMATS))
    if not out.parent.is_dir():
        raise InputError(f"there is no folder `{out.parent}`")
    if out.exists() and not force:
        raise InputError(f"`{out}` exists", hint="pass --force to replace it")
    family = _named(family) if where == SYNTHETIC else family or find_family(where)
    source = open_source(family, where, split=split, seed=seed, count=count)
    samples, broken = [], []
    for index in range(len(source)):
        try:
            samples.append(source[index])
        except SampleError as error:
            broken.append(str(error))
    for message in broken:
        click.echo(f"note: left out: {_safe(message)}", err=True)
    if not samples:
        raise InputError(f"`{where}` cannot be shown: each of {len(source)} samples is broken")
    from ..models.data.sheet import contact_sheet

    write_picture(contact_sheet(samples), out, force=force)
    names = [sample.name for sample in samples]
    if as_json:
        head = {"schema": SCHEMA, "file": os.fspath(out), "family": family, "label": source.label}
        click.echo(json.dumps({**head, "samples": names, "broken": broken}))
    else:
        click.echo(_safe(f"{shown_name(out)}: {len(names)} of {source.label}"))


def _named(family: str | None) -> str:
    if family is None:
        raise InputError("a synthetic set needs `--family`", expected=" | ".join(FAMILIES))
    return family


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _lines(split: str, report: CheckReport) -> Iterator[str]:
    good = report.samples - len(report.broken)
    yield f"{split}: {report.label}: {good:,} of {report.samples:,} samples are fine"
    for name, value in report.statistics.items():
        yield f"  {name.replace('_', ' '):<24} {_value(value)}"
    if report.broken:
        yield f"  broken, which training passes over: {len(report.broken):,}"
        yield from _some(report.broken)
    if report.faults:
        yield f"  annotations that belong to no sample: {len(report.faults):,}"
        yield from _some(report.faults)
    if report.duplicates:
        yield f"  groups of samples with equal content: {len(report.duplicates):,}"
        yield from _some(tuple(", ".join(names[:5]) + ", …" * (len(names) > 5) for names in report.duplicates))


def _some(messages: tuple[str, ...]) -> Iterator[str]:
    yield from (f"    {message}" for message in messages[:SHOWN])
    if len(messages) > SHOWN:
        yield f"    … and {len(messages) - SHOWN:,} more (--json lists them)"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(number)}" for name, number in value.items())
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _safe(text: str) -> str:
    """Escape what names from a data set could do to a terminal, line by line."""
    return "\n".join(
        "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line)
        for line in text.split("\n")
    )
