"""JSON files from anywhere, read value by value: a wrong one is an error that names the file and the place in it.

    top = load_document(Path("results.json"))
    for row in top.get("rows").items():
        row.get("threads").count()

Results, manifests and evaluations are all read this way, by gates, reports and the history alike, so that the same
fault is told in the same words. What nobody asks for is not looked at: a file of a later version with more in it is
read all the same.
"""

from __future__ import annotations

import json
import math
import re
import stat
import unicodedata
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

from ..runtime.errors import InputError

__all__ = ["MAX_BYTES", "SCHEMA", "Node", "load_document", "no_constant", "read_values", "shown"]

SCHEMA = 1
MAX_BYTES = 256 << 20  # a strict run of many files keeps some hundred thousand samples
MOST_TEXT = 300  # characters of a text on a page
MOST_RAW = 1000  # characters of a text that is kept
MOST_MS = 1e8
DIGEST = re.compile("[0-9a-f]{64}")


def shown(text: str) -> str:
    r"""Return a text as a page can show it: one line, at most `MOST_TEXT` characters, the middle of longer ones cut.

    Control, format and surrogate characters become escapes such as `\u202e`: HTML has no place for some of them, and
    others change how their neighbours read. All other texts come back as they are.
    """
    if len(text) > MOST_TEXT:
        front = (MOST_TEXT - 3) // 2
        text = f"{text[:front]} … {text[front + 3 - MOST_TEXT :]}"
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}
        else char
        for char in text
    )


def read_values(path: Path, most_bytes: int = MAX_BYTES) -> Any:
    """Return what a JSON file holds.

    Raises:
        InputError: it cannot be read, is too large, or is not JSON.
    """
    name = shown(path.name)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > most_bytes:
            raise InputError(f"`{name}` is no file, or a huge one", expected=f"a file of up to {most_bytes >> 20} MiB")
        return json.loads(path.read_bytes(), parse_constant=no_constant)
    except OSError as exc:
        raise InputError(f"cannot read `{name}`", got=exc.strerror) from exc
    except (ValueError, RecursionError) as exc:
        raise InputError(f"`{name}` is no JSON", got=str(exc)[:120]) from exc


def load_document(path: Path) -> Node:
    """Return the top of a file that a command of edge wrote.

    Raises:
        InputError: it cannot be read, or is of a schema that is not known.
    """
    top = Node(read_values(path), shown(path.name))
    schema = top.get("schema")
    if schema.value != SCHEMA or isinstance(schema.value, bool):
        schema.refuse(f"{SCHEMA}: this version knows no other")
    return top


class Node:
    """A value of a JSON file that knows where it stands; what it is asked to be and is not raises `InputError`."""

    def __init__(self, value: Any, file: str, place: str = "") -> None:
        self.value, self.file, self.place = value, file, place

    def refuse(self, expected: str) -> NoReturn:
        """Say that the value is not what it should be."""
        got = type(self.value).__name__ if isinstance(self.value, dict | list) else repr(self.value)[:60]
        raise InputError(f"`{self.file}`: `{self.place or 'the file'}` is malformed", expected=expected, got=got)

    def get(self, key: str) -> Node:
        """Return a member; one that is not there is null."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        return Node(self.value.get(key), self.file, f"{self.place}.{shown(key)}" if self.place else shown(key))

    def items(self) -> Iterator[Node]:
        """Return the items of a list."""
        if not isinstance(self.value, list):
            self.refuse("a list")
        for number, value in enumerate(self.value):
            yield Node(value, self.file, f"{self.place}[{number}]")

    def members(self) -> Iterator[tuple[str, Node]]:
        """Return the members of an object, by name."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        for key in self.value:
            yield key, self.get(key)

    @property
    def absent(self) -> bool:
        """Whether there is nothing, or null."""
        return self.value is None

    def text(self, default: str | None = None) -> str:
        """Return a text, fit to be shown."""
        return default if self.value is None and default is not None else shown(self._text())

    def raw(self, default: str | None = None) -> str:
        """Return a text as it is, of at most `MOST_RAW` characters; half a surrogate pair is written as an escape."""
        if self.value is None and default is not None:
            return default
        if len(text := self._text()) > MOST_RAW:
            self.refuse(f"a text of at most {MOST_RAW} characters")
        return text.encode("utf-8", "backslashreplace").decode()

    def texts(self) -> tuple[str, ...]:
        """Return a list of texts, fit to be shown; none where it is absent."""
        return () if self.absent else tuple(item.text() for item in self.items())

    def word(self, known: type[StrEnum]) -> str:
        """Return a word of an enumeration."""
        if not isinstance(self.value, str) or self.value not in list(known):
            self.refuse(" | ".join(known))
        return self.value

    def digest(self) -> str | None:
        """Return a SHA-256 in hexadecimal; None where it is absent."""
        if self.value is not None and not (isinstance(self.value, str) and DIGEST.fullmatch(self.value)):
            self.refuse("a SHA-256 in hexadecimal")
        return self.value if isinstance(self.value, str) else None

    def number(self, least: float = -math.inf, most: float = math.inf) -> float:
        """Return a number in a range."""
        found = self.value
        if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) <= 1e300:
            self.refuse("a number")
        if not least <= found <= most:
            self.refuse(f"{least:g} to {most:g}")
        return float(found)

    def maybe(self, least: float = -math.inf, most: float = math.inf) -> float | None:
        """Return a number in a range; None where it is absent."""
        return None if self.absent else self.number(least, most)

    def count(self) -> int:
        """Return a whole number from 0."""
        if not (found := self.number(0, 1e18)).is_integer():
            self.refuse("a whole number")
        return int(found)

    def maybe_count(self) -> int | None:
        """Return a whole number from 0; None where it is absent."""
        return None if self.absent else self.count()

    def ms(self) -> float:
        """Return a time, ms."""
        return self.number(0, MOST_MS)

    def maybe_ms(self) -> float | None:
        """Return a time, ms; None where it is absent."""
        return None if self.absent else self.ms()

    def _text(self) -> str:
        if not isinstance(self.value, str):
            self.refuse("a text")
        return self.value


def no_constant(word: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's reader takes and JSON has not."""
    raise ValueError(f"`{word}` is no number of JSON")
