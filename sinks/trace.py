"""Where an event is: every row that bears an id, and every record on its way that does.

An id is an event_id, an idempotency key or a transaction_id, whichever matches.

Errors: KafkaError, OSError; ClickHouse's.
"""

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from clickhouse_connect.driver.client import Client

from runtime.kafka import LogReader
from runtime.positions import Positions
from runtime.settings import Settings
from runtime.words import counted
from runtime.worker import GROUP as WORKER
from schemas.codec import DecodeError
from schemas.keys import CONVERSIONS, uuid_text
from schemas.keys import TOUCHES as TOUCH_NAMES
from schemas.registry import EVENT, RecordType
from schemas.topics import BETS, CONFLICTS, DUPLICATES, EVENTS, INGEST_EVENTS, TOUCHES, WAGERS, Topic, by_name
from sinks.clickhouse import named_rows
from sinks.sink import GROUP as SINK

Place = tuple[int | None, int | None, int | None]
"""In ingest.events: incarnation, partition, offset."""
MOST = 100
"""Rows of one table that are shown."""
FARTHEST = 100_000
"""Records at the end of a partition that are looked through, if so many wait there."""
_EVENT = """
SELECT event_id, tenant, dialect, event_name, received_at, stored_at, is_late, session_id, transaction_id,
    parent_transaction_id, idempotency_key, ingest_log, ingest_partition, ingest_offset
FROM events
WHERE {condition} ORDER BY received_at LIMIT {most:UInt32}
"""
_REPEAT = """
SELECT event_id, tenant, dialect, event_name, received_at, ingest_partition, ingest_offset, first_ingest_partition,
    first_ingest_offset
FROM {table} WHERE {condition} ORDER BY received_at LIMIT {most:UInt32}
"""
_ANY_ID = "(idempotency_key = {id:String} OR transaction_id = {id:String}{uuid})"
_LETTERS = r"""
SELECT letter_id, stage, topic, partition, offset, ingest_log, ingest_partition, ingest_offset, error, fate, timestamp,
    hex(payload) AS value
FROM dead_letters
WHERE position(payload, unhex({avro:String})) > 0
    OR ({hex:String} != '' AND position(payload, unhex({hex:String})) > 0)
    OR (ingest_log, ingest_partition, ingest_offset) IN {places:Array(Tuple(Int64, UInt32, UInt64))}
    OR (position(payload, {id:String}) > 0
        AND match(payload, concat('(^|[^\\w-])', regexpQuoteMeta({id:String}), '($|[^\\w-])')))
ORDER BY (ingest_log, ingest_partition, ingest_offset) IN {places:Array(Tuple(Int64, UInt32, UInt64))} DESC, timestamp
LIMIT {most:UInt32}
"""
_REJECTIONS = r"""
SELECT received_at, tenant, dialect, route, status, errors, detail FROM rejections
WHERE (position(body, {id:String}) > 0
        AND match(body, concat('(^|[^\\w-])', regexpQuoteMeta({id:String}), '($|[^\\w-])')))
    OR (status IN (409, 422) AND arrayExists(
        (field, message) -> lower(field) IN ('idempotency-key', 'idempotency_key')
            AND substring(message, position(message, ': ') + 2) = {id:String},
        arrayMap(fault -> JSONExtractString(fault, 'field'), JSONExtractArrayRaw(errors)),
        arrayMap(fault -> JSONExtractString(fault, 'message'), JSONExtractArrayRaw(errors))))
ORDER BY received_at LIMIT {most:UInt32}
"""
_BETS = """
SELECT tenant, bet_id, status, pattern, toString(stake) AS stake, toString(payout) AS payout, anomalies, placed_at,
    settled_at
FROM bets
WHERE bet_id = {id:String} OR (tenant, bet_id) IN {bets:Array(Tuple(String, String))}
ORDER BY tenant, bet_id LIMIT {most:UInt32}
"""
_SESSIONS = """
SELECT session_id, tenant, player_id, device_id, started_at, ended_at, end_reason, events FROM sessions
WHERE session_id IN {sessions:Array(UUID)} ORDER BY started_at LIMIT {most:UInt32}
"""
_ATTRIBUTIONS = """
SELECT conversion_id, conversion_name, converted_at, matched_by, touch_id, touch_name, touched_at, campaign
FROM attributions WHERE conversion_id IN {events:Array(UUID)} OR touch_id IN {events:Array(UUID)}
ORDER BY converted_at LIMIT {most:UInt32}
"""


@dataclass(frozen=True)
class Step:
    """A stage that the event, or something made of it, has reached."""

    stage: str
    what: str
    """A sentence: what happened there, and whether it stopped there."""
    row: dict[str, Any]


class Stored:
    """What ClickHouse knows."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def steps(self, wanted: str) -> Iterator[Step]:
        """Every row that bears the id, or was made of one that does, in the order of the way."""
        identity = _uuid(wanted)
        condition = _ANY_ID.replace("{uuid}", " OR event_id = {uuid:UUID}" if identity else "")
        events = self._rows(_EVENT.replace("{condition}", condition), id=wanted, uuid=identity)
        places = [_place(row) for row in events]
        for row in events:
            late = "; late, so in no session" if row["is_late"] else ""
            yield Step("events", f"stored {_delay(row)} after it was received{late}", row)
        for table, said in (("duplicates", "the same payload"), ("conflicts", "another payload")):
            sql = _REPEAT.replace("{table}", table).replace("{condition}", condition)
            for row in self._rows(sql, id=wanted, uuid=identity):
                first = f"ingest.events-{row['first_ingest_partition']}@{row['first_ingest_offset']}"
                yield Step(table, f"dropped by dedup: the key was seen before at {first} with {said}", row)
        yield from self._derived(wanted, events)
        for row in self._letters(wanted, identity, places):
            yield Step("dead_letters", f"stopped at {row['stage']} ({row['fate']}): {row['error']}", row)
        for row in self._rows(_REJECTIONS, id=wanted):
            yield Step("rejections", f"refused by the gateway with {row['status']}: {row['detail']}", row)

    def _letters(self, wanted: str, identity: UUID | None, places: list[Place]) -> Iterator[dict[str, Any]]:
        """Of the event's record or of one that bears the id; what merely has the text in it was found with them."""
        found = self._rows(_LETTERS, id=wanted, hex=identity.hex if identity else "", avro=_avro(wanted), places=places)
        for row in found:
            payload = bytes.fromhex(row.pop("value") or "")
            if _place(row) in places or _is_about(row["topic"], payload, wanted):
                yield row

    def _derived(self, wanted: str, events: list[dict[str, Any]]) -> Iterator[Step]:
        bets = [(row["tenant"], _bet_id(row)) for row in events if _bet_id(row)]
        for row in self._rows(_BETS, id=wanted, bets=bets):
            odd = f" ({', '.join(row['anomalies'])})" if row["anomalies"] else ""
            yield Step("bets", f"bet {row['bet_id']} is {row['status']}{odd}", row)
        sessions = [str(row["session_id"]) for row in events if row["session_id"]]
        for row in self._rows(_SESSIONS, sessions=sessions) if sessions else []:
            yield Step("sessions", f"in a session of {counted(row['events'], 'event')}, {row['end_reason']}", row)
        ids = [str(row["event_id"]) for row in events if row["event_name"] in TOUCH_NAMES | CONVERSIONS]
        for row in self._rows(_ATTRIBUTIONS, events=ids) if ids else []:
            credit = (
                f"credited to a {row['touch_name']} by {row['matched_by']}" if row["matched_by"] else "unattributed"
            )
            yield Step("attributions", f"the {row['conversion_name']} is {credit}", row)

    def _rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        given = {name: value for name, value in parameters.items() if value is not None}
        return named_rows(self._client.query(sql, parameters=given | {"most": MOST}))


class UnderWay:
    """What Kafka knows."""

    def __init__(self, settings: Settings) -> None:
        self._positions = Positions(settings.kafka_address())
        self._kafka = LogReader(settings.kafka_address())

    async def steps(self, wanted: str) -> AsyncIterator[Step]:
        """Records that bear the id between two stages: what the reader of each topic has not committed yet."""
        for topic, group in _hops():
            committed = await self._positions.committed(group)
            for (_, partition), end in (await self._positions.ends([topic.name])).items():
                start = committed.get((topic.name, partition), 0)
                begin, _ = await self._kafka.bounds(topic.name, partition)
                first = max(start, begin, end - FARTHEST)
                async for offset, value in self._kafka.read(topic.name, partition, first, end):
                    fields = _bears(topic, value, wanted)
                    if fields is not None:
                        place = f"{topic.name}-{partition}@{offset}"
                        yield Step(topic.name, f"at {place}, waiting for the {group}, which stands at {start}", fields)

    async def close(self) -> None:
        """Closes the connections to Kafka."""
        await self._positions.close()
        await self._kafka.stop()


def _hops() -> Iterable[tuple[Topic, str]]:
    """Topics that carry an event's ids, with the group that takes them on."""
    yield INGEST_EVENTS, WORKER
    yield WAGERS, WORKER
    yield TOUCHES, WORKER
    yield EVENTS, SINK
    yield DUPLICATES, SINK
    yield CONFLICTS, SINK
    yield BETS, SINK


def _place(row: dict[str, Any]) -> Place:
    return row["ingest_log"], row["ingest_partition"], row["ingest_offset"]


def _avro(text: str) -> str:
    """A string as Avro has it, in hex: behind its length, so that it is no part of a longer one."""
    value, length, prefix = text.encode(), 2 * len(text.encode()), b""
    while length > 127:
        length, prefix = length >> 7, prefix + bytes([length & 127 | 128])
    return (prefix + bytes([length]) + value).hex()


def _bears(topic: Topic, value: bytes, wanted: str) -> dict[str, Any] | None:
    """The record's ids, if the wanted one is among them."""
    fields = _ids(topic, value)
    identity = _uuid(wanted)
    same = {wanted, str(identity)} if identity else {wanted}
    names = ("event_id", "transaction_id", "idempotency_key", "bet_id")
    return fields if fields and same & {fields.get(name) for name in names} else None


def _ids(topic: Topic, value: bytes) -> dict[str, Any] | None:
    """The record's ids, and what it is; None where it cannot be read."""
    kind: RecordType = topic.value or EVENT
    try:
        record = kind.decode(value)
    except DecodeError:
        return None
    names = ("event_id", "transaction_id", "parent_transaction_id", "idempotency_key", "bet_id", "tenant", "event_name")
    fields = {name: record[name] for name in names if name in record}
    if "event_id" in fields:
        fields["event_id"] = uuid_text(fields["event_id"])
    return fields


def _is_about(topic: str, payload: bytes, wanted: str) -> bool:
    """Whether a dead letter's record bears the id, its own or its bet's.

    Of one that cannot be read or has none: whether it holds the id as Avro does, or the word.
    """
    known = by_name().get(topic)
    fields = _ids(known, payload) if known else None
    if known and fields and fields.keys() & {"event_id", "bet_id"}:
        return fields.get("parent_transaction_id") == wanted or _bears(known, payload, wanted) is not None
    identity = _uuid(wanted)
    if bytes.fromhex(_avro(wanted)) in payload or (identity and identity.bytes in payload):
        return True
    return re.search(rb"(^|[^\w-])" + re.escape(wanted.encode()) + rb"($|[^\w-])", payload) is not None


def _bet_id(event: dict[str, Any]) -> str | None:
    """The bet that the event places or settles."""
    id: str | None = event["transaction_id" if event["event_name"] == "bet" else "parent_transaction_id"]
    return id if event["event_name"] in ("bet", "win", "loss") else None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _delay(row: dict[str, Any]) -> str:
    received, stored = row["received_at"], row["stored_at"]
    return f"{(stored - received).total_seconds():.3f} s"
