"""Resizing of images and maps: bilinear and bicubic with half-pixel centres, and an antialiased triangle filter.

Pixel i of the result looks at `(i + 0.5) * in / out - 0.5` of the input, beyond the border the edge pixel repeats, and
nothing is smoothed when an image shrinks. This is what OpenCV's `resize` and PyTorch's
`interpolate(align_corners=False)` do, so that a network sees at run time what it saw in training.

Frames of a camera mostly shrink by a whole factor. Then every pixel of the result lies on a pixel of the input (odd
factors) or half-way between pixels (even ones) and weights are the same everywhere: strided slices do the work, and
nothing is gathered. All other sizes gather and blend. Both work in blocks of rows that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, ShapeError

__all__ = ["cubic", "resize", "resized_blocks"]

Float32 = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]
UInt8 = NDArray[np.uint8]
UInt32 = NDArray[np.uint32]
Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.float32])
Blocks = Iterator[tuple[slice, NDArray[Any]]]

CUBIC_A = -0.75  # OpenCV's and PyTorch's bicubic; Pillow and Matlab use -0.5
ONE = 2048  # a weight of 1 in OpenCV's fixed point, INTER_RESIZE_COEF_SCALE
BLOCK_BYTES = 1 << 18  # so that a block stays in the L2 cache of a Pi


def resize(
    image: Pixels,
    hw: tuple[int, int],
    interpolation: str = "bilinear",
    *,
    antialias: bool = False,
    coordinates: str = "float64",
) -> Pixels:
    """Return the image at another size, in the input's dtype.

    float32 equals `cv2.resize` to 1e-4 of the range. Bilinear uint8 repeats its fixed-point arithmetic bit by bit, as
    checked with OpenCV 5.0 on x86-64, with one exception: an image of 2, or of more than 4, channels halved in both
    directions, where OpenCV rounds a mean that ends in one half to the even number and this function rounds it up.
    Bicubic uint8 is computed in float32, rounded half to even and clipped to 0..255; there single pixels may differ
    from OpenCV by one level.

    Args:
        image: (H, W, C) uint8 or float32, any number of channels.
        hw: height and width of the result, pixels, each at least 1.
        interpolation: "bilinear" or "bicubic" (a = -0.75).
        antialias: widen the bilinear filter when the image shrinks, as Pillow does (and by Pillow).
        coordinates: precision of the source positions: "float64" as OpenCV, or "float32" to repeat PyTorch's rounding,
            which moves the weights by up to 1e-4 in a map over a thousand wide. Of no effect on bilinear uint8.

    Returns:
        (h, w, C), dtype of `image`, C-contiguous.

    Raises:
        ShapeError: `image` is not 3-D, or a side of either is below 1.
        InputError: the dtype or the interpolation is not known.

    Source:
        Keys, "Cubic convolution interpolation", IEEE ASSP 29(6), 1981, with a = -0.75. OpenCV's bilinear rule:
        `_fixed_axis` and `_blended_bytes`.
    """
    _check(image, hw, interpolation, antialias, coordinates)
    if image.shape[:2] == tuple(hw):
        return image.copy()
    if antialias:
        return _antialiased(image, hw)
    out = np.empty((*hw, image.shape[2]), image.dtype)
    for rows, block in _blocks(image, hw, interpolation, coordinates):
        if block.flags.c_contiguous:
            out[rows] = block  # a cast to uint8 is exact: whole numbers in range
        else:
            for channel in range(image.shape[2]):  # one long strided run a row instead of many of three
                out[rows, :, channel] = block[:, :, channel]
    return out


def resized_blocks(image: UInt8, hw: tuple[int, int], interpolation: str = "bilinear") -> Blocks:
    """Yield the rows of `resize(image, hw, interpolation)`, top down, a few at a time.

    For a caller that turns pixels into something else at once, while they are in the cache.

    Args:
        image: (H, W, C) uint8.
        hw: height and width of the result, pixels; the size of `image` gives its own pixels.
        interpolation: "bilinear" or "bicubic".

    Yields:
        The slice of result rows, and their pixels (rows, w, C): whole numbers 0..255 in whatever dtype and strides
        they came about. To be read, and before the next block is asked for.

    Raises:
        ShapeError, InputError: as `resize`, when the first block is asked for.
    """
    _check(image, hw, interpolation, False, "float64")
    yield from _blocks(image, hw, interpolation, "float64")


def _check(image: NDArray[Any], hw: tuple[int, int], interpolation: str, antialias: bool, coordinates: str) -> None:
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


class _Grid(NamedTuple):
    """Where the pixels of a result lie along one axis if they lie evenly: on pixels of the input or half-way between.

    Attributes:
        first: index of the input pixel at or before the first pixel of the result.
        step: input pixels per pixel of the result.
        size: pixels of the result.
        between: the pixels of the result lie half-way between `first + i * step` and the pixel after it.
    """

    first: int
    step: int
    size: int
    between: bool

    def __call__(self, offset: int, channel: int = 0, channels: int = 1) -> slice:
        """Return the slice of the pixels that lie `offset` after the first ones, `channel` of an interleaved row."""
        start, step = (self.first + offset) * channels + channel, self.step * channels
        return slice(start, start + step * (self.size - 1) + 1, step)


def _blocks(image: NDArray[Any], hw: tuple[int, int], interpolation: str, coordinates: str) -> Blocks:
    """Choose the cheapest of the ways, all of which give the same pixels."""
    if image.dtype != np.uint8:
        return _blended(image, hw, interpolation, coordinates)
    bilinear = interpolation == "bilinear"
    down, across = (
        _linear_grid(*sides) if bilinear else _cubic_grid(*sides, coordinates)
        for sides in zip(image.shape[:2], hw, strict=True)
    )
    if down is None or across is None or down.between != across.between:
        return _blended_bytes(image, hw) if bilinear else _blended(image, hw, interpolation, coordinates)
    if not down.between:
        return _picked(image, hw, down, across)
    return _means_of_four(image, hw, down, across) if bilinear else _cubic_midpoints(image, hw, down, across)


def _picked(image: UInt8, hw: tuple[int, int], down: _Grid, across: _Grid) -> Blocks:
    """Odd factors: every pixel of the result is one of the input."""
    picked = image[down(0), across(0)]
    for rows in _row_blocks(hw[0], 4 * hw[1] * image.shape[2]):
        yield rows, picked[rows]


def _means_of_four(image: UInt8, hw: tuple[int, int], down: _Grid, across: _Grid) -> Blocks:
    """Even factors, bilinear: (a + b + c + d + 2) >> 2, to which `_blended_bytes` comes down with equal weights."""
    channels, flat = image.shape[2], _lines(image)
    upper, lower = flat[down(0)], flat[down(1)]
    slices = list(_row_blocks(hw[0], 2 * flat.shape[1]))
    pairs, means = np.empty((2, slices[0].stop, flat.shape[1]), np.uint16)
    for rows in slices:
        pair, mean = pairs[: rows.stop - rows.start], means[: rows.stop - rows.start]
        np.add(upper[rows], lower[rows], out=pair, dtype=np.uint16)
        # Every pixel with its neighbour, wanted or not: contiguous adds of all beat strided adds of some.
        total = mean[:, :-channels]
        np.add(pair[:, :-channels], pair[:, channels:], out=total)
        total += np.uint16(2)
        total >>= np.uint16(2)
        yield rows, mean.reshape(len(mean), -1, channels)[:, across(0)]


def _cubic_midpoints(image: UInt8, hw: tuple[int, int], down: _Grid, across: _Grid) -> Blocks:
    """Even factors, bicubic: weights are (-3, 19, 19, -3) / 32 each way, so that sums are exact in integers."""
    (height, width), channels, flat = hw, image.shape[2], _lines(image)
    planes = np.empty((channels, height, width), np.float32)
    for rows in _row_blocks(height, 2 * flat.shape[1]):
        blended = _midpoint([flat[down(tap)][rows] for tap in (-1, 0, 1, 2)], np.int16)  # -1530..9690
        for channel in range(channels):
            taps = [blended[:, across(tap, channel, channels)] for tap in (-1, 0, 1, 2)]
            np.multiply(_midpoint(taps, np.int32), np.float32(1 / 1024), out=planes[channel, rows], dtype=np.float32)
        block = planes[:, rows]
        np.rint(block, out=block)
        np.clip(block, 0.0, 255.0, out=block)
        yield rows, block.transpose(1, 2, 0)


def _midpoint(taps: list[NDArray[Any]], dtype: type[np.signedinteger[Any]]) -> NDArray[Any]:
    """Return 32 times the bicubic value half-way between the middle two of four pixels."""
    near: NDArray[Any] = np.add(taps[1], taps[2], dtype=dtype)
    far = np.add(taps[0], taps[3], dtype=dtype)
    near *= dtype(19)
    far *= dtype(3)
    near -= far
    return near


def _blended_bytes(image: UInt8, hw: tuple[int, int]) -> Blocks:
    """Any factors, bilinear: blend columns, then rows, with OpenCV's weights and the bits that it drops.

    A row sum S has 11 bits behind the point. The result is (b0 * (S0 >> 4) >> 16) + (b1 * (S1 >> 4) >> 16) + 2 >> 2.

    Source:
        OpenCV, modules/imgproc/src/resize.cpp, `VResizeLinear` for 8 bits.
    """
    (height, width), channels, flat = hw, image.shape[2], _lines(image)
    needed, upper, lower, down = _fixed_rows(image.shape[0], height)
    lanes, across = _fixed_lanes(image.shape[1], width, channels)
    for rows in _row_blocks(height, 4 * width * channels):
        start, stop = upper[rows.start], lower[rows.stop - 1] + 1
        pixels = flat[needed[start:stop]]
        sums = np.take(pixels, lanes[0], axis=1).astype(np.uint32)
        sums *= across[0]
        part = np.take(pixels, lanes[1], axis=1).astype(np.uint32)
        part *= across[1]
        sums += part
        sums >>= np.uint32(4)
        total = sums[upper[rows] - start]
        total *= down[0, rows]
        total >>= np.uint32(16)
        part = sums[lower[rows] - start]
        part *= down[1, rows]
        part >>= np.uint32(16)
        total += part
        total += np.uint32(2)
        total >>= np.uint32(2)
        yield rows, total.view(np.int32).reshape(len(total), width, channels)  # signed: has the faster cast to float


def _blended(image: NDArray[Any], hw: tuple[int, int], interpolation: str, coordinates: str) -> Blocks:
    """Any factors, in float32: blend rows, then columns; two gathers each for bilinear, four for bicubic."""
    (height, width), channels, flat = hw, image.shape[2], _lines(image)
    row_index, row_weight = _taps(image.shape[0], height, interpolation, coordinates)
    column_index, column_weight = _taps(image.shape[1], width, interpolation, coordinates)
    weights = np.repeat(column_weight, channels, axis=1)  # (taps, w * C): contiguous, no broadcast over C
    lanes = _lanes(column_index, channels)
    for rows in _row_blocks(height, 4 * max(flat.shape[1], width * channels)):
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
        yield rows, total.reshape(len(total), width, channels)


def _blend_rows(flat: NDArray[Any], index: NDArray[np.intp], weight: Float32) -> Float32:
    total = flat[index[0]] * weight[0][:, None]
    for tap in range(1, len(index)):
        total += flat[index[tap]] * weight[tap][:, None]
    return np.asarray(total, np.float32)


def _lines(image: NDArray[Any]) -> NDArray[Any]:
    """Return (H, W * C): rows of interleaved channels."""
    return np.ascontiguousarray(image).reshape(image.shape[0], -1)


def _lanes(columns: NDArray[np.intp], channels: int) -> NDArray[np.intp]:
    """Return (taps, w * C): where columns (taps, w) lie in a row of interleaved channels."""
    return (columns[:, :, None] * channels + np.arange(channels)).reshape(len(columns), -1)


def _row_blocks(height: int, row_bytes: int) -> Iterator[slice]:
    step = max(1, BLOCK_BYTES // row_bytes)
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


@lru_cache(maxsize=32)
def _fixed_rows(size_in: int, size_out: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], UInt32]:
    """Return the input rows that are needed, the two among them for each row of the result, weights (2, h, 1)."""
    index, weight = _fixed_taps(size_in, size_out)
    needed, places = np.unique(index, return_inverse=True)
    upper, lower = places.reshape(index.shape)
    return needed, upper, lower, weight[:, :, None]


@lru_cache(maxsize=32)
def _fixed_lanes(size_in: int, size_out: int, channels: int) -> tuple[NDArray[np.intp], UInt32]:
    """Return the two places in an input row for each value of a row of the result, and weights (2, w * C)."""
    index, weight = _fixed_taps(size_in, size_out)
    return _lanes(index, channels), np.repeat(weight, channels, axis=1)


def _fixed_taps(size_in: int, size_out: int) -> tuple[NDArray[np.intp], UInt32]:
    """Return (2, size_out) input indices and weights, 2048 is 1, of OpenCV's bilinear resize of bytes.

    Positions are rounded to float32, weights to 11 bits, half to even. At the border the edge pixel stands for the one
    that is missing too. (OpenCV gives it a weight of 1 in columns; the two weights add up to 1, which is the same.)
    """
    centre = ((np.arange(size_out) + 0.5) * (1.0 / (size_out / size_in)) - 0.5).astype(np.float32)
    base = np.floor(centre)
    part = centre - base
    index = np.clip(np.stack([base, base + 1]), 0, size_in - 1).astype(np.intp)
    return index, np.rint(np.stack([1 - part, part]) * np.float32(ONE)).astype(np.uint32)


@lru_cache(maxsize=64)
def _linear_grid(size_in: int, size_out: int) -> _Grid | None:
    """Return the grid, or None if positions do not lie at even steps on, or half-way between, pixels."""
    index, weight = _fixed_taps(size_in, size_out)
    if (weight == [[ONE], [0]]).all():
        return _grid(index[:1], 0, between=False)
    if (weight == ONE // 2).all():
        return _grid(index, 0, between=True)
    return None


@lru_cache(maxsize=64)
def _cubic_grid(size_in: int, size_out: int, coordinates: str) -> _Grid | None:
    """As `_linear_grid`; None also where a tap with a weight is clamped to the border."""
    index, weight = _taps(size_in, size_out, "bicubic", coordinates)
    if (weight == [[0], [1], [0], [0]]).all():
        return _grid(index[1:2], 0, between=False)
    if (weight == np.array([[-3], [19], [19], [-3]]) / 32).all():
        return _grid(index, 1, between=True)
    return None


def _grid(index: NDArray[np.intp], base: int, *, between: bool) -> _Grid | None:
    """Return the grid of taps (taps, size), tap number `base` at offset 0, if they lie evenly and side by side."""
    size = index.shape[1]
    step = int(index[0, 1] - index[0, 0]) if size > 1 else 1
    even = step > 0 and (np.diff(index, axis=1) == step).all() and (np.diff(index, axis=0) == 1).all()
    return _Grid(int(index[base, 0]), step, size, between) if even else None


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
        weights = [cubic(1.0 + part), cubic(part), cubic(1.0 - part), cubic(2.0 - part)]
    index = np.stack([np.clip(base + offset, 0, size_in - 1) for offset in offsets]).astype(np.intp)
    return index, np.stack(weights).astype(np.float32)


def cubic(x: Floats) -> Floats:
    """Return the weights that bicubic interpolation gives to inputs at these distances.

    Args:
        x: any shape, float, distances in input pixels, at least 0.

    Source:
        Keys, "Cubic convolution interpolation", IEEE ASSP 29(6), 1981, eq. 4 with a = -0.75.
    """
    near = ((CUBIC_A + 2.0) * x - (CUBIC_A + 3.0)) * x * x + 1.0
    far = ((CUBIC_A * x - 5.0 * CUBIC_A) * x + 8.0 * CUBIC_A) * x - 4.0 * CUBIC_A
    return np.where(x <= 1.0, near, np.where(x < 2.0, far, 0.0))


def _antialiased(image: Pixels, hw: tuple[int, int]) -> Pixels:
    """Resize each channel with Pillow's triangle filter: on uint8 its fixed-point one, the legacy contract's."""
    from PIL import Image

    size = (hw[1], hw[0])
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(image[:, :, c])).resize(size, Image.Resampling.BILINEAR))
        for c in range(image.shape[2])
    ]
    return np.stack(planes, axis=2).astype(image.dtype)
