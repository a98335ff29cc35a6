"""The history for other programs: CSV for spreadsheets, JSON, and an MLflow tracking store.

A cell of CSV that a spreadsheet would take for a formula gets an apostrophe before it; numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..runtime.errors import EdgeError, InputError, MissingExtraError
from .history import Run
from .run_facts import RunRow

__all__ = ["as_csv", "as_json", "to_mlflow"]

HEAD = ("run", "kind", "added", "began", "edge", "git_commit", "note")
ROW = ("model", "variant", "file", "sha256", "device", "engine", "engine_version", "threads", "evidence", "status")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
EXPERIMENT = "edge"
KEY_TAG = "edge.row"
MAX_TAG = 5000  # characters that MLflow takes


def as_csv(runs: Sequence[Run]) -> str:
    """Return a line for each row of each run, with a column for each figure that any of them has.

    Args:
        runs: in the order of the lines.
    """
    names = sorted({name for run in runs for row in run.rows for name in row.figures})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*HEAD, *ROW, *map(_cell, names)])
    for run in runs:
        head = [run.id, *(getattr(run, name) for name in HEAD[1:])]
        for row in run.rows:
            cells = [*head, *(getattr(row, name) for name in ROW), *(row.figures.get(name) for name in names)]
            writer.writerow([_cell(cell) for cell in cells])
    return stream.getvalue()


def as_json(runs: Sequence[Run]) -> dict[str, Any]:
    """Return plain JSON values of runs, without their documents."""
    return {"schema": 1, "command": "history export", "runs": [run.to_dict() for run in runs]}


def to_mlflow(runs: Sequence[Run], store: str, say: Callable[[str], None] = lambda text: None) -> tuple[int, int]:
    """Write each row of each run as a run of MLflow, in the experiment "edge", and return (written, there before).

    Args:
        runs: the earliest first, so that MLflow lists them in their order.
        store: a file, which becomes an SQLite tracking store, or the address of one (`http://…`, `sqlite:///…`).
        say: takes a line of progress.

    Raises:
        MissingExtraError: MLflow is not installed.
        InputError: the store cannot be used.
    """
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")  # nothing leaves this machine unasked
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        if "://" not in store:
            import sqlalchemy  # noqa: F401 - what MLflow writes files with
    except ImportError as exc:
        raise MissingExtraError("this needs MLflow", hint="pip install 'edge-vision[mlflow]'") from exc
    address = store if "://" in store else f"sqlite:///{Path(store).resolve()}"
    say(f"writing to {address}")
    try:
        client = MlflowClient(tracking_uri=address)
        found = client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
        written = before = 0
        for run in runs:
            for position, row in enumerate(run.rows):
                key = f"{run.digest}:{position}"
                if client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{key}'", max_results=1):
                    before += 1
                    continue
                _write_row(client, experiment, run, row, key)
                written += 1
    except MlflowException as exc:
        raise InputError(f"MLflow cannot use `{store}`", got=str(exc)[:120]) from exc
    except EdgeError:
        raise
    except Exception as exc:  # SQLAlchemy's and requests' kinds, which need not be installed to be told of
        raise InputError(f"cannot write to `{store}`", got=str(exc).splitlines()[0][:120]) from exc
    return written, before


def _write_row(client: Any, experiment: str, run: Run, row: RunRow, key: str) -> None:
    tags = {"edge.run": str(run.id), "edge.kind": run.kind, "edge.status": row.status, "edge.added": run.added}
    given = {"edge.note": run.note, "mlflow.source.git.commit": run.git_commit, "edge.sha256": row.sha256}
    tags |= {name: value[:MAX_TAG] for name, value in given.items() if value}
    name = " ".join(filter(None, [row.file, row.device, row.engine]))
    made = client.create_run(experiment, tags=tags, run_name=name).info.run_id
    for word in ("model", "variant", "device", "engine", "engine_version", "threads", "evidence"):
        if (value := getattr(row, word)) is not None:
            client.log_param(made, word, value)
    for figure, value in row.figures.items():
        client.log_metric(made, figure, value)
    client.set_tag(made, KEY_TAG, key)  # last: a run that was cut off is written again
    client.set_terminated(made)


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return "" if value is None else value
