"""Checkpoints that ship: found by name, told of by their training cards, refused when damaged."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edge.commands.models import command
from edge.export.request import ExportRequest, base_key
from edge.models import registry, shipped
from edge.runtime.errors import CheckpointError

NAME = "emotion-proto-81k"
METRIC = {
    "name": "CCC",
    "value": 0.81234,
    "low": 0.79,
    "high": 0.83,
    "samples": 500,
    "data": "synthetic music (seed 2)",
}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the shipped weights."""
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    return tmp_path


def put(folder: Path, content: bytes = b"weights", name: str = NAME, **changes: Any) -> dict[str, Any]:
    """Write a checkpoint and its training card; return the card."""
    facts = {
        "schema": 1,
        "model": name,
        "data": {"label": "synthetic music (seed 0, 3000 clips)", "digest": "ab", "synthetic": True},
        "seed": 7,
        "steps": 4000,
        "teacher": None,
        "metrics": METRIC,
        "hours": 0.25,
        "machine": {"cpu": "a CPU", "cores": 2},
        "command": f"edge train {name}",
        "sha256": hashlib.sha256(content).hexdigest(),
        **changes,
    }
    (folder / f"{name}.safetensors").write_bytes(content)
    (folder / f"{name}.json").write_text(json.dumps(facts), encoding="utf-8")
    return facts


def test_every_shipped_checkpoint_has_its_card_and_a_registered_model() -> None:
    for path in shipped.WEIGHTS.glob("*.safetensors"):
        found = shipped.shipped(registry.get(path.stem).name)
        assert found is not None
        assert found.path == path


def test_a_model_without_a_file_ships_nothing(weights: Path) -> None:
    assert shipped.shipped(NAME) is None


def test_looking_for_weights_imports_no_torch() -> None:
    code = (
        "import sys; from edge.models.shipped import shipped; shipped('face-nanob'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_shipped_checkpoint_tells_its_data_metric_and_hash(weights: Path) -> None:
    facts = put(weights)

    found = shipped.shipped(NAME)

    assert found is not None
    assert found.summary() == (
        "trained by edge on synthetic music (seed 0, 3000 clips): CCC 0.812 [0.790, 0.830] on 500 samples of "
        "synthetic music (seed 2)"
    )
    told = dict(found.lines())
    assert (told["steps"], told["hours"], told["machine"]) == ("4000", "0.25", "a CPU, cores 2")
    provenance = found.on(registry.get(NAME).card(None)).provenance
    assert provenance["weights"] == f"trained by edge, seed 7, 4000 steps; {NAME}.safetensors, sha256 {facts['sha256']}"
    assert provenance["training_data"] == "synthetic music (seed 0, 3000 clips)"
    assert "winzerprince" in provenance["architecture"]


def test_synthetic_data_and_a_teacher_are_always_named(weights: Path) -> None:
    put(weights, data={"label": "my songs", "synthetic": True}, teacher={"model": "emotion-student-12m"}, metrics=None)

    found = shipped.shipped(NAME)

    assert found is not None
    assert found.summary() == "trained by edge on my songs, synthetic, distilled from emotion-student-12m"


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "0" * 64},
        {"model": "pose-student-2mb"},
        {"data": None},
        {"metrics": {"name": "CCC"}},
        {"hours": float("nan")},
    ],
)
def test_a_shipped_checkpoint_whose_card_is_not_its_own_is_refused(weights: Path, changes: dict[str, Any]) -> None:
    put(weights, **changes)

    with pytest.raises(CheckpointError, match="without its training card") as caught:
        shipped.shipped(NAME)
    assert "--untrained" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"model": 1}', "[" * 100_000])
def test_a_json_file_beside_somebodys_checkpoint_is_no_training_card(tmp_path: Path, text: str) -> None:
    put(tmp_path)
    (tmp_path / f"{NAME}.json").write_text(text, encoding="utf-8")

    assert shipped.trained(tmp_path / f"{NAME}.safetensors") is None


def test_an_export_is_named_by_the_weights_it_takes(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    request = ExportRequest(name=NAME)
    keys = [base_key(request)]
    assert (request.weights, request.weights_kind) == (None, "seeded")
    put(weights)
    request = ExportRequest(name=NAME)
    keys.append(base_key(request))
    assert (request.weights, request.weights_kind) == (weights / f"{NAME}.safetensors", "shipped")
    put(weights, b"others")
    keys.append(base_key(ExportRequest(name=NAME)))
    put(weights, b"others", steps=5000)
    keys.append(base_key(ExportRequest(name=NAME)))
    own = tmp_path_factory.mktemp("own")
    put(own)
    given = ExportRequest(name=NAME, checkpoint=own / f"{NAME}.safetensors")
    keys.append(base_key(given))

    assert given.weights_kind == "checkpoint"
    assert given.training is not None
    assert len(set(keys)) == len(keys)
    assert base_key(ExportRequest(name=NAME, untrained=True)) == keys[0]


def test_the_list_of_models_marks_what_ships(weights: Path) -> None:
    put(weights, parameters=77_777, macs=12_300_000)

    text = CliRunner().invoke(command, [], catch_exceptions=False).stdout
    told = json.loads(CliRunner().invoke(command, ["--json"], catch_exceptions=False).stdout)["models"]

    line = next(line for line in text.splitlines() if line.startswith(NAME))
    assert "trained" in line
    assert "77,777" in line
    assert text.count(" trained ") == 1
    assert {model["name"]: model["shipped"] and model["shipped"]["seed"] for model in told if model["shipped"]} == {
        NAME: 7
    }


@pytest.mark.torch
def test_a_shipped_network_of_other_widths_is_shown_as_it_is(weights: Path) -> None:
    from safetensors.torch import save

    dense = registry.get("face-nanob-dense")  # other widths than the registry's face-nanob
    put(weights, save(dense.build().state_dict()), name="face-nanob")

    text = CliRunner().invoke(command, ["face-nanob"], catch_exceptions=False).stdout
    told = json.loads(CliRunner().invoke(command, ["face-nanob", "--json"], catch_exceptions=False).stdout)

    assert told["parameters"] == told["inspection"]["parameters"] == dense.parameters
    assert told["macs"] == dense.macs
    assert "synthetic music" in told["card"]["provenance"]["training_data"]
    assert "all counts above are of their network" in text
    assert "CCC 0.812 [0.790, 0.830]" in text


@pytest.mark.torch
def test_an_export_says_which_weights_it_took(weights: Path) -> None:
    from safetensors.torch import save

    from edge.export.trace import load_source

    put(weights, save(registry.get(NAME).build().state_dict()))

    source = load_source(ExportRequest(name=NAME))
    random = load_source(ExportRequest(name=NAME, untrained=True))

    assert source.card.provenance["training_data"] == "synthetic music (seed 0, 3000 clips)"
    assert "trained by edge on synthetic music" in source.notes[0]
    assert random.card.provenance["training_data"] == "none"
    assert "outputs mean nothing" in random.card.provenance["weights"]
    assert "random (seed 0)" in random.notes[0]
    assert source.card.parity["int8"] != random.card.parity["int8"]  # trained weights are judged
