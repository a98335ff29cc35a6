"""What pose decoding costs and finds: on maps of a trained network, and on synthetic crowds, against the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.card import Card, DecoderSpec, InputSpec, OutputSpec
from ..runtime.decode import bind
from ..runtime.metrics import keypoint_area, match_best, oks
from ..runtime.paf import PafParams, decode_people
from ..runtime.resize import resize
from ..runtime.results import Person
from ..runtime.skeleton import COCO_INDEX
from .findings import Cell, Section, Table, Verdict
from .oracles import load_oracle
from .pose_scene import pose_maps
from .timing import Timing, interleaved

__all__ = ["Agreement", "agreement", "measure_pose", "pose_card"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

AT_GRID, AT_PICTURE = "reference 8x", "reference"
STRIDE = 8  # input pixels a map cell, of the golden networks and of the students
# What the task sets: times over the reference's, decode of a few people and of a crowd, and likeness.
MIN_RATIO, MAX_MS, MAX_CROWD_MS, MIN_OKS = 50.0, 3.0, 5.0, 0.98
FEW, CROWD = 5, 30
CROWD_HW, STUDENT_HW = (46, 80), (16, 16)  # cells: a wide picture at 368 pixels; the students' maps


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far a decoder agrees with the truth.

    Attributes:
        expected, found: people.
        invented: found, but like nobody who is there (OKS below 0.5).
        worst_oks: lowest OKS of a true person, 0 for one that was missed; None without people.
    """

    expected: int
    found: int
    invented: int
    worst_oks: float | None


@dataclass(frozen=True, kw_only=True)
class _Case:
    name: str
    heatmaps: Float32
    pafs: Float32
    truth: Float64  # (people, 18, 2) input pixels, NaN where a joint is missing
    limit_ms: float
    picture_hw: tuple[int, int] | None  # of the photograph behind maps of a trained network; None: synthetic

    @property
    def hw(self) -> tuple[int, int]:
        return self.heatmaps.shape[1], self.heatmaps.shape[2]


@dataclass(frozen=True, kw_only=True)
class _Measured:
    case: _Case
    times: Mapping[str, Timing]
    agreement: Agreement

    def ms(self, what: str) -> float | None:
        return self.times[what].ms if what in self.times else None

    def ratio(self, what: str) -> float | None:
        return self.times[what].ms / self.times["decode"].ms if what in self.times else None

    def row(self) -> tuple[Cell, ...]:
        found = self.agreement
        people = (found.expected, found.found, found.invented, found.worst_oks)
        ours = (self.ms("decode"), self.ms("decode_people"))
        theirs = (self.ms(AT_GRID), self.ratio(AT_GRID), self.ms(AT_PICTURE), self.ratio(AT_PICTURE))
        return (self.case.name, f"{self.case.hw[0]} x {self.case.hw[1]}", *people, *ours, *theirs)


def measure_pose(golden: Path, *, budget_s: float = 2.0, log: Callable[[str], None] = lambda _: None) -> Section:
    """Return times and agreement of `decode.bind` and `decode_people`, interleaved with the reference.

    Args:
        golden: folder with `pose/real/*.npz`.
        budget_s: wall clock for each case.
        log: takes lines of progress.
    """
    files = sorted((golden / "pose" / "real").glob("*.npz"))
    skipped = [] if files else ["maps of a real network: `pose/real/*.npz` is not in the golden folder (`--golden`)"]
    reference = load_oracle("oracle_pose")
    if reference is None:
        skipped.append("the reference: `tests/runtime/oracle_pose.py` comes with a checkout only")
    cases = [_golden_case(path) for path in files] + [
        _synthetic_case(CROWD, CROWD_HW, MAX_CROWD_MS),
        _synthetic_case(2, STUDENT_HW, MAX_MS),
    ]
    measured = []
    for case in cases:
        log(f"pose: {case.name}")
        measured.append(_measured(case, reference, budget_s))
    columns = ("maps", "cells", "people", "found", "invented", "worst OKS", "decode", "decode_people", "reference 8x",
               "ratio 8x", "reference", "ratio")  # fmt: skip
    note = (
        "decode: `decode.bind`, checks included; reference 8x: maps enlarged 8 x and decoded there; reference: "
        "enlarged once more to the size of the picture and decoded there, as its validation does. OKS of real maps is "
        "against the people that the reference found, of synthetic ones against those drawn."
    )
    rows = tuple(item.row() for item in measured)
    table = Table(title="pose decoding, ms, one thread", columns=columns, rows=rows, note=note)
    return Section(name="pose", tables=(table,), verdicts=tuple(_judged(measured)), skipped=tuple(skipped))


def pose_card(hw: tuple[int, int], stride: int = STRIDE) -> Card:
    """Return the card of an imagined network that gives maps of `hw` cells."""
    height, width = hw
    return Card(
        model="pose",
        input=InputSpec(shape=(1, 3, height * stride, width * stride), mean=(128.0,) * 3, std=(128.0,) * 3),
        outputs=(
            OutputSpec(name="heatmaps", shape=(1, 19, height, width), layout="NCHW"),
            OutputSpec(name="pafs", shape=(1, 38, height, width), layout="NCHW"),
        ),
        decoder=DecoderSpec(name="openpose-paf", params={"stride": stride}),
    )


def agreement(people: Sequence[Person], truth: Float64) -> Agreement:
    """Return how far people that were found agree with those that are there.

    Args:
        people: as decoded, pixels.
        truth: (people, 18, 2) float64, the same pixels, in the order of `skeleton.KEYPOINTS`, NaN where missing.
    """
    there = np.array([index for index in range(len(COCO_INDEX)) if COCO_INDEX[index] is not None])
    order = there[np.argsort([COCO_INDEX[index] for index in there])]
    true_xy = truth[:, order]
    true_visible: NDArray[np.bool_] = np.asarray(np.isfinite(true_xy).all(axis=2))
    similarity = np.zeros((len(people), len(truth)))
    for row, person in enumerate(people):
        found = person.coco17()
        for column in range(len(truth)):
            xy, visible = true_xy[column], true_visible[column]
            area = keypoint_area(xy, visible)
            similarity[row, column] = oks(found[:, :2], found[:, 2] > 0, xy, visible, area)
    pairs = match_best(similarity)
    likeness = dict.fromkeys(range(len(truth)), 0.0) | {column: similarity[row, column] for row, column in pairs}
    return Agreement(
        expected=len(truth),
        found=len(people),
        invented=len(people) - len(pairs),
        worst_oks=float(min(likeness.values())) if likeness else None,
    )


def _golden_case(path: Path) -> _Case:
    with np.load(path) as data:
        people = data["people"][:, :54].reshape(-1, 18, 3)[:, :, :2].astype(np.float64)
        heatmaps, pafs = data["heatmaps"].astype(np.float32), data["pafs"].astype(np.float32)
        # The reference gives whole pixels of the enlarged maps; ours are continuous, pixel centres at a half.
        truth = (people + 0.5) * (int(data["stride"]) / int(data["upsample"]))
        height, width = (int(side) for side in data["image_hw"])
    limit = MAX_MS if len(truth) <= FEW else MAX_CROWD_MS
    picture_hw = (height, width)
    return _Case(name=path.stem, heatmaps=heatmaps, pafs=pafs, truth=truth, limit_ms=limit, picture_hw=picture_hw)


def _synthetic_case(people: int, hw: tuple[int, int], limit_ms: float) -> _Case:
    heatmaps, pafs, joints = pose_maps(people, hw, stride=STRIDE)
    name = f"synthetic, {people} people"
    return _Case(name=name, heatmaps=heatmaps, pafs=pafs, truth=joints, limit_ms=limit_ms, picture_hw=None)


def _measured(case: _Case, reference: Any, budget_s: float) -> _Measured:
    bound = bind(pose_card(case.hw))
    params = PafParams(stride=STRIDE)
    outputs = {"heatmaps": case.heatmaps[None], "pafs": case.pafs[None]}
    calls: dict[str, Callable[[], object]] = {
        "decode": lambda: bound(outputs),
        "decode_people": lambda: decode_people(case.heatmaps, case.pafs, params),
    }
    if reference is not None:
        _one_thread_opencv()
        calls[AT_GRID] = lambda: reference.decode(case.heatmaps, case.pafs, upsample=STRIDE)
        if case.picture_hw is not None:
            calls[AT_PICTURE] = lambda: _decode_at_picture_size(reference, case)
    times = interleaved(calls, budget_s=budget_s)
    return _Measured(case=case, times=times, agreement=agreement(bound(outputs).people, case.truth))


def _judged(measured: Sequence[_Measured]) -> list[Verdict]:
    verdicts = [
        Verdict(
            what=f"pose decode, {item.case.name}",
            value=item.times["decode"].ms,
            unit="ms",
            sense="<=",
            limit=item.case.limit_ms,
            reference_ms=item.ms(AT_GRID if item.case.picture_hw is None else AT_PICTURE),
            ratio=item.ratio(AT_GRID if item.case.picture_hw is None else AT_PICTURE),
            busy=item.times["decode"].busy,
        )
        for item in measured
    ]
    real = [item for item in measured if item.case.picture_hw is not None]
    ratios = [ratio for item in real if (ratio := item.ratio(AT_PICTURE)) is not None]
    on_grid = [ratio for item in real if (ratio := item.ratio(AT_GRID)) is not None]
    likeness = [item.agreement.worst_oks for item in real if item.agreement.worst_oks is not None]
    if ratios:
        what = "pose decode against the reference, slowest of the real maps"
        note = f"{min(on_grid):.0f} x against maps that are enlarged 8 x only"
        verdicts.append(Verdict(what=what, value=min(ratios), unit="x", sense=">=", limit=MIN_RATIO, note=note))
    if likeness:
        what = "OKS of the people the reference finds, worst of the real maps"
        verdicts.append(Verdict(what=what, value=min(likeness), unit="", sense=">=", limit=MIN_OKS))
    if real:
        invented = sum(item.agreement.invented for item in real)
        verdicts.append(Verdict(what="people invented on real maps", value=invented, unit="", sense="<=", limit=0))
    return verdicts


def _decode_at_picture_size(reference: Any, case: _Case) -> object:
    """Run the reference as its validation does: maps x 8, then bicubic to the size of the picture, decoded there.

    Between the two it copies the maps once more than it would have to, some per cent of the time.
    """
    assert case.picture_hw is not None
    sized = []
    for maps in (case.heatmaps, case.pafs):
        large = _resized(maps.transpose(1, 2, 0), (case.hw[0] * STRIDE, case.hw[1] * STRIDE))
        sized.append(_resized(large, case.picture_hw).transpose(2, 0, 1))
    return reference.decode(*sized, upsample=1)


def _resized(maps: Float32, hw: tuple[int, int]) -> Float32:
    """Return (H, W, C) maps of another size by bicubic: OpenCV's where it is installed, else the runtime's."""
    channels_last = np.ascontiguousarray(maps)
    try:
        import cv2
    except ImportError:
        return resize(channels_last, hw, "bicubic")
    return np.asarray(cv2.resize(channels_last, hw[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _one_thread_opencv() -> None:
    """Hold the reference's OpenCV, where it has one, to a thread as well."""
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(1)
