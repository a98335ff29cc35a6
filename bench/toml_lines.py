"""On which line of a TOML text each table and key stands: `tomllib` does not tell.

    lines_of('[a]\nb = 1\n')  ->  {("a",): 1, ("a", "b"): 2}

A table of an array has its number in its path: `("budget", 0, "model")`. The text is one that `tomllib` has taken, so
that only the layout has to be followed: headers, keys before `=`, and values that go on over several lines.
"""

from __future__ import annotations

import re
from collections import Counter

__all__ = ["Place", "lines_of"]

Place = tuple[str | int, ...]
KEY = r"(?:[A-Za-z0-9_-]+|\"(?:[^\"\\]|\\.)*\"|'[^']*')"
KEYS = re.compile(rf"\s*({KEY}(?:\s*\.\s*{KEY})*)\s*")
# What a value is made of, as far as its end on a line is concerned: texts, comments, brackets.
TOKEN = re.compile(r"\"\"\"|'''|\"(?:[^\"\\]|\\.)*\"|'[^']*'|#.*|[\[\]{}]")


def lines_of(text: str) -> dict[Place, int]:
    """Return the line of every table and key, counted from 1.

    Args:
        text: valid TOML. Keys inside inline tables are not listed: their table's key is.
    """
    found: dict[Place, int] = {}
    numbers: Counter[Place] = Counter()
    table: Place = ()
    depth, quote = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if not depth and not quote:
            if header := re.match(r"\s*(\[\[?)", line):
                table = _table(line[header.end() :], header[1] == "[[", numbers)
                _note(found, table, number)
                continue
            key = KEYS.match(line)
            if key is None or line[key.end() : key.end() + 1] != "=":
                continue
            _note(found, (*table, *_parts(key[1])), number)
            line = line[key.end() + 1 :]
        depth, quote = _rest(line, depth, quote)
    return found


def _table(rest: str, is_array: bool, numbers: Counter[Place]) -> Place:
    """Return the path that a header opens; the last table of an array is the one that its sub-tables belong to."""
    key = KEYS.match(rest)
    parts = _parts(key[1]) if key else ()
    path: Place = ()
    for part in parts:
        path = (*path, part)
        if is_array and len([item for item in path if isinstance(item, str)]) == len(parts):
            numbers[path] += 1
        if numbers[path]:
            path = (*path, numbers[path] - 1)
    return path


def _note(found: dict[Place, int], place: Place, line: int) -> None:
    """Note a line for a place, and for the tables around it that were not seen before."""
    for length in range(1, len(place) + 1):
        found.setdefault(place[:length], line)


def _parts(keys: str) -> Place:
    return tuple(part[1:-1] if part[0] in "\"'" else part for part in re.findall(KEY, keys))


def _rest(line: str, depth: int, quote: str) -> tuple[int, str]:
    """Return how many brackets are open after a line, and which multi-line text is."""
    position = 0
    while position < len(line):
        if quote:
            end = line.find(quote, position)
            if end < 0:
                return depth, quote
            position, quote = end + 3, ""
            continue
        token = TOKEN.search(line, position)
        if token is None:
            break
        position = token.end()
        if token[0] in ('"""', "'''"):
            quote = token[0]
        elif token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
    return depth, quote
