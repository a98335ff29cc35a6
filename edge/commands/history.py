"""`edge history`: runs of this project in a local database, for people, CI and other programs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..run_output import print_result, shown_name, shown_text
from ..runtime.errors import InputError
from ..runtime.files import folders_with, write_whole
from ..runtime.progress import Progress

if TYPE_CHECKING:
    from ..bench.history import Run
    from ..bench.series import Series

__all__ = ["command"]

SCHEMA = 1
DOCUMENTS = ("results.json", "manifest.json")  # what folders hold
COLUMNS = (
    "run",
    "kind",
    "added (UTC)",
    "file",
    "device",
    "engine",
    "threads",
    "evidence",
    "p50 ms",
    "bytes",
    "metric",
    "",
)
GIT_S = 10.0
MAX_FILES = 100_000

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
database: Decorator = click.option(
    "--db",
    type=click.Path(path_type=Path),
    default=Path(".edge/history.db"),
    show_default=True,
    metavar="FILE",
    help="The database.",
)
machine_readable: Decorator = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose rows."""
    for option in (
        click.option("--device", help="Of this device only."),
        click.option("--variant", help="Of this precision, target or both: int8, tflite, int8.tflite."),
        click.option("--model", help="Of this model only."),
    ):
        function = option(function)
    return function


@click.group(no_args_is_help=False)
def command() -> None:
    """Keep results of `edge bench`, `edge eval` and `edge export`, and look at them again.

    The database is one file, `.edge/history.db` of the current folder unless `--db` names another; several processes
    may write to it at once. What `add` has acknowledged is on disk.

    \b
    Example:
        edge history add runs/face edge-out/face-nanob --note "after pruning"
        edge history list --model face-nanob
        edge history points
    """


@command.command()
@click.argument("sources", metavar="FILE|BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--note", default="", help="A line for people, kept with each run.")
@database
@machine_readable
def add(sources: tuple[Path, ...], note: str, db: Path, as_json: bool) -> None:
    """Keep results: JSON of `edge bench` and `edge eval`, manifests of `edge export`, or folders that hold them.

    `-` reads stdin. The commit that is checked out in the current folder is kept, too. The same document is kept once;
    adding it again names the run that has it.

    \b
    Example:
        edge history add runs/face --note "int8, second recipe"
        edge eval face-nanob-int8.tflite --json | edge history add -
    """
    from ..bench.history import History
    from ..bench.run_facts import run_facts

    found = _documents(sources)
    for name, document in found:
        run_facts(document, name)  # all are looked at before the first is kept
    commit = _git_commit()
    told: list[dict[str, Any]] = []
    with History(db, create=True) as history, Progress("keeping", len(found)) as progress:
        for count, (name, document) in enumerate(found):
            progress.at(count)
            number, new = history.add(document, note=note, git_commit=commit)
            told.append({"id": number, "new": new, "source": name})
    if as_json:
        _print({"command": "history add", "runs": told})
        return
    for one in told:
        click.echo(f"run {one['id']}: {shown_text(one['source'])}{'' if one['new'] else ' (kept before)'}")


@command.command(name="list")
@filters
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="So many runs, the latest first.")
@database
@machine_readable
def show_list(model: str | None, variant: str | None, device: str | None, limit: int, db: Path, as_json: bool) -> None:
    """List runs, the latest first.

    \b
    Example:
        edge history list --variant int8 --limit 5
    """
    from ..bench.history import History
    from ..bench.show import draw_table

    with History(db) as history:
        runs = history.runs(model=model, variant=variant, device=device, limit=limit)
    if as_json:
        _print({"command": "history list", "runs": [run.to_dict() for run in runs]})
    elif not runs:
        click.echo("no runs")
    else:
        click.echo(draw_table(COLUMNS, [line for run in runs for line in _lines(run)]), nl=False)


@command.command()
@click.argument("number", metavar="ID", type=click.IntRange(1))
@database
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with the document as it was added.")
def show(number: int, db: Path, as_json: bool) -> None:
    """Show one run: where it comes from, its rows, every figure.

    \b
    Example:
        edge history show 7
    """
    from ..bench.findings import cell_text
    from ..bench.history import History

    with History(db) as history:
        run, document = history.run(number), history.document(number)
    if as_json:
        _print({"command": "history show", "run": run.to_dict(), "document": document})
        return
    for word in ("id", "kind", "added", "began", "edge", "git_commit", "note", "digest"):
        if getattr(run, word) not in (None, ""):
            click.echo(f"{word:<12}{shown_text(str(getattr(run, word)))}")
    for row in run.rows:
        where = [row.device, row.engine and f"{row.engine} {row.engine_version or ''}".strip(), _threads(row.threads)]
        told = [row.file, *where, row.evidence, "" if row.status == "complete" else row.status]
        click.echo("\n" + shown_text(", ".join(str(word) for word in told if word)))
        for name, value in row.figures.items():
            exact = value.is_integer() and abs(value) >= 1000
            click.echo(f"  {shown_text(name):<20}{f'{value:,.0f}' if exact else cell_text(value)}")


@command.command()
@click.option("--format", "form", type=click.Choice(["json", "csv", "mlflow"]), required=True, help="For what.")
@click.option(
    "--output", metavar="FILE", help="Write here; for mlflow: a file, or the address of a store.  [default: stdout]"
)
@filters
@database
def export(form: str, output: str | None, model: str | None, variant: str | None, device: str | None, db: Path) -> None:
    """Write runs for other programs, the earliest first.

    CSV has a line for each row and a column for each figure; cells that a spreadsheet would run as a formula are
    quoted. MLflow gets a run for each row, once: a second export adds what is new. See it with
    `mlflow ui --backend-store-uri sqlite:///FILE`.

    \b
    Example:
        edge history export --format csv --output history.csv
        edge history export --format mlflow --output mlflow.db
    """
    from ..bench.history import History
    from ..bench.history_export import as_csv, as_json, to_mlflow

    if form == "mlflow" and output is None:
        raise InputError("`--format mlflow` needs `--output`", expected="a file, or the address of a tracking store")
    with History(db) as history:
        runs = history.runs(model=model, variant=variant, device=device)[::-1]
    if form == "mlflow":
        assert output is not None
        written, before = to_mlflow(runs, output, lambda line: click.echo(line, err=True))
        click.echo(f"{written} runs written, {before} were there")
        return
    text = as_csv(runs) if form == "csv" else json.dumps(as_json(runs), allow_nan=False) + "\n"
    if output is None:
        click.echo(text, nl=False, color=True)  # which leaves escape sequences in the data as they are
    else:
        write_whole(Path(output), text)


@command.command()
@click.option("--figure", default="cpu_p50_ms", show_default=True, help="Which figure; `edge history show` lists them.")
@filters
@database
@machine_readable
def points(figure: str, model: str | None, variant: str | None, device: str | None, db: Path, as_json: bool) -> None:
    """Say where a figure changed its level over the runs. Advice, never a verdict: the exit code is 0 either way.

    A level is the mean of 12 runs, so that a change shows when 12 runs have followed it. Processor time is looked at
    unless `--figure` names another; wall-clock times of a busy machine hide most changes. What else changed at that
    run (file, engine, machine, commit) is listed beside it.

    \b
    Example:
        edge history points --model face-nanob
        edge history points --figure size_bytes
    """
    from ..bench.change_points import WINDOW
    from ..bench.history import History
    from ..bench.series import series_of

    with History(db) as history:
        found = series_of(history.runs(model=model, variant=variant, device=device), figure)
    long = [one for one in found if len(one.entries) >= 2 * WINDOW]
    if as_json:
        _print(
            {"command": "history points", "advisory": True, "figure": figure, "series": [_series(one) for one in found]}
        )
        return
    for one in long:
        for point in one.points():
            run = one.entries[point.index][0]
            label = shown_text(" ".join(str(part) for part in one.key if part is not None))
            click.echo(
                f"{label}: {100 * point.change:+.1f} % from run {run.id} on ({figure} {point.before:.4g} ->"
                f" {point.after:.4g}, p {point.p:.1g})"
            )
            for line in one.changed_at(point.index):
                click.echo(f"  {shown_text(line)}")
    short = len(found) - len(long)
    click.echo(
        f"{len(found)} series of {shown_text(figure)}, {short} of them shorter than {2 * WINDOW} runs."
        " Advice, not a verdict: measure both files with `edge compare`."
    )


@command.command()
@database
@machine_readable
def check(db: Path, as_json: bool) -> int:
    """Check the database: its pages, and each run against the document that it was read from.

    Exits with 0 where all is well and with 1 where it is not.

    \b
    Example:
        edge history check
    """
    from ..bench.history import History

    with History(db) as history:
        lines = history.check()
        count = len(history.runs())
    if as_json:
        _print({"command": "history check", "runs": count, "findings": lines})
    else:
        print_result("\n".join(map(shown_text, lines)) or f"{count} runs, all well")
    return 1 if lines else 0


@command.command()
@click.argument("sources", metavar="FROM...", nargs=-1, required=True, type=click.Path(path_type=Path))
@database
@click.option("--force", is_flag=True, help="Also where the database is sound.")
@machine_readable
def rebuild(sources: tuple[Path, ...], db: Path, force: bool, as_json: bool) -> None:
    """Make a damaged database anew from results and manifests: files, or folders that are searched for them.

    The old one is kept beside it. Runs are numbered in the order of the sources, and in a folder by path. No other
    process may be writing meanwhile.

    \b
    Example:
        edge history rebuild runs/ edge-out/
    """
    from ..bench.history import History
    from ..bench.history import rebuild as make_anew
    from ..bench.run_facts import run_facts

    if db.exists() and not force:
        try:
            with History(db) as history:
                count = len(history.runs())
        except InputError:
            pass  # which is why it is made anew
        else:
            raise InputError(
                f"history `{shown_name(db)}` is sound and has {count} runs",
                hint="pass --force to replace it all the same",
            )
    found = []
    with Progress("reading", lines=False, alive=True) as progress:
        for name, document in _documents(sources, deep=True):
            try:
                run_facts(document, name)
            except InputError as exc:
                progress.line(f"left out: {shown_text(str(exc))}")
                continue
            found.append(document)
        if not found:
            raise InputError("nothing to make a history of", expected="results or manifests", got="none")
        count, kept = make_anew(db, found)
    if as_json:
        _print({"command": "history rebuild", "runs": count, "kept": None if kept is None else str(kept)})
    else:
        click.echo(f"{count} runs in {shown_name(db)}" + (f"; the old one is {shown_name(kept)}" if kept else ""))


def _documents(sources: Sequence[Path], deep: bool = False) -> list[tuple[str, dict[str, Any]]]:
    """Return documents with where they are from; in folders those of known names, with `deep` all that are JSON."""
    from ..bench.run_facts import MAX_BYTES, read_documents, split_documents

    found: list[tuple[str, dict[str, Any]]] = []
    for source in sources:
        if str(source) == "-":
            text = sys.stdin.read(MAX_BYTES + 1)
            try:
                values = json.loads(text) if len(text) <= MAX_BYTES else None
            except (ValueError, RecursionError) as exc:
                raise InputError("stdin is not JSON", got=str(exc)[:80]) from exc
            found += [("stdin", one) for one in split_documents(values, "stdin")]
            continue
        if not source.is_dir():
            if not source.exists():
                raise InputError(f"`{shown_name(source)}` does not exist")
            found += [(str(source), one) for one in read_documents(source)]
            continue
        inside = _inside(source, deep)
        if not inside:
            raise InputError(f"folder `{shown_name(source)}` holds no results", expected=" or ".join(DOCUMENTS))
        for path in inside:
            with contextlib.suppress(InputError) if deep else contextlib.nullcontext():
                found += [(str(path), one) for one in read_documents(path)]
    return found


def _inside(folder: Path, deep: bool) -> list[Path]:
    if not deep:
        holders = folders_with(folder, *DOCUMENTS)
        return [holder / name for holder in holders for name in DOCUMENTS if (holder / name).is_file()]
    found = [path for path in folder.rglob("*.json") if path.is_file() and path.parent.name != "launches"]
    if len(found) > MAX_FILES:
        raise InputError(f"folder `{shown_name(folder)}` is too large", expected=f"at most {MAX_FILES:,} JSON files")
    return sorted(found)


def _git_commit() -> str | None:
    """Return the commit that is checked out here; None where there is none, or no git."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--verify", "HEAD"], capture_output=True, text=True, timeout=GIT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    word = done.stdout.strip()
    return word if done.returncode == 0 and len(word) in (40, 64) and set(word) <= set("0123456789abcdef") else None


def _lines(run: Run) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for row in run.rows:
        time = next(
            (row.figures[name] for name in ("p50_ms", "best_ms", "predicted_p50_ms") if name in row.figures), None
        )
        size, metric = row.figures.get("size_bytes"), row.figures.get("metric")
        head = (str(run.id), run.kind, run.added[:16].replace("T", " ")) if not lines else ("", "", "")
        lines.append(
            (
                *head,
                shown_text(row.file),
                shown_text(row.device or "-"),
                shown_text(row.engine or "-"),
                "-" if row.threads is None else str(row.threads),
                shown_text(row.evidence or "-"),
                "-" if time is None else f"{time:.3g}",
                "-" if size is None else f"{size:,.0f}",
                "-" if metric is None else f"{shown_text(str(row.conditions.get('metric')))} {metric:.3f}",
                shown_text(row.status if row.status not in ("complete", "predicted") else run.note[:30]),
            )
        )
    empty = (str(run.id), run.kind, run.added[:16].replace("T", " "), *("-",) * (len(COLUMNS) - 4), "no rows")
    return lines or [empty]


def _series(one: Series) -> dict[str, Any]:
    from ..bench.series import KEY

    return {
        **dict(zip(KEY, one.key, strict=True)),
        "runs": [run.id for run, _, _ in one.entries],
        "values": one.values,
        "points": [
            {**point.to_dict(), "run": one.entries[point.index][0].id, "changed": one.changed_at(point.index)}
            for point in one.points()
        ],
    }


def _threads(count: int | None) -> str | None:
    return None if count is None else "1 thread" if count == 1 else f"{count} threads"


def _print(values: dict[str, Any]) -> None:
    print_result(json.dumps({"schema": SCHEMA, **values}, allow_nan=False))
