"""The networks against the specification: counts, key names, shapes, multiply-adds, layer by layer."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from edge.models import registry  # noqa: E402
from edge.models.inspect import Inspection, LayerRow, inspect_entry  # noqa: E402

pytestmark = pytest.mark.torch

SPEC = Path(__file__).parents[3] / "shared" / "spec"
# The specification's numbers: parameters, state-dict keys, multiply-adds, BatchNorm and counter numbers.
FACTS = {
    "pose-student-8mb": (659_001, 95, 348_143_616, 2_125),
    "pose-student-2mb": (330_753, 95, 183_447_552, 1_517),
    "pose-teacher-mnv1": (4_091_698, 250, 8_881_647_616, 17_313),
    "emotion-teacher-vit-b16": (86_259_842, 206, 17_563_519_232, 0),
    "emotion-student-12m": (11_987_144, 116, 2_562_799_488, 776),
    "emotion-proto-81k": (81_154, 53, 31_719_168, 1_415),
    "emotion-student-234k": (234_130, 118, 59_203_392, 3_171),  # ours: counted, not specified
    "emotion-teacher-cnn": (2_343_122, 166, 445_524_544, 15_099),
    "face-v1": (487_103, 365, 966_997_688, 7_901),
    "face-v1-base": (489_015, 437, 1_014_656_800, 7_487),
    "face-v1-original": (592_371, 587, 1_243_802_176, 9_078),
    "face-retina-mnet025": (426_608, 300, 981_145_600, 6_735),
    "face-nanob-dense": (369_367, 341, 648_256_384, 7_177),
    "face-nanob": (142_323, 341, 325_886_736, 4_569),
}
BLOCKS = {
    "face-v1": {"body": 213_072, "bifpn": 113_610, "dcn1": 49_432, "ClassHead": 900, "BboxHead": 1_800},
    "face-nanob": {"body": 87_440, "cbam1": 8_462, "bifpn": 20_381, "cbam2": 1_494, "ssh": 20_610},
    "face-nanob-dense": {"body": 213_072, "cbam1": 21_798, "bifpn": 57_049, "cbam2": 4_182, "ssh": 66_258},
    "pose-teacher-mnv1": {"model": 1_613_120, "cpm": 265_856, "initial_stage": 604_089, "refinement_stages": 1_608_633},
    "emotion-student-12m": {
        "patch_embed": 2_694,
        "blocks": 11_833_344,
        "norm": 768,
        "head": 74_306,
        "(direct)": 76_032,
    },
}
KEY_FILES = {
    "pose-student-8mb": "pose_student_8MB",
    "pose-student-2mb": "pose_student_2MB",
    "pose-teacher-mnv1": "pose_teacher_368",
    "emotion-student-12m": "emotion_student_12M",
    "emotion-proto-81k": "emotion_proto_81k",
    "face-v1": "face_v1_487103",
    "face-v1-base": "face_v1_489015",
    "face-v1-original": "face_v1_592371",
    "face-retina-mnet025": "face_retina_426608",
    "face-nanob-dense": "face_nanob_dense",
    "face-nanob": "face_nanob_ref",
}
TABLES = {  # words that stand in the heading of a model's layer table
    "pose-student-8mb": '"8MB"',
    "pose-student-2mb": '"2MB"',
    "pose-teacher-mnv1": "Pose teacher",
    "emotion-student-12m": "Emotion student",
    "emotion-proto-81k": "prototype",
    "face-v1": "487,103",
    "face-v1-base": "489,015",
    "face-v1-original": "592,371",
    "face-retina-mnet025": "426,608",
    "face-nanob-dense": "369,367",
    "face-nanob": "142,323",
}
COUNTED = {"Conv2d", "Linear", "BatchNorm2d", "LayerNorm"}


def _inspect(name: str) -> Inspection:
    return inspect_entry(registry.get(name))


def test_every_built_in_model_has_its_facts_here() -> None:
    assert set(FACTS) == set(registry.names())


@pytest.mark.parametrize("name", FACTS)
def test_parameters_keys_and_multiply_adds_are_the_specifications(name: str) -> None:
    found = _inspect(name)

    assert (found.parameters, len(found.keys), found.macs, found.buffers) == FACTS[name]


@pytest.mark.parametrize("name", FACTS)
def test_the_registry_states_what_the_network_has(name: str) -> None:
    entry, found = registry.get(name), _inspect(name)

    assert (entry.parameters, entry.macs) == (found.parameters, found.macs)
    assert [tuple(output.shape) for output in entry.card(None).outputs] == list(found.output_shapes)


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_have_the_stated_parameters(name: str) -> None:
    found = _inspect(name).blocks

    assert {block: found[block] for block in BLOCKS[name]} == BLOCKS[name]


@pytest.mark.parametrize("name", KEY_FILES)
def test_key_names_and_shapes_equal_the_specifications_list(name: str) -> None:
    path = SPEC / "keys" / f"{KEY_FILES[name]}.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout")

    assert dict(_inspect(name).keys) == {key: tuple(shape) for key, shape in json.loads(path.read_text())}


@pytest.mark.parametrize("name", TABLES)
def test_every_layer_equals_the_specifications_table(name: str) -> None:
    if not (SPEC / "layer-tables.md").exists():
        pytest.skip("layer-tables.md is not beside this checkout")
    wanted = _table(TABLES[name])

    found = Counter(_cells(row) for row in _inspect(name).layers if row.type in COUNTED)
    assert found == Counter(row for row in wanted if row[1] in COUNTED)


def test_the_students_attention_costs_what_the_table_says() -> None:
    rows = [row for row in _inspect("emotion-student-12m").layers if row.type == "SelfAttention"]

    assert [(row.parameters, row.macs) for row in rows] == [(591_360, 146_000_640)] * 8


def test_the_teachers_attention_costs_what_the_table_says() -> None:
    rows = [row for row in _inspect("emotion-teacher-vit-b16").layers if ".layer.3.attention." in row.name]

    assert (sum(row.parameters for row in rows), sum(row.macs for row in rows)) == (2_362_368, 524_391_936)


def test_teacher_keys_follow_transformers_4() -> None:
    keys = dict(_inspect("emotion-teacher-vit-b16").keys)

    assert keys["vit.embeddings.patch_embeddings.projection.weight"] == (768, 3, 16, 16)
    assert keys["vit.embeddings.position_embeddings"] == (1, 197, 768)
    assert keys["vit.encoder.layer.11.attention.attention.query.weight"] == (768, 768)
    assert keys["vit.encoder.layer.0.attention.output.dense.bias"] == (768,)
    assert keys["vit.encoder.layer.0.intermediate.dense.weight"] == (3072, 768)
    assert keys["vit.encoder.layer.5.layernorm_before.weight"] == (768,)
    assert keys["head.8.weight"] == (2, 128)
    assert not any(key.startswith("vit.pooler") for key in keys)


def test_multiply_adds_scale_with_the_input() -> None:
    assert inspect_entry(registry.get("face-v1"), (320, 320)).macs == pytest.approx(241.75e6, rel=1e-3)
    assert inspect_entry(registry.get("pose-teacher-mnv1"), (256, 456)).macs == pytest.approx(7_656.014e6, rel=1e-6)


def test_the_family_of_nano_b_has_the_stated_members() -> None:
    from edge.models.face_nanob import NanoB

    uniform = NanoB((4, 12, 20, 20, 40, 40, 84, 84, 84, 84, 84, 84, 168, 168), 48)
    smallest = NanoB((4, 8, 20, 20, 40, 40, 64, 64, 64, 64, 64, 64, 128, 128), 32)

    assert sum(p.numel() for p in smallest.parameters()) == 95_997
    assert sum(p.numel() for p in uniform.parameters()) == 166_693


@pytest.mark.parametrize(("widths", "pyramid"), [((8,) * 13, 40), ((8,) * 14, 42), ((8,) * 14, 0)])
def test_nano_b_refuses_widths_that_cannot_be(widths: tuple[int, ...], pyramid: int) -> None:
    from edge.models.face_nanob import NanoB

    with pytest.raises(ValueError, match="width"):
        NanoB(widths, pyramid)


def test_peak_activations_lie_between_the_largest_layer_and_the_sum_of_all() -> None:
    found = _inspect("pose-student-2mb")
    sizes = [4 * (row.channels_out or 0) * math.prod(map(int, row.output.split("x"))) for row in found.layers]

    assert max(sizes) < found.activation_bytes < sum(sizes)


def _table(words: str) -> list[tuple[str, ...]]:
    text = (SPEC / "layer-tables.md").read_text()
    section = next(part for part in re.split(r"^## ", text, flags=re.MULTILINE) if words in part.splitlines()[0])
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines if "---" not in line]


def _cells(row: LayerRow) -> tuple[str, ...]:
    bias = "" if row.bias is None else "y" if row.bias else "n"
    numbers = [row.channels_in, row.channels_out, row.kernel, row.stride, row.padding, row.dilation, row.groups]
    counts = [str(row.parameters) if row.parameters else "", str(row.macs) if row.macs else ""]
    return (row.name, row.type, *("" if n is None else str(n) for n in numbers), bias, row.output, *counts)
