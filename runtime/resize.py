"""Resizing of images and maps: bilinear and bicubic with half-pixel centres, and an antialiased triangle filter.

Pixel i of the result looks at `(i + 0.5) * in / out - 0.5` of the input, beyond the border the edge pixel repeats, and
nothing is smoothed when an image shrinks. This is what OpenCV's `resize` and PyTorch's
`interpolate(align_corners=False)` do, so that a network sees at run time what it saw in training.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, ShapeError

__all__ = ["resize"]

Float32 = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]
Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.float32])

CUBIC_A = -0.75  # OpenCV's and PyTorch's bicubic; Pillow and Matlab use -0.5
BLOCK_ELEMENTS = 1 << 16  # of float32: 256 KiB, so that a block stays in the L2 cache of a Pi


def resize(
    image: Pixels,
    hw: tuple[int, int],
    interpolation: str = "bilinear",
    *,
    antialias: bool = False,
    coordinates: str = "float64",
) -> Pixels:
    """Return the image at another size, in the input's dtype.

    float32 equals `cv2.resize` to 1e-4 of the range. uint8 is computed in float32, rounded half to even and clipped to
    0..255; OpenCV uses fixed-point weights there, so that single pixels may differ from it by one level.

    Args:
        image: (H, W, C) uint8 or float32, any number of channels.
        hw: height and width of the result, pixels, each at least 1.
        interpolation: "bilinear" or "bicubic" (a = -0.75).
        antialias: widen the bilinear filter when the image shrinks, as Pillow does (and by Pillow).
        coordinates: precision of the source positions: "float64" as OpenCV, or "float32" to repeat PyTorch's rounding,
            which moves the weights by up to 1e-4 in a map over a thousand wide.

    Returns:
        (h, w, C), dtype of `image`.

    Raises:
        ShapeError: `image` is not 3-D, or a side of either is below 1.
        InputError: the dtype or the interpolation is not known.

    Source:
        Keys, "Cubic convolution interpolation", IEEE ASSP 29(6), 1981, with a = -0.75.
    """
    if image.ndim != 3 or min(image.shape) < 1:
        raise ShapeError("image to resize must be (H, W, C) without an empty side", got=image.shape)
    if min(hw) < 1:
        raise ShapeError("size to resize to must be at least 1x1", got=hw)
    if image.dtype not in (np.uint8, np.float32):
        raise InputError("image to resize has the wrong dtype", expected="uint8 or float32", got=image.dtype)
    if coordinates not in ("float64", "float32"):
        raise InputError("coordinate precision not known", expected="float64 | float32", got=coordinates)
    if interpolation not in ("bilinear", "bicubic") or (antialias and interpolation != "bilinear"):
        raise InputError(
            "interpolation not known",
            expected="bilinear | bicubic, antialias for bilinear only",
            got=f"{interpolation}, antialias={antialias}",
        )
    if image.shape[:2] == tuple(hw):
        return image.copy()
    return _antialiased(image, hw) if antialias else _separable(image, hw, interpolation, coordinates)


def _separable(image: Pixels, hw: tuple[int, int], interpolation: str, coordinates: str) -> Pixels:
    """Blend rows, then columns, in blocks of result rows: two gathers each for bilinear, four for bicubic."""
    (height, width), channels = hw, image.shape[2]
    row_index, row_weight = _taps(image.shape[0], height, interpolation, coordinates)
    column_index, column_weight = _taps(image.shape[1], width, interpolation, coordinates)
    weights = np.repeat(column_weight, channels, axis=1)  # (taps, w * C): contiguous, no broadcast over C
    lanes = (column_index[:, :, None] * channels + np.arange(channels)).reshape(len(column_index), -1)
    flat = np.ascontiguousarray(image).reshape(image.shape[0], -1)
    out = np.empty((height, width * channels), image.dtype)
    step = max(1, BLOCK_ELEMENTS // max(flat.shape[1], width * channels))
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        blended = _blend_rows(flat, row_index[:, rows], row_weight[:, rows])
        total = np.take(blended, lanes[0], axis=1)
        total *= weights[0]
        for tap in range(1, len(lanes)):
            part = np.take(blended, lanes[tap], axis=1)
            part *= weights[tap]
            total += part
        if image.dtype == np.uint8:
            np.rint(total, out=total)
            np.clip(total, 0.0, 255.0, out=total)
        out[rows] = total  # the cast to uint8 is exact: whole numbers in range
    return out.reshape(height, width, channels)


def _blend_rows(flat: NDArray[Any], index: NDArray[np.intp], weight: Float32) -> Float32:
    total = flat[index[0]] * weight[0][:, None]
    for tap in range(1, len(index)):
        total += flat[index[tap]] * weight[tap][:, None]
    return np.asarray(total, np.float32)


@lru_cache(maxsize=32)
def _taps(size_in: int, size_out: int, interpolation: str, coordinates: str) -> tuple[NDArray[np.intp], Float32]:
    """Return (taps, size_out) input indices, clamped to the border, and the weights that go with them."""
    real = np.dtype(coordinates).type
    centre = (np.arange(size_out, dtype=real) + real(0.5)) * (real(size_in) / real(size_out)) - real(0.5)
    base = np.floor(centre)
    part = centre - base
    offsets, weights = [0, 1], [1.0 - part, part]
    if interpolation == "bicubic":
        offsets = [-1, 0, 1, 2]
        weights = [_cubic_far(1.0 + part), _cubic_near(part), _cubic_near(1.0 - part), _cubic_far(2.0 - part)]
    index = np.stack([np.clip(base + offset, 0, size_in - 1) for offset in offsets]).astype(np.intp)
    return index, np.stack(weights).astype(np.float32)


def _cubic_near(x: Floats) -> Floats:
    return ((CUBIC_A + 2.0) * x - (CUBIC_A + 3.0)) * x * x + 1.0


def _cubic_far(x: Floats) -> Floats:
    return ((CUBIC_A * x - 5.0 * CUBIC_A) * x + 8.0 * CUBIC_A) * x - 4.0 * CUBIC_A


def _antialiased(image: Pixels, hw: tuple[int, int]) -> Pixels:
    """Resize each channel with Pillow's triangle filter: on uint8 its fixed-point one, the legacy contract's."""
    from PIL import Image

    size = (hw[1], hw[0])
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(image[:, :, c])).resize(size, Image.Resampling.BILINEAR))
        for c in range(image.shape[2])
    ]
    return np.stack(planes, axis=2).astype(image.dtype)
