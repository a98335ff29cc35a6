"""From a picture to the tensor that a card's input contract asks for."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .card import InputSpec, ResizeSpec
from .errors import CardError, InputError, ShapeError
from .geometry import Geometry
from .resize import resized_blocks

__all__ = ["Preparer", "fit", "prepare", "refuse_overflow"]

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

LUMA_RGB = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601-7, section 2.5.1
LARGEST_VALUE, TINY_STD = 1e37, 1e-37  # well inside float32, so that sums and quotients stay finite and normal
MAX_KEPT = 4  # released tensors: one that is filled, one that is inferred, and two to spare for another frame size


def prepare(source: UInt8, spec: InputSpec) -> tuple[Float32, Geometry]:
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
        CardError: channels, colour order and fill of the card do not agree, or its batch is not 1.
    """
    return Preparer(spec)(source)


class Preparer:
    """`prepare` for many pictures of one input contract, with tensors that may be used again.

    A tensor that is given back keeps its padding, so that the next picture of the same size writes its pixels only.
    Giving back is optional. All methods may be called from several threads at once.
    """

    def __init__(self, spec: InputSpec) -> None:
        """Check the contract and work out what every picture shares.

        Raises:
            InputError: `spec` is not of kind "image".
            CardError: channels, colour order and fill of the card do not agree, or its batch is not 1.
        """
        if spec.kind != "image":
            raise InputError("this input takes no picture", expected="kind `image`", got=f"kind `{spec.kind}`")
        channels, fill = spec.channels, spec.resize.fill
        if spec.shape[0] != 1:
            raise CardError("an image input takes one picture at a time", expected="(1, ...)", got=spec.shape)
        if spec.colour != "GRAY" and channels != 3:
            raise CardError(f"an input of colour {spec.colour} needs 3 channels", got=channels)
        if len(fill) != channels and len(set(fill)) != 1:
            raise CardError("resize.fill needs one value a channel, or equal ones", got=fill)
        refuse_overflow(spec, (0.0, 255.0, *fill))
        self.spec = spec
        self._mean, self._std = _line(spec, spec.mean), _line(spec, spec.std)
        self._scaled = any(value != 1.0 for value in spec.std)
        self._padding = (
            _line(spec, [fill[channel % len(fill)] for channel in range(channels)]) - self._mean
        ) / self._std
        self._lock = threading.Lock()
        self._free: list[tuple[tuple[int, int], Float32]] = []  # content size and tensor, the last released at the end
        self._lent: dict[int, tuple[tuple[int, int], weakref.ref[Float32]]] = {}  # by id of the tensor

    def __call__(self, source: UInt8) -> tuple[Float32, Geometry]:
        """Return what `prepare(source, spec)` does; the tensor is the caller's until `release`.

        Raises:
            ShapeError, InputError: as `prepare`.
        """
        if source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
            raise ShapeError("picture has the wrong shape", expected="(H, W, 3)", got=source.shape)
        if source.dtype != np.uint8:
            raise InputError("picture has the wrong dtype", expected="uint8", got=source.dtype)
        original_hw = (source.shape[0], source.shape[1])
        content_hw = fit(original_hw, self.spec.hw, self.spec.resize)
        tensor = self._borrow(content_hw)
        self._write(source, tensor, content_hw)
        scale_xy = (content_hw[1] / original_hw[1], content_hw[0] / original_hw[0])
        return tensor, Geometry(
            original_hw=original_hw, input_hw=self.spec.hw, content_hw=content_hw, scale_xy=scale_xy
        )

    def release(self, tensor: Float32) -> None:
        """Hand a tensor back, unchanged, to be overwritten by a later picture; nobody may read it any more.

        Raises:
            InputError: the tensor is not one that this object gave out, or was released already.
        """
        with self._lock:
            content_hw, lent = self._lent.get(id(tensor), (None, None))
            if content_hw is None or lent is None or lent() is not tensor:
                raise InputError("tensor to release is not on loan", hint="release the array itself, not a view, once")
            del self._lent[id(tensor)]
            self._free.append((content_hw, tensor))
            del self._free[:-MAX_KEPT]

    def _borrow(self, content_hw: tuple[int, int]) -> Float32:
        """Return a tensor with the padding that a picture of this size needs, its pixels not yet written."""
        with self._lock:
            place = next((i for i in reversed(range(len(self._free))) if self._free[i][0] == content_hw), None)
            tensor: Float32 = np.empty(self.spec.shape, np.float32) if place is None else self._free.pop(place)[1]
            # Loans whose tensor was dropped instead of released end here.
            self._lent = {key: loan for key, loan in self._lent.items() if loan[1]() is not None}
            self._lent[id(tensor)] = (content_hw, weakref.ref(tensor))
        if place is None:
            (height, _), width = content_hw, self._line_width(content_hw)
            lines = self._lines(tensor)
            lines[:, height:] = self._padding
            lines[:, :height, width:] = self._padding[:, :, width:]
        return tensor

    def _write(self, source: UInt8, tensor: Float32, content_hw: tuple[int, int]) -> None:
        """Resize, reorder, cast and normalise, a few rows at a time."""
        spec, width = self.spec, self._line_width(content_hw)
        planes = tensor[0] if spec.layout == "NCHW" else tensor[0].transpose(2, 0, 1)
        lines = self._lines(tensor)
        for rows, block in resized_blocks(source, content_hw, spec.resize.interpolation):
            grey = _luma(block) if spec.colour == "GRAY" else None
            for channel, plane in enumerate(planes):
                values = block[:, :, 2 - channel if spec.colour == "BGR" else channel] if grey is None else grey
                plane[rows, : content_hw[1]] = values
            inside = lines[:, rows, :width]
            inside -= self._mean[:, :, :width]
            if self._scaled:
                inside /= self._std[:, :, :width]

    def _lines(self, tensor: Float32) -> Float32:
        """Return the contiguous lines of a tensor: (C, H, W) for NCHW, (1, H, W * C) for NHWC."""
        if self.spec.layout == "NCHW":
            return np.asarray(tensor[0])
        return tensor.reshape(1, self.spec.hw[0], -1)

    def _line_width(self, content_hw: tuple[int, int]) -> int:
        """Return how many values of a line the picture takes up."""
        return content_hw[1] if self.spec.layout == "NCHW" else content_hw[1] * self.spec.channels


@lru_cache(maxsize=32)  # exact fractions are slow, and frames of a video are of one size
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


def refuse_overflow(spec: InputSpec, values: tuple[float, ...]) -> None:
    """Refuse a card whose mean and std would carry one of the values out of float32."""
    for mean, std in zip(spec.mean, spec.std, strict=True):
        if std < TINY_STD or max(abs(mean), *(abs(value) for value in values)) / std > LARGEST_VALUE:
            raise CardError("mean, std and fill of the input give values beyond float32", got=(spec.mean, spec.std))


def _line(spec: InputSpec, values: Sequence[float]) -> Float32:
    """Return a value a channel as it repeats along a line: (C, 1, W) for NCHW, (1, 1, W * C) for NHWC."""
    each = np.array(values, np.float32)
    if spec.layout == "NCHW":
        return np.repeat(each, spec.hw[1]).reshape(spec.channels, 1, -1)
    return np.tile(each, spec.hw[1]).reshape(1, 1, -1)


def _luma(pixels: NDArray[Any]) -> Float32:
    return np.asarray(np.rint(pixels.astype(np.float32, order="C") @ LUMA_RGB), np.float32)
