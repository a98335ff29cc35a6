"""Budgets: what a file may cost, and which files a budget is for.

A budget names models and variants by pattern and sets limits. Several may match a file: for each limit the last one
that sets it holds, as in a `.gitignore`, so that a rule for all comes first and exceptions after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ..runtime.errors import InputError
from .device import Evidence
from .paired import LEAST_CHANGE

__all__ = [
    "CARD_LIMITS",
    "COUNTS",
    "LATENCIES",
    "LEAST_SLOWER",
    "LIMITS",
    "OF_LATENCY",
    "SAYS",
    "TIMED",
    "Budget",
    "Limit",
    "limits_of",
]

CARD_LIMITS = "card"  # as `parity`: the limits that the file's own card sets for its precision
LATENCIES = {"p50_ms": 0.50, "p90_ms": 0.90, "p99_ms": 0.99}  # limit -> percentile
COUNTS = ("size_bytes", "operators", "parameters", "macs")
LIMITS = (*COUNTS, "parity", "same_output", "metric_drop", *LATENCIES, "slower_percent")
TIMED = (*LATENCIES, "slower_percent")
OF_LATENCY = ("device", "threads", "evidence")
LEAST_SLOWER = 100 * LEAST_CHANGE  # what a comparison in pairs can tell
# What each key means, for the JSON Schema and the documentation.
SAYS = {
    "model": "Models that the budget is for: a pattern with * and ?.",
    "variant": "Variants, as precision.format: `int8.tflite`, `int8` (every format), `onnx` (every precision), `*`.",
    "size_bytes": "Most bytes of the file.",
    "operators": "Most operators in the file.",
    "parameters": "Most weights and biases in the file.",
    "macs": "Most multiply-adds of one inference.",
    "parity": 'Least SQNR of the worst output against PyTorch, dB; "card" takes the limits of the file\'s card.',
    "same_output": "true: on a fixed seeded input the file answers, bit for bit, what the baseline's file answers.",
    "metric_drop": "Most points (hundredths) of the task metric lost against the FP32 file, and against the baseline.",
    "p50_ms": "Most milliseconds of an inference, median.",
    "p90_ms": "Most milliseconds of an inference, 90th percentile.",
    "p99_ms": "Most milliseconds of an inference, 99th percentile.",
    "slower_percent": "Most per cent that the file may be slower than the baseline's, run in pairs on this machine.",
    "device": "Where latency is meant: host, browser, android, rpi4, a name of [devices]. Default: [defaults] device.",
    "threads": "Threads of the engine. Default: [defaults] threads.",
    "evidence": "Least grade of evidence that a latency needs: measured, simulated or predicted.",
}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits for the files that a pattern matches; None is no limit. `SAYS` has what each means.

    Attributes:
        line: of the budget in its file, from 1; 0 where that is not known.
        lines: of its keys.
    """

    model: str = "*"
    variant: str = "*"
    size_bytes: int | None = None
    operators: int | None = None
    parameters: int | None = None
    macs: int | None = None
    parity: float | str | None = None
    same_output: bool | None = None
    metric_drop: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    slower_percent: float | None = None
    device: str = "host"
    threads: int = 1
    evidence: str = "measured"
    line: int = 0
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name in ("model", "variant"):
            text = getattr(self, name)
            if not 0 < len(text) <= 200 or not text.isprintable():
                raise InputError(f"`{name}` is no pattern", expected='such as "pose-*"', got=repr(text[:40]))
        if not self.limits:
            raise InputError("a budget without a limit", expected=f"one of {', '.join(LIMITS)}")
        self._check_ranges()
        if self.evidence not in list(Evidence):
            raise InputError("bad `evidence`", expected=" | ".join(Evidence), got=self.evidence[:40])
        if isinstance(self.parity, str) and self.parity != CARD_LIMITS:
            raise InputError("bad `parity`", expected='decibels, or "card"', got=repr(self.parity[:40]))
        if self.evidence == Evidence.PREDICTED and (self.p90_ms or self.p99_ms):
            raise InputError(
                "bad `evidence`", expected="`p50_ms` beside it", got="another limit", hint="predictions are of medians"
            )
        if self.slower_percent is not None and self.device != "host":
            raise InputError(
                "`slower_percent` is told on this machine only",
                expected='device = "host"',
                got=self.device,
                hint="give a limit in milliseconds for other devices",
            )

    @property
    def limits(self) -> dict[str, float | str | bool]:
        """The limits that are set, by name."""
        return {name: value for name in LIMITS if (value := getattr(self, name)) is not None}

    def matches(self, model: str, variant: str) -> bool:
        """Return whether a file is meant.

        Args:
            model: as its card says.
            variant: precision and format, "int8.tflite".
        """
        if not fnmatchcase(model, self.model):
            return False
        return any(fnmatchcase(text, self.variant) for text in (variant, *variant.split(".")))

    def _check_ranges(self) -> None:
        ranges: dict[str, tuple[float, float]] = {
            **dict.fromkeys(COUNTS, (0, 1 << 50)),
            **dict.fromkeys(LATENCIES, (0, 1e7)),
            "parity": (-200, 200),
            "metric_drop": (0, 100),
            "slower_percent": (LEAST_SLOWER, 1000),
            "threads": (1, 256),
        }
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if isinstance(value, int | float) and not least <= value <= most:  # which NaN is not, either
                hint = "`edge bench --self-test` says what can be told" if name == "slower_percent" else None
                raise InputError(f"`{name}` is out of range", expected=f"{least:g} to {most:g}", got=value, hint=hint)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One limit on one file.

    Attributes:
        name: of `LIMITS`.
        value: of it.
        budget: that sets it.
    """

    name: str
    value: float | str | bool
    budget: Budget

    @property
    def line(self) -> int:
        """Where it stands in its file; 0 where that is not known."""
        return self.budget.lines.get(self.name, self.budget.line)

    @property
    def timed(self) -> bool:
        """Whether it is on latency, which has a device, threads and a grade of evidence."""
        return self.name in TIMED


def limits_of(budgets: Iterable[Budget], model: str, variant: str) -> list[Limit]:
    """Return the limits on a file: for each, and for each device and number of threads, the last one that is set."""
    found: dict[tuple[object, ...], Limit] = {}
    for budget in budgets:
        if not budget.matches(model, variant):
            continue
        for name, value in budget.limits.items():
            limit = Limit(name=name, value=value, budget=budget)
            found[(name, budget.device, budget.threads) if limit.timed else (name,)] = limit
    order = {name: place for place, name in enumerate(LIMITS)}
    return sorted(found.values(), key=lambda limit: order[limit.name])
