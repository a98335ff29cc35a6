"""`edge prune` from a checkpoint to a smaller one, stopped and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("optuna")
pytest.importorskip("lightning_fabric")

from safetensors.torch import load_file, save_file  # noqa: E402

from edge.cli import VERBS  # noqa: E402
from edge.commands.prune import command  # noqa: E402
from edge.models import registry  # noqa: E402
from edge.models.checkpoint import load_model  # noqa: E402
from edge.models.face_nanob import NanoB  # noqa: E402
from edge.models.pruning.request import Method, PruneRequest  # noqa: E402
from edge.models.pruning.run import prune_model  # noqa: E402
from edge.models.pruning.search import Goal  # noqa: E402
from edge.models.training.options import TrainOptions  # noqa: E402
from edge.runtime.errors import EdgeError, InputError  # noqa: E402

pytestmark = pytest.mark.torch

SMALL = [
    "--count",
    "4",
    "--held-out",
    "4",
    "--batch",
    "2",
    "--workers",
    "0",
    "--input-size",
    "64x64",
    "--precision",
    "32-true",
]
STEPS = ["--budget", "2", "--search-steps", "1", "--soft-steps", "3", "--finetune-steps", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("prune")
    torch.manual_seed(0)
    save_file(registry.get("face-nanob-dense").build().state_dict(), place / "dense.safetensors")
    return place


def _run(folder: Path, out: str, *more: str, name: str = "face-nanob-dense") -> str:
    words = [name, "--checkpoint", str(folder / "dense.safetensors"), "--out", str(folder / out)]
    words += ["--data-cache", str(folder / "cache"), *SMALL, *STEPS, *more]
    result = CliRunner().invoke(command, words, catch_exceptions=False, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_a_pruning_run_ends_in_a_smaller_network_and_says_what_it_cost(folder: Path) -> None:
    report = json.loads(_run(folder, "full", "--json"))["pruning"]
    path = folder / "full" / "face-nanob.safetensors"
    card = json.loads(path.with_suffix(".json").read_text())
    module, _ = load_model(registry.get("face-nanob"), path)

    assert isinstance(module, NanoB)
    assert set(load_file(path)) == set(NanoB().state_dict())  # no masks
    assert 142_000 <= report["pruned"]["parameters"] <= 165_000
    assert report["pruned"]["parameters"] == sum(value.numel() for value in module.parameters()) == card["parameters"]
    assert report["dense"]["parameters"] == 369_367
    assert report["pruned"]["macs"] < 0.7 * report["dense"]["macs"]
    assert report["pruned"]["bytes"] < 0.5 * report["dense"]["bytes"]
    assert list(module.widths) == report["widths"]["backbone"] == card["pruning"]["widths"]["backbone"]
    assert set(report["rates"]) == {"backbone-early", "backbone-late", "cbam", "bifpn", "ssh", "heads"}
    assert len(report["trials"]) == 2
    assert report["dense"]["metrics"]["name"] == "AP"


def test_a_finished_run_answers_again_and_another_request_is_refused(folder: Path) -> None:
    if not (folder / "full" / "report.json").exists():
        _run(folder, "full")
    before = (folder / "full" / "face-nanob.safetensors").stat().st_mtime_ns

    assert "369,367" in _run(folder, "full")
    assert (folder / "full" / "face-nanob.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="another goal"):
        _run(folder, "full", "--parameters", "120000:180000")


def test_a_finished_run_that_was_moved_says_where_it_is_and_a_deleted_checkpoint_is_made_again(folder: Path) -> None:
    first = json.loads(_run(folder, "before", "--json", "--method", "uniform"))["pruning"]
    weights = (folder / "before" / "face-nanob.safetensors").read_bytes()
    (folder / "before").rename(folder / "after")

    moved = json.loads(_run(folder, "after", "--json", "--method", "uniform"))["pruning"]
    path = folder / "after" / "face-nanob.safetensors"
    path.unlink()
    again = json.loads(_run(folder, "after", "--json", "--method", "uniform"))["pruning"]

    assert moved == again == {**first, "checkpoint": str(path)}
    assert path.read_bytes() == weights


@pytest.mark.parametrize("name", ["rates.json", "report.json"])
def test_a_file_of_a_run_that_says_nothing_is_refused_by_name(folder: Path, name: str) -> None:
    if not (folder / "empty" / "report.json").exists():
        _run(folder, "empty", "--method", "uniform")
    file = folder / "empty" / name
    kept = {path: path.read_bytes() for path in (file, folder / "empty" / "report.json")}
    if name == "rates.json":
        (folder / "empty" / "report.json").unlink()
    file.write_text("{}")

    with pytest.raises(InputError, match=f"{name}` is not of a pruning run"):
        _run(folder, "empty", "--method", "uniform")
    for path, content in kept.items():
        path.write_bytes(content)


def test_a_refused_run_leaves_no_folder(folder: Path) -> None:
    for more in (["--data", "/nowhere"], ["--teacher", "pose-student-2mb"]):
        with pytest.raises(InputError):
            _run(folder, "nothing", *more)
        assert not (folder / "nothing").exists()


def _silent(text: str) -> None:
    pass


def test_a_run_stopped_between_any_two_phases_goes_on_to_the_same_weights(folder: Path) -> None:
    def request(out: str) -> PruneRequest:
        return PruneRequest(
            name="face-nanob-dense",
            checkpoint=folder / "dense.safetensors",
            data="synthetic",
            out=folder / out,
            goal=Goal(low=142_000, high=165_000),
            method=Method.UNIFORM,
            soft_steps=3,
            finetune_steps=2,
            options=TrainOptions(steps=1, batch=2, workers=0, precision="32-true"),
            input_hw=(64, 64),
            count=4,
            held_out=4,
            cache=folder / "cache",
        )

    prune_model(request("whole"), say=_silent)
    for stop in ("soft pruning", "fine-tuning", "judging"):

        def say(text: str, stop: str = stop) -> None:
            if text.startswith(stop):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prune_model(request("halved"), say=say)
    prune_model(request("halved"), say=_silent)

    whole, halved = (load_file(folder / out / "face-nanob.safetensors") for out in ("whole", "halved"))
    assert all(torch.equal(value, halved[key]) for key, value in whole.items())


def test_magnitude_pruning_takes_the_rates_of_another_run(folder: Path) -> None:
    rates = dict.fromkeys(["backbone-early", "backbone-late", "cbam", "bifpn", "ssh", "heads"], 0.4)
    (folder / "other").mkdir()
    (folder / "other" / "rates.json").write_text(json.dumps({"rates": rates, "parameters": 150_000, "trials": []}))

    more = ["--method", "magnitude", "--rates-from", str(folder / "other"), "--soft-steps", "0", "--json"]
    report = json.loads(_run(folder, "magnitude", *more))["pruning"]

    assert report["rates"] == rates
    assert report["method"] == "magnitude"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--parameters", "many"], "not understood"),
        (["--parameters", "9:5"], "range of parameters"),
        (["--budget", "0"], "too small"),
        (["--rates-from", "elsewhere"], "go with uniform"),
        (["--method", "uniform", "--search-only"], "searches nothing"),
        (["--teacher", "face-v1:"], "names no file"),
    ],
)
def test_options_that_make_no_sense_are_refused(folder: Path, more: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _run(folder, "refused", *more)


def test_other_networks_are_refused(folder: Path) -> None:
    with pytest.raises(EdgeError):
        _run(folder, "refused", name="pose-student-2mb")


def test_the_verb_is_in_the_help() -> None:
    assert "prune" in VERBS
