"""Which engine and how many threads run an artifact fastest on this machine: measured once, then remembered.

All candidates are open at the same time and take turns, so that a clock that throttles or a neighbour that wakes up
meets all of them alike. The answer is kept in the cache folder under the hash of what it depends on: the file, the
engines and their versions, the processor and the CPUs this process may use. An entry that is damaged, foreign or
contradicts itself counts as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from .card import Card
from .engines import MAX_THREADS, check_threads, engine_version, engines_for, missing_engine, noise_input, open_engine
from .errors import EdgeError
from .trust import cache_folder, file_digest, forget_oldest, is_private, private_folder

__all__ = ["Choice", "Measured", "choose", "decide", "thread_counts", "usable_cpus"]

SCHEMA = 1
MAX_ENTRIES = 500
MAX_BYTES = 1 << 16  # of one entry; real ones have a few hundred
MAX_COUNTS = 5  # numbers of threads that are tried
# The issue bounds a measurement to about a second. Three runs is the least that has a median; thirty are plenty for a
# network of a millisecond; one that needs ten seconds for a round is told apart by that round.
BUDGET_S = 1.0
MIN_ROUNDS, MAX_ROUNDS = 3, 30
LONGEST_S = 10.0
# An engine's idle threads spin for about a millisecond, and the one before has taken the caches. Networks below this
# run once untimed before each timed run; slower ones do not notice.
SETTLE_S = 0.02
# What more threads must save, as a fraction: they cost a Pi's other cores, its heat and its battery.
WORTH = 0.10


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one candidate took.

    Attributes:
        engine: "onnxruntime" or "litert".
        threads: CPU threads.
        median_ms: of the timed runs, wall clock; None where it failed.
        runs: timed runs.
        error: why it failed, one line, or None.
    """

    engine: str
    threads: int
    median_ms: float | None
    runs: int
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What runs an artifact here, and why.

    Attributes:
        engine: "onnxruntime" or "litert".
        threads: CPU threads.
        rows: every candidate that was measured, those that failed too; empty where there was nothing to choose.
        cached: whether the measurement is an earlier one.
        note: the same for a person, one line.
    """

    engine: str
    threads: int
    rows: tuple[Measured, ...]
    cached: bool
    note: str


Candidates = Sequence[tuple[str, int]]


def choose(path: str | os.PathLike[str], card: Card, *, engine: str = "auto", threads: int | None = None) -> Choice:
    """Return the engine and the number of threads that run an artifact fastest on this machine.

    The first call for a file measures for about a second, or a few runs of each candidate where the network is slow;
    later ones read the result. What is given is not measured, and with nothing left to choose the file is not run.
    More threads are taken only where they save more than a tenth.

    Args:
        path: an ONNX or TFLite file.
        card: its card.
        engine: "auto", or the only engine that may be taken.
        threads: CPU threads, 1..256; None means any.

    Raises:
        ArtifactError: the file is damaged, foreign, or says something else than the card.
        MissingExtraError: no engine that runs this format is installed.
        ResourceError: memory ran out with every candidate.
        InputError: an unknown engine, one that does not run this format, or a bad number of threads.
    """
    if threads is not None:
        check_threads(threads)
    names = engines_for(path, engine)
    installed = {name: version for name in names if (version := engine_version(name)) is not None}
    if not installed:
        raise missing_engine(names[0])
    cpus = usable_cpus()
    counts = thread_counts(len(cpus)) if threads is None else (threads,)
    candidates = [(name, count) for name in installed for count in counts]
    if len(candidates) == 1:
        name, count = candidates[0]
        why = "one engine and one CPU" if threads is None else "as asked"
        return Choice(engine=name, threads=count, rows=(), cached=False, note=f"{name}, {_threads(count)}: {why}")
    facts = [SCHEMA, file_digest(path), list(installed.items()), list(counts), _cpu_model(), cpus]
    entry = hashlib.sha256(json.dumps(facts).encode()).hexdigest() + ".json"
    if rows := _remembered(entry, candidates):
        return _choice(rows, cached=True, remark="")
    rows = _measure(path, card, candidates)
    remark = ""
    if any(row.error for row in rows):
        remark = "not kept, for a candidate failed"  # memory, say, may be there the next time
    elif not _remember(entry, rows):
        remark = "not kept, for the cache folder cannot be written, or is open to others"
    return _choice(rows, cached=False, remark=remark)


def thread_counts(cpus: int) -> tuple[int, ...]:
    """Return the numbers of threads worth trying on so many CPUs: 1, 2, 4, 8 and all of them.

    The networks are small: where neither 8 threads nor all CPUs help, those in between do not either.
    """
    most = max(1, min(cpus, MAX_THREADS))
    powers = [2**power for power in range(most.bit_length()) if 2**power < most]
    return (*powers[: MAX_COUNTS - 1], most)


def usable_cpus() -> list[int]:
    """Return the numbers of the CPUs that this process may use, ascending."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def decide(rows: Iterable[Measured]) -> Measured:
    """Return the fastest candidate among those with the fewest threads that come within 10 % of the fastest of all.

    Args:
        rows: measured candidates, at least one of which did not fail.
    """
    good = [(row.median_ms, row.threads, row) for row in rows if row.median_ms is not None]
    enough = min(ms for ms, _, _ in good) / (1 - WORTH)
    return min((threads, ms, place, row) for place, (ms, threads, row) in enumerate(good) if ms <= enough)[-1]


class _Run:
    """One candidate with its open engine and its times."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        self.threads = threads
        self.times: list[float] = []
        self.error: EdgeError | None = None
        self.first_s = 0.0
        self.once: Callable[[], object] = lambda: None

    def start(self, path: str | os.PathLike[str], card: Card, tensor: Any, stack: contextlib.ExitStack) -> None:
        """Open the engine and warm it up."""
        engine = open_engine(path, card, engine=self.name, threads=self.threads)
        stack.callback(engine.close)
        self.once = lambda: engine.run(tensor)
        self.first_s = _timed(self.once)

    def turn(self) -> None:
        """Take one time."""
        if self.first_s < SETTLE_S:
            self.once()
        self.times.append(_timed(self.once))

    def row(self) -> Measured:
        """Return what came of it."""
        failed = self.error is not None
        return Measured(
            engine=self.name,
            threads=self.threads,
            median_ms=None if failed else max(statistics.median(self.times) * 1e3, 1e-6),  # a coarse clock may say 0
            runs=len(self.times),
            error=str(self.error) if failed else None,
        )


def _measure(path: str | os.PathLike[str], card: Card, candidates: Candidates) -> tuple[Measured, ...]:
    """Return the times of all candidates, in turns; raise the last one's error where all fail."""
    tensor = noise_input(card)
    runs = [_Run(name, threads) for name, threads in candidates]
    with contextlib.ExitStack() as stack:
        for run in runs:
            with _noting(run):
                run.start(path, card, tensor, stack)
        started = perf_counter()
        for done in range(MAX_ROUNDS):
            spent = perf_counter() - started
            if (done >= MIN_ROUNDS and spent > BUDGET_S) or spent > LONGEST_S:
                break
            for run in runs:
                if run.error is None:
                    with _noting(run):
                        run.turn()
    errors = [run.error for run in runs if run.error is not None]
    if len(errors) == len(runs):
        raise errors[-1]
    return tuple(run.row() for run in runs)


@contextlib.contextmanager
def _noting(run: _Run) -> Iterator[None]:
    """Keep what goes wrong with one candidate; the others go on."""
    try:
        yield
    except EdgeError as error:
        run.error = error


def _timed(once: Callable[[], object]) -> float:
    started = perf_counter()
    once()
    return perf_counter() - started


def _choice(rows: tuple[Measured, ...], *, cached: bool, remark: str) -> Choice:
    """Return the choice that rows lead to, with its note."""
    best = decide(rows)
    several = len({row.engine for row in rows}) > 1
    parts = [f"{best.engine}, {_threads(best.threads)}, {best.median_ms:.3g} ms"]
    for row in rows:
        if row is best:
            continue
        name = f"{row.engine}, {_threads(row.threads)}" if several else _threads(row.threads)
        parts.append(f"{name} {row.median_ms:.3g} ms" if row.error is None else f"{name} failed: {row.error}")
    if remark:
        parts.append(remark)
    note = f"measured on this machine{' before' * cached}: {'; '.join(parts)}"
    return Choice(engine=best.engine, threads=best.threads, rows=rows, cached=cached, note=" ".join(note.split()))


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def _cpu_model() -> list[str]:
    """Return what names the processor: lines of /proc/cpuinfo on Linux, which x86 and ARM word differently."""
    wanted = ("model name", "Model", "Hardware", "CPU implementer", "CPU part")
    found: set[str] = set()
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in wanted:
                found.add(f"{key.strip()}: {value.strip()}")
    return sorted(found) or [platform.machine(), platform.processor()]


def _folder() -> Path:
    return cache_folder() / "engine-choice"


def _remembered(entry: str, candidates: Candidates) -> tuple[Measured, ...] | None:
    """Return the rows of an entry if it is ours and makes sense for these candidates, else None."""
    file = _folder() / entry
    if not (is_private(file.parent) and is_private(file)):
        return None
    try:
        with file.open("rb") as stream:
            told = json.loads(stream.read(MAX_BYTES).decode("utf-8"))
        if told["schema"] != SCHEMA or len(told["rows"]) != len(candidates):
            return None
        return tuple(_row(row, candidate) for row, candidate in zip(told["rows"], candidates, strict=True))
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None


def _row(told: dict[str, Any], candidate: tuple[str, int]) -> Measured:
    """Return one remembered row; ValueError where it is not this candidate's or no measurement."""
    ms, runs = told["median_ms"], told["runs"]
    sane = (
        (told["engine"], told["threads"]) == candidate
        and type(ms) in (int, float)
        and type(runs) is int
        and math.isfinite(ms)
        and ms > 0
        and runs > 0
    )
    if not sane:
        raise ValueError("no measurement of this candidate")
    return Measured(engine=candidate[0], threads=candidate[1], median_ms=float(ms), runs=runs)


def _remember(entry: str, rows: tuple[Measured, ...]) -> bool:
    """Keep rows; return False where the cache folder cannot be written or is not ours alone."""
    kept = [{name: getattr(row, name) for name in ("engine", "threads", "median_ms", "runs")} for row in rows]
    try:
        folder = private_folder(_folder().name)
        handle, temporary = tempfile.mkstemp(prefix=".part-", dir=folder)
        try:
            with open(handle, "w", encoding="utf-8") as stream:
                json.dump({"schema": SCHEMA, "rows": kept}, stream)
            os.replace(temporary, folder / entry)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        forget_oldest(folder, MAX_ENTRIES)
    except OSError:
        return False
    return True
