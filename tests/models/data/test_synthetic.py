"""Synthetic samples: the same seed gives the same bytes, two seeds share nothing, and a trained network sees faces."""

from pathlib import Path

import numpy as np
import pytest

from edge.models.data.draw_faces import draw_faces
from edge.models.data.draw_scenes import as_photograph
from edge.models.data.synthetic import IMAGE_FAMILIES, synthetic_clips, synthetic_images
from edge.runtime.card import AudioSpec, InputSpec, ResizeSpec
from edge.runtime.errors import InputError
from edge.runtime.preprocess import prepare

WEIGHTS = Path(__file__).parents[3].parent / "shared" / "data" / "retinaface_mnet025_426608.pth"
SHORT = AudioSpec(seconds=2.0)


@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_one_seed_gives_the_same_bytes_and_a_longer_list_begins_with_the_shorter(family: str) -> None:
    three, again = synthetic_images(family, 3, (96, 128), 5), synthetic_images(family, 2, (96, 128), 5)

    assert [image.shape for image in three] == [(96, 128, 3)] * 3
    assert all(image.dtype == np.uint8 for image in three)
    assert [image.tobytes() for image in three[:2]] == [image.tobytes() for image in again]


@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_no_two_pictures_of_any_seeds_are_alike(family: str) -> None:
    bytes_seen = {image.tobytes() for seed in range(4) for image in synthetic_images(family, 8, (64, 64), seed)}
    assert len(bytes_seen) == 32


def test_families_do_not_share_their_scenes() -> None:
    scenes = [synthetic_images(family, 1, (64, 64), 0)[0].tobytes() for family in IMAGE_FAMILIES]
    assert len(set(scenes)) == len(IMAGE_FAMILIES)


def test_clips_repeat_with_their_seed_and_differ_between_seeds() -> None:
    first, again, other = (synthetic_clips(2, seed, SHORT) for seed in (1, 1, 2))

    assert [samples.tobytes() for samples, _ in first] == [samples.tobytes() for samples, _ in again]
    assert len({samples.tobytes() for samples, _ in [*first, *other]}) == 4
    for samples, rate in first:
        assert rate == SHORT.sample_rate
        assert samples.shape == (2 * rate,)
        assert samples.dtype == np.float32
        assert 0.05 < np.abs(samples).max() <= 1.0


def test_clips_of_odd_lengths_and_rates_are_finite() -> None:
    for seconds, rate in ((0.001, 8000), (0.05, 22050), (1.0, 48000)):
        for samples, _ in synthetic_clips(3, 0, AudioSpec(seconds=seconds, sample_rate=rate)):
            assert len(samples) == round(seconds * rate)
            assert np.isfinite(samples).all()


def test_pictures_have_the_spectrum_of_photographs() -> None:
    """The amplitude of natural images falls as 1/f**a with a near 1 (Field, JOSA A 4, 1987); white noise has 0."""
    slopes = []
    for image in synthetic_images("custom", 12, (256, 256), 3):
        grey = image.mean(axis=2) - image.mean()
        amplitude = np.abs(np.fft.fft2(grey * np.hanning(256)[:, None] * np.hanning(256)))
        frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)) * 256
        rings = [amplitude[(frequency >= f) & (frequency < 1.5 * f)].mean() for f in (4, 8, 16, 32)]
        slopes.append(np.polyfit(np.log([4, 8, 16, 32]), np.log(rings), 1)[0])
    assert -1.8 < float(np.mean(slopes)) < -0.8


def test_pictures_use_the_whole_range_and_all_colours() -> None:
    for family in IMAGE_FAMILIES:
        pixels = np.stack(synthetic_images(family, 16, (96, 96), 1)).astype(np.float64)
        assert pixels.min() < 10
        assert pixels.max() > 245
        assert 70 < pixels.mean() < 180
        assert pixels.mean(axis=(1, 2)).std(axis=0).min() > 15  # bright and dark ones in every channel
        assert np.abs(pixels[..., 0] - pixels[..., 2]).mean() > 5


def test_faces_come_in_many_sizes_with_boxes_in_the_picture() -> None:
    widths = []
    for seed in range(40):
        picture, boxes = draw_faces(np.random.default_rng(seed), (640, 640))
        assert picture.dtype == np.float32
        assert len(boxes) >= 1
        assert boxes[:, :2].min() >= -1e-3
        assert boxes[:, 2:].max() <= 640 + 1e-3
        widths += list(boxes[:, 2] - boxes[:, 0])
    assert min(widths) < 24
    assert max(widths) > 200


@pytest.mark.torch
def test_a_trained_detector_sees_nearly_all_drawn_faces_of_40_pixels_and_more() -> None:
    torch = pytest.importorskip("torch")
    if not WEIGHTS.is_file():
        pytest.skip("the trained weights are not beside this checkout")
    from edge.models.face_retina import RetinaFace

    state = torch.load(WEIGHTS, weights_only=True, map_location="cpu")
    network = RetinaFace()
    network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    network.eval()
    mean = (104.0, 117.0, 123.0)
    spec = InputSpec(shape=(1, 3, 640, 640), mean=mean, resize=ResizeSpec(fill=mean))
    priors = _priors(640)
    found = []
    for index in range(12):
        rng = np.random.default_rng([77, index])
        picture, boxes = draw_faces(rng, (640, 640))
        tensor, _ = prepare(as_photograph(rng, picture), spec)
        with torch.no_grad():
            offsets, scores, _ = (output[0].numpy() for output in network(torch.from_numpy(tensor)))
        sure = scores[:, 1] > 0.5
        centres = (priors[sure, :2] + offsets[sure, :2] * 0.1 * priors[sure, 2:]) * 640
        for x1, y1, x2, y2 in boxes[boxes[:, 2] - boxes[:, 0] >= 40]:
            within = (abs(centres[:, 0] - (x1 + x2) / 2) < (x2 - x1) / 4) & (
                abs(centres[:, 1] - (y1 + y2) / 2) < (y2 - y1) / 4
            )
            found.append(bool(within.any()))
    assert len(found) >= 10
    assert np.mean(found) >= 0.8


@pytest.mark.parametrize(
    ("family", "count", "hw", "seed"),
    [("emotion", 1, (64, 64), 0), ("face", -1, (64, 64), 0), ("face", 1, (0, 64), 0), ("pose", 1, (64, 64), -1)],
)
def test_what_cannot_be_drawn_is_refused(family: str, count: int, hw: tuple[int, int], seed: int) -> None:
    with pytest.raises(InputError):
        synthetic_images(family, count, hw, seed)


def test_none_are_drawn_when_none_are_asked_for() -> None:
    assert synthetic_images("face", 0, (64, 64), 0) == []
    assert synthetic_clips(0, 0, SHORT) == []


@pytest.mark.parametrize("hw", [(1, 1), (28, 28), (32, 500), (500, 32), (33, 47)])
@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_small_and_narrow_pictures_can_be_drawn(family: str, hw: tuple[int, int]) -> None:
    assert [image.shape for image in synthetic_images(family, 3, hw, 0)] == [(*hw, 3)] * 3


def _priors(side: int) -> np.ndarray:
    """Centre and extent of every prior box, fractions of the side; Liu et al., "SSD", strides 8, 16, 32."""
    rows = [
        ((j + 0.5) * stride / side, (i + 0.5) * stride / side, size / side, size / side)
        for stride, sizes in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
        for i in range(side // stride)
        for j in range(side // stride)
        for size in sizes
    ]
    return np.array(rows, np.float32)
