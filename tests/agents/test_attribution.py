"""Attribution by examples: what wins, what the window is, what restates a row, and what ages out.

That the rows are those of a batch program whatever happens to the workers is in tests/property.
"""

from itertools import permutations
from typing import Any

import pytest

from runtime.agent import NEVER
from runtime.changelog import Marker
from runtime.scenario import LOSE_DISK, RESTART, TAKEOVER, ZOMBIE, Fault, crash, play
from streams.agents import attribution, dedup, touches
from tests.events import T0, event

HOUR = 3_600_000
DAY = 24 * HOUR
WEEK = 7 * DAY
AT = T0 + 10 * DAY
"""When conversions happen, unless they say otherwise."""
Credits = dict[str, tuple[str, str | None]]


def agents() -> list[Any]:
    return [dedup.make(WEEK), touches.make(), attribution.make(WEEK, DAY)]


def touch(name: str, before: int = HOUR, **given: Any) -> dict[str, Any]:
    """A touch so long before the conversions; its utm_source is a name to tell it by."""
    return event(**{"event_name": name, "event_time": AT - before} | given)


def conversion(name: str = "register", **given: Any) -> dict[str, Any]:
    return event(**{"event_name": name, "event_time": AT} | given)


def credits(items: list[Any], partitions: int = 1, batch: int = 100) -> Credits:
    """By name of the conversion, the link and the utm_source of the touch."""
    run = play(agents(), items, partitions, batch)
    rows = run.rows(attribution.ATTRIBUTIONS, "conversion_id", "link")
    found: Credits = {}
    for link in ("click_id", "player", "device", "event"):
        for row in rows:
            if row["link"] == link and not found.get(row["conversion_name"], ("",))[0]:
                found[row["conversion_name"]] = (link if row["touch_name"] else "", row["utm_source"])
    return found


PLAYER: dict[str, Any] = {"player_id": "p"}
RULES = {
    "the last touch": (
        [touch("click", 2 * HOUR, utm_source="first", **PLAYER), touch("click", HOUR, utm_source="last", **PLAYER)],
        conversion(**PLAYER), ("player", "last"),
    ),
    "a click before an impression, though that is later": (
        [touch("click", 2 * HOUR, utm_source="c", **PLAYER), touch("impression", HOUR, utm_source="i", **PLAYER)],
        conversion(**PLAYER), ("player", "c"),
    ),
    "the campaign that the conversion names, though only an impression": (
        [touch("impression", utm_source="x", campaign="x", **PLAYER), touch("click", campaign="y", **PLAYER)],
        conversion(campaign="x", **PLAYER), ("player", "x"),
    ),
    "any campaign where the conversion's has no touch": (
        [touch("click", utm_source="y", campaign="y", **PLAYER)],
        conversion(campaign="x", **PLAYER), ("player", "y"),
    ),
    "the click id before the player, though earlier and an impression": (
        [touch("impression", 5 * HOUR, utm_source="i", click_id="c"), touch("click", utm_source="p", **PLAYER)],
        conversion(click_id="c", **PLAYER), ("click_id", "i"),
    ),
    "the player where the click id leads nowhere": (
        [touch("click", utm_source="p", **PLAYER)], conversion(click_id="unknown", **PLAYER), ("player", "p"),
    ),
    "the player before the device": (
        [touch("click", HOUR, utm_source="d", device_id="d"), touch("click", 2 * HOUR, utm_source="p", **PLAYER)],
        conversion(device_id="d", **PLAYER), ("player", "p"),
    ),
    "the device alone": ([touch("click", utm_source="d", device_id="d")], conversion(device_id="d", **PLAYER),
                         ("device", "d")),
    "another player's touch is none": ([touch("click", player_id="q")], conversion(**PLAYER), ("", None)),
    "another tenant's touch is none": ([touch("click", tenant="other", **PLAYER)], conversion(**PLAYER), ("", None)),
    "at the same moment": ([touch("click", 0, utm_source="now", **PLAYER)], conversion(**PLAYER), ("player", "now")),
    "after the conversion it is none": ([touch("click", -1, **PLAYER)], conversion(**PLAYER), ("", None)),
    "a whole window before": ([touch("click", WEEK, utm_source="w", **PLAYER)], conversion(**PLAYER), ("player", "w")),
    "a millisecond more is none": ([touch("click", WEEK + 1, **PLAYER)], conversion(**PLAYER), ("", None)),
    "a late touch is none": ([touch("click", received_at=AT + DAY, **PLAYER)], conversion(**PLAYER), ("", None)),
    "without any link": ([touch("click")], conversion(), ("", None)),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_what_is_credited(name: str) -> None:
    given, converted, expected = RULES[name]
    for order in permutations([*given, converted]):
        assert credits(list(order), partitions=3) == {"register": expected}


def test_a_late_conversion_has_no_row() -> None:
    assert credits([touch("click", **PLAYER), conversion(received_at=AT + DAY + 1, **PLAYER)]) == {}
    assert credits([conversion(received_at=AT + DAY, **PLAYER)]) == {"register": ("", None)}


def test_every_name_counts() -> None:
    names = ("conversion", "register", "registration", "signup")
    found = credits([touch("click", utm_source="c", **PLAYER), *(conversion(name, **PLAYER) for name in names)])
    assert found == dict.fromkeys(names, ("player", "c"))
    assert credits([conversion("deposit", **PLAYER), conversion("login", **PLAYER)]) == {}


STORY = [
    conversion(click_id="c", **PLAYER),
    touch("impression", 3 * HOUR, utm_source="1", **PLAYER),
    touch("click", 5 * HOUR, utm_source="2", **PLAYER),
    touch("click", 4 * HOUR, utm_source="3", click_id="c"),
    conversion("signup", event_time=AT + 2 * DAY, **PLAYER),
]
TOLD = {"register": ("click_id", "3"), "signup": ("player", "2")}


@pytest.mark.parametrize("fault", [RESTART, LOSE_DISK, *(crash(point) for point in range(10))], ids=str)
@pytest.mark.parametrize("batch", [1, 100])
def test_a_fault_changes_nothing(fault: Fault, batch: int) -> None:
    for at in range(len(STORY) + 1):
        assert credits([*STORY[:at], fault, *STORY[at:]], 2, batch) == TOLD


def test_a_zombie_changes_nothing() -> None:
    assert credits([*STORY[:2], TAKEOVER, STORY[2], ZOMBIE, RESTART, ZOMBIE, *STORY[3:]], 2) == TOLD


def test_each_row_says_what_caused_it() -> None:
    """A hop between dedup and the agent changes nothing about that."""
    run = play(agents(), [touch("click", **PLAYER), event(nth=1), conversion(click_id="c", **PLAYER)])
    for row in run.rows(attribution.ATTRIBUTIONS, "link"):
        assert (row["conversion_ingest_log"], row["conversion_ingest_offset"]) == (7, 2)
        assert (row["ingest_log"], row["ingest_partition"], row["ingest_offset"]) == (7, 0, 2)
        assert row["touch_ingest_offset"] == (0 if row["link"] == "player" else None)


def test_state_ages() -> None:
    """A conversion outlives what may be on its way to it; a touch outlives that by the window."""
    ageing = agents()[2].ageing
    assert ageing is not None
    run = play(agents(), [touch("click", 0, campaign="x", **PLAYER), conversion(**PLAYER)])
    entries = dict(run.state("attribution", 0))
    assert len(entries) == 3  # the click among all and among its campaign's, and the conversion
    behind = AT + attribution.UNDER_WAY + DAY

    def left(received: int) -> int:
        marker = Marker(meta={attribution.RECEIVED: received})
        return sum(ageing.time(key, value) >= ageing.horizon(marker) for key, value in entries.items())

    assert ageing.horizon(Marker()) == NEVER
    assert [left(behind), left(behind + 1), left(behind + WEEK), left(behind + WEEK + 1)] == [3, 2, 2, 0]
