"""When the sink puts a spacer among events."""

import random
from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest

from sinks import spacers
from sinks.spacers import Spacing, put


def test_one_is_due_in_the_block_that_makes_it_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(spacers.SPACERS, "events", replace(spacers.SPACERS["events"], every=10))
    spacing = Spacing("events")
    assert [spacing.due(events) for events in (9, 0, 5, 9, 0, 1, 30, 1)] == [
        False, False, True, False, False, True, True, False,
    ]  # fmt: skip


def test_it_goes_to_the_middle() -> None:
    class Client:
        def command(self, _: str, parameters: dict[str, int], **__: Any) -> None:
            assert parameters == {"at": 30, "epoch": 0}

    client: Any = Client()
    put(client, "events", [90, 10, 20, 30, 9_000])  # out of order, and one far from the others


def test_it_is_wide_enough_for_a_granule_of_its_own() -> None:
    """Granules have 8,192 rows or fewer, a part's last one half of it more."""
    for seed in range(200):
        draw = random.Random(seed)
        sizes = [draw.choice([8192, draw.randint(1, 8192)]) for _ in range(60)]
        sizes.insert(draw.randrange(60), 12_287)
        begins = list(accumulate(sizes, initial=0))
        start = draw.choice(begins[:20]) + draw.choice([0, 1, draw.randint(0, 12_287)])
        assert len([begin for begin in begins if start <= begin < start + spacers.ROWS]) >= 2
