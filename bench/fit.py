"""Fit the Raspberry Pi 4 predictor, say how wrong it is, and write its coefficients.

    python -m edge.bench.fit --table ../shared/data/rpi4-published.csv --counts ../shared/data/rpi4-emulation-counts.csv
    python -m edge.bench.fit --add runs.json

The second line takes a user's own runs: with the published table they join the fit; without it they correct the scale
of the coefficients that are there, for each runtime and number of threads that they are of.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..runtime.errors import EdgeError, InputError, one_line
from ..runtime.files import write_whole
from .coefficients import COEFFICIENTS, SCHEMA, Coefficients, read_coefficients
from .emulation_model import read_counts
from .features import features, uncovered
from .fitting import ErrorRow, Fitted, fit_count_models, fit_operator_models, one_family_score, runtime_ratios, summary
from .latency_model import Measured, fit_model
from .operators import Operator, main_precision, read_operators
from .predict import MAX_THREADS, RUNTIMES, predict
from .published import FEATURE_FILE, TABLE, Table, read_table

__all__ = ["COUNTS_FILE", "Run", "correct", "fit", "read_runs"]

COUNTS_FILE = TABLE.with_name("rpi4-emulation-counts.csv")
PRECISIONS = ("fp32", "int8")
FEW = 3  # own runs below which a correction says so


@dataclass(frozen=True, kw_only=True)
class Run:
    """One measured run of a user.

    Attributes:
        name: of the file.
        operators: of the artifact.
        runtime, threads: what it ran on.
        p50_ms: median latency.
    """

    name: str
    operators: tuple[Operator, ...]
    runtime: str
    threads: int
    p50_ms: float


def fit(
    table: Path, counts: Path, runs: Sequence[Run] = (), log: Callable[[str], None] = lambda _: None
) -> tuple[dict[str, Any], list[ErrorRow]]:
    """Return the content of a coefficients' file, and the errors of its predictions.

    Args:
        table: published latencies.
        counts: emulation counts.
        runs: of a user; they join the published rows, as a family of their own.
        log: takes lines of progress.

    Raises:
        InputError: a file cannot be read or used.
    """
    published = read_table(table)
    rows = [*published.tflite, *(_measured(run) for run in runs)]
    fits: dict[str, Fitted] = {}
    for precision in PRECISIONS:
        log(f"fitting {precision}: with each model and each family left out")
        fits[precision] = fit_operator_models([row for row in rows if row.precision == precision])
    log("fitting emulation counts")
    counted, counts_sha = read_counts(counts, table)
    emulated = {threads: fit_count_models(counted, threads) for threads in (1, 4)}
    own = fits["fp32"].misses, fits["int8"].misses
    errors = [*(row for fitted in fits.values() for row in fitted.errors)]
    errors += [summary("TFLite fp32", own[0]), summary("TFLite int8", own[1]), summary("TFLite", np.vstack(own))]
    errors += [row for fitted in emulated.values() for row in fitted.errors]
    content = {
        "schema": SCHEMA,
        "version": _version(published, counts_sha, runs),
        "data": _about(published, counts_sha, len(counted), len(runs)),
        "operators": {precision: fitted.entry for precision, fitted in fits.items()},
        "one_family": one_family_score([row for row in published.tflite if row.precision == "fp32"]),
        "other_runtime": {precision: _ratios(published, precision) for precision in fits},
        "counts": {str(threads): fitted.entry for threads, fitted in emulated.items()},
        "corrections": {},
        "errors": [row.to_dict() for row in errors],
    }
    return content, errors


def correct(content: dict[str, Any], fitted: Coefficients, runs: Sequence[Run]) -> tuple[dict[str, Any], list[str]]:
    """Return a coefficients' file with the scale that a user's runs ask for, and what was changed, in lines.

    Args:
        content: the file as it is.
        fitted: the same, read; its own corrections are replaced where there are runs.
        runs: at least one.

    Raises:
        InputError: there is no run that the coefficients can predict.
    """
    plain = Coefficients(**{**vars(fitted), "corrections": {}})
    ratios: dict[str, list[float]] = {}
    lines = []
    for run in runs:
        found = predict(run.operators, runtime=run.runtime, threads=run.threads, coefficients=plain)
        if found.p50_ms is None:
            lines.append(f"{run.name}: not used, {found.abstained}")
            continue
        ratios.setdefault(f"{run.runtime}/{run.threads}", []).append(math.log(run.p50_ms / found.p50_ms))
    if not ratios:
        raise InputError("no run can be used", got="; ".join(lines)[:160])
    corrections = dict(content["corrections"])
    for key, values in sorted(ratios.items()):
        centre = statistics.median(values)
        spread = max(abs(value - centre) for value in values)
        corrections[key] = {"scale": math.exp(centre), "spread": spread, "runs": len(values)}
        few = f", {len(values)} run only: little to go by" if len(values) < FEW else ""
        lines.append(f"{key} threads: scaled by {math.exp(centre):.3f} from {len(values)} runs{few}")
    version = f"{content['version'].split('+')[0]}+own{sum(int(value['runs']) for value in corrections.values())}"
    return {**content, "version": version, "corrections": corrections}, lines


def read_runs(path: Path) -> list[Run]:
    """Return the runs in a JSON list of {"file", "runtime", "threads", "p50_ms"}; files beside it are found.

    Raises:
        InputError: the file is missing, no such list, or a value makes no sense.
        ArtifactError: an artifact in it cannot be read.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InputError(f"cannot read runs from `{path.name}`", got=exc.strerror or exc) from exc
    except (ValueError, RecursionError) as exc:
        raise InputError(f"`{path.name}` is not JSON", got=str(exc)[:80]) from exc
    if not isinstance(entries, list) or not entries:
        raise InputError(f"`{path.name}` holds no runs", expected="a list of file, runtime, threads, p50_ms")
    return [_run(entry, path, index) for index, entry in enumerate(entries)]


def _run(entry: Any, path: Path, index: int) -> Run:
    where = f"run {index} of `{path.name}`"
    try:
        name, runtime, threads, p50_ms = (entry[key] for key in ("file", "runtime", "threads", "p50_ms"))
    except (KeyError, TypeError) as exc:
        raise InputError(f"{where} is incomplete", expected="file, runtime, threads, p50_ms", got=entry) from exc
    if runtime not in RUNTIMES or runtime == "ncnn":
        raise InputError(f"{where}: unknown runtime", expected="litert | tflite-ruy | onnxruntime", got=runtime)
    if type(threads) is not int or not 1 <= threads <= MAX_THREADS:
        raise InputError(f"{where}: bad number of threads", expected=f"1 to {MAX_THREADS}", got=threads)
    if type(p50_ms) not in (int, float) or not math.isfinite(p50_ms) or p50_ms <= 0:
        raise InputError(f"{where}: bad latency", expected="milliseconds above 0", got=p50_ms)
    artifact = path.parent / str(name)
    operators = tuple(read_operators(artifact))
    return Run(name=artifact.name, operators=operators, runtime=runtime, threads=threads, p50_ms=float(p50_ms))


def _measured(run: Run) -> Measured:
    """Return a user's run as a row of the fit, in the precision that most of it computes in."""
    precision = main_precision(run.operators)
    precision = "fp32" if precision == "fp16" else precision
    unknown = uncovered(run.operators)
    if unknown or precision not in PRECISIONS:
        got = f"precision {precision}, operators of class {', '.join(unknown) or 'known'}"
        raise InputError(f"`{run.name}` cannot join the fit", expected=" or ".join(PRECISIONS), got=got)
    return Measured(
        model=f"own/{run.name}",
        family="own",
        precision=precision,
        library=RUNTIMES[run.runtime],
        threads=run.threads,
        features=features(run.operators),
        ms=run.p50_ms,
    )


def _ratios(published: Table, precision: str) -> list[float]:
    model = fit_model([row for row in published.tflite if row.precision == precision])
    return list(runtime_ratios(model, [row for row in published.others if row.precision == precision]))


def _about(published: Table, counts_sha: str, counted: int, runs: int) -> dict[str, Any]:
    return {
        "table_sha256": published.sha256,
        "counts_sha256": counts_sha,
        "tflite_rows": len(published.tflite),
        "other_rows": len(published.others),
        "emulated_networks": counted,
        "own_runs": runs,
        "left_out": dict(sorted(published.left_out.items())),
    }


def _version(published: Table, counts_sha: str, runs: Sequence[Run]) -> str:
    """Return a name for the coefficients that changes with the data."""
    digest = hashlib.sha256((published.sha256 + counts_sha).encode())
    digest.update(FEATURE_FILE.read_bytes())
    for run in runs:
        digest.update(f"{run.name} {run.runtime} {run.threads} {run.p50_ms}".encode())
    return f"rpi4-{SCHEMA}-{digest.hexdigest()[:8]}"


def _text(errors: Sequence[ErrorRow]) -> str:
    """Return the table of errors."""
    head = f"{'relative error, median / p90':28} {'rows':>5} {'abstained':>10} {'model out':>14} {'family out':>14}"
    lines = [f"{head} {'coverage':>9}"]
    for row in errors:
        cells = [
            f"{median:5.1f} / {most:4.1f} %" if math.isfinite(median) else "-"
            for median, most in (row.model_out, row.family_out)
        ]
        held = f"{row.coverage:.1%}" if math.isfinite(row.coverage) else "-"
        lines.append(f"{row.what:28} {row.rows:5} {row.abstained:10} {cells[0]:>14} {cells[1]:>14} {held:>9}")
    return "\n".join(lines)


@click.command()
@click.option("--table", type=click.Path(path_type=Path), default=TABLE, help="Published latencies.")
@click.option("--counts", type=click.Path(path_type=Path), default=COUNTS_FILE, help="Emulation counts.")
@click.option("--add", "own", type=click.Path(path_type=Path), help="Your own runs, a JSON list.")
@click.option("--output", type=click.Path(path_type=Path), default=COEFFICIENTS, help="File to write.")
@click.option("--json", "as_json", is_flag=True, help="Print the errors as JSON.")
def main(table: Path, counts: Path, own: Path | None, output: Path, as_json: bool) -> None:
    r"""Fit the predictor of Raspberry Pi 4 latencies and write its coefficients.

    \b
    Example:
        python -m edge.bench.fit --add runs.json --output my-coefficients.json
    """
    try:
        runs = read_runs(own) if own is not None else []
        if runs and not table.exists():
            click.echo(f"no published table at {table}: own runs correct the scale only", err=True)
            source = output if output.exists() else COEFFICIENTS
            fitted = read_coefficients(source)
            content, lines = correct(json.loads(source.read_text(encoding="utf-8")), fitted, runs)
            click.echo("\n".join(lines), err=True)
            write_whole(output, json.dumps(content, indent=1, allow_nan=False) + "\n")
            if as_json:
                click.echo(json.dumps(content["corrections"]))
            return
        content, errors = fit(table, counts, runs, log=lambda line: click.echo(line, err=True))
        write_whole(output, json.dumps(content, indent=1, allow_nan=False) + "\n")
    except EdgeError as exc:
        click.echo(one_line(exc), err=True)
        raise SystemExit(exc.exit_code) from exc
    except OSError as exc:
        raise click.ClickException(f"cannot write `{output.name}`: {exc.strerror}") from exc
    click.echo(json.dumps(content["errors"]) if as_json else _text(errors))
    left = ", ".join(f"{count} ({reason})" for reason, count in content["data"]["left_out"].items())
    click.echo(f"{content['version']}: {content['data']['tflite_rows']} rows of TFLite; left out: {left}", err=True)


if __name__ == "__main__":
    main()
