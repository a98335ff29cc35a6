"""The two channel shuffles found in the face networks; each is the inverse of the other.

Source: Zhang et al., "ShuffleNet", arXiv:1707.01083, section 3.1 (groups first).
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["shuffle_groups_first", "shuffle_groups_last"]


def shuffle_groups_first(x: Tensor, groups: int = 2) -> Tensor:
    """Return the channels read column by column from a (groups, C / groups) table filled row by row."""
    batch, channels, height, width = x.shape
    table = x.reshape(batch, groups, channels // groups, height * width)
    return table.transpose(1, 2).reshape(batch, channels, height, width)


def shuffle_groups_last(x: Tensor, groups: int = 2) -> Tensor:
    """Return the channels read column by column from a (C / groups, groups) table filled row by row."""
    batch, channels, height, width = x.shape
    table = x.reshape(batch, channels // groups, groups, height * width)
    return table.transpose(1, 2).reshape(batch, channels, height, width)
