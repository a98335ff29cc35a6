"""A demo repository: one emotion network as FP32 and FP16 with its manifest, songs that it knows, and an `edge.toml`.

The network reads valence and arousal off two pixels of the spectrogram, and runs a chain of convolutions beside it
whose end is taken times 0: work that takes time and changes nothing. The songs' labels are what the two pixels say.
"""

from __future__ import annotations

import hashlib
import json
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge.models.cards import emotion_card
from edge.models.data.files import split_of
from edge.runtime.audio import read_audio
from edge.runtime.audio_input import prepare_audio
from edge.runtime.card import Budget, Card

PIXEL = 11, 1  # row and column of the first of the two
SCALE = 0.01  # of a pixel, to valence and arousal
LAYERS = 20
CHANNELS = 16
SONGS = 10
PARITY = {
    "cosine": 0.9999, "max_abs_error": 0.001, "max_error": 0.001, "nonfinite": 0, "reference_range": 1.0, "samples": 8,
    "sqnr_db": 40.0,
}  # fmt: skip


def demo_card(precision: str) -> Card:
    """Return the card of the demo network, or of a file of it."""
    card = emotion_card("demo", None, provenance={}, budget=Budget())
    return replace(card, artifact={"target": "onnx", "precision": precision})


def write_network(
    path: Path, claim: str, *, half: bool, layers: int = LAYERS, pixel: tuple[int, int] = PIXEL, note: str = ""
) -> Path:
    """Write the network.

    Args:
        path: of the file.
        claim: precision that its card says.
        half: whether the weights really are in half precision.
        layers: of the chain of convolutions.
        pixel: that the answer is read off.
        note: metadata, which changes the bytes and nothing else.
    """
    import onnx

    helper, kinds = onnx.helper, onnx.TensorProto
    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def tensor(name: str, values: Any, kind: int) -> None:
        weights.append(helper.make_tensor(name, kind, values.shape, values.ravel().tolist()))

    tensor("starts", np.array([0, *pixel]), kinds.INT64)
    tensor("ends", np.array([1, pixel[0] + 1, pixel[1] + 2]), kinds.INT64)
    tensor("axes", np.array([1, 2, 3]), kinds.INT64)
    tensor("shape", np.array([1, 2]), kinds.INT64)
    tensor("scale", np.array([SCALE]), kinds.FLOAT)
    tensor("zero", np.array([0.0]), kinds.FLOAT)
    before, channels = "input", 3
    for layer in range(layers + 1):
        kernel = rng.normal(size=(CHANNELS, channels, 3, 3)) / (3 * np.sqrt(channels))
        tensor(f"w{layer}", kernel.astype(np.float16 if half else np.float32), kinds.FLOAT16 if half else kinds.FLOAT)
        weight = f"w{layer}"
        if half:
            nodes.append(helper.make_node("Cast", [weight], [f"{weight}_wide"], to=kinds.FLOAT))
            weight = f"{weight}_wide"
        stride = 8 if layer == 0 else 1
        nodes.append(
            helper.make_node("Conv", [before, weight], [f"y{layer}"], pads=[1, 1, 1, 1], strides=[stride, stride])
        )
        before, channels = f"y{layer}", CHANNELS
    nodes += [
        helper.make_node("GlobalMaxPool", [before], ["pooled"]),
        helper.make_node("Slice", ["pooled", "starts0", "ends2", "axis1"], ["two"]),
        helper.make_node("Reshape", ["two", "shape"], ["flat"]),
        helper.make_node("Mul", ["flat", "zero"], ["nothing"]),
        helper.make_node("Slice", ["input", "starts", "ends", "axes"], ["pixels"]),
        helper.make_node("Reshape", ["pixels", "shape"], ["pair"]),
        helper.make_node("Mul", ["pair", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "nothing"], ["valence_arousal"]),
    ]
    for name, value in (("starts0", 0), ("ends2", 2), ("axis1", 1)):
        tensor(name, np.array([value]), kinds.INT64)
    graph = helper.make_graph(
        nodes,
        "demo",
        [helper.make_tensor_value_info("input", kinds.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info("valence_arousal", kinds.FLOAT, [1, 2])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"edge.card": demo_card(claim).to_json(), "note": note})
    path.write_bytes(model.SerializeToString())
    return path


def write_manifest(bundle: Path, **parity: float) -> None:
    """Write the manifest of a bundle, as it is now; `parity` changes figures of its FP16 file."""
    files = sorted(bundle.glob("*.onnx"))
    said = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in files
    }
    variants = {
        path.name: {"parity": {"valence_arousal": {**PARITY, **(parity if "fp16" in path.name else {})}}}
        for path in files
    }
    manifest = {"schema": 1, "model": "demo", "files": said, "variants": variants}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def write_songs(folder: Path) -> Path:
    """Write songs of half a second whose labels are what the network's two pixels say, all of the split "test"."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    names = [name for name in map(str, range(1000)) if split_of(name) == "test"][:SONGS]
    lines = ["song_id, valence_mean, arousal_mean"]
    row, column = PIXEL
    for name in names:
        t = np.arange(4000) / 8000
        sound = sum(0.2 * np.sin(2 * np.pi * pitch * t) for pitch in rng.uniform(100, 3000, 3))
        path = folder / f"{name}.wav"
        with wave.open(str(path), "wb") as stream:
            stream.setnchannels(1)
            stream.setsampwidth(2)
            stream.setframerate(8000)
            stream.writeframes((np.asarray(sound) * 32000).astype("<i2").tobytes())
        samples, rate = read_audio(path, seconds=31.0)
        pair = SCALE * prepare_audio(samples, rate, demo_card("fp32").input)[0, 0, row, column : column + 2]
        valence, arousal = np.clip(4 * pair + 5, 1, 9)
        lines.append(f"{name}, {valence:.4f}, {arousal:.4f}")
    (folder / "means.csv").write_text("\n".join(lines))
    return folder


def write_demo(root: Path) -> Path:
    """Write the whole repository: `songs/`, `bundle/` and `edge.toml` with a limit of every kind."""
    write_songs(root / "songs")
    bundle = root / "bundle"
    bundle.mkdir()
    write_network(bundle / "demo-fp32.onnx", "fp32", half=False)
    size = write_network(bundle / "demo-fp16.onnx", "fp16", half=True).stat().st_size
    write_manifest(bundle)
    (root / "edge.toml").write_text(f"""\
[defaults]
data = "songs"
baseline = "accepted"

[[budget]]
model = "demo"
variant = "fp16.onnx"
size_bytes = {size}
parity = 30
metric_drop = 1

[[budget]]
variant = "fp16"
slower_percent = 5
""")
    return root
