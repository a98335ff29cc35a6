"""What the harness adds to an inference, against the engine's own Python interface in a bare loop.

    python -m edge.bench.overhead edge-out > overhead.json

Both loops run in one process, in pairs of random order, on the same file and input; the figure is the middle ratio of
processor times. The harness's half holds all that happens between two samples: the clocks, the checks, the notes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import click

from ..runtime.card import Card
from ..runtime.embedded import read_card
from ..runtime.engines import noise_input, open_engine, pick_engine
from ..runtime.errors import InputError
from ..runtime.isolate import guard
from .paired import Call, judge, pairs
from .timing import machine

__all__ = ["LIMIT", "bare_loop", "overhead"]

SCHEMA = 1
LIMIT = 0.01  # of an inference
SLICE_S = 0.02
PAIRS = 200


def overhead(artifact: Path, *, count: int = PAIRS, seed: int = 0) -> dict[str, Any]:
    """Return what the harness adds to an inference of an artifact with one thread.

    Args:
        artifact: ONNX or TFLite file.
        count: pairs.
        seed: of the order within pairs.

    Returns:
        file, engine, `bare_ms` (median processor time of a bare inference), `added` with `low` and `high` (share of it
        that the harness adds, with a 95 % interval), `pairs`.

    Raises:
        EdgeError: the file is refused.
    """
    card = read_card(artifact)
    guard(artifact, card)
    name = pick_engine(artifact)
    engine = open_engine(artifact, card, engine=name, threads=1)
    tensor = noise_input(card)
    bare = bare_loop(artifact, card, name)
    wall_ms: list[float] = []
    cpu_ms: list[float] = []

    def harness() -> None:  # what `worker` does for each sample
        cpu, wall = process_time(), perf_counter()
        engine.run(tensor)
        now = perf_counter()
        wall_ms.append((now - wall) * 1e3)
        cpu_ms.append((process_time() - cpu) * 1e3)

    for call in (bare, harness, bare, harness):
        call()
    began = perf_counter()
    bare()
    calls = max(1, round(SLICE_S / max(perf_counter() - began, 1e-6)))
    found = pairs(bare, harness, count=count, calls=calls, seed=seed)
    engine.close()
    told = judge(found, calls)
    middle = sorted(pair[1] for pair in found)[len(found) // 2] / calls * 1e3
    return {
        "file": artifact.name,
        "engine": name,
        "bare_ms": round(middle, 4),
        "added": round(told.change, 5),
        "low": round(told.low, 5),
        "high": round(told.high, 5),
        "pairs": count,
    }


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
        say(f"[{number}/{len(files)}] {path.name}: {100 * rows[-1]['added']:+.2f} %")
    click.echo(
        json.dumps({"schema": SCHEMA, "command": "overhead", "limit": LIMIT, "machine": machine(), "rows": rows})
    )


if __name__ == "__main__":
    main()
