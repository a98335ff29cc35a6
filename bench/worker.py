"""The harness inside a device: `python -m edge.bench.worker` takes a plan on stdin and answers in JSON lines on stdout.

The same program runs on the host, on a Raspberry Pi and on any other machine with Python, NumPy and an engine; it needs
nothing else. Every line is one event, in this order, and is written as soon as it is known, so that a device which
vanishes leaves what it had measured:

    {"event": "start", "plan": ..., "environment": ...}
    {"event": "loaded", "engine": ..., "import_ms": ..., "load_ms": ..., "first_ms": ...}
    {"event": "infer", "wall_ms": [...], "cpu_ms": [...]}                 inferences back to back; many such lines
    {"event": "frame", "pre_ms": [...], "infer_ms": [...], "decode_ms": [...]}       whole frames; many such lines
    {"event": "done", "environment": ..., "peak_rss_bytes": ...}

or, instead of what is left, {"event": "failed", "exit_code": ..., "message": ...}. Exit code 0 goes with "done" alone.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import zipfile
from collections.abc import Callable
from itertools import pairwise
from time import perf_counter, process_time
from typing import Any, TextIO

from ..runtime.errors import EdgeError, InputError, one_line
from .environment import environment, peak_rss_bytes
from .plan import Plan

__all__ = ["SCHEMA", "infer_loop", "main", "read_source", "work"]

SCHEMA = 1
FLUSH_S = 0.5  # of timed work between two lines
FLUSH_RUNS = 2000
BLOCK_S = 0.01  # of calls with nothing but a stamp between them: behind a network, every line of Python is cold
LEAST_WARM = 2
MODULES = {"onnxruntime": "onnxruntime", "litert": "ai_edge_litert.interpreter"}

Say = Callable[[dict[str, Any]], None]


def main() -> int:
    """Do the plan on stdin and return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; whoever started this ends it
    out = _own_stdout()

    def say(event: dict[str, Any]) -> None:
        out.write(json.dumps(event, allow_nan=False) + "\n")
        out.flush()

    try:
        try:
            values = json.loads(sys.stdin.read())
        except (ValueError, RecursionError) as exc:
            raise InputError("the plan is not JSON", got=str(exc)[:80]) from exc
        work(Plan.from_dict(values), say)
    except EdgeError as exc:
        say({"event": "failed", "exit_code": exc.exit_code, "message": one_line(exc)})
        return exc.exit_code
    except MemoryError:
        say({"event": "failed", "exit_code": 5, "message": "error: out of memory"})
        return 5
    except Exception as exc:  # told in band, for a shell on the way may hide the exit code
        say({"event": "failed", "exit_code": 70, "message": f"error: {type(exc).__name__}: {str(exc)[:200]}"})
        return 70
    return 0


def work(plan: Plan, say: Say) -> None:
    """Measure as a plan says.

    Args:
        plan: what is measured, and how.
        say: takes the events; see the module.

    Raises:
        EdgeError: the artifact, its source or the plan was refused.
    """
    if plan.pin:
        _pin(plan.pin)
    say({"event": "start", "schema": SCHEMA, "plan": plan.to_dict(), "environment": environment()})

    from ..runtime.embedded import read_card
    from ..runtime.engines import missing_engine, noise_input, open_engine
    from ..runtime.pipeline import Pipeline

    card = read_card(plan.artifact)
    began = perf_counter()
    try:
        importlib.import_module(MODULES[plan.engine])
    except ImportError as exc:
        raise missing_engine(plan.engine, str(exc)[:60]) from exc
    imported = perf_counter()
    engine = open_engine(plan.artifact, card, engine=plan.engine, threads=plan.threads)
    opened = perf_counter()
    pipeline = Pipeline(card, engine)
    loaded = pipeline.read(read_source(plan.source)) if plan.source else None
    tensor = noise_input(card) if loaded is None else pipeline.prepare(loaded).tensor
    before_first = perf_counter()
    engine.run(tensor)
    first = perf_counter()
    say(
        {
            "event": "loaded",
            "engine": {"name": engine.name, "version": engine.version, "threads": engine.threads},
            "import_ms": (imported - began) * 1e3,
            "load_ms": (opened - imported) * 1e3,
            "first_ms": (first - before_first) * 1e3,
        }
    )

    runs, seconds = plan.least
    infer = engine.repeat(tensor)
    _warm(infer, plan.warmup_s)
    infer_loop(infer, runs, seconds, say)
    if loaded is not None and plan.stages_s and not plan.strict:

        def frame() -> tuple[float, float, float]:
            prepared = pipeline.prepare(loaded)
            outputs, infer_ms = pipeline.infer(prepared)
            times = pipeline.decode(prepared, outputs, infer_ms).times
            return times["pre_ms"], times["infer_ms"], times["decode_ms"]

        _warm(frame, plan.warmup_s / 2)
        _frame_loop(frame, plan.runs, plan.stages_s, say)
    say({"event": "done", "environment": environment(), "peak_rss_bytes": peak_rss_bytes()})
    pipeline.close()


def infer_loop(call: Callable[[], object], runs: int, seconds: float, say: Say) -> None:
    """Time calls back to back, and say their times in lines of at most half a second.

    Args:
        call: what is timed.
        runs, seconds: it ends when both are over.
        say: takes each line: event "infer", `wall_ms` and `cpu_ms` of every call since the last line, milliseconds.
            Calls shorter than 10 ms share their processor time evenly with those beside them.
    """
    blocks: list[tuple[list[float], float]] = []
    done, kept, block, began = 0, 0, 1, perf_counter()
    flushed = began
    while True:
        stamps, cpu = _block(call, block)
        blocks.append((stamps, cpu))
        done += block
        kept += block
        now = stamps[-1]
        over = done >= runs and now - began >= seconds
        if over or now - flushed >= FLUSH_S or kept >= FLUSH_RUNS:
            say({"event": "infer", **_samples(blocks)})
            if over:
                return
            blocks, kept = [], 0
            call()  # untimed: writing the line has cooled the caches
            flushed = perf_counter()
        block = max(1, min(int(BLOCK_S * block / max(now - stamps[0], 1e-9)), FLUSH_RUNS - kept))
        if done < runs:
            block = min(block, runs - done)


def _block(call: Callable[[], object], count: int) -> tuple[list[float], float]:
    """Return the clock before the first of so many calls and after each, and the processor time of all; seconds."""
    stamps: list[float] = []
    stamp, clock = stamps.append, perf_counter
    cpu = process_time()
    stamp(clock())
    for _ in range(count):
        call()
        stamp(clock())
    return stamps, process_time() - cpu


def _samples(blocks: list[tuple[list[float], float]]) -> dict[str, list[float]]:
    walls = [after - before for stamps, _ in blocks for before, after in pairwise(stamps)]
    shares = [cpu / (len(stamps) - 1) for stamps, cpu in blocks for _ in stamps[1:]]
    return {
        "wall_ms": _rounded(wall * 1e3 for wall in walls),
        "cpu_ms": _rounded(share * 1e3 for share in shares),
    }


def _frame_loop(frame: Callable[[], tuple[float, float, float]], runs: int, seconds: float, say: Say) -> None:
    rows: list[tuple[float, float, float]] = []
    done, began = 0, perf_counter()
    flushed = began
    while True:
        rows.append(frame())
        now = perf_counter()
        done += 1
        over = done >= runs and now - began >= seconds
        if over or now - flushed >= FLUSH_S or len(rows) >= FLUSH_RUNS:
            pre, infer, decode = (_rounded(column) for column in zip(*rows, strict=True))
            say({"event": "frame", "pre_ms": pre, "infer_ms": infer, "decode_ms": decode})
            rows = []
            if over:
                return
            frame()
            flushed = perf_counter()


def _warm(call: Callable[[], object], seconds: float) -> None:
    end, done = perf_counter() + seconds, 0
    while done < LEAST_WARM or perf_counter() < end:
        call()
        done += 1


def read_source(path: str) -> Any:
    """Return the picture, or (samples, rate), in an .npz file."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "picture" in arrays:
                return arrays["picture"]
            return arrays["samples"], int(arrays["rate"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as exc:
        raise InputError(
            f"`{os.path.basename(path)}` is no source of a benchmark",
            expected=".npz with `picture`, or `samples` and `rate`",
            got=str(exc)[:80],
        ) from exc


def _pin(cpus: tuple[int, ...]) -> None:
    if not hasattr(os, "sched_setaffinity"):
        raise InputError("this system cannot hold a process to CPUs", hint="leave `--pin` out")
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as exc:
        allowed = sorted(os.sched_getaffinity(0))
        raise InputError("cannot pin to these CPUs", expected=f"of {allowed}", got=list(cpus)) from exc


def _own_stdout() -> TextIO:
    """Return a stream of this program's own: whatever engines print on stdout goes to stderr instead."""
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def _rounded(values: Any) -> list[float]:
    return [round(value, 6) for value in values]


if __name__ == "__main__":
    sys.exit(main())
