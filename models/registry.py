"""The models that `edge` knows by name. Listing them, their cards and their counts needs no torch.

Third parties add models by an entry point in the group `edge.models` that gives a `ModelEntry` or a function returning
one; it is loaded when names are listed, or when a name is asked for that is not built in.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from ..runtime.card import Budget, Card
from ..runtime.errors import InputError
from .cards import WIDER, emotion_card, face_card, pose_card

if TYPE_CHECKING:
    from torch import nn

__all__ = ["GROUP", "ROLES", "ModelEntry", "entries", "get", "names", "register"]

GROUP = "edge.models"
ROLES = ("student", "teacher", "variant")


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One model.

    Attributes:
        name: registry key.
        family: "pose", "face", "emotion" or "custom".
        role: "student", "teacher" or "variant".
        summary: one line for lists.
        build: gives the network in eval mode, its weights random.
        card: gives the card for an input (height, width), or for the nominal one; refuses sizes that do not fit.
        parameters: number of trainable numbers.
        macs: multiply-adds at the nominal input size.
        droppable: rules for keys that a checkpoint may hold beyond the network's own: "thop", "ai8x", "vit-pooler".
        rename: gives the network's name of a checkpoint key; None leaves names alone.
        build_for: gives the network whose shapes a state dict has, for families with free widths; None: one shape only.
    """

    name: str
    family: str
    role: str
    summary: str
    build: Callable[[], nn.Module]
    card: Callable[[tuple[int, int] | None], Card]
    parameters: int
    macs: int
    droppable: tuple[str, ...] = ("thop",)
    rename: Callable[[str], str] | None = None
    build_for: Callable[[Mapping[str, Any]], nn.Module] | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise InputError(f"role of model `{self.name}` is not known", expected=" | ".join(ROLES), got=self.role)


_ENTRIES: dict[str, ModelEntry] = {}


def register(make: Callable[[], ModelEntry]) -> Callable[[], ModelEntry]:
    """Register the model that `make` describes.

    Raises:
        InputError: the name is taken.
    """
    _add(make())
    return make


def get(name: str) -> ModelEntry:
    """Return a model by name.

    Raises:
        InputError: no such model; the hint names the nearest, or a plug-in is broken.
    """
    if name not in _ENTRIES:
        _load_plugins()
    if name not in _ENTRIES:
        near = difflib.get_close_matches(name, _ENTRIES, 3, cutoff=0.4)
        hint = f"did you mean {' or '.join(f'`{other}`' for other in near)}?" if near else "`edge models` lists them"
        raise InputError(f"no model is called `{name[:80]}`", hint=hint)
    return _ENTRIES[name]


def entries(role: str | None = None) -> list[ModelEntry]:
    """Return all models, or those of one role, built-in ones first.

    Raises:
        InputError: no such role, or a plug-in is broken.
    """
    if role is not None and role not in ROLES:
        raise InputError("role is not known", expected=" | ".join(ROLES), got=role)
    _load_plugins()
    return [entry for entry in _ENTRIES.values() if role in (None, entry.role)]


def names(role: str | None = None) -> list[str]:
    """Return the names of `entries(role)`."""
    return [entry.name for entry in entries(role)]


def _add(entry: ModelEntry) -> None:
    if entry.name in _ENTRIES:
        raise InputError(f"model `{entry.name}` is already registered")
    _ENTRIES[entry.name] = entry


@cache
def _load_plugins() -> None:
    for point in entry_points(group=GROUP):
        try:
            made = point.load()
            made = made if isinstance(made, ModelEntry) else made()
        except (Exception, SystemExit) as exc:
            raise _broken(point.name, f"{type(exc).__name__}: {exc}"[:120]) from exc
        if not isinstance(made, ModelEntry):
            raise _broken(point.name, f"a {type(made).__name__} instead of a ModelEntry")
        _add(made)


def _broken(name: str, got: str) -> InputError:
    return InputError(f"plug-in `{name}` of `{GROUP}` is broken", got=got, hint="uninstall or mend its package")


# --- built-in models ------------------------------------------------------------

_POSE_STUDENT = {
    "architecture": "J-kal/ai8x-training, Apache-2.0, re-implemented",
    "weights": "none are public",
    "training_data": "COCO 2017 keypoints, distilled from Lightweight OpenPose",
}
_POSE_TEACHER = {
    "architecture": "Lightweight OpenPose (Daniil-Osokin), arXiv:1811.12004, Apache-2.0, re-implemented",
    "weights": "checkpoint_iter_370000.pth of its authors, not shipped",
    "training_data": "COCO 2017 keypoints",
}
_EMOTION = {
    "architecture": "winzerprince/sentio (no licence: shapes and names only), re-implemented",
    "weights": "none are public",
    "training_data": "DEAM-style music with valence and arousal on 1..9",
}
_EMOTION_OWN = {
    "architecture": "our own: separable residual convolutions (arXiv:1704.04861) that keep bands of frequency apart",
    "weights": "none are public",
    "training_data": "synthetic music with valence and arousal by a published model of musical cues",
}
_FACE_V1 = {
    "architecture": "FeatherFace (fokouarnaud, dohun-mat), MIT, re-implemented",
    "training_data": WIDER,
}
_RETINA = {
    "architecture": "RetinaFace, arXiv:1905.00641 (biubug6/Pytorch_Retinaface), MIT, re-implemented",
    "weights": "public mobilenet0.25_Final.pth, for research use like its training data",
    "training_data": WIDER,
}
_NANOB = {
    "architecture": "the diagram of FeatherFace's Nano-B (MIT), made consistent here",
    "weights": "none are public",
    "training_data": WIDER,
}


def _pose(
    name: str, hw: tuple[int, int] | None, *, nominal: int, std: float, stages: int, why: Mapping[str, str]
) -> Card:
    return pose_card(
        name, hw or (nominal, nominal), std=std, stages=stages, provenance=why, budget=Budget(size_bytes=2_000_000)
    )


def _student_card(name: str) -> Callable[[tuple[int, int] | None], Card]:
    return partial(_pose, name, nominal=128, std=128.0, stages=1, why=_POSE_STUDENT)


def _face(name: str, why: Mapping[str, str], hw: tuple[int, int] | None) -> Card:
    return face_card(name, hw or (640, 640), provenance=why, budget=Budget(size_bytes=2_000_000))


def _emotion(
    name: str, size_bytes: int, p90_ms: float, hw: tuple[int, int] | None, *, why: Mapping[str, str] = _EMOTION
) -> Card:
    return emotion_card(name, hw, provenance=why, budget=Budget(size_bytes=size_bytes, p90_ms=p90_ms))


def _rename_vit(key: str) -> str:
    from .emotion_teacher import rename_from_transformers_5

    return rename_from_transformers_5(key)


def _build_pose_8mb() -> nn.Module:
    from .pose_student import WIDTHS_8MB, PoseStudent

    return PoseStudent(WIDTHS_8MB).eval()


def _build_pose_2mb() -> nn.Module:
    from .pose_student import WIDTHS_2MB, PoseStudent

    return PoseStudent(WIDTHS_2MB).eval()


def _build_pose_teacher() -> nn.Module:
    from .pose_teacher import PoseTeacher

    return PoseTeacher().eval()


def _build_emotion_teacher() -> nn.Module:
    from .emotion_teacher import EmotionTeacher

    return EmotionTeacher().eval()


def _build_emotion_student() -> nn.Module:
    from .emotion_student import EmotionStudent

    return EmotionStudent().eval()


def _build_emotion_prototype() -> nn.Module:
    from .emotion_prototype import EmotionPrototype

    return EmotionPrototype().eval()


def _build_emotion_small() -> nn.Module:
    from .emotion_small import EmotionSmall

    return EmotionSmall().eval()


def _build_emotion_cnn() -> nn.Module:
    from .emotion_small import TEACHER_WIDTHS, EmotionSmall

    return EmotionSmall(TEACHER_WIDTHS, depth=3, rows_width=16, bands_width=96).eval()


def _build_face_v1() -> nn.Module:
    from .face_v1 import FaceV1

    return FaceV1().eval()


def _build_face_v1_base() -> nn.Module:
    from .face_v1 import FaceV1Base

    return FaceV1Base().eval()


def _build_face_v1_original() -> nn.Module:
    from .face_v1 import FaceV1Original

    return FaceV1Original().eval()


def _build_face_retina() -> nn.Module:
    from .face_retina import RetinaFace

    return RetinaFace().eval()


def _build_nanob_dense() -> nn.Module:
    from .face_nanob import NanoB

    return NanoB().eval()


def _build_nanob() -> nn.Module:
    from .face_nanob import REFERENCE_PYRAMID, REFERENCE_WIDTHS, NanoB

    return NanoB(REFERENCE_WIDTHS, REFERENCE_PYRAMID).eval()


def _build_nanob_for(state: Mapping[str, Any]) -> nn.Module:
    from .face_nanob import build_nanob, nanob_widths

    return build_nanob(nanob_widths(state)).eval()


@register
def _pose_student_8mb() -> ModelEntry:
    return ModelEntry(
        name="pose-student-8mb",
        family="pose",
        role="student",
        summary="18 keypoints, 128x128; named after its 8 MB training checkpoint, weights are 2.6 MB",
        build=_build_pose_8mb,
        card=_student_card("pose-student-8mb"),
        parameters=659_001,
        macs=348_143_616,
        droppable=("ai8x", "thop"),
    )


@register
def _pose_student_2mb() -> ModelEntry:
    return ModelEntry(
        name="pose-student-2mb",
        family="pose",
        role="student",
        summary="18 keypoints, 128x128; half the widths, weights are 1.3 MB",
        build=_build_pose_2mb,
        card=_student_card("pose-student-2mb"),
        parameters=330_753,
        macs=183_447_552,
        droppable=("ai8x", "thop"),
    )


@register
def _emotion_student_12m() -> ModelEntry:
    return ModelEntry(
        name="emotion-student-12m",
        family="emotion",
        role="student",
        summary="valence and arousal of music; a small vision transformer on spectrograms",
        build=_build_emotion_student,
        # 12M INT8 weights; 200-300 ms on a Pi is what the design document hopes for.
        card=partial(_emotion, "emotion-student-12m", 2_000_000, 50.0),
        parameters=11_987_144,
        macs=2_562_799_488,
    )


@register
def _emotion_proto_81k() -> ModelEntry:
    return ModelEntry(
        name="emotion-proto-81k",
        family="emotion",
        role="student",
        summary="valence and arousal of music; depthwise separable prototype",
        build=_build_emotion_prototype,
        card=partial(_emotion, "emotion-proto-81k", 2_000_000, 50.0),
        parameters=81_154,
        macs=31_719_168,
    )


@register
def _emotion_student_234k() -> ModelEntry:
    return ModelEntry(
        name="emotion-student-234k",
        family="emotion",
        role="student",
        summary="valence and arousal of music; our own separable network, made for INT8 under 2 MB",
        build=_build_emotion_small,
        card=partial(_emotion, "emotion-student-234k", 2_000_000, 50.0, why=_EMOTION_OWN),
        parameters=234_130,
        macs=59_203_392,
    )


@register
def _face_nanob() -> ModelEntry:
    return ModelEntry(
        name="face-nanob",
        family="face",
        role="student",
        summary="faces and 5 landmarks; Nano-B at the reference pruned widths",
        build=_build_nanob,
        card=partial(_face, "face-nanob", _NANOB),
        parameters=142_323,
        macs=325_886_736,
        build_for=_build_nanob_for,
    )


@register
def _pose_teacher_mnv1() -> ModelEntry:
    return ModelEntry(
        name="pose-teacher-mnv1",
        family="pose",
        role="teacher",
        summary="Lightweight OpenPose on MobileNetV1, one refinement stage",
        build=_build_pose_teacher,
        card=partial(_pose, "pose-teacher-mnv1", nominal=368, std=256.0, stages=2, why=_POSE_TEACHER),
        parameters=4_091_698,
        macs=8_881_647_616,
    )


@register
def _emotion_teacher_vit_b16() -> ModelEntry:
    return ModelEntry(
        name="emotion-teacher-vit-b16",
        family="emotion",
        role="teacher",
        summary="valence and arousal of music; ViT-B/16 without the unused pooler",
        build=_build_emotion_teacher,
        card=partial(_emotion, "emotion-teacher-vit-b16", 350_000_000, 5000.0),
        parameters=86_259_842,
        macs=17_563_519_232,
        droppable=("vit-pooler", "thop"),
        rename=_rename_vit,
    )


@register
def _emotion_teacher_cnn() -> ModelEntry:
    return ModelEntry(
        name="emotion-teacher-cnn",
        family="emotion",
        role="teacher",
        summary="valence and arousal of music; the 234k student wider and deeper, trainable on a CPU",
        build=_build_emotion_cnn,
        card=partial(_emotion, "emotion-teacher-cnn", 20_000_000, 500.0, why=_EMOTION_OWN),
        parameters=2_343_122,
        macs=445_524_544,
    )


@register
def _face_v1() -> ModelEntry:
    return ModelEntry(
        name="face-v1",
        family="face",
        role="teacher",
        summary="FeatherFace V1 as documented: CBAM, plain 3x3 context; no public weights",
        build=_build_face_v1,
        card=partial(_face, "face-v1", {**_FACE_V1, "weights": "none are public"}),
        parameters=487_103,
        macs=966_997_688,
    )


@register
def _face_v1_base() -> ModelEntry:
    return ModelEntry(
        name="face-v1-base",
        family="face",
        role="teacher",
        summary="FeatherFace V1 with public weights: deformable context, no CBAM",
        build=_build_face_v1_base,
        card=partial(_face, "face-v1-base", {**_FACE_V1, "weights": "public, for research use like its training data"}),
        parameters=489_015,
        macs=1_014_656_800,
    )


@register
def _face_v1_original() -> ModelEntry:
    return ModelEntry(
        name="face-v1-original",
        family="face",
        role="teacher",
        summary="FeatherFace as first released: CBAM, three BiFPN cells, deformable context",
        build=_build_face_v1_original,
        card=partial(
            _face, "face-v1-original", {**_FACE_V1, "weights": "public, for research use like its training data"}
        ),
        parameters=592_371,
        macs=1_243_802_176,
    )


@register
def _face_retina_mnet025() -> ModelEntry:
    return ModelEntry(
        name="face-retina-mnet025",
        family="face",
        role="teacher",
        summary="RetinaFace on MobileNet 0.25; plain operators, public weights",
        build=_build_face_retina,
        card=partial(_face, "face-retina-mnet025", _RETINA),
        parameters=426_608,
        macs=981_145_600,
    )


@register
def _face_nanob_dense() -> ModelEntry:
    return ModelEntry(
        name="face-nanob-dense",
        family="face",
        role="variant",
        summary="Nano-B before pruning",
        build=_build_nanob_dense,
        card=partial(_face, "face-nanob-dense", _NANOB),
        parameters=369_367,
        macs=648_256_384,
        build_for=_build_nanob_for,
    )
