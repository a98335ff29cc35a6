"""`edge run` as a user meets it: results on stdout, one line for each refusal, overlays whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge import cli
from edge.commands.run import find_inputs, plan_overlays, write_picture
from edge.runtime import isolate
from edge.runtime.card import AudioSpec, Card, DecoderSpec, InputSpec, OutputSpec, ResizeSpec
from edge.runtime.errors import InputError

pytest.importorskip("onnxruntime")
Write = Callable[..., Path]
Cards = Callable[..., Card]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder with two pictures and a text file that no picture suffix names."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, name in enumerate(["b.jpg", "a.png"]):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("not a picture")
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = cli.main(["run", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys: pytest.CaptureFixture[str], *words: object, code: int = 2) -> str:
    """Run, and return the one line that says why it was refused."""
    got, out, err = run(capsys, *words)
    assert (got, out) == (code, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


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
    assert not Path(f"/proc/{child}").exists()


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


def test_an_overlay_is_drawn_and_never_overwritten_without_force(
    write_onnx: Write, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = tmp_path / "seen.png"

    assert run(capsys, write_onnx(), pictures / "a.png", "--draw", seen)[0] == 0
    with Image.open(seen) as drawn:
        assert drawn.size == (30, 20)
    assert "--force" in refused(capsys, write_onnx(), pictures / "a.png", "--draw", seen)
    assert run(capsys, write_onnx(), pictures / "a.png", "--draw", seen, "--force")[0] == 0
    assert not list(tmp_path.glob(".edge-*"))


def test_overlays_of_many_go_to_a_folder(
    write_onnx: Write, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, write_onnx(), pictures, "--draw", tmp_path / "new" / "seen")[0] == 0

    assert sorted(path.name for path in (tmp_path / "new" / "seen").iterdir()) == ["a.png", "b.jpg"]


def test_an_overlay_never_replaces_its_own_input(
    write_onnx: Write, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (pictures / "a.png").read_bytes()

    assert "its own input" in refused(capsys, write_onnx(), pictures, "--draw", pictures, "--force")
    assert "its own input" in refused(
        capsys, write_onnx(), pictures / "a.png", "--draw", f"{pictures}/../pictures/a.png", "--force"
    )
    assert (pictures / "a.png").read_bytes() == before


def test_an_overlay_where_none_can_be_is_refused(
    write_onnx: Write, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    picture = pictures / "a.png"

    assert ".png" in refused(capsys, write_onnx(), picture, "--draw", tmp_path / "seen.webp")
    assert "cannot write" in refused(capsys, write_onnx(), picture, "--draw", tmp_path / "none" / "seen.png")
    assert "file" in refused(capsys, write_onnx(), pictures, "--draw", tmp_path / "file")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_refused(
    write_onnx: Write, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)

    assert "cannot write" in refused(
        capsys, write_onnx(), pictures / "a.png", "--draw", tmp_path / "locked" / "seen.png"
    )


@pytest.fixture
def mounted(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Mount a tiny tmpfs with the options of the test's parameter."""
    place = tmp_path / "mounted"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(place)]
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root on Linux")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("mounted", ["size=8k"], indirect=True)
def test_a_full_disk_is_a_resource_error_and_leaves_nothing(
    mounted: Path, write_onnx: Write, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = np.random.default_rng(3).integers(0, 256, (100, 100, 3), np.uint8)  # noise: 30 kB as PNG
    Image.fromarray(large).save(pictures / "large.png")

    err = refused(capsys, write_onnx(), pictures / "large.png", "--draw", mounted / "seen.png", code=5)

    assert "No space left" in err
    assert not list(mounted.iterdir())


@pytest.mark.parametrize("mounted", ["size=64k,ro"], indirect=True)
def test_a_read_only_disk_is_refused(
    mounted: Path, write_onnx: Write, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "write" in refused(capsys, write_onnx(), pictures / "a.png", "--draw", mounted / "seen.png")


def test_a_card_of_plain_tensors_is_not_for_the_command_line(
    write_onnx: Write, tiny_card: Cards, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = tiny_card(input=InputSpec(shape=(1, 3, 8, 8), kind="tensor", layout="any"))

    assert "pictures and sound" in refused(capsys, write_onnx(card=card), pictures / "a.png")


def test_sound_is_heard_and_drawn_by_its_emotion(
    write_onnx: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = AudioSpec(sample_rate=8000, seconds=0.5, n_fft=256, hop=64, mels=16, fmax=4000.0)
    card = Card(
        model="heard",
        input=InputSpec(shape=(1, 3, 8, 8), kind="audio", colour="RGB", audio=spec),
        outputs=(OutputSpec(name="raw", shape=(1, 2)),),
        decoder=DecoderSpec(name="valence-arousal"),
    )
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Reshape", ["mean", "three"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["product"]),
        helper.make_node("Tanh", ["product"], ["raw"]),
    ]
    ends = [
        helper.make_tensor_value_info("input", kinds.FLOAT, [1, 3, 8, 8]),
        helper.make_tensor_value_info("raw", kinds.FLOAT, [1, 2]),
    ]
    weights = [
        helper.make_tensor("three", kinds.INT64, [2], [1, 3]),
        helper.make_tensor("weights", kinds.FLOAT, [3, 2], [1.0, -1.0] * 3),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(model, {"edge.card": card.to_json()})
    (tmp_path / "heard.onnx").write_bytes(model.SerializeToString())
    with wave.open(str(tmp_path / "noise.wav"), "wb") as stream:
        stream.setparams((1, 2, 8000, 0, "NONE", ""))
        stream.writeframes(np.random.default_rng(0).integers(-9999, 9999, 8000, np.int16).tobytes())

    code, out, err = run(capsys, tmp_path / "heard.onnx", tmp_path / "noise.wav", "--draw", tmp_path / "seen.png")

    assert (code, err) == (0, "")
    assert "valence" in out
    with Image.open(tmp_path / "seen.png") as drawn:
        assert drawn.mode == "RGB"


def test_an_empty_folder_is_refused_and_inputs_are_not_done_twice(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(InputError, match="holds no audio file"):
        find_inputs([pictures], "audio")
    with pytest.raises(InputError, match="holds no image file"):
        find_inputs([tmp_path / "empty"], "image")
    assert find_inputs([pictures / "b.jpg", pictures], "image") == [pictures / "b.jpg", pictures / "a.png"]


def test_two_inputs_of_one_name_cannot_share_a_folder_of_overlays(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="same name"):
        plan_overlays([tmp_path / "x" / "a.gif", tmp_path / "y" / "a.gif"], tmp_path / "out", into_folder=True)


def test_a_picture_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "seen.png"
    target.write_bytes(b"precious")

    with pytest.raises(InputError, match="exists"):
        write_picture(np.zeros((4, 4, 3), np.uint8), target)
    assert target.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["seen.png"]


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
