"""docs/reliability.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
IDS = re.compile(r"^\| ((?:SEC|CRASH|BENCH)-\d+)", re.MULTILINE)


def test_every_line_is_shown_by_tests_that_exist() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = NAMED.findall(text)
    rows = [line for line in text.splitlines() if IDS.match(line)]

    assert len(rows) > 20
    assert all(NAMED.search(row) for row in rows)
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).is_file() or f"def test_{name}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == []


def test_each_line_stands_once_and_has_a_state() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    found = IDS.findall(text)

    assert len(set(found)) == len(found)
    states = re.findall(r"^\| (?:SEC|CRASH|BENCH)-\d+[^|]*\| ([^|]*) \|", text, re.MULTILINE)
    assert len(states) == len(found)
    assert set(states) <= {"held", "in small", "part"}
