"""The pose decoder: by hand, against a plain oracle, and against recorded results of the reference."""

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
from edge.runtime.peaks import MAX_PEAKS, find_peaks
from edge.runtime.people import assemble
from edge.runtime.skeleton import LIMBS

from . import oracle_paf

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
    heatmap = np.zeros((20, 40), np.float32)
    for x, y, value in points:
        heatmap[y, x] = value
    return heatmap


def test_a_peak_must_rise_strictly_above_its_four_neighbours() -> None:
    ridge = spikes((4, 4, 0.5), (5, 4, 0.5), (20, 10, 0.5), (21, 11, 0.5), (0, 19, 0.3))

    found, _ = find_peaks(ridge, 0.1, 0)

    assert found[:, :2].tolist() == [[0, 19], [20, 10], [21, 11]]  # the two side by side block each other


def test_of_two_peaks_too_close_the_left_one_stays_though_it_is_lower() -> None:
    found, _ = find_peaks(spikes((10, 5, 0.2), (15, 5, 0.9), (16, 9, 0.4), (30, 5, 0.4)), 0.1, 6)

    assert found[:, 0].tolist() == [10, 16, 30]  # 15 is 5 away; 16 is 7.2 from 10, and 15 is gone


def test_a_distance_of_exactly_the_radius_is_far_enough() -> None:
    assert len(find_peaks(spikes((10, 5, 0.2), (16, 5, 0.9)), 0.1, 6)[0]) == 2


def test_peaks_come_by_column_then_row() -> None:
    found, _ = find_peaks(spikes((30, 2, 0.5), (3, 15, 0.5), (3, 2, 0.5)), 0.1, 6)

    assert found[:, :2].tolist() == [[3, 2], [3, 15], [30, 2]]


def test_what_is_below_the_threshold_is_no_peak_and_the_threshold_itself_is_one() -> None:
    assert len(find_peaks(spikes((3, 3, 0.0999), (20, 3, 0.1)), 0.1, 6)[0]) == 1


def test_a_map_of_noise_is_cut_to_its_highest_peaks() -> None:
    noise = np.random.default_rng(3).uniform(0, 1, (300, 400)).astype(np.float32)

    found, truncated = find_peaks(noise, 0.1, 6)

    assert truncated
    assert len(found) == MAX_PEAKS
    assert (np.diff(found[:, 0]) >= 0).all()
    assert found[:, 2].min() > 0.9


def field(weak: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a field to the right with `weak` of the ten pixels 0..9 of row 0 empty."""
    x = np.ones((3, 10), np.float32)
    x[0, 2 : 2 + weak] = 0
    return x, np.zeros_like(x)


def test_nine_points_of_ten_make_a_limb_and_eight_do_not() -> None:
    starts, ends = np.array([[0.0, 0.0]]), np.array([[9.0, 0.0]])

    assert match_limbs(*field(1), starts, ends)[2].tolist() == pytest.approx([1.0], abs=1e-5)
    assert match_limbs(*field(2), starts, ends)[2].tolist() == []


def test_a_limb_against_the_field_is_none() -> None:
    assert not len(match_limbs(*field(0), np.array([[9.0, 0.0]]), np.array([[0.0, 0.0]]))[2])


def test_each_joint_is_used_once_and_the_better_pair_wins() -> None:
    x, y = field(0)
    x[1] = 0.5
    starts, ends = np.array([[0.0, 0.0], [0.0, 1.0]]), np.array([[9.0, 0.0]])

    start, end, _ = match_limbs(x, y, starts, ends)

    assert (start.tolist(), end.tolist()) == ([0], [0])


def test_of_equal_affinities_the_shorter_limb_comes_first() -> None:
    x, y = np.ones((3, 40), np.float32), np.zeros((3, 40), np.float32)

    start, end, _ = match_limbs(x, y, np.array([[0.0, 1.0], [4.0, 1.0]]), np.array([[39.0, 1.0]]))

    assert (start.tolist(), end.tolist()) == ([1], [0])


def limbs(**given: list[tuple[int, int, float]]) -> list[list[tuple[int, int, float]]]:
    return [given.get(f"limb{number}", []) for number in range(19)]


def test_a_chain_of_limbs_adds_up() -> None:
    entries = assemble(limbs(limb0=[(0, 1, 0.5)], limb2=[(1, 2, 0.25)]), [1.0, 0.5, 0.25])

    assert entries[0, [1, 2, 3]].tolist() == [0, 1, 2]
    assert entries[0, 18:].tolist() == [1.0 + 0.5 + 0.5 + 0.25 + 0.25, 3]


def test_shoulder_to_ear_fills_a_gap_without_score_or_count() -> None:
    chain = {"limb0": [(0, 1, 0.5)], "limb2": [(1, 2, 0.25)]}

    entries = assemble(limbs(**chain, limb17=[(1, 3, 9.0)]), [1.0, 0.5, 0.25, 1.0])

    assert entries[0, 16] == 3
    assert entries[0, 18:].tolist() == [2.5, 3]


def test_a_joint_that_replaces_another_still_counts() -> None:
    chain = limbs(limb12=[(0, 1, 1.0)], limb13=[(1, 2, 1.0)], limb14=[(2, 3, 1.0)], limb15=[(1, 4, 1.0)])
    chain[16] = [(4, 5, 1.0)]
    chain[4] = [(6, 7, 1.0)]  # somebody else

    entries = assemble(chain, [1.0] * 8)

    assert entries[:, 19].tolist() == [6]


def test_people_with_two_joints_or_a_low_score_are_dropped() -> None:
    assert assemble(limbs(limb0=[(0, 1, 1.0)]), [1.0, 1.0]).shape == (0, 20)
    assert assemble(limbs(limb0=[(0, 1, 0.1)], limb2=[(1, 2, 0.1)]), [0.1, 0.1, 0.1]).shape == (0, 20)


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

    skeletons = find_skeletons(
        data["heatmaps"].astype(np.float32), data["pafs"].astype(np.float32), PafParams(upsample=int(data["upsample"]))
    )

    assert len(skeletons.entries) == len(data["people"])
    assert len(skeletons.keypoints) == len(data["peaks"])
    for entry, person in zip(skeletons.entries, data["people"], strict=True):
        expected = person[:54].reshape(18, 3)[:, :2]
        ids = entry[:18].astype(int)
        np.testing.assert_array_equal(ids >= 0, np.isfinite(expected[:, 0]))
        found = ids >= 0
        assert np.abs(skeletons.keypoints[ids[found], :2] - expected[found]).max() <= 2
        np.testing.assert_allclose(entry[18:], person[54:], rtol=1e-4)


def compare_with_oracle(heatmaps: NDArray[Any], pafs: NDArray[Any]) -> None:
    skeletons = find_skeletons(heatmaps, pafs, ON_GRID)
    entries, keypoints = oracle_paf.decode(heatmaps, pafs)
    np.testing.assert_array_equal(skeletons.keypoints, np.array(keypoints).reshape(-1, 4))
    expected = np.array(entries).reshape(-1, 20)
    np.testing.assert_array_equal(np.delete(skeletons.entries, 18, axis=1), np.delete(expected, 18, axis=1))
    # The order in which ten float32 products are added is NumPy's own; it differs between a row and a table.
    np.testing.assert_allclose(skeletons.entries[:, 18], expected[:, 18], rtol=1e-6)


@settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking costs minutes
@given(
    st.lists(
        st.tuples(st.floats(-15, 40), st.floats(-15, 20), st.floats(0.25, 0.7)), max_size=6
    ),
    st.sampled_from([0.0, 0.02, 0.1, 0.2]),
    st.integers(0, 10**6),
)  # fmt: skip
def test_noisy_scenes_equal_the_oracle(people: list[tuple[float, float, float]], noise: float, seed: int) -> None:
    compare_with_oracle(*scene((44, 50), people, noise=noise, seed=seed))


@pytest.mark.parametrize("seed", range(3))
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
