"""Inserts blocks into ClickHouse, one statement each, and finds the rows that it refuses.

Every setting that matters is set on every insert, whatever the server's defaults are by now. A block may arrive twice,
by our retry or by the driver's: rows collapse by their keys, so nothing depends on the server's own deduplication.

Errors: Stop; of an insert, what sinks.errors classifies as Outcome.RETRY.
"""

from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.insert import InsertContext

from sinks.errors import Outcome, classify
from sinks.table import Block, Table

SETTINGS = {
    "async_insert": 0,  # the answer means that the rows are there to be seen
    "wait_end_of_query": 1,
    "insert_deduplicate": 0,
    "deduplicate_insert": "disable",
    "throw_on_max_partitions_per_insert_block": 0,  # sessions of a backfill may be of many years
    "input_format_native_allow_types_conversion": 1,
    "type_json_skip_duplicated_paths": 1,  # {"a": {"b": 1}, "a.b": 2} is one path to the JSON type
    "input_format_try_infer_dates": 0,  # a property stays the text that was sent, though it looks like a time
    "input_format_try_infer_datetimes": 0,
    "max_parser_depth": 1000,
}
WHOLE = SETTINGS | {
    # Rows are written once all are read, so that nothing is there of an insert that is refused for a later one.
    "min_insert_block_size_rows": 1_000_000_000,
    "min_insert_block_size_bytes": 0,
    "max_insert_threads": 1,
}
ONE_BLOCK = 1_000_000
"""Rows that the driver may put into one block: all that we give it."""


class Stop(Exception):  # noqa: N818
    """Only a person can mend it: the database and the sink do not fit, or the account may not write."""


@dataclass(frozen=True)
class BadRow:
    """A row that ClickHouse refused alone, by the record that caused it."""

    table: Table
    cause: Any
    error: Exception


class Writer:
    """Inserts through one client. Calls for one table must not overlap."""

    def __init__(self, client: Client, limit: int = 100) -> None:
        """After more than ``limit`` rows refused in a row it is not the rows."""
        self._client, self._limit = client, limit
        self._contexts: dict[str, InsertContext] = {}
        self._refused: dict[str, int] = {}
        """Rows refused in a row, by table."""

    def pass_on(self, table: Table, statement: bytes, body: bytes) -> int:
        """Executes an INSERT that reads ``body``; returns how many rows it wrote. Raises what the driver does."""
        written = self._client.raw_insert("", insert_block=statement + body, settings=WHOLE).written_rows
        self._refused[table.name] = 0
        return written

    def insert(self, block: Block) -> list[BadRow]:
        """Inserts all rows but those that are refused alone, which it returns.

        Any other error is raised as it came; what was inserted by then may be inserted again.
        """
        if not block.rows:
            return []
        try:
            self._send(block)
        except Exception as error:
            outcome, reason = classify(error)
            if outcome is Outcome.STOP:
                raise Stop(f"ClickHouse refuses rows for {block.table.name}: {reason} ({error})") from error
            if outcome is Outcome.RETRY:
                raise
            if block.rows == 1:
                return [self._bad(block, error)]
            middle = block.rows // 2
            return self.insert(block.cut(0, middle)) + self.insert(block.cut(middle, block.rows))
        self._refused[block.table.name] = 0
        return []

    def _bad(self, block: Block, error: Exception) -> BadRow:
        count = self._refused[block.table.name] = self._refused.get(block.table.name, 0) + 1
        if count > self._limit:
            raise Stop(f"ClickHouse refused {count} rows in a row for {block.table.name}, the last with: {error}")
        return BadRow(block.table, block.causes[0], error)

    def _send(self, block: Block) -> None:
        context = self._context(block.table)
        context.data = block.columns
        try:
            self._client.insert(context=context)
        finally:
            context.data = None

    def _context(self, table: Table) -> InsertContext:
        context = self._contexts.get(table.name)
        if context is None:
            context = self._client.create_insert_context(
                table.name,
                column_names=[column.name for column in table.columns],
                column_types=[column.type for column in table.columns],
                column_oriented=True,
                settings=SETTINGS,
            )
            context.req_block_size = ONE_BLOCK
            self._contexts[table.name] = context
        return context


def columns_of(client: Client, database: str) -> dict[str, dict[str, str]]:
    """The columns of every table with their types, for sinks.feeds."""
    found: dict[str, dict[str, str]] = {}
    sql = "SELECT table, name, type FROM system.columns WHERE database = {database:String}"
    for table, name, kind in client.query(sql, parameters={"database": database}).result_rows:
        found.setdefault(table, {})[name] = kind
    return found
