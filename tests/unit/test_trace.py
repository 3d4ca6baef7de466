"""Which dead letters `sluice trace` takes for an event's."""

import pytest

from schemas.keys import uuid_text
from schemas.registry import EVENT
from sinks.trace import _is_about
from tests.events import event

LONG = "b" * 36
"""Avro has its length before it as a letter, so that it is no word there."""
BET = event(event_name="bet", transaction_id=LONG, player_id="p1", currency="EUR", dedup="bet")
CUT = EVENT.encode(BET)[: EVENT.encode(BET).index(LONG.encode()) + len(LONG) + 1]
"""Behind the id."""
WIN = event(event_name="win", transaction_id="w1", parent_transaction_id=LONG, dedup="win")


@pytest.mark.parametrize(
    ("topic", "payload", "wanted", "is_about"),
    [
        ("events", EVENT.encode(BET), LONG, True),
        ("events", EVENT.encode(BET), uuid_text(BET["event_id"]), True),
        ("events", EVENT.encode(BET), uuid_text(BET["event_id"]).upper(), True),
        ("events", EVENT.encode(BET), LONG[1:], False),
        ("events", EVENT.encode(BET), "EUR", False),
        ("events", EVENT.encode(BET), "p1", False),
        ("wagers", EVENT.encode(WIN), LONG, True),
        ("events", CUT, LONG, True),
        ("events", CUT, LONG[1:], False),
        ("events", CUT, uuid_text(BET["event_id"]), True),
        ("of an agent of one's own", b'{"id": "x-1"}', "x-1", True),
        ("of an agent of one's own", b'{"id": "x-1"}', "x", False),
    ],
)
def test_a_letter_is_about_an_id_that_its_record_bears(topic: str, payload: bytes, wanted: str, is_about: bool) -> None:
    assert _is_about(topic, payload, wanted) is is_about
