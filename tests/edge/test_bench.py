"""`edge bench`, as a user meets it: tables, JSON, JUnit, resumption, refusals and interruptions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from edge.bench_inputs import find_artifacts
from edge.cli import main
from edge.commands.bench import command
from edge.runtime.errors import DeviceError

QUICK = ["--seconds", "0", "--warmup", "0", "--runs", "20", "--launches", "1", "--threads", "1"]


def bench(*words: str | Path, catch: bool = False) -> Result:
    return CliRunner().invoke(command, [*map(str, words), *QUICK], catch_exceptions=catch)


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    code = main(["bench", *map(str, words)])
    return code, capsys.readouterr().err.strip().splitlines()[-1]


@pytest.fixture
def bundle(tmp_path: Path, write_onnx: Callable[..., Path], write_tflite: Callable[..., Path]) -> Path:
    """A folder with one file of each format."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for path in (write_onnx(), write_tflite()):
        path.rename(folder / path.name)
    (folder / "manifest.json").write_text("{}")
    return folder


@pytest.fixture
def chain(write_chain: Callable[..., Path]) -> Path:
    """A file of three layers: convolution, pooling, addition."""
    return write_chain()


def test_a_bundle_is_measured_with_every_engine_and_the_best_is_named(bundle: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (20, 10), (9, 200, 30)).save(photo)

    done = bench(bundle, "--input", photo, "--json")
    report = json.loads(done.stdout)

    assert report["schema"] == 1
    assert [(row["artifact"]["file"], row["engine"]["name"]) for row in report["rows"]] == [
        ("tiny.onnx", "onnxruntime"),
        ("tiny.tflite", "litert"),
    ]
    for row in report["rows"]:
        assert row["status"] == "complete"
        assert row["evidence"] == "measured"
        assert row["input"] == "`photo.png`"
        assert row["infer"]["count"] == len(row["launches"][0]["wall_ms"]) == 20
        assert set(row["stages"]) == {"pre", "infer", "decode", "total"}
        assert row["launches"][0]["started"]["python"]
    assert report["best"]["file"] in ("tiny.onnx", "tiny.tflite")
    assert report["best"]["of"] == "frame"
    assert "[2/2]" in done.stderr


def test_the_json_keeps_to_its_schema(bundle: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    from edge.bench.schema import bench_schema

    report = json.loads(bench(bundle, "--json").stdout)

    jsonschema.Draft202012Validator.check_schema(bench_schema())
    jsonschema.validate(report, bench_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**report, "rows": [{}]}, bench_schema())


def test_without_json_there_is_a_table(bundle: Path) -> None:
    done = bench(bundle)

    assert done.exit_code == 0
    assert "tiny.tflite" in done.stdout
    assert "best: " in done.stdout


def test_what_was_kept_is_not_measured_again(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = bench(bundle, "--output", out, "--junit", tmp_path / "j.xml", "--json")
    kept = json.loads((out / "results.json").read_text())

    again = bench(bundle, "--output", out, "--json")

    assert again.stderr.count("kept from before") == 2
    assert json.loads(again.stdout)["rows"] == json.loads(first.stdout)["rows"] == kept["rows"]
    assert ElementTree.parse(tmp_path / "j.xml").getroot().attrib["tests"] == "2"
    assert not list(out.glob(".*"))


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["none.onnx"], 2, "does not exist"),
        (["."], 2, "holds no artifact"),
        (["{onnx}", "{onnx}"], 2, "is named twice"),
        (["{onnx}", "--device", "moon"], 2, "there is no device `moon`"),
        (["{onnx}", "--engine", "litert"], 2, "does not run onnx files"),
        (["{onnx}", "--threads", "two"], 2, "is not understood"),
        (["{onnx}", "--threads", "1,1"], 2, "names a number twice"),
        (["{onnx}", "--threads", "0"], 2, "bad number of threads"),
        (["{onnx}", "--pin", "4095"], 4, "cannot pin"),
        (["{onnx}", "--seconds", "nan"], 2, "`seconds` is out of range"),
        (["{onnx}", "--input", "none.png"], 2, "none.png"),
        (["{onnx}", "--compare"], 2, "takes two artifacts"),
        (["{onnx}", "{onnx}", "--self-test"], 2, "takes one artifact"),
        (["{onnx}", "{onnx}", "--compare", "--device", "android"], 2, "`--device` means nothing to `--compare`"),
        (["{onnx}", "--self-test", "--output", "here"], 2, "`--output` means nothing to `--self-test`"),
        (["{onnx}", "--profile", "--threads", "4"], 2, "means nothing to `--profile`, expected --draw or --json besi"),
        (["{onnx}", "--config", "none.toml"], 2, "cannot read `none.toml`"),
        (["{onnx}", "--draw", "layers.svg"], 2, "`--draw` writes the picture of `--profile`, which is not there"),
        (["{onnx}", "--profile", "--draw", "layers.png"], 2, "expected FILE.svg, got layers.png"),
        (["{onnx}", "--profile", "--draw", "{onnx}/layers.svg"], 2, "one.onnx`, which is no folder"),
        (["{onnx}", "--junit", "."], 2, "cannot write `.`, expected the name of a file, got a folder"),
        (["{onnx}", "--output", "{onnx}"], 2, "one.onnx`, which is no folder"),
        (["{onnx}", "--device", "moon", "--serial", "X"], 2, "`--serial` is of the device `android`, got"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    code: int,
    says: str,
    write_onnx: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_onnx("one.onnx")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)

    got, line = refused(capsys, *(word.format(onnx=path) for word in words))

    assert got == code
    assert line.startswith("error: ")
    assert says in line


def test_a_hidden_folder_is_searched_where_it_is_named_and_passed_over_where_it_is_not(
    write_onnx: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = tmp_path / ".models" / ".run-1"
    unfinished.mkdir(parents=True)
    write_onnx("a.onnx").rename(tmp_path / ".models" / "a.onnx")
    write_onnx("b.onnx").rename(unfinished / "b.onnx")

    assert [artifact.path.name for artifact, _ in find_artifacts([tmp_path / ".models"])] == ["a.onnx"]
    assert [artifact.path.name for artifact, _ in find_artifacts([unfinished])] == ["b.onnx"]
    monkeypatch.chdir(unfinished)
    assert [artifact.path.name for artifact, _ in find_artifacts([Path("..")])] == ["a.onnx"]


def test_two_files_are_compared_in_pairs(write_onnx: Callable[..., Path]) -> None:
    words = map(str, (write_onnx("a.onnx"), write_onnx("b.onnx"), "--compare", "--json"))
    done = CliRunner().invoke(command, list(words), catch_exceptions=False)
    told: dict[str, Any] = json.loads(done.stdout)

    assert told["files"] == ["a.onnx", "b.onnx"]
    assert told["pairs"] == 60
    assert told["calls"] > 10
    assert told["answer"] in ("no difference", "slower", "faster")
    assert told["low"] <= told["change"] <= told["high"]


def test_a_self_test_says_what_comparisons_here_are_worth(write_onnx: Callable[..., Path]) -> None:
    done = CliRunner().invoke(command, [str(write_onnx()), "--self-test", "--json"], catch_exceptions=False)
    told = json.loads(done.stdout)

    assert (told["same"], told["slower"]) == (20, 20)
    assert 0.03 < told["smallest"] < 10
    assert "smallest slow-down" in told["text"]


def test_an_interrupt_ends_the_worker_and_keeps_what_was_complete(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["bench", str(bundle), "--threads", "1", "--warmup", "0", "--seconds", "0", "--launches", "60"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", *words, "--output", str(out)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    while not list(out.glob("launches/*.json")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 130
    assert errors.strip().splitlines()[-1].startswith("error: interrupted")
    assert not (out / "results.json").exists()
    assert not list(out.glob("launches/.part-*"))
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_a_profile_of_cut_files_keeps_the_engines_own_words_to_itself(chain: Path) -> None:
    command = [sys.executable, "-m", "edge", "bench", str(chain), "--profile", "--json"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)

    assert len(json.loads(done.stdout)["profiles"][0]["layers"]) == 3
    assert done.stderr == ""


def test_a_pi_that_is_not_there_is_predicted_and_says_so(chain: Path) -> None:
    done = bench(chain, "--device", "rpi4", "--no-emulate", "--json")
    (row,) = json.loads(done.stdout)["rows"]

    assert row["evidence"] == row["status"] == "predicted"
    assert row["infer"] is None
    assert row["launches"] == []
    told = row["prediction"]
    assert told["evidence"] == "predicted"
    assert told["budget_ms"] == 50.0
    assert told["verdict"] in ("pass", "fail", "undetermined")
    assert told["abstained"] or told["low_ms"] < told["p50_ms"] < told["high_ms"]
    assert "predicted" in bench(chain, "--device", "rpi4", "--no-emulate").stdout


def test_where_a_measurement_is_wanted_nothing_is_predicted(
    chain: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, line = refused(capsys, chain, "--device", "rpi4", "--evidence", "measured")

    assert code == 4
    assert "no Raspberry Pi 4 is named" in line
    assert capsys.readouterr().out == ""


def test_a_device_of_edge_toml_that_cannot_be_reached_fails_its_own_rows(bundle: Path, tmp_path: Path) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("no ssh here")
    config = tmp_path / "edge.toml"
    config.write_text('[devices.lab]\nssh = "127.0.0.1"\nport = 1\n')

    done = bench(bundle, "--device", "host", "--device", "lab", "--config", config, "--json", catch=True)
    rows = json.loads(done.stdout)["rows"]

    assert [(row["device"], row["status"]) for row in rows] == [
        ("host", "complete"), ("host", "complete"), ("lab", "failed"), ("lab", "failed")
    ]  # fmt: skip
    assert isinstance(done.exception, DeviceError)
    assert "lab" in str(done.exception)


def test_fit_is_a_verb_beside_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "fit", "--help"]) == 0
    assert "edge bench fit" in capsys.readouterr().out
    code, line = refused(capsys, "fit", "--table", "none.csv")
    assert code == 2
    assert "none.csv" in line
