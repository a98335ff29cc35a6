"""Half-precision rounding keeps what a constant input gives."""

import numpy as np
import pytest

from edge.export.half_rounding import round_to_half, smallest_kernels


def weights(shape: tuple[int, ...], seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


@pytest.mark.parametrize(("shape", "axes"), [((16, 8, 3, 3), (2, 3)), ((1, 3, 3, 32), (1, 2)), ((64, 128), (1,))])
def test_every_weight_is_a_half_within_one_step(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    before = weights(shape)
    after = round_to_half(before, axes)

    np.testing.assert_array_equal(after, after.astype(np.float16).astype(np.float32))
    step = np.spacing(np.abs(before).astype(np.float16)).astype(np.float32)
    assert (np.abs(after - before) <= step).all()


@pytest.mark.parametrize(("shape", "axes"), [((16, 8, 3, 3), (2, 3)), ((64, 128), (1,))])
def test_sums_are_kept_far_better_than_by_nearest_rounding(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    before = weights(shape)
    exact = before.sum(axis=axes, dtype=np.float64)

    ours = np.abs(round_to_half(before, axes).sum(axis=axes, dtype=np.float64) - exact).mean()
    plain = np.abs(before.astype(np.float16).sum(axis=axes, dtype=np.float64) - exact).mean()

    assert ours < plain / 4


def test_halves_zeros_and_the_largest_half_stay() -> None:
    before = np.array([[0.5, -2.0, 0.0, 65504.0]], np.float32)

    np.testing.assert_array_equal(round_to_half(before, (1,)), before)


def test_the_smallest_kernels_stay_exact_up_to_a_share_of_all_weights() -> None:
    assert smallest_kernels({"stem": 216, "depthwise": 576, "large": 40_000, "larger": 60_000}) == {"stem", "depthwise"}
    assert smallest_kernels({"only": 1000}) == set()
