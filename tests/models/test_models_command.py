"""`edge models` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge.commands.models import command
from edge.models import registry, shipped
from edge.runtime.card import Card
from edge.runtime.errors import InputError


@pytest.fixture(autouse=True)
def _nothing_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Show the networks of the registry; what shipped weights change is in `test_shipped.py`."""
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)


def _run(*words: str) -> str:
    result = CliRunner().invoke(command, list(words), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_list_has_every_model_with_its_count() -> None:
    text = _run()

    for entry in registry.entries():
        assert entry.name in text
        assert f"{entry.parameters:,}" in text


def test_the_list_is_quick_because_it_needs_no_torch() -> None:
    code = "import sys; from edge.cli import main; main(['models']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_json_lists_names_and_shapes() -> None:
    told = json.loads(_run("--json"))

    assert told["schema"] == 1
    assert [model["name"] for model in told["models"]] == registry.names()
    assert told["models"][0]["input_shape"] == [1, 3, 128, 128]


@pytest.mark.torch
def test_one_model_shows_layers_blocks_costs_and_card() -> None:
    text = _run("pose-student-2mb", "--keys")

    assert "conv4.pool" in text
    assert "183,447,552" in text
    assert "1,323,012 bytes" in text
    assert "paf_out.op.weight  38x48x1x1" in text
    assert '"decoder"' in text


@pytest.mark.torch
def test_json_of_one_model_holds_a_card_that_can_be_read_back() -> None:
    told = json.loads(_run("face-nanob", "--json"))

    assert told["inspection"]["macs"] == 325_886_736
    assert sum(row["macs"] for row in told["inspection"]["layers"]) == 325_886_736
    assert Card.from_dict(told["card"]).model == "face-nanob"


@pytest.mark.torch
def test_the_audit_prints_claim_beside_finding() -> None:
    told = json.loads(_run("--audit", "--json"))["audit"]
    text = _run("--audit")

    assert {row["verdict"] for row in told} == {"holds", "wrong", "not settled here"}
    assert "86,002,562" in text
    assert "86,850,434" in text


def test_an_unknown_model_is_refused_with_a_hint() -> None:
    with pytest.raises(InputError, match="face-nano-b") as caught:
        _run("face-nano-b")
    assert "face-nanob" in str(caught.value.hint)


def test_the_audit_takes_no_name() -> None:
    with pytest.raises(InputError, match="--audit"):
        _run("face-nanob", "--audit")
