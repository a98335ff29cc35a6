"""From a card and arrays to a result: choice of decoder, checks, and what results say of bad values."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edge.runtime.decode as module
from edge.runtime.card import Card, DecoderSpec, InputSpec, OutputSpec
from edge.runtime.decode import Decoder, NoParams, Query, check_decoder, decode, decoder_names, get_decoder, register
from edge.runtime.errors import CardError, InputError, ShapeError
from edge.runtime.face import FaceParams
from edge.runtime.geometry import Geometry
from edge.runtime.results import Result

FACES_64 = 2 * (8 * 8 + 4 * 4 + 2 * 2)
SYNTHETIC = Path(__file__).parents[2] / ".." / "shared" / "golden" / "pose" / "synthetic"


def card(kind: str, **params: Any) -> Card:
    image = InputSpec(shape=(1, 3, 64, 64))
    if kind == "face":
        outputs = tuple(OutputSpec(name=name, shape=(1, FACES_64, n)) for name, n in (("l", 4), ("c", 2), ("m", 10)))
        return Card(model=kind, input=image, outputs=outputs, decoder=DecoderSpec(name="face-priors", params=params))
    if kind in ("pose", "pose-nhwc"):
        nhwc = kind == "pose-nhwc"
        layout = "NHWC" if nhwc else "NCHW"
        outputs = tuple(
            OutputSpec(name=name, shape=(1, 8, 8, n) if nhwc else (1, n, 8, 8), layout=layout)
            for name, n in (("early_h", 19), ("early_p", 38), ("h", 19), ("p", 38))
        )
        return Card(model=kind, input=image, outputs=outputs, decoder=DecoderSpec(name="openpose-paf", params=params))
    if kind == "emotion":
        outputs = (OutputSpec(name="va", shape=(1, 2)),)
        spec = DecoderSpec(name="valence-arousal", params=params)
        return Card(model=kind, input=image, outputs=outputs, decoder=spec)
    outputs = (OutputSpec(name="a", shape=(2, 2)),)
    return Card(model=kind, input=image, outputs=outputs, decoder=DecoderSpec(params=params))


def faces(*scores: float) -> dict[str, NDArray[Any]]:
    """Return outputs with a face of each score, far from one another."""
    conf = np.zeros((1, FACES_64, 2), np.float32)
    for place, score in enumerate(scores):
        conf[0, place * 6, 1] = score  # 16 x 16 at every third cell of the first row
    return {"l": np.zeros((1, FACES_64, 4), np.float32), "c": conf, "m": np.zeros((1, FACES_64, 10), np.float32)}


@pytest.mark.parametrize("kind", ["face", "pose", "pose-nhwc", "emotion", "raw"])
def test_every_decoder_passes_the_conformance_check(kind: str) -> None:
    check_decoder(card(kind))


def test_faces_below_the_display_threshold_are_not_listed_unless_asked_for() -> None:
    outputs = faces(0.4, 0.6, 0.9)

    assert [round(face.score, 3) for face in decode(card("face"), outputs).faces] == [0.9, 0.6]
    assert len(decode(card("face", display_threshold=0.7), outputs).faces) == 1
    assert len(decode(card("face"), outputs, threshold=0.0).faces) == 3


def test_non_finite_values_are_counted_and_take_no_part() -> None:
    outputs = faces(0.6, 0.9)
    outputs["l"][0, 6, 2] = np.nan
    outputs["m"][0, 100] = np.inf

    result = decode(card("face"), outputs)

    assert [round(face.score, 3) for face in result.faces] == [0.6]
    assert result.nonfinite == 11


def test_an_emotion_of_nan_is_none_and_counted() -> None:
    result = decode(card("emotion"), {"va": np.array([[np.nan, 0.5]], np.float32)})

    assert (result.emotion, result.nonfinite) == (None, 1)
    assert result.to_dict()["emotion"] is None


def test_a_pose_network_is_read_from_its_last_pair_of_maps_in_either_layout() -> None:
    rng = np.random.default_rng(0)
    values = {spec.name: rng.uniform(0, 1, spec.shape).astype(np.float32) for spec in card("pose").outputs}
    turned = {name: array.transpose(0, 2, 3, 1) for name, array in values.items()}
    early = {**values, "early_h": values["early_h"] * 0, "early_p": values["early_p"] * np.nan}

    result = decode(card("pose"), values)

    assert result == decode(card("pose-nhwc"), turned)
    assert result == decode(card("pose"), early)
    assert not decode(card("pose"), {**values, "h": values["h"] * 0}).people


def test_nan_in_a_map_is_counted_and_everything_stays_finite() -> None:
    rng = np.random.default_rng(1)
    values = {spec.name: rng.uniform(0, 1, spec.shape).astype(np.float32) for spec in card("pose").outputs}
    values["h"][0, :18, 2, 3] = np.nan
    values["p"][0, 5, 0, 0] = np.inf

    result = decode(card("pose"), values)

    assert result.nonfinite == 19
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize("kind", ["face", "pose"])
def test_points_of_a_pose_lie_in_the_picture_and_results_name_its_size(kind: str) -> None:
    geometry = Geometry(original_hw=(100, 200), input_hw=(64, 64), content_hw=(32, 64), scale_xy=(0.32, 0.32))
    rng = np.random.default_rng(2)
    spec = card(kind)

    outputs = {item.name: rng.uniform(0, 1, item.shape).astype(np.float32) for item in spec.outputs}

    result = decode(spec, outputs, geometry)

    assert result.original_hw == (100, 200)
    for person in result.people:
        assert all(0 < point.x < 200 and 0 < point.y < 100 for point in person.keypoints if point)


def test_a_result_says_that_a_cap_was_hit() -> None:
    assert decode(card("face", keep=2), faces(0.6, 0.7, 0.8)).truncated
    assert not decode(card("face", keep=3), faces(0.6, 0.7, 0.8)).truncated


def test_raw_outputs_are_summarised_over_what_is_finite() -> None:
    result = decode(card("raw"), {"a": np.array([[1, 3], [np.nan, np.inf]], np.float32)})

    assert result.to_dict()["raw"]["a"] == {
        "shape": [2, 2], "dtype": "float32", "min": 1.0, "max": 3.0, "mean": 2.0, "nonfinite": 2
    }  # fmt: skip
    assert result.nonfinite == 2


def test_json_names_schema_kind_and_only_its_own_find() -> None:
    values = decode(card("face"), faces(0.9)).to_dict()

    assert (values["schema"], values["kind"]) == (1, "faces")
    assert not {"people", "emotion", "raw"} & set(values)
    assert values["faces"][0]["box_xyxy"] == [-4.0, -4.0, 12.0, 12.0]


def test_an_unknown_constant_names_the_nearest() -> None:
    with pytest.raises(CardError, match="unknown key `nms_iuo`") as caught:
        decode(card("face", nms_iuo=0.3), faces())

    assert caught.value.hint == "did you mean `nms_iou`?"


def test_a_constant_of_the_wrong_type_is_refused_with_its_path() -> None:
    with pytest.raises(CardError, match=r"card\.decoder\.params\.keep.*expected int.*'many'"):
        decode(card("face", keep="many"), faces())


@pytest.mark.parametrize("constant", ["keep", "score_threshold"])
def test_a_constant_beyond_all_arithmetic_is_refused_with_its_path(constant: str) -> None:
    with pytest.raises(CardError, match=rf"{constant}.*out of range.*2\*\*53.*1329 bits"):
        decode(card("face", **{constant: 10**400}), faces())


def test_constants_from_json_and_defaults_are_the_same() -> None:
    params = {"min_sizes": [[16, 32], [64, 128], [256, 512]], "strides": [8, 16, 32], "variances": [0.1, 0.2]}

    assert decode(card("face", **params), faces(0.9)) == decode(card("face"), faces(0.9))
    assert FaceParams(min_sizes=((16.0, 32.0), (64.0, 128.0), (256.0, 512.0))) == FaceParams()


def test_an_unknown_decoder_names_the_nearest() -> None:
    with pytest.raises(CardError, match="`face-prior` is not known") as caught:
        get_decoder("face-prior")

    assert caught.value.hint == "did you mean `face-priors`?"


def test_outputs_that_are_missing_or_of_another_shape_or_kind_are_refused() -> None:
    outputs = faces(0.9)
    with pytest.raises(InputError, match="`m` is missing, got l, c"):
        decode(card("face"), {name: outputs[name] for name in "lc"})
    with pytest.raises(ShapeError, match=r"`c` has the wrong shape, expected \(1, 168, 2\), got \(168, 2\)"):
        decode(card("face"), {**outputs, "c": outputs["c"][0]})
    with pytest.raises(InputError, match="`c` is not numeric"):
        decode(card("face"), {**outputs, "c": outputs["c"].astype(str)})


def test_a_geometry_of_another_input_is_refused() -> None:
    geometry = Geometry(original_hw=(9, 9), input_hw=(32, 32), content_hw=(9, 9), scale_xy=(1.0, 1.0))
    with pytest.raises(ShapeError, match=r"expected \(64, 64\), got \(32, 32\)"):
        decode(card("face"), faces(), geometry)


def test_maps_that_do_not_fit_the_stride_are_refused() -> None:
    outputs = {spec.name: np.zeros(spec.shape, np.float32) for spec in card("pose").outputs}
    with pytest.raises(ShapeError, match="stride 4"):
        decode(card("pose", stride=4), outputs)


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Offer two foreign decoders, one that loads and one that does not; return the names that were loaded."""
    loaded: list[str] = []

    class Point(EntryPoint):
        def load(self) -> object:
            loaded.append(self.name)
            if self.name == "broken":
                raise ImportError("no such thing")
            return Decoder(params=NoParams, run=lambda query: Result(kind="raw", nonfinite=len(query.outputs)))

    points = [Point(name, "somewhere:decoder", module.GROUP) for name in ("foreign", "broken")]

    def offered(group: str, name: str | None = None) -> list[EntryPoint]:
        return [point for point in points if group == module.GROUP and name in (None, point.name)]

    monkeypatch.setattr(module, "entry_points", offered)
    monkeypatch.setattr(module, "_DECODERS", dict(module._DECODERS))
    return loaded


def test_a_foreign_decoder_is_loaded_when_it_is_first_asked_for(plugged: list[str]) -> None:
    assert {"foreign", "broken", "none"} <= set(decoder_names())
    assert plugged == []

    get_decoder("foreign")
    get_decoder("foreign")

    assert plugged == ["foreign"]


def test_a_foreign_decoder_that_does_not_load_is_named(plugged: list[str]) -> None:
    with pytest.raises(InputError, match="`broken` of `somewhere:decoder` does not load"):
        get_decoder("broken")


def test_a_name_cannot_be_taken_twice(plugged: list[str]) -> None:
    with pytest.raises(InputError, match="`none` is already registered"):
        register("none", Decoder(params=NoParams, run=lambda query: Result(kind="raw")))


def test_the_conformance_check_finds_a_decoder_that_leaks_nan(plugged: list[str]) -> None:
    def leaky(query: Query) -> Result:
        from edge.runtime.results import Face

        value = float(query.outputs["a"].sum())
        return Result(kind="faces", faces=(Face(box_xyxy=(0, 0, 1, 1), score=value, landmarks=((0, 0),) * 5),))

    register("leaky", Decoder(params=NoParams, run=leaky))
    spec = Card(
        model="x", input=InputSpec(shape=(1, 3, 8, 8)), outputs=(OutputSpec(name="a", shape=(9, 9)),),
        decoder=DecoderSpec(name="leaky"),
    )  # fmt: skip

    with pytest.raises(InputError, match="`leaky` fails on"):
        check_decoder(spec)


def test_a_recorded_scene_through_the_card_gives_the_recorded_people() -> None:
    path = SYNTHETIC / "student16_up8.npz"
    if not path.exists():
        pytest.skip("golden data is not beside this checkout")
    data = np.load(path)
    outputs = {"h": data["heatmaps"][None], "p": data["pafs"][None]}
    spec = Card(
        model="x",
        input=InputSpec(shape=(1, 128, 128, 3), layout="NHWC"),
        outputs=tuple(OutputSpec(name=name, shape=array.shape, layout="NHWC") for name, array in outputs.items()),
        decoder=DecoderSpec(name="openpose-paf", params={"stride": 1, "upsample": 1}),
    )

    people = decode(spec, outputs).people

    assert [person.score for person in people] == sorted(data["scores"].tolist(), reverse=True)
