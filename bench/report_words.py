"""Words and numbers as all parts of a report write them."""

from __future__ import annotations

from collections.abc import Iterable

from .report_facts import Variant
from .report_plots import in_ms

__all__ = ["NO_FIGURE", "counted", "maybe_ms", "minus", "short_name", "unique"]

NO_FIGURE = "\N{EN DASH}"


def counted(number: int, one: str) -> str:
    """Return "1 file" or "2 files"."""
    return f"{number:,} {one}{'s' * (number != 1)}"


def unique(words: Iterable[str]) -> list[str]:
    """Return words in their order, each once."""
    return list(dict.fromkeys(words))


def minus(value: float, digits: int = 1) -> str:
    """Return a number with a real minus sign, and none before nothing."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def maybe_ms(value: float | None) -> str:
    """Return milliseconds, or the dash for none."""
    return NO_FIGURE if value is None else in_ms(value)


def short_name(variant: Variant) -> str:
    """Return what tells a file of a model from the others."""
    return f"{variant.precision} {variant.target}"
