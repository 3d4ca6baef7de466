"""Every feed of the sink: two that are more than a row per record, and all others by the general rule."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from clickhouse_connect.datatypes.registry import get_from_name

from runtime.forgotten import Forgotten
from runtime.origin import PACKED, ingest_coordinates, packed_coordinates
from runtime.settings import Settings
from schemas.registry import EVENT, SESSION
from schemas.topics import EVENTS, SESSIONS, TOPICS
from sinks.avro import AHEAD
from sinks.feed import VERSION, Feed, RecordFeed, Schema, origin_of, stored
from sinks.table import Column, Columns, Table
from sinks.wire import Uuid, avro_value

_RECEIVED = next(
    [part["name"] for part in field["type"]["items"]["fields"]].index("received_at")
    for field in SESSION.latest.schema["fields"]
    if field["name"] == "assigned"
)
"""Where a session's record has the time of an event among what it says of the event."""


def _columns(**given: tuple[str, str]) -> tuple[Column, ...]:
    """By name: type and value in SQL."""
    return tuple(Column(name, get_from_name(kind), sql) for name, (kind, sql) in given.items())


def _of(name: str, kind: str) -> tuple[str, str]:
    """The type of a number and its value, refused as if it were sent in that type."""
    return kind, f"accurateCast({name}, '{kind}')"


def _coordinate(kind: str, start: int, size: int) -> str:
    """A part of runtime.origin.packed_coordinates."""
    return f"reinterpretAs{kind}(reverse(substring({AHEAD}, {start}, {size})))"


class EventFeed(RecordFeed):
    """Events, with the ingest coordinates that their origin carries, and whether they are late."""

    ahead = PACKED.size
    copies = True

    def __init__(self, schema: Schema, lateness: int, forgotten: Forgotten | None = None) -> None:
        """``lateness`` in milliseconds: received longer than this after it happened, an event is late."""
        super().__init__(EVENTS, schema, forgotten=forgotten)
        self._lateness = lateness
        # With the last field, so that each is proven to be an event to its end: dedup passes on what it was given.
        self._times = EVENT.reader("received_at", text=False)
        self._received = EVENT.reader("received_at", EVENT.latest.schema["fields"][-1]["name"], text=False)
        delay = "toUnixTimestamp64Milli(received_at) - toUnixTimestamp64Milli(event_time)"
        added = _columns(
            ingest_log=("Int64", _coordinate("Int64", 1, 8)),
            ingest_partition=("UInt32", _coordinate("UInt32", 9, 4)),
            ingest_offset=_of(_coordinate("Int64", 13, 8), "UInt64"),
            is_late=("Bool", f"{delay} > {lateness}"),
        )
        (table,) = self.tables
        self.tables = (Table(table.view, (*table.columns, *added)),)

    def passed(self, records: Sequence[Any]) -> list[bytes] | None:
        """As Feed says. Raises OriginError, DecodeError."""
        values = super().passed(records)
        if values is None:
            return None
        places = [packed_coordinates(origin_of(record)) for record in records]
        return [place + value for place, value in zip(places, values, strict=True)]

    def received(self, records: Sequence[Any]) -> list[int]:
        read = self._received
        return [read(record.value)[0] for record in records]

    def times(self, records: Sequence[Any]) -> list[int]:
        read = self._times
        return [read(record.value or b"")[0] for record in records]

    def read(self, records: Sequence[Any]) -> dict[str, Any]:
        found = super().read(records)
        places = [ingest_coordinates(origin_of(record)) for record in records]
        coordinates = ("ingest_log", "ingest_partition", "ingest_offset")
        found |= zip(coordinates, zip(*places, strict=True) if places else repeat(()), strict=False)
        lateness, times = self._lateness, zip(found["received_at"], found["event_time"], strict=True)
        found["is_late"] = [received - happened > lateness for received, happened in times]
        return found


class SessionFeed(RecordFeed):
    """Sessions, and beside them the events that came to belong to each, by their ingest coordinates."""

    copies = True
    _assigned = (
        *_columns(
            epoch=_of("epoch", "UInt32"),
            received_at=("DateTime64(3, 'UTC')", "tupleElement(each, 'received_at')"),
            ingest_log=("Int64", "tupleElement(each, 'log')"),
            ingest_partition=_of("tupleElement(each, 'partition')", "UInt32"),
            ingest_offset=_of("tupleElement(each, 'offset')", "UInt64"),
        ),
        Column("session_id", Uuid.of(), avro_value("session_id", {"logicalType": "uuid"})),
        Column("version", get_from_name("UInt64"), *VERSION),
        *_columns(partition=_of("partition", "UInt32")),
    )

    def __init__(self, schema: Schema, forgotten: Forgotten | None) -> None:
        super().__init__(SESSIONS, schema, also=("assigned",), forgotten=forgotten)
        stored("assignments", schema)
        self.tables = (*self.tables, Table("assignments", self._assigned, "ARRAY JOIN assigned AS each"))
        self._events = SESSION.reader("assigned", text=False)

    def times(self, records: Sequence[Any]) -> list[int]:
        read = self._events
        return [event[_RECEIVED] for record in records for event in read(record.value or b"")[0]]

    def rows(self, records: Sequence[Any]) -> list[tuple[Columns, list[Any]]]:
        read = self.read(records)
        names = ("epoch", "session_id", "version", "partition", "assigned")
        each = zip(records, *(read[name] for name in names), strict=True)
        rows = [
            (record, epoch, at["received_at"], at["log"], at["partition"], at["offset"], session_id, version, partition)
            for record, epoch, session_id, version, partition, assigned in each
            for at in assigned
        ]
        causes, *columns = zip(*rows, strict=True) if rows else ((), *((),) * len(self._assigned))
        return [(self.columns(read), list(records)), (columns, list(causes))]


def feeds(schema: Schema, settings: Settings, forgotten: Forgotten | None = None) -> list[Feed]:
    """A feed for every topic that has a table, which takes out what is of the ``forgotten``. Raises MissingTable."""
    special: dict[str, Feed] = {
        EVENTS.name: EventFeed(schema, int(settings.lateness * 1000), forgotten),
        SESSIONS.name: SessionFeed(schema, forgotten),
    }
    return [
        special.get(topic.name) or RecordFeed(topic, schema, forgotten=forgotten) for topic in TOPICS if topic.table
    ]
