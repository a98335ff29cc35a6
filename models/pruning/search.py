"""Bayesian optimisation of the six rates, by one process or by several that share a storage.

The sampler is Optuna's Gaussian process (Matern 5/2, expected improvement; trials that others are running count as
pending). Its objective is that of B-FPGM, to be maximised: -loss - 5 * penalty.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna
import psutil  # type: ignore[import-untyped]
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from ...runtime.errors import EdgeError, InputError
from ..face_nanob import NanoBWidths
from .groups import BOUNDS, Group
from .storage import open_storage
from .widths import count_parameters, widths_for, widths_key

if TYPE_CHECKING:
    from optuna.study import Study

__all__ = ["FAR", "Found", "Goal", "Loss", "penalty", "search", "start_points"]

WEIGHT = 5.0  # of the penalty; B-FPGM
FAR = 0.04  # share of the dense parameters outside the goal from which on a candidate is not trained; B-FPGM
RANDOM_STARTS = 5
TRIES = 200
POLL_S = 0.5
UNNAMED_S = 60.0  # a worker names itself within this time of taking a trial
LOST_S, LOST_TIMES = 3600.0, 10.0  # a trial on another machine is lost after an hour and ten times the longest so far

Loss = Callable[[NanoBWidths], float]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """How many parameters the pruned network may have, both ends included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise InputError("range of parameters is not one", expected="LOW:HIGH", got=f"{self.low}:{self.high}")

    @property
    def middle(self) -> int:
        """The number in the middle."""
        return (self.low + self.high) // 2


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the search gave.

    Attributes:
        rates: the best rates.
        widths: their widths.
        loss: validation loss of the best.
        parameters: of the best.
        trials: one row for each evaluation, by number: rates, loss, parameters, penalty, trained, cached, seconds.
    """

    rates: dict[Group, float]
    widths: NanoBWidths
    loss: float
    parameters: int
    trials: tuple[dict[str, object], ...]


def penalty(parameters: int, dense: int, goal: Goal) -> float:
    """Return how far outside the goal a number of parameters is, as a share of the dense ones; 0 inside.

    B-FPGM's own is the same up to `FAR`, where it jumps to 100: next to that a Gaussian process sees nothing else (on a
    known function it then found no better point than the random ones it began with).

    Args:
        parameters: of the candidate, really remaining.
        dense: before pruning.
        goal: wanted.
    """
    return max(goal.low - parameters, parameters - goal.high, 0) / dense


def start_points(dense: NanoBWidths, goal: Goal, seed: int) -> list[dict[Group, float]]:
    """Return the rates that are tried before the sampler: a probe, then random ones.

    The probe lies as far along each group's bounds as the goal's middle needs; the random ones have a number of
    parameters within the goal, where `TRIES` draws find such.
    """

    def along(share: float) -> dict[Group, float]:
        return {group: low + share * (high - low) for group, (low, high) in BOUNDS.items()}

    def distance(rates: dict[Group, float]) -> int:
        return abs(count_parameters(widths_for(rates, dense)) - goal.middle)

    points = [min((along(step / 50) for step in range(51)), key=distance)]
    chance = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(RANDOM_STARTS):
        draws = ({group: chance.uniform(*bounds) for group, bounds in BOUNDS.items()} for _ in range(TRIES))
        inside = (rates for rates in draws if goal.low <= count_parameters(widths_for(rates, dense)) <= goal.high)
        points.append(next(inside, points[0]))
    return points


def search(
    loss: Loss,
    dense: NanoBWidths,
    goal: Goal,
    *,
    budget: int,
    storage: str,
    study: str,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Found:
    """Return the best rates after `budget` evaluations, those made before or by others included.

    A search that was killed goes on with what is left; the point it was at is tried again. Rates that round to the same
    widths are evaluated once. A candidate that is `FAR` outside the goal is not trained: it counts with the mean loss
    of those that were, and its penalty; the sampler is told the penalty as a constraint, too.

    Args:
        loss: gives the validation loss of a network of some widths after a short training.
        dense: widths before pruning.
        goal: wanted number of parameters.
        budget: evaluations in all, at least 1.
        storage: path of a journal file, or the URL of a data base; see `open_storage`.
        study: name under which the evaluations are kept; everything that changes them belongs into it.
        seed: of the start points and the sampler.
        say: takes one line an evaluation.

    Raises:
        InputError: the storage cannot be used.
        EdgeError: no candidate came into the goal.
    """
    with _quiet():
        turns = _Turns(_open(storage, study), start_points(dense, goal, seed), budget, seed)
        while True:
            trial = turns.take()
            if trial is None:
                break
            _evaluate(turns.study, trial, loss, dense, goal, budget, say)
        return _best(turns.study, dense, goal)


def _open(storage: str, name: str) -> Study:
    with open_storage(storage) as opened:
        return optuna.create_study(storage=opened, study_name=name, direction="maximize", load_if_exists=True)


class _Turns:
    """Gives this process one trial after the other: the start points, points whose trials failed, then the sampler's.

    Which point is next depends on what is complete or running alone, so that a search that was killed keeps its order.
    """

    def __init__(self, study: Study, starts: list[dict[Group, float]], budget: int, seed: int) -> None:
        self.study, self.budget, self.seed = study, budget, seed
        self.starts: list[dict[str, float]] = [{str(group): rate for group, rate in rates.items()} for rates in starts]
        self.unnamed: dict[int, float] = {}  # when a trial without a worker was first seen, by number

    def take(self) -> optuna.Trial | None:
        """Return the next trial, or None when the budget is spent and nobody works on it any more."""
        while True:
            if not self._wait():
                return None
            with contextlib.suppress(UpdateFinishedTrialError):  # it was given up as lost before it had a name
                trial = self._ask()
                if trial is not None:
                    return trial

    def _wait(self) -> bool:
        """Return True when a trial can be taken, False when all are complete."""
        while True:
            self._bury_the_dead()
            active = _trials(self.study, TrialState.COMPLETE, TrialState.RUNNING)
            running = [trial for trial in active if trial.state == TrialState.RUNNING]
            if len(active) < self.budget and all("worker" in trial.user_attrs for trial in running):
                return True
            if not running:
                return False
            time.sleep(POLL_S)

    def _ask(self) -> optuna.Trial | None:
        """Return a trial of this process; None where another one was faster by a moment."""
        study = self.study
        point = self._next_point()
        if point is not None:
            study.enqueue_trial(point, user_attrs={"point": point})
        # A sampler for each trial, so that a search which was stopped proposes what it would have proposed.
        turn = self.seed * 100_003 + len(_trials(study, TrialState.COMPLETE, TrialState.RUNNING))
        study.sampler = optuna.samplers.GPSampler(
            seed=turn % 2**32, n_startup_trials=2, warn_independent_sampling=False
        )
        space: dict[str, BaseDistribution] = {
            str(group): FloatDistribution(*bounds) for group, bounds in BOUNDS.items()
        }
        trial = study.ask(space)
        trial.set_user_attr("began", time.time())
        trial.set_user_attr("worker", _worker())
        active = _trials(study, TrialState.COMPLETE, TrialState.RUNNING)
        earlier = [_point(other) for other in active if other.number < trial.number]
        if len(earlier) >= self.budget or trial.user_attrs.get("point") in earlier:
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
            return None
        return trial

    def _next_point(self) -> dict[str, float] | None:
        """Return the first point that is known and that nobody has; None leaves it to the sampler."""
        taken = [_point(trial) for trial in _trials(self.study, *TrialState) if trial.state != TrialState.FAIL]
        failed = (_point(trial) for trial in _trials(self.study, TrialState.FAIL))
        known = [*self.starts, *(point for point in failed if len(point) == len(BOUNDS))]
        return next((point for point in known if point not in taken), None)

    def _bury_the_dead(self) -> None:
        """Fail the trials whose workers are gone."""
        lasted = [trial.user_attrs["seconds"] for trial in _trials(self.study, TrialState.COMPLETE)]
        patience = max(LOST_S, LOST_TIMES * max(lasted, default=0.0))
        for trial in _trials(self.study, TrialState.RUNNING):
            if self._is_dead(trial, patience):
                with contextlib.suppress(UpdateFinishedTrialError):  # another was faster
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _is_dead(self, trial: FrozenTrial, patience: float) -> bool:
        if "worker" not in trial.user_attrs:
            first_seen = self.unnamed.setdefault(trial.number, time.monotonic())
            return time.monotonic() - first_seen > UNNAMED_S
        host, number, born = trial.user_attrs["worker"].rsplit(":", 2)
        if host != socket.gethostname():
            return bool(time.time() - trial.user_attrs["began"] > patience)  # seconds since 1970 have no time zone
        try:
            return bool(born != f"{psutil.Process(int(number)).create_time():.2f}")
        except psutil.NoSuchProcess:
            return True


def _point(trial: FrozenTrial) -> dict[str, float]:
    """Return the rates of a trial, known from the beginning where they were given."""
    point: dict[str, float] = trial.user_attrs.get("point", trial.params)
    return point


def _evaluate(
    study: Study,
    trial: optuna.Trial,
    loss: Loss,
    dense: NanoBWidths,
    goal: Goal,
    budget: int,
    say: Callable[[str], None],
) -> None:
    began = time.monotonic()
    widths = widths_for({group: trial.params[group] for group in Group}, dense)
    parameters, whole = count_parameters(widths), count_parameters(dense)
    excess = penalty(parameters, whole, goal)
    key = widths_key(widths)
    done = _trials(study, TrialState.COMPLETE)
    known = [other for other in done if other.user_attrs["widths"] == key]
    trained = [other.user_attrs["loss"] for other in done if other.user_attrs["trained"]]
    train = excess < FAR or not (known or trained)  # the first is, so that there is a loss to count with
    try:
        if known:
            found = known[0].user_attrs["loss"]
        elif train:
            found = loss(widths)
        else:
            found = statistics.fmean(trained)
        if not math.isfinite(found):
            raise EdgeError("the validation loss of a candidate is not a number", got=found)
    except BaseException:
        with contextlib.suppress(Exception):  # the reason counts, not that it could not be noted
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        raise
    facts = {"widths": key, "parameters": parameters, "loss": found, "penalty": excess, "trained": train}
    told = None
    with contextlib.suppress(UpdateFinishedTrialError):
        for name, value in {**facts, "cached": bool(known), "seconds": time.monotonic() - began}.items():
            trial.set_user_attr(name, value)
        trial.set_constraint("parameters", excess)
        told = study.tell(trial, -found - WEIGHT * excess, skip_if_finished=True)
    if told is None or told.state != TrialState.COMPLETE:
        return say(f"search: trial {trial.number} was given up as lost by another worker; going on without it")
    count = len(_trials(study, TrialState.COMPLETE))
    how = "seen before" if known else "trained" if train else "far from the goal, not trained"
    say(f"search {count}/{budget}: {parameters:,} parameters, loss {found:.4f} ({how})")


def _best(study: Study, dense: NanoBWidths, goal: Goal) -> Found:
    done = sorted(_trials(study, TrialState.COMPLETE), key=lambda trial: trial.number)
    fit = [trial for trial in done if goal.low <= trial.user_attrs["parameters"] <= goal.high]
    if not fit:
        raise EdgeError(
            f"none of {len(done)} candidates has a number of parameters inside the goal",
            expected=f"{goal.low:,} to {goal.high:,}",
            hint="widen `--parameters`, or raise `--budget`",
        )
    best = max(fit, key=lambda trial: (trial.value, -trial.number))
    rates = {group: float(best.params[group]) for group in Group}
    names = ("loss", "parameters", "penalty", "trained", "cached", "seconds", "worker")
    return Found(
        rates=rates,
        widths=widths_for(rates, dense),
        loss=best.user_attrs["loss"],
        parameters=best.user_attrs["parameters"],
        trials=tuple(
            {"number": trial.number, "rates": dict(trial.params), **{name: trial.user_attrs[name] for name in names}}
            for trial in done
        ),
    )


def _trials(study: Study, *states: TrialState) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=states)


def _worker() -> str:
    """Return a name of this process that no later one has."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
