"""Two artifacts against each other in one process, or one against itself: is the second slower?

Only processor time of one thread is compared, for threads that wait by spinning would add to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.embedded import read_card
from ..runtime.engines import noise_input, open_engine
from ..runtime.isolate import guard
from ..runtime.progress import Progress
from .paired import LEAST_CHANGE, PAIRS, Answer, Call, Comparison, compare, judge, pairs, smallest_change

__all__ = ["SelfTest", "answer_lines", "duel", "opened", "self_test"]

UNIT = 20  # inferences of one half of a pair in the self-test: one more is 5 % more work


def duel(
    first: Path,
    second: Path,
    *,
    engine: str = "auto",
    count: int = PAIRS,
    seed: int = 0,
    least_change: float = LEAST_CHANGE,
) -> Comparison:
    """Return whether the second artifact infers more slowly than the first, one thread each.

    Args:
        first, second: ONNX or TFLite files, not necessarily of one format or model.
        engine: "auto", or the only one that is wanted.
        count: pairs.
        seed: of the order within pairs.
        least_change: smallest change that is told, as a fraction.

    Raises:
        EdgeError: a file is refused; see `engines.open_engine` and `isolate.guard`.
    """
    with opened(first, engine) as one, opened(second, engine) as two:
        return compare(one, two, count=count, seed=seed, least_change=least_change)


def answer_lines(first: str, second: str, found: Comparison) -> list[str]:
    """Return what a comparison found, in words: a line on processor time, and one on the wall clock.

    Args:
        first, second: what the files are called.
        found: of `duel`.
    """
    low, high = 100 * found.low, 100 * found.high
    return [
        f"`{second}` against `{first}`: {found.answer}, {100 * found.change:+.1f} % [{low:+.1f}, {high:+.1f}]"
        f" of processor time, {found.pairs} pairs of {found.calls} runs",
        "wall clock: not to be told, the machine was busy"
        if found.wall_answer is None
        else f"wall clock: {found.wall_answer}, {100 * found.wall_change:+.1f} %",
    ]


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """What comparisons on this machine are worth.

    Attributes:
        same: comparisons of a call with itself, and `alarms`: how many of them found a difference.
        slower: comparisons with a call that does 10 % more work, and `caught`: how many were found slower.
        slightly: the same with 5 %, and `slightly_caught`.
        noise: spread of the logarithms of ratios within pairs, of the same call.
        smallest: slow-down that is found in 95 of 100 comparisons, as a fraction.
        pairs: of each comparison.
    """

    same: int
    alarms: int
    slower: int
    caught: int
    slightly: int
    slightly_caught: int
    noise: float
    smallest: float
    pairs: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}


def self_test(
    call: Call,
    *,
    same: int = 20,
    slower: int = 20,
    slightly: int = 0,
    count: int = PAIRS,
    seed: int = 0,
    progress: Progress | None = None,
) -> SelfTest:
    """Compare a call with itself, and with itself made to do more, and return how often the answer was right.

    More work is more of the same: 20 calls against 22, and against 21.

    Args:
        call: single-threaded, about a millisecond.
        same, slower, slightly: comparisons with no, 10 % and 5 % more work.
        count: pairs of each comparison.
        seed: of the orders within pairs.
        progress: told of every comparison; None tells nobody.
    """
    unit, more, little_more = (_repeated(call, UNIT + extra) for extra in (0, 2, 1))
    unit()
    ratios: list[float] = []
    answers: dict[str, list[Answer]] = {"same": [], "slower": [], "slightly": []}
    total = same + slower + slightly
    for kind, other, rounds in (("same", unit, same), ("slower", more, slower), ("slightly", little_more, slightly)):
        for _ in range(rounds):
            done = sum(map(len, answers.values()))
            found = pairs(unit, other, count=count, calls=1, seed=seed + done)
            answers[kind].append(judge(found).answer)
            if kind == "same":
                ratios += [math.log(two / one) for _, one, _, two in found]
            if progress is not None:
                progress.step(f"{kind}: {answers[kind][-1]}", done + 1, total)
    noise = float(np.std(ratios)) if ratios else math.nan
    return SelfTest(
        same=same,
        alarms=sum(answer is not Answer.SAME for answer in answers["same"]),
        slower=slower,
        caught=answers["slower"].count(Answer.SLOWER),
        slightly=slightly,
        slightly_caught=answers["slightly"].count(Answer.SLOWER),
        noise=noise,
        smallest=smallest_change(noise, count),
        pairs=count,
    )


@contextmanager
def opened(artifact: Path, engine: str = "auto") -> Iterator[Call]:
    """Give a call that makes one inference of an artifact on noise, one thread.

    Raises:
        EdgeError: the file is refused.
    """
    card = read_card(artifact)
    guard(artifact, card, engine=engine)
    running = open_engine(artifact, card, engine=engine, threads=1)
    tensor = noise_input(card)
    try:
        running.run(tensor)
        yield running.repeat(tensor)
    finally:
        running.close()


def _repeated(call: Call, times: int) -> Call:
    def repeated() -> None:
        for _ in range(times):
            call()

    return repeated
