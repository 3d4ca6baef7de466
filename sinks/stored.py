"""Stored events as records again, for a rebuild whose log has lost its beginning.

An event in ClickHouse has every field of its record but the fingerprint (a hash of the payload stands for it) and the
properties (the payload has them exactly); nothing that an agent which can be rebuilt writes may follow from either.

Errors: ClickHouse's.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any

from clickhouse_connect.driver.client import Client

from runtime.agent import Record
from runtime.origin import CAUSE, place, source
from schemas import money
from schemas.keys import CONVERSIONS, bet_key, identity_key, link_keys, partition_of
from schemas.keys import TOUCHES as TOUCH_NAMES
from schemas.registry import EVENT
from schemas.topics import EVENTS, TOUCHES, WAGERS, Topic

_APART = ("fingerprint", "identity", "bet_key", "properties")
FIELDS = [field["name"] for field in EVENT.latest.schema["fields"] if field["name"] not in _APART]
_TIMES = ("event_time", "received_at")
_ODD = r"""[\x00-\x1f"\\/\x{2028}\x{2029}]"""
"""Characters that ClickHouse may write otherwise into a key than ``schemas.keys`` does; such rows are judged here."""
_SQL = f"""
SELECT ingest_log, ingest_partition, ingest_offset,
    {", ".join(f"toUnixTimestamp64Milli({name})" if name in _TIMES else name for name in FIELDS)}
FROM events
WHERE {{wanted}}
"""  # noqa: S608 - made of constants
_WANTED = {
    EVENTS.name: """
        (player_id IS NULL AND device_id IS NULL) OR match(concat(tenant, ifNull(player_id, device_id)), {odd:String})
        OR xxHash64(concat('["', tenant, '","', if(player_id IS NULL, 'device', 'player'), '","',
            ifNull(player_id, device_id), '"]')) % {partitions:UInt32} = {partition:UInt32}""",
    WAGERS.name: """
        event_name IN ('bet', 'win', 'loss') AND amount IS NOT NULL AND (
            match(concat(tenant, if(event_name = 'bet', transaction_id, parent_transaction_id)), {odd:String})
            OR xxHash64(
                concat('["', tenant, '","', if(event_name = 'bet', transaction_id, parent_transaction_id), '"]')
            ) % {partitions:UInt32} = {partition:UInt32})""",
    TOUCHES.name: f"event_name IN ({', '.join(repr(name) for name in sorted(TOUCH_NAMES | CONVERSIONS))})",
}
"""The rows of one partition of the topic, and a few more."""

Coordinates = tuple[int, int, int]
"""(log, partition, offset) in ingest.events."""


def records(
    client: Client, topic: Topic, partition: int, partitions: int, offset: int
) -> Iterator[tuple[Coordinates, Record]]:
    """Stored events as records of one partition of ``topic``, all at ``offset``, with their ingest coordinates.

    In no particular order; ClickHouse is read as they are taken.
    """
    keys_of, index = _KEYS[topic.name], _INDEX.get(topic.name, 0)
    parameters = {"odd": _ODD, "partition": partition, "partitions": partitions}
    sql = _SQL.replace("{wanted}", _WANTED[topic.name])
    with client.query_rows_stream(sql, parameters=parameters, query_formats={"String": "bytes"}) as rows:
        for log, ingest_partition, ingest_offset, *values in rows:
            event = _event(dict(zip(FIELDS, values, strict=True)))
            origin = source("dedup", 0, log, ingest_partition) + place(ingest_offset, index)
            for key in keys_of(event):
                if partition_of(key, partitions) == partition:
                    stamp, value = event["received_at"], EVENT.encode(event)
                    record = Record(topic.name, partition, offset, stamp, key, value, ((CAUSE, origin),))
                    yield (log, ingest_partition, ingest_offset), record


def _event(row: dict[str, Any]) -> dict[str, Any]:
    found = {name: _plain(name, value) for name, value in row.items()}
    tenant, name, amount = found["tenant"], found["event_name"], found["amount"]
    found["fingerprint"] = sha256(found["payload"]).digest()[:16]
    found["identity"] = identity_key(tenant, found["player_id"], found["device_id"])
    found["bet_key"] = bet_key(tenant, name, amount, found["transaction_id"], found["parent_transaction_id"])
    found["properties"] = "{}"
    return found


def _plain(name: str, value: Any) -> Any:
    if name == "payload" or value is None or isinstance(value, bool | int):
        return value
    if name == "event_id":
        return value.bytes
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)
        unscaled = int("".join(map(str, digits))) * 10 ** (exponent + money.SCALE)
        return money.to_bytes(-unscaled if sign else unscaled)
    return value.decode() if isinstance(value, bytes) else value


_LINKED = ("event_name", "event_id", "tenant", "click_id", "player_id", "device_id")
_KEYS: Mapping[str, Callable[[dict[str, Any]], list[bytes]]] = {
    EVENTS.name: lambda event: [event["identity"].encode() or event["event_id"]],
    WAGERS.name: lambda event: [event["bet_key"].encode()] if event["bet_key"] else [],
    TOUCHES.name: lambda event: [key.encode() for key in link_keys(*(event[name] for name in _LINKED))],
}
"""The keys under which the topic has an event."""
_INDEX = {WAGERS.name: 1}
"""Which of dedup's outputs for an event it is, or follows from (streams/agents/dedup.py)."""


def can_rebuild(topic: Topic) -> bool:
    """Whether records of this topic can be had from stored events."""
    return topic.name in _KEYS
