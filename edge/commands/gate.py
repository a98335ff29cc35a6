"""`edge gate`: hold files against the budgets of `edge.toml`, for a CI that must say no, and why."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..run_output import print_result
from ..runtime.errors import InputError
from ..runtime.progress import Progress

if TYPE_CHECKING:
    from ..bench.config import Config
    from ..bench.gate import Gate

__all__ = ["command"]

STAGES = ("file", "accuracy", "latency")  # of `bench.gate`, which help need not import
COMPARED = {"file": "same_output", "accuracy": "metric_drop", "latency": "slower_percent"}  # with the baseline


@click.command(context_settings={"max_content_width": 110})
@click.argument("targets", metavar="ARTIFACT|BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default="edge.toml",
    show_default=True,
    metavar="FILE",
    help="Budgets and devices.",
)
@click.option(
    "--stage",
    "stages",
    type=click.Choice(STAGES),
    multiple=True,
    help="Check this only; may be given several times. file: hash, precision, bytes, counts, parity, output, in"
    " seconds.  [default: all three]",
)
@click.option("--partial", is_flag=True, help="These are some of the files only: pass over budgets that match none.")
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Accepted files to compare with.  [default: `baseline` of edge.toml]",
)
@click.option("--update", is_flag=True, help="Where nothing is wrong, make the files the new baseline.")
@click.option("--reason", metavar="TEXT", help="Why, for `--update`; kept in the baseline.")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Latencies that `edge bench --json` printed, or a folder of its --output.  [default: measured now]",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Drops that `edge eval --json` printed.  [default: judged now]",
)
@click.option("--data", metavar="synthetic|DIR", help="What metrics are judged on.  [default: `data` of edge.toml]")
@click.option(
    "--samples", type=click.IntRange(1), metavar="N", help="Samples at most.  [default: `samples` of edge.toml]"
)
@click.option(
    "--seconds",
    type=float,
    metavar="S",
    help="Timed inferences a launch.  [default: 1, less where there are many files]",
)
@click.option("--launches", type=click.IntRange(1, 100), default=3, show_default=True, help="Processes for each row.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write JUnit XML for CI.")
@click.option(
    "--summary",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write Markdown; where GITHUB_STEP_SUMMARY is set it is added there anyway.",
)
@click.option(
    "--annotations",
    type=click.Choice(["github", "none"]),
    help="Mark lines of edge.toml in a pull request.  [default: github where GITHUB_ACTIONS is true]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    targets: tuple[Path, ...],
    path: Path,
    stages: tuple[str, ...],
    partial: bool,
    baseline: Path | None,
    update: bool,
    reason: str | None,
    results: Path | None,
    report: Path | None,
    data: str | None,
    samples: int | None,
    seconds: float | None,
    launches: int,
    junit: Path | None,
    summary: Path | None,
    annotations: str | None,
    as_json: bool,
) -> None:
    r"""Hold files against the budgets of edge.toml and say yes (exit code 0), no (3) or "cannot tell" (6).

    First what a file is: its hash, the precision that is really in it, bytes, counts, parity, and its output beside the
    baseline's. Then the points of the task metric that it loses, then its latency. A figure with noise passes only if
    its bound is within the limit. Whether a file got slower is told by running the baseline's file and the new one in
    turns, never by a stored time.

    A BUNDLE is a folder of `edge export`, or a folder of such folders.

    \b
    Examples:
        edge gate edge-out
        edge gate edge-out/pose-student-2mb --partial --stage file
        edge gate edge-out --baseline edge-baseline --junit gate.xml
        edge gate edge-out --baseline edge-baseline --update --reason "retrained on 20k more pictures"
        edge gate edge-out --results pi.json --report eval.json --json
    """
    from ..bench.config import read_config
    from ..bench.gate import raise_for
    from ..gate_run import Order, run_gate
    from ..runtime.files import check_writable

    if not path.exists():
        raise InputError(f"there is no `{path}`", hint="docs/gates.md has one to begin with, or name it with --config")
    config = read_config(path)
    step = os.environ.get("GITHUB_STEP_SUMMARY")
    for out in (junit, summary, Path(step) if step else None):
        if out is not None:
            check_writable(out)
    chosen = [stage for stage in STAGES if stage in (stages or STAGES)]
    accepted = _baseline(config, baseline, chosen, update, reason)
    order = Order(
        stages=chosen,
        baseline=None if update else accepted,
        updating=update,
        partial=partial,
        results=results,
        report=report,
        data=data or _data(config),
        samples=samples or config.defaults.samples or None,
        seconds=seconds,
        launches=launches,
    )
    with Progress("gating", lines=False) as progress:
        gate, subjects = run_gate(targets, config, order, progress)
    told = _tell(gate, path, junit=junit, summary=summary, annotations=annotations)
    # `##[` may begin a command of a runner anywhere in a line; in JSON it can be written otherwise.
    found = json.dumps({**gate.to_dict(), "config": str(path)}, allow_nan=False).replace("##[", "##\\u005b")
    print_result(found if as_json else told)
    raise_for(gate, path.name)
    if update:
        from ..gate_baseline import check_reason, write_baseline

        folder = _folder(config, baseline)
        assert folder is not None
        write_baseline(folder, subjects, check_reason(reason))
        _say(f"`{folder}` is the new baseline of {len(subjects)} files")


def _folder(config: Config, named: Path | None) -> Path | None:
    if named is not None:
        return named
    return config.beside(config.defaults.baseline) if config.defaults.baseline else None


def _baseline(config: Config, named: Path | None, stages: Sequence[str], update: bool, reason: str | None) -> Any:
    """Return the baseline to compare with; of one that is to be written, refuse early what would be refused late.

    One that `edge.toml` names may be still to come, as long as nothing is compared with it.
    """
    from ..bench.baseline import read_baseline
    from ..gate_baseline import check_reason, clear_leftovers, open_baseline

    folder = _folder(config, named)
    if folder is not None:
        clear_leftovers(folder)
    if update:
        if folder is None:
            raise InputError(
                "`--update` needs to know the baseline", hint="--baseline DIR, or `baseline` in [defaults]"
            )
        check_reason(reason)
        return open_baseline(folder)
    if reason is not None:
        raise InputError("`--reason` is for `--update`")
    compared = any(COMPARED[stage] in budget.limits for stage in stages for budget in config.budgets)
    if folder is None or (named is None and not compared and not folder.exists()):
        return None
    return read_baseline(folder)


def _data(config: Config) -> str:
    data = config.defaults.data
    return data if data == "synthetic" else str(config.beside(data))


def _tell(gate: Gate, config: Path, *, junit: Path | None, summary: Path | None, annotations: str | None) -> str:
    """Write what CI systems read, and return the table for people."""
    from ..bench.gate_report import gate_table, github_annotations
    from ..bench.gate_report import summary as as_markdown
    from ..bench.junit import gate_junit
    from ..runtime.files import write_whole

    if junit is not None:
        write_whole(junit, gate_junit(gate))
    if summary is not None:
        write_whole(summary, as_markdown(gate))
    if step := os.environ.get("GITHUB_STEP_SUMMARY"):
        Path(step).parent.mkdir(parents=True, exist_ok=True)
        with open(step, "a", encoding="utf-8") as stream:
            stream.write(as_markdown(gate))
    wanted = annotations or ("github" if os.environ.get("GITHUB_ACTIONS") == "true" else "none")
    if wanted == "github":
        for line in github_annotations(gate, config):
            _say(line)
    return gate_table(gate)


def _say(line: str) -> None:
    click.echo(line, err=True)
