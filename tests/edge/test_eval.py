"""`edge eval` as a user meets it: one table or one object for files and checkpoints alike, one line for a refusal.

The files are one Slice each: two pixels of a spectrogram are the valence and arousal that they answer.
"""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import cli
from edge.models.cards import emotion_card
from edge.runtime.card import Budget, Card, OutputSpec

pytest.importorskip("onnxruntime")
Write = Callable[..., Path]
PIXEL = 100, 100  # row and column of the first of the two


def emotion(layout: str = "NCHW", provenance: dict[str, str] | None = None) -> Card:
    from dataclasses import replace

    card = emotion_card("slice", None, provenance=provenance or {}, budget=Budget())
    shape = (1, 3, 224, 224) if layout == "NCHW" else (1, 224, 224, 3)
    answer = (1, 1, 1, 2) if layout == "NCHW" else (1, 1, 2, 1)
    return replace(
        card,
        input=replace(card.input, shape=shape, layout=layout),
        outputs=(OutputSpec(name="valence_arousal", shape=answer),),
    )


def write_onnx(path: Path, card: Card | None = None, pixel: tuple[int, int] = PIXEL) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    starts, ends = [0, *pixel], [1, pixel[0] + 1, pixel[1] + 2]
    graph = helper.make_graph(
        [helper.make_node("Slice", ["input", "starts", "ends", "axes"], ["valence_arousal"])],
        "slice",
        [helper.make_tensor_value_info("input", kinds.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info("valence_arousal", kinds.FLOAT, [1, 1, 1, 2])],
        [
            helper.make_tensor(name, kinds.INT64, [3], values)
            for name, values in (("starts", starts), ("ends", ends), ("axes", [1, 2, 3]))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"edge.card": (card or emotion()).to_json()})
    path.write_bytes(model.SerializeToString())
    return path


def write_tflite(path: Path) -> Path:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")

    def tensor(name: str, shape: list[int], kind: Any, buffer: int) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), shape, kind, buffer
        return made

    def holding(data: bytes) -> Any:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        return buffer

    model, graph, code, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SLICE
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.SliceOptions, schema.SliceOptionsT()
    float32, int32 = schema.TensorType.FLOAT32, schema.TensorType.INT32
    graph.tensors = [
        tensor("input", [1, 224, 224, 3], float32, 0),
        tensor("begin", [4], int32, 1),
        tensor("size", [4], int32, 2),
        tensor("valence_arousal", [1, 1, 2, 1], float32, 0),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]
    begin, size = (np.array(values, np.int32).tobytes() for values in ([0, *PIXEL, 0], [1, 1, 2, 1]))
    card, entry = emotion("NHWC").to_json().encode(), schema.MetadataT()
    entry.name, entry.buffer = b"edge.card", 3
    model.version, model.operatorCodes, model.subgraphs, model.metadata = 3, [code], [graph], [entry]
    model.buffers = [schema.BufferT(), holding(begin), holding(size), holding(card)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set in DEAM's layout: 16 chords of half a second, and one song whose sound is missing."""
    folder = tmp_path_factory.mktemp("songs")
    rng = np.random.default_rng(0)
    lines = ["song_id, valence_mean, arousal_mean", "99, 5, 5"]
    for number in range(16):
        t = np.arange(4000) / 8000
        sound = sum(0.2 * np.sin(2 * np.pi * pitch * t) for pitch in rng.uniform(100, 3000, 3)) * np.exp(-4 * t)
        with wave.open(str(folder / f"{number}.wav"), "wb") as stream:
            stream.setnchannels(1)
            stream.setsampwidth(2)
            stream.setframerate(8000)
            stream.writeframes((np.asarray(sound) * 32000).astype("<i2").tobytes())
        lines.append(f"{number}, {rng.uniform(1, 9):.2f}, {rng.uniform(1, 9):.2f}")
    (folder / "means.csv").write_text("\n".join(lines))
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = cli.main(["eval", "--threads", "1", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run, and return the one line that says why it was refused."""
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_files_of_all_three_kinds_are_judged_on_the_same_samples(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ai_edge_litert")
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    from edge.models import registry
    from edge.models.seeded import seeded

    torch.set_num_threads(1)
    checkpoint = tmp_path / "proto.safetensors"
    safetensors.save_file(seeded(registry.get("emotion-proto-81k")).state_dict(), checkpoint)
    onnx, tflite = write_onnx(tmp_path / "a.onnx"), write_tflite(tmp_path / "a.tflite")

    words = [onnx, tflite, checkpoint, "--model", "emotion-proto-81k", "--data", songs, "--split", "train", "--json"]
    code, out, err = run(capsys, *words)

    assert code == 0, err
    report = json.loads(out)
    assert (report["schema"], report["bootstrap"], report["data"]["synthetic"]) == (1, 1000, False)
    assert report["data"]["skipped"] <= 1
    first, second, third = report["targets"]
    assert [item["file"] for item in report["targets"]] == [str(onnx), str(tflite), str(checkpoint)]
    assert {item["metric"]["samples"] for item in report["targets"]} == {report["data"]["samples"]}
    assert first["drop"] is None
    assert first["metric"]["value"] == pytest.approx(second["metric"]["value"], abs=1e-6)  # one network in two layouts
    assert (second["drop"]["low"], second["drop"]["high"]) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert third["metric"]["value"] != first["metric"]["value"]
    assert third["drop"]["low"] < third["drop"]["value"] < third["drop"]["high"]
    assert third["drop"]["value"] == pytest.approx(first["metric"]["value"] - third["metric"]["value"])


def test_the_table_names_data_metric_parts_and_drop(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_onnx(tmp_path / "good.onnx")
    random = write_onnx(tmp_path / "random.onnx", emotion(provenance={"weights": "random (seed 0)"}), (20, 20))

    code, out, err = run(capsys, good, random, "--data", songs, "--split", "train", "--limit", 8)

    assert code == 0, err
    head, rule, first, second, data, intervals = out.splitlines()
    assert head.split("  ")[0] == "file"
    assert set(rule) == {"-", " "}
    assert first.startswith("good.onnx")
    assert " CCC " in first
    assert "valence " in first
    assert first.endswith("-")
    assert " to " in second.split("rmse arousal")[1]
    assert songs.name in data
    assert "paired" in intervals
    assert "note: weights of `random.onnx` are random (seed 0)" in err


def test_a_single_file_has_no_drop_and_a_repeated_call_the_same_words(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [write_onnx(tmp_path / "a.onnx"), "--data", songs, "--split", "train", "--limit", 5]

    first, second = run(capsys, *words), run(capsys, *words)

    assert "drop" not in first[1]
    assert first == second


def test_the_gate_says_no_after_the_table(songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [write_onnx(tmp_path / "a.onnx"), "--data", songs, "--split", "train", "--limit", 5]

    assert run(capsys, *words, "--min", -1.0)[0] == 0
    code, out, err = run(capsys, *words, "--min", 0.99)
    assert code == 3
    assert "a.onnx" in out
    assert "error: CCC of `a.onnx` is too low, expected at least 0.99, got " in err


def test_synthetic_data_is_called_synthetic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_onnx(tmp_path / "a.onnx")

    code, out, err = run(capsys, path, "--data", "synthetic", "--limit", 2)
    assert code == 0, err
    assert "synthetic" in out
    code, out, _ = run(capsys, path, "--limit", 2, "--json")
    assert (code, json.loads(out)["data"]["synthetic"]) == (0, True)


def test_wrong_words_are_refused_in_one_line(
    songs: Path, tmp_path: Path, write_onnx_card: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_onnx(tmp_path / "a.onnx")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(path.read_bytes()[:40])
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"nothing")
    pose = write_onnx_card("pose.onnx", family="pose")
    data = ["--data", songs, "--split", "train"]

    assert "missing.onnx" in refused(capsys, tmp_path / "missing.onnx", *data)
    assert "damaged.onnx" in refused(capsys, damaged, *data)
    assert "pass `--model NAME`" in refused(capsys, weights, *data)
    assert "no model is called `emotion`" in refused(capsys, weights, "--model", "emotion", *data)
    assert "weights.safetensors" in refused(capsys, weights, "--model", "emotion-proto-81k", *data)
    assert "no metric is known for `raw.onnx`" in refused(capsys, write_onnx_card("raw.onnx"), *data)
    assert "of different families, got `a.onnx` emotion, `pose.onnx` pose" in refused(capsys, path, pose, *data)
    assert "holds no emotion data" in refused(capsys, path, "--data", tmp_path)
    assert "nowhere" in refused(capsys, path, "--data", tmp_path / "nowhere")
    assert "`--min`" in refused(capsys, path, "--min", "nan", *data)
    assert "--limit" in refused(capsys, path, "--limit", 0, *data)
    assert "does not run onnx" in refused(capsys, path, "--engine", "litert", *data)


@pytest.fixture
def write_onnx_card(tmp_path: Path, write_onnx: Write, tiny_card: Callable[..., Card]) -> Write:
    """Return a function that writes the tiny ONNX file of `conftest` with changes to its card."""

    def write(name: str, **changes: Any) -> Path:
        return write_onnx(name, tiny_card(**changes))

    return write
