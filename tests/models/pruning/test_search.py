"""The search: what it finds, what it costs, and what becomes of it when workers come, go and die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
optuna = pytest.importorskip("optuna")

from edge.models.face_nanob import NanoB, NanoBWidths, nanob_widths  # noqa: E402
from edge.models.pruning.groups import BOUNDS, Group  # noqa: E402
from edge.models.pruning.search import FAR, Found, Goal, penalty, search, start_points  # noqa: E402
from edge.models.pruning.storage import open_storage, without_password  # noqa: E402
from edge.models.pruning.widths import count_parameters, widths_for  # noqa: E402
from edge.runtime.errors import DeviceError, EdgeError, InputError, MissingExtraError  # noqa: E402

pytestmark = pytest.mark.torch

GOAL = Goal(low=142_000, high=165_000)
DENSE = nanob_widths(NanoB().state_dict())
BEST = widths_for(dict(zip(Group, (0.1, 0.45, 0.3, 0.45, 0.25, 0.1), strict=True)), DENSE)  # 146,291 parameters

WORKER = """
import os, pathlib, sys, time
from edge.models.face_nanob import NanoB, nanob_widths
from edge.models.pruning.search import Goal, search

calls = 0
def loss(widths):
    global calls
    calls += 1
    if calls == int(sys.argv[3]):
        print("stuck", flush=True)
        time.sleep(600)
    here = pathlib.Path(sys.argv[1]).parent
    (here / f"worker-{os.getpid()}").touch()
    while len(list(here.glob("worker-*"))) < int(sys.argv[4]):  # nobody finishes a trial before all have one
        time.sleep(0.05)
    return 1.0 + widths.pyramid / 100

found = search(loss, nanob_widths(NanoB().state_dict()), Goal(low=142_000, high=165_000), budget=int(sys.argv[2]),
               storage=sys.argv[1], study="shared")
print(f"{calls} calls, {len(found.trials)} trials", flush=True)
"""


def _shares(widths: NanoBWidths) -> list[float]:
    kept = [widths.backbone[4] / 64, widths.backbone[8] / 128, widths.backbone[13] / 256, widths.pyramid / 72]
    return [*kept, widths.hidden[2] / 32, widths.inner[0] / 18, widths.outer[0] / 36]


def _distance(widths: NanoBWidths) -> float:
    """An analytic loss, least at `BEST`."""
    return 3 + 8 * sum((a - b) ** 2 for a, b in zip(_shares(widths), _shares(BEST), strict=True))


def _search(path: Path, loss: Callable[[NanoBWidths], float] = _distance, **changed: Any) -> Found:
    options: dict[str, Any] = {"budget": 8, "storage": str(path), "study": "test", "seed": 3, **changed}
    return search(loss, DENSE, GOAL, **options)


def test_the_search_comes_closer_to_a_known_optimum_than_its_random_start(tmp_path: Path) -> None:
    found = _search(tmp_path / "journal", budget=25)

    start = min(float(str(trial["loss"])) for trial in found.trials[:6])
    assert found.loss < 3 + 0.6 * (start - 3)
    assert GOAL.low <= found.parameters <= GOAL.high
    assert found.parameters == count_parameters(found.widths)
    assert all(low <= found.rates[group] <= high for group, (low, high) in BOUNDS.items())


def test_the_start_is_a_probe_at_the_middle_and_random_points_inside_the_goal() -> None:
    points = start_points(DENSE, GOAL, seed=0)
    counts = [count_parameters(widths_for(rates, DENSE)) for rates in points]

    shares = {round((points[0][group] - low) / (high - low), 6) for group, (low, high) in BOUNDS.items()}
    assert len(shares) == 1
    assert abs(counts[0] - GOAL.middle) < 6_000
    assert all(GOAL.low <= count <= GOAL.high for count in counts)
    assert points == start_points(DENSE, GOAL, seed=0)
    assert points[1:] != start_points(DENSE, GOAL, seed=1)[1:]


def test_the_penalty_is_zero_inside_and_rises_on_both_sides() -> None:
    values = [penalty(count, 369_367, GOAL) for count in (100_000, 130_000, 142_000, 165_000, 170_000, 300_000)]

    assert values[2:4] == [0.0, 0.0]
    assert values[0] > values[1] > 0 < values[4] < values[5]
    assert values[4] == pytest.approx(5_000 / 369_367)


def test_one_plan_is_evaluated_once_and_what_is_far_off_never(tmp_path: Path) -> None:
    seen: list[NanoBWidths] = []

    def loss(widths: NanoBWidths) -> float:
        seen.append(widths)
        return 1.0

    storage = str(tmp_path / "journal")
    with open_storage(storage) as opened:
        study = optuna.create_study(storage=opened, study_name="test", direction="maximize")
    probe = {str(group): rate for group, rate in start_points(DENSE, GOAL, 0)[0].items()}
    nothing = {str(group): low for group, (low, _) in BOUNDS.items()}
    for point in (probe, {**probe, "cbam": probe["cbam"] + 1e-6}, nothing):
        study.enqueue_trial(point)

    found = _search(tmp_path / "journal", loss, budget=3)

    assert len(seen) == 1
    assert [trial["cached"] for trial in found.trials] == [False, True, False]
    assert [trial["trained"] for trial in found.trials] == [True, True, False]
    assert float(str(found.trials[2]["penalty"])) > FAR


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Return what eight evaluations give without an interruption."""
    return _search(tmp_path_factory.mktemp("whole") / "journal")


@pytest.mark.parametrize("stop", [1, 3, 5, 7])
def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(tmp_path: Path, whole: Found, stop: int) -> None:
    calls = 0

    def interrupted(widths: NanoBWidths) -> float:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyboardInterrupt
        return _distance(widths)

    with pytest.raises(KeyboardInterrupt):
        _search(tmp_path / "halved", interrupted)
    again = _search(tmp_path / "halved")

    assert [trial["rates"] for trial in again.trials] == [trial["rates"] for trial in whole.trials]
    assert (again.rates, again.loss) == (whole.rates, whole.loss)


def test_a_finished_search_is_read_and_a_larger_budget_adds_to_it(tmp_path: Path) -> None:
    first = _search(tmp_path / "journal", budget=3)

    def never(widths: NanoBWidths) -> float:
        raise AssertionError("evaluated again")

    assert _search(tmp_path / "journal", never, budget=3) == first
    assert _search(tmp_path / "journal", budget=4).trials[:3] == first.trials


def _start(storage: Path, budget: int, *, stuck: int, workers: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(storage), str(budget), str(stuck), str(workers)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_two_workers_share_a_budget_and_a_killed_one_loses_nothing(tmp_path: Path) -> None:
    storage = tmp_path / "journal"
    doomed = _start(storage, 10, stuck=2, workers=1)
    assert doomed.stdout is not None
    assert doomed.stdout.readline() == "stuck\n"
    doomed.send_signal(signal.SIGKILL)
    doomed.wait()
    doomed.stdout.close()

    workers = [_start(storage, 10, stuck=0, workers=3) for _ in range(2)]
    told = [worker.communicate(timeout=120)[0].strip() for worker in workers]

    assert all(line.endswith("10 trials") for line in told), told
    with open_storage(str(storage)) as opened:
        study = optuna.load_study(study_name="shared", storage=opened)
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    failed = [trial.params for trial in study.trials if trial.state.name == "FAIL"]
    assert len(done) == 10
    assert len({trial.user_attrs["worker"] for trial in done}) == 3
    assert any(trial.params == failed[0] for trial in done)  # the point of the killed worker was tried after all
    assert all(trial.state.is_finished() for trial in study.trials)


@pytest.mark.parametrize("budget", [4, 8])  # a start point is lost, or one that was proposed
def test_a_worker_whose_trial_was_given_up_as_lost_says_so_and_goes_on(
    tmp_path: Path, whole: Found, budget: int
) -> None:
    calls = 0
    lines: list[str] = []

    def slow(widths: NanoBWidths) -> float:
        nonlocal calls
        calls += 1
        if calls == budget:
            with open_storage(str(tmp_path / "journal")) as opened:
                study = optuna.load_study(study_name="test", storage=opened)
            study.tell(study.trials[-1].number, state=optuna.trial.TrialState.FAIL)  # as another worker would
        return _distance(widths)

    found = _search(tmp_path / "journal", slow, budget=budget, say=lines.append)

    assert [line for line in lines if "given up as lost" in line] == [lines[budget - 1]]
    assert found.trials == _without_times(found.trials, whole.trials[:budget])


def _without_times(like: Any, trials: Any) -> Any:
    """Return trials with the numbers, durations and workers of others."""
    own = ("number", "seconds", "worker")
    return tuple({**trial, **{name: other[name] for name in own}} for trial, other in zip(trials, like, strict=True))


def test_a_worker_elsewhere_is_lost_after_hours_by_the_worlds_clock(tmp_path: Path) -> None:
    with open_storage(str(tmp_path / "journal")) as opened:
        study = optuna.create_study(storage=opened, study_name="test", direction="maximize")
    for hours in (0.5, 1.5):
        trial = study.ask()
        trial.set_user_attr("began", time.time() - 3600 * hours)
        trial.set_user_attr("worker", "elsewhere:1:0.00")

    with pytest.raises(KeyboardInterrupt):  # it waits for the other one
        _search(tmp_path / "journal", budget=2, say=_interrupt)

    assert [trial.state.name for trial in study.trials] == ["RUNNING", "FAIL", "COMPLETE"]


def _interrupt(line: str) -> None:
    raise KeyboardInterrupt


def test_a_search_without_any_candidate_in_the_goal_says_so(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="none of 1 candidates") as caught:
        search(_distance, DENSE, Goal(low=10, high=20), budget=1, storage=str(tmp_path / "j"), study="test")
    assert "--parameters" in str(caught.value.hint)


def test_a_loss_that_is_not_a_number_ends_the_search(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="not a number"):
        _search(tmp_path / "journal", lambda widths: float("nan"))


def test_storages_that_cannot_be_used_are_refused_without_their_password(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("no journal\n")
    with pytest.raises(InputError, match="not a journal"):
        _search(tmp_path / "broken")
    with pytest.raises(InputError, match="not a URL"):
        _search(tmp_path, storage="what://")
    with pytest.raises((MissingExtraError, DeviceError)) as caught:
        _search(tmp_path, storage="postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(caught.value)
    assert without_password("postgresql://me:s:e@c@host/db") == "postgresql://me:***@host/db"


def test_postgresql_keeps_a_search(tmp_path: Path) -> None:
    url = os.environ.get("EDGE_TEST_POSTGRESQL")
    if not url:
        pytest.skip("EDGE_TEST_POSTGRESQL names no data base (it needs a driver, which is none of our pins)")

    found = _search(tmp_path, storage=url, budget=7, study=f"test-{os.getpid()}")

    assert len(found.trials) == 7
