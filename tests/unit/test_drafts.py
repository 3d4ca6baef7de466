"""Dedup keys by their rules, ids, what the gateway's index remembers, and how large a record can become."""

import json

import orjson
import pytest

from gateway.dialects import adwize, cloudevents, gamerebellion, revosurge, scrip
from gateway.dialects.base import Accepted, Fault, Handler, Refusal, Request
from gateway.drafts import BLANK, refusal
from schemas.keys import key, uuid5_bytes
from schemas.registry import EVENT
from schemas.topics import MAX_MESSAGE_BYTES

NOW = 1_767_225_600_000
LOGIN = {"client_user_id": "u", "event_name": "visit", "timestamp": 1}
BET = {**LOGIN, "event_name": "bet", "amount": 1, "currency": "EUR", "transaction_id": "t"}
ORDER = {
    "event_data": {"transaction_id": "t"},
    "event_timestamp": "2024-01-15T10:30:00Z",
    "idempotency_key": "k",
    "program_id": "550e8400-e29b-41d4-a716-446655440000",
    "external_id": "u",
}


def send(handle: Handler, body: object, route: str = "POST /x", **headers: str) -> Accepted:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    accepted = handle(Request(route, {}, named, raw, "acme", NOW))
    assert isinstance(accepted, Accepted)
    return accepted


def keys(accepted: Accepted) -> list[object]:
    return [None if event["dedup_key"] is None else json.loads(event["dedup_key"]) for event in accepted.events]


def test_rule_1_is_scrips_own_key_whatever_else_there_is() -> None:
    accepted = send(scrip.ingest, ORDER, idempotency_key="\0 not even a key")
    assert keys(accepted) == [["acme", "scrip", "program", ORDER["program_id"], "k"]]
    assert accepted.events[0]["idempotency_key"] == "k"
    assert accepted.idempotency is not None
    assert accepted.idempotency.conflict == 409
    assert accepted.idempotency.key == accepted.events[0]["dedup_key"]
    assert accepted.idempotency.fingerprint == accepted.events[0]["fingerprint"]


def test_rule_2_is_name_and_transaction() -> None:
    assert keys(send(revosurge.single, BET)) == [["acme", "revosurge", "transaction", "bet", "t"]]
    assert keys(send(revosurge.single, BET, idempotency_key="h")) == [["acme", "revosurge", "transaction", "bet", "t"]]
    data = {"source": "s", "event_type": "x", "data": {"transaction_id": "t"}}
    assert keys(send(adwize.ingest, [data])) == [["acme", "adwize", "transaction", "x", "t"]]


def test_rule_3_is_the_header_and_in_a_batch_the_index() -> None:
    assert keys(send(revosurge.single, LOGIN, idempotency_key="h")) == [["acme", "revosurge", "header", "h"]]
    batch = send(revosurge.batch, [LOGIN, BET, LOGIN], idempotency_key="h")
    assert keys(batch)[0] == ["acme", "revosurge", "header", "h", 0]
    assert keys(batch)[2] == ["acme", "revosurge", "header", "h", 2]
    assert [event["idempotency_key"] for event in batch.events] == ["h", "h", "h"]


def test_rule_4_is_revosurges_fingerprint() -> None:
    accepted = send(revosurge.single, LOGIN)
    assert keys(accepted) == [["acme", "revosurge", "fingerprint", accepted.events[0]["fingerprint"].hex()]]
    again = send(revosurge.single, b' {"timestamp":1 , "event_name":"visit","client_user_id":"u"}')
    assert again.events[0]["event_id"] == accepted.events[0]["event_id"]
    assert send(revosurge.single, {**LOGIN, "x": 1}).events[0]["event_id"] != accepted.events[0]["event_id"]


def test_rule_5_is_none() -> None:
    event = {"event_type": "x", "payload": {}}
    one, other = send(gamerebellion.track, event).events[0], send(gamerebellion.track, event).events[0]
    assert one["dedup_key"] is None
    assert one["event_id"] != other["event_id"]
    assert one["event_id"][6] >> 4 == 7
    assert one["fingerprint"] == other["fingerprint"]


def test_ids_are_made_of_keys() -> None:
    event = send(revosurge.single, BET).events[0]
    assert event["event_id"] == uuid5_bytes(key("acme", "revosurge", "transaction", "bet", "t"))
    assert event["identity"] == key("acme", "player", "u")
    assert event["bet_key"] == key("acme", "t")


def test_an_empty_transaction_is_none() -> None:
    accepted = send(revosurge.single, {**LOGIN, "transaction_id": ""})
    assert accepted.events[0]["transaction_id"] is None
    assert keys(accepted)[0][2] == "fingerprint"  # type: ignore[index]


def test_the_index_knows_the_header_by_the_whole_request() -> None:
    one = send(revosurge.batch, [LOGIN, BET], idempotency_key="h").idempotency
    other = send(revosurge.batch, [BET, LOGIN], idempotency_key="h").idempotency
    none = send(revosurge.batch, [], idempotency_key="h").idempotency
    single = send(revosurge.single, LOGIN, idempotency_key="h").idempotency
    assert one is not None
    assert other is not None
    assert none is not None
    assert single is not None
    assert one.key == other.key == none.key == single.key == key("acme", "revosurge", "header", "h")
    assert len({one.fingerprint, other.fingerprint, none.fingerprint, single.fingerprint}) == 4
    assert (one.conflict, one.sent) == (422, "h")
    assert send(revosurge.single, LOGIN).idempotency is None


def test_the_header_is_judged_with_the_body() -> None:
    with pytest.raises(Refusal) as caught:
        send(revosurge.single, {}, idempotency_key="")
    assert [fault.field for fault in caught.value.faults] == [
        "Idempotency-Key", "client_user_id", "event_name", "timestamp",
    ]  # fmt: skip


def test_routes_have_fingerprints_of_their_own() -> None:
    one = send(revosurge.single, LOGIN, "POST /v2/s2s/event").events[0]
    other = send(revosurge.batch, [LOGIN], "POST /v2/s2s/batch").events[0]
    assert one["fingerprint"] != other["fingerprint"]


def test_an_event_has_every_field_of_the_schema() -> None:
    event = send(revosurge.single, BET).events[0]
    assert list(event) == list(BLANK), "and in its order"
    assert EVENT.decode(EVENT.encode(event)) == event


@pytest.mark.parametrize("char", ["x", '\\"', "\\u0001", "é"])
def test_the_largest_event_fits_every_topic(char: str) -> None:
    long = char.encode() * ((1024 * 1024 - 300) // len(char.encode()))
    bodies: list[tuple[Handler, bytes]] = [
        (revosurge.single, b'{"client_user_id":"u","event_name":"bet","timestamp":1,"amount":1,"currency":"E",'
                           b'"transaction_id":"' + long + b'"}'),
        (revosurge.single, b'{"client_user_id":"' + long + b'","event_name":"x","timestamp":1}'),
        (revosurge.single, b'{"client_user_id":"u","event_name":"x","timestamp":1,"x":"' + long + b'"}'),
        (gamerebellion.track, b'{"event_type":"' + long + b'","payload":{"transaction_id":"t"}}'),
        (adwize.ingest, b'[{"source":"' + long + b'","event_type":"x","data":{}}]'),
    ]  # fmt: skip
    for handle, body in bodies:
        event = send(handle, body).events[0]
        size = len(EVENT.encode(event)) + len((event["dedup_key"] or "").encode())
        assert size < 0.9 * MAX_MESSAGE_BYTES


def test_cloudevents_are_known_by_source_and_id() -> None:
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "bet", "data": {"transaction_id": "t"}}
    accepted = send(cloudevents.ingest, event, content_type="application/cloudevents+json", idempotency_key="h")
    assert keys(accepted) == [["acme", "cloudevents", "event", "s", "1"]]


def test_a_refusal_says_the_first_fault_and_how_many_more() -> None:
    assert refusal([Fault("", "must be an object")]).detail == "the body must be an object"
    assert refusal([Fault("a", "is required", 3), Fault("b", "x")]).detail == "event 3: a is required (and 1 more)"
    assert refusal([Fault("", "must be an object", 3)]).detail == "event 3 must be an object"


def test_every_fault_of_the_largest_batch_is_told() -> None:
    """Every field of every event is wrong."""
    fields = revosurge.RevoSurgeEvent.model_fields
    with pytest.raises(Refusal) as refused:
        send(revosurge.batch, [{name: [] for name in fields}] * 1000)
    told = {(fault.index, fault.field) for fault in refused.value.faults}
    assert told == {(index, name) for index in range(1000) for name in fields}


def test_faults_with_long_names_have_an_end() -> None:
    flaws = ",".join(['"\\u0000"'] * 20)
    body = "[" + ",".join([f'{{"{"𝄞" * 198}":[{flaws}]}}'] * 1000) + "]"
    assert len(body.encode()) < 1024 * 1024
    with pytest.raises(Refusal) as refused:
        send(revosurge.batch, body.encode())
    assert len(refused.value.faults) > 1000
    assert len(refused.value.body()) < MAX_MESSAGE_BYTES
