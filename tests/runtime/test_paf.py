"""The pose decoder: by hand, against plain oracles, and against recorded results of the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.runtime.errors import CardError, ShapeError
from edge.runtime.geometry import Geometry
from edge.runtime.limbs import match_limbs
from edge.runtime.paf import PafParams, decode_people, find_skeletons
from edge.runtime.peaks import MAX_PEAKS, OVERSHOOT, find_peaks
from edge.runtime.people import assemble
from edge.runtime.resize import resize
from edge.runtime.skeleton import LIMBS, Limb

from . import oracle_paf, oracle_pose

GOLDEN = Path(__file__).parents[2] / ".." / "shared" / "golden" / "pose"
SYNTHETIC = sorted((GOLDEN / "synthetic").glob("*.npz"))
REAL = sorted((GOLDEN / "real").glob("*.npz"))
ON_GRID = PafParams(stride=1, upsample=1)
# Joints of a standing person, as fractions of its height, from its upper left.
STANDING = np.array(
    [(30, 8), (30, 20), (20, 20), (16, 35), (14, 50), (40, 20), (44, 35), (46, 50), (25, 50), (24, 70), (24, 90),
     (35, 50), (36, 70), (36, 90), (28, 5), (32, 5), (24, 7), (36, 7)]
)  # fmt: skip


def scene(
    hw: tuple[int, int],
    people: list[tuple[float, float, float]],
    missing: tuple[int, ...] = (),
    noise: float = 0,
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return maps of people at (x, y, scale), drawn as peaks and bands of unit vectors, and noise."""
    rng = np.random.default_rng(seed)
    heatmaps, pafs = np.zeros((19, *hw), np.float32), np.zeros((38, *hw), np.float32)
    rows, columns = np.mgrid[: hw[0], : hw[1]]
    for left, top, scale in people:
        joints = STANDING * scale + np.array([left, top])
        for part, (x, y) in enumerate(joints):
            if part not in missing:
                bump = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
                heatmaps[part] = np.maximum(heatmaps[part], bump)
        for limb in LIMBS:
            start, end = joints[limb.start], joints[limb.end]
            length = np.hypot(*(end - start)) + 1e-9
            unit = (end - start) / length
            along = (columns - start[0]) * unit[0] + (rows - start[1]) * unit[1]
            across = np.abs((columns - start[0]) * unit[1] - (rows - start[1]) * unit[0])
            band = (along > -2) & (along < length + 2) & (across < 2.5)
            pafs[limb.channel_x][band], pafs[limb.channel_y][band] = unit
    heatmaps += rng.normal(0, noise, heatmaps.shape).astype(np.float32)
    pafs += rng.normal(0, noise, pafs.shape).astype(np.float32)
    return heatmaps, pafs


def spikes(*points: tuple[int, int, float]) -> NDArray[np.float32]:
    heatmap = np.zeros((1, 20, 40), np.float32)
    for x, y, value in points:
        heatmap[0, y, x] = value
    return heatmap


def test_a_peak_must_rise_strictly_above_its_four_neighbours() -> None:
    ridge = spikes((4, 4, 0.5), (5, 4, 0.5), (20, 10, 0.5), (21, 11, 0.5), (0, 19, 0.3))

    found = find_peaks(ridge, 0.1, 0).table

    assert found[:, :2].tolist() == [[0, 19], [20, 10], [21, 11]]  # the two side by side block each other


def test_of_two_peaks_too_close_the_left_one_stays_though_it_is_lower() -> None:
    found = find_peaks(spikes((10, 5, 0.2), (15, 5, 0.9), (16, 9, 0.4), (30, 5, 0.4)), 0.1, 6).table

    assert found[:, 0].tolist() == [10, 16, 30]  # 15 is 5 away; 16 is 7.2 from 10, and 15 is gone


def test_a_distance_of_exactly_the_radius_is_far_enough() -> None:
    assert find_peaks(spikes((10, 5, 0.2), (16, 5, 0.9)), 0.1, 6).counts == [2]


def test_joints_come_by_part_then_column_then_row() -> None:
    first, second = spikes((30, 2, 0.5), (3, 15, 0.5), (3, 2, 0.5)), spikes((1, 1, 0.5))

    found = find_peaks(np.concatenate([first, second]), 0.1, 6)

    assert found.table[:, :2].tolist() == [[3, 2], [3, 15], [30, 2], [1, 1]]
    assert found.counts == [3, 1]


def test_what_is_below_the_threshold_is_no_peak_and_the_threshold_itself_is_one() -> None:
    assert find_peaks(spikes((3, 3, 0.0999), (20, 3, 0.1)), 0.1, 6).counts == [1]


def test_a_map_of_noise_is_cut_to_its_highest_peaks_and_its_neighbour_is_not() -> None:
    noise = np.random.default_rng(3).uniform(0, 1, (300, 400)).astype(np.float32)
    calm = np.zeros_like(noise)
    calm[7, 9] = 0.5

    found = find_peaks(np.stack([noise, calm]), 0.1, 6)

    assert found.truncated
    assert found.counts == [MAX_PEAKS, 1]
    assert (np.diff(found.table[:-1, 0]) >= 0).all()
    assert found.table[:-1, 2].min() > 0.9
    assert found.table[-1].tolist() == [9, 7, 0.5]


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize("seed", range(3))
def test_refined_peaks_are_the_maxima_of_the_enlarged_map(factor: int, seed: int) -> None:
    """Hills apart from each other: along a ridge the surface ripples, and the reference finds peaks there, too."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:18, :15]
    heatmap = np.zeros((18, 15), np.float32)
    for y, x in [(4, 4), (4, 10), (13, 4), (13, 10)]:
        across, down = columns - x - rng.uniform(-0.5, 0.5), rows - y - rng.uniform(-0.5, 0.5)
        heatmap += np.exp(-(across**2 + down**2) / rng.uniform(1.2, 3)).astype(np.float32)

    found = find_peaks(heatmap[None], 0.1, 0, upsample=factor).table

    large = resize(heatmap[:, :, None].copy(), (18 * factor, 15 * factor), "bicubic")[:, :, 0]
    expected = find_peaks(large[None], 0.1, 0).table
    assert len(found) == len(expected)
    order = np.lexsort((np.rint(found[:, 1]), np.rint(found[:, 0])))
    np.testing.assert_allclose(found[order, 2], expected[:, 2], atol=2e-6)  # the order of float32 additions
    assert np.abs(found[order, :2] - expected[:, :2]).max() <= 0.5


def test_a_peak_between_two_equal_cells_lies_in_their_middle() -> None:
    """Where the reference finds none: the two highest pixels are equal, too."""
    found = find_peaks(spikes((10, 5, 0.8), (11, 5, 0.8)), 0.1, 6, upsample=8).table

    np.testing.assert_allclose(found[:, :2], [[87.5, 43.5]], atol=1e-4)  # the middle of 88 pixels, and of row 5


def test_of_two_refined_peaks_too_close_the_higher_one_stays() -> None:
    near = spikes((10, 5, 0.5), (11, 6, 0.9))

    assert find_peaks(near, 0.1, 6, upsample=8).counts == [2]
    assert find_peaks(near, 0.1, 30, upsample=8).table[:, 0].round().tolist() == [91]
    assert find_peaks(near[:, :, ::-1], 0.1, 30, upsample=8).table[:, 0].round().tolist() == [319 - 91]


def test_a_map_that_climbs_to_the_border_of_the_content_peaks_there() -> None:
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32) / 20, (1, 5, 20)) * np.array(
        [[0.2], [0.6], [1], [0.6], [0.2]]
    )

    found = find_peaks(ramp.astype(np.float32), 0.1, 6, upsample=8, content_hw=(40, 75)).table

    assert found[:, :2].round().tolist() == [[74, 20]] or found[:, :2].round().tolist() == [[74, 19]]


def test_no_pattern_of_cells_rises_above_the_bound_that_candidates_are_chosen_by() -> None:
    signs = np.sign(np.random.default_rng(0).normal(0, 1, (2000, 5, 5))).astype(np.float32)

    assert np.abs(resize(signs.transpose(1, 2, 0).copy(), (80, 80), "bicubic")).max() <= OVERSHOOT + 1e-5


def field(weak: int, width: int = 10) -> NDArray[np.float32]:
    """Return a field to the right with `weak` of the ten pixels 0..9 of row 0 empty."""
    pafs = np.zeros((2, 3, width), np.float32)
    pafs[0] = 1
    pafs[0, 0, 2 : 2 + weak] = 0
    return pafs


def connect(
    pafs: NDArray[np.float32], starts: list[tuple[float, float]], ends: list[tuple[float, float]]
) -> list[tuple[int, int, float]]:
    """Return the connections of one limb, ends counted from 0."""
    found = match_limbs(pafs, np.array(starts + ends), [len(starts), len(ends)], limbs=(Limb(0, 1, 0, 1),))
    return [(start, end - len(starts), affinity) for start, end, affinity in found[0]]


def test_nine_points_of_ten_make_a_limb_and_eight_do_not() -> None:
    [(start, end, affinity)] = connect(field(1), [(0, 0)], [(9, 0)])
    assert (start, end) == (0, 0)
    assert affinity == pytest.approx(1.0, abs=1e-5)
    assert connect(field(2), [(0, 0)], [(9, 0)]) == []


def test_a_limb_against_the_field_is_none() -> None:
    assert connect(field(0), [(9, 0)], [(0, 0)]) == []


def test_each_joint_is_used_once_and_the_better_pair_wins() -> None:
    pafs = field(0)
    pafs[0, 1] = 0.5

    assert [pair[:2] for pair in connect(pafs, [(0, 0), (0, 1)], [(9, 0)])] == [(0, 0)]


def test_of_equal_affinities_the_shorter_limb_comes_first() -> None:
    assert [pair[:2] for pair in connect(field(0, 40), [(0, 1), (4, 1)], [(39, 1)])] == [(1, 0)]


def test_a_field_between_cells_is_read_in_proportion() -> None:
    pafs = field(0)
    pafs[0, 1] = 0.5

    # Enlarged 4 times, rows 1 and 2 lie 1/8 of a cell before and after the first cell's edge.
    found = match_limbs(pafs, np.array([[2.0, 2], [30, 2]]), [1, 1], upsample=4, limbs=(Limb(0, 1, 0, 1),))

    assert found[0][0][2] == pytest.approx(1 - 0.5 / 8, abs=1e-5)


def limbs(**given: list[tuple[int, int, float]]) -> list[list[tuple[int, int, float]]]:
    return [given.get(f"limb{number}", []) for number in range(19)]


def test_a_chain_of_limbs_adds_up() -> None:
    entries = assemble(limbs(limb0=[(0, 1, 0.5)], limb2=[(1, 2, 0.25)]), [1.0, 0.5, 0.25])

    assert entries[0].joints[1:4] == [0, 1, 2]
    assert (entries[0].score, entries[0].count) == (1.0 + 0.5 + 0.5 + 0.25 + 0.25, 3)


def test_shoulder_to_ear_fills_a_gap_without_score_or_count() -> None:
    chain = {"limb0": [(0, 1, 0.5)], "limb2": [(1, 2, 0.25)]}

    entries = assemble(limbs(**chain, limb17=[(1, 3, 9.0)]), [1.0, 0.5, 0.25, 1.0])

    assert entries[0].joints[16] == 3
    assert (entries[0].score, entries[0].count) == (2.5, 3)


def test_a_joint_that_replaces_another_still_counts() -> None:
    chain = limbs(limb12=[(0, 1, 1.0)], limb13=[(1, 2, 1.0)], limb14=[(2, 3, 1.0)], limb15=[(1, 4, 1.0)])
    chain[16] = [(4, 5, 1.0)]
    chain[4] = [(6, 7, 1.0)]  # somebody else

    entries = assemble(chain, [1.0] * 8)

    assert [entry.count for entry in entries] == [6]


def test_people_with_two_joints_or_a_low_score_are_dropped() -> None:
    assert assemble(limbs(limb0=[(0, 1, 1.0)]), [1.0, 1.0]) == []
    assert assemble(limbs(limb0=[(0, 1, 0.1)], limb2=[(1, 2, 0.1)]), [0.1, 0.1, 0.1]) == []


def test_a_drawn_person_is_found_whole() -> None:
    people, truncated = decode_people(*scene((100, 80), [(5, 2, 1.0)]), ON_GRID)

    assert len(people) == 1
    assert not truncated
    assert [[point.x, point.y] for point in people[0].keypoints if point] == (STANDING + np.array([5.5, 2.5])).tolist()


def test_without_a_neck_a_person_falls_into_five_pieces() -> None:
    people, _ = decode_people(*scene((200, 130), [(5, 2, 2.0)], missing=(1,)), ON_GRID)

    # Two legs; two arms, filled up with an ear each; the head, filled up with both shoulders.
    assert sorted(sum(point is not None for point in person.keypoints) for person in people) == [3, 3, 4, 4, 7]


def test_coordinates_go_through_the_geometry() -> None:
    maps = scene((100, 80), [(5, 2, 1.0)])
    geometry = Geometry(original_hw=(50, 160), input_hw=(100, 80), content_hw=(100, 80), scale_xy=(0.5, 2.0))

    person = decode_people(*maps, ON_GRID, geometry)[0][0]

    nose = person.keypoints[0]
    assert nose is not None
    assert nose[:2] == ((35 + 0.5) / 0.5, (10 + 0.5) / 2.0)


def test_the_padding_is_cropped_before_peaks_are_sought() -> None:
    maps = scene((100, 160), [(5, 2, 1.0), (85, 2, 1.0)])
    geometry = Geometry(original_hw=(100, 80), input_hw=(100, 160), content_hw=(100, 80), scale_xy=(1.0, 1.0))

    people, _ = decode_people(*maps, ON_GRID, geometry)

    assert len(people) == 1
    assert all(point is None or point.x < 80 for point in people[0].keypoints)


def test_maps_of_a_stride_are_enlarged_to_input_pixels() -> None:
    heatmaps, pafs = scene(
        (50, 40), [(4.2, 2.3, 0.5)]
    )  # off the grid: a bump on a cell's centre gives two equal pixels
    small = PafParams(stride=4, upsample=4)

    person = decode_people(heatmaps, pafs, small)[0][0]

    found = np.array([(np.nan, np.nan) if point is None else point[:2] for point in person.keypoints])
    # A cell's centre is at (cell + 0.5) * stride; half a cell of error is left to the bumps' sampling.
    np.testing.assert_allclose(found[:14], (STANDING * 0.5 + np.array([4.7, 2.8]))[:14] * 4, atol=2.1)


def test_coco_order_leaves_the_neck_out_and_marks_what_is_missing() -> None:
    person = decode_people(*scene((100, 80), [(5, 2, 1.0)], missing=(4,)), ON_GRID)[0][0]

    table = person.coco17()

    assert table[10].tolist() == [0, 0, 0]  # right wrist
    assert table[0].tolist() == [35.5, 10.5, 1]
    assert table[:, 2].sum() == 16


@pytest.mark.parametrize("path", SYNTHETIC or [None], ids=lambda path: path.stem if path else "none")
def test_synthetic_cases_are_exactly_those_of_the_reference(path: Path | None) -> None:
    if path is None:
        pytest.skip("golden data is not beside this checkout")
    data = np.load(path)
    heatmaps, pafs = (data[name].transpose(2, 0, 1) for name in ("heatmaps", "pafs"))

    skeletons = find_skeletons(heatmaps, pafs, ON_GRID)
    people, _ = decode_people(heatmaps, pafs, ON_GRID)

    np.testing.assert_array_equal(skeletons.entries, data["pose_entries"])
    np.testing.assert_array_equal(skeletons.keypoints, data["all_keypoints"])
    order = np.argsort(-data["scores"], kind="stable")
    assert [person.score for person in people] == data["scores"][order].tolist()
    got = np.array([person.coco17() for person in people]).reshape(len(people), 51)
    np.testing.assert_array_equal(got, data["coco_keypoints"][order])


@pytest.mark.parametrize("path", REAL or [None], ids=lambda path: path.stem if path else "none")
def test_photographs_give_the_people_of_the_reference(path: Path | None) -> None:
    if path is None:
        pytest.skip("golden data is not beside this checkout")
    data = np.load(path)

    people, truncated = decode_people(
        data["heatmaps"].astype(np.float32), data["pafs"].astype(np.float32), PafParams(upsample=int(data["upsample"]))
    )

    assert not truncated
    assert len(people) == len(data["people"])
    found = [oracle_pose.positions(person) for person in people]
    for person in data["people"]:
        expected = person[:54].reshape(18, 3)[:, :2].astype(np.float64) + 0.5  # pixel centres
        scores = [oracle_pose.oks(one, expected) for one in found]
        assert max(scores) >= 0.98
        closest = found.pop(int(np.argmax(scores)))  # each of ours is one of theirs
        np.testing.assert_array_equal(np.isfinite(closest), np.isfinite(expected))
        assert np.nanmax(np.abs(closest - expected)) <= 2


@pytest.mark.parametrize("path", REAL or [None], ids=lambda path: path.stem if path else "none")
def test_the_enlarging_oracle_gives_the_recorded_people_of_the_reference(path: Path | None) -> None:
    if path is None:
        pytest.skip("golden data is not beside this checkout")
    data = np.load(path)

    entries, joints = oracle_pose.decode(data["heatmaps"].astype(np.float32), data["pafs"].astype(np.float32))

    assert len(entries) == len(data["people"])
    assert len(joints) == len(data["peaks"])
    for entry, person in zip(entries, data["people"], strict=True):
        expected = person[:54].reshape(18, 3)[:, :2]
        ids = entry[:18].astype(int)
        np.testing.assert_array_equal(ids >= 0, np.isfinite(expected[:, 0]))
        assert np.abs(joints[ids[ids >= 0], :2] - expected[ids >= 0]).max() <= 2
        np.testing.assert_allclose(entry[18:], person[54:], rtol=1e-4)


def compare_with_oracle(heatmaps: NDArray[Any], pafs: NDArray[Any]) -> None:
    skeletons = find_skeletons(heatmaps, pafs, ON_GRID)
    entries, keypoints = oracle_paf.decode(heatmaps, pafs)
    np.testing.assert_array_equal(skeletons.keypoints, np.array(keypoints).reshape(-1, 4))
    expected = np.array(entries).reshape(-1, 20)
    np.testing.assert_array_equal(np.delete(skeletons.entries, 18, axis=1), np.delete(expected, 18, axis=1))
    # The order in which ten float32 products are added is NumPy's own; it differs between a row and a table.
    np.testing.assert_allclose(skeletons.entries[:, 18], expected[:, 18], rtol=1e-6)


@settings(
    max_examples=5, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate]
)  # shrinking costs minutes
@given(
    st.lists(
        st.tuples(st.floats(-15, 40), st.floats(-15, 20), st.floats(0.25, 0.7)), max_size=6
    ),
    st.sampled_from([0.0, 0.02, 0.1, 0.2]),
    st.integers(0, 10**6),
)  # fmt: skip
def test_noisy_scenes_equal_the_oracle(people: list[tuple[float, float, float]], noise: float, seed: int) -> None:
    compare_with_oracle(*scene((44, 50), people, noise=noise, seed=seed))


@pytest.mark.parametrize("seed", range(2))
def test_a_field_that_agrees_with_everything_equals_the_oracle_for_many_people(seed: int) -> None:
    """So many pairs of peaks that most are sifted by a few points first."""
    rng = np.random.default_rng(seed)
    heatmaps = np.where(rng.uniform(size=(19, 60, 70)) < 0.02, rng.uniform(size=(19, 60, 70)), 0).astype(np.float32)
    pafs = rng.uniform(-0.3, 1, (38, 60, 70)).astype(np.float32)
    compare_with_oracle(heatmaps, pafs)


def test_flat_maps_give_nobody() -> None:
    full = np.ones((19, 8, 8), np.float32), np.ones((38, 8, 8), np.float32)
    empty = np.zeros((19, 8, 8), np.float32), np.zeros((38, 8, 8), np.float32)

    assert decode_people(*full, ON_GRID) == ([], False)
    assert decode_people(*empty, PafParams()) == ([], False)


def test_maps_of_other_channels_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(19, h, w\) and \(38, h, w\).*\(18, 8, 8\)"):
        find_skeletons(np.zeros((18, 8, 8), np.float32), np.zeros((38, 8, 8), np.float32), ON_GRID)


@pytest.mark.parametrize("change", [{"points": 1}, {"threshold": 0.0}, {"upsample": 99}, {"min_ratio": 1.0}])
def test_constants_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CardError, match="out of range"):
        PafParams(**change)
