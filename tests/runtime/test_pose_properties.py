"""What must hold of the pose decoder whatever a network puts out: symmetries, bounds, and no exception."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.bench.pose_scene import pose_maps
from edge.runtime.geometry import Geometry
from edge.runtime.paf import PafParams, decode_people, find_skeletons
from edge.runtime.peaks import MAX_PEAKS, find_peaks
from edge.runtime.results import Person
from edge.runtime.skeleton import KEYPOINTS, LIMBS

from .oracle_pose import oks, positions

Maps = tuple[NDArray[np.float32], NDArray[np.float32]]
PARAMS = PafParams()  # stride 8, decoded on the grid of the input
MIRRORED = [
    KEYPOINTS.index(name.replace("right", "?").replace("left", "right").replace("?", "left")) for name in KEYPOINTS
]
few = settings(deadline=None, derandomize=True, max_examples=100)
scenes = st.tuples(st.integers(1, 3), st.integers(0, 10**6), st.sampled_from([0.0, 0.01, 0.03]))


def tile(people: int, seed: int, noise: float, hw: tuple[int, int] = (26, 30)) -> Maps:
    """Return a scene with a margin of four empty cells, so that it can be moved without touching its neighbours."""
    heatmaps, pafs, _ = pose_maps(people, (hw[0] - 8, hw[1] - 8), seed=seed, noise=noise)
    margin = ((0, 0), (4, 4), (4, 4))
    return np.pad(heatmaps, margin), np.pad(pafs, margin)


def decode(maps: Maps, geometry: Geometry | None = None, params: PafParams = PARAMS) -> list[Person]:
    return decode_people(*maps, params, geometry)[0]


def table(people: list[Person], move: tuple[float, float] = (0, 0)) -> NDArray[np.float64]:
    """Return (P, 18 * 2 + 1): joints (-999 where missing) and score, in an order that does not depend on people's."""
    rows = [[*np.nan_to_num(positions(one) + move, nan=-999).ravel(), one.score] for one in people]
    rows.sort(key=lambda row: [round(value) for value in row])
    return np.array(rows).reshape(len(rows), 37)


@few
@given(st.lists(scenes, min_size=2, max_size=3), st.randoms(use_true_random=False))
def test_people_in_another_order_are_the_same_people(tiles: list[tuple[int, int, float]], random: Any) -> None:
    parts = [tile(*one) for one in tiles]
    order = list(range(len(parts)))
    random.shuffle(order)

    side_by_side = decode(tuple(np.concatenate(maps, axis=2) for maps in zip(*parts, strict=True)))  # type: ignore[arg-type]  # a pair
    shuffled = decode(tuple(np.concatenate([one[i] for one in (parts[n] for n in order)], axis=2) for i in (0, 1)))  # type: ignore[arg-type]  # a pair

    for place, number in enumerate(order):
        here = [one for one in side_by_side if number * 240 <= np.nanmin(positions(one)[:, 0]) < (number + 1) * 240]
        there = [one for one in shuffled if place * 240 <= np.nanmin(positions(one)[:, 0]) < (place + 1) * 240]
        np.testing.assert_allclose(table(there), table(here, ((place - number) * 240, 0)), rtol=1e-5, atol=1e-2)


@few
@given(scenes)
def test_a_mirrored_picture_gives_mirrored_people(scene: tuple[int, int, float]) -> None:
    heatmaps, pafs = tile(*scene)
    other_heatmaps = heatmaps[[*MIRRORED, 18], :, ::-1].copy()
    other_pafs = np.empty_like(pafs)
    for limb in LIMBS:
        twin = next(one for one in LIMBS if (one.start, one.end) == (MIRRORED[limb.start], MIRRORED[limb.end]))
        other_pafs[twin.channel_x] = -pafs[limb.channel_x, :, ::-1]
        other_pafs[twin.channel_y] = pafs[limb.channel_y, :, ::-1]

    people, mirrored = decode((heatmaps, pafs)), decode((other_heatmaps, other_pafs))

    back = [
        Person(
            keypoints=tuple(
                None if point is None else point._replace(x=240 - point.x)
                for point in (one.keypoints[part] for part in MIRRORED)
            ),
            score=one.score,
        )
        for one in mirrored
    ]
    np.testing.assert_allclose(table(back), table(people), rtol=1e-5, atol=1e-2)


@few
@given(scenes, st.integers(0, 9), st.integers(0, 9))
def test_a_scene_moved_by_whole_cells_gives_people_moved_by_as_much(
    scene: tuple[int, int, float], right: int, down: int
) -> None:
    margin = ((0, 0), (down, 9 - down), (right, 9 - right))
    maps = tile(*scene)

    moved = decode((np.pad(maps[0], margin), np.pad(maps[1], margin)))

    np.testing.assert_allclose(table(moved), table(decode(maps), (right * 8, down * 8)), rtol=1e-5, atol=1e-2)


@few
@given(scenes, st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_scale_of_the_geometry_scales_the_joints(
    scene: tuple[int, int, float], scale_x: float, scale_y: float
) -> None:
    maps = tile(*scene)
    hw = (26 * 8, 30 * 8)
    geometry = Geometry(original_hw=(1, 1), input_hw=hw, content_hw=hw, scale_xy=(scale_x, scale_y))

    people, plain = decode(maps, geometry), decode(maps)

    assert [one.score for one in people] == [one.score for one in plain]
    for one, other in zip(people, plain, strict=True):
        np.testing.assert_allclose(positions(one) * (scale_x, scale_y), positions(other), rtol=1e-9)


@few
@given(scenes, st.integers(1, 208), st.integers(1, 240))
def test_joints_lie_in_the_content_and_what_is_far_from_its_rim_stays(
    scene: tuple[int, int, float], height: int, width: int
) -> None:
    maps = tile(*scene)
    whole = find_skeletons(*maps, PARAMS).keypoints

    cut = find_skeletons(*maps, PARAMS, (height, width)).keypoints

    assert ((cut[:, :2] > -0.5) & (cut[:, :2] < (width - 0.5, height - 0.5))).all()
    inner = whole[(whole[:, 0] < width - 24) & (whole[:, 1] < height - 24), :3]
    gaps = np.abs(inner[:, None] - cut[None, :, :3]).max(axis=2)
    assert not len(inner) or (len(cut) and gaps.min(axis=1).max() < 1e-3)


@few
@given(
    st.integers(1, 24), st.integers(1, 24), st.integers(0, 10**6), st.sampled_from([1e-3, 0.2, 1.0, 2.0, 1e6]),
    st.sampled_from(["noise", "steps", "dots", "ones", "zeros", "checkerboard"]),
    st.sampled_from([(8, 8), (8, 4), (4, 3), (4, 2), (1, 1), (8, 1), (2, 32)]), st.sampled_from([0.0, 1.0, 6.0, 50.0]),
)  # fmt: skip
def test_whatever_the_maps_hold_people_are_finite_and_inside(
    height: int, width: int, seed: int, top: float, kind: str, grid: tuple[int, int], radius: float
) -> None:
    rng = np.random.default_rng(seed)
    maps = [rng.uniform(-top, top, (channels, height, width)).astype(np.float32) for channels in (19, 38)]
    if kind == "steps":
        maps = [np.rint(values / top * 2).astype(np.float32) * np.float32(top) for values in maps]
    elif kind == "dots":
        maps[0][rng.uniform(size=maps[0].shape) < 0.9] = 0
    elif kind != "noise":
        checks = np.indices((height, width)).sum(axis=0) % 2
        pattern = {"ones": np.ones_like(checks), "zeros": np.zeros_like(checks), "checkerboard": checks}[kind]
        maps = [np.broadcast_to(pattern * top, values.shape).astype(np.float32) for values in maps]
    params = PafParams(stride=grid[0], upsample=grid[1], nms_radius=radius)
    content = (int(rng.integers(1, height * grid[0] + 1)), int(rng.integers(1, width * grid[0] + 1)))
    geometry = Geometry(original_hw=(9, 9), input_hw=(9, 9), content_hw=content, scale_xy=(0.5, 2.0))

    people, _ = decode_people(maps[0], maps[1], params, geometry)

    slack = grid[0] / grid[1]  # the content in whole pixels of the decoding grid
    for person in people:
        assert math.isfinite(person.score)
        for point in person.keypoints:
            if point is not None:
                assert -1e-6 <= point.x * 0.5 <= content[1] + slack
                assert -1e-6 <= point.y * 2.0 <= content[0] + slack
                assert params.threshold * 0.999 <= point.score < 3 * top
    if kind == "zeros" or (kind == "ones" and top <= 1):
        assert people == []


@few
@given(st.integers(0, 10**6), st.sampled_from([2, 4, 8]), st.sampled_from([1.0, 6.0, 20.0]))
def test_joints_of_a_part_keep_their_distance_and_the_highest_is_among_them(
    seed: int, factor: int, radius: float
) -> None:
    heatmaps = np.random.default_rng(seed).uniform(0, 1, (2, 12, 15)).astype(np.float32)

    found = find_peaks(heatmaps, 0.1, radius, upsample=factor)
    everything = find_peaks(heatmaps, 0.1, 0, upsample=factor)

    first = 0
    for number, count in enumerate(found.counts):
        joints = found.table[first : first + count]
        first += count
        gaps = np.hypot(*(joints[:, None, :2] - joints[None, :, :2]).transpose(2, 0, 1)) + np.eye(count) * 1e9
        assert gaps.min() >= radius
        start = sum(everything.counts[:number])
        assert joints[:, 2].max() == everything.table[start : start + everything.counts[number], 2].max()


@few
@given(st.integers(0, 10**6), st.floats(0.4, 0.95))
def test_a_saturated_head_still_gives_each_person_once(seed: int, top: float) -> None:
    """An 8-bit head that clips: every joint becomes a plateau of equal cells, which the strict rule would miss."""
    heatmaps, pafs, joints = pose_maps(2, (24, 30), seed=seed)
    step = np.float32(top / 127)
    heatmaps = np.minimum(np.rint(heatmaps / step), 127).astype(np.float32) * step

    people = decode((heatmaps, pafs))

    assert len(people) == 2
    for truth in joints:
        assert (
            max(oks(positions(one), truth) for one in people) > 0.75
        )  # the middle of a plateau is known to half a cell


@pytest.mark.parametrize("hw", [(1, 1), (1, 9), (9, 1), (2, 2)])
@pytest.mark.parametrize("factor", [1, 2, 8, 32])
def test_maps_of_a_cell_or_a_line_are_decoded(hw: tuple[int, int], factor: int) -> None:
    rng = np.random.default_rng(0)
    heatmaps, pafs = rng.uniform(0, 1, (19, *hw)).astype(np.float32), rng.uniform(-1, 1, (38, *hw)).astype(np.float32)

    skeletons = find_skeletons(heatmaps, pafs, PafParams(upsample=factor))

    assert ((skeletons.keypoints[:, :2] > -0.5) & (skeletons.keypoints[:, 0:2] < np.array(hw[::-1]) * factor)).all()


def test_one_hot_cell_is_a_joint_in_its_middle() -> None:
    heatmaps = np.full((1, 1, 1), 0.5, np.float32)
    wide = np.zeros((1, 5, 5), np.float32)
    wide[0, 2, 2] = 0.5

    assert find_peaks(wide, 0.1, 6, upsample=8).table[0, :2] == pytest.approx([19.5, 19.5], abs=1e-4)
    assert find_peaks(heatmaps, 0.1, 6, upsample=1).table.tolist() == [[0, 0, 0.5]]


@few
@given(st.integers(1, 12), st.integers(0, 10**6))
def test_joints_of_a_clean_scene_are_found_well_below_a_cell(people: int, seed: int) -> None:
    heatmaps, _, joints = pose_maps(people, (46, 82), seed=seed)

    found = find_peaks(heatmaps[:18], 0.1, 6, upsample=8)

    first = 0
    errors = []
    for part, count in enumerate(found.counts):
        places = found.table[first : first + count, :2] + 0.5
        first += count
        for truth in joints[:, part]:
            gaps = np.sort(np.hypot(*(joints[:, part] - truth).T))[1:]
            inner = (truth > 16).all() and (truth < (640, 352)).all()  # the bicubic surface ripples at its border
            if inner and gaps.min(initial=99) > 40:  # no other joint near by
                errors.append(np.hypot(*(places - truth).T).min())
    assume(errors)
    assert np.mean(errors) < 0.6
    assert max(errors) < 1.2


@pytest.mark.parametrize("people", [0, 1, 7])
def test_an_invented_scene_is_what_it_says(people: int) -> None:
    heatmaps, pafs, joints = pose_maps(people, (20, 40), seed=3)

    assert (heatmaps.shape, pafs.shape, joints.shape) == ((19, 20, 40), (38, 20, 40), (people, 18, 2))
    assert heatmaps.dtype == pafs.dtype == np.float32
    assert ((joints >= 0) & (joints <= (320, 160))).all()
    assert (heatmaps >= 0).all()
    assert (np.hypot(pafs[0::2], pafs[1::2]) < 1 + 1e-5).all()
    np.testing.assert_array_equal(pose_maps(people, (20, 40), seed=3)[0], heatmaps)
    for joint in joints.reshape(-1, 18, 2):
        for part, (x, y) in enumerate(joint):
            assert heatmaps[part, min(int(y / 8), 19), min(int(x / 8), 39)] >= np.exp(-0.5 / (2 * 0.81)) ** 2 - 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_thirty_people_are_found_all(seed: int) -> None:
    heatmaps, pafs, joints = pose_maps(30, (46, 136), seed=seed)

    people = decode((heatmaps, pafs))

    scores = [[oks(positions(one), truth) for one in people] for truth in joints]
    assert sum(max(row) > 0.9 for row in scores) >= 29  # arms that cross may swap
    assert len(people) <= 32


def adversary(kind: str, hw: tuple[int, int]) -> Maps:
    rng = np.random.default_rng(0)
    heatmap = rng.uniform(0.5, 1, hw).astype(np.float32)
    if kind == "dots":  # 256 of each part
        rows, columns = np.indices(hw)
        heatmap[(rows % 8 != 2) | (columns % 8 != 2) | (rows >= 64) | (columns >= 256)] = 0
    return np.broadcast_to(heatmap, (19, *hw)).copy(), np.ones((38, *hw), np.float32)


@pytest.mark.parametrize(("kind", "factor"), [("dots", 1), ("dots", 8), ("noise", 8)])
def test_the_worst_maps_stay_within_bounds(kind: str, factor: int) -> None:
    """As many joints as can be, and fields that agree with half of all pairs: 65,536 for each of 19 limbs."""
    maps = adversary(kind, (72, 258))

    tracemalloc.start()
    try:
        skeletons = find_skeletons(*maps, PafParams(upsample=factor))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert skeletons.truncated == (kind == "noise")
    assert len(skeletons.keypoints) == 18 * MAX_PEAKS
    assert peak_bytes < 100e6
