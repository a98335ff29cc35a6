"""`edge run` with one thread, for tests that look at what it says and refuses."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from edge import cli


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run with one thread, which leaves nothing to measure."""
    code = cli.main(["run", "--threads", "1", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys: pytest.CaptureFixture[str], *words: object, code: int = 2) -> str:
    """Run, and return the one line that says why it was refused."""
    got, out, err = run(capsys, *words)
    assert (got, out) == (code, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def write_noise(path: Path, seconds: float) -> Path:
    with wave.open(str(path), "wb") as stream:
        stream.setparams((1, 2, 8000, 0, "NONE", ""))
        noise = np.random.default_rng(0).integers(-9999, 9999, round(8000 * seconds), np.int16)
        stream.writeframes(noise.tobytes())
    return path
