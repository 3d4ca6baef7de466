"""When the sink puts a spacer among events."""

import pytest

from sinks import spacers
from sinks.spacers import Spacing


def test_one_is_due_in_the_middle_of_the_block_that_makes_it_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spacers, "EVERY", 10)
    spacing = Spacing()
    assert spacing.due([5] * 9) is None
    assert spacing.due([]) is None
    assert spacing.due([90, 10, 20, 30, 9_000]) == 30  # out of order, and one far from the others
    assert spacing.due([40] * 9) is None
    assert spacing.due([50]) == 50


def test_it_is_wide_enough_for_a_granule_of_its_own() -> None:
    """Wherever granules of 8,192 rows or fewer begin, one is all spacer, and so is the first row of the next."""
    for start in (0, 1, 4096, 8191):
        begins = [row for row in range(start, start + spacers.ROWS) if row % 8192 == 0]
        assert len(begins) >= 2
