"""What everything beside the network costs, against limits, in one run.

    python -m edge.bench.micro --bundles edge-out
    python -m edge.bench.micro --section pose --section face --check
    python -m edge.bench.micro --json > micro.json

Medians, one thread, wall clock (processor time where the machine is busy, which is said); a reference runs in turns
with ours on the same arrays. Limits are those of the project's issue 3.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runtime.errors import EdgeError
from .oracles import GOLDEN
from .timing import machine, one_thread

if TYPE_CHECKING:
    from .findings import Section

__all__ = ["SCHEMA", "SECTIONS", "measure", "report"]

SCHEMA = 1
SECTIONS = ("pose", "face", "nms", "students", "stream")
NOT_HELD = 3  # exit code: a gate said no


def measure(
    sections: Sequence[str],
    *,
    bundles: Path,
    golden: Path,
    minutes: float = 10.0,
    seconds: float = 2.0,
    log: Callable[[str], None] = lambda _: None,
) -> list[Section]:
    """Return the figures of the sections asked for, in their usual order.

    Args:
        sections: of `SECTIONS`.
        bundles: folder that `edge export` wrote.
        golden: folder with golden tensors.
        minutes: of video through the stream.
        seconds: of measuring, for each case.
        log: takes lines of progress.
    """
    # Here, not above: these import NumPy, and the number of its threads must be settled before.
    from .micro_face import measure_face, measure_nms
    from .micro_pose import measure_pose
    from .micro_stream import measure_stream
    from .micro_students import measure_students

    work: dict[str, Callable[[], Section]] = {
        "pose": lambda: measure_pose(golden, budget_s=seconds, log=log),
        "face": lambda: measure_face(budget_s=seconds, log=log),
        "nms": lambda: measure_nms(budget_s=seconds, log=log),
        "students": lambda: measure_students(bundles, budget_s=seconds, log=log),
        "stream": lambda: measure_stream(bundles, minutes=minutes, log=log),
    }
    return [work[name]() for name in SECTIONS if name in sections]


def report(sections: Sequence[Section]) -> dict[str, Any]:
    """Return everything as plain JSON values, with what it was measured on."""
    return {
        "schema": SCHEMA,
        "command": "micro",
        "machine": machine(),
        "sections": [section.to_dict() for section in sections],
        "held": held(sections),
    }


def held(sections: Sequence[Section]) -> bool:
    """Return whether all limits are held."""
    return all(verdict.held for section in sections for verdict in section.verdicts)


@click.command()
@click.option("--section", "chosen", multiple=True, type=click.Choice(SECTIONS), help="Which; default: all.")
@click.option(
    "--bundles",
    type=click.Path(path_type=Path),
    default=Path("edge-out"),
    show_default=True,
    help="Folder that `edge export` wrote.",
)
@click.option(
    "--golden", type=click.Path(path_type=Path), default=GOLDEN, help="Golden tensors; default: beside the checkout."
)
@click.option("--minutes", default=10.0, show_default=True, help="Length of the video through the stream.")
@click.option("--seconds", default=2.0, show_default=True, help="Time for each case.")
@click.option("--check", is_flag=True, help="Exit with 3 if a limit is not held.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    chosen: tuple[str, ...],
    bundles: Path,
    golden: Path,
    minutes: float,
    seconds: float,
    check: bool,
    as_json: bool,
) -> None:
    r"""Measure what everything beside the network costs.

    \b
    Example:
        python -m edge.bench.micro --bundles edge-out --section pose --check
    """
    one_thread()
    try:
        found = measure(
            chosen or SECTIONS,
            bundles=bundles,
            golden=golden,
            minutes=minutes,
            seconds=seconds,
            log=lambda line: click.echo(line, err=True),
        )
    except EdgeError as exc:
        raise click.ClickException(str(exc)) from exc
    if as_json:
        click.echo(json.dumps(report(found), indent=1, allow_nan=False))
    else:
        about = machine()
        engines = ", ".join(f"{name} {version}" for name, version in about["engines"].items())
        click.echo("\n\n".join(section.text() for section in found))
        click.echo(
            f"\n{about['cpu']}, {about['cores']} cores, Python {about['python']}, NumPy {about['numpy']}, {engines}"
        )
    if check and not held(found):
        raise SystemExit(NOT_HELD)


if __name__ == "__main__":
    main()
