"""`edge report`: one HTML page that shows what was exported, and which file to ship."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runtime.errors import InputError
from ..runtime.files import write_whole
from ..runtime.progress import Progress

if TYPE_CHECKING:
    from ..bench.report_facts import Bundle
    from ..bench.report_judge import LimitsOf
    from ..bench.report_overlays import Overlay, Sample

__all__ = ["command"]

SCHEMA = 1
CONFIG = "edge.toml"
PICTURES, SOUNDS = 2, 1  # drawn or composed for the overlays of one model
SEED = 41  # of those: not one that calibration, search or the shipped evaluations use
PICTURE_HW = (360, 480)
MOST_GIVEN = 6  # samples taken of --pictures: more make the page heavy and tell nothing new


@click.command(context_settings={"max_content_width": 110})
@click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--results",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="JSON of `edge bench` or `edge bench --profile`, or a folder of its --output; may be given several times.",
)
@click.option(
    "--eval",
    "evals",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="JSON of `edge eval`; may be given several times.",
)
@click.option(
    "--pictures",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=f"Pictures and sounds for the overlays, the first {MOST_GIVEN} of each.  [default: synthetic ones]",
)
@click.option("--overlays/--no-overlays", default=True, show_default=True, help="Run the files and show what they see.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Budgets, as of `edge gate`.  [default: {CONFIG}, where there is one; else the card's, else 2 MB and 50 ms]",
)
@click.option("--max-bytes", type=float, metavar="N", help="Budget of every file, bytes.")
@click.option("--max-ms", type=float, metavar="MS", help="Budget of an inference, p90, on every device.")
@click.option("--max-drop", type=float, metavar="POINTS", help="Budget of the metric's loss, points.  [default: 1]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page to write.",
)
@click.option("--force", is_flag=True, help="Replace an existing page.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as one JSON object.")
def command(
    bundles: tuple[Path, ...],
    results: tuple[Path, ...],
    evals: tuple[Path, ...],
    pictures: Path | None,
    overlays: bool,
    config: Path | None,
    max_bytes: float | None,
    max_ms: float | None,
    max_drop: float | None,
    out: Path,
    force: bool,
    as_json: bool,
) -> None:
    r"""Write one HTML page that shows what was exported, and which file to ship.

    A BUNDLE is a folder of `edge export`, or a folder of such. The page holds everything itself: it works offline, has
    no script, and may be mailed or kept with a release. With --results and --eval it shows latencies and metrics
    beside size and parity; every latency carries its evidence. Verdicts are those of `edge gate`, against the same
    budgets. Unless --no-overlays, the files run here on a few
    pictures, and the page shows what each one sees.

    \b
    Examples:
        edge report edge-out
        edge bench edge-out/face-nanob --json > bench.json
        edge report edge-out/face-nanob --results bench.json --out face.html
        edge report edge-out/face-nanob --pictures photos/ --max-bytes 500000 --force
        edge report edge-out --config ci/edge.toml --results pi.json
    """
    import jinja2  # noqa: F401 - a missing extra is told before anything runs

    from ..bench.report import build_page, render
    from ..bench.report_read import find_bundles, read_facts

    for name, value in (("--max-bytes", max_bytes), ("--max-ms", max_ms)):
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"bad `{name}`", expected="a number above 0", got=value)
    if max_drop is not None and not 0 <= max_drop <= 100:
        raise InputError("bad `--max-drop`", expected="0 to 100 points", got=max_drop)
    _check_out(out, force)
    limits_of = _limits_of(config, max_bytes, max_ms, max_drop)
    facts = read_facts(find_bundles(bundles), results, evals)
    seen = _overlays(facts.bundles, pictures) if overlays else []
    page = build_page(facts, limits_of, seen)
    text = render(page)
    _check_out(out, force)  # somebody may have made it meanwhile
    write_whole(out, text)
    told = {"schema": SCHEMA, "command": "report", "out": str(out), "bytes": len(text.encode()), **page.summary}
    click.echo(json.dumps(told, allow_nan=False) if as_json else _lines(told))


def _limits_of(config: Path | None, max_bytes: float | None, max_ms: float | None, max_drop: float | None) -> LimitsOf:
    """Return what gives each file its budget: the only place that knows where budgets come from."""
    from ..bench.config import read_config
    from ..bench.json_values import shown
    from ..bench.report_limits import Given, limits_for

    budgets, file = read_config(config).budgets, CONFIG if config is None else shown(config.name)
    given = Given(max_bytes=max_bytes, max_ms=max_ms, max_drop_points=max_drop)
    return lambda bundle, variant: limits_for(bundle, variant, budgets, given, file)


def _lines(told: dict[str, Any]) -> str:
    lines = []
    for model in told["models"]:
        pick = "no file passes" if model["ship"] is None else f"{model['ship']} ({model['verdict']})"
        lines.append(f"{model['name']}: {pick}")
    lines += [f"left out: {line}" for line in told["left_out"]]
    return "\n".join([*lines, f"{told['out']}: {told['bytes']:,} bytes"])


# --- overlays -------------------------------------------------------------------


def _overlays(bundles: Sequence[Bundle], pictures: Path | None) -> list[list[Overlay]]:
    from ..bench.report_overlays import look

    given = None if pictures is None else _given(pictures)
    drawn: dict[str, list[Sample]] = {}
    found = []
    with Progress("running", lines=False) as progress:
        for number, bundle in enumerate(bundles):
            progress.at(number, len(bundles))
            if given is None and bundle.family not in drawn:
                drawn[bundle.family] = _synthetic(bundle)
            found.append(look(bundle, drawn[bundle.family] if given is None else given, progress))
    return found


def _given(folder: Path) -> list[Sample]:
    """Return the pictures and sounds of a folder, by name; what cannot be read is said and passed over."""
    from ..bench.json_values import shown
    from ..bench.report_overlays import Sample, reduced
    from ..runtime.audio import read_audio
    from ..runtime.errors import MediaError, one_line
    from ..runtime.image import read_image
    from ..runtime.stream import FILE_SUFFIXES

    if not folder.is_dir():
        raise InputError(f"`{folder}` is no folder", hint="`--pictures` takes a folder of pictures or sounds")
    found: list[Sample] = []
    for kind in ("image", "audio"):
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in FILE_SUFFIXES[kind])
        for path in paths[:MOST_GIVEN]:
            try:
                source = reduced(read_image(path)) if kind == "image" else read_audio(path)
            except MediaError as exc:
                click.echo(one_line(exc), err=True)
                continue
            found.append(Sample(name=shown(path.name), source=source))
    if not found:
        raise InputError(f"folder `{folder}` holds no picture or sound that can be read")
    return found


def _synthetic(bundle: Bundle) -> list[Sample]:
    """Return what is drawn or composed for a family; nothing for one that is not built in."""
    from ..bench.report_overlays import Sample
    from ..models.data.synthetic import synthetic_clips, synthetic_images
    from ..runtime.card import AudioSpec

    if bundle.family in ("face", "pose"):
        drawn = synthetic_images(bundle.family, PICTURES, PICTURE_HW, SEED)
        return [Sample(name=f"Synthetic picture {number}", source=one) for number, one in enumerate(drawn, 1)]
    if bundle.family == "emotion":
        composed = synthetic_clips(SOUNDS, SEED, AudioSpec())
        return [Sample(name=f"Synthetic sound {number}", source=one) for number, one in enumerate(composed, 1)]
    return []


# --- the file -------------------------------------------------------------------


def _check_out(out: Path, force: bool) -> None:
    """Refuse what cannot be written before anything runs."""
    if out.is_dir() or not out.name:
        raise InputError(f"`{out}` is a folder", hint="name the page: `--out report.html`")
    if os.path.lexists(out) and not force:
        raise InputError(f"`{out}` exists", hint="pass --force to replace it")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder `{out.parent}`", hint="make it first")
