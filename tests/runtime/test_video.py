"""Video files go in and come out: right colours, sizes and times, whole or not at all."""

from __future__ import annotations

import itertools
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.runtime.errors import DeviceError, InputError, MediaError, MissingExtraError, ResourceError, ShapeError
from edge.runtime.video import VideoReader, VideoWriter

pytest.importorskip("cv2", reason="needs the extra `video`")

UInt8 = NDArray[np.uint8]
Film = Callable[..., Path]
COLOURS = ((250, 20, 20), (20, 250, 20), (20, 20, 250), (240, 240, 30))  # RGB


def flat(colour: tuple[int, int, int], hw: tuple[int, int] = (48, 64)) -> UInt8:
    return np.full((*hw, 3), colour, np.uint8)


@pytest.fixture
def film(tmp_path: Path) -> Film:
    """Return a function that writes a video in which each picture has one colour."""

    def write(name: str = "film.mp4", count: int = 4, hw: tuple[int, int] = (48, 64), fps: float = 25.0) -> Path:
        with VideoWriter(tmp_path / name, fps, hw) as writer:
            for index in range(count):
                writer.write(flat(COLOURS[index % 4], hw))
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["film.mp4", "film.avi", "FILM.MP4"])
def test_what_is_written_is_read_in_rgb_and_in_order_with_its_times(film: Film, name: str) -> None:
    with VideoReader(film(name)) as reader:
        items = list(reader)

    assert (reader.fps, reader.frames, reader.hw, reader.live) == (25.0, 4, (48, 64), False)
    assert [time_s for time_s, _ in items] == pytest.approx([0.0, 0.04, 0.08, 0.12])
    for (_, picture), colour in zip(items, COLOURS, strict=True):
        assert picture.shape == (48, 64, 3)
        assert picture.dtype == np.uint8
        # Both codecs keep chroma at half resolution and limited range: a flat colour comes back within a few units.
        np.testing.assert_allclose(picture.reshape(-1, 3).mean(axis=0), colour, atol=12)


def test_each_picture_is_an_array_of_its_own(film: Film) -> None:
    with VideoReader(film(count=8)) as reader:
        pictures = [picture for _, picture in reader]

    assert not any(np.shares_memory(one, other) for one, other in itertools.pairwise(pictures))
    assert pictures[0][0, 0, 0] > 200 > pictures[1][0, 0, 0]  # not overwritten by what was decoded later


@pytest.mark.parametrize("name", ["odd.mp4", "odd.avi"])
def test_odd_sides_are_made_even_by_repeating_the_edge(film: Film, name: str) -> None:
    with VideoReader(film(name, hw=(47, 33))) as reader:
        assert reader.hw == (48, 34)
        picture = next(reader)[1]
    np.testing.assert_allclose(picture[-1, -1], COLOURS[0], atol=12)


def test_a_rotation_in_the_header_is_applied(film: Film) -> None:
    path = film()
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # ISO 14496-12: version 0 header, reserved, layer..volume
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    content[start : start + 36] = turned
    path.write_bytes(content)

    with VideoReader(path) as reader:
        assert reader.hw == (64, 48)


def test_times_of_a_fractional_rate_are_those_of_the_file(film: Film) -> None:
    with VideoReader(film(fps=29.97)) as reader:
        assert reader.fps == pytest.approx(29.97)
        assert [time_s for time_s, _ in reader] == pytest.approx([index / 29.97 for index in range(4)], abs=1e-3)


class Capture:
    """Stands in for OpenCV's capture where a file or a camera tells nonsense."""

    def __init__(self, fps: float, count: float, times_ms: list[float]) -> None:
        self.values = {5: fps, 7: count}  # CAP_PROP_FPS, CAP_PROP_FRAME_COUNT
        self.times_ms = times_ms
        self.position = -1
        self.released = False

    def get(self, what: int) -> float:
        return self.times_ms[self.position] if what == 0 else self.values[what]  # 0: CAP_PROP_POS_MSEC

    def read(self, buffer: object) -> tuple[bool, UInt8 | None]:
        self.position += 1
        more = self.position < len(self.times_ms)
        return more, np.zeros((4, 4, 3), np.uint8) if more else None

    def release(self) -> None:
        self.released = True


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf"), 90000.0])
def test_an_impossible_rate_counts_as_25(monkeypatch: pytest.MonkeyPatch, fps: float) -> None:
    monkeypatch.setattr("edge.runtime.video._open_file", lambda path: Capture(fps, -1.0, [0.0, 0.0, 0.0]))

    with VideoReader("x.mp4") as reader:
        assert (reader.fps, reader.frames) == (25.0, None)
        assert [time_s for time_s, _ in reader] == pytest.approx([0.0, 0.04, 0.08])


def test_times_never_fall_or_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [float("nan"), 40.0, 40.0, 10.0, float("inf"), 900.0]
    monkeypatch.setattr("edge.runtime.video._open_file", lambda path: Capture(25.0, 6.0, times))

    with VideoReader("x.mp4") as reader:
        assert [time_s for time_s, _ in reader] == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16, 0.9])


def test_a_file_that_ends_long_before_its_promise_is_refused_after_its_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capture = Capture(25.0, 100.0, [index * 40.0 for index in range(60)])
    monkeypatch.setattr("edge.runtime.video._open_file", lambda path: capture)
    reader = VideoReader("x.mkv")

    for _ in range(60):
        next(reader)
    with pytest.raises(MediaError, match=r"cut short.*100 pictures in 4\.00 s.*60 in 2\.36 s") as caught:
        next(reader)
    assert caught.value.hint is not None
    assert "`--frames 60`" in caught.value.hint
    assert capture.released


def test_a_variable_rate_is_not_taken_for_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    # The header's number of pictures is duration times the highest rate: half of them are there, at twice the distance.
    times = [index * 80.0 for index in range(50)]
    monkeypatch.setattr("edge.runtime.video._open_file", lambda path: Capture(25.0, 100.0, times))

    with VideoReader("x.webm") as reader:
        assert len(list(reader)) == 50


def test_a_camera_that_falls_silent_is_a_device_error(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = Capture(30.0, -1.0, [0.0, 0.0])
    monkeypatch.setattr("edge.runtime.video._open_camera", lambda number: capture)
    reader = VideoReader(3)

    assert (reader.live, reader.frames, reader.fps) == (True, None, 30.0)
    assert next(reader)[0] <= next(reader)[0]
    with pytest.raises(DeviceError, match="camera:3 stopped"):
        next(reader)
    assert capture.released


def test_a_camera_that_is_not_there_is_one_clear_line(capfd: pytest.CaptureFixture[str]) -> None:
    if any(Path("/dev").glob("video*")):
        pytest.skip("this machine has a camera")
    with pytest.raises(DeviceError, match="camera:0 does not open") as caught:
        VideoReader(0)

    assert caught.value.exit_code == 4
    assert capfd.readouterr().err == ""
    for number in (-1, 700):  # OpenCV would take 700 for another backend's first camera
        with pytest.raises(InputError, match="camera number"):
            VideoReader(number)


def test_what_is_no_video_is_refused_without_a_word_of_ffmpeg(film: Film, capfd: pytest.CaptureFixture[str]) -> None:
    path = film()
    whole = path.read_bytes()
    bad = {
        "cut.mp4": whole[: len(whole) // 2],
        "text.mp4": b"hello " * 99,
        "noise.avi": os.urandom(4096),
        "none.mkv": b"",
    }
    for name, content in bad.items():
        (path.parent / name).write_bytes(content)
        with pytest.raises(MediaError, match=name):
            VideoReader(path.parent / name)

    for missing in (path.parent / "missing.mp4", path.parent, "a\0b.mp4"):
        with pytest.raises(MediaError):
            VideoReader(missing)
    assert capfd.readouterr().err == ""


def test_a_closed_reader_gives_nothing_more(film: Film) -> None:
    reader = VideoReader(film())
    next(reader)
    reader.close()
    reader.close()

    assert list(reader) == []


def test_a_video_appears_when_it_is_finished_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("old")
    writer = VideoWriter(path, 25.0, (32, 32))
    writer.write(flat(COLOURS[0], (32, 32)))

    assert path.read_text() == "old"
    writer.close()
    writer.close()
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert len(list(VideoReader(path))) == 1
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    with pytest.raises(InputError, match="closed"):
        writer.write(flat(COLOURS[0], (32, 32)))


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def test_an_error_or_a_discard_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "out.avi", 25.0, (32, 32)) as writer:
        writer.write(flat(COLOURS[0], (32, 32)))
        raise RuntimeError
    writer.discard()

    with pytest.raises(InputError, match="no picture"), VideoWriter(tmp_path / "out.avi", 25.0, (32, 32)):
        pass
    assert os.listdir(tmp_path) == []


def test_ctrl_c_while_the_encoder_opens_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    class Interrupted:
        fourcc = staticmethod(cv2.VideoWriter.fourcc)

        def __init__(self, *_: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(cv2, "VideoWriter", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        VideoWriter(tmp_path / "out.mp4", 25.0, (32, 32))
    assert os.listdir(tmp_path) == []


def test_pictures_of_another_size_or_type_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", 25.0, (32, 48)) as writer:
        writer.write(flat(COLOURS[0], (32, 48)))
        for shape in ((48, 32, 3), (32, 48), (32, 48, 4)):
            with pytest.raises(ShapeError, match=r"\(32, 48, 3\)"):
                writer.write(np.zeros(shape, np.uint8))
        with pytest.raises(InputError, match="uint8"):
            writer.write(np.zeros((32, 48, 3), np.float32))  # type: ignore[arg-type]  # what is tested

    assert len(list(VideoReader(tmp_path / "out.mp4"))) == 1


@pytest.mark.parametrize(
    ("name", "fps", "hw", "match"),
    [
        ("out.gif", 25.0, (32, 32), "cannot write video"),
        ("out", 25.0, (32, 32), "cannot write video"),
        ("out.mp4", 0.0, (32, 32), "frame rate"),
        ("out.mp4", float("nan"), (32, 32), "frame rate"),
        ("out.avi", 25.0, (4, 4), "too small"),
        ("out.mp4", 25.0, (16, 9000), "no encoder"),  # MPEG-4 has 13 bits for a side
        ("missing/out.mp4", 25.0, (32, 32), "folder"),
    ],
)
def test_what_cannot_be_encoded_is_refused_at_once(
    tmp_path: Path, name: str, fps: float, hw: tuple[int, int], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        VideoWriter(tmp_path / name, fps, hw)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("name", ["out.mp4", "out.avi"])
def test_a_disk_that_fills_up_is_noticed_although_opencv_says_nothing(tmp_path: Path, name: str) -> None:
    script = f"""
import os, resource, sys
import numpy as np
from edge.runtime.errors import ResourceError
from edge.runtime.video import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))  # writes beyond fail as on a full disk
rng = np.random.default_rng(0)
try:
    with VideoWriter({str(tmp_path / name)!r}, 25.0, (128, 128)) as writer:
        for _ in range(20):
            writer.write(rng.integers(0, 256, (128, 128, 3), np.uint8))
except ResourceError as error:
    sys.exit(f"seen: {{error}}")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert "seen: " in done.stderr
    assert "not written in full" in done.stderr
    assert os.listdir(tmp_path) == []
    assert ResourceError.exit_code == 5


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, film: Film) -> None:
    path = film()
    monkeypatch.setitem(sys.modules, "cv2", None)

    for attempt in (lambda: VideoReader(path), lambda: VideoReader(0), lambda: VideoWriter(path, 25.0, (32, 32))):
        with pytest.raises(MissingExtraError) as caught:
            attempt()
        assert caught.value.hint == "pip install 'edge-vision[video]'"
