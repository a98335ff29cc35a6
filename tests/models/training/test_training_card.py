"""The card beside a checkpoint."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from edge.models.checkpoint import read_checkpoint
from edge.models.training.training_card import read_training_card, write_checkpoint
from edge.runtime.errors import InputError

pytestmark = pytest.mark.torch


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # not in torch's stubs


def test_a_checkpoint_comes_with_a_card_that_names_its_bytes(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "new", "tiny", network(), {"model": "tiny", "metrics": {"low": math.nan}})

    card = read_training_card(path)

    assert sorted(file.name for file in path.parent.iterdir()) == ["tiny.json", "tiny.safetensors"]
    assert torch.equal(read_checkpoint(path)["weight"], network().state_dict()["weight"])
    assert card is not None
    assert (card["model"], card["parameters"], card["metrics"]) == ("tiny", 112, {"low": None})
    assert {"schema", "sha256", "machine", "versions"} <= set(card)
    assert "torch" in card["versions"]


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    first, second = (write_checkpoint(tmp_path / name, "tiny", network(), {}) for name in "ab")

    assert first.read_bytes() == second.read_bytes()


def test_a_card_of_another_checkpoint_does_not_count(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "tiny", network(), {})
    path.write_bytes(path.read_bytes() + b" ")

    assert read_training_card(path) is None


def test_a_checkpoint_without_a_card_has_none(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "tiny", network(), {})
    path.with_suffix(".json").unlink()

    assert read_training_card(path) is None


@pytest.mark.parametrize(("text", "said"), [("{", "not JSON"), ('{"schema": 9}', "expected 1, got 9"), ("[]", "list")])
def test_a_damaged_card_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    path = write_checkpoint(tmp_path, "tiny", network(), {})
    path.with_suffix(".json").write_text(text)

    with pytest.raises(InputError, match=rf"tiny\.json.*{said}"):
        read_training_card(path)


def test_a_card_is_json_that_strict_readers_take(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "tiny", network(), {"parts": [math.inf, 1.5]})

    def refuse(word: str) -> float:
        raise AssertionError(word)

    assert json.loads(path.with_suffix(".json").read_text(), parse_constant=refuse)["parts"] == [None, 1.5]


def test_both_files_can_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = write_checkpoint(tmp_path, "tiny", network(), {})
    finally:
        os.umask(before)

    assert [file.stat().st_mode & 0o777 for file in (path, path.with_suffix(".json"))] == [0o640, 0o640]
