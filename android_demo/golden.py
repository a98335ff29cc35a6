"""Golden vectors for the app's Java: inputs, and what Python's preprocessing and decoders make of them.

`python android_demo/golden.py FOLDER` writes `cases.json`, one entry a case with what is expected, and `cases.bin`, the
arrays they name by offset. `FOLDER` is made; the same arguments give the same bytes. Recorded tensors of real, trained
networks take part where `--recorded` names the folder that holds them (by default the one beside the checkout), and
model files where `--model` names them.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import wave
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.bench.face_scene import face_outputs
from edge.bench.pose_scene import pose_maps
from edge.runtime.audio import read_audio, resample
from edge.runtime.audio_input import prepare_audio
from edge.runtime.card import AudioSpec, Card, DecoderSpec, InputSpec, OutputSpec, ResizeSpec
from edge.runtime.decode import bind, decode
from edge.runtime.embedded import read_card
from edge.runtime.emotion import Smoother
from edge.runtime.errors import EdgeError
from edge.runtime.face import FaceParams, priors
from edge.runtime.geometry import Geometry
from edge.runtime.preprocess import fit, prepare
from edge.runtime.results import Emotion

Float32 = NDArray[np.float32]
Case = dict[str, Any]
Arrays = dict[str, NDArray[Any]]

RECORDED = Path(__file__).resolve().parents[2] / "shared" / "golden"
PARTS = ("pictures", "people", "faces", "emotions", "sounds", "cards")
NEAR = 1e-3  # of the longer side of the picture that coordinates refer to
IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


class Vectors:
    """Cases that are being collected, and the arrays that they name."""

    def __init__(self) -> None:
        self.cases: list[Case] = []
        self._blob = io.BytesIO()
        self._places: dict[bytes, int] = {}

    def put(self, array: NDArray[Any]) -> list[int]:
        """Return offset, deflated length and number of elements of an array of float32 or bytes; equal ones share."""
        kind = np.uint8 if array.dtype == np.uint8 else np.dtype("<f4")
        packed = zlib.compress(np.ascontiguousarray(array, kind).tobytes(), 1)
        if packed not in self._places:
            self._places[packed] = self._blob.tell()
            self._blob.write(packed)
        return [self._places[packed], len(packed), int(array.size)]

    def add(self, kind: str, name: str, **values: Any) -> None:
        """Add a case; arrays among the values are put into the blob."""
        plain = {key: self.put(value) if isinstance(value, np.ndarray) else value for key, value in values.items()}
        self.cases.append({"kind": kind, "name": f"{kind}: {name}", **plain})

    def write(self, folder: Path) -> None:
        """Write both files."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cases.bin").write_bytes(self._blob.getvalue())
        (folder / "cases.json").write_text(json.dumps({"schema": 1, "cases": self.cases}, allow_nan=False))


def main() -> None:
    """Write the vectors that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recorded", type=Path, default=RECORDED, help="folder with face/, pose/ and emotion/")
    parser.add_argument("--model", type=Path, action="append", default=[], help=".tflite file whose card is read")
    parser.add_argument("--parts", default=",".join(PARTS), help="which to write; default: %(default)s")
    given = parser.parse_args()
    vectors = Vectors()
    steps: dict[str, Callable[[], None]] = {
        "pictures": lambda: add_pictures(vectors),
        "people": lambda: add_people(vectors, given.recorded),
        "faces": lambda: add_faces(vectors, given.recorded),
        "emotions": lambda: add_emotions(vectors),
        "sounds": lambda: add_sounds(vectors, given.recorded),
        "cards": lambda: add_cards(vectors, given.model),
    }
    for part in given.parts.split(","):
        if part not in steps:
            parser.error(f"no part `{part}`, expected {', '.join(PARTS)}")
        steps[part]()
    vectors.write(given.folder)
    print(f"{len(vectors.cases)} cases in {given.folder}")


def add_pictures(vectors: Vectors) -> None:
    """Add pictures of odd sizes and what `preprocess.prepare` makes of them."""
    bgr: dict[str, Any] = {"colour": "BGR", "mean": (104.0, 117.0, 123.0), "std": (1.0, 1.0, 1.0)}
    rgb: dict[str, Any] = {"colour": "RGB", "mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}
    grey: dict[str, Any] = {"colour": "GRAY", "mean": (10.0,), "std": (2.0,)}
    specs = {
        "face": InputSpec(shape=(1, 64, 64, 3), layout="NHWC", **bgr, resize=ResizeSpec(fill=bgr["mean"])),
        "pose": InputSpec(
            shape=(1, 48, 64, 3),
            layout="NHWC",
            **rgb,
            resize=ResizeSpec(interpolation="bicubic", rounding="truncate", fill=(128.0,)),
        ),
        "planes": InputSpec(shape=(1, 3, 56, 40), **bgr, resize=ResizeSpec(fill=(7.0, 8.0, 9.0), upscale=False)),
        "stretched": InputSpec(shape=(1, 40, 56, 3), layout="NHWC", **rgb, resize=ResizeSpec(rule="stretch")),
        "stretched bicubic": InputSpec(
            shape=(1, 3, 31, 33), **rgb, resize=ResizeSpec(rule="stretch", interpolation="bicubic", upscale=False)
        ),
        "grey": InputSpec(shape=(1, 1, 64, 64), **grey, resize=ResizeSpec(upscale=False, fill=(7.0,))),
    }
    sizes = (
        (97, 131),
        (97, 128),
        (100, 131),
        (128, 128),
        (256, 192),
        (31, 20),
        (49, 49),
        (480, 360),
        (1, 70),
        (5, 3),
        (192, 192),
    )
    rng = np.random.default_rng(1)
    for hw in sizes:
        picture = rng.integers(0, 256, (*hw, 3), dtype=np.uint8)
        for name, spec in specs.items():
            _add_picture(vectors, f"{name} {hw[1]} x {hw[0]}", spec, picture)
    none = replace(specs["face"], resize=ResizeSpec(rule="none"))
    _add_picture(vectors, "as it is", none, rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))


def _add_picture(vectors: Vectors, name: str, spec: InputSpec, picture: NDArray[np.uint8]) -> None:
    tensor, geometry = prepare(picture, spec)
    outputs = (OutputSpec(name="raw", shape=(1, 2)),)
    vectors.add(
        "picture",
        name,
        card=Card(model="golden", input=spec, outputs=outputs).to_dict(),
        hw=picture.shape[:2],
        picture=picture,
        tensor=tensor,
        content_hw=geometry.content_hw,
        # A grey value is rounded after a sum whose order is the processor's: one level, now and then.
        level=1.001 / min(spec.std) if spec.colour == "GRAY" else 0.0,
    )


def add_people(vectors: Vectors, recorded: Path) -> None:
    """Add heatmaps and fields, drawn and recorded, and the people in them."""
    up8, up1 = {"stride": 8, "upsample": 8}, {"stride": 8, "upsample": 1}
    for number in range(36):
        hw = ((16, 16), (16, 28), (23, 17), (46, 46))[number % 4]
        people, noise = number % 7, (0.0, 0.0, 0.02, 0.06)[number % 3 if number < 30 else 3]
        heatmaps, pafs, _ = pose_maps(people, hw, seed=number, noise=noise)
        if number % 5 == 4:  # plateaus, as a quantised head has them
            heatmaps, pafs = (np.asarray(np.round(maps * 32) / 32, np.float32) for maps in (heatmaps, pafs))
        picture = None if number % 2 else (hw[0] * 23, hw[1] * 19)
        _add_people(vectors, f"drawn {number}", heatmaps, pafs, up1 if number % 6 == 5 else up8, picture)
    heatmaps, pafs, _ = pose_maps(3, (16, 16), seed=90)
    for factor in (2, 3, 4, 5, 16):
        _add_people(vectors, f"{factor} pixels a cell", heatmaps, pafs, {"stride": 8, "upsample": factor}, None)
    rng = np.random.default_rng(7)
    noise_maps = rng.normal(0, 0.5, (19, 48, 48)).astype(np.float32)
    _add_people(vectors, "noise", noise_maps, rng.normal(0, 0.5, (38, 48, 48)).astype(np.float32), up8, None)
    broken = heatmaps.copy()
    broken[3, 4:9, 2:9] = np.nan
    broken[5, 2, 2] = np.inf
    _add_people(vectors, "not finite", broken, np.where(pafs > 0.9, np.inf, pafs), up8, (300, 300))
    _add_people(vectors, "one level", np.full_like(heatmaps, 0.5), pafs, up8, None)
    few = {**up8, "threshold": 0.4, "nms_radius": 12.0, "points": 17, "min_ratio": 0.6, "min_keypoints": 4}
    _add_people(vectors, "other constants", heatmaps, pafs, few, (640, 427))
    for path in sorted((recorded / "pose" / "real").glob("*.npz")):
        data = np.load(path)
        heatmaps, pafs = data["heatmaps"].astype(np.float32), data["pafs"].astype(np.float32)
        for name, params in (("up8", up8), ("up1", up1)):
            _add_people(vectors, f"recorded {path.stem} {name}", heatmaps, pafs, params, None)
    for path in sorted((recorded / "pose" / "synthetic").glob("*.npz")):
        data = np.load(path)
        heatmaps, pafs = (np.ascontiguousarray(data[key].transpose(2, 0, 1)) for key in ("heatmaps", "pafs"))
        _add_people(vectors, f"recorded {path.stem}", heatmaps, pafs, {"stride": 1, "upsample": 1}, None)


def _add_people(
    vectors: Vectors, name: str, heatmaps: Any, pafs: Any, params: dict[str, Any], picture_hw: tuple[int, int] | None
) -> None:
    side = tuple(int(side) * params["stride"] for side in heatmaps.shape[1:])
    nhwc = len(vectors.cases) % 2 == 1
    outputs = {}
    for key, maps in (("heatmaps", heatmaps), ("pafs", pafs)):
        outputs[key] = (maps.transpose(1, 2, 0) if nhwc else maps)[None].astype(np.float32)
    card = Card(
        model="golden",
        family="pose",
        input=InputSpec(shape=(1, *side, 3), layout="NHWC"),
        outputs=tuple(
            OutputSpec(name=key, shape=value.shape, layout="NHWC" if nhwc else "NCHW") for key, value in outputs.items()
        ),
        decoder=DecoderSpec(name="openpose-paf", params=params),
    )
    add_decoded(vectors, "people", name, card, outputs, picture_hw)


def add_faces(vectors: Vectors, recorded: Path) -> None:
    """Add heads, drawn and recorded, and the faces in them."""
    for number in range(30):
        hw = ((320, 320), (640, 640), (160, 352))[number % 3]
        loc, conf, landm, _ = face_outputs((0, 1, 3, 6, 12)[number % 5], hw, seed=number)
        params: dict[str, Any] = ({}, {"display_threshold": 0.0}, {"display_threshold": 0.02})[number % 3 - number % 2]
        if number % 4 == 3:  # equal scores, as a quantised head has them
            conf = np.round(conf * 16) / np.float32(16)
        _add_faces(vectors, f"drawn {number}", loc, conf, landm, hw, params, (480, 640) if number % 2 else None)
    hw = (320, 320)
    rng = np.random.default_rng(3)
    count = len(priors(hw, FaceParams().min_sizes, FaceParams().strides))
    for number, (spread, levels) in enumerate(((1.0, 1 << 20), (1.0, 32), (5.0, 1 << 20), (60.0, 255))):
        score = (np.round(rng.uniform(0.03, 1, count) * levels) / levels).astype(np.float32)
        heads = rng.normal(0, spread, (count, 4)).astype(np.float32), np.stack([1 - score, score], axis=1)
        landm = rng.normal(0, spread, (count, 10)).astype(np.float32)
        for name, params in (("all", {"display_threshold": 0.0}), ("capped", {"keep": 50, "pre_nms": 300})):
            _add_faces(vectors, f"heap {number} {name}", *heads, landm, hw, params, None)
    loc, conf, landm, _ = face_outputs(6, hw, seed=77)
    loc[::7], landm[::5] = np.nan, np.inf
    _add_faces(vectors, "not finite", loc, conf, landm, hw, {}, None)
    narrow: dict[str, Any] = {
        "min_sizes": [[10, 20, 40], [80]],
        "strides": [16, 64],
        "variances": [0.2, 0.3],
        "nms_iou": 0.2,
    }
    count = len(priors(hw, narrow["min_sizes"], narrow["strides"]))
    score = rng.uniform(0, 1, count).astype(np.float32)
    heads = rng.normal(0, 1, (count, 4)).astype(np.float32), np.stack([1 - score, score], axis=1)
    _add_faces(vectors, "other constants", *heads, np.zeros((count, 10), np.float32), hw, narrow, (900, 640))
    for path in sorted((recorded / "face").glob("*/*.npz")):
        data = np.load(path)
        input_hw = (int(data["input_hw"][0]), int(data["input_hw"][1]))
        loc, conf, landm = (data[key][0] for key in ("loc", "conf", "landm"))
        name = f"recorded {path.parent.name} {path.stem}"
        _add_faces(vectors, name, loc, conf, landm, input_hw, {}, None)
        _add_faces(vectors, f"{name}, all", loc, conf, landm, input_hw, {"display_threshold": 0.0}, (777, 555))


def _add_faces(
    vectors: Vectors,
    name: str,
    loc: Float32,
    conf: Float32,
    landm: Float32,
    hw: tuple[int, int],
    params: dict[str, Any],
    picture_hw: tuple[int, int] | None,
) -> None:
    outputs = {"loc": loc[None], "conf": conf[None].astype(np.float32), "landm": landm[None]}
    card = Card(
        model="golden",
        family="face",
        input=InputSpec(shape=(1, *hw, 3), layout="NHWC"),
        outputs=tuple(OutputSpec(name=key, shape=value.shape) for key, value in outputs.items()),
        decoder=DecoderSpec(name="face-priors", params=params),
    )
    add_decoded(vectors, "faces", name, card, outputs, picture_hw)


def add_emotions(vectors: Vectors) -> None:
    """Add pairs of numbers, and streams of them smoothed over time."""
    rng = np.random.default_rng(5)
    pairs = [*rng.uniform(-1.3, 1.3, (48, 2)), (0.0, 0.0), (-0.0, 0.0), (np.nan, 0.1), (0.2, np.inf), (1.0, -1.0)]
    card = Card(
        model="golden",
        family="emotion",
        input=InputSpec(shape=(1, 3, 32, 32), kind="audio", audio=AudioSpec()),
        outputs=(OutputSpec(name="valence_arousal", shape=(1, 2)),),
        decoder=DecoderSpec(name="valence-arousal"),
    )
    for number, pair in enumerate(pairs):
        outputs = {"valence_arousal": np.array([pair], np.float32)}
        add_decoded(vectors, "emotion", f"pair {number}", card, outputs, None)
    for number, half_life in enumerate((0.0, 0.3, 2.0, 60.0)):
        smoother, steps = Smoother(half_life), []
        time_s = 0.0
        for valence, arousal in rng.uniform(-1.1, 1.1, (20, 2)).tolist():
            time_s += float(rng.choice([0.0, 0.1, 2.5]))
            given = Emotion(valence=valence, arousal=arousal, valence_1to9=0, arousal_1to9=0, quadrant="")
            smooth = smoother(given, time_s)
            steps.append([time_s, valence, arousal, smooth.valence, smooth.arousal])
        vectors.add("smoothed", f"stream {number}", half_life_s=half_life, steps=steps)


def add_decoded(
    vectors: Vectors, kind: str, name: str, card: Card, outputs: Arrays, picture_hw: tuple[int, int] | None
) -> None:
    """Add a network's outputs and what the card's decoder finds in them.

    Args:
        vectors: where to.
        kind: "people", "faces" or "emotion".
        name: of the case.
        card: whose decoder it is.
        outputs: (1, ...) float32 each, in the card's order.
        picture_hw: height and width of the picture that coordinates refer to, pixels; None: those of the input.
    """
    geometry = None
    if picture_hw is not None:
        content = fit(picture_hw, card.input.hw, card.input.resize)
        scale = (content[1] / picture_hw[1], content[0] / picture_hw[0])
        geometry = Geometry(original_hw=picture_hw, input_hw=card.input.hw, content_hw=content, scale_xy=scale)
    result = decode(card, outputs, geometry)
    vectors.add(
        kind,
        name,
        card=card.to_dict(),
        outputs=[vectors.put(value) for value in outputs.values()],
        picture_hw=picture_hw,
        content_hw=None if geometry is None else geometry.content_hw,
        near=NEAR * max(picture_hw or card.input.hw),
        truncated=result.truncated,
        nonfinite=result.nonfinite,
        people=[
            {"score": person.score, "keypoints": [None if point is None else list(point) for point in person.keypoints]}
            for person in result.people
        ],
        faces=[[*face.box_xyxy, face.score, *(xy for mark in face.landmarks for xy in mark)] for face in result.faces],
        emotion=None if result.emotion is None else [result.emotion.valence, result.emotion.arousal],
        quadrant=None if result.emotion is None else result.emotion.quadrant,
    )


def add_sounds(vectors: Vectors, recorded: Path) -> None:
    """Add clips and the tensors of their mel spectrograms, resampled clips, and WAV files."""
    rng = np.random.default_rng(11)
    for number in range(48):
        seconds, used = (1.0, 1.5, 0.7)[number % 3], (0.4, 1.0, 3.0)[number // 3 % 3]
        rate = (22050, 16000, 44100, 48000, 22050)[number % 5]
        audio = AudioSpec(
            seconds=seconds,
            n_fft=(2048, 1024, 512)[number % 3],
            hop=(512, 256)[number % 2],
            mels=(128, 64, 40)[number // 2 % 3],
            normalise="minmax-uint8" if number % 4 == 3 else "zscore",
        )
        shape = (1, 3, 40, 48) if number % 2 else (1, 40, 48, 3)
        clip = _tune(rng, round(seconds * used * rate) + 1, rate)
        if number == 7:
            clip[:] = 0
        elif number == 11:
            clip *= np.float32(1e6)
        _add_sound(vectors, f"clip {number}", clip, rate, _sound_input(shape, audio))
    clip = _tune(rng, 30 * 22050, 22050)
    _add_sound(vectors, "thirty seconds", clip, 22050, _sound_input((1, 224, 224, 3), AudioSpec()))
    if (recorded / "emotion").is_dir():
        t = np.arange(661500) / 22050
        turn = 2 * np.pi * t
        first = 0.4 * np.sin(220 * turn) * (0.5 + 0.5 * np.sin(0.5 * turn))
        second = 0.3 * np.sin(880 * turn) * (0.5 + 0.5 * np.sin(1.3 * turn))
        third = 0.2 * np.sin((100 + 60 * t) * turn) + 0.05 * np.sin(5000 * turn)
        signal = np.asarray(first + second + third, np.float32)
        data = np.load(recorded / "emotion" / "preproc_synthetic.npz")
        _add_sound(vectors, "recorded", signal, 22050, _sound_input((1, 3, 224, 224), AudioSpec()), data["x_train"])
    for number, rates in enumerate(((44100, 22050), (48000, 22050), (8000, 22050), (44100, 44099), (22050, 16000))):
        clip = _tune(rng, 3000, rates[0])
        vectors.add("resampled", f"{rates[0]} to {rates[1]} Hz", rates=rates, clip=clip, out=resample(clip, *rates))
        for width in (1, 2, 3, 4):
            _add_wav(vectors, rng, f"{8 * width} bits {number}", width, 1 + number % 3, rates[0])


def _tune(rng: np.random.Generator, count: int, rate: int) -> Float32:
    t = np.arange(count) / rate
    tones = sum(np.sin(2 * np.pi * hz * t + rng.uniform(0, 6)) * rng.uniform(0, 0.3) for hz in rng.uniform(60, 7000, 5))
    return np.asarray(tones + rng.normal(0, 0.01, count), np.float32)


def _sound_input(shape: tuple[int, ...], audio: AudioSpec) -> InputSpec:
    layout = "NCHW" if shape[1] == 3 else "NHWC"
    return InputSpec(shape=shape, layout=layout, kind="audio", colour="RGB", audio=audio, **IMAGENET)


def _add_sound(
    vectors: Vectors, name: str, clip: Float32, rate: int, spec: InputSpec, recorded: Float32 | None = None
) -> None:
    tensor = prepare_audio(clip, rate, spec)
    legacy = spec.audio is not None and spec.audio.normalise == "minmax-uint8"
    vectors.add(
        "sound",
        name,
        card=Card(model="golden", input=spec, outputs=(OutputSpec(name="raw", shape=(1, 2)),)).to_dict(),
        rate=rate,
        clip=clip,
        tensor=tensor if recorded is None else recorded,
        # Legacy levels are cut to whole ones: now and then one of 255 lies on the other side.
        level=1.001 / 255 / min(spec.std) if legacy else 0.0,
    )


def _add_wav(vectors: Vectors, rng: np.random.Generator, name: str, width: int, channels: int, rate: int) -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(rng.integers(0, 256, 200 * channels * width, dtype=np.uint8).tobytes())
    samples, _ = read_audio(buffer.getvalue())
    vectors.add("wav", name, file=np.frombuffer(buffer.getvalue(), np.uint8), rate=rate, samples=samples)


def add_cards(vectors: Vectors, models: list[Path]) -> None:
    """Add cards as text, right and wrong, and whole files, some of them damaged: Java must take what Python takes."""
    sound = _sound_input((1, 224, 224, 3), AudioSpec())
    card = Card(
        model="golden",
        input=sound,
        outputs=(OutputSpec(name="a", shape=(1, 2)), OutputSpec(name="b", shape=(1, 3))),
        decoder=DecoderSpec(name="none"),
    ).to_dict()
    for name, text in _card_texts(card):
        vectors.add("card", name, text=text, right=_accepted(text))
    rng = np.random.default_rng(13)
    for path in models:
        content = np.frombuffer(path.read_bytes(), np.uint8)
        found = read_card(path)
        vectors.add("file", path.name, file=content, model=found.model, decoder=found.decoder.name)
        for number in range(8):
            cut = content[: int(rng.integers(0, len(content)))]
            vectors.add("file", f"{path.name} cut {number}", file=cut, model=None)


def _card_texts(card: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "right", json.dumps(card)
    changes: list[tuple[str, Any]] = [
        ("model", 3), ("family", None), ("schema", 2), ("schema", 1.0), ("outputs", []), ("outputs", {}),
        ("input.shape", []), ("input.shape", [1, 2.0, 3, 3]), ("input.shape", [1, 0, 2, 3]),
        ("input.shape", [1, 70000, 70000, 3]), ("input.shape", [224, 224, 3]), ("input.layout", "NCWH"),
        ("input.layout", "any"), ("input.dtype", "float16"), ("input.kind", "video"), ("input.kind", "tensor"),
        ("input.colour", "YUV"), ("input.mean", [1, 2]), ("input.mean", [1, 2, "3"]), ("input.std", [1, 0, 1]),
        ("input.std", [1, True, 1]), ("input.audio", None), ("input.audio.hop", 0), ("input.audio.hop", 5.5),
        ("input.audio.seconds", 601), ("input.audio.seconds", 10), ("input.audio.normalise", "max"),
        ("input.resize.rule", "fit"), ("input.resize.upscale", 1), ("input.resize.fill", 3), ("input.extra", 1),
        ("outputs.0.name", "b"), ("outputs.0.shape", [-1, 2]), ("outputs.1.layout", "HWC"), ("decoder.name", 4),
        ("decoder.params", []), ("decoder.extra", 1), ("parity.int8.max_error", "x"), ("parity.int8.extra", 1),
        ("parity.int8.min_cosine", None), ("parity.new", {}), ("budget.size_bytes", 1.5), ("budget.p90_ms", 3),
        ("provenance.licence", 3), ("provenance.licence", "free"), ("artifact", {"precision": "int8"}), ("new", 1),
    ]  # fmt: skip
    for path, value in changes:
        changed = copy.deepcopy(card)
        place: Any = changed
        *parents, last = path.split(".")
        for key in parents:
            place = place[int(key) if isinstance(place, list) else key]
        place[last] = value
        yield f"{path} = {value!r}", json.dumps(changed)
    for key in ("model", "input", "outputs", "family", "decoder", "budget"):
        yield f"without {key}", json.dumps({name: value for name, value in card.items() if name != key})
    text = json.dumps(card)
    yield from (("cut", text[:-1]), ("more", text + "}"), ("empty", ""), ("list", "[]"), ("words", "yes"))


def _accepted(text: str) -> bool:
    try:
        bind(Card.from_json(text))
    except EdgeError:
        return False
    return True


if __name__ == "__main__":
    main()
