"""What the harness adds to an inference, and how true what it reports is, against the engine's own Python interface.

    python -m edge.bench.overhead edge-out > overhead.json
    python -m edge.export.readme docs/bench.md overhead.json --section overhead

Everything runs in one process, in pairs of random order, on the same file and input, one thread, by processor time. Two
figures, both medians over the pairs of several openings of the file. What is added: the harness's loop
(`worker.infer_loop`) against a bare loop of the same calls to the same session. How far off the time told is: against a
bare loop on a session of its own, opened as the engine's documentation shows it; where its memory happens to lie makes
it up to 3 % faster or slower than another of the same file, hence the openings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..runtime.card import Card
from ..runtime.embedded import read_card
from ..runtime.engines import noise_input, open_engine, pick_engine
from ..runtime.errors import InputError
from ..runtime.isolate import guard
from .paired import Call, judge, pairs, warm_calls
from .timing import machine
from .worker import infer_loop

__all__ = ["LIMIT", "REPORTED_LIMIT", "bare_loop", "overhead"]

SCHEMA = 1
LIMIT = 0.01  # of an inference, added
REPORTED_LIMIT = 0.02  # of an inference, by which its reported time may be off
SLICE_S = 0.1
OPENINGS = 8
PAIRS = 10  # of each opening and figure


def overhead(artifact: Path, *, openings: int = OPENINGS, count: int = PAIRS, seed: int = 0) -> dict[str, Any]:
    """Return what the harness adds to an inference of an artifact with one thread.

    Args:
        artifact: ONNX or TFLite file.
        openings: times that the file is opened anew, by the harness and bare.
        count: pairs for each figure and opening.
        seed: of the order within pairs.

    Returns:
        file, engine, `bare_ms` (median processor time of a bare inference), `added` with `low` and `high` (share of it
        that the harness adds, with a 95 % interval), `reported` (share by which the time it tells is off), `pairs`.

    Raises:
        EdgeError: the file is refused.
    """
    card = read_card(artifact)
    guard(artifact, card)
    added: list[tuple[float, float, float, float]] = []
    bare_s: list[float] = []
    ratios: list[float] = []
    for number in range(openings):
        bare = bare_loop(artifact, card, pick_engine(artifact))
        with closing(open_engine(artifact, card, threads=1)) as engine:
            tensor = noise_input(card)
            engine.run(tensor)
            repeat = engine.repeat(tensor)
            calls = warm_calls(bare, repeat, SLICE_S)
            reports: list[dict[str, Any]] = []
            harness = partial(infer_loop, repeat, calls, 0.0, reports.append)
            added += pairs(_loop(repeat, calls), harness, count=count, calls=1, seed=seed + 2 * number)
            reports.clear()
            found = pairs(_loop(bare, calls), harness, count=count, calls=1, seed=seed + 2 * number + 1)
        alone = [pair[1] / calls for pair in found]
        ratios += [np.mean(report["cpu_ms"]) / 1e3 / one for report, one in zip(reports, alone, strict=True)]
        bare_s += alone
    told = judge(added)
    return {
        "file": artifact.name,
        "engine": engine.name,
        "bare_ms": round(float(np.median(bare_s)) * 1e3, 4),
        "added": round(told.change, 5),
        "low": round(told.low, 5),
        "high": round(told.high, 5),
        "reported": round(float(np.median(ratios)) - 1, 5),
        "pairs": len(added),
    }


def _loop(call: Call, count: int) -> Call:
    def run() -> None:
        for _ in range(count):
            call()

    return run


def bare_loop(artifact: Path, card: Card, engine: str) -> Call:
    """Return a call that makes one inference through the engine's own interface, as its documentation shows it."""
    tensor = noise_input(card)
    if engine == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(artifact), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda: session.run(None, {name: tensor})

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(artifact), num_threads=1)
    interpreter.allocate_tensors()
    taken = interpreter.get_input_details()[0]["index"]
    given = [item["index"] for item in interpreter.get_output_details()]

    def run() -> list[Any]:
        interpreter.set_tensor(taken, tensor)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in given]

    return run


@click.command()
@click.argument("bundles", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def main(bundles: Sequence[Path]) -> None:
    """Print what the harness adds to each artifact of bundles, as JSON for README's table."""
    files = [
        path
        for bundle in bundles
        for path in ([bundle] if bundle.is_file() else sorted(bundle.glob("**/*")))
        if path.suffix in (".onnx", ".tflite")
    ]
    if not files:
        raise InputError("no artifact there", hint="`edge export` makes them")
    say: Callable[[str], None] = lambda line: click.echo(line, err=True)  # noqa: E731
    rows = []
    for number, path in enumerate(files, 1):
        rows.append(overhead(path))
        added, off = 100 * rows[-1]["added"], 100 * rows[-1]["reported"]
        say(f"[{number}/{len(files)}] {path.name}: {added:+.2f} % added, told {off:+.2f} % off")
    click.echo(
        json.dumps(
            {
                "schema": SCHEMA,
                "command": "overhead",
                "limit": LIMIT,
                "reported_limit": REPORTED_LIMIT,
                "machine": machine(),
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
