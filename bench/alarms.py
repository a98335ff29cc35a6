"""How often a comparison is right on this machine: false alarms of a file against itself, slow-downs that are found.

    python -m edge.bench.alarms pose-student-2mb-int8.tflite pose-student-2mb-int8.onnx > alarms.json
    python -m edge.export.readme docs/bench.md alarms.json --section alarms

What `edge bench --self-test` does in small, often enough to hold the claims of docs/bench.md: of 300 comparisons of a
file with itself 3 may differ at most (1 %), of 100 with 10 % more work 99 must be found, of 100 with 5 % more, 95.
Made for a busy machine: the load is in the result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import click

from ..runtime.engines import pick_engine
from ..runtime.progress import Progress
from .duel import opened, self_test
from .timing import machine

__all__ = ["main"]

SCHEMA = 1


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--same", default=300, show_default=True, help="Comparisons of a file with itself.")
@click.option("--slower", default=100, show_default=True, help="Comparisons with 10 % more work.")
@click.option("--slightly", default=100, show_default=True, help="Comparisons with 5 % more work.")
def main(artifacts: Sequence[Path], same: int, slower: int, slightly: int) -> None:
    """Print how many comparisons of each artifact were right, as JSON for README's table."""
    rows = []
    for artifact in artifacts:
        load = [os.getloadavg()[0]]
        with opened(artifact) as call, Progress("comparing", lines=False) as progress:
            found = self_test(call, same=same, slower=slower, slightly=slightly, progress=progress)
        load.append(os.getloadavg()[0])
        rows.append({"file": artifact.name, "engine": pick_engine(artifact), "load": load, **found.to_dict()})
    click.echo(json.dumps({"schema": SCHEMA, "command": "alarms", "machine": machine(), "rows": rows}))


if __name__ == "__main__":
    main()
