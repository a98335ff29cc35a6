"""A fork server: imports the engines once, then loads and runs one file in each fork, under limits.

Run as a script. A line on stdin names a file; the answer is a JSON line: `verdict` is "ok", "refused" (an EdgeError),
"leaked" (another exception), "died" (a signal) or "hung", and `what` says more.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

import ai_edge_litert.interpreter
import numpy as np
import onnxruntime

from edge.runtime import Pipeline
from edge.runtime.card import Card
from edge.runtime.engines import noise_input
from edge.runtime.errors import EdgeError

MEMORY = 2 << 30  # next to what the process has mapped already
CPU_S, WALL_S = 20, 60.0
USED = (ai_edge_litert.interpreter, onnxruntime)  # loaded here once, so that no fork has to
NOISE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def source(card: Card) -> Any:
    """Return noise of the kind that a card, which may be a mutant too, says it takes."""
    if card.input.kind == "image":
        return NOISE
    if card.input.kind == "audio":
        return np.random.default_rng(0).normal(0, 0.1, 22050).astype(np.float32), 22050
    return noise_input(card)


def attempt(path: str) -> tuple[str, str]:
    """Load a file and run it once."""
    try:
        with Pipeline.load(path, threads=1, threshold=0.0) as pipeline:
            pipeline(source(pipeline.card))
    except EdgeError as error:
        return "refused", type(error).__name__
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "runtime" in Path(frame.filename).parts]
        where = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in ours[-3:]]
        return "leaked", f"{type(error).__name__}: {str(error)[:200]} at {' > '.join(where)}"
    return "ok", ""


def child(path: str, answer: int) -> NoReturn:
    """Answer through a pipe and leave without Python's farewell."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY + mapped,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20,) * 2)
    warnings.simplefilter("ignore")
    os.write(answer, json.dumps(attempt(path)).encode()[:4000])
    os._exit(0)


def serve(path: str) -> dict[str, str]:
    """Return what happened to one file."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        try:
            child(path, theirs)
        finally:
            os._exit(70)
    os.close(theirs)
    told, late = b"", time.monotonic() + WALL_S
    while select.select([ours], [], [], max(0.0, late - time.monotonic()))[0]:
        part = os.read(ours, 4096)
        if not part:
            break
        told += part
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(ours)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        name = signal.Signals(-code).name
        return {"verdict": "hung" if name in ("SIGKILL", "SIGXCPU") else "died", "what": name}
    if code != 0 or not told:
        return {"verdict": "died", "what": f"exit status {code}"}
    verdict, what = json.loads(told)
    return {"verdict": verdict, "what": what}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(serve(line.rstrip("\n"))), flush=True)
