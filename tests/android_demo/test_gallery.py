"""What the picture of overlays is not drawn of is refused in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gallery import main


@pytest.mark.parametrize(("name", "says"), [("none.tflite", "does not exist"), ("{custom}", "has no overlay")])
def test_a_model_that_cannot_be_drawn_is_one_line(
    name: str,
    says: str,
    write_tflite: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture = tmp_path / "overlays.jpg"
    model = name.format(custom=write_tflite())
    monkeypatch.setattr(sys, "argv", ["gallery.py", model, "--out", str(picture)])

    assert main() == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1
    assert not picture.exists()
