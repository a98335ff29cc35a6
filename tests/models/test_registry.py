"""Names, cards and plug-ins; none of it may need torch."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from edge.models import registry
from edge.models.cards import FACE_PARAMS, POSE_PARAMS
from edge.models.registry import ModelEntry
from edge.runtime.card import Card
from edge.runtime.errors import InputError
from edge.runtime.face import FaceParams
from edge.runtime.paf import PafParams


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Offer entry points to a registry that forgets them afterwards."""
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    registry._load_plugins.cache_clear()

    def offer(**values: str) -> None:
        points = [EntryPoint(name, value, registry.GROUP) for name, value in values.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: points)

    yield offer
    registry._load_plugins.cache_clear()


def make_entry() -> ModelEntry:
    built_in = registry.get("face-v1")
    return ModelEntry(
        name="mine",
        family="face",
        role="student",
        summary="a plug-in",
        build=built_in.build,
        card=built_in.card,
        parameters=1,
        macs=1,
    )


def make_nonsense() -> int:
    return 3


def leave() -> None:
    raise SystemExit(3)


def test_students_are_the_six_that_are_meant_to_ship() -> None:
    assert sorted(registry.names("student")) == [
        "emotion-proto-81k",
        "emotion-student-12m",
        "emotion-student-234k",
        "face-nanob",
        "pose-student-2mb",
        "pose-student-8mb",
    ]


def test_listing_names_and_cards_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from edge.models import registry; [e.card(None) for e in registry.entries()];"
        "import edge.commands.models; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'tensorflow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_gets_its_nearest_neighbours() -> None:
    with pytest.raises(InputError, match="face-nanobe") as caught:
        registry.get("face-nanobe")
    assert "`face-nanob`" in str(caught.value.hint)


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(InputError, match="role"):
        registry.names("pupil")


def test_a_name_cannot_be_registered_twice() -> None:
    with pytest.raises(InputError, match="face-v1"):
        registry.register(lambda: registry.get("face-v1"))


@pytest.mark.parametrize("entry", registry.entries(), ids=lambda entry: entry.name)
def test_cards_survive_json_and_name_their_model(entry: ModelEntry) -> None:
    card = entry.card(None)

    assert Card.from_json(card.to_json()) == card or Card.from_json(card.to_json()).to_json() == card.to_json()
    assert (card.model, card.family) == (entry.name, entry.family)
    assert {"architecture", "weights", "training_data"} <= set(card.provenance)


@pytest.mark.parametrize(
    ("name", "hw"),
    [
        ("face-v1", (630, 640)),
        ("face-nanob", (0, 32)),
        ("pose-student-2mb", (130, 128)),
        ("pose-teacher-mnv1", (8192, 8192)),
        ("emotion-proto-81k", (128, 128)),
    ],
)
def test_sizes_that_a_network_cannot_take_are_refused(name: str, hw: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=name):
        registry.get(name).card(hw)


def test_contracts_of_the_specification() -> None:
    student = registry.get("pose-student-8mb").card(None).input
    teacher = registry.get("pose-teacher-mnv1").card((256, 456))
    face = registry.get("face-retina-mnet025").card((320, 320))
    emotion = registry.get("emotion-student-12m").card(None).input

    assert (student.colour, student.mean[0], student.std[0], student.resize.rounding) == ("BGR", 128, 128, "truncate")
    assert (student.resize.interpolation, student.resize.fill) == ("bicubic", (128.0,) * 3)
    assert teacher.input.std[0] == 256
    assert [o.shape for o in teacher.outputs] == [(1, 19, 32, 57), (1, 38, 32, 57)] * 2
    assert [o.name for o in teacher.outputs] == ["stage_0_heatmaps", "stage_0_pafs", "heatmaps", "pafs"]
    assert (face.input.colour, face.input.mean, face.input.std) == ("BGR", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))
    assert [o.shape for o in face.outputs] == [(1, 4200, 4), (1, 4200, 2), (1, 4200, 10)]
    assert emotion.audio is not None
    assert (emotion.kind, emotion.mean, emotion.audio.normalise) == ("audio", (0.485, 0.456, 0.406), "zscore")
    assert "research" in registry.get("face-retina-mnet025").card(None).provenance["training_data"]


def test_the_decoders_know_every_constant_of_the_cards_and_share_its_value() -> None:
    assert PafParams(**POSE_PARAMS) == PafParams()
    face = FaceParams()
    assert {key: getattr(face, key) for key in FACE_PARAMS} == {
        key: tuple(map(lambda v: tuple(v) if isinstance(v, list) else v, value)) if isinstance(value, list) else value
        for key, value in FACE_PARAMS.items()
    }


def test_a_plug_in_is_listed_and_found(plugins: Any) -> None:
    plugins(mine=f"{__name__}:make_entry")

    assert registry.get("mine").summary == "a plug-in"
    assert "mine" in registry.names("student")


@pytest.mark.parametrize("broken", ["make_nonsense", "leave", "not_there"])
def test_a_broken_plug_in_is_named_and_leaves_built_in_models_alone(plugins: Any, broken: str) -> None:
    plugins(bad=f"{__name__}:{broken}")

    assert registry.get("face-v1").name == "face-v1"
    with pytest.raises(InputError, match="`bad`"):
        registry.names()
