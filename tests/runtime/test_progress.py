"""What a long command says: a bar on a terminal, plain lines elsewhere, and nothing that a machine could trip over."""

from __future__ import annotations

import importlib.util
import io
import re
import sys
from pathlib import Path
from time import monotonic

import pytest

from edge.runtime import progress as module
from edge.runtime.progress import Progress, is_live

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.0)


def terminal(monkeypatch: pytest.MonkeyPatch, *, rich: bool) -> io.StringIO:
    """Put a terminal in the place of stderr, and Rich there or not."""
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    if not rich:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return stderr


@pytest.mark.parametrize(
    ("name", "value", "live"),
    [
        ("CI", "true", False),
        ("CI", "1", False),
        ("CI", "false", True),
        ("TERM", "dumb", False),
        ("NO_COLOR", "1", True),
    ],
)
def test_a_bar_is_for_terminals_that_can_and_not_for_ci(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, live: bool
) -> None:
    terminal(monkeypatch, rich=True)
    assert is_live()

    monkeypatch.setenv(name, value)

    assert is_live() is live


def test_no_stderr_at_all_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)

    assert not is_live()


def test_without_a_terminal_steps_and_lines_are_lines_and_counts_are_silent_for_a_while(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress("judging", 3) as progress:
        progress.step("reading", log="[1/3] reading, at length")
        progress.step("asking")
        for done in (1, 2, 3):
            progress.at(done, note="loss 0.1")
        progress.line("a word")
        progress.step("one is done", 1)
        progress.step("all is done", 5, 5)

    out, err = capsys.readouterr()
    assert out == ""
    assert err == "[1/3] reading, at length\nasking\na word\n[1/3] one is done, 0:00 left\n[5/5] all is done\n"


def test_counts_become_lines_once_they_are_due(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0)
    monkeypatch.setattr(module, "monotonic", iter([100.0, *[110.0] * 99]).__next__)

    with Progress("judging", 40, start=20) as progress:
        progress.at(25, note="3 broken")
    with Progress("looking") as progress:
        progress.at(7)
    with Progress("counting", 9, lines=False) as progress:
        progress.at(7)

    lines = capsys.readouterr().err.splitlines()
    assert lines == ["judging: 25 of 40, 3 broken, 0:30 left", "looking: 7"]  # five in 10 s, fifteen to go


def test_quiet_says_nothing_but_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.0)

    with Progress("judging", 3, quiet=True) as progress:
        progress.step("asking")
        progress.at(2)
        progress.line("a word")

    assert capsys.readouterr().err == "a word\n"


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "without rich"])
def test_a_terminal_shows_how_far_and_how_long_and_is_left_clean(monkeypatch: pytest.MonkeyPatch, rich: bool) -> None:
    stderr = terminal(monkeypatch, rich=rich)
    monkeypatch.setenv("COLUMNS", "120")

    with Progress("judging", 4) as progress:
        for done in (1, 2):
            progress.at(done, note="loss [bold]0.1[/bold]")
        progress.line("a [red]word[/red] that stays")
        progress.at(4)

    shown = stderr.getvalue()
    assert "judging" in shown
    assert "2/4" in shown
    assert re.search(r"\d:\d\d left", shown)
    assert "loss [bold]0.1[/bold]" in shown  # no markup: it may be anybody's text
    assert "a [red]word[/red] that stays\n" in shown
    tail = shown.rpartition("4/4")[2]
    assert "\x1b[2K" in tail if rich else tail.endswith(" \r")


@pytest.mark.parametrize("rich", [True, False], ids=["rich", "without rich"])
def test_no_color_takes_the_colours_and_leaves_the_bar(monkeypatch: pytest.MonkeyPatch, rich: bool) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stderr = terminal(monkeypatch, rich=rich)

    with Progress("judging", 4) as progress:
        progress.at(2)

    assert "2/4" in stderr.getvalue()
    assert re.findall(r"\x1b\[[0-9;]*m", re.sub(r"\x1b\[0m", "", stderr.getvalue())) == []


def test_a_line_never_wraps_where_there_is_no_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal(monkeypatch, rich=False)
    monkeypatch.setenv("COLUMNS", "40")

    with Progress("x" * 100, 4) as progress:
        progress.at(2, note="y" * 100)

    assert max(len(part) for part in stderr.getvalue().split("\r")) <= 39


def test_what_ends_the_work_takes_the_bar_away(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal(monkeypatch, rich=True)

    def interrupted() -> None:
        with Progress("judging", 4) as progress:
            progress.at(2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert stderr.getvalue().endswith("\x1b[2K")
    assert "\x1b[?25h" in stderr.getvalue()  # the cursor is back
    assert sys.stderr is stderr


def test_nothing_is_drawn_before_there_is_something_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal(monkeypatch, rich=True)

    with Progress("judging", 4):
        pass

    assert stderr.getvalue() == ""


def test_time_runs_from_the_start_of_the_work_and_not_from_that_of_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    stderr = terminal(monkeypatch, rich=True)
    with monkeypatch.context() as earlier:
        earlier.setattr(module, "monotonic", lambda: monotonic() - 75)
        progress = Progress("measuring", 4)

    with progress:
        progress.at(1)

    assert re.search(r"0:01:\d\d", stderr.getvalue())


def test_no_module_draws_a_line_of_its_own() -> None:
    """One way for all: nobody else goes back to the beginning of a line, or asks whether stderr is a terminal."""
    root = Path(__file__).parents[2]
    files = [path for room in ("edge", "models", "export", "bench") for path in (root / room).rglob("*.py")]
    found = {
        path.relative_to(root).as_posix()
        for path in files
        if not any(part.is_symlink() for part in path.parents)
        and re.search(r'write\(\s*f?"\\r|echo\(\s*f?"\\r|stderr\.isatty\(\)', path.read_text(encoding="utf-8"))
    }

    assert found == set()
