"""A synthetic set of people: one to five in a picture, of many sizes and poses, who hide each other.

Drawn, not photographed, and every label says so. Keypoints, boxes and areas are computed from the drawing.
"""

from __future__ import annotations

import hashlib

import numpy as np

from ...runtime.errors import InputError
from .draw_people import draw_people
from .draw_scenes import as_photograph
from .samples import PoseSample

__all__ = ["SyntheticPeople"]

VERSION = 1  # counts up when the pictures of a seed change
STREAM = 12  # keeps these generators apart from those of other sets
SMALLEST_SIDE = 32
VARIED_LOW, VARIED_HIGH = 160, 400  # sides of pictures of varied sizes, pixels


class SyntheticPeople:
    """Pictures with one to five people, from a fifth of the picture's height to more than all of it.

    They stand, walk, sit, squat, jump and bend; face the viewer, a side or away; are cut by the border and hidden by
    each other and by things. About a quarter of the labelled joints are hidden. Sticks and cloth in the background look
    like limbs. Picture i depends on seed, i and `hw` only.

    Args:
        count: number of pictures, >= 0.
        seed: >= 0.
        hw: height and width, pixels, each at least 32; None draws a size for every picture, sides 160 to 400.

    Raises:
        InputError: an argument is out of range.
    """

    family = "pose"

    def __init__(self, count: int, seed: int, hw: tuple[int, int] | None = None) -> None:
        if count < 0 or seed < 0 or (hw is not None and min(hw) < SMALLEST_SIDE):
            raise InputError(
                "synthetic people cannot be drawn so",
                expected=f"count and seed >= 0, sides >= {SMALLEST_SIDE}",
                got=(count, seed, hw),
            )
        self.count, self.seed, self.hw = count, seed, hw
        size = f"of {hw[1]}x{hw[0]}" if hw is not None else "of many sizes"
        self.label = f"synthetic people (seed {seed}, {count} pictures {size})"
        self.digest = hashlib.sha256(f"people {VERSION} {count} {seed} {hw}".encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> PoseSample:
        """Draw picture `index`, 0 <= index < len.

        Raises:
            IndexError: there is no such picture.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"picture {index} of {self.count}")
        rng = np.random.default_rng([STREAM, self.seed, index])
        hw = self.hw
        if hw is None:
            height, width = rng.integers(VARIED_LOW, VARIED_HIGH + 1, 2).tolist()
            hw = (height, width)
        scene, people = draw_people(rng, hw)
        return PoseSample(
            name=f"synthetic-people-{self.seed}-{index}",
            image=as_photograph(rng, scene),
            keypoints=people.keypoints,
            boxes=people.boxes,
            areas=people.areas,
            crowd=people.crowd,
            ignore=people.ignore,
        )
