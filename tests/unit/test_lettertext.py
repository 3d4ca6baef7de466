"""A dead letter's record as people read it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from cli.lettertext import lines, shown
from schemas import money
from schemas.registry import EVENT, SESSION
from tests.events import T0, event

WHEN = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=T0)


def _letter(topic: str, payload: bytes) -> dict[str, Any]:
    return {"topic": topic, "key": b"k", "payload": payload, "headers": [("n", b"v")], "stored_at": WHEN}


def _said(letter: dict[str, Any]) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in lines(letter) if len(line.split()) > 1)


def test_each_field_of_an_event_is_readable() -> None:
    given = event(event_name="deposit", amount=5, dedup="d", player_id="p")
    letter = shown(_letter("ingest.events", EVENT.encode(given)))
    said = _said(letter)
    assert said["fingerprint"] == given["fingerprint"].hex()
    assert said["event_time"] == said["received_at"] == said["stored_at"] == str(WHEN)
    assert said["event_id"] == str(UUID(bytes=given["event_id"]))
    assert said["payload"] == given["payload"].decode()
    assert float(said["amount"]) == 5
    record = orjson.loads(orjson.dumps(letter))["record"]  # as --json prints it
    assert (record["event_time"], record["fingerprint"]) == (WHEN.isoformat(), given["fingerprint"].hex())


def test_what_is_in_lists_and_maps_is_readable() -> None:
    given: dict[str, Any] = dict.fromkeys(("events", "bets", "active_ms", "gap_ms", "epoch", "partition", "offset"), 1)
    given |= dict.fromkeys(("ingest_log", "ingest_partition", "ingest_offset"), 1)
    given |= {"session_id": bytes(16), "identity": "i", "tenant": "t", "player_id": "p", "device_id": None}
    given |= {"started_at": T0, "ended_at": T0, "end_reason": "timeout", "withdrawn": False, "event_counts": {"bet": 1}}
    given |= {"deposits": {}, "withdrawals": {}, "stake": {"EUR": money.to_bytes(5 * money.ONE)}}
    given["assigned"] = [{"log": 1, "partition": 2, "offset": 3, "received_at": T0}]
    said = _said(shown(_letter("sessions", SESSION.encode(given))))
    assert float(orjson.loads(said["stake"])["EUR"]) == 5
    (place,) = orjson.loads(said["assigned"])
    assert place == {"log": 1, "partition": 2, "offset": 3, "received_at": WHEN.isoformat()}
    assert orjson.loads(said["headers"]) == [{"key": "n", "value": "dg=="}]


def test_a_number_that_is_no_time_stays_a_number() -> None:
    letter = _letter("events", EVENT.encode(event(player_id="p") | {"event_time": 1 << 62}))
    assert _said(shown(letter))["event_time"] == str(1 << 62)
