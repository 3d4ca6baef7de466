"""From a topic's records to a table's rows: a field is stored where the table has a column of its name.

So a new agent's rows need no code here: a topic that names its table (schemas.topics), and a migration with
``<table>_rows`` and its view. What is more than a field goes by these rules:

* ``version`` is epoch * 2^48 + offset, of records that carry both (design.md, rule 5);
* ``is_deleted`` is the record's ``withdrawn``;
* a text goes into a column of type JSON as the JSON that it is.

Errors: DecodeError, UnknownSchema, OriginError. They are about one of the records given.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from clickhouse_connect.datatypes.registry import get_from_name

from runtime.forgotten import Forgotten
from runtime.origin import CAUSE, HEADER, LETTER
from schemas.codec import is_flat
from schemas.registry import HEADER as SCHEMA
from schemas.registry import RecordType
from schemas.topics import Topic
from sinks.avro import Passage, Unreadable
from sinks.erasure import scrub_persons, scrubber
from sinks.properties import storable, suspected
from sinks.spacers import SPACERS
from sinks.table import Column, Columns, Table
from sinks.wire import JsonText, avro_value, wire_type

Schema = Mapping[str, Mapping[str, str]]
"""Type of each column of each physical table in the database."""

VERSION_SHIFT = 48
_DERIVED = {"version": ("epoch", "offset"), "is_deleted": ("withdrawn",)}
VERSION = (
    f"bitOr(bitShiftLeft(toUInt64(epoch), {VERSION_SHIFT}), toUInt64(offset))",
    "epoch NOT BETWEEN 0 AND 65535 OR offset < 0",
)
"""In SQL, and where that would be another number."""
_IN_SQL = {"version": VERSION, "is_deleted": ("withdrawn", "")}


class MissingTable(Exception):  # noqa: N818
    """The database lacks a table that the sink fills."""


def stored(table: str, schema: Schema) -> Mapping[str, str]:
    """The columns of the physical table behind the view ``table``, with their types. Raises MissingTable."""
    try:
        return schema[f"{table}_rows"]
    except KeyError:
        raise MissingTable(f"ClickHouse has no table {table}_rows: run `sluice migrate`") from None


class Feed(ABC):
    """A topic and the tables that its records fill."""

    topic: Topic
    tables: tuple[Table, ...]
    ahead = 0
    """How many bytes ``passed`` puts before each record."""
    restates = False
    """Whether its rows take the place of former ones."""
    copies = False
    """Whether what it stores says of events to which session they belong (sinks/copies.py)."""
    wary = 0
    """How many batches are yet to be decoded without a try, since one was refused."""

    @cached_property
    def passage(self) -> Passage | None:
        """How its records go to ClickHouse as they are; None where that cannot be."""
        assert self.topic.value is not None
        try:
            return Passage(self.topic.value, self.tables, self.ahead)
        except Unreadable:
            return None

    def passed(self, records: Sequence[Any]) -> list[bytes] | None:
        """The bytes of records that go to ClickHouse as they are, or None where one of them must be decoded here."""
        return None

    def received(self, records: Sequence[Any]) -> list[int]:
        """When each event was received, in milliseconds, where the records are events."""
        return []

    def key_times(self, records: Sequence[Any]) -> tuple[list[int], int]:
        """The times that lead the keys of their rows, in milliseconds, and an epoch of theirs, for a spacer.

        Raises DecodeError, UnknownSchema.
        """
        return [], 0

    def times(self, records: Sequence[Any]) -> list[int]:
        """When each event was received whose session they may tell, in milliseconds.

        Raises DecodeError, UnknownSchema.
        """
        return []

    @abstractmethod
    def rows(self, records: Sequence[Any]) -> list[tuple[Columns, list[Any]]]:
        """Per table, in the order of ``tables``: the rows by column, and the record behind each row."""


class RecordFeed(Feed):
    """One row per record."""

    def __init__(
        self, topic: Topic, schema: Schema, also: Sequence[str] = (), forgotten: Forgotten | None = None
    ) -> None:
        """``also`` names fields that are read although the table has no column for them.

        Rows of persons who are ``forgotten`` are stored without what tells who it was.
        """
        assert topic.value is not None
        assert topic.table is not None
        self.topic = topic
        columns = stored(topic.table, schema)
        fields = {field["name"]: field["type"] for field in topic.value.latest.source["fields"]}
        self._fields = [name for name in fields if name in columns]
        self._derived = [
            name for name, parts in _DERIVED.items() if name in columns and all(part in fields for part in parts)
        ]
        self.restates = "version" in self._derived
        needed = {part for name in self._derived for part in _DERIVED[name]} | set(also)
        self._names = [*self._fields, *sorted(needed - set(self._fields))]
        self._decode = columnar(topic.value, self._names)
        self._forgotten, self._scrub = forgotten, scrubber(topic.name, self._names)
        self._json = [name for name in self._fields if columns[name].startswith("JSON")]
        sent = [
            Column(name, JsonText.of(columns[name]), f"`{name}`", suspected(f"`{name}`"))
            if name in self._json
            else Column(name, wire_type(fields[name]), avro_value(name, fields[name]))
            for name in self._fields
        ]
        sent += [Column(name, get_from_name("UInt64"), *_IN_SQL[name]) for name in self._derived]
        self.tables = (Table(topic.table, tuple(sent)),)
        spacer = SPACERS.get(topic.table)
        self._key = topic.value.reader(spacer.time, *(["epoch"] if "epoch" in fields else [])) if spacer else None
        self._owners = topic.value.reader("tenant", "player_id", text=False) if self._scrub is scrub_persons else None

    def passed(self, records: Sequence[Any]) -> list[bytes] | None:
        """As Feed says. Raises DecodeError."""
        values = [record.value or b"" for record in records]
        if self.passage is None or {value[:SCHEMA] for value in values} != {self.passage.header}:
            return None
        return None if self._forgotten and self._concern(values, self._forgotten) else values

    def _concern(self, values: Sequence[bytes], forgotten: Forgotten) -> bool:
        """Whether rows may have to be scrubbed."""
        if self._owners is None:
            return self._scrub is not None
        owners = set(map(self._owners, values))
        return any(player is not None and forgotten.find(tenant, player) for tenant, player in owners)

    def key_times(self, records: Sequence[Any]) -> tuple[list[int], int]:
        read = self._key
        found = [read(record.value or b"") for record in records] if read else []
        return [time for time, *_ in found], found[0][1] if found and found[0][1:] else 0

    def rows(self, records: Sequence[Any]) -> list[tuple[Columns, list[Any]]]:
        return [(self.columns(self.read(records)), list(records))]

    def read(self, records: Sequence[Any]) -> dict[str, Any]:
        """The records' fields, by column, and what is derived from them."""
        values = [record.value or b"" for record in records]
        found: dict[str, Any] = dict(zip(self._names, self._decode(values), strict=True))
        if "version" in self._derived:
            pairs = zip(found["epoch"], found["offset"], strict=True)
            found["version"] = [epoch << VERSION_SHIFT | offset for epoch, offset in pairs]
        if "is_deleted" in self._derived:
            found["is_deleted"] = [int(withdrawn) for withdrawn in found["withdrawn"]]
        for name in self._json:
            found[name] = storable(found[name])
        if self._forgotten and self._scrub is not None:
            self._scrub(found, self._forgotten)
        return found

    def columns(self, read: dict[str, Any]) -> Columns:
        """The first table's columns in their order."""
        return [read[column.name] for column in self.tables[0].columns]


def columnar(kind: RecordType, names: Sequence[str]) -> Any:
    """A function from encoded records to the columns ``names``."""
    if not is_flat(kind.latest.schema):
        return lambda values: _by_name([kind.decode(value) for value in values], names)
    read = kind.reader(*names, text=False)

    def flat(values: Sequence[bytes]) -> Columns:
        return list(zip(*map(read, values), strict=True)) if values else [() for _ in names]

    return flat


def _by_name(records: list[dict[str, Any]], names: Sequence[str]) -> Columns:
    return [[record[name] for record in records] for name in names]


def addressed(records: Sequence[Any], stages: Sequence[str]) -> list[Any]:
    """Without the replays that are for another stage than these (runtime.letters)."""
    return [record for record in records if _is_for(record, stages)]


def _is_for(record: Any, stages: Sequence[str]) -> bool:
    for name, value in record.headers:
        if name == LETTER:
            return value[16:].decode(errors="replace") in stages
    return True


def origin_of(record: Any) -> bytes:
    """The header that says what ingest record caused this one; empty where there is none."""
    headers = record.headers
    if len(headers) == 1 and headers[0][0] == HEADER:
        return headers[0][1]  # type: ignore[no-any-return]
    found = dict(headers)
    return found.get(CAUSE) or found.get(HEADER) or b""
