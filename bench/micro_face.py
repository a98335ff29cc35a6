"""What face decoding and suppression cost, against the slow oracle of the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from ..runtime.card import Card, DecoderSpec, InputSpec, OutputSpec
from ..runtime.decode import bind
from ..runtime.face import FaceParams, decode_faces, priors
from ..runtime.nms import nms
from .face_scene import face_outputs, nms_candidates
from .findings import Cell, Section, Table, Verdict
from .oracles import load_oracle
from .timing import interleaved

__all__ = ["face_card", "measure_face", "measure_nms"]

# What the task sets, ms.
FACE_LIMIT_MS, FACE_GOAL_MS, NMS_LIMIT_MS = 0.3, 0.15, 3.0
FACES, INPUT_HW = 50, (640, 640)
CANDIDATES = 5000
KINDS: tuple[Literal["clustered", "scattered"], ...] = ("clustered", "scattered")
IOU = FaceParams().nms_iou


def measure_face(*, budget_s: float = 2.0, log: Callable[[str], None] = lambda _: None) -> Section:
    """Return the times of decoding 16,800 priors with 50 faces: `decode.bind`, and `decode_faces` alone."""
    log(f"face: {FACES} faces")
    loc, conf, landm, _ = face_outputs(FACES, INPUT_HW)
    bound = bind(face_card(INPUT_HW))
    outputs = {"loc": loc[None], "conf": conf[None], "landm": landm[None]}
    params = FaceParams()
    times = interleaved(
        {
            "decode": lambda: bound(outputs),
            "decode_faces": lambda: decode_faces(loc, conf, landm, INPUT_HW, params),
        },
        budget_s=budget_s,
    )
    decode = times["decode"]
    above = int((conf[:, 1] > params.score_threshold).sum())
    row = (len(loc), above, len(bound(outputs).faces), decode.ms, times["decode_faces"].ms)
    table = Table(
        title="face decoding at 640 x 640, ms, one thread",
        columns=("priors", "above threshold", "faces", "decode", "decode_faces"),
        rows=(row,),
        note=(
            "decode: `decode.bind`, suppression and checks included; decode_faces: without the checks, and with all "
            f"candidates above {params.score_threshold:g} through suppression."
        ),
    )
    verdicts = tuple(
        Verdict(
            what=f"{what}, {len(loc):,} priors, {FACES} faces",
            value=times[name].ms,
            unit="ms",
            sense="<=",
            limit=FACE_LIMIT_MS,
            goal=FACE_GOAL_MS,
            busy=times[name].busy,
        )
        for name, what in (("decode", "face decode"), ("decode_faces", "face decode, low scores kept"))
    )
    return Section(name="face", tables=(table,), verdicts=verdicts)


def measure_nms(
    *, count: int = CANDIDATES, budget_s: float = 2.0, log: Callable[[str], None] = lambda _: None
) -> Section:
    """Return the times of suppressing `count` boxes, and whether the slow oracle keeps the very same ones."""
    oracle = load_oracle("oracle_nms")
    skipped = () if oracle is not None else ("the oracle: `tests/runtime/oracle_nms.py` comes with a checkout only",)
    rows: list[tuple[Cell, ...]] = []
    verdicts: list[Verdict] = []
    for kind in KINDS:
        log(f"nms: {count} boxes, {kind}")
        row, judged = _suppressed(kind, count, oracle, budget_s)
        rows.append(row)
        verdicts += judged
    table = Table(
        title="suppression, ms, one thread",
        columns=("boxes", "kind", "kept", "nms", "kept uncapped", "nms uncapped", "reference", "ratio", "identical"),
        rows=tuple(rows),
        note=(
            "nms: as the decoder calls it, at most 750 kept; uncapped: all survivors; reference: py_cpu_nms; "
            "identical: with the oracle that goes box by box."
        ),
    )
    return Section(name="nms", tables=(table,), verdicts=tuple(verdicts), skipped=skipped)


def face_card(input_hw: tuple[int, int]) -> Card:
    """Return the card of an imagined detector with the default priors."""
    params = FaceParams()
    count = len(priors(input_hw, params.min_sizes, params.strides))
    return Card(
        model="face",
        input=InputSpec(shape=(1, 3, *input_hw)),
        outputs=tuple(
            OutputSpec(name=name, shape=(1, count, width)) for name, width in (("loc", 4), ("conf", 2), ("landm", 10))
        ),
        decoder=DecoderSpec(name="face-priors"),
    )


def _suppressed(
    kind: Literal["clustered", "scattered"], count: int, oracle: Any, budget_s: float
) -> tuple[tuple[Cell, ...], list[Verdict]]:
    boxes, scores = nms_candidates(kind, count)
    calls: dict[str, Callable[[], object]] = {
        "capped": lambda: nms(boxes, scores, IOU),
        "all": lambda: nms(boxes, scores, IOU, pre_nms=count, keep=count),
    }
    if oracle is not None:
        calls["reference"] = lambda: oracle.nms_by_rows(boxes, scores, IOU)
    times = interleaved(calls, budget_s=budget_s)
    capped, _ = nms(boxes, scores, IOU)
    everything, _ = nms(boxes, scores, IOU, pre_nms=count, keep=count)
    slow_ms = same = ratio = None
    verdicts = []
    if oracle is not None:
        slow_ms = times["reference"].ms
        ratio = slow_ms / times["capped"].ms
        answer, _ = oracle.nms(boxes, scores, IOU, pre_nms=count, keep=count)
        same = answer == everything.tolist() and answer[: len(capped)] == capped.tolist()
        verdicts.append(
            Verdict(what=f"NMS unlike the oracle, {kind}", value=int(not same), unit="", sense="<=", limit=0)
        )
    timing = Verdict(
        what=f"NMS, {count} boxes, {kind}",
        value=times["capped"].ms,
        unit="ms",
        sense="<=",
        limit=NMS_LIMIT_MS,
        reference_ms=slow_ms,
        ratio=ratio,
        busy=times["capped"].busy,
    )
    row = (count, kind, len(capped), times["capped"].ms, len(everything), times["all"].ms, slow_ms, ratio, same)
    return row, [timing, *verdicts]
