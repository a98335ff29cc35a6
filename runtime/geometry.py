"""Where an image's pixels went on their way into the network, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Geometry"]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The map from original pixels to network input pixels; both origins are top-left.

    Attributes:
        original_hw: height and width of the picture as read, after EXIF rotation, pixels.
        input_hw: height and width of the network input, pixels.
        content_hw: the top-left part of the input that the picture fills; the rest is padding.
        scale_xy: input pixels per original pixel, for x and y.
    """

    original_hw: tuple[int, int]
    input_hw: tuple[int, int]
    content_hw: tuple[int, int]
    scale_xy: tuple[float, float]
