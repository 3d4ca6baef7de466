"""Sessions where an event comes again, as in a rebuild that meets the replays of dead letters."""

import pytest

from cli.rebuild import in_order
from runtime.letters import letter_id, replay_headers
from runtime.origin import ingest_coordinates
from runtime.testing import Run
from schemas.registry import EVENT
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
