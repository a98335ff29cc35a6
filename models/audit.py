"""The design documents' numbers beside what instantiated networks have, computed anew at every call.

A verdict is the result of a comparison, never typed: a stated number "holds" when what is found lies within the
precision it was stated with. Claims that only a training log, a device or the documents' own code could settle are
listed too, as "not settled here", with the place where evidence would be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch

from . import registry
from .inspect import Inspection, inspect_entry, inspect_module

__all__ = ["AuditRow", "Claim", "audit"]

POSE = "pose 2 MB student"
EMOTION = "emotion compression"
NANOB = "Nano-B diagram"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One number of a design document.

    Attributes:
        document: which one.
        what: the quantity.
        stated: a number, an interval (low, high), a list of numbers, or a word.
        find: computes the same quantity; None where no network or arithmetic can.
        tolerance: how far a number may be off, as a fraction of the stated one.
        how: what `find` computes, or where evidence would be.
    """

    document: str
    what: str
    stated: Any
    find: Callable[[], Any] | None
    tolerance: float = 0.0
    how: str = ""


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """A claim with what was found and the verdict: "holds", "wrong" or "not settled here"."""

    document: str
    claim: str
    stated: Any
    found: Any
    verdict: str
    how: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def audit() -> list[AuditRow]:
    """Return every claim with what instantiated networks and arithmetic say of it; takes a few seconds."""
    return [_judge(claim) for claim in (*_pose(), *_emotion(), *_nanob())]


def _judge(claim: Claim) -> AuditRow:
    found = claim.find() if claim.find is not None else None
    verdict = "not settled here" if claim.find is None else "holds" if _agrees(claim, found) else "wrong"
    return AuditRow(
        document=claim.document,
        claim=claim.what,
        stated=list(claim.stated) if isinstance(claim.stated, tuple) else claim.stated,
        found=round(found, 4) if isinstance(found, float) else found,
        verdict=verdict,
        how=claim.how,
    )


def _agrees(claim: Claim, found: Any) -> bool:
    stated = claim.stated
    if isinstance(stated, tuple):  # an interval, for a number or for an interval that must lie inside
        low, high = (found[0], found[-1]) if isinstance(found, list) else (found, found)
        return bool(stated[0] <= low and high <= stated[1])
    if isinstance(stated, int | float) and isinstance(found, int | float):
        return abs(found - stated) <= claim.tolerance * abs(stated)
    return bool(found == stated)


@cache
def _network(name: str) -> Inspection:
    return inspect_entry(registry.get(name))


def _parameters(name: str, prefix: str) -> int:
    """Parameters under a prefix of the state dict, BatchNorm's statistics not counted."""
    with torch.device("meta"):
        module = registry.get(name).build()
    return sum(value.numel() for key, value in module.named_parameters() if key.startswith(prefix))


def _outputs(name: str) -> list[list[int]]:
    return [list(shape) for shape in _network(name).output_shapes]


def _megabytes(name: str) -> float:
    return _network(name).weight_bytes / 1e6


def _with_adam(name: str) -> float:
    """Megabytes of weights and two Adam moments in float32, without the file's own overhead."""
    return 3 * _megabytes(name)


# --- pose ------------------------------------------------------------


def _pose() -> list[Claim]:
    small, large, teacher = "pose-student-2mb", "pose-student-8mb", "pose-teacher-mnv1"

    def claim(what: str, stated: Any, find: Callable[[], Any] | None, tolerance: float = 0.0, how: str = "") -> Claim:
        return Claim(document=POSE, what=what, stated=stated, find=find, tolerance=tolerance, how=how)

    def trims(name: str) -> list[int]:
        rows = [row for row in _network(name).layers if row.type == "Conv2d"]
        picked = ("conv1", "conv3", "conv4", "conv5", "conv7", "cpm1", "heat_conv")
        return [next(row.channels_out or 0 for row in rows if row.name == f"{block}.op") for block in picked]

    return [
        claim("widths before, conv1 3 4 5 7 cpm head", [32, 64, 64, 96, 128, 96, 64], lambda: trims(large)),
        claim("widths after, the same blocks", [24, 48, 48, 64, 96, 64, 48], lambda: trims(small)),
        claim("outputs for 128x128", [[1, 19, 16, 16], [1, 38, 16, 16]], lambda: _outputs(small)),
        claim("parameters, about 0.36 M", 360_000, lambda: _network(small).parameters, 0.03),
        claim("float32 weights, about 1.5 MB", 1.5, lambda: _megabytes(small), 0.05, "4 bytes a parameter"),
        claim("the previous student is 8 MB of weights", 8.0, lambda: _megabytes(large), 0.05, "4 bytes a parameter"),
        claim(
            "the previous student is 8 MB with Adam's moments",
            8.0,
            lambda: _with_adam(large),
            0.05,
            "12 bytes a parameter",
        ),
        claim("2 MB including optimizer and metadata", 2.0, lambda: _with_adam(small), 0.05, "12 bytes a parameter"),
        claim(
            "8 MB to 2 MB, a factor of 4",
            4.0,
            lambda: _network(large).parameters / _network(small).parameters,
            0.05,
            "ratio of parameters",
        ),
        claim(
            "parameters that the origin's log prints for the previous student",
            659_136,
            lambda: _network(large).parameters + 9 * sum(1 for k, _ in _network(large).keys if k.endswith("op.weight")),
            how="parameters and 9 bookkeeping numbers a block",
        ),
        claim("the teacher has about 28 M parameters", 28_000_000, lambda: _network(teacher).parameters, 0.05),
        claim("accuracy of either student", "none given", None, how="the origin's only detections file is empty"),
    ]


# --- emotion ------------------------------------------------------------


def _emotion() -> list[Claim]:
    teacher, student, proto = "emotion-teacher-vit-b16", "emotion-student-12m", "emotion-proto-81k"
    pooler = 768 * 768 + 768

    def claim(what: str, stated: Any, find: Callable[[], Any] | None, tolerance: float = 0.0, how: str = "") -> Claim:
        return Claim(document=EMOTION, what=what, stated=stated, find=find, tolerance=tolerance, how=how)

    def of(name: str, *prefixes: str) -> Callable[[], int]:
        return lambda: sum(_parameters(name, prefix) for prefix in prefixes)

    def total() -> int:
        return _network(teacher).parameters

    def built() -> int:
        return total() + pooler

    layer = "vit.encoder.layer.0."
    patch, blocks = "vit.embeddings.patch_embeddings", "vit.encoder."
    own_table = (2_360_064, 768, 151_296, 85_249_536, 1_536, 239_362)
    return [
        claim("teacher, total", 86_002_562, built, how="with the pooler that the origin builds"),
        claim("teacher, total, read without the pooler", 86_002_562, total),
        claim("teacher, sum of the document's own table", 86_002_562, lambda: sum(own_table), how="sum of its rows"),
        claim("teacher, patch convolution", 2_360_064, of(teacher, patch)),
        claim("teacher, 12 blocks (first statement)", 85_249_536, of(teacher, blocks)),
        claim("teacher, 12 blocks (second statement)", 85_045_536, of(teacher, blocks)),
        claim("teacher, one block", 7_087_128, of(teacher, layer)),
        claim(
            "teacher, attention and its norm", 2_364_672, of(teacher, f"{layer}attention", f"{layer}layernorm_before")
        ),
        claim(
            "teacher, MLP and its norm",
            4_723_968,
            of(teacher, f"{layer}intermediate", f"{layer}output", f"{layer}layernorm_after"),
        ),
        claim("teacher, class token", 768, of(teacher, "vit.embeddings.cls_token")),
        claim("teacher, positions", 151_296, of(teacher, "vit.embeddings.position_embeddings")),
        claim("teacher, final norm", 1_536, of(teacher, "vit.layernorm")),
        claim("teacher, head (first statement)", 188_418, of(teacher, "head.")),
        claim("teacher, head (second statement)", 239_362, of(teacher, "head.")),
        claim("teacher, head (third statement)", 461_186, of(teacher, "head.")),
        claim("teacher, backbone 85.8 M", 85_800_000, of(teacher, "vit."), 0.001),
        claim("student, total", 11_987_144, lambda: _network(student).parameters),
        claim("student, patch embedding", 2_694, of(student, "patch_embed.")),
        claim("student, class token", 384, of(student, "cls_token")),
        claim("student, positions", 75_648, of(student, "pos_embed")),
        claim("student, 8 blocks", 11_833_344, of(student, "blocks.")),
        claim("student, one block", 1_479_168, of(student, "blocks.0.")),
        claim("student, attention and its norm", 592_128, of(student, "blocks.0.attn", "blocks.0.norm1")),
        claim("student, MLP and its norm", 887_040, of(student, "blocks.0.mlp", "blocks.0.norm2")),
        claim("student, final norm", 768, of(student, "norm.")),
        claim("student, head", 74_306, of(student, "head.")),
        claim("compression 7.2x", 7.2, lambda: built() / _network(student).parameters, 0.01),
        claim("compression 7.2x, without the pooler", 7.2, lambda: total() / _network(student).parameters, 0.01),
        claim(
            "patch embedding 876x smaller",
            876,
            lambda: of(teacher, patch)() / of(student, "patch_embed.")(),
            0.01,
        ),
        claim("head 6.4x smaller", 6.4, lambda: of(teacher, "head.")() / of(student, "head.")(), 0.01),
        claim(
            "depthwise patch embedding saves 307x",
            307,
            lambda: 768 * 3 * 256 / (of(student, "patch_embed.0.")() + of(student, "patch_embed.2.")()),
            0.01,
            "768 outputs against 384; every patch is squeezed to 3 numbers",
        ),
        claim("MLP ratio of the student against the teacher's", "higher", _mlp_ratio, how="hidden over width"),
        claim(
            "layers save 86% of the teacher",
            0.86,
            lambda: (of(teacher, blocks)() - of(student, "blocks.")()) / total(),
            0.005,
        ),
        claim("teacher, float32 size 344 MB", 344, lambda: built() * 4 / 1e6, 0.005),
        claim("student, float32 size 48 MB", 48, lambda: _megabytes(student), 0.005),
        claim("prototype, total", 81_154, lambda: _network(proto).parameters),
        claim("prototype 1075x smaller", 1075, lambda: built() / _network(proto).parameters, 0.01),
        claim("previous student 5-8 M parameters", (5_000_000, 8_000_000), _previous_student, how="192 wide, 4 layers"),
        claim("INT4 of the student, combined 14.4x", 14.4, lambda: 7.2 * 8, 0.01, "7.2x smaller, 8x fewer bits"),
        claim("0.690 of 0.740 is 93.2%", 0.932, lambda: 0.690 / 0.740, 0.001, "arithmetic on the stated scores"),
        claim("12.94 against 9.32 is +39%", 0.39, lambda: 12.94 / 9.32 - 1, 0.01, "arithmetic on the stated scores"),
        claim("memory 2576 against 472 is 5.46x", 5.46, lambda: 2576 / 472, 0.01, "arithmetic on stated estimates"),
        claim(
            "student keeps 93.2% of the teacher's CCC",
            0.932,
            lambda: 0.0969 / 0.7473,
            0.01,
            "from a log, not from a network: the run recorded in that very notebook ends at these two scores",
        ),
        claim("teacher's test CCC", 0.740, None, how="training log: 0.7463-0.7473 on real and generated clips mixed"),
        claim("measured sizes 350 / 48 MB", "350 / 48", None, how="no file was published"),
        claim(
            "student 4x faster, 200-300 ms on a Pi",
            4.0,
            None,
            how="no measurement was published; `edge bench` measures. In multiply-adds the ratio is "
            f"{registry.get(teacher).macs / registry.get(student).macs:.2f}",
        ),
        claim("attention transfer takes part", "yes", None, how="training log: its loss is 0.0000 throughout"),
    ]


def _mlp_ratio() -> str:
    rows = {row.name: row for row in _network("emotion-student-12m").layers}
    mine = rows["blocks.0.mlp.0"]
    rows = {row.name: row for row in _network("emotion-teacher-vit-b16").layers}
    theirs = rows["vit.encoder.layer.0.intermediate.dense"]
    student = (mine.channels_out or 0) / (mine.channels_in or 1)
    teacher = (theirs.channels_out or 0) / (theirs.channels_in or 1)
    return "higher" if student > teacher else "lower" if student < teacher else "equal"


def _previous_student() -> int:
    from .emotion_student import EmotionStudent

    with torch.device("meta"):
        return sum(p.numel() for p in EmotionStudent(192, 4, 4, 384).parameters())


# --- Nano-B ------------------------------------------------------------

# Each bound of the document's pruning groups at its maximum: early backbone x0.6, late x0.5, in multiples of 4.
SMALLEST_WIDTHS = (4, 8, 20, 20, 40, 40, 64, 64, 64, 64, 64, 64, 128, 128)
SMALLEST_PYRAMID = 32


@cache
def _smallest() -> Inspection:
    from .face_nanob import NanoB

    with torch.device("meta"):
        module = NanoB(SMALLEST_WIDTHS, SMALLEST_PYRAMID).eval()
    return inspect_module(module, (1, 3, 640, 640))


def _nanob() -> list[Claim]:
    dense, pruned, v1 = "face-nanob-dense", "face-nanob", "face-v1"

    def claim(what: str, stated: Any, find: Callable[[], Any] | None, tolerance: float = 0.0, how: str = "") -> Claim:
        return Claim(document=NANOB, what=what, stated=stated, find=find, tolerance=tolerance, how=how)

    def of(prefix: str) -> Callable[[], int]:
        return lambda: _parameters(dense, prefix)

    def convs(prefix: str) -> list[int]:
        return [row.parameters for row in _network(dense).layers if row.name.startswith(prefix) and row.kernel]

    def taps() -> list[int]:
        rows = {row.name: row for row in _network(dense).layers}
        return [int(rows[f"bifpn.lat.{i}.bn"].output.partition("x")[0]) for i in range(3)]

    def tap_channels() -> list[int]:
        rows = {row.name: row for row in _network(dense).layers}
        return [rows[f"bifpn.lat.{i}.dw"].channels_in or 0 for i in range(3)]

    heads = ("ClassHead.", "BboxHead.", "LandmarkHead.")
    stated_parts = (60, 8, 45, 8, 35, 0, 15)
    stated_shares = (40, 5.3, 30, 5.3, 23.3, 0, 10)
    size = (120_000, 180_000)
    return [
        claim("V1 teacher, total", 487_103, lambda: _network(v1).parameters),
        claim("Nano-B, total, as drawn", size, lambda: _network(dense).parameters, how="dense widths"),
        claim("Nano-B, total, after pruning", size, lambda: _network(pruned).parameters, how="reference widths"),
        claim("Nano-B, total, every bound at its maximum", size, lambda: _smallest().parameters),
        claim(
            "48-65% smaller than V1",
            (0.48, 0.65),
            lambda: [round(1 - bound / _network(v1).parameters, 3) for bound in reversed(size)],
            how="the stated totals against V1's",
        ),
        claim("parts add up to 150 k", 150, lambda: sum(stated_parts), how="sum of its rows, thousands"),
        claim("shares add up to 100%", 100.0, lambda: float(sum(stated_shares)), how="sum of its rows"),
        claim("backbone 60 k, as drawn", 60_000, of("body."), 0.02),
        claim("backbone 60 k, every bound at its maximum", 60_000, lambda: _smallest().blocks["body"], 0.02),
        claim("attention before the pyramid, 8 k", 8_000, of("cbam1."), 0.05),
        claim("attention behind the pyramid, 8 k", 8_000, of("cbam2."), 0.05),
        claim(
            "laterals",
            [2_400, 4_800, 9_600],
            lambda: [_parameters(dense, f"bifpn.lat.{level}.") for level in range(3)],
        ),
        claim("depthwise 3x3 and pointwise node, 9.4 k", 9_400, of("bifpn.node.0."), 0.02),
        claim("fusion weights", 444, lambda: sum(_parameters(dense, f"bifpn.w{index}") for index in range(1, 5))),
        claim("grouped context convolutions", [5_900, 2_950, 1_500, 1_500], lambda: _context(convs("ssh.0."))),
        claim("context, 35 k", 35_000, of("ssh."), 0.02),
        claim("heads a level", [120, 240, 600], lambda: [_parameters(dense, f"{head}0.") for head in heads]),
        claim("heads, total", 2_880, lambda: sum(_parameters(dense, head) for head in heads)),
        claim("map sides of the three stages at 640", [320, 160, 80], taps),
        claim("channels of the three stages", [32, 64, 128], tap_channels),
        claim(
            "numbers a place, two anchors",
            16,
            lambda: sum(
                row.channels_out or 0
                for row in _network(dense).layers
                if row.name.startswith(heads) and ".0.conv1x1" in row.name
            ),
        ),
        claim("predictions at 640", 16_800, lambda: _network(dense).output_shapes[0][1]),
        claim("float32 weights under 2 MB", (0.0, 2.0), lambda: round(_megabytes(pruned), 3), how="reference widths"),
        claim("pruning bounds, groups and phases", "as drawn", None, how="the origin's code at 19dd6fd differs in all"),
        claim("structural removal works", "yes", None, how="the origin's code at 19dd6fd raises TypeError"),
        claim("competitive mAP", "yes", None, how="no Nano-B result is recorded anywhere"),
    ]


def _context(sizes: list[int]) -> list[int]:
    """The four sizes that the diagram lists: wide, first narrow, and two of the three equal narrow ones."""
    return sorted(sizes, reverse=True)[:4]
