"""What a pose network shall answer: heatmaps of the keypoints and affinity fields of the limbs, of everybody.

NumPy only. Positions are input pixels, continuous: the middle of the first pixel is 0.5, the middle of map cell g is
(g + 0.5) * stride, which is pixel number g * 8 + 3.5 at stride 8.

Source:
    Cao et al., arXiv:1611.08050, eq. 6 to 9; constants of the students' own training code (J-kal/ai8x-training): a
    Gaussian of 7 pixels that ends at the exponent 4.6052, limbs one cell thick to either side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import ShapeError
from ...runtime.skeleton import KEYPOINTS, LIMBS

__all__ = ["cells_of_mask", "heatmaps_and_pafs"]

Float32 = NDArray[np.float32]

SIGMA_PX = 7.0
LARGEST_EXPONENT = 4.6052  # the Gaussian is below 0.01 there
THICKNESS = 1.0  # of a limb to either side, cells
SHORTEST = 1e-3  # limbs below it have no direction, cells
JOINTS, PAFS = len(KEYPOINTS), 2 * len(LIMBS)
_STARTS = np.array([limb.start for limb in LIMBS])
_ENDS = np.array([limb.end for limb in LIMBS])
_CHANNELS = np.array([limb.channel_x // 2 for limb in LIMBS])  # x is even, y the next


def heatmaps_and_pafs(keypoints: NDArray[Any], hw: tuple[int, int], stride: int = 8) -> tuple[Float32, Float32]:
    """Return the maps of all people in a picture.

    A cell holds the highest Gaussian of all people, and the mean direction of the limbs that pass within a cell of it.
    The background is 1 minus the highest of the 18 heatmaps.

    Args:
        keypoints: (n, 18, 3) float, x, y in input pixels and visibility; what has visibility 0 gives nothing.
        hw: height and width of the input, pixels, multiples of `stride`.
        stride: pixels a cell.

    Returns:
        (19, h / stride, w / stride) float32, 0..1, and (38, h / stride, w / stride) float32, -1..1.

    Raises:
        ShapeError: the keypoints are not (n, 18, 3), or the size is no multiple of the stride.
    """
    if keypoints.ndim != 3 or keypoints.shape[1:] != (JOINTS, 3) or hw[0] % stride or hw[1] % stride:
        raise ShapeError(
            f"keypoints must be (n, {JOINTS}, 3) and sides multiples of {stride}", got=(keypoints.shape, hw)
        )
    rows, columns = hw[0] // stride, hw[1] // stride
    cells = np.asarray(keypoints[:, :, :2], np.float32) / np.float32(stride) - np.float32(0.5)  # in cell numbers
    there = np.asarray(keypoints[:, :, 2] > 0)
    y, x = np.arange(rows, dtype=np.float32), np.arange(columns, dtype=np.float32)
    heatmaps = np.zeros((JOINTS + 1, rows, columns), np.float32)
    _fill_heatmaps(heatmaps[:JOINTS], cells, there, x, y, SIGMA_PX / stride)
    heatmaps[JOINTS] = 1.0 - heatmaps[:JOINTS].max(axis=0)
    pafs = np.zeros((PAFS, rows, columns), np.float32)
    _fill_pafs(pafs, cells, there, x, y)
    return heatmaps, pafs


def cells_of_mask(ignore: NDArray[np.bool_], stride: int = 8) -> Float32:
    """Return where a loss is taken: (1, h / stride, w / stride) float32, 1, or 0 where half of a cell is ignored.

    Args:
        ignore: (h, w) bool, input pixels; sides multiples of `stride`.
        stride: pixels a cell.
    """
    rows, columns = ignore.shape[0] // stride, ignore.shape[1] // stride
    if not ignore.any():
        return np.ones((1, rows, columns), np.float32)
    share = ignore.reshape(rows, stride, columns, stride).mean(axis=(1, 3))
    return np.asarray(share < 0.5, np.float32)[None]


def _fill_heatmaps(
    maps: Float32, cells: Float32, there: NDArray[np.bool_], x: Float32, y: Float32, sigma: float
) -> None:
    scale = np.float32(0.5 / sigma**2)
    for points, known in zip(cells, there, strict=True):
        across = scale * np.square(x - points[known, 0, None])
        down = scale * np.square(y - points[known, 1, None])
        heights = np.exp(-down)[:, :, None] * np.exp(-across)[:, None, :]
        heights[down[:, :, None] + across[:, None, :] > LARGEST_EXPONENT] = 0.0
        maps[known] = np.maximum(maps[known], heights)


def _fill_pafs(maps: Float32, cells: Float32, there: NDArray[np.bool_], x: Float32, y: Float32) -> None:
    person, limb = np.nonzero(there[:, _STARTS] & there[:, _ENDS])
    start = cells[person, _STARTS[limb]]
    vector = cells[person, _ENDS[limb]] - start
    length = np.hypot(vector[:, 0], vector[:, 1])
    long = length > SHORTEST
    limb, start, length, vector = limb[long], start[long], length[long], vector[long]
    unit = vector / length[:, None]
    # Distance of every cell to the segment: (limbs, rows, columns).
    dx, dy = (x - start[:, :1])[:, None, :], (y - start[:, 1:])[:, :, None]
    ux, uy = unit[:, 0, None, None], unit[:, 1, None, None]
    beyond = dx * ux + dy * uy
    beyond -= np.clip(beyond, 0.0, length[:, None, None])
    aside = dx * uy - dy * ux
    near = beyond * beyond + aside * aside <= THICKNESS**2
    counts = np.zeros((len(LIMBS), *maps.shape[1:]), np.float32)
    fields = maps.reshape(len(LIMBS), 2, *maps.shape[1:])
    for channel, direction, inside in zip(_CHANNELS[limb], unit, near, strict=True):
        counts[channel] += inside
        fields[channel] += direction[:, None, None] * inside
    fields /= np.maximum(counts, 1.0)[:, None]
