"""Synthetic pose maps with known joints, to measure the pose decoder without a network or pictures of people."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..runtime.skeleton import KEYPOINTS, LIMBS

__all__ = ["pose_maps"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

SIGMA = 0.9  # cells: 7 input pixels at stride 8, what the pose students are trained towards
HALF_WIDTH = 1.0  # cells, of an affinity field's band: as in the same training
ASPECT = 0.45  # width of a person's place to its height

# Joints of a person that stands and faces us, in the order of KEYPOINTS: x from the middle, y from the top, of its
# height. The person's right is on the picture's left.
STANDING = np.array(
    [(0, .08), (0, .20), (-.10, .20), (-.14, .36), (-.16, .51), (.10, .20), (.14, .36), (.16, .51), (-.06, .51),
     (-.07, .73), (-.07, .96), (.06, .51), (.07, .73), (.07, .96), (-.025, .05), (.025, .05), (-.06, .07), (.06, .07)]
)  # fmt: skip


def pose_maps(
    people: int, hw: tuple[int, int], *, seed: int = 0, stride: int = 8, noise: float = 0.0
) -> tuple[Float32, Float32, Float64]:
    """Return the maps of an invented scene as a perfect network would give them, and its true joints.

    Synthetic: figures of one build stand in rows, about as large as fits, each moved, scaled, swung and now and then
    turned round by chance; arms of neighbours may cross. Joints are Gaussians of `SIGMA` cells, of which the highest
    counts where they meet, sampled at the centres of cells; fields are bands of unit vectors, their mean where they
    meet. What real networks add (uneven heights, blurred fields, joints that are not there) is missing, except `noise`.

    Args:
        people: number of figures, at least 0.
        hw: height and width of the maps, cells.
        seed: of the generator; the same arguments give the same maps.
        stride: input pixels a cell.
        noise: standard deviation of Gaussian noise on all maps.

    Returns:
        heatmaps (19, h, w) float32, the background last; pafs (38, h, w) float32; joints (people, 18, 2) float64,
        x and y in input pixels, inside the maps.
    """
    rng = np.random.default_rng(seed)
    heatmaps, pafs = np.zeros((len(KEYPOINTS) + 1, *hw), np.float32), np.zeros((2 * len(LIMBS), *hw), np.float32)
    cells = _figures(people, hw, rng)
    for part in range(len(KEYPOINTS)):
        for x, y in cells[:, part]:
            across, down = np.exp(-np.square(np.arange(hw[1]) - x) / (2 * SIGMA**2)), np.arange(hw[0]) - y
            bump = np.exp(-np.square(down) / (2 * SIGMA**2))[:, None] * across
            np.maximum(heatmaps[part], bump, out=heatmaps[part], casting="same_kind")
    heatmaps[-1] = 1 - heatmaps[:-1].max(axis=0)
    for limb in LIMBS:
        field = pafs[[limb.channel_x, limb.channel_y]]
        bands = np.zeros(hw, np.float32)
        for start, end in zip(cells[:, limb.start], cells[:, limb.end], strict=True):
            band, unit = _band(start, end, hw)
            field[:, band] += unit[:, None]
            bands += band
        pafs[[limb.channel_x, limb.channel_y]] = field / np.maximum(bands, 1)
    if noise:
        heatmaps += rng.normal(0, noise, heatmaps.shape).astype(np.float32)
        pafs += rng.normal(0, noise, pafs.shape).astype(np.float32)
    return heatmaps, pafs, (cells + 0.5) * stride


def _figures(people: int, hw: tuple[int, int], rng: np.random.Generator) -> Float64:
    """Return (people, 18, 2) joints in cells, a cell's centre at whole numbers: figures in rows, each a little off."""
    columns = 1
    while columns < people and hw[1] / columns / ASPECT > hw[0] / math.ceil(people / columns):
        columns += 1  # as long as a place is wider than its height needs
    rows = max(math.ceil(people / columns), 1)
    place = np.array((hw[1] / columns, hw[0] / rows))  # of one figure, cells
    height = min(place[1], place[0] / ASPECT)
    joints = np.empty((people, len(KEYPOINTS), 2))
    for person in range(people):
        row, column = divmod(person, columns)
        size = height * rng.uniform(0.82, 0.95)
        swing = rng.normal(0, 0.012, STANDING.shape)
        figure = (STANDING + swing) * (1 if rng.uniform() < 0.8 else -1, 1) * size
        middle = (column + 0.5) * place[0] + rng.uniform(-0.1, 0.1) * place[0]
        top = row * place[1] + rng.uniform(0, 1) * (place[1] - size)
        joints[person] = figure + np.array((middle, top))
    return np.clip(joints - 0.5, -0.5, np.array((hw[1], hw[0])) - 0.5)


def _band(start: Float64, end: Float64, hw: tuple[int, int]) -> tuple[NDArray[np.bool_], Float32]:
    """Return which cells lie on the limb, and its unit vector."""
    vector = end - start
    length = float(np.hypot(*vector))
    unit = vector / max(length, 1e-6)
    x, y = np.arange(hw[1]) - start[0], (np.arange(hw[0]) - start[1])[:, None]
    along, across = x * unit[0] + y * unit[1], np.abs(x * unit[1] - y * unit[0])
    return (along >= -HALF_WIDTH) & (along <= length + HALF_WIDTH) & (across <= HALF_WIDTH), unit.astype(np.float32)
