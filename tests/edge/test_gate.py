"""`edge gate` on a demo repository: it passes, then says no for each reason in turn, with code and words."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edge import cli

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from .gate_demo import LAYERS, PARITY, write_demo, write_manifest, write_network

FILE = "demo-fp16.onnx"
Run = tuple[int, str, str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo repository with its baseline, to be copied."""
    root = write_demo(tmp_path_factory.mktemp("demo"))
    words = ["gate", str(root / "bundle"), "--config", str(root / "edge.toml"), "--stage", "file"]
    assert cli.main([*words, "--update", "--reason", "the first one"]) == 0
    return root


@pytest.fixture
def demo(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh copy, which is the current folder."""
    root = tmp_path / "demo"
    shutil.copytree(made, root)
    monkeypatch.chdir(root)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    return root


def gate(capsys: pytest.CaptureFixture[str], *words: object, targets: tuple[object, ...] = ("bundle",)) -> Run:
    code = cli.main(["gate", *map(str, (*targets, *words))])
    out, err = capsys.readouterr()
    return code, out, err


def add(root: Path, text: str) -> int:
    """Add a budget to `edge.toml` and return its line."""
    path = root / "edge.toml"
    before = path.read_text()
    path.write_text(f"{before}\n[[budget]]\n{text}\n")
    return before.count("\n") + 2


def test_it_passes_with_a_limit_of_every_kind(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(
        demo,
        'variant = "fp16"\np50_ms = 60_000\np90_ms = 60_000\nsame_output = true\noperators = 100\nmacs = 400_000_000',
    )

    code, out, err = gate(capsys, "--json", "--launches", 1, "--seconds", 0)

    told = json.loads(out)
    assert code == 0, err
    assert (told["schema"], told["verdict"], told["ungated"]) == (1, "pass", ["demo-fp32.onnx"])
    assert [(check["stage"], check["name"], check["verdict"]) for check in told["checks"]] == [
        ("file", "manifest", "pass"),
        ("file", "precision", "pass"),
        ("file", "size_bytes", "pass"),
        ("file", "operators", "pass"),
        ("file", "macs", "pass"),
        ("file", "parity", "pass"),
        ("file", "same_output", "pass"),
        ("accuracy", "metric_drop", "pass"),
        ("latency", "p50_ms", "pass"),
        ("latency", "p90_ms", "pass"),
        ("latency", "slower_percent", "pass"),
    ]
    timed = told["checks"][9]
    assert (timed["device"], timed["threads"], timed["evidence"]) == ("host", 1, "measured")
    assert 0 < timed["low"] <= timed["value"] <= timed["high"] <= 60_000


def test_one_byte_over_is_a_no(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = demo / "edge.toml"
    size = (demo / "bundle" / FILE).stat().st_size
    path.write_text(path.read_text().replace(f"size_bytes = {size}", f"size_bytes = {size - 1}"))

    code, out, err = gate(capsys)

    assert code == 3
    assert f"no: {FILE}: size_bytes: {size:,} bytes, 1 over {size - 1:,} (line 8)" in out
    assert "skipped" in out  # no time is spent on a file that is refused
    assert err.splitlines()[-1:] == [
        f"error: 1 of 5 checks say no, got {FILE}: {size:,} bytes, 1 over {size - 1:,} (edge.toml line 8)"
    ]


def test_another_precision_than_the_name_says_is_a_no(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_network(demo / "bundle" / FILE, "fp16", half=False)
    write_manifest(demo / "bundle")
    add(demo, 'variant = "fp16"\nsize_bytes = 2_000_000')

    code, out, _ = gate(capsys, "--stage", "file")

    assert code == 3
    assert f"no: {FILE}: precision: not an fp16 file" in out


def test_a_drop_of_the_metric_is_a_no(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_network(demo / "bundle" / FILE, "fp16", half=True, pixel=(200, 1))
    write_manifest(demo / "bundle")

    code, out, err = gate(capsys, "--stage", "accuracy")

    assert code == 3
    assert f"no: {FILE}: metric_drop: loses " in out
    assert "points" in out
    assert "CCC against `bundle/demo-fp32.onnx`, 10 samples of" in out
    assert "CCC against `accepted/demo-fp16.onnx`" in out  # and the baseline was better as well
    assert "2 of 2 checks say no" in err


def test_a_slower_file_is_a_no_and_one_that_is_not_passes(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_network(demo / "bundle" / FILE, "fp16", half=True, layers=LAYERS * 3 // 2)
    write_manifest(demo / "bundle")

    code, out, _ = gate(capsys, "--stage", "latency")

    assert code == 3
    assert f"no: {FILE}: slower_percent: slower: +" in out
    assert "of the baseline's processor time" in out
    assert "at most 5 % is allowed" in out

    write_network(demo / "bundle" / FILE, "fp16", half=True, layers=LAYERS // 2)
    write_manifest(demo / "bundle")

    assert gate(capsys, "--stage", "latency")[0] == 0


def test_a_pi_that_is_only_predicted_is_missing_evidence(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = add(demo, 'variant = "fp16"\ndevice = "rpi4"\np90_ms = 50')

    code, out, err = gate(capsys, "--stage", "latency")

    assert code == 3
    assert "missing evidence: there is no [devices.rpi4]" in out
    assert f"(edge.toml line {line + 3})" in err


def test_a_prediction_will_do_where_a_budget_says_so(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(demo, 'variant = "fp16"\ndevice = "rpi4"\np50_ms = 60_000\nevidence = "predicted"')

    code, out, err = gate(capsys, "--stage", "latency", "--json")

    check = next(check for check in json.loads(out)["checks"] if check["name"] == "p50_ms")
    assert (code, check["verdict"], check["evidence"]) == (0, "pass", "predicted"), err
    assert check["low"] < check["value"] < check["high"]


def test_parity_comes_from_the_manifest_and_only_of_the_file_that_it_lists(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(demo / "bundle", sqnr_db=29.9)
    code, out, _ = gate(capsys, "--stage", "file")
    assert code == 3
    assert "parity: output `valence_arousal`: SQNR 29.9 dB, limit 30 dB" in out

    write_manifest(demo / "bundle")
    with (demo / "bundle" / FILE).open("ab") as stream:
        stream.write(b"\x7a\x00")  # an empty field that no reader knows
    code, out, _ = gate(capsys, "--stage", "file")
    assert code == 3
    assert "manifest: not the file that the manifest lists" in out
    assert "parity: no parity is known of a file that its manifest does not list" in out


@pytest.mark.parametrize("figure", [None, "30", float("nan"), float("inf"), True, [30]])
def test_parity_that_is_no_number_is_refused_with_its_place(
    demo: Path, capsys: pytest.CaptureFixture[str], figure: Any
) -> None:
    write_manifest(demo / "bundle", sqnr_db=figure)

    code, _, err = gate(capsys, "--stage", "file")

    assert code == 2
    assert "valence_arousal.sqnr_db` is malformed, expected a number" in err


def test_another_answer_than_the_baseline_is_a_no(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(demo, 'variant = "fp16"\nsame_output = true\nsize_bytes = 2_000_000')
    write_network(demo / "bundle" / FILE, "fp16", half=True, note="other bytes, the same answer")
    write_manifest(demo / "bundle")
    assert gate(capsys, "--stage", "file")[0] == 0

    write_network(demo / "bundle" / FILE, "fp16", half=True, pixel=(12, 1))
    write_manifest(demo / "bundle")
    code, out, _ = gate(capsys, "--stage", "file")

    assert code == 3
    assert "same_output: it answers a fixed input otherwise than the baseline's file" in out


def test_figures_may_come_from_elsewhere(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = add(demo, 'variant = "fp16"\np90_ms = 60_000')
    assert (
        cli.main(["bench", "bundle", "--threads", "1", "--launches", "1", "--seconds", "0", "--no-stages", "--json"])
        == 0
    )
    (demo / "times.json").write_text(capsys.readouterr().out)
    names = ["bundle/demo-fp32.onnx", "bundle/demo-fp16.onnx"]
    assert cli.main(["eval", *names, "--data", "songs", "--threads", "1", "--json"]) == 0
    (demo / "drops.json").write_text(capsys.readouterr().out)
    words = ["--results", "times.json", "--report", "drops.json"]

    code, out, err = gate(capsys, *words, "--json")
    assert code == 0, err
    assert "judged" not in err

    write_network(demo / "bundle" / FILE, "fp16", half=True, note="another file than was measured")
    write_manifest(demo / "bundle")
    add(demo, 'variant = "fp16"\nsize_bytes = 2_000_000')
    code, out, err = gate(capsys, *words, "--stage", "accuracy", "--stage", "latency")
    assert code == 3
    assert "metric_drop: missing evidence: `drops.json` does not compare this file" in out
    assert (
        f"p90_ms: missing evidence: the results hold no row of this file on `host` with 1 thread (line {line + 2})"
        in out
    )


def test_an_update_writes_files_hashes_and_reasons_whole(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (demo / "accepted" / ".gitattributes").write_text("*.onnx filter=lfs\n")
    write_network(demo / "bundle" / FILE, "fp16", half=True, layers=LAYERS + 1)
    write_manifest(demo / "bundle")
    add(demo, 'variant = "fp16"\nsize_bytes = 2_000_000')

    code, _, err = gate(capsys, "--stage", "file", "--update", "--reason", "one layer more")

    assert code == 0, err
    told = json.loads((demo / "accepted" / "baseline.json").read_text())
    assert [entry["reason"] for entry in told["history"]] == ["the first one", "one layer more"]
    assert (demo / "accepted" / FILE).read_bytes() == (demo / "bundle" / FILE).read_bytes()
    assert (demo / "accepted" / ".gitattributes").exists()
    assert not list(demo.glob(".*"))

    add(demo, 'variant = "fp16"\nsize_bytes = 1')
    before = {path.name: path.read_bytes() for path in (demo / "accepted").iterdir()}
    code, _, _ = gate(capsys, "--stage", "file", "--update", "--reason", "too large")
    assert code == 3  # what breaks its own budget is no new baseline
    assert {path.name: path.read_bytes() for path in (demo / "accepted").iterdir()} == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none"], "`none` does not exist"),
        (["bundle", "--config", "none.toml"], "there is no `none.toml`; hint: docs/gates.md"),
        (["bundle", "--baseline", "none"], "there is no baseline in `none`"),
        (["bundle", "--update"], "a new baseline needs a reason"),
        (["bundle", "--update", "--reason", "two\nlines"], "a new baseline needs a reason"),
        (["bundle", "--update", "--reason", "x", "--baseline", "songs"], "`songs` stands in the way"),
        (["bundle", "--reason", "x"], "`--reason` is for `--update`"),
        (["bundle", "--stage", "latency", "--results", "none.json"], "cannot read `none.json`"),
        (["bundle", "--stage", "latency", "--results", "edge.toml"], "`edge.toml` is no JSON"),
        (["bundle", "--results", "songs"], "folder `songs` holds no results.json; hint: `edge bench --output`"),
        (["bundle", "--stage", "file", "--results", "none.json"], "cannot read `none.json`"),
        (["bundle", "--stage", "file", "--report", "none.json"], "cannot read `none.json`"),
        (["bundle", "--stage", "file", "--seconds", "nan"], "`seconds` is out of range, expected 0 to 86400 s"),
        (["bundle", "--junit", "songs"], "cannot write `songs`, expected the name of a file, got a folder"),
        (["bundle", "--summary", "edge.toml/gate.md"], "edge.toml`, which is no folder"),
        (
            ["bundle", "--stage", "accuracy", "--report", "bundle/manifest.json"],
            "`manifest.json`: `targets` is malformed",
        ),
        (["accepted"], "`accepted` is no bundle: it has no `manifest.json`"),
        (["accepted/demo-fp16.onnx", "--stage", "file"], "has no manifest beside it"),
        (["bundle", "accepted"], "is no bundle"),
        (["bundle", "--stage", "speed"], "'speed' is not one of"),
    ],
)
def test_what_is_missing_or_malformed_is_one_line_and_code_2(
    words: list[str], says: str, demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--results" in words:
        add(demo, 'variant = "fp16"\np90_ms = 60_000')

    code, out, err = gate(capsys, *words[1:], targets=(words[0],))

    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1


def test_nothing_checked_is_never_a_pass(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = demo / "edge.toml"
    path.write_text('[[budget]]\nmodel = "demos"\nsize_bytes = 1\n')
    code, _, err = gate(capsys)
    assert code == 2
    assert "no budget matches any of the files, got demo fp16.onnx, demo fp32.onnx; hint" in err

    path.write_text('[[budget]]\nmodel = "demo"\nsize_bytes = 1\n')
    code, _, err = gate(capsys, "--stage", "latency")
    assert code == 2
    assert "nothing was checked" in err

    path.write_text("")
    code, _, err = gate(capsys)
    assert code == 2
    assert "sets no budget" in err

    path.write_text('[[budget]]\nvariant = "fp32"\nmetric_drop = 1\n')  # the file is its own reference
    code, _, err = gate(capsys, "--stage", "accuracy")
    assert code == 2
    assert "nothing was checked" in err


def test_a_budget_that_matches_no_file_is_a_no_unless_the_files_are_some_only(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = add(demo, 'model = "renamed"\nsize_bytes = 1')

    code, out, _ = gate(capsys, "--stage", "file")
    assert code == 3
    assert 'no: a budget: budget: model "renamed", variant "*" match no file' in out
    assert f"(line {line})" in out

    assert gate(capsys, "--stage", "file", "--partial")[0] == 0


def test_ci_systems_get_markdown_annotations_and_junit(
    demo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = add(demo, 'variant = "fp16"\nsize_bytes = 7')
    page = demo / "page.md"
    page.write_text("# before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(demo.parent))

    code, out, err = gate(capsys, "--stage", "file", "--junit", "out/gate.xml", "--summary", "out/gate.md", "--json")

    assert code == 3
    assert json.loads(out)["verdict"] == "no"
    assert f"::error file=demo/edge.toml,line={line + 2},title=edge gate%3A size_bytes::{FILE}: " in err
    assert page.read_text().startswith("# before\n### ❌ edge gate: no\n")
    assert page.read_text().removeprefix("# before\n") == (demo / "out" / "gate.md").read_text()
    suite = ElementTree.parse(demo / "out" / "gate.xml").getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == ("4", "1", "0")
    assert [case.attrib["name"] for case in suite if case.find("failure") is not None] == [f"{FILE} size_bytes"]
    assert not list((demo / "out").glob(".*"))


def test_a_no_is_a_no_for_a_reader_that_has_left(demo: Path) -> None:
    add(demo, 'variant = "fp16"\nsize_bytes = 1')
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "edge", "gate", "bundle", "--stage", "file"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(write)

    assert (done.returncode, "checks say no" in done.stderr) == (3, True)


def test_a_summary_that_cannot_be_written_is_told_before_anything_is_checked(
    demo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(demo / "songs"))

    code, out, err = gate(capsys, "--stage", "file", "--junit", "gate.xml")

    assert (code, out) == (2, "")
    assert err.startswith(f"error: cannot write `{demo / 'songs'}`")
    assert not (demo / "gate.xml").exists()


def test_a_baseline_may_be_still_to_come_where_nothing_is_compared_with_it(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(demo / "accepted")

    assert gate(capsys, "--stage", "file")[0] == 0
    for words in (["--stage", "accuracy"], ["--stage", "latency"], ["--stage", "file", "--baseline", "accepted"]):
        code, _, err = gate(capsys, *words)
        assert (code, "there is no baseline in `accepted`" in err) == (2, True)
    add(demo, 'variant = "fp16"\nsame_output = true')
    assert gate(capsys, "--stage", "file")[0] == 2


def test_a_config_is_shown_checked_and_described(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "check"]) == 0
    assert capsys.readouterr().out == "edge.toml: 0 devices and 2 budgets, nothing wrong\n"
    assert cli.main(["config", "show"]) == 0
    shown = capsys.readouterr().out
    assert "host, 1 threads, measured" in shown
    assert shown.startswith("defaults: device host, threads 1, baseline accepted, samples -, data songs\n")
    assert cli.main(["config", "show", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [budget["line"] for budget in told["budgets"]] == [5, 12]
    assert told["budgets"][1]["limits"] == {"slower_percent": 5}
    assert cli.main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "edge.toml"
    (demo / "edge.toml").write_text("[[budget]]\nsize_bites = 3\n")
    assert cli.main(["config", "check"]) == 2
    assert "`edge.toml` line 2: unknown key `size_bites`; hint: did you mean `size_bytes`?" in capsys.readouterr().err
    (demo / "edge.toml").unlink()
    assert cli.main(["config", "check"]) == 2


def test_the_parity_figures_of_the_demo_are_all_that_a_manifest_has() -> None:
    from edge.runtime.parity import OutputParity

    assert set(PARITY) == set(OutputParity.__dataclass_fields__)
