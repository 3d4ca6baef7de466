"""State that can have no effect any more goes away, a little with every batch."""

import pytest

from runtime.partition import ROUND
from runtime.testing import MemoryStore, Run
from schemas.registry import EVENT
from schemas.topics import EVENTS, INGEST_EVENTS
from streams.agents import dedup
from tests.events import T0, event, record_key

WINDOW = 6 * ROUND
STEP = ROUND // 50
"""Stream time between two events: 300 of them fill the window."""


def test_dedup_is_bounded_by_its_window() -> None:
    run, largest, count = Run([dedup.make(WINDOW)], partitions=1), 0, 3000
    for start in range(0, count, 100):
        for n in range(start, start + 100):
            each = event(nth=n, dedup=n, event_time=T0 + n * STEP, received_at=T0 + n * STEP)
            run.append(INGEST_EVENTS, record_key(each), EVENT.encode(each), each["received_at"])
        run.work("dedup", batch=25)
        largest = max(largest, sum(1 for _ in run.state("dedup", 0)))
    live = WINDOW // STEP
    assert live <= largest <= 2 * live
    assert len(run.records(EVENTS)) == count


def test_what_is_within_the_window_stays() -> None:
    run = Run([dedup.make(WINDOW)], partitions=1)
    for n in (*range(250), 0):  # the first again, with nearly a window of others behind it
        at = T0 + (n or 250 * len(run.records(INGEST_EVENTS)) // 251) * STEP
        each = event(nth=n, dedup=n, event_time=T0, received_at=at)
        run.append(INGEST_EVENTS, record_key(each), EVENT.encode(each), at)
        run.work("dedup")
    assert len(run.records(EVENTS)) == 250


def test_a_state_in_which_nothing_can_have_expired_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it costs is paid by every event."""
    looked, entries = 0, MemoryStore.entries

    def counted(self: MemoryStore, start: bytes, count: int) -> list[tuple[bytes, bytes]]:
        nonlocal looked
        found = entries(self, start, count)
        looked += len(found)
        return found

    monkeypatch.setattr(MemoryStore, "entries", counted)
    run, rounds = Run([dedup.make(100 * ROUND)], partitions=1), 10
    for n in range(rounds * ROUND // STEP):
        each = event(nth=n, dedup=n, event_time=T0 + n * STEP, received_at=T0 + n * STEP)
        run.append(INGEST_EVENTS, record_key(each), EVENT.encode(each), each["received_at"])
    run.work("dedup", batch=25)
    assert 0 < looked <= 25
