"""Resizing equals OpenCV and PyTorch, and simple cases equal arithmetic by hand."""

import numpy as np
import pytest

from edge.runtime.errors import InputError, ShapeError
from edge.runtime.resize import resize

SIZES = [((512, 600), (546, 640)), ((37, 53), (128, 99)), ((300, 200), (17, 31)), ((1, 40), (3, 9)), ((40, 1), (9, 3))]


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


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("from_hw", "to_hw"), SIZES)
def test_byte_images_are_within_one_level_of_opencvs_fixed_point(
    from_hw: tuple[int, int], to_hw: tuple[int, int], interpolation: str
) -> None:
    image = np.random.default_rng(2).integers(0, 256, (*from_hw, 3), dtype=np.uint8)

    result = resize(image, to_hw, interpolation)

    assert result.dtype == np.uint8
    assert np.abs(result.astype(int) - _opencv(image, to_hw, interpolation)).max() <= 1


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
