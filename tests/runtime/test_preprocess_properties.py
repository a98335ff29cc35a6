"""Properties of resizing and preparing that hold for pictures of every size, and tensors that are used again."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.runtime.card import InputSpec, ResizeSpec
from edge.runtime.preprocess import Preparer, prepare
from edge.runtime.resize import resize

SIDES = st.integers(1, 200)
SIZES = st.tuples(SIDES, SIDES)
SMALL_SIZES = st.tuples(st.integers(1, 48), st.integers(1, 48))
FACTORS = st.tuples(st.integers(1, 9), st.integers(1, 9))
SEEDS = st.integers(0, 2**32 - 1)
WAYS = st.sampled_from(["bilinear", "bicubic"])

FACE = InputSpec(shape=(1, 3, 48, 64), mean=(104.0, 117.0, 123.0), resize=ResizeSpec(fill=(104.0, 117.0, 123.0)))
POSE = InputSpec(
    shape=(1, 40, 40, 3),
    layout="NHWC",
    mean=(128.0, 128.0, 128.0),
    std=(256.0, 256.0, 256.0),
    resize=ResizeSpec(interpolation="bicubic", rounding="truncate", fill=(128.0, 128.0, 128.0)),
)
FILLED = InputSpec(
    shape=(1, 32, 24, 3),
    layout="NHWC",
    colour="RGB",
    mean=(1.0, 2.0, 3.5),
    std=(2.0, 4.0, 5.0),
    resize=ResizeSpec(fill=(9.0, 8.0, 7.0), upscale=False),
)
GREY = InputSpec(
    shape=(1, 1, 30, 30), colour="GRAY", mean=(3.0,), std=(1.0,), resize=ResizeSpec(rule="stretch", upscale=False)
)
SPECS = [FACE, replace(FACE, shape=(1, 48, 64, 3), layout="NHWC"), POSE, FILLED, GREY]


def _picture(hw: tuple[int, int], seed: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*hw, channels), dtype=np.uint8)


def _opencv(image: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is the oracle")
    result: np.ndarray = cv2.resize(image, (hw[1], hw[0]), interpolation=cv2.INTER_LINEAR)
    return result.reshape(*hw, image.shape[2])


@settings(deadline=None, derandomize=True, max_examples=200)
@given(SIZES, SIZES, st.sampled_from([1, 3, 4]), SEEDS)
def test_bilinear_bytes_equal_opencv_at_any_size(
    from_hw: tuple[int, int], to_hw: tuple[int, int], channels: int, seed: int
) -> None:
    image = _picture(from_hw, seed, channels)
    np.testing.assert_array_equal(resize(image, to_hw), _opencv(image, to_hw))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(SMALL_SIZES, FACTORS, st.sampled_from([1, 3, 4]), SEEDS)
def test_bilinear_bytes_equal_opencv_at_whole_factors(
    to_hw: tuple[int, int], factors: tuple[int, int], channels: int, seed: int
) -> None:
    image = _picture((to_hw[0] * factors[0], to_hw[1] * factors[1]), seed, channels)
    np.testing.assert_array_equal(resize(image, to_hw), _opencv(image, to_hw))


@settings(deadline=None, derandomize=True, max_examples=100)
@given(SMALL_SIZES, FACTORS, SEEDS)
def test_bicubic_bytes_at_whole_factors_are_the_floats_rounded(
    to_hw: tuple[int, int], factors: tuple[int, int], seed: int
) -> None:
    image = _picture((to_hw[0] * factors[0], to_hw[1] * factors[1]), seed)
    expected = np.rint(resize(image.astype(np.float32), to_hw, "bicubic")).clip(0, 255)
    np.testing.assert_array_equal(resize(image, to_hw, "bicubic"), expected)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(SIZES, SIZES, WAYS, st.integers(0, 255))
def test_a_picture_of_one_value_keeps_it(
    from_hw: tuple[int, int], to_hw: tuple[int, int], way: str, value: int
) -> None:
    result = resize(np.full((*from_hw, 3), value, np.uint8), to_hw, way)

    assert result.shape == (*to_hw, 3)
    assert (result == value).all()


@settings(deadline=None, derandomize=True, max_examples=150)
@given(SIZES, SIZES, SEEDS)
def test_bilinear_invents_no_value_below_or_above_those_of_the_picture(
    from_hw: tuple[int, int], to_hw: tuple[int, int], seed: int
) -> None:
    image = _picture(from_hw, seed) // 3 + 50
    result = resize(image, to_hw)
    assert image.min() <= result.min()
    assert result.max() <= image.max()


@settings(deadline=None, derandomize=True, max_examples=150)
@given(SIZES, SIZES, WAYS, SEEDS)
def test_mirroring_before_or_after_gives_the_same_picture(
    from_hw: tuple[int, int], to_hw: tuple[int, int], way: str, seed: int
) -> None:
    image = _picture(from_hw, seed)
    for axis in (0, 1):
        mirrored = np.flip(resize(np.flip(image, axis), to_hw, way), axis)
        difference = np.abs(mirrored.astype(int) - resize(image, to_hw, way))
        # Positions are rounded to float32, and 1 - x is not rounded as x is: one unit of a weight, one level.
        assert difference.max() <= 1
        assert (difference > 0).mean() <= 0.05


@settings(deadline=None, derandomize=True, max_examples=150)
@given(SIZES, st.sampled_from(SPECS), SEEDS)
def test_tensors_are_finite_and_hold_the_resized_pixels_and_the_fill(
    hw: tuple[int, int], spec: InputSpec, seed: int
) -> None:
    picture = _picture(hw, seed)

    tensor, geometry = prepare(picture, spec)

    assert tensor.shape == spec.shape
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert geometry.original_hw == hw
    height, width = geometry.content_hw
    values = tensor[0].transpose(1, 2, 0) if spec.layout == "NCHW" else tensor[0]
    pixels = values.astype(np.float64) * spec.std + spec.mean
    expected = np.empty((*spec.hw, spec.channels))
    expected[:] = spec.resize.fill[: spec.channels]
    resized = resize(picture, (height, width), spec.resize.interpolation)
    if spec.colour == "GRAY":
        expected[:height, :width, 0] = np.rint(resized @ np.array([0.299, 0.587, 0.114]))
    else:
        expected[:height, :width] = resized[:, :, ::-1] if spec.colour == "BGR" else resized
    np.testing.assert_allclose(pixels, expected, atol=1.0 if spec.colour == "GRAY" else 1e-4)  # a tie may round apart


@settings(deadline=None, derandomize=True, max_examples=120)
@given(
    st.sampled_from(SPECS),
    st.lists(st.tuples(st.sampled_from([(96, 128), (128, 96), (48, 64), (1, 9), (50, 31)]), SEEDS, st.integers(0, 3))),
)
def test_used_tensors_give_what_prepare_gives_whatever_the_order_of_release(
    spec: InputSpec, steps: list[tuple[tuple[int, int], int, int]]
) -> None:
    preparer, held = Preparer(spec), []
    for hw, seed, releases in steps:
        picture = _picture(hw, seed)
        tensor, geometry = preparer(picture)
        expected, expected_geometry = prepare(picture, spec)
        assert geometry == expected_geometry
        held.append((tensor, expected))
        for mine, wanted in held:  # those still on loan too: nobody wrote into them
            np.testing.assert_array_equal(mine, wanted)
        for turn in range(min(releases, len(held))):
            preparer.release(held.pop((seed + turn) % len(held))[0])


@pytest.mark.parametrize("spec", SPECS)
def test_threads_that_share_a_preparer_do_not_meet_in_a_tensor(spec: InputSpec) -> None:
    preparer = Preparer(spec)
    sizes = [(96, 128), (128, 96), (77, 50), (48, 64), (240, 320)]
    pictures = [_picture(hw, seed) for seed, hw in enumerate(sizes)]
    wanted = [prepare(picture, spec) for picture in pictures]

    def work(start: int) -> int:
        right, before = 0, None
        for turn in range(40):
            place = (start + turn) % len(pictures)
            tensor, geometry = preparer(pictures[place])
            if before is not None:  # the one before was on loan while others prepared
                right += bool((before[0] == wanted[before[1]][0]).all())
                if turn % 7:
                    preparer.release(before[0])
            right += bool((tensor == wanted[place][0]).all()) and geometry == wanted[place][1]
            before = (tensor, place)
        return right

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(4))) == [79] * 4
    finally:
        sys.setswitchinterval(interval)
