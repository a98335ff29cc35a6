"""What `edge bench` prints for people."""

from __future__ import annotations

import importlib.util

import pytest

from edge.bench.show import draw_table


@pytest.mark.parametrize("has_rich", [True, False])
def test_a_name_in_a_table_is_text_whatever_it_holds(has_rich: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if has_rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    drawn = draw_table(("file", "ms"), [("a\x1b[2J:fire:[b][/b]\\.onnx", "1")])

    assert r"a\x1b[2J:fire:[b][/b]\.onnx" in drawn
    assert "\x1b" not in drawn
