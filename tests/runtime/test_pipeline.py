"""A pipeline takes files and arrays to results, and says what it does not take."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.runtime import Pipeline, Result
from edge.runtime.card import AudioSpec, Card, DecoderSpec, InputSpec, OutputSpec
from edge.runtime.engines import Engine
from edge.runtime.errors import ArtifactError, CardError, InputError, MediaError

Float32 = NDArray[np.float32]
Write = Callable[..., Path]
Cards = Callable[..., Card]
PICTURE = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))


def audio_card() -> Card:
    spec = AudioSpec(sample_rate=8000, seconds=0.5, n_fft=256, hop=64, mels=16, fmax=4000.0)
    given = InputSpec(shape=(1, 3, 8, 8), kind="audio", colour="RGB", audio=spec)
    return Card(model="heard", input=given, outputs=(OutputSpec(name="raw", shape=(1, 3, 8, 8)),))


@pytest.mark.parametrize(("target", "engine"), [("onnx", "onnxruntime"), ("tflite", "ai_edge_litert")])
def test_a_picture_goes_through_both_engines(target: str, engine: str, request: pytest.FixtureRequest) -> None:
    pytest.importorskip(engine)
    with Pipeline.load(request.getfixturevalue(f"write_{target}")()) as pipeline:
        result = pipeline(PICTURE)

    assert isinstance(result, Result)
    assert result.raw["raw"].minimum == pytest.approx(PICTURE.min() / 255 + 1, abs=1e-6)
    assert result.raw["raw"].maximum == pytest.approx(PICTURE.max() / 255 + 1, abs=1e-6)
    assert list(result.times) == ["pre_ms", "infer_ms", "decode_ms"]
    assert min(result.times.values()) >= 0


def test_a_file_and_its_pixels_give_the_same(write_onnx: Write, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    image = pytest.importorskip("PIL.Image")
    image.fromarray(PICTURE).save(tmp_path / "picture.png")

    with Pipeline.load(write_onnx()) as pipeline:
        assert pipeline(tmp_path / "picture.png").raw == pipeline(PICTURE).raw


def test_sound_goes_in_as_a_file_or_as_samples_with_a_rate(write_onnx: Write, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    tone = np.sin(np.arange(8000) * 0.3).astype(np.float32)
    with wave.open(str(tmp_path / "tone.wav"), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(8000)
        stream.writeframes((tone * 32767).astype("<i2").tobytes())

    with Pipeline.load(write_onnx(card=audio_card())) as pipeline:
        heard, given = pipeline(tmp_path / "tone.wav").raw["raw"], pipeline((tone, 8000)).raw["raw"]
        assert heard.maximum == pytest.approx(given.maximum, abs=0.05)  # 16-bit rounding in quiet bands
        with pytest.raises(InputError, match="samples, rate"):
            pipeline(PICTURE)


TONE = np.sin(np.arange(4000) * 0.3).astype(np.float32)


@pytest.mark.parametrize(
    ("sound", "match"),
    [
        ((TONE.tolist(), 8000), "real numbers.*got list"),
        ((None, 8000), "real numbers.*got NoneType"),
        ((TONE.astype(np.complex64), 8000), "real numbers.*got complex64"),
        ((np.array(["a", "b"]), 8000), "real numbers.*got <U1"),
        ((TONE, 8000.0), "whole number.*got 8000.0"),
        ((TONE, "8000"), "whole number.*got '8000'"),
        ((TONE, 0), "rate above 0"),
        ((TONE[None], 8000), "rate above 0"),
    ],
)
def test_what_is_no_sound_is_refused_and_costs_a_stream_one_frame(
    write_onnx: Write, sound: tuple[Float32, int], match: str
) -> None:
    pytest.importorskip("onnxruntime")
    with Pipeline.load(write_onnx(card=audio_card())) as pipeline:
        with pytest.raises(InputError, match=match):
            pipeline(sound)
        with pipeline.stream([(TONE, 8000), sound, (TONE, 8000)]) as frames:
            assert [frame.error is None for frame in frames] == [True, False, True]


def test_a_bad_tensor_costs_a_stream_one_frame(write_onnx: Write, tiny_card: Cards) -> None:
    pytest.importorskip("onnxruntime")
    card = tiny_card(input=InputSpec(shape=(1, 3, 8, 8), kind="tensor", layout="any"))
    good = np.ones((1, 3, 8, 8), np.float32)
    bad = [good[0], good.astype(np.complex64), np.full(good.shape, "x")]
    with Pipeline.load(write_onnx(card=card)) as pipeline, pipeline.stream([good, *bad, good]) as frames:
        assert [frame.error is None for frame in frames] == [True, False, False, False, True]


def test_a_tensor_card_takes_the_tensor_itself_and_no_file(write_onnx: Write, tiny_card: Cards) -> None:
    pytest.importorskip("onnxruntime")
    card = tiny_card(input=InputSpec(shape=(1, 3, 8, 8), kind="tensor", layout="any"))

    with Pipeline.load(write_onnx(card=card)) as pipeline:
        assert pipeline(np.zeros((1, 3, 8, 8), np.float32)).raw["raw"].mean == 1.0
        with pytest.raises(InputError, match="reads no files"):
            pipeline("picture.png")


def test_what_is_no_picture_is_refused(write_onnx: Write, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "text.png").write_text("no picture")

    with Pipeline.load(write_onnx()) as pipeline:
        with pytest.raises(MediaError):
            pipeline(tmp_path / "text.png")
        with pytest.raises(InputError):
            pipeline((np.zeros(8, np.float32), 8000))
        with pytest.raises(InputError):
            pipeline(np.zeros((4, 4, 7), np.uint8))


def test_a_given_card_replaces_the_embedded_one(write_onnx: Write, tiny_card: Cards) -> None:
    pytest.importorskip("onnxruntime")
    path = write_onnx(card=None)

    with pytest.raises(ArtifactError, match="holds no card"):
        Pipeline.load(path)
    with Pipeline.load(path, card=tiny_card(model="mine")) as pipeline:
        assert pipeline.card.model == "mine"


def test_an_unknown_decoder_is_refused_when_it_is_loaded(write_onnx: Write, tiny_card: Cards) -> None:
    path = write_onnx(card=tiny_card(decoder=DecoderSpec(name="face-prior")))

    with pytest.raises(CardError, match="face-prior"):
        Pipeline.load(path)


def test_a_threshold_outside_0_to_1_is_refused(write_onnx: Write) -> None:
    pytest.importorskip("onnxruntime")
    path = write_onnx()

    for threshold in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match="threshold"):
            Pipeline.load(path, threshold=threshold)


def test_engine_and_threads_are_measured_once_unless_they_are_given(
    write_onnx: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    path = write_onnx()
    monkeypatch.setattr("edge.runtime.engine_choice.usable_cpus", lambda: [0, 1])

    with Pipeline.load(path) as first, Pipeline.load(path) as second, Pipeline.load(path, threads=3) as given:
        assert (first.choice.engine, first.choice.cached, second.choice.cached) == ("onnxruntime", False, True)
        assert len(first.choice.rows) == 2
        assert second.choice.rows == first.choice.rows
        assert given.choice.rows == ()
        for pipeline in (first, second, given):
            assert (pipeline.engine.name, pipeline.engine.threads) == (pipeline.choice.engine, pipeline.choice.threads)
        assert given.engine.threads == 3
        assert Pipeline(given.card, given.engine).choice.threads == 3


def test_a_pipeline_that_cannot_be_made_leaves_no_engine_open(
    write_onnx: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    closed: list[str] = []
    monkeypatch.setattr("edge.runtime.engines.OnnxEngine.close", lambda engine: closed.append(engine.name))

    with pytest.raises(InputError, match="threshold"):
        Pipeline.load(write_onnx(), threads=1, threshold=2.0)
    assert closed == ["onnxruntime"]


def test_tensors_are_given_back_and_used_again_even_after_an_error(write_onnx: Write) -> None:
    pytest.importorskip("onnxruntime")

    class Seeing:
        """The engine, except that its second run fails."""

        def __init__(self, inner: Engine) -> None:
            self.name, self.version, self.threads = inner.name, inner.version, inner.threads
            self.inner = inner
            self.seen: list[Float32] = []

        def run(self, tensor: Float32) -> dict[str, Float32]:
            self.seen.append(tensor)
            if len(self.seen) == 2:
                raise ArtifactError("broke")
            return self.inner.run(tensor)

        def close(self) -> None:
            self.inner.close()

    with Pipeline.load(write_onnx(), threads=1) as loaded:
        engine = Seeing(loaded.engine)
        pipeline = Pipeline(loaded.card, engine)
        first = pipeline(PICTURE)
        with pytest.raises(ArtifactError, match="broke"):
            pipeline(PICTURE)
        assert pipeline(PICTURE).raw == first.raw

    assert engine.seen[0] is engine.seen[1] is engine.seen[2]


def test_the_stages_are_the_call(write_onnx: Write) -> None:
    pytest.importorskip("onnxruntime")
    with Pipeline.load(write_onnx(), threads=1) as pipeline:
        prepared = pipeline.prepare(pipeline.read(PICTURE[:4]))
        outputs, infer_ms = pipeline.infer(prepared)
        result = pipeline.decode(prepared, outputs, infer_ms)

        assert result.raw == pipeline(PICTURE[:4]).raw
        assert (result.times["pre_ms"], result.times["infer_ms"]) == (prepared.pre_ms, infer_ms)
        assert result.original_hw == (4, 8)
        assert prepared.picture is not None
        assert (prepared.picture == PICTURE[:4]).all()
