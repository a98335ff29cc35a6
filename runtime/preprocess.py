"""From a picture to the tensor that a card's input contract asks for."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .card import InputSpec, ResizeSpec
from .errors import CardError, InputError, ShapeError
from .geometry import Geometry
from .resize import resize

__all__ = ["fit", "prepare", "refuse_overflow"]

Float32 = NDArray[np.float32]

LUMA_RGB = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601-7, section 2.5.1
LARGEST_VALUE, TINY_STD = 1e37, 1e-37  # well inside float32, so that sums and quotients stay finite and normal


def prepare(source: NDArray[np.uint8], spec: InputSpec) -> tuple[Float32, Geometry]:
    """Return the input tensor of a picture, and where its pixels went.

    The picture is resized as uint8 (rounded and clipped, as the origins do with OpenCV), laid top-left on the fill
    colour, put into the colour order of the card, and enters as (pixel - mean) / std.

    Args:
        source: (H, W, 3) uint8 RGB; `image.as_rgb` makes it from anything else.
        spec: an input of kind "image".

    Returns:
        Tensor of `spec.shape`, float32, C-contiguous and finite; and its geometry.

    Raises:
        ShapeError: `source` is not (H, W, 3), or `resize.rule` is "none" and the size differs.
        InputError: `source` is not uint8, or `spec` is not of kind "image".
        CardError: channels, colour order and fill of the card do not agree.
    """
    if spec.kind != "image":
        raise InputError("this input takes no picture", expected="kind `image`", got=f"kind `{spec.kind}`")
    if source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
        raise ShapeError("picture has the wrong shape", expected="(H, W, 3)", got=source.shape)
    if source.dtype != np.uint8:
        raise InputError("picture has the wrong dtype", expected="uint8", got=source.dtype)
    original_hw = (source.shape[0], source.shape[1])
    content_hw = fit(original_hw, spec.hw, spec.resize)
    pixels = source if content_hw == original_hw else resize(source, content_hw, spec.resize.interpolation)
    tensor = _normalised(pixels, spec)
    scale_xy = (content_hw[1] / original_hw[1], content_hw[0] / original_hw[0])
    return tensor, Geometry(original_hw=original_hw, input_hw=spec.hw, content_hw=content_hw, scale_xy=scale_xy)


def fit(original_hw: tuple[int, int], input_hw: tuple[int, int], rule: ResizeSpec) -> tuple[int, int]:
    """Return the height and width, pixels, that a picture takes up in the network input; each is at least 1.

    Sides are computed exactly, not in floating point: with `int(49 * (128 / 49))` a square of 49 pixels would become
    127 wide.

    Raises:
        ShapeError: the rule is "none" and the sizes differ.
    """
    if rule.rule == "none":
        if original_hw != input_hw:
            raise ShapeError("this input takes pictures of one size only", expected=input_hw, got=original_hw)
        return input_hw
    if rule.rule == "stretch":
        if rule.upscale:
            return input_hw
        return min(original_hw[0], input_hw[0]), min(original_hw[1], input_hw[1])
    scale = min(Fraction(inside, side) for inside, side in zip(input_hw, original_hw, strict=True))
    if not rule.upscale:
        scale = min(scale, Fraction(1))
    whole = math.floor if rule.rounding == "truncate" else round
    height, width = (max(1, whole(side * scale)) for side in original_hw)
    return height, width


def _normalised(pixels: NDArray[np.uint8], spec: InputSpec) -> Float32:
    """Return (pixel - mean) / std on a canvas that is filled outside the picture."""
    channels, fill = spec.channels, spec.resize.fill
    if spec.colour != "GRAY" and channels != 3:
        raise CardError(f"an input of colour {spec.colour} needs 3 channels", got=channels)
    if len(fill) != channels and len(set(fill)) != 1:
        raise CardError("resize.fill needs one value a channel, or equal ones", got=fill)
    refuse_overflow(spec, (0.0, 255.0, *fill))
    grey = _luma(pixels) if spec.colour == "GRAY" else None
    planes = np.empty((channels, *spec.hw), np.float32)
    height, width = pixels.shape[:2]
    for channel in range(channels):
        mean, std = np.float32(spec.mean[channel]), np.float32(spec.std[channel])
        padding = (np.float32(fill[channel % len(fill)]) - mean) / std
        planes[channel, height:, :] = padding
        planes[channel, :height, width:] = padding
        plane = pixels[:, :, 2 - channel if spec.colour == "BGR" else channel] if grey is None else grey
        inside = planes[channel, :height, :width]
        np.subtract(plane, mean, out=inside, dtype=np.float32)
        if std != 1.0:
            np.divide(inside, std, out=inside)
    return planes[None] if spec.layout == "NCHW" else np.ascontiguousarray(planes.transpose(1, 2, 0))[None]


def refuse_overflow(spec: InputSpec, values: tuple[float, ...]) -> None:
    """Refuse a card whose mean and std would carry one of the values out of float32."""
    for mean, std in zip(spec.mean, spec.std, strict=True):
        if std < TINY_STD or max(abs(mean), *(abs(value) for value in values)) / std > LARGEST_VALUE:
            raise CardError("mean, std and fill of the input give values beyond float32", got=(spec.mean, spec.std))


def _luma(pixels: NDArray[np.uint8]) -> Float32:
    return np.asarray(np.rint(pixels @ LUMA_RGB), np.float32)
