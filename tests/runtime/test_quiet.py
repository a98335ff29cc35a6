"""Whether other work disturbed a clock, by hand-made times."""

from __future__ import annotations

import pytest

from edge.runtime.quiet import disturbed


@pytest.mark.parametrize(
    ("wall", "busy"),
    [
        ([1.0, 1.0, 1.01, 1.02], False),
        ([1.06, 1.06, 1.06, 1.06], True),  # the median is over 1.05
        ([1.0, 1.0, 1.0, 5.0], True),  # a quarter waited: the third quarter is 4
        ([1.0] * 9 + [50.0], False),  # one call in ten
        ([0.99, 0.98, 0.99], False),  # a coarse clock
    ],
)
def test_the_median_and_the_third_quarter_of_wall_over_processor_time_decide(wall: list[float], busy: bool) -> None:
    assert disturbed(wall, [1.0] * len(wall)) is busy


def test_it_is_not_told_of_fewer_than_two_calls_with_a_processor_time() -> None:
    assert disturbed([1.0], [1.0]) is None
    assert disturbed([1.0, 1.0, 1.0], [1.0, 0.0, 0.0]) is None
    assert disturbed([], []) is None
