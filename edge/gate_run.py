"""One run of the gate: stage after stage, the exact and cheap before the noisy and dear."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from .bench.baseline import Baseline
from .bench.budgets import LATENCIES, Budget
from .bench.config import Config
from .bench.gate import STAGES, Check, Gate, Subject, Verdict, checked
from .bench.gate_accuracy import Loss, accuracy_check, read_report
from .bench.gate_file import file_checks
from .bench.gate_latency import latency_checks, slower_check
from .bench.plan import MOST_S
from .bench.report_facts import Timing
from .bench.report_read import read_rows, read_timings
from .gate_subjects import find_subjects, inspect_file
from .runtime.errors import InputError
from .runtime.progress import Progress

__all__ = ["Order", "run_gate"]

OF_BASELINE = ("same_output", "slower_percent")  # limits that need one
LEAST_TOLD_S = 0.1
ALWAYS = ("manifest", "precision")  # looked at whatever a budget asks


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a gate is to do.

    Attributes:
        stages: of `bench.gate.STAGES`.
        baseline: that files are compared with; None where none is given.
        updating: the files are to become the baseline: they are not compared with the old one.
        partial: budgets that match none of the files are passed over.
        results: file of `edge bench --json`, or folder of its `--output`; None measures here.
        report: file of `edge eval --json`; None judges here.
        data, samples: what is judged on; see `losses`.
        seconds, launches: of each measurement; see `measure`.
    """

    stages: Collection[str] = tuple(STAGES)
    baseline: Baseline | None = None
    updating: bool = False
    partial: bool = False
    results: Path | None = None
    report: Path | None = None
    data: str = "synthetic"
    samples: int | None = None
    seconds: float | None = None
    launches: int = 3

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 <= self.seconds <= MOST_S:  # which NaN is not, either
            raise InputError("`seconds` is out of range", expected=f"0 to {MOST_S:g} s", got=self.seconds)


def run_gate(targets: Sequence[Path], config: Config, order: Order, progress: Progress) -> tuple[Gate, list[Subject]]:
    """Return all checks, and the files that were gated.

    A file of which the first stage says no is not judged or measured: that would only cost time.

    Args:
        targets: artifacts, bundles, folders of bundles.
        config: with its budgets.
        order: what to do.
        progress: told what is done, and how far it is.

    Raises:
        InputError: nothing would be checked, or something is missing or malformed.
        EdgeError: a file cannot be read or run.
    """
    if not config.budgets:
        where = config.path or "edge.toml"
        raise InputError(f"`{where}` sets no budget", expected="[[budget]]", hint="docs/gates.md has one to begin with")
    # What was given is read before minutes are spent on what was not.
    rows = None if order.results is None else read_timings(order.results)
    drops = None if order.report is None else read_report(order.report)
    everything = find_subjects(targets, config.budgets)
    subjects = [_without_baseline(one) if order.updating else one for one in everything if one.limits]
    if not subjects:
        names = sorted({f"{one.artifact.model} {one.variant}" for one in everything})
        raise InputError(
            "no budget matches any of the files",
            got=", ".join(names)[:120],
            hint="`edge config show` lists the patterns",
        )
    checks = [] if order.partial else [_unmatched(budget) for budget in _unused(config.budgets, everything)]
    clock = _Clock(progress)
    if "file" in order.stages:
        for subject in subjects:
            checks += file_checks(subject, inspect_file(subject), order.baseline)
        clock.lap("file")
    fallen = {check.file for check in checks if check.verdict is Verdict.NO}
    standing = [subject for subject in subjects if subject.path.name not in fallen]
    if "accuracy" in order.stages:
        checks += _accuracy(standing, order, drops, progress)
        clock.lap("accuracy")
    if "latency" in order.stages:
        checks += _latency(standing, config, order, rows, progress)
        clock.lap("latency")
    later = [stage for stage in order.stages if stage != "file"]
    checks += [_skipped(one, later) for one in subjects if one not in standing and _has_limits(one, later)]
    if not any(check.name not in ALWAYS for check in checks):
        stages = ", ".join(order.stages)
        raise InputError("nothing was checked", expected=f"a budget with a limit for: {stages}")
    ungated = tuple(one.path.name for one in everything if not one.limits)
    return Gate(checks=tuple(checks), ungated=ungated), subjects


class _Clock:
    """Says how long each stage took that took any time."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._began = progress, monotonic()

    def lap(self, stage: str) -> None:
        began, self._began = self._began, monotonic()
        if self._began - began >= LEAST_TOLD_S:
            self._progress.line(f"stage {stage}: {self._began - began:.1f} s")


def _without_baseline(subject: Subject) -> Subject:
    return dataclasses.replace(subject, limits=[limit for limit in subject.limits if limit.name not in OF_BASELINE])


def _unused(budgets: Sequence[Budget], subjects: Sequence[Subject]) -> list[Budget]:
    return [
        budget for budget in budgets if not any(budget.matches(one.artifact.model, one.variant) for one in subjects)
    ]


def _unmatched(budget: Budget) -> Check:
    return Check(
        stage="file",
        name="budget",
        file="",
        model=budget.model,
        variant=budget.variant,
        verdict=Verdict.NO,
        why=f'model "{budget.model}", variant "{budget.variant}" match no file: was one renamed? '
        "(--partial gates some of the files only)",
        line=budget.line,
    )


def _has_limits(subject: Subject, stages: Collection[str]) -> bool:
    return any(_stage(limit.name) in stages for limit in subject.limits)


def _stage(limit: str) -> str:
    if limit == "metric_drop":
        return "accuracy"
    return "latency" if limit in (*LATENCIES, "slower_percent") else "file"


def _skipped(subject: Subject, stages: Sequence[str]) -> Check:
    names = [limit.name for limit in subject.limits if _stage(limit.name) in stages]
    why = "not judged or measured, as the file itself was refused"
    return checked(subject, stages[0], ", ".join(dict.fromkeys(names)), Verdict.SKIPPED, why=why)


def _accuracy(
    subjects: Sequence[Subject], order: Order, drops: Mapping[str, Loss] | None, progress: Progress
) -> list[Check]:
    wanted = [(subject, limit) for subject in subjects for limit in subject.limits if limit.name == "metric_drop"]
    if not wanted:
        return []
    found: Mapping[str, list[Loss | str]]
    if order.report is not None and drops is not None:
        missing = f"`{order.report.name}` does not compare this file"
        found = {one.artifact.sha256: [drops.get(one.artifact.sha256, missing)] for one, _ in wanted}
    else:
        from .gate_losses import losses

        baseline = None if order.updating else order.baseline
        files = [subject for subject, _ in wanted]
        found = losses(files, baseline, where=order.data, count=order.samples, progress=progress)
    return [
        accuracy_check(subject, limit, loss) for subject, limit in wanted for loss in found[subject.artifact.sha256]
    ]


def _latency(
    subjects: Sequence[Subject], config: Config, order: Order, given: Sequence[Timing] | None, progress: Progress
) -> list[Check]:
    timed = [(one, limit) for one in subjects for limit in one.limits if limit.name in LATENCIES]
    paired = [(one, limit) for one in subjects for limit in one.limits if limit.name == "slower_percent"]
    checks: list[Check] = []
    rows: Sequence[Timing] = given or []
    missing: Mapping[str, str] = {}
    if timed and given is None:
        from .gate_times import measure

        seconds, launches = order.seconds, order.launches
        found, missing = measure(subjects, config.path, seconds=seconds, launches=launches, progress=progress)
        rows = read_rows(found)
    for subject, limit in timed:
        checks += latency_checks(subject, limit, rows, missing.get(limit.budget.device, ""))
    for number, (subject, limit) in enumerate(paired, 1):
        progress.at(number - 1, len(paired))
        progress.step(f"{subject.path.name} in pairs with the baseline's")
        checks.append(slower_check(subject, limit, order.baseline, tests=len(paired)))
    return checks
