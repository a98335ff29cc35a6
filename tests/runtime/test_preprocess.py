"""Pictures become tensors: geometry by hand, colour order, padding that is exactly zero, and no NaN ever."""

import weakref
from dataclasses import replace

import numpy as np
import pytest

from edge.runtime.card import InputSpec, ResizeSpec
from edge.runtime.errors import CardError, InputError, ShapeError
from edge.runtime.preprocess import MAX_KEPT, Preparer, fit, prepare

FACE = InputSpec(shape=(1, 3, 640, 640), mean=(104.0, 117.0, 123.0), resize=ResizeSpec(fill=(104.0, 117.0, 123.0)))
POSE = InputSpec(
    shape=(1, 3, 128, 128),
    mean=(128.0, 128.0, 128.0),
    std=(128.0, 128.0, 128.0),
    resize=ResizeSpec(interpolation="bicubic", rounding="truncate", fill=(128.0, 128.0, 128.0)),
)
TRUNCATE, ROUND = ResizeSpec(rounding="truncate"), ResizeSpec(rounding="round")


def _picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("original", "inside", "rule", "expected"),
    [
        ((480, 640), (128, 128), TRUNCATE, (96, 128)),
        ((640, 480), (128, 128), TRUNCATE, (128, 96)),
        ((427, 640), (128, 128), TRUNCATE, (85, 128)),  # 85.4
        ((431, 640), (128, 128), TRUNCATE, (86, 128)),  # 86.2
        ((434, 640), (128, 128), TRUNCATE, (86, 128)),  # 86.8
        ((434, 640), (128, 128), ROUND, (87, 128)),
        ((512, 600), (640, 640), ROUND, (546, 640)),  # 546.13
        ((49, 49), (128, 128), TRUNCATE, (128, 128)),  # floating point says 127
        ((1, 4096), (128, 128), TRUNCATE, (1, 128)),  # 0.03
        ((4096, 1), (640, 640), ROUND, (640, 1)),
        ((1, 1), (64, 32), ROUND, (32, 32)),
        ((100, 100), (64, 32), ROUND, (32, 32)),
        ((10, 20), (64, 64), ResizeSpec(upscale=False), (10, 20)),
        ((100, 200), (64, 64), ResizeSpec(upscale=False), (32, 64)),
        ((10, 20), (64, 48), ResizeSpec(rule="stretch"), (64, 48)),
        ((10, 200), (64, 48), ResizeSpec(rule="stretch", upscale=False), (10, 48)),
        ((64, 48), (64, 48), ResizeSpec(rule="none"), (64, 48)),
    ],
)
def test_a_picture_takes_up_the_size_worked_out_by_hand(
    original: tuple[int, int], inside: tuple[int, int], rule: ResizeSpec, expected: tuple[int, int]
) -> None:
    assert fit(original, inside, rule) == expected


def test_content_never_leaves_the_input_and_touches_one_side() -> None:
    rng = np.random.default_rng(9)
    for _ in range(500):
        original = (int(rng.integers(1, 5000)), int(rng.integers(1, 5000)))
        inside = (int(rng.integers(1, 700)), int(rng.integers(1, 700)))
        for rule in (TRUNCATE, ROUND):
            height, width = fit(original, inside, rule)
            assert 1 <= height <= inside[0]
            assert 1 <= width <= inside[1]
            assert height == inside[0] or width == inside[1]


def test_the_geometry_says_where_pixels_went() -> None:
    _, geometry = prepare(_picture(512, 600), FACE)

    assert geometry.original_hw == (512, 600)
    assert geometry.input_hw == (640, 640)
    assert geometry.content_hw == (546, 640)
    assert geometry.scale_xy == pytest.approx((640 / 600, 546 / 512))


@pytest.mark.parametrize("spec", [FACE, POSE])
def test_padding_is_exactly_zero_after_normalisation(spec: InputSpec) -> None:
    tensor, geometry = prepare(_picture(100, 300), spec)

    assert tensor.shape == spec.shape
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert not tensor[:, :, geometry.content_hw[0] :, :].any()
    tensor, geometry = prepare(_picture(300, 100), spec)
    assert not tensor[:, :, :, geometry.content_hw[1] :].any()


def test_the_face_contract_is_bgr_minus_its_mean() -> None:
    picture = np.zeros((640, 640, 3), np.uint8)
    picture[:] = (10, 20, 30)  # RGB

    tensor, _ = prepare(picture, FACE)

    assert tensor[0, :, 5, 5].tolist() == [30 - 104, 20 - 117, 10 - 123]


def test_the_pose_contract_stays_within_its_range_despite_bicubic_overshoot() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, 20:] = 255

    tensor, _ = prepare(picture, POSE)

    assert tensor.min() == -1.0
    assert tensor.max() == pytest.approx(127 / 128)


def test_the_pose_contract_follows_opencv_on_bytes() -> None:
    cv2 = pytest.importorskip("cv2")
    picture = _picture(240, 320)
    resized = cv2.resize(picture[:, :, ::-1], (128, 96), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    expected = np.full((128, 128, 3), 128, np.float32)
    expected[:96] = resized

    tensor, _ = prepare(picture, POSE)

    np.testing.assert_allclose(tensor[0].transpose(1, 2, 0), (expected - 128) / 128, atol=1 / 128 + 1e-6)


@pytest.mark.parametrize("hw", [(720, 1280), (1080, 1920), (600, 800), (480, 640)])
def test_the_face_contract_equals_opencv_and_a_subtraction_in_both_layouts(hw: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    picture = _picture(*hw)
    height, width = fit(hw, FACE.hw, FACE.resize)
    expected = np.zeros((640, 640, 3), np.float32)
    resized = cv2.resize(picture[:, :, ::-1].copy(), (width, height), interpolation=cv2.INTER_LINEAR)
    expected[:height, :width] = resized.astype(np.float32) - np.array(FACE.mean, np.float32)

    nchw, _ = prepare(picture, FACE)
    nhwc, _ = prepare(picture, replace(FACE, shape=(1, 640, 640, 3), layout="NHWC"))

    np.testing.assert_array_equal(nchw[0].transpose(1, 2, 0), expected)
    np.testing.assert_array_equal(nhwc[0], expected)


def test_nhwc_rgb_mean_and_std_are_obeyed() -> None:
    spec = InputSpec(
        shape=(1, 4, 6, 3),
        layout="NHWC",
        colour="RGB",
        mean=(1.0, 2.0, 3.0),
        std=(2.0, 4.0, 5.0),
        resize=ResizeSpec(rule="none"),
    )
    picture = _picture(4, 6)

    tensor, _ = prepare(picture, spec)

    np.testing.assert_allclose(tensor[0], (picture - np.array([1.0, 2, 3])) / np.array([2.0, 4, 5]), rtol=1e-6)
    assert tensor.flags.c_contiguous


def test_fill_is_in_the_order_of_the_cards_colour() -> None:
    spec = InputSpec(
        shape=(1, 3, 4, 8), colour="BGR", mean=(0.0,) * 3, std=(1.0,) * 3, resize=ResizeSpec(fill=(1.0, 2.0, 3.0))
    )
    tensor, geometry = prepare(_picture(4, 4), spec)
    assert geometry.content_hw == (4, 4)
    assert tensor[0, :, 0, 7].tolist() == [1.0, 2.0, 3.0]


def test_grey_is_luma_in_every_channel() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:] = (100, 200, 50)
    for channels in (1, 3):
        spec = InputSpec(
            shape=(1, channels, 4, 4),
            colour="GRAY",
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
            resize=ResizeSpec(fill=(0.0,)),
        )
        tensor, _ = prepare(picture, spec)
        np.testing.assert_array_equal(tensor, 153.0)  # 0.299 * 100 + 0.587 * 200 + 0.114 * 50 = 153.0


@pytest.mark.parametrize("hw", [(1, 1), (1, 4096), (4096, 1), (2, 3)])
@pytest.mark.parametrize("spec", [FACE, POSE])
def test_degenerate_pictures_give_finite_tensors(hw: tuple[int, int], spec: InputSpec) -> None:
    tensor, geometry = prepare(_picture(*hw), spec)
    assert np.isfinite(tensor).all()
    assert min(geometry.content_hw) >= 1


def test_a_picture_of_another_size_is_refused_where_none_may_be_resized() -> None:
    spec = InputSpec(shape=(1, 3, 8, 8), resize=ResizeSpec(rule="none"))
    with pytest.raises(ShapeError, match=r"\(8, 8\).*\(8, 9\)"):
        prepare(_picture(8, 9), spec)


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(ShapeError):
        prepare(np.zeros((4, 4), np.uint8), FACE)
    with pytest.raises(ShapeError):
        prepare(np.zeros((0, 4, 3), np.uint8), FACE)
    with pytest.raises(InputError, match="float32"):
        prepare(np.zeros((4, 4, 3), np.float32), FACE)  # type: ignore[arg-type]  # the refusal is what is tested
    with pytest.raises(InputError, match="kind"):
        prepare(_picture(4, 4), InputSpec(shape=(1, 8), layout="any", kind="tensor"))


@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(shape=(1, 1, 8, 8), colour="RGB", mean=(0.0,), std=(1.0,)),
        InputSpec(shape=(2, 3, 8, 8)),
        InputSpec(shape=(1, 3, 8, 8), resize=ResizeSpec(fill=(0.0, 1.0))),
        InputSpec(shape=(1, 3, 8, 8), std=(1e-45, 1.0, 1.0)),
        InputSpec(shape=(1, 3, 8, 8), mean=(1e300, 0.0, 0.0)),
        InputSpec(shape=(1, 3, 8, 8), resize=ResizeSpec(fill=(1e300, 1e300, 1e300))),
    ],
)
def test_cards_that_contradict_themselves_are_refused(spec: InputSpec) -> None:
    with pytest.raises(CardError):
        prepare(_picture(4, 4), spec)
    with pytest.raises(CardError):
        Preparer(spec)


def test_one_channel_takes_a_fill_that_is_written_out_for_three() -> None:
    spec = InputSpec(
        shape=(1, 1, 4, 8), colour="GRAY", mean=(0.0,), std=(2.0,), resize=ResizeSpec(fill=(6.0, 6.0, 6.0))
    )
    tensor, _ = prepare(np.full((4, 4, 3), 10, np.uint8), spec)
    assert tensor[0, 0, 2].tolist() == [5.0] * 4 + [3.0] * 4


def test_prepare_gives_a_tensor_of_its_own_each_time() -> None:
    picture = _picture(64, 64)
    first, second = prepare(picture, FACE)[0], prepare(picture, FACE)[0]
    assert not np.shares_memory(first, second)


def test_a_released_tensor_is_used_for_the_next_picture_of_its_size_and_no_other() -> None:
    preparer = Preparer(FACE)
    tensor, _ = preparer(_picture(72, 128))
    preparer.release(tensor)

    other, _ = preparer(_picture(96, 128))
    again, _ = preparer(_picture(36, 64, seed=1))  # takes up as much of the input
    fresh, _ = preparer(_picture(72, 128))

    assert again is tensor
    assert not np.shares_memory(other, tensor)
    assert not np.shares_memory(fresh, tensor)


def test_what_is_not_on_loan_is_refused() -> None:
    preparer = Preparer(FACE)
    tensor, _ = preparer(_picture(8, 8))
    preparer.release(tensor)
    for wrong in (tensor, tensor[:], prepare(_picture(8, 8), FACE)[0], Preparer(FACE)(_picture(8, 8))[0]):
        with pytest.raises(InputError, match="not on loan"):
            preparer.release(wrong)


def test_few_released_tensors_are_kept_and_dropped_ones_are_forgotten() -> None:
    preparer = Preparer(replace(FACE, shape=(1, 3, 32, 32)))
    tensors = [preparer(_picture(8, 8))[0] for _ in range(MAX_KEPT + 3)]
    watched = [weakref.ref(tensor) for tensor in tensors]
    preparer.release(tensors[-1])
    preparer.release(tensors[-2])
    del tensors
    assert sum(tensor() is not None for tensor in watched) == 2
    preparer(_picture(8, 8))
    assert len(preparer._lent) == 1

    tensors = [preparer(_picture(8, 8))[0] for _ in range(MAX_KEPT + 3)]
    watched = [weakref.ref(tensor) for tensor in tensors]
    while tensors:
        preparer.release(tensors.pop())
    assert sum(tensor() is not None for tensor in watched) == MAX_KEPT
