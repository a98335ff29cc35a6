"""What a long command says while it works: a bar with the time that is left on a terminal, a few plain lines elsewhere.

There is one way for all verbs. On a terminal Rich draws the bar, and where Rich is not installed, as on a Raspberry Pi,
one line is renewed instead; both are gone when the work is done. In a file, a pipe or a CI job (`CI=true`) there are
lines without control characters. `NO_COLOR` takes the colours away. All of it goes to stderr: stdout is data.

    with Progress("judging", len(samples)) as progress:
        for index, sample in enumerate(samples):
            judge(sample)
            progress.at(index + 1)
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import threading
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Protocol

__all__ = ["Progress", "Tick", "is_live", "print_line"]

Tick = Callable[[int, int], None]  # takes how many steps are done, and how many there are

LINE_EVERY_S = 30.0  # between two lines where there is no terminal
RENEW_EVERY_S = 0.1  # between two states of a bar
ALIVE_EVERY_S = 0.5  # between two states of one that is renewed by itself


class Progress:
    """How far a piece of work is; use it in a `with` block. Its methods may be called from several threads.

    Args:
        what: is being done, in a word or two; stands before the bar.
        total: steps in all; None where nobody knows, and no time can be promised.
        start: steps that were done before this process.
        lines: whether `at` prints a line now and then where there is no terminal; False where `step` tells enough.
        alive: renew the bar by itself, for long steps. It takes a little of a processor: not while something is timed.
        quiet: show nothing but `line`, for data that goes to the same terminal.
    """

    def __init__(
        self,
        what: str = "",
        total: int | None = None,
        *,
        start: int = 0,
        lines: bool = True,
        alive: bool = False,
        quiet: bool = False,
    ) -> None:
        self.live = is_live() and not quiet
        self._what, self._total, self._start, self._done = what, total, start, start
        self._lines, self._alive, self._quiet = lines, alive, quiet
        self._note = ""
        self._began = monotonic()
        self._next = self._began + LINE_EVERY_S
        self._lock = threading.RLock()
        self._shown: _Display | None = None

    def at(self, done: int, total: int | None = None, note: str | None = None) -> None:
        """Tell that so many steps are done.

        Args:
            done: steps.
            total: in all, where that is known by now.
            note: what else is worth knowing, such as a loss; None leaves what was said last.
        """
        with self._lock:
            self._done, self._total = done, total or self._total
            self._note = self._note if note is None else note
            if self.live:
                self._show()
            elif self._lines and not self._quiet and monotonic() >= self._next:
                self._next = monotonic() + LINE_EVERY_S
                parts = [f"{self._what}: {self._done}" + (f" of {self._total}" if self._total else ""), self._note]
                print_line(", ".join(part for part in [*parts, self._left()] if part))

    def step(self, text: str, done: int | None = None, total: int | None = None, *, log: str = "") -> None:
        """Tell what is done now: beside the bar, or on a line where there is no terminal.

        Args:
            text: what, in few words.
            done: steps that are done with this one; None where it is none that is counted.
            total: in all, where that is known by now.
            log: the line, where it is to say more.
        """
        with self._lock:
            self._note, self._total = text, total or self._total
            self._done = self._done if done is None else done
            if self.live:
                self._show(at_once=True)  # it may be long until the next
            elif not self._quiet:
                place = "" if done is None else f"[{done}/{self._total}] "
                left = "" if done is None or done == self._total else f", {self._left()}"
                print_line(log or f"{place}{text}{left}")

    def line(self, text: str) -> None:
        """Say something that stays, on a line of its own."""
        with self._lock:
            (print_line if self._shown is None else self._shown.print)(text)

    def close(self) -> None:
        """Take the bar away; safe to call twice."""
        with self._lock, contextlib.suppress(OSError, ValueError):  # a closed stderr hides nothing worse
            shown, self._shown = self._shown, None
            if shown is not None:
                shown.close()

    def __enter__(self) -> Progress:
        if self.live and self._alive:
            self._show()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _show(self, at_once: bool = False) -> None:
        if self._shown is None:
            self._shown = _RichBar(self._began, self._alive) if importlib.util.find_spec("rich") else _Line(self._began)
        self._shown.show(self._what, self._done, self._total, self._left(), self._note, at_once)

    def _left(self) -> str:
        """Return how long it may take still, where that can be told: at the mean speed so far."""
        from .trace import clock

        done = self._done - self._start
        if not self._total or done <= 0:
            return ""
        return f"{clock((monotonic() - self._began) / done * max(self._total - self._done, 0))} left"


def is_live() -> bool:
    """Return whether stderr is a terminal on which a bar can be drawn, and no CI job."""
    try:
        terminal = sys.stderr.isatty()
    except (AttributeError, ValueError):  # no stderr, or a closed one
        return False
    return terminal and os.environ.get("TERM") != "dumb" and os.environ.get("CI", "").lower() not in ("true", "1")


def print_line(text: str) -> None:
    """Write a line on stderr at once."""
    print(text, file=sys.stderr, flush=True)


class _Display(Protocol):
    def show(self, what: str, done: int, total: int | None, left: str, note: str, at_once: bool) -> None: ...

    def print(self, text: str) -> None: ...

    def close(self) -> None: ...


class _RichBar:
    def __init__(self, began: float, alive: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column

        self._console = Console(stderr=True, highlight=False)
        fixed, rest = (
            Column(no_wrap=True),
            Column(no_wrap=True, overflow="ellipsis", ratio=1),
        )  # only the note gives way
        self._bar = Progress(
            SpinnerColumn("line"),
            TextColumn("{task.description}", markup=False, table_column=fixed),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[count]}", markup=False, table_column=fixed.copy()),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False, table_column=rest),
            console=self._console,
            transient=True,
            expand=True,
            auto_refresh=alive,
            refresh_per_second=1 / ALIVE_EVERY_S,
            redirect_stdout=False,  # data
            redirect_stderr=True,  # what others say goes above the bar
        )
        self._task = self._bar.add_task("", total=None, count="", note="")
        self._bar.tasks[0].start_time = began  # not when there was something to show first
        self._next = 0.0

    def show(self, what: str, done: int, total: int | None, left: str, note: str, at_once: bool) -> None:
        count = " ".join(part for part in (f"{done}/{total}" if total else "", left) if part)
        self._bar.update(self._task, description=what, total=total, completed=done, count=count, note=note)
        self._bar.start()  # once: not before there is something to show
        if at_once or monotonic() >= self._next or done == total:
            self._next = monotonic() + RENEW_EVERY_S
            self._bar.refresh()

    def print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._bar.stop()


class _Line:
    """One line that is renewed, where there is no Rich."""

    def __init__(self, began: float) -> None:
        self._began, self._next, self._width = began, 0.0, 0

    def show(self, what: str, done: int, total: int | None, left: str, note: str, at_once: bool) -> None:
        if not at_once and monotonic() < self._next and done != total:
            return
        self._next = monotonic() + RENEW_EVERY_S
        count = f"{done}/{total}" if total else f"{monotonic() - self._began:.0f} s"
        text = "  ".join(part for part in (what, count, left, note) if part)
        text = text[: max(10, shutil.get_terminal_size().columns - 1)]  # a line that wraps cannot be taken back
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)

    def print(self, text: str) -> None:
        self.close()
        print_line(text)

    def close(self) -> None:
        sys.stderr.write("\r" + " " * self._width + "\r")
        sys.stderr.flush()
        self._width = 0
