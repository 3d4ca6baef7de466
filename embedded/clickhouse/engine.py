"""The engine: chDB, which is ClickHouse as a library. One process may open one folder.

A ``Session`` is a connection made for one request (under 0.1 ms), so that no setting leaks into the next.

Errors: ClickHouseError.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chdb import _chdb as library

from embedded.clickhouse.errors import (
    INTO_OUTFILE_NOT_ALLOWED,
    READONLY,
    SYNTAX_ERROR,
    ClickHouseError,
    from_engine,
)
from embedded.clickhouse.statement import Statement

_library: Any = library  # compiled, without types
log = logging.getLogger("sluice.clickhouse")

FAILURES = (RuntimeError, UnicodeDecodeError)
"""What the library raises: the second in place of the first, whose text is then its object."""
TAG = "log_comment"
"""The setting by which a running query is found again, to cancel it."""


@dataclass
class Result:
    """What a statement gave, with the counts of X-ClickHouse-Summary."""

    body: bytes = b""
    rows_read: int = 0
    bytes_read: int = 0
    rows_written: int = 0
    bytes_written: int = 0
    result_rows: int = 0
    seconds: float = 0.0


class Session:
    """One request's connection. Used by one thread at a time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def set(self, settings: Mapping[str, str]) -> None:
        """Applies settings, by the engine's own rules: an unknown one, or one that is read-only now, is refused.

        In one statement, since each takes a fifth of a millisecond, and an insert has ten.
        """
        if settings:
            given = ", ".join(f"{identifier(name)} = {literal(value)}" for name, value in settings.items())
            self._run(f"SET {given}", "Null", {})

    def use(self, database: str) -> None:
        """The database of unqualified names."""
        self._run(f"USE {identifier(database)}", "Null", {})

    def check(self, statement: Statement, read_only: bool) -> None:
        """Refuses what a server refuses and a library would do. With ``read_only``, all that is more than reading."""
        kind = self._connection.classify_query(statement.text)
        if kind["statement_count"] > 1:
            raise ClickHouseError(SYNTAX_ERROR, "Syntax error: Multi-statements are not allowed. (SYNTAX_ERROR)")
        name = kind["query_class"].name
        if name == "CONTROL" and statement.reads:
            raise ClickHouseError(INTO_OUTFILE_NOT_ALLOWED, "INTO OUTFILE is not allowed. (INTO_OUTFILE_NOT_ALLOWED)")
        if read_only and name != "READ_ONLY" and statement.verb not in ("USE", "SET"):
            raise ClickHouseError(READONLY, "Cannot execute query in readonly mode. (READONLY)")

    def canonical(self, statement: Statement) -> str:
        """The statement as the engine itself writes it: no comments, no needless quotes."""
        parameters = {"text": statement.text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")}
        return self._run("SELECT formatQuerySingleLine({text:String})", "RawBLOB", parameters).body.decode()

    def run(self, statement: Statement, output: str, parameters: Mapping[str, str]) -> Result:
        """Executes a statement that carries no data and returns its whole output."""
        return self._run(statement.text, output, parameters)

    def insert(self, statement: Statement) -> Result:
        """Executes an INSERT with its data: all of the data, or an error.

        As from a file: the library's own way of inserting keeps errors to itself that arise behind the parser (too many
        parts, a full disk, a violated constraint).
        """
        with _file(statement.data or b"") as path:
            return self._run(statement.from_file(literal(path)), "Null", {})

    def stream(self, statement: Statement, output: str, parameters: Mapping[str, str]) -> Iterator[bytes]:
        """Executes a SELECT and gives its output in pieces; for formats without head and foot only."""
        try:
            running = self._connection.send_query(statement.text, output, params=dict(parameters))
            while piece := self._connection.streaming_fetch_result(running).bytes():
                yield piece
        except FAILURES as error:
            raise from_engine(error) from None

    def _run(self, text: str, output: str, parameters: Mapping[str, str]) -> Result:
        try:
            done = self._connection.query(text, output, params=dict(parameters))
        except FAILURES as error:
            raise from_engine(error) from None
        return Result(
            body=done.bytes(),
            rows_read=done.storage_rows_read(),
            bytes_read=done.storage_bytes_read(),
            rows_written=done.rows_written(),
            bytes_written=done.bytes_written(),
            result_rows=done.rows_read(),
            seconds=done.elapsed(),
        )


class Engine:
    """The one engine of this process, on a folder."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder)
        self._keeper = _library.connect(self._path)  # the engine ends with its last connection
        with self.session() as session:
            answer = session._run("SELECT version(), timezone()", "TabSeparated", {}).body.decode()
            names = session._run("SELECT lower(name) FROM system.table_functions", "TabSeparated", {}).body.decode()
        self.version, self.timezone = answer.strip().split("\t")
        self.table_functions = frozenset(names.split())

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A connection of its own, closed at the end."""
        connection = _library.connect(self._path)
        try:
            yield Session(connection)
        finally:
            connection.close()

    def cancel(self, tag: str) -> None:
        """Asks the running query of this tag to end."""
        with self.session() as session:
            session._run(f"KILL QUERY WHERE Settings[{literal(TAG)}] = {literal(tag)} ASYNC", "Null", {})

    def close(self) -> None:
        """Ends the engine once every session is closed."""
        self._keeper.close()


@contextmanager
def _file(data: bytes) -> Iterator[str]:
    """The path of a file in memory with ``data``, for the length of a ``with``."""
    descriptor = os.memfd_create("insert")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def literal(value: str) -> str:
    """A SQL string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def identifier(name: str) -> str:
    """A quoted SQL name."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`").replace("\0", "\\0")
    return f"`{escaped}`"
