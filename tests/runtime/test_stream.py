"""A stream gives every frame once and in order, overlaps its stages, and ends cleanly however it ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.runtime import Pipeline
from edge.runtime.audio_input import audio_windows
from edge.runtime.card import AudioSpec, Card, DecoderSpec, InputSpec, OutputSpec
from edge.runtime.emotion import Smoother
from edge.runtime.errors import ArtifactError, DeviceError, InputError, MediaError, ShapeError
from edge.runtime.geometry import Geometry
from edge.runtime.pipeline import Prepared
from edge.runtime.stream import Channel, Frame, Stream
from edge.runtime.video import VideoReader, VideoWriter

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
Write = Callable[..., Path]
Cards = Callable[..., Card]
PATIENCE_S = 30.0  # after which a test that would hang fails instead


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("edge-")] == []


def numbered(number: int, hw: tuple[int, int] = (8, 8)) -> UInt8:
    """Return a dark picture whose first pixel spells a number."""
    picture = np.zeros((*hw, 3), np.uint8)
    picture[0, 0, :2] = divmod(number, 256)
    return picture


def number_of(picture: UInt8 | None) -> int:
    assert picture is not None
    return int(picture[0, 0, 0]) * 256 + int(picture[0, 0, 1])


def mean_of(frame: Frame) -> float:
    """Return the mean of the tiny network's output, which is 1 plus the mean of the pixels over 255."""
    assert frame.result is not None
    mean = frame.result.raw["raw"].mean
    assert mean is not None
    return mean


class Echo:
    """An engine that gives its input back; `before` is called on each tensor."""

    name, version, threads = "onnxruntime", "0", 1

    def __init__(self, before: Callable[[Float32], object] = lambda tensor: None) -> None:
        self._before = before

    def run(self, tensor: Float32) -> dict[str, Float32]:
        self._before(tensor)
        return {"raw": tensor.copy()}

    def close(self) -> None:
        pass


def tensor_card(*shape: int, decoder: str = "none") -> Card:
    given = InputSpec(shape=shape, kind="tensor", layout="any")
    return Card(
        model="echo", input=given, outputs=(OutputSpec(name="raw", shape=shape),), decoder=DecoderSpec(name=decoder)
    )


def echo(before: Callable[[Float32], object] = lambda tensor: None) -> Pipeline:
    return Pipeline(tensor_card(1), Echo(before))


def tensors(count: int) -> list[Float32]:
    return [np.array([index], np.float32) for index in range(count)]


def value_of(frame: Frame) -> float | None:
    return None if frame.result is None else frame.result.raw["raw"].mean


@pytest.mark.parametrize(("target", "engine"), [("onnx", "onnxruntime"), ("tflite", "ai_edge_litert")])
def test_both_engines_stream_what_they_answer_one_by_one(
    target: str, engine: str, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip(engine)
    rng = np.random.default_rng(3)
    pictures = [rng.integers(0, 256, (9 + index, 11, 3), np.uint8) for index in range(12)]

    with Pipeline.load(request.getfixturevalue(f"write_{target}")(), threads=1) as pipeline:
        stream = pipeline.stream(pictures, step_s=0.5)
        frames = list(stream)
        alone = [pipeline(picture) for picture in pictures]

    assert (stream.total, stream.live, stream.fps, stream.hw) == (12, False, None, None)
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == [index * 0.5 for index in range(12)]
    for frame, picture, single in zip(frames, pictures, alone, strict=True):
        assert frame.result is not None
        assert frame.result.raw == single.raw
        assert frame.result.original_hw == picture.shape[:2]
        assert frame.picture is not None
        assert (frame.picture == picture).all()
        assert (frame.name, frame.error, frame.smooth, frame.skipped) == ("", None, None, 0)
        assert list(frame.result.times) == ["pre_ms", "infer_ms", "decode_ms"]
        assert min(frame.result.times.values()) >= 0


def test_fifteen_hundred_frames_keep_order_and_memory(write_onnx: Write) -> None:
    pytest.importorskip("onnxruntime")
    if not Path("/proc/self/statm").exists():
        pytest.skip("reads the resident size from /proc")
    total, warm, hw = 1500, 400, (240, 320)  # 225 KiB each: holding on to 30 of them would show
    sizes = []

    with Pipeline.load(write_onnx(), threads=1) as pipeline:
        for position, frame in enumerate(pipeline.stream(numbered(index, hw) for index in range(total))):
            assert frame.index == position == number_of(frame.picture)
            assert frame.result is not None
            if position >= warm and position % 50 == 0:
                sizes.append(_resident_mb())

    assert position == total - 1
    assert max(abs(size - sizes[0]) for size in sizes) <= 5.0


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Meeting(Pipeline):
    """A pipeline in which decoding frame n, inferring n + 1 and preparing n + 2 wait for each other."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.together = threading.Barrier(3, timeout=PATIENCE_S)
        super().__init__(tensor_card(1), Echo(lambda tensor: self._meet(int(tensor[0]) - 1)))

    def _meet(self, step: int) -> None:
        if 0 <= step < self.frames - 2:
            self.together.wait()

    def prepare(self, loaded: Any) -> Prepared:
        self._meet(int(loaded[0]) - 2)
        return super().prepare(loaded)

    def decode(self, prepared: Prepared, *others: Any) -> Any:
        self._meet(int(prepared.tensor[0]))
        return super().decode(prepared, *others)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_frame_is_decoded_while_the_next_is_inferred_and_the_one_after_is_prepared(depth: int) -> None:
    # Were any two stages to take turns, the barrier would break.
    frames = list(Meeting(8).stream(tensors(8), depth=depth))

    assert [value_of(frame) for frame in frames] == list(range(8))


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_slow_caller_holds_the_reader_back(depth: int) -> None:
    read = received = 0

    def source() -> Iterator[Float32]:
        nonlocal read
        for tensor in tensors(100):
            read += 1
            # Both channels are full, the engine has one, the reader this one, the caller one that counts in a moment.
            assert read - received <= 2 * depth + 3
            yield tensor

    for frame in echo().stream(source(), depth=depth):
        assert frame.index == received
        received += 1
    assert received == read == 100


def test_a_slow_engine_holds_the_reader_back() -> None:
    go, plenty = threading.Event(), threading.Event()
    read: list[int] = []

    def source() -> Iterator[Float32]:
        for tensor in tensors(50):
            read.append(int(tensor[0]))
            if len(read) == 4:
                plenty.set()
            yield tensor

    with echo(lambda tensor: go.wait(PATIENCE_S)).stream(source(), depth=2) as stream:
        assert plenty.wait(PATIENCE_S)  # one in the engine, two that wait, one in the reader's hand
        threading.Event().wait(0.05)  # time to do wrong
        assert len(read) == 4
        go.set()
        assert [frame.index for frame in stream] == list(range(50))


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    good=st.lists(st.booleans(), max_size=12),
    depth=st.integers(1, 4),
    stop=st.none() | st.integers(0, 12),
)
def test_whatever_is_bad_every_item_comes_once_and_in_its_place(good: list[bool], depth: int, stop: int | None) -> None:
    items = [np.array([index], np.float32) if fine else "no tensor" for index, fine in enumerate(good)]
    frames = []

    with echo().stream(items, depth=depth) as stream:
        for frame in stream:
            frames.append(frame)
            if len(frames) == stop:
                break

    wanted = len(good) if not stop else min(stop, len(good))
    assert [frame.index for frame in frames] == list(range(wanted))
    for frame, fine in zip(frames, good, strict=False):
        assert (frame.result is None) == (frame.error is not None) == (not fine)
        assert value_of(frame) == (float(frame.index) if fine else None)
        assert frame.name == ("" if fine else "no tensor")


def test_a_folder_is_read_by_name_and_a_damaged_picture_does_not_stop_the_others(
    write_onnx: Write, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "photos"
    (folder / "inner.png").mkdir(parents=True)  # no file, whatever its name
    for name, number in (("c.png", 3), ("a.PNG", 1), ("d.png", 4)):
        image.fromarray(numbered(number)).save(folder / name)
    (folder / "b.png").write_text("no picture")
    (folder / "notes.txt").write_text("no picture either")

    with Pipeline.load(write_onnx(), threads=1) as pipeline:
        stream = pipeline.stream(folder)
        frames = list(stream)
        alone = list(pipeline.stream(folder / "c.png"))
        paths = list(pipeline.stream([folder / "d.png", os.fspath(folder / "a.PNG")]))
        with pytest.raises(MediaError, match=r"b\.png"):
            list(pipeline.stream(folder / "b.png"))
        with pytest.raises(MediaError, match=r"missing\.png"):
            list(pipeline.stream(folder / "missing.png"))
        with pytest.raises(InputError, match="holds no image file"):
            pipeline.stream(folder / "inner.png")

    assert stream.total == 4
    assert [Path(frame.name).name for frame in frames] == ["a.PNG", "b.png", "c.png", "d.png"]
    assert [Path(frame.name).parent for frame in frames] == [folder] * 4
    assert [frame.error is None for frame in frames] == [True, False, True, True]
    assert isinstance(frames[1].error, MediaError)
    assert frames[1].picture is None
    assert [number_of(frame.picture) for frame in [frames[0], *frames[2:], *alone, *paths]] == [1, 3, 4, 3, 4, 1]


def test_a_video_streams_with_its_times(write_onnx: Write, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("cv2", reason="needs the extra `video`")
    path = tmp_path / "film.avi"
    with VideoWriter(path, 10.0, (32, 48)) as writer:
        for level in range(0, 200, 10):
            writer.write(np.full((32, 48, 3), level, np.uint8))

    with Pipeline.load(write_onnx(), threads=1) as pipeline, pipeline.stream(path) as stream:
        assert (stream.fps, stream.total, stream.hw, stream.live) == (10.0, 20, (32, 48), False)
        frames = list(stream)

    assert [frame.time_s for frame in frames] == pytest.approx([index / 10 for index in range(20)])
    assert [frame.name for frame in frames] == [os.fspath(path)] * 20
    # Motion JPEG keeps a flat grey within a few levels of 255.
    assert [mean_of(frame) for frame in frames] == pytest.approx(
        [1 + index * 10 / 255 for index in range(20)], abs=0.02
    )
    with pytest.raises(InputError, match="no files"):
        echo().stream(path)


def audio_card() -> Card:
    spec = AudioSpec(sample_rate=8000, seconds=0.6, n_fft=256, hop=64, mels=16, fmax=4000.0)
    given = InputSpec(shape=(1, 3, 8, 8), kind="audio", colour="RGB", audio=spec)
    return Card(model="heard", input=given, outputs=(OutputSpec(name="raw", shape=(1, 3, 8, 8)),))


def write_tone(path: Path, seconds: float) -> Path:
    tone = np.sin(np.arange(int(8000 * seconds)) ** 1.3 * 0.01)
    with wave.open(os.fspath(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(8000)
        stream.writeframes((tone * 32000).astype("<i2").tobytes())
    return path


def test_a_long_sound_is_heard_window_by_window(write_onnx: Write, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    card, path = audio_card(), write_tone(tmp_path / "tone.wav", 2.0)

    with Pipeline.load(write_onnx(card=card), threads=1) as pipeline:
        frames = list(pipeline.stream(path))
        windows = list(audio_windows(path, card.input, 0.1))  # a sixth of the card's 0.6 s
        apart = [pipeline((window.samples, window.rate)).raw for window in windows]
        wide = list(pipeline.stream(path, step_s=0.5))
        with pytest.raises(MediaError):
            list(pipeline.stream(tmp_path / "missing.wav"))
        with pytest.raises(InputError, match="no video"):
            pipeline.stream("camera:0")

    assert len(frames) > 10
    assert [frame.time_s for frame in frames] == [window.start_s for window in windows]
    assert [frame.result.raw for frame in frames if frame.result] == apart
    assert [frame.time_s for frame in wide[:3]] == pytest.approx([0.0, 0.5, 1.0])
    assert {frame.name for frame in frames} == {os.fspath(path)}
    assert frames[0].picture is None


def test_a_folder_of_sounds_and_pairs_of_samples_give_a_frame_each(write_onnx: Write, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    for name in ("b.wav", "a.wav"):
        write_tone(tmp_path / name, 1.0)
    (tmp_path / "c.wav").write_text("no sound")

    with Pipeline.load(write_onnx(card=audio_card()), threads=1) as pipeline:
        heard = list(pipeline.stream(tmp_path))
        noise = np.random.default_rng(5).normal(0, 0.1, 4000).astype(np.float32)
        pairs = list(pipeline.stream([(noise, 8000), (noise, -1), noise]))

    assert [Path(frame.name).name for frame in heard] == ["a.wav", "b.wav", "c.wav"]
    assert [frame.error is None for frame in heard + pairs] == [True, True, False, True, False, False]
    assert isinstance(pairs[1].error, ShapeError)


def test_emotions_are_smoothed_beside_the_raw_ones() -> None:
    card = tensor_card(1, 2, decoder="valence-arousal")
    values = [(0.8, -0.4), (-0.2, 0.6), (float("nan"), 0.0), (0.1, 0.1)]
    items = [np.array([pair], np.float32) for pair in values]

    frames = list(Pipeline(card, Echo()).stream(items, step_s=2.0, half_life_s=3.0))
    plain = list(Pipeline(card, Echo()).stream(items, step_s=2.0))

    smoother = Smoother(3.0)
    for frame, raw in zip(frames, plain, strict=True):
        assert frame.result is not None
        assert raw.result is not None
        assert raw.smooth is None
        assert frame.result.emotion == raw.result.emotion
        wanted = None if raw.result.emotion is None else smoother(raw.result.emotion, frame.index * 2.0)
        assert frame.smooth == wanted
    assert [frame.smooth is None for frame in frames] == [False, False, True, False]
    assert frames[1].smooth != plain[1].result.emotion  # type: ignore[union-attr]  # checked above


def test_the_latest_replaces_what_waits_and_says_how_many() -> None:
    entered, go = threading.Event(), threading.Event()
    prepared: list[float] = []

    class Counting(Pipeline):
        def prepare(self, loaded: Any) -> Prepared:
            prepared.append(float(loaded[0]))
            return super().prepare(loaded)

    def wait(tensor: Float32) -> None:
        entered.set()
        assert go.wait(PATIENCE_S)

    def source() -> Iterator[Float32]:
        first, *others = tensors(10)
        yield first
        assert entered.wait(PATIENCE_S)  # the engine has the first; nine more come meanwhile
        yield from others
        go.set()

    frames = list(Counting(tensor_card(1), Echo(wait)).stream(source(), latest=True, step_s=1.0))

    assert [(frame.index, value_of(frame), frame.time_s, frame.skipped) for frame in frames] == [
        (0, 0.0, 0.0, 0),
        (9, 9.0, 9.0, 8),
    ]
    assert prepared == [0.0, 9.0]  # no work for what nobody sees


class Camera:
    """Stands in for a VideoReader on a camera: three pictures, then the plug is pulled."""

    live, fps, frames, hw = True, 30.0, None, (8, 8)

    def __init__(self, source: object) -> None:
        self.number = source
        self.closed = threading.Event()
        self.seen = threading.Semaphore(1)

    def __iter__(self) -> Iterator[tuple[float, UInt8]]:
        for index in range(3):
            assert self.seen.acquire(timeout=PATIENCE_S)
            yield index / 30, numbered(index)
        assert self.seen.acquire(timeout=PATIENCE_S)
        raise DeviceError("camera:7 stopped giving pictures")

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("source", ["camera:7", Path("camera:7"), 7])
def test_a_camera_is_live_and_its_loss_comes_after_its_pictures(
    source: Any, write_onnx: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    cameras: list[Camera] = []

    def open_camera(number: int) -> Camera:
        cameras.append(Camera(number))
        return cameras[-1]

    monkeypatch.setattr("edge.runtime.stream.VideoReader", open_camera)
    numbers = []

    with Pipeline.load(write_onnx(), threads=1) as pipeline:
        stream = pipeline.stream(source)
        with pytest.raises(DeviceError, match="stopped"):
            for frame in stream:
                numbers.append((number_of(frame.picture), frame.name, frame.skipped))
                cameras[0].seen.release()

    assert (stream.live, stream.fps, stream.total, stream.hw) == (True, 30.0, None, (8, 8))
    assert cameras[0].number == 7
    assert cameras[0].closed.is_set()
    assert numbers == [(index, "camera:7", 0) for index in range(3)]


def test_a_camera_that_is_not_there_is_refused_by_stream_itself(write_onnx: Write) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("cv2", reason="needs the extra `video`")
    if any(Path("/dev").glob("video*")):
        pytest.skip("this machine has a camera")

    with Pipeline.load(write_onnx(), threads=1) as pipeline, pytest.raises(DeviceError, match="camera:0"):
        pipeline.stream("camera:0")


def test_an_error_of_the_source_comes_after_the_frames_before_it() -> None:
    def source() -> Iterator[Float32]:
        yield from tensors(3)
        raise ValueError("the source broke")

    pipeline, seen = echo(), []
    stream = pipeline.stream(source())
    with pytest.raises(ValueError, match="the source broke"):
        for frame in stream:
            seen.append(value_of(frame))

    assert seen == [0.0, 1.0, 2.0]
    assert list(stream) == []
    assert len(list(pipeline.stream(tensors(2)))) == 2


def test_an_error_of_the_engine_comes_after_the_frames_before_it() -> None:
    def fail(tensor: Float32) -> None:
        if tensor[0] == 2:
            raise ArtifactError("the engine broke")

    pipeline, seen = echo(fail), []
    with pytest.raises(ArtifactError, match="the engine broke"):
        for frame in pipeline.stream(tensors(9)):
            seen.append(value_of(frame))

    assert seen == [0.0, 1.0]
    assert len(list(pipeline.stream(tensors(2)))) == 2


def test_an_error_of_the_decoder_ends_the_stream_and_not_the_pipeline() -> None:
    class Failing(Pipeline):
        def decode(self, prepared: Prepared, *others: Any) -> Any:
            if prepared.tensor[0] == 1:
                raise ShapeError("the decoder broke")
            return super().decode(prepared, *others)

    pipeline = Failing(tensor_card(1), Echo())
    stream = pipeline.stream(tensors(9))

    assert value_of(next(stream)) == 0.0
    with pytest.raises(ShapeError, match="the decoder broke"):
        next(stream)
    assert list(stream) == []
    assert pipeline(np.zeros(1, np.float32)).raw["raw"].mean == 0.0


def test_a_pipeline_that_is_closed_beneath_its_stream_ends_it_with_one_error(write_onnx: Write) -> None:
    pytest.importorskip("onnxruntime")
    pipeline = Pipeline.load(write_onnx(), threads=1)
    stream = pipeline.stream(numbered(index) for index in range(10_000))
    next(stream)
    pipeline.close()

    with pytest.raises(InputError, match="closed"):
        list(stream)


def endless(ended: threading.Event) -> Iterator[Float32]:
    try:
        while True:
            yield np.zeros(1, np.float32)
    finally:
        ended.set()


def leave_by_close(stream: Stream) -> None:
    stream.close()
    stream.close()
    assert list(stream) == []


def leave_by_block(stream: Stream) -> None:
    with stream as frames:
        for _ in frames:
            break


def leave_by_exception(stream: Stream) -> None:
    with pytest.raises(RuntimeError), stream:
        raise RuntimeError


def leave_by_forgetting(stream: Stream) -> None:
    next(stream)


@pytest.mark.parametrize("leave", [leave_by_close, leave_by_block, leave_by_exception, leave_by_forgetting])
def test_however_a_stream_is_left_its_threads_end_and_its_source_is_released(leave: Callable[[Stream], None]) -> None:
    pipeline, ended = echo(), threading.Event()

    leave(pipeline.stream(endless(ended)))
    gc.collect()

    assert ended.wait(PATIENCE_S)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edge-")]
    assert len(list(pipeline.stream(tensors(3)))) == 3


def test_a_video_is_released_by_the_thread_that_reads_it(
    write_onnx: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("cv2", reason="needs the extra `video`")
    with VideoWriter(tmp_path / "film.mp4", 25.0, (32, 32)) as writer:
        for _ in range(30):
            writer.write(np.zeros((32, 32, 3), np.uint8))
    closed_by: list[str] = []
    monkeypatch.setattr(VideoReader, "close", lambda reader: closed_by.append(threading.current_thread().name))

    with Pipeline.load(write_onnx(), threads=1) as pipeline:
        with pipeline.stream(tmp_path / "film.mp4") as stream:
            next(stream)
        with pytest.raises(InputError, match="depth"):
            pipeline.stream(tmp_path / "film.mp4", depth=0)

    assert closed_by == ["edge-reader", "MainThread"]  # the second was never read


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_while_waiting_ends_the_stream() -> None:
    entered, go = threading.Event(), threading.Event()

    def wait(tensor: Float32) -> None:
        entered.set()
        assert go.wait(PATIENCE_S)

    pipeline, main = echo(wait), threading.main_thread().ident
    assert main is not None

    def press() -> None:
        assert entered.wait(PATIENCE_S)
        threading.Event().wait(0.05)  # until `next` sleeps; it need not
        signal.pthread_kill(main, signal.SIGINT)
        threading.Event().wait(0.05)
        go.set()

    presser = threading.Thread(target=press)
    with pytest.raises(KeyboardInterrupt):
        stream = pipeline.stream(tensors(5))
        presser.start()
        list(stream)
    presser.join()

    assert list(stream) == []
    assert len(list(pipeline.stream(tensors(2)))) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_a_source_that_hangs_does_not_keep_the_process_alive(write_onnx: Write) -> None:
    pytest.importorskip("onnxruntime")
    script = f"""
import threading
import numpy as np
import edge.runtime.stream
from edge.runtime import Pipeline
edge.runtime.stream.JOIN_S = 0.1
def source():
    yield np.zeros((8, 8, 3), np.uint8)
    print("hangs", flush=True)
    threading.Event().wait()
with Pipeline.load({os.fspath(write_onnx())!r}, threads=1) as pipeline:
    for frame in pipeline.stream(source()):
        pass
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "hangs\n"
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate(timeout=PATIENCE_S)

    assert child.returncode == -signal.SIGINT
    assert stderr.rstrip().endswith("KeyboardInterrupt")


class Poisoned:
    """A preparer whose tensors turn to NaN as soon as they are given back: a late reader would see it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, source: UInt8) -> tuple[Float32, Geometry]:
        tensor, geometry = self._inner(source)
        return tensor.copy(), geometry

    def release(self, tensor: Float32) -> None:
        tensor.fill(np.nan)


@pytest.mark.parametrize(("target", "engine"), [("onnx", "onnxruntime"), ("tflite", "ai_edge_litert")])
def test_streams_and_calls_share_a_pipeline_and_a_process(
    target: str, engine: str, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip(engine)
    path = request.getfixturevalue(f"write_{target}")()
    wrong: list[object] = []

    with Pipeline.load(path, threads=1) as shared, Pipeline.load(path, threads=1) as other:
        other._preparer = Poisoned(other._preparer)  # type: ignore[assignment]  # a test's stand-in

        def check(number: int, mean: float | None) -> None:
            wanted = 1 + sum(divmod(number, 256)) / 255 / 192
            if mean is None or abs(mean - wanted) > 1e-6:
                wrong.append((number, mean, wanted))

        def stream(pipeline: Pipeline) -> None:
            for frame in pipeline.stream(numbered(index) for index in range(300)):
                check(number_of(frame.picture), mean_of(frame))

        def call(first: int) -> None:
            for number in range(first, 60_000, 211):
                check(number, shared(numbered(number)).raw["raw"].mean)

        threads = [threading.Thread(target=stream, args=(pipeline,)) for pipeline in (shared, shared, other)]
        threads += [threading.Thread(target=call, args=(first,)) for first in (0, 100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert wrong == []


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (numbered(0), "put a single picture"),
        ((np.zeros(9, np.float32), 8000), "samples, rate"),
        (b"bytes", "cannot be streamed"),
        ("", "an empty path"),
        (None, "cannot be streamed"),
        (True, "cannot be streamed"),
        (-1, "camera number"),
        ("camera:front", "camera has a number"),
    ],
)
def test_what_cannot_be_streamed_is_refused_at_once(source: Any, match: str, tiny_card: Cards) -> None:
    with pytest.raises(InputError) as caught:
        Pipeline(tiny_card(), Echo()).stream(source)
    assert match in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "bad",
    [{"depth": 0}, {"depth": 65}, {"depth": 1.5}, {"step_s": 0.0}, {"step_s": float("nan")}, {"half_life_s": -1.0}],
)
def test_bad_settings_are_refused_at_once(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        echo().stream(tensors(2), **bad)


def test_an_array_of_frames_is_a_source(tiny_card: Cards) -> None:
    frames = np.stack([numbered(index) for index in range(5)])

    stream = Pipeline(tiny_card(), Echo()).stream(frames)

    assert stream.total == 5
    assert [number_of(frame.picture) for frame in stream] == list(range(5))


def test_a_channel_that_is_shut_wakes_both_sides_and_forgets_its_items() -> None:
    channel: Channel[int] = Channel(1)
    assert channel.put(1)
    waiting = threading.Thread(target=lambda: outcomes.append(channel.put(2)))
    outcomes: list[bool] = []
    waiting.start()
    channel.close()
    waiting.join(PATIENCE_S)

    assert outcomes == [False]
    assert channel.get() is None
    assert not channel.put_newest(3)
    channel.end(ValueError("late"))
    assert channel.get() is None
