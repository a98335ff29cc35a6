"""`edge report`, as a user meets it: a page, its verdicts, refusals, and a file that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("jinja2")

from edge.cli import main

from ..bench.browser_help import EMOTION, FACES, card_with, crowd_outputs, sound_card, write_known
from ..bench.report_help import evaluation, manifest, results, row, write_bundle, write_json

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `edge report` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> tuple[int, str, str]:
        code = main(["report", *map(str, words)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def real_bundle(folder: Path, family: str = "face") -> Path:
    """Write a bundle of one real file, whose outputs are known."""
    bundle = folder / family
    bundle.mkdir()
    if family == "face":
        outputs = crowd_outputs(6, 320)
        card = card_with(outputs, family="face", decoder=FACES, side=320)
    else:
        import numpy as np

        outputs, card = {"valence_arousal": np.array([[0.5, -0.25]], np.float32)}, sound_card()
        assert card.decoder == EMOTION
    path = write_known(bundle / f"{family}-fp32.onnx", card, outputs)
    entry: dict[str, Any] = manifest()["variants"]["net-fp32.onnx"]
    entry |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
    write_json(bundle / "manifest.json", manifest(family, family=family, variants={path.name: entry}))
    return bundle


def test_a_bundle_with_results_and_metrics_becomes_a_page(report: Run, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    bench = write_json(tmp_path / "bench.json", results([row("net-int8.tflite", 2.0)]))
    metrics = write_json(tmp_path / "eval.json", evaluation({"net-fp32.onnx": 0.5, "net-int8.tflite": 0.5}))

    code, out, err = report(bundle, "--results", bench, "--eval", metrics, "--no-overlays")

    assert (code, err) == (0, "")
    page = tmp_path / "report.html"
    assert out.splitlines() == [
        "net: net-int8.tflite (pass)",
        f"report.html: {page.stat().st_size:,} bytes",
    ]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert stat.S_IMODE(page.stat().st_mode) == 0o666 & ~_umask()
    assert {path.name for path in tmp_path.iterdir()} == {"net", "bench.json", "eval.json", "report.html"}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_verdicts_come_as_json(report: Run, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)

    code, out, _ = report(bundle, "--no-overlays", "--json", "--max-bytes", "355000", "--out", "page.html")

    told = json.loads(out)
    assert code == 0
    assert (told["schema"], told["command"], told["out"]) == (1, "report", "page.html")
    (model,) = told["models"]
    assert (model["ship"], model["verdict"]) == ("net-int8.tflite", "inconclusive")
    assert [file["verdict"] for file in model["files"]] == ["no", "no", "inconclusive"]
    assert model["files"][0]["why"] == ["1,300,000 bytes, 945,000 over 355,000", "missing evidence: p90 not measured"]


@pytest.mark.parametrize(("card", "option", "verdict"), [(340_000, None, "no"), (340_000, "2e6", "inconclusive")])
def test_the_budget_is_the_cards_unless_one_is_given(
    report: Run, tmp_path: Path, card: int, option: str | None, verdict: str
) -> None:
    values = manifest()["card"]
    values["budget"]["size_bytes"] = card
    bundle = write_bundle(tmp_path, card=values)

    _, out, _ = report(bundle, "--no-overlays", "--json", *(["--max-bytes", option] if option else []))

    assert json.loads(out)["models"][0]["verdict"] == verdict


def test_given_pictures_go_through_every_file_and_are_drawn(report: Run, tmp_path: Path) -> None:
    bundle = real_bundle(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (900, 600), (90, 120, 60)).save(photos / "a<b>&.png")
    (photos / "broken.jpg").write_bytes(b"no picture")

    code, _, err = report(bundle, "--pictures", photos)

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert code == 0
    assert "broken.jpg" in err
    assert '<img src="data:image/' in page
    assert 'width="480" height="320" alt="a&lt;b&gt;&amp;.png through fp32 onnx: 6 faces, mean score 0.' in page


def test_without_pictures_synthetic_ones_are_drawn_and_called_so(report: Run, tmp_path: Path) -> None:
    code, _, err = report(real_bundle(tmp_path))

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert code == 0
    assert "face-fp32.onnx: looking at the samples" in err
    assert page.count("Synthetic picture 1") == page.count("Synthetic picture 2") == 2  # heading and alt
    assert page.count("data:image/webp;base64,") + page.count("data:image/jpeg;base64,") == 2


def test_the_same_command_writes_the_same_bytes(report: Run, tmp_path: Path) -> None:
    bundle = real_bundle(tmp_path)

    report(bundle, "--out", "one.html")
    report(bundle, "--out", "two.html")

    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_sounds_are_heard_as_numbers(report: Run, tmp_path: Path) -> None:
    code, _, _ = report(real_bundle(tmp_path, "emotion"))

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert code == 0
    assert "The same sounds through every file" in page
    assert '<span class="cell">0.500</span>' in page
    assert '<span class="cell">\N{MINUS SIGN}0.250</span>' in page


def test_a_file_that_is_not_what_the_manifest_lists_is_not_run(report: Run, tmp_path: Path) -> None:
    bundle = real_bundle(tmp_path)
    with (bundle / "face-fp32.onnx").open("ab") as stream:
        stream.write(b"x")

    code, _, _ = report(bundle)

    assert code == 0
    assert "<img" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_page_that_is_there_is_kept_unless_forced(report: Run, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    (tmp_path / "report.html").write_text("mine")

    assert report(bundle, "--no-overlays") == (
        2,
        "",
        "error: `report.html` exists; hint: pass --force to replace it\n",
    )
    assert (tmp_path / "report.html").read_text() == "mine"
    assert report(bundle, "--no-overlays", "--force")[0] == 0
    assert (tmp_path / "report.html").read_text() != "mine"


def test_a_link_is_replaced_and_not_written_through(report: Run, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "report.html").symlink_to("mine")

    assert report(bundle, "--no-overlays")[0] == 2
    assert report(bundle, "--no-overlays", "--force")[0] == 0
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "error: `nowhere` is no bundle, expected a folder with manifest.json; hint: `edge export`"),
        (["net", "--results", "none.json"], "error: cannot read `none.json`, got No such file or directory"),
        (
            ["net", "--eval", "net/manifest.json"],
            "error: `manifest.json`: `targets` is malformed, expected a list",
        ),
        (["net", "--eval", "net", "--eval", "net"], "error: evaluation `net` is named twice"),
        (["net", "--results", "net"], "error: folder `net` holds no results.json; hint: `edge bench --output`"),
        (["net", "--results", "net", "--results", "net"], "error: file of results `net` is named twice"),
        (["net", "--pictures", "none"], "error: `none` is no folder"),
        (["net", "--pictures", "net"], "error: folder `net` holds no picture or sound that can be read"),
        (["net", "--out", "a/b.html"], "error: there is no folder `a`"),
        (["net", "--out", "net"], "error: `net` is a folder"),
        (["net", "--max-ms", "nan"], "error: bad `--max-ms`, expected a number above 0, got nan"),
        (["net", "--max-bytes", "0"], "error: bad `--max-bytes`"),
        (["net", "--max-drop", "-1"], "error: bad `--max-drop`"),
        ([], "error: missing argument 'BUNDLE...'"),
    ],
)
def test_wrong_inputs_are_refused_in_one_line_and_leave_nothing(
    report: Run, tmp_path: Path, words: list[str], message: str
) -> None:
    write_bundle(tmp_path)

    code, out, err = report(*words)

    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_a_missing_extra_is_named(report: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)

    code, _, err = report(write_bundle(tmp_path))

    assert code == 2
    assert "pip install 'edge-vision[report]'" in err


def test_budgets_come_from_edge_toml_as_for_the_gate(report: Run, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    (tmp_path / "edge.toml").write_text('[[budget]]\nvariant = "int8"\nsize_bytes = 355_000\n')
    (tmp_path / "other.toml").write_text("[[budget]]\nsize_bytes = 1\n")

    def verdicts(*words: str | Path) -> list[str]:
        _, out, _ = report(bundle, "--no-overlays", "--json", "--force", *words)
        return [file["verdict"] for file in json.loads(out)["models"][0]["files"]]

    assert verdicts() == ["inconclusive", "no", "inconclusive"]
    assert "edge.toml line 3" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert verdicts("--config", tmp_path / "other.toml") == ["no"] * 3
    assert "other.toml line 2" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert verdicts("--max-bytes", "2e6") == ["inconclusive"] * 3

    (tmp_path / "edge.toml").write_text("[[budget]]\nsize_bites = 1\n")
    code, _, err = report(bundle, "--no-overlays", "--force")
    assert (code, err.count("\n")) == (2, 1)
    assert "`edge.toml` line 2: unknown key `size_bites`" in err
    code, _, err = report(bundle, "--no-overlays", "--force", "--config", "none.toml")
    assert (code, err.startswith("error: cannot read `none.toml`")) == (2, True)
