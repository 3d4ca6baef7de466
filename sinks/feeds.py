"""Every feed of the sink: two that are more than a row per record, and all others by the general rule."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from clickhouse_connect.datatypes.registry import get_from_name

from runtime.forgotten import Forgotten
from runtime.origin import ingest_coordinates
from runtime.settings import Settings
from schemas.topics import EVENTS, SESSIONS, TOPICS
from sinks.feed import Feed, RecordFeed, Schema, origin_of, stored
from sinks.table import Column, Columns, Table
from sinks.wire import Uuid


def _columns(**types: str) -> tuple[Column, ...]:
    return tuple(Column(name, get_from_name(kind)) for name, kind in types.items())


class EventFeed(RecordFeed):
    """Events, with the ingest coordinates that their origin carries, and whether they are late."""

    _added = _columns(ingest_log="Int64", ingest_partition="UInt32", ingest_offset="UInt64", is_late="Bool")

    def __init__(self, schema: Schema, lateness: int, forgotten: Forgotten | None = None) -> None:
        """``lateness`` in milliseconds: received longer than this after it happened, an event is late."""
        super().__init__(EVENTS, schema, forgotten=forgotten)
        self._lateness = lateness
        (table,) = self.tables
        self.tables = (Table(table.view, (*table.columns, *self._added)),)

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

    _assigned = (
        *_columns(
            epoch="UInt32", received_at="DateTime64(3, 'UTC')", ingest_log="Int64", ingest_partition="UInt32",
            ingest_offset="UInt64",
        ),
        Column("session_id", Uuid.of()),
        *_columns(version="UInt64", partition="UInt32"),
    )  # fmt: skip

    def __init__(self, schema: Schema, forgotten: Forgotten | None) -> None:
        super().__init__(SESSIONS, schema, also=("assigned",), forgotten=forgotten)
        stored("assignments", schema)
        self.tables = (*self.tables, Table("assignments", self._assigned))

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
