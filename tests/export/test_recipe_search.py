"""The recipe search: its rule on tables made by hand, and what it does when recipes fail."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge.export.recipe_search import SearchResult, interleaved_latency, interleaved_runs, search
from edge.runtime.card import ParityLimit
from edge.runtime.errors import ConversionError
from edge.runtime.parity import OutputParity
from edge.runtime.quiet import disturbed

LIMIT = ParityLimit(min_sqnr_db=20.0)


@dataclass(frozen=True)
class Made:
    """A recipe whose figures are written down."""

    name: str
    sqnr_db: float
    latency_ms: float
    size: int = 100
    fails: bool = False


def _parity(sqnr_db: float) -> OutputParity:
    return OutputParity(
        max_abs_error=0.0, max_error=0.0, cosine=1.0, sqnr_db=sqnr_db, reference_range=1.0, nonfinite=0, samples=1
    )


def _search(folder: Path, *recipes: Made, limit: ParityLimit = LIMIT) -> SearchResult[Made]:
    by_name = {recipe.name: recipe for recipe in recipes}

    def build(recipe: Made) -> Path:
        if recipe.fails:
            raise ConversionError("gave up")
        path = folder / recipe.name
        path.write_bytes(b"x" * recipe.size)
        return path

    def evaluate(path: Path) -> Mapping[str, OutputParity]:
        # The worst output counts.
        return {"easy": _parity(100.0), "hard": _parity(by_name[path.name].sqnr_db)}

    def measure(paths: Sequence[Path]) -> Sequence[float]:
        return [by_name[path.name].latency_ms for path in paths]

    return search(recipes, build, evaluate, limit, measure)


def test_the_fastest_of_the_accurate_is_chosen_and_a_faster_inaccurate_one_is_not(tmp_path: Path) -> None:
    result = _search(tmp_path, Made("slow", 35.0, 9.0), Made("good", 34.0, 5.0), Made("rough", 25.0, 1.0))

    assert result.chosen.name == "good"
    assert result.path == tmp_path / "good"
    assert [(row.name, row.verdict) for row in result.table] == [("slow", "fit"), ("good", "chosen"), ("rough", "fit")]


def test_accuracy_above_forty_decibel_buys_nothing(tmp_path: Path) -> None:
    assert _search(tmp_path, Made("sharp", 60.0, 9.0), Made("enough", 41.0, 5.0)).chosen.name == "enough"


def test_a_recipe_that_just_holds_the_limit_yields_to_one_with_margin(tmp_path: Path) -> None:
    result = _search(tmp_path, Made("tight", 21.0, 1.0), Made("fit", 22.0, 9.0))
    assert (result.chosen.name, result.table[0].verdict) == ("fit", "tight")


def test_where_all_are_tight_the_most_accurate_is_taken(tmp_path: Path) -> None:
    assert _search(tmp_path, Made("a", 20.2, 1.0), Made("b", 20.9, 9.0)).chosen.name == "b"


@pytest.mark.parametrize("noise", [0.92, 1.0, 1.08])
def test_timing_noise_does_not_change_the_choice(tmp_path: Path, noise: float) -> None:
    result = _search(tmp_path, Made("a", 33.0, 5.0 * noise), Made("b", 35.0, 5.0))
    assert result.chosen.name == "b"


def test_among_equals_the_smaller_file_wins_and_then_the_first(tmp_path: Path) -> None:
    assert _search(tmp_path, Made("big", 50.0, 5.0, 300), Made("small", 50.0, 5.1, 100)).chosen.name == "small"
    assert _search(tmp_path, Made("one", 50.0, 5.0, 100), Made("two", 50.0, 4.9, 99)).chosen.name == "one"


def test_a_recipe_that_fails_is_a_row_with_its_reason(tmp_path: Path) -> None:
    result = _search(tmp_path, Made("broken", 0.0, 0.0, fails=True), Made("good", 30.0, 5.0))

    assert result.chosen.name == "good"
    assert (result.table[0].verdict, result.table[0].reason) == ("failed", "gave up")
    assert result.table[0].to_dict()["latency_ms"] is None


def test_a_refused_recipe_says_which_output_and_figure(tmp_path: Path) -> None:
    result = _search(tmp_path, Made("bad", 12.0, 1.0), Made("good", 30.0, 5.0))
    assert result.table[0].reason == "output `hard`: SQNR 12.0 dB, limit 20 dB"


def test_when_none_holds_the_most_accurate_is_taken_and_its_row_says_what_it_breaks(tmp_path: Path) -> None:
    result = _search(tmp_path, Made("a", 12.0, 1.0), Made("b", 14.0, 9.0), Made("c", 0.0, 0.0, fails=True))

    assert [row.verdict for row in result.table] == ["short", "chosen", "failed"]
    assert result.table[1].reason == "output `hard`: SQNR 14.0 dB, limit 20 dB"


def test_when_nothing_can_be_built_the_error_has_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="no recipe gave a file: a: gave up"):
        _search(tmp_path, Made("a", 0.0, 0.0, fails=True))


def test_a_bug_in_a_builder_is_not_swallowed(tmp_path: Path) -> None:
    def build(recipe: Made) -> Path:
        raise KeyError(recipe.name)

    with pytest.raises(KeyError):
        search([Made("a", 1.0, 1.0)], build, lambda path: {}, LIMIT, lambda paths: [])


def test_runners_take_turns_and_each_is_warmed_up_once() -> None:
    calls: list[str] = []
    result = interleaved_latency([lambda: calls.append("a"), lambda: calls.append("b")], rounds=4)

    assert len(result) == 2
    assert calls[:2] == ["a", "b"]
    rounds = [calls[index : index + 2] for index in range(0, len(calls), 2)]
    assert all(sorted(pair) == ["a", "b"] for pair in rounds)
    assert len(rounds) == 5


def test_three_rounds_are_done_even_without_time() -> None:
    calls: list[int] = []
    interleaved_latency([lambda: calls.append(1)], rounds=50, budget_s=0.0)
    assert len(calls) == 4


def test_runs_have_both_clocks_so_that_a_wait_shows() -> None:
    (runs,) = interleaved_runs([lambda: time.sleep(0.01)], rounds=4)

    assert len(runs.wall_ms) == len(runs.cpu_ms) == 4
    assert min(runs.wall_ms) >= 10
    assert disturbed(runs.wall_ms, runs.cpu_ms) is True
