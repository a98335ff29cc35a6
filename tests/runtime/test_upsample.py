"""Enlarging maps: by hand, and against the general resize."""

from __future__ import annotations

import numpy as np
import pytest

from edge.runtime.errors import InputError, ShapeError
from edge.runtime.resize import resize
from edge.runtime.upsample import OVERSHOOT, upsample


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize("hw", [(1, 1), (1, 5), (2, 3), (9, 7)])
def test_it_equals_the_general_bicubic_resize(factor: int, hw: tuple[int, int]) -> None:
    maps = np.random.default_rng(factor).normal(0, 1, (3, *hw)).astype(np.float32)

    got = upsample(maps, factor)

    wanted = resize(maps.transpose(1, 2, 0).copy(), (hw[0] * factor, hw[1] * factor), "bicubic").transpose(2, 0, 1)
    np.testing.assert_allclose(got, wanted, atol=3e-6)  # the order of 16 float32 additions


def test_a_flat_map_stays_flat_and_a_factor_of_one_changes_nothing() -> None:
    maps = np.full((1, 4, 4), 0.25, np.float32)

    np.testing.assert_allclose(upsample(maps, 8), np.full((1, 32, 32), 0.25), atol=1e-7)
    assert upsample(maps, 1) is maps


def test_no_pattern_overshoots_by_more_than_the_bound() -> None:
    signs = np.sign(np.random.default_rng(0).normal(0, 1, (2000, 5, 5))).astype(np.float32)

    assert np.abs(upsample(signs, 16)).max() <= OVERSHOOT + 1e-5


def test_wrong_shapes_and_factors_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(C, H, W\)"):
        upsample(np.zeros((4, 4), np.float32), 2)
    with pytest.raises(InputError, match=r"1\.\.32, got 33"):
        upsample(np.zeros((1, 4, 4), np.float32), 33)
