"""`edge run` as a user meets it: results on stdout, and one line for each refusal. Ctrl-C is a real SIGINT."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge import cli
from edge.run_plan import find_inputs
from edge.runtime import isolate
from edge.runtime.card import Card, InputSpec, ResizeSpec
from edge.runtime.errors import InputError

from .run_help import refused, run

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("fresh_cache", "ctrl_c")
Write = Callable[..., Path]
Cards = Callable[..., Card]


def test_json_lines_come_in_order_with_results_and_times(
    write_onnx: Write, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, write_onnx(), pictures, "--json")

    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [line["file"] for line in lines] == [str(pictures / "a.png"), str(pictures / "b.jpg")]
    assert all(line["schema"] == 1 and line["results"]["kind"] == "raw" for line in lines)
    assert all(set(line["times"]) == {"pre_ms", "infer_ms", "decode_ms"} for line in lines)


def test_random_weights_are_said_on_stderr(
    write_onnx: Write, tiny_card: Cards, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_onnx(card=tiny_card(provenance={"weights": "random (seed 0)"}))

    code, _, err = run(capsys, path, pictures / "a.png")

    assert (code, err) == (0, "note: weights of tiny are random (seed 0)\n")


def test_without_json_there_is_a_line_for_each_input(
    write_onnx: Write, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, write_onnx(), pictures / "a.png", pictures / "b.jpg")

    assert (code, err) == (0, "")
    assert [line.split(": ")[0] for line in out.splitlines()] == [str(pictures / "a.png"), str(pictures / "b.jpg")]
    assert "raw 1x3x8x8 in 1" in out


def test_tflite_runs_as_well(write_tflite: Write, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert")

    code, out, _ = run(capsys, write_tflite(), pictures / "a.png", "--json", "--engine", "litert", "--threads", 2)

    assert code == 0
    assert json.loads(out)["results"]["kind"] == "raw"


def test_one_bad_picture_among_many_is_reported_and_the_others_are_done(
    write_onnx: Write, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "aa.png").write_bytes(b"no picture")

    code, out, err = run(capsys, write_onnx(), pictures, "--json")

    assert code == 2
    assert len(out.splitlines()) == 2
    assert err.count("\n") == 1
    assert "aa.png" in err


def test_a_picture_of_the_wrong_size_does_not_stop_the_others(
    write_onnx: Write, tiny_card: Cards, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = tiny_card()
    fixed = tiny_card(input=dataclasses.replace(card.input, resize=ResizeSpec(rule="none")))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(pictures / "c.png")

    code, out, err = run(capsys, write_onnx(card=fixed), pictures, "--json")

    assert (code, len(out.splitlines()), err.count("\n")) == (2, 1, 2)


def test_one_bad_picture_alone_is_refused(
    write_onnx: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")

    assert "bad.png" in refused(capsys, write_onnx(), tmp_path / "bad.png")
    assert "none.png" in refused(capsys, write_onnx(), tmp_path / "none.png")


def test_bad_artifacts_are_refused_in_one_line(
    write_onnx: Write, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = pictures / "a.png"
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(write_onnx().read_bytes()[:-20])
    empty = tmp_path / "empty.onnx"
    empty.touch()

    assert "does not exist" in refused(capsys, tmp_path / "none.onnx", picture)
    assert "truncated" in refused(capsys, cut, picture)
    assert "empty" in refused(capsys, empty, picture)
    assert "no model file" in refused(capsys, picture, picture)
    assert "folder" in refused(capsys, pictures, picture)
    assert "--card" in refused(capsys, write_onnx(card=None), picture)


def test_a_card_file_stands_in_for_the_embedded_card(
    write_onnx: Write, tiny_card: Cards, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "card.json").write_text(tiny_card().to_json())

    code, _, err = run(capsys, write_onnx(card=None), pictures / "a.png", "--card", tmp_path / "card.json")

    assert (code, err) == (0, "")


def test_a_file_that_crashes_the_engine_is_refused(
    write_onnx: Write,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    crashing = tmp_path / "child"
    crashing.write_text(
        f"#!{sys.executable}\nimport os, resource, signal\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    crashing.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(crashing))

    assert "crashed the engine, got SIGSEGV" in refused(capsys, write_onnx(), pictures / "a.png")
    assert run(capsys, write_onnx(), pictures / "a.png", "--no-isolate")[0] == 0


def is_running(process: int) -> bool:
    """Return whether a process exists and is no zombie, which only waits for somebody to ask."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_ctrl_c_ends_the_child_too(write_endless: Callable[[], Path], pictures: Path) -> None:
    words = [sys.executable, "-m", "edge", "run", str(write_endless()), str(pictures / "a.png")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not listed.exists():
            process.kill()
            pytest.skip("this kernel does not list children")
        while not listed.read_text():
            assert process.poll() is None
            time.sleep(0.01)
        child = int(listed.read_text().split()[0])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (130, "")
    assert err == "error: interrupted\n"
    # Ctrl-C may come before `Popen` has returned the child, which then ends by itself: its order is cut off.
    deadline = time.monotonic() + 30
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_file_is_probed_once_and_then_known(
    write_onnx: Write, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probes: list[object] = []
    real = isolate.probe

    def counted(*args: object, **options: object) -> None:
        probes.append(args)
        real(*args, **options)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(isolate, "probe", counted)

    for _ in range(3):
        assert run(capsys, write_onnx(), pictures / "a.png")[0] == 0
    assert len(probes) == 1


def test_a_card_of_plain_tensors_is_not_for_the_command_line(
    write_onnx: Write, tiny_card: Cards, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = tiny_card(input=InputSpec(shape=(1, 3, 8, 8), kind="tensor", layout="any"))

    assert "pictures, video and sound" in refused(capsys, write_onnx(card=card), pictures / "a.png")


def test_a_choice_that_was_measured_is_told_once(
    write_onnx: Write, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edge.runtime.engine_choice.usable_cpus", lambda: [0, 1])
    words = ["run", str(write_onnx()), str(pictures / "a.png")]

    first, second = [(cli.main(words), capsys.readouterr().err) for _ in range(2)]

    assert first[0] == second[0] == 0
    assert first[1].startswith("note: measured on this machine: onnxruntime, ")
    assert second[1] == ""


def test_a_file_that_is_not_the_one_of_the_manifest_is_noted(
    write_onnx: Write, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = write_onnx()
    manifest = artifact.parent / "manifest.json"

    def noted(text: str) -> str:
        manifest.write_text(text)
        code, _, err = run(capsys, artifact, pictures / "a.png")
        assert code == 0
        return err

    digest = hashlib.sha256(artifact.read_bytes()).hexdigest()
    assert noted(json.dumps({"files": {artifact.name: {"sha256": digest}}})) == ""
    other = noted(json.dumps({"files": {artifact.name: {"sha256": "0" * 64}}}))
    assert other.startswith(f"note: `{artifact}` is not the file")
    assert other.count("\n") == 1
    for nothing in ("", "[]", '{"files": []}', '{"files": {"tiny.onnx": 3}}', "[" * 100_000):
        assert noted(nothing) == ""


def test_an_empty_folder_is_refused_and_inputs_are_not_done_twice(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(InputError, match="holds no audio file"):
        find_inputs([pictures], "audio")
    with pytest.raises(InputError, match="holds no image file"):
        find_inputs([tmp_path / "empty"], "image")
    assert list(find_inputs([pictures / "b.jpg", pictures], "image")) == [pictures / "b.jpg", pictures / "a.png"]


def test_a_hostile_file_name_reaches_the_terminal_escaped(
    write_onnx: Write, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = pictures / "a\x1b[2J\n\u202e.png"
    (pictures / "a.png").rename(hostile)

    code, out, _ = run(capsys, write_onnx(), hostile)

    assert code == 0
    assert out.count("\n") == 1
    assert "\x1b" not in out
    assert "\u202e" not in out
