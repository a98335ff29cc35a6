"""A command line as a user types it, for tests that look at code, stdout and stderr alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.cli import main


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line; returns exit code, stdout, stderr."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return run
