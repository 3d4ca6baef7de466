"""Pairing by a list of wagers: what an event that is accepted again after its dedup window does to its bet."""

from typing import Any

import pytest

from runtime.origin import CAUSE, HEADER, place, source
from runtime.testing import Run
from schemas import money
from schemas.registry import BET, EVENT
from schemas.topics import BETS, WAGERS
from streams.agents import pairing
from tests.events import event


def bet(**given: Any) -> dict[str, Any]:
    return event(event_name="bet", transaction_id="b", currency="USD", dedup="b", **{"amount": 5, **given})


def row(wagers: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """The bet's row after these wagers, each behind its offset in ingest.events."""
    run = Run([pairing.make()], partitions=1)
    for n, (offset, each) in enumerate(wagers):
        headers = [
            (HEADER, source("test", 0, 7, 0) + place(n, 0)),
            (CAUSE, source("dedup", 0, 7, 0) + place(offset, 1)),
        ]
        run.append(WAGERS, each["bet_key"].encode(), EVENT.encode(each), each["received_at"], headers)
    run.work("pairing", batch=1)
    found: dict[str, Any] = BET.decode(run.records(BETS)[-1].value or b"")
    return found


def test_a_wager_costs_no_look_at_all_others_of_its_bet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that fills parent_transaction_id with one word has one bet of all its settlements."""
    looks = 0

    def counted(wager: pairing.Wager) -> tuple[int, bytes, bytes]:
        nonlocal looks
        looks += 1
        return wager.event_time, wager.event_id, wager.coordinates

    monkeypatch.setattr(pairing, "_order", counted)
    known = pairing.Bet(bytes(8), [])
    win = pairing.Wager(0, b"", bytes(16), b"win", None, None, b"\1", None, None, None, None, None, None, bytes(20))
    for n in range(1000):
        known.add(win._replace(event_time=n * 7919 % 1000, event_id=bytes([n % 251] * 16)))
    assert known.wagers == sorted(known.wagers, key=counted)
    assert looks < 50_000


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_event_accepted_again_is_one_bet_also_after_a_rebuild_from_clickhouse(order: tuple[int, int]) -> None:
    """Which knows no fingerprint (sinks/stored.py), while the log's tail and what comes next have theirs."""
    wagers = [(3, {**bet(), "fingerprint": bytes(16)}), (9, bet())]
    found = row([wagers[i] for i in order])
    assert (found["anomalies"], found["bet_ingest_offset"]) == ([], 3)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("first", [5, 7])
def test_of_two_bets_with_one_time_and_id_the_first_accepted_counts(order: tuple[int, int], first: int) -> None:
    """Whatever their fingerprints, so that a rebuild chooses the same."""
    wagers = [(3, bet(amount=first)), (9, bet(amount=12 - first))]
    found = row([wagers[i] for i in order])
    assert (found["anomalies"], found["bet_ingest_offset"]) == (["multiple_bets"], 3)
    assert money.from_bytes(found["stake"]) == first * money.ONE
