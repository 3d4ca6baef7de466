"""Sessions where an event comes again, as in a rebuild that meets the replays of dead letters."""

from collections import defaultdict
from itertools import permutations
from typing import Any

import pytest

from cli.rebuild import in_order
from runtime.letters import letter_id, replay_headers
from runtime.origin import HEADER, ingest_coordinates, source
from runtime.origin import place as place_of
from runtime.testing import Run
from schemas.keys import identity_key, key, uuid5_bytes, uuid_text
from schemas.registry import EVENT, SESSION
from schemas.topics import DAY, DEAD_LETTERS, EVENTS, INGEST_EVENTS, SESSIONS
from streams.agents import dedup, sessions
from tests.events import T0, event, record_key

MINUTE = 60_000
GAP = 30 * MINUTE


def _deduped() -> Run:
    """Three events of a player, a bet among them, behind dedup."""
    run = Run([dedup.make(7 * DAY), sessions.make(GAP, DAY, 1)], partitions=1)
    bet = {"event_name": "bet", "amount": 5, "currency": "EUR", "transaction_id": "t", "dedup": "t"}
    for n, more in enumerate(({}, bet, {})):
        each = event(player_id="p", event_time=T0 + n * MINUTE, nth=n, **more)
        run.append(INGEST_EVENTS, record_key(each), EVENT.encode(each), each["received_at"])
    run.work("dedup")
    return run


def _replay(run: Run, offset: int) -> None:
    """What `sluice dlq replay --stage sessions` appends for the record of an offset."""
    record = run.records(EVENTS)[offset]
    letter, place = letter_id("sessions", 7, 0, offset), ingest_coordinates(dict(record.headers)["origin"])
    headers = replay_headers(letter, "sessions", record.headers, place, 1)
    run.append(EVENTS, record.key or b"", record.value or b"", record.timestamp, headers)


@pytest.mark.parametrize("offset", range(3))
@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_an_event_that_is_placed_and_replayed_counts_once(offset: int, batch: int) -> None:
    """The agent that made it a letter was mended, and `sluice replay` has taken it from its own record."""
    run = _deduped()
    _replay(run, offset)
    run.work("sessions", batch=batch)
    assert run.records(DEAD_LETTERS) == []
    (row,) = run.rows(SESSIONS, "session_id")
    assert (row["events"], row["event_counts"], row["bets"]) == (3, {"login": 2, "bet": 1}, 1)
    assert row["stake"].keys() == {"EUR"}


def test_where_a_rebuild_takes_over_from_clickhouse_no_letter_says() -> None:
    """Its event was long before what stands around it in the log."""
    run = _deduped()
    _replay(run, 1)
    first, second, third, letter = run.records(EVENTS)
    assert [found and found[2] for found in map(in_order, (r.headers for r in (first, second, third)))] == [0, 1, 2]
    assert in_order(letter.headers) is None


AGAIN: dict[str, Any] = {"event_time": T0 + MINUTE, "nth": 1}
LOGIN: dict[str, Any] = {"event_time": T0 + 2 * MINUTE, "nth": 3}
STOP: dict[str, Any] = {"event_name": "session_stop", "event_time": T0 + MINUTE - 1, "nth": 2}


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize(
    ("name", "stop", "expected"),
    [
        ("session_start", [], [{3}, {5}, {8, 10}]),
        ("session_end", [], [{3}, {5}, {8}, {10}]),
        ("session_start", [(9, STOP)], [{9, 3}, {5}, {8, 10}]),
        ("session_end", [(9, STOP)], [{9, 3}, {5}, {8}, {10}]),
    ],
)
def test_sessions_that_begin_with_one_event_accepted_again_have_ids_of_their_own(
    name: str, stop: list[tuple[int, dict[str, Any]]], expected: list[set[int]], batch: int
) -> None:
    """In whatever order its sightings come, and what stands before and behind them."""
    again = AGAIN | {"event_name": name}
    ids = set()
    for order in permutations([(3, again), (5, again), (8, again), (10, LOGIN), *stop]):
        run = Run([sessions.make(GAP, DAY, 1)], partitions=1)
        for partition, what in order:  # of its own each, since of one nobody takes what came before
            each = event(player_id="p", **what)
            headers = [(HEADER, source("dedup", 0, 7, partition) + place_of(0, 0))]
            run.append(EVENTS, record_key(each), EVENT.encode(each), each["received_at"], headers)
        run.work("sessions", batch=batch)
        assert run.records(DEAD_LETTERS) == []
        found = _assigned(run)
        assert sorted(map(sorted, found.values())) == sorted(map(sorted, expected))
        assert {row["session_id"]: row["events"] for row in run.rows(SESSIONS, "session_id")} == {
            session: len(places) for session, places in found.items()
        }
        ids.add(frozenset(found))
    assert len(ids) == 1
    first = event(player_id="p", **again)
    by_rule = uuid5_bytes(key(identity_key("acme", "p", None), first["event_time"], uuid_text(first["event_id"])))
    assert (by_rule in found) == (not stop)


def _assigned(run: Run) -> dict[bytes, set[int]]:
    """Ingest partitions of the events of each session."""
    owners: dict[int, tuple[int, bytes]] = {}
    for record in run.records(SESSIONS):
        row = SESSION.decode(record.value or b"")
        for place in row["assigned"]:
            owner = owners.get(place["partition"], (-1, b""))
            if row["offset"] >= owner[0]:
                owners[place["partition"]] = (row["offset"], row["session_id"])
    found = defaultdict(set)
    for partition, (_, session) in owners.items():
        found[session].add(partition)
    return found
