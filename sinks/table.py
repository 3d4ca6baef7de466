"""A table as the sink writes it, and blocks of its rows, held by column.

The analyst's name is a view; the rows are in the table of that name with ``_rows`` behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clickhouse_connect.datatypes.base import ClickHouseType

Columns = list[Any]
"""A sequence of values per column."""


@dataclass(frozen=True)
class Column:
    """A column, the type in which its values are sent, and how ClickHouse makes it of a record's fields."""

    name: str
    type: ClickHouseType
    sql: str
    """Its value, an expression of the fields of the topic's schema."""
    doubt: str = ""
    """A condition under which a record has to be decoded by us; ClickHouse then refuses it."""


@dataclass(frozen=True)
class Table:
    """A physical table and the columns that are sent; the others have defaults."""

    view: str
    columns: tuple[Column, ...]
    unfold: str = ""
    """An ARRAY JOIN, where a record becomes any number of rows."""

    @property
    def name(self) -> str:
        """Of the physical table."""
        return f"{self.view}_rows"

    @property
    def stage(self) -> str:
        """Of a dead letter that this table refused."""
        return f"sink.{self.view}"


@dataclass
class Block:
    """Rows of one table, each with the record that caused it."""

    table: Table
    columns: Columns = field(default_factory=list)
    causes: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.columns = self.columns or [[] for _ in self.table.columns]

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.causes)

    def extend(self, columns: Columns, causes: list[Any]) -> None:
        """Adds rows, given by column, and the record of each."""
        for mine, more in zip(self.columns, columns, strict=True):
            mine.extend(more)
        self.causes.extend(causes)

    def cut(self, start: int, stop: int) -> "Block":
        """The rows from ``start`` to before ``stop``."""
        return Block(self.table, [column[start:stop] for column in self.columns], self.causes[start:stop])


@dataclass(frozen=True)
class Stored:
    """Rows that were inserted into the table behind a view."""

    view: str
    rows: int
    received: Sequence[int] = ()
    """When each event was received, in milliseconds, where they are of events."""
