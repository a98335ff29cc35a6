"""`edge run` on video and cameras. Cameras are played by a reader of made-up pictures; Ctrl-C is a real SIGINT."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.run_output import Recorder
from edge.runtime import isolate
from edge.runtime.card import Card
from edge.runtime.errors import DeviceError, InputError
from edge.runtime.video import VideoReader, VideoWriter

from .run_help import refused, run, write_noise

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("fresh_cache", "ctrl_c")
Write = Callable[..., Path]
Cards = Callable[..., Card]


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
