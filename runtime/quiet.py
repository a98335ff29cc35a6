"""Whether other work disturbed a measurement: while a call waits, the wall clock runs on and its processor time not."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

__all__ = ["WALL_RATIO", "WALL_RATIO_P75", "disturbed"]

# Wall clock over processor time, up to which the wall clock may be believed: the median, and the third quarter.
WALL_RATIO, WALL_RATIO_P75 = 1.05, 1.3
LEAST = 2  # calls


def disturbed(wall: Sequence[float], cpu: Sequence[float]) -> bool | None:
    """Return whether other work disturbed the wall clock; None where it cannot be told.

    Args:
        wall, cpu: wall clock and processor time of the same calls, of one thread, in one unit.
    """
    shares = [one / other for one, other in zip(wall, cpu, strict=True) if other > 0]
    if len(shares) < LEAST:
        return None
    return statistics.median(shares) > WALL_RATIO or statistics.quantiles(shares, n=4)[2] > WALL_RATIO_P75
