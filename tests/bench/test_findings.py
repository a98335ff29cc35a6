"""Tables for people and JSON for programs, from the same figures."""

from __future__ import annotations

import json

import pytest

from edge.bench.findings import Cell, Section, Table, Verdict, cell_text, render

PASS = Verdict(what="decode", value=0.25, unit="ms", sense="<=", limit=0.3, goal=0.15, reference_ms=50.0, ratio=200.0)
OVER = Verdict(what="OKS", value=0.9, unit="", sense=">=", limit=0.98, busy=True, note="of 5")
TABLE = Table(title="times", columns=("name", "ms", "same"), rows=(("long name", 1.5, True), ("b", None, False)))


def test_a_limit_is_held_up_to_itself_on_either_side() -> None:
    assert PASS.held
    assert not OVER.held
    assert Verdict(what="", value=3.0, unit="", sense="<=", limit=3.0).held
    assert Verdict(what="", value=3.0, unit="", sense=">=", limit=3.0).held


@pytest.mark.parametrize("sense", ["<=", ">="])
def test_what_is_not_a_number_holds_no_limit(sense: str) -> None:
    verdict = Verdict(what="", value=float("nan"), unit="", sense=sense, limit=0.0)  # type: ignore[arg-type]  # a word

    assert not verdict.held
    assert verdict.to_dict()["value"] is None


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, "-"), (True, "yes"), (False, "no"), (3, "3"), (0.12345, "0.123"), (1.2345, "1.23"), (12.345, "12.3"),
     (123.45, "123"), (float("inf"), "-"), ("word", "word")],
)  # fmt: skip
def test_a_cell_shows_the_digits_that_count(cell: Cell, text: str) -> None:
    assert cell_text(cell) == text


def test_a_table_pads_its_columns_and_puts_numbers_right() -> None:
    assert render(TABLE.columns, TABLE.rows).splitlines() == [
        "name         ms  same",
        "---------  ----  ----",
        "long name  1.50   yes",
        "b             -    no",
    ]


def test_a_table_without_rows_is_its_head() -> None:
    assert render(("a", "bc"), []).splitlines() == ["a  bc", "-  --"]


def test_a_section_says_what_was_over_what_was_busy_and_what_was_skipped() -> None:
    text = Section(name="pose", tables=(TABLE,), verdicts=(PASS, OVER), skipped=("the reference: not here",)).text()

    assert "pass" in text
    assert "<= 0.3 ms" in text
    assert "200 x" in text.replace("200.0", "200")
    assert "OVER" in text
    assert "busy: processor time, of 5" in text
    assert "not measured: the reference: not here" in text


def test_json_has_rows_by_column_and_every_verdict() -> None:
    section = Section(name="pose", tables=(TABLE,), verdicts=(PASS, OVER))

    plain = json.loads(json.dumps(section.to_dict(), allow_nan=False))

    assert plain["tables"][0]["rows"][0] == {"name": "long name", "ms": 1.5, "same": True}
    assert [verdict["held"] for verdict in plain["verdicts"]] == [True, False]
    assert plain["verdicts"][0]["goal"] == 0.15
