"""Resizing equals OpenCV and PyTorch, and simple cases equal arithmetic by hand."""

import numpy as np
import pytest

from edge.runtime.errors import InputError, ShapeError
from edge.runtime.resize import resize, resized_blocks

SIZES = [((512, 600), (546, 640)), ((37, 53), (128, 99)), ((300, 200), (17, 31)), ((1, 40), (3, 9)), ((40, 1), (9, 3))]
WHOLE_FACTORS = [
    ((720, 1280), (360, 640)),
    ((216, 384), (72, 128)),
    ((40, 60), (10, 15)),
    ((40, 60), (20, 20)),
    ((30, 64), (10, 32)),
    ((2, 2), (1, 1)),
    ((7, 9), (1, 1)),
    ((50, 60), (25, 60)),
    ((50, 60), (50, 20)),
    ((1, 1), (5, 7)),
]


def test_doubling_two_pixels_blends_a_quarter_and_three_quarters() -> None:
    row = np.array([[[0.0], [100.0]]], np.float32)

    np.testing.assert_allclose(resize(row, (1, 4))[0, :, 0], [0.0, 25.0, 75.0, 100.0])


def test_halving_takes_the_mean_of_the_two_middle_pixels_and_does_not_smooth() -> None:
    row = np.array([[[0.0], [10.0], [200.0], [400.0]]], np.float32)

    np.testing.assert_allclose(resize(row, (1, 1))[0, :, 0], [105.0])


def test_bicubic_half_way_between_pixels_has_the_weights_of_a_minus_three_quarters() -> None:
    row = np.array([[[0.0], [0.0], [0.0], [1.0], [0.0], [0.0]]], np.float32)
    # Half-way between two pixels the near weight is 0.59375 and the far one -0.09375.
    np.testing.assert_allclose(resize(row, (1, 3), "bicubic")[0, :, 0], [0.0, 0.59375, -0.09375], atol=1e-7)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("from_hw", "to_hw"), SIZES)
@pytest.mark.parametrize("channels", [1, 3, 19])
def test_float_images_equal_opencv_to_a_ten_thousandth(
    from_hw: tuple[int, int], to_hw: tuple[int, int], interpolation: str, channels: int
) -> None:
    image = np.random.default_rng(1).random((*from_hw, channels), dtype=np.float32) * 255

    np.testing.assert_allclose(resize(image, to_hw, interpolation), _opencv(image, to_hw, interpolation), atol=255e-4)


@pytest.mark.parametrize(("from_hw", "to_hw"), [*SIZES, *WHOLE_FACTORS])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_bilinear_byte_images_equal_opencv_bit_by_bit(
    from_hw: tuple[int, int], to_hw: tuple[int, int], channels: int
) -> None:
    image = np.random.default_rng(2).integers(0, 256, (*from_hw, channels), dtype=np.uint8)

    result = resize(image, to_hw)

    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, _opencv(image, to_hw, "bilinear"))


@pytest.mark.parametrize("channels", [2, 5])
def test_only_halving_other_channel_counts_differs_from_opencv_and_only_at_one_half(channels: int) -> None:
    image = np.random.default_rng(8).integers(0, 256, (40, 60, channels), dtype=np.uint8)
    fours = image.reshape(20, 2, 30, 2, channels).sum(axis=(1, 3), dtype=int)

    difference = resize(image, (20, 30)).astype(int) - _opencv(image, (20, 30), "bilinear")

    assert difference.any()
    np.testing.assert_array_equal(difference, fours % 8 == 2)  # n + 1/2 with n even: up here, to n there
    np.testing.assert_array_equal(resize(image, (10, 15)), _opencv(image, (10, 15), "bilinear"))


@pytest.mark.parametrize(("from_hw", "to_hw"), [*SIZES, *WHOLE_FACTORS])
def test_bicubic_byte_images_are_within_one_level_of_opencvs_fixed_point(
    from_hw: tuple[int, int], to_hw: tuple[int, int]
) -> None:
    image = np.random.default_rng(2).integers(0, 256, (*from_hw, 3), dtype=np.uint8)

    result = resize(image, to_hw, "bicubic")

    assert result.dtype == np.uint8
    assert np.abs(result.astype(int) - _opencv(image, to_hw, "bicubic")).max() <= 1


def test_bytes_are_blended_with_eleven_bits_and_each_row_rounded_down() -> None:
    # Six rows and columns to four: position 0.25 has the weights 1536 and 512 of 2048 both ways.
    image = np.zeros((6, 6, 1), np.uint8)
    image[:2, :2, 0] = [[7, 2], [0, 9]]
    upper, lower = 7 * 1536 + 2 * 512 >> 4, 0 * 1536 + 9 * 512 >> 4

    assert (upper, lower) == (736, 288)
    assert resize(image, (4, 4))[0, 0, 0] == (1536 * 736 >> 16) + (512 * 288 >> 16) + 2 >> 2 == 5


def test_an_odd_factor_picks_the_middle_pixel_of_each_square() -> None:
    image = np.random.default_rng(6).integers(0, 256, (20, 35, 3), dtype=np.uint8)
    for interpolation in ("bilinear", "bicubic"):
        np.testing.assert_array_equal(resize(image, (4, 7), interpolation), image[2::5, 2::5])
    np.testing.assert_array_equal(resize(image, (4, 35)), image[2::5])


def test_an_even_factor_takes_the_mean_of_the_middle_four_rounded_up_at_one_half() -> None:
    image = np.random.default_rng(7).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    wide = image.astype(int)
    expected = (wide[2::6, 2::6] + wide[3::6, 2::6] + wide[2::6, 3::6] + wide[3::6, 3::6] + 2) // 4

    np.testing.assert_array_equal(resize(image, (4, 6)), expected)


@pytest.mark.parametrize(("from_hw", "to_hw"), [((40, 60), (10, 15)), ((720, 1280), (72, 128)), ((40, 24), (10, 4))])
def test_bicubic_at_even_factors_equals_the_same_curve_on_floats_rounded_half_to_even(
    from_hw: tuple[int, int], to_hw: tuple[int, int]
) -> None:
    image = np.random.default_rng(9).integers(0, 256, (*from_hw, 3), dtype=np.uint8)

    expected = np.rint(resize(image.astype(np.float32), to_hw, "bicubic")).clip(0, 255)

    np.testing.assert_array_equal(resize(image, to_hw, "bicubic"), expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("to_hw", [(90, 160), (60, 107), (30, 40), (18, 32), (200, 3)])
def test_blocks_of_rows_are_the_rows_of_the_whole(to_hw: tuple[int, int], interpolation: str) -> None:
    image = np.random.default_rng(10).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    rows: list[int] = []
    parts = []
    for part, block in resized_blocks(image, to_hw, interpolation):
        rows.extend(range(part.start, part.stop))
        parts.append(np.array(block))

    assert rows == list(range(to_hw[0]))
    np.testing.assert_array_equal(np.concatenate(parts), resize(image, to_hw, interpolation))


def test_large_images_go_through_in_several_blocks_without_a_seam() -> None:
    image = np.random.default_rng(11).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    for hw in ((720, 1280), (360, 640), (240, 427), (80, 128), (900, 1600)):
        assert len(list(resized_blocks(image, hw))) > 1 or hw == (80, 128)
        np.testing.assert_array_equal(resize(image, hw), _opencv(image, hw, "bilinear"))


def test_strides_of_the_input_do_not_matter() -> None:
    image = np.random.default_rng(12).integers(0, 256, (48, 60, 3), dtype=np.uint8)
    for view in (image[::2, ::-1], image[:, :, ::-1], image.transpose(1, 0, 2)):
        view.flags.writeable = False
        for hw in ((view.shape[0] // 2, view.shape[1] // 2), (view.shape[0] // 3, view.shape[1] // 3), (17, 23)):
            np.testing.assert_array_equal(resize(view, hw), resize(view.copy(), hw))


def test_float32_coordinates_repeat_pytorchs_bilinear_interpolation() -> None:
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(3).standard_normal((128, 1292, 1), dtype=np.float32)

    result = resize(image, (224, 224), coordinates="float32")

    tensor = torch.from_numpy(image[None, None, :, :, 0])
    expected = torch.nn.functional.interpolate(tensor, (224, 224), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(result[:, :, 0], expected[0, 0].numpy(), atol=3e-5)  # one unit of a position


def test_antialiased_resize_averages_what_a_pixel_covers() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), 32)[None, :, None].repeat(64, axis=0)

    smooth, sharp = resize(stripes, (8, 8), antialias=True), resize(stripes, (7, 7))

    assert np.abs(smooth.astype(int) - 127).max() <= 6
    assert np.ptp(sharp.astype(int)) > 200


def test_antialiased_floats_equal_the_triangle_filter_written_out() -> None:
    row = np.random.default_rng(4).random((1, 12, 1), dtype=np.float32)
    expected = []
    for i in range(4):
        weights = np.maximum(0.0, 1.0 - np.abs((np.arange(12) + 0.5) - (i + 0.5) * 3.0) / 3.0)
        expected.append((row[0, :, 0] * weights).sum() / weights.sum())

    np.testing.assert_allclose(resize(row, (1, 4), antialias=True)[0, :, 0], expected, atol=1e-5)


def test_the_same_size_gives_an_equal_image_of_its_own() -> None:
    image = np.random.default_rng(5).integers(0, 256, (9, 7, 3), dtype=np.uint8)

    result = resize(image, (9, 7))

    np.testing.assert_array_equal(result, image)
    assert not np.shares_memory(result, image)


def test_bicubic_overshoot_of_bytes_is_clipped_not_wrapped() -> None:
    edge = np.repeat(np.array([0, 0, 255, 255], np.uint8), 2)[None, :, None].repeat(4, axis=0)

    result = resize(edge, (8, 40), "bicubic")

    assert set(np.unique(result[:, :8])) == {0}
    assert set(np.unique(result[:, -8:])) == {255}


@pytest.mark.parametrize(("shape", "hw"), [((4, 4), (2, 2)), ((0, 4, 3), (2, 2)), ((4, 4, 3), (0, 2))])
def test_shapes_without_pixels_are_refused(shape: tuple[int, ...], hw: tuple[int, int]) -> None:
    with pytest.raises(ShapeError):
        resize(np.zeros(shape, np.uint8), hw)


def test_unknown_words_and_dtypes_are_refused_by_name() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(InputError, match="lanczos"):
        resize(image, (2, 2), "lanczos")
    with pytest.raises(InputError, match="float16"):
        resize(image, (2, 2), coordinates="float16")
    with pytest.raises(InputError, match="int16"):
        resize(image.astype(np.int16), (2, 2))  # type: ignore[type-var]  # the refusal is what is tested


def _opencv(image: np.ndarray, hw: tuple[int, int], interpolation: str) -> np.ndarray:
    cv2 = pytest.importorskip("cv2")
    flag = cv2.INTER_LINEAR if interpolation == "bilinear" else cv2.INTER_CUBIC
    result: np.ndarray = cv2.resize(image, (hw[1], hw[0]), interpolation=flag).reshape(*hw, image.shape[2])
    return result
