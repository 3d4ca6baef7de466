"""Dead letters as they are stored: found by filters, and their fates recorded. A letter is never deleted.

Errors: ClickHouse's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from clickhouse_connect.driver.client import Client

from sinks.clickhouse import named_rows

WAITING, REPLAYED, DISCARDED = "waiting", "replayed", "discarded"
FATES = (WAITING, REPLAYED, DISCARDED)
_CONDITIONS = {
    "ids": "letter_id IN {ids:Array(UUID)}",
    "stage": "stage = {stage:String}",
    "topic": "topic = {topic:String}",
    "tenant": "ifNull(tenant, '') = {tenant:String}",
    "error": "positionCaseInsensitiveUTF8(error, {error:String}) > 0",
    "since": "stored_at >= {since:DateTime64(3, 'UTC')}",
    "until": "stored_at < {until:DateTime64(3, 'UTC')}",
    "fate": "fate = {fate:String}",
}
_SUMMARY = """
letter_id, stage, topic, partition, offset, ingest_partition, ingest_offset, tenant, dialect, error, attempts,
timestamp, stored_at, fate, decided_at, decided_by, note
"""
_SELECT = "SELECT {columns} FROM dead_letters WHERE {where} ORDER BY stored_at, letter_id LIMIT {{most:UInt64}}"
_FATES = ("letter_id", "fate", "decided_at", "decided_by", "note")
_REPLAYS = ("topic", "log", "partition", "offset", "letter_id", "replayed_at", "replayed_by")
_SETTINGS = {"async_insert": 0}


@dataclass(frozen=True)
class Filter:
    """Which letters are meant: all conditions that are given must hold; times are about when a letter was stored."""

    ids: tuple[UUID, ...] = ()
    stage: str | None = None
    topic: str | None = None
    tenant: str | None = None
    """Empty: not known."""
    error: str | None = None
    """A part of the error's text, in upper or lower case."""
    since: datetime | None = None
    until: datetime | None = None
    fate: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The conditions by name. An empty text is one: left out, it would widen what is meant to every letter."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) not in (None, ())}

    def sql(self) -> str:
        """The condition, with parameters for the values."""
        return " AND ".join(_CONDITIONS[name] for name in self.given) or "1"


@dataclass(frozen=True)
class Place:
    """Where a replay was appended."""

    topic: str
    log: int
    partition: int
    offset: int


class Letters:
    """The tables of dead letters and of what became of them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def find(self, wanted: Filter, most: int) -> list[dict[str, Any]]:
        """What a list shows of the first ``most`` letters, the oldest first."""
        return self._rows(_SUMMARY, wanted, most)

    def count(self, wanted: Filter) -> int:
        """How many there are."""
        (row,) = self._rows("count() AS letters", wanted, 1, order=False)
        return int(row["letters"])

    def whole(self, wanted: Filter, most: int) -> list[dict[str, Any]]:
        """Letters with key, payload and headers as bytes."""
        found = self._rows("* EXCEPT (key, payload, headers), key, payload, headers", wanted, most, {"String": "bytes"})
        for row in found:
            for name in ("stage", "topic", "tenant", "dialect", "error", "fate", "decided_by", "note"):
                row[name] = None if row[name] is None else _text(row[name])
            row["headers"] = [(_text(name), value) for name, value in map(_pair, row["headers"])]
        return found

    def replays(self, letter: UUID) -> list[dict[str, Any]]:
        """Every replay of a letter, the oldest first."""
        found = self._client.query(
            "SELECT topic, partition, offset, replayed_at, replayed_by FROM replays WHERE letter_id = {id:UUID}"
            " ORDER BY replayed_at, offset",
            parameters={"id": str(letter)},
        )
        return named_rows(found)

    def replayed(self, places: Sequence[tuple[UUID, Place]], by: str, note: str) -> None:
        """Records replays and, with them, the letters' fate."""
        now = datetime.now(UTC)
        rows = [[at.topic, at.log, at.partition, at.offset, letter, now, by] for letter, at in places]
        self._client.insert("replays_rows", rows, column_names=_REPLAYS, settings=_SETTINGS)
        self._decide([letter for letter, _ in places], REPLAYED, by, note)

    def discard(self, letters: Sequence[UUID], by: str, note: str) -> None:
        """Records that letters will not be replayed."""
        self._decide(letters, DISCARDED, by, note)

    def _decide(self, letters: Sequence[UUID], fate: str, by: str, note: str) -> None:
        now = datetime.now(UTC)
        rows = [[letter, fate, now, by, note] for letter in letters]
        if rows:
            self._client.insert("letter_fates_rows", rows, column_names=_FATES, settings=_SETTINGS)

    def _rows(
        self, columns: str, wanted: Filter, most: int, formats: dict[str, str] | None = None, order: bool = True
    ) -> list[dict[str, Any]]:
        sql = _SELECT.format(columns=columns, where=wanted.sql())
        if not order:
            sql = sql.replace("ORDER BY stored_at, letter_id ", "")
        parameters = {name: _parameter(value) for name, value in wanted.given.items()} | {"most": most}
        found = self._client.query(sql, parameters=parameters, query_formats=formats)
        return named_rows(found)


def _parameter(value: Any) -> Any:
    return [str(each) for each in value] if isinstance(value, tuple) else value


def _pair(header: Any) -> tuple[Any, Any]:
    return (header["key"], header["value"]) if isinstance(header, dict) else tuple(header)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
