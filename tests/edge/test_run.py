"""`edge run` as a user meets it: results on stdout, one line for each refusal, overlays whole or not at all.

Cameras are played by a reader of made-up pictures; Ctrl-C is a real SIGINT.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge import cli
from edge.run_output import Progress, Recorder, Tally, write_picture
from edge.run_plan import Kind, find_inputs, plan_overlays
from edge.runtime import isolate
from edge.runtime.card import AudioSpec, Card, DecoderSpec, InputSpec, OutputSpec, ResizeSpec
from edge.runtime.errors import DeviceError, InputError
from edge.runtime.stream import Frame
from edge.runtime.video import VideoReader, VideoWriter

pytest.importorskip("onnxruntime")
Write = Callable[..., Path]
Cards = Callable[..., Card]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Let SIGINT interrupt this process and its children, even if these tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
    """Run with one thread, which leaves nothing to measure."""
    code = cli.main(["run", "--threads", "1", *map(str, words)])
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


def test_a_slash_names_a_folder_of_overlays_and_no_name_is_refused(
    write_onnx: Write, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, write_onnx(), pictures / "a.png", "--draw", f"{tmp_path / 'seen'}/")

    assert (code, err) == (0, "")
    assert os.listdir(tmp_path / "seen") == ["a.png"]
    assert "`--draw` is empty" in refused(capsys, write_onnx(), pictures / "a.png", "--draw", "")


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

    assert "pictures, video and sound" in refused(capsys, write_onnx(card=card), pictures / "a.png")


@pytest.fixture
def listener(tmp_path: Path) -> Path:
    """Return an ONNX file that hears half a second of sound at 8 kHz and gives an emotion."""
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
    path = tmp_path / "heard.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def write_noise(path: Path, seconds: float) -> Path:
    with wave.open(str(path), "wb") as stream:
        stream.setparams((1, 2, 8000, 0, "NONE", ""))
        noise = np.random.default_rng(0).integers(-9999, 9999, round(8000 * seconds), np.int16)
        stream.writeframes(noise.tobytes())
    return path


def test_a_sound_of_one_window_is_a_point_in_the_plane(
    listener: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = write_noise(tmp_path / "noise.wav", 0.4)

    code, out, err = run(capsys, listener, sound, "--draw", tmp_path / "seen.png")

    assert (code, err) == (0, "")
    assert out.startswith(f"{sound}: ")
    assert "valence" in out
    with Image.open(tmp_path / "seen.png") as drawn:
        assert (drawn.mode, drawn.size) == ("RGB", (720, 720))


def test_a_long_sound_has_a_line_for_each_window_and_a_trace(
    listener: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = write_noise(tmp_path / "noise.wav", 2.0)

    code, out, err = run(
        capsys, listener, sound, "--json", "--step", "0.25", "--smooth", "1", "--draw", tmp_path / "seen.png"
    )

    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["time_s"] for line in lines] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
    assert [line["frame"] for line in lines] == list(range(7))
    raw = [line["results"]["emotion"]["valence"] for line in lines]
    smooth = [line["smooth"]["valence"] for line in lines]
    assert smooth[0] == raw[0]
    assert np.ptp(smooth) < np.ptp(raw)
    assert err.startswith(f"{sound}: 7 windows, ")
    with Image.open(tmp_path / "seen.png") as drawn:
        assert drawn.size == (1280, 720)


def test_a_long_sound_is_one_line_for_people_and_is_smoothed_only_if_wanted(
    listener: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = write_noise(tmp_path / "noise.wav", 2.0)

    code, out, err = run(capsys, listener, sound)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert "mostly " in out
    assert "smooth" in json.loads(run(capsys, listener, sound, "--json")[1].splitlines()[0])
    _, out, _ = run(capsys, listener, sound, "--json", "--smooth", "0", "--frames", "2")
    assert ["smooth" in json.loads(line) for line in out.splitlines()] == [False, False]


def test_a_bad_sound_among_others_is_reported(
    listener: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_noise(tmp_path / "b.wav", 0.4)
    (tmp_path / "a.wav").write_bytes(b"RIFF")

    code, out, err = run(capsys, listener, tmp_path)

    assert (code, out.count("\n"), err.count("\n")) == (2, 1, 1)
    assert "a.wav" in err


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Return a video of 12 pictures, 64 x 48, at 10 a second."""
    return write_video(tmp_path / "street.avi", 12)


def write_video(path: Path, count: int) -> Path:
    pytest.importorskip("cv2", reason="video needs OpenCV")
    with VideoWriter(path, 10.0, (48, 64)) as writer:
        for index in range(count):
            writer.write(np.full((48, 64, 3), 20 * index % 256, np.uint8))
    return path


def test_a_video_has_a_json_line_for_each_frame(
    write_onnx: Write, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, write_onnx(), video, "--json")

    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["frame"] for line in lines] == list(range(12))
    assert [line["time_s"] for line in lines] == pytest.approx([index / 10 for index in range(12)])
    assert all(line["skipped"] == 0 and line["file"] == str(video) for line in lines)
    means = [line["results"]["raw"]["raw"]["mean"] for line in lines]
    assert means == sorted(means)  # each is of its own frame
    assert err.startswith(f"{video}: 12 frames, ")
    assert err.count("\n") == 1


def test_a_video_is_one_line_for_people(write_onnx: Write, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, write_onnx(), video, "--frames", "5")

    assert (code, err, out.count("\n")) == (0, "", 1)
    assert out.startswith(f"{video}: 5 frames, ")
    assert "[median pre " in out


def test_the_overlay_of_a_video_is_a_video(
    write_onnx: Write, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = tmp_path / "seen.mp4"

    assert run(capsys, write_onnx(), video, "--draw", seen)[0] == 0

    with VideoReader(seen) as reader, VideoReader(video) as original:
        assert (reader.fps, reader.hw) == (10.0, (48, 64))
        pairs = [
            (drawn.astype(int), plain.astype(int)) for (_, drawn), (_, plain) in zip(reader, original, strict=True)
        ]
    assert len(pairs) == 12
    assert all(abs(drawn - plain)[:24].mean() < 8 for drawn, plain in pairs)
    assert abs(pairs[11][0] - pairs[11][1])[34:].max() > 60  # the time, in the lower left
    assert "--force" in refused(capsys, write_onnx(), video, "--draw", seen)
    assert not list(tmp_path.glob(".edge-*"))


def test_a_folder_of_pictures_and_videos_is_drawn_each_by_its_kind(
    write_onnx: Write, video: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video.rename(pictures / "c.avi")
    (pictures / "d.mkv").write_bytes(b"no video")

    code, out, err = run(capsys, write_onnx(), pictures, "--draw", tmp_path / "seen")

    assert (code, out.count("\n"), err.count("\n")) == (2, 3, 1)
    assert "d.mkv" in err
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == ["a.png", "b.jpg", "c.avi"]


def test_an_overlay_of_another_kind_is_refused_before_any_work(
    write_onnx: Write,
    listener: Path,
    tmp_path: Path,
    pictures: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(isolate, "guard", lambda *args, **options: pytest.fail("work was done"))
    (tmp_path / "film.mp4").touch()
    (tmp_path / "song.wav").touch()
    seen, picture = tmp_path / "seen", pictures / "a.png"

    def said(artifact: Path, *words: object) -> str:
        err = refused(capsys, artifact, *words)
        assert list(tmp_path.glob("seen*")) == []
        return err

    assert "seen.mp4`" in said(write_onnx(), tmp_path / "film.mp4", "--draw", f"{seen}.png")
    assert "expected .png" in said(write_onnx(), picture, "--draw", f"{seen}.mp4")
    assert "expected .png" in said(listener, tmp_path / "song.wav", "--draw", f"{seen}.avi")
    assert f"need a folder, got `{seen}.png`; hint: pass `--draw {seen}/`" in said(
        write_onnx(), pictures, "--draw", f"{seen}.png"
    )


def test_options_that_would_do_nothing_are_refused(
    write_onnx: Write, listener: Path, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = pictures / "a.png"

    assert "`--frames`" in refused(capsys, write_onnx(), picture, "--frames", 3)
    assert "`--step`" in refused(capsys, write_onnx(), picture, "--step", 3)
    assert "`--smooth`" in refused(capsys, write_onnx(), picture, "--smooth", 3)
    assert "gaps" in refused(capsys, listener, write_noise(tmp_path / "noise.wav", 1), "--step", 0.6)


def test_ctrl_c_in_a_video_keeps_the_lines_and_discards_the_overlay(write_onnx: Write, tmp_path: Path) -> None:
    video = write_video(tmp_path / "long.avi", 1500)  # their lines do not fit into a pipe: the child has to wait
    words = ["run", str(write_onnx()), str(video), "--json", "--threads", "1", "--draw", str(tmp_path / "seen.mp4")]
    with subprocess.Popen(
        [sys.executable, "-m", "edge", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (130, "error: interrupted\n")
    frames = [json.loads(line)["frame"] for line in (first + out).splitlines()]
    assert frames == list(range(len(frames)))
    assert len(frames) < 1500
    assert not (tmp_path / "seen.mp4").exists()
    assert not list(tmp_path.glob(".edge-*"))


def test_a_reader_of_lines_that_has_enough_ends_a_video_quietly(write_onnx: Write, tmp_path: Path) -> None:
    video = write_video(tmp_path / "long.avi", 1500)
    words = ["run", str(write_onnx()), str(video), "--json", "--threads", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "edge", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()

    assert (process.returncode, err) == (0, "")


class Camera:
    """What `VideoReader` is for camera 0: 10 pictures a second by its own clock, then `end` is called."""

    fps, frames, hw, live = 30.0, None, (48, 64), True
    end: Callable[[], None]
    woken: threading.Event  # what a real driver does not have: no thread is left to the next test

    def __init__(self, source: object) -> None:
        assert source == 0

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        for index in range(6):
            time.sleep(0.02)  # so that the engine, which takes the newest only, sees each
            yield index / 10, np.full((48, 64, 3), 40 * index, np.uint8)
        time.sleep(0.5)  # all that was seen is written by now
        self.end()
        self.woken.wait(60)

    def close(self) -> None:
        """Release nothing."""


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Camera]]:
    pytest.importorskip("cv2", reason="video needs OpenCV")
    monkeypatch.setattr("edge.runtime.stream.VideoReader", Camera)
    monkeypatch.setattr("edge.runtime.stream.JOIN_S", 0.1)
    monkeypatch.setattr(Camera, "woken", threading.Event(), raising=False)
    yield Camera
    Camera.woken.set()
    for thread in threading.enumerate():
        if thread.name == "edge-reader":
            thread.join()


def test_ctrl_c_stops_a_camera_and_keeps_its_recording(
    camera: type[Camera],
    write_onnx: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(camera, "end", lambda self: os.kill(os.getpid(), signal.SIGINT), raising=False)
    seen = tmp_path / "seen.mp4"

    code, out, err = run(capsys, write_onnx(), "camera:0", "--json", "--draw", seen)

    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert err.startswith(f"camera:0: {len(lines)} frames, ")
    with VideoReader(seen) as reader:
        assert reader.fps == 30.0
        written = len(list(reader))
    # at 30 a second, it lasts as long as what was seen
    assert written == round((lines[-1]["time_s"] - lines[0]["time_s"]) * 30) + 1


def test_the_recording_of_a_camera_that_fails_is_kept(
    camera: type[Camera],
    write_onnx: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unplug(self: Camera) -> None:
        raise DeviceError("camera:0 stopped giving pictures")

    monkeypatch.setattr(camera, "end", unplug, raising=False)

    code, _, err = run(capsys, write_onnx(), "camera:0", "--draw", tmp_path / "seen.avi")

    assert (code, err) == (4, "error: camera:0 stopped giving pictures\n")
    with VideoReader(tmp_path / "seen.avi") as reader:
        assert len(list(reader)) > 1


def test_a_camera_stops_after_so_many_frames(
    camera: type[Camera], write_onnx: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera, "end", lambda self: None, raising=False)

    code, out, _ = run(capsys, write_onnx(), "camera:0", "--json", "--frames", 2)

    assert (code, out.count("\n")) == (0, 2)


def test_a_camera_is_the_only_input_and_has_a_number(
    write_onnx: Write, listener: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "only input" in refused(capsys, write_onnx(), "camera:0", pictures)
    assert "takes no camera" in refused(capsys, listener, "camera:0")
    assert "has a number" in refused(capsys, write_onnx(), "camera:front")


def test_a_name_that_is_taken_while_a_video_runs_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="video needs OpenCV")
    target = tmp_path / "seen.mp4"

    def record() -> None:
        with Recorder(target, fps=10, hw=(48, 64), live=False, force=False):
            target.write_bytes(b"precious")

    with pytest.raises(InputError, match="exists"):
        record()
    assert target.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["seen.mp4"]


def test_a_time_lapse_slower_than_encoders_go_is_drawn_at_its_own_speed(
    write_onnx: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2", reason="video needs OpenCV")
    video = write_video(tmp_path / "lapse.avi", 3)
    header = bytearray(video.read_bytes())
    place = header.index(b"strh") + 28  # scale and rate of the stream: pictures a second are rate / scale
    header[place : place + 8] = (5).to_bytes(4, "little") + (2).to_bytes(4, "little")
    video.write_bytes(header)

    code, _, err = run(capsys, write_onnx(), video, "--draw", tmp_path / "seen.avi")

    assert (code, err) == (0, "")
    with VideoReader(video) as slow, VideoReader(tmp_path / "seen.avi") as seen:
        assert slow.fps == 0.4
        assert seen.fps == pytest.approx(1.2)
        assert len(list(seen)) == 3 * len(list(slow))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_on_a_terminal_and_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(stderr: io.StringIO) -> str:
        monkeypatch.setattr(sys, "stderr", stderr)
        tally = Tally()
        tally.add(Frame(index=0, time_s=61.0))
        with Progress(Path("street.mp4"), "frame", 40) as progress:
            progress.show(tally, 61.0)
            progress.show(tally, 61.0)  # too soon for another
        return stderr.getvalue()

    line = shown(Terminal())
    assert line.startswith("\rstreet.mp4: frame 1 of 40, 1:01, ")
    assert line.count("street.mp4") == 1
    assert line.endswith(" \r")
    assert "\n" not in line
    assert shown(io.StringIO()) == ""


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


def test_two_inputs_of_one_name_cannot_share_a_folder_of_overlays(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="would have one overlay"):
        plan_overlays(
            dict.fromkeys([tmp_path / "x" / "a.gif", tmp_path / "y" / "a.gif"], Kind.PICTURE),
            tmp_path / "out",
            into_folder=True,
        )


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
