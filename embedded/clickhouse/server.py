"""ClickHouse's HTTP interface over the engine.

Reads and inserts have threads of their own, so that long queries hold up no insert. A query whose client goes away is
cancelled; an INSERT whose data have arrived is finished.
"""

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from aiohttp import web

from embedded.clickhouse import coding
from embedded.clickhouse.accounts import Account, authenticate, credentials
from embedded.clickhouse.engine import TAG, Engine, Result, Session
from embedded.clickhouse.errors import TOO_MANY_SIMULTANEOUS_QUERIES, ClickHouseError
from embedded.clickhouse.faults import Fault, Faults
from embedded.clickhouse.query import Query, read, refuse_strangers
from embedded.clickhouse.reading import refuse_outside

log = logging.getLogger("sluice.clickhouse")

READERS, WRITERS, WAITING = 24, 8, 100
CANCEL_AGAIN = 0.2
"""Seconds after which a query that did not end is cancelled again: it may not have begun at the first try."""
EXCEPTION_MARK = b"__exception__"

Answer = TypeVar("Answer")

CONTENT_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "XML": "application/xml; charset=UTF-8",
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "RowBinaryWithNamesAndTypes": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "Arrow": "application/octet-stream",
    "ArrowStream": "application/octet-stream",
}


class Dropped(Exception):  # noqa: N818 - what happened, on purpose
    """A fault cut the connection: there is no answer."""


class Service:
    """What answers the requests."""

    def __init__(self, engine: Engine, accounts: Mapping[str, Account], body_limit: int, faults: Faults | None) -> None:
        self._engine, self._accounts, self._body_limit, self.faults = engine, accounts, body_limit, faults
        self._readers = ThreadPoolExecutor(READERS, "read")
        self._writers = ThreadPoolExecutor(WRITERS, "write")
        self._control = ThreadPoolExecutor(1, "control")
        self._running = 0
        self._chores: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Waits for what still runs; the engine can be closed after it."""
        while self._chores:
            await asyncio.wait(self._chores)
        for pool in (self._readers, self._writers, self._control):
            pool.shutdown()

    async def query(self, request: web.Request) -> web.StreamResponse:
        """A statement, by GET or POST."""
        headers = {"X-ClickHouse-Server-Display-Name": "sluice", "X-ClickHouse-Timezone": self._engine.timezone}
        try:
            refuse_strangers(request)
            account = authenticate(self._accounts, *credentials(request.headers, request.query))
            if request.method == "GET" and not request.query.get("query") and not request.can_read_body:
                return web.Response(text="Ok.\n")
            asked = await read(request, self._body_limit)
            headers["X-ClickHouse-Query-Id"] = asked.id
            return await self._answer(request, asked, account, headers)
        except Dropped:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except ClickHouseError as error:
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            text = error.text(self._engine.version) + "\n"
            return web.Response(text=text, status=error.status, headers=headers)

    async def _answer(
        self, request: web.Request, asked: Query, account: Account, headers: dict[str, str]
    ) -> web.StreamResponse:
        if self._running >= WAITING:
            raise ClickHouseError(TOO_MANY_SIMULTANEOUS_QUERIES, f"Too many simultaneous queries. Maximum: {WAITING}")
        self._running += 1
        try:
            await self._fail(asked, "before")
            headers["X-ClickHouse-Format"] = asked.format if asked.format.isalnum() else ""
            headers["Content-Type"] = CONTENT_TYPES.get(asked.format, "text/plain; charset=UTF-8")
            if asked.streams:
                return await self._stream(request, asked, account, headers)
            result = await self._execute(asked, account)
            await self._fail(asked, "after")
            headers["X-ClickHouse-Summary"] = summary(result)
            if asked.encoding is not None and result.body:
                headers["Content-Encoding"] = asked.encoding
                result.body = await asyncio.to_thread(coding.pack, result.body, asked.encoding)
            return web.Response(body=result.body, headers=headers)
        finally:
            self._running -= 1

    async def _execute(self, asked: Query, account: Account) -> Result:
        tag = secrets.token_hex(16)

        def work() -> Result:
            with self._engine.session() as session:
                _prepare(self._engine, session, asked, account, tag)
                statement = asked.statement
                if statement.data is None:
                    return session.run(statement, asked.output, asked.parameters)
                if statement.values and asked.parameters:
                    return session.run(statement.inline(), asked.output, asked.parameters)
                return session.insert(statement)

        if asked.statement.data is None:
            return await self._cancellable(self._readers, work, tag)
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._writers, work))

    async def _stream(
        self, request: web.Request, asked: Query, account: Account, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Sends each piece as it comes. What fails before the first piece is answered with its own status."""
        tag = secrets.token_hex(16)

        def pieces() -> Generator[bytes, None, None]:
            with self._engine.session() as session:
                _prepare(self._engine, session, asked, account, tag)
                yield from session.stream(asked.statement, asked.output, asked.parameters)

        source = pieces()
        try:
            piece = await self._cancellable(self._readers, lambda: next(source, None), tag)
            await self._fail(asked, "after")
            mark = secrets.token_hex(8)
            headers["X-ClickHouse-Exception-Tag"] = mark
            if asked.encoding is not None and piece:
                headers["Content-Encoding"] = asked.encoding
            pack, end = coding.packer(asked.encoding if piece else None)
            response = web.StreamResponse(headers=headers)
            await response.prepare(request)
            try:
                while piece:
                    await response.write(pack(piece))
                    piece = await self._cancellable(self._readers, lambda: next(source, None), tag)
            except ClickHouseError as error:
                await response.write(pack(late_exception(error.text(self._engine.version), mark)))
            await response.write(end())
            await response.write_eof()
            return response
        finally:
            self._later(self._end(source))

    async def _cancellable(self, pool: ThreadPoolExecutor, work: Callable[[], Answer], tag: str) -> Answer:
        """Runs ``work`` on a thread; if the client goes away meanwhile, its query is cancelled until it has ended."""
        running = asyncio.get_running_loop().run_in_executor(pool, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._later(self._cancel(running, tag))
            raise

    async def _cancel(self, running: "asyncio.Future[Answer]", tag: str) -> None:
        loop = asyncio.get_running_loop()
        while not running.done():
            await loop.run_in_executor(self._control, self._engine.cancel, tag)
            await asyncio.wait([running], timeout=CANCEL_AGAIN)
        if running.exception() is not None:
            log.info("cancelled: its client went away")

    async def _end(self, source: Generator[bytes, None, None]) -> None:
        """Gives a stream's connection back, behind the piece that may still be under way."""
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._readers, source.close)
            except ValueError:  # a generator that is executing cannot be closed
                await asyncio.sleep(CANCEL_AGAIN)

    def _later(self, work: Coroutine[None, None, None]) -> None:
        chore = asyncio.create_task(work)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)

    async def _fail(self, asked: Query, when: str) -> None:
        if self.faults is None:
            return
        kind = "insert" if asked.statement.verb == "INSERT" else "query"
        for fault in self.faults.striking(kind, asked.statement.text, when):
            await self.faults.wait(fault)
            _strike(fault)


def _strike(fault: Fault) -> None:
    if fault.drop:
        raise Dropped
    if fault.code is not None:
        raise ClickHouseError(fault.code, "on purpose, for a test")


def _prepare(engine: Engine, session: Session, asked: Query, account: Account, tag: str) -> None:
    """Account first, request second: so the engine itself refuses what the account may not change."""
    session.check(asked.statement, account.read_only or asked.get)
    if account.read_only:
        refuse_outside(session.canonical(asked.statement), engine.table_functions, asked.parameters)
    session.set({TAG: tag, **account.settings})
    if asked.database:
        session.use(asked.database)
    if asked.get and not account.read_only:
        session.set({"readonly": "2"})
    session.set(asked.settings)


def summary(result: Result) -> str:
    """X-ClickHouse-Summary: every number as a text."""
    return json.dumps(
        {
            "read_rows": str(result.rows_read),
            "read_bytes": str(result.bytes_read),
            "written_rows": str(result.rows_written),
            "written_bytes": str(result.bytes_written),
            "total_rows_to_read": "0",
            "result_rows": str(result.result_rows),
            "result_bytes": str(len(result.body)),
            "elapsed_ns": str(int(result.seconds * 1e9)),
        }
    )


def late_exception(text: str, mark: str) -> bytes:
    """How a server says, in a body that has begun, that the rest will not come (since ClickHouse 25.11)."""
    tag, message = mark.encode(), text.encode()
    return b"".join((
        b"\r\n", EXCEPTION_MARK, b"\r\n", tag, b"\r\n", message, b"\n", str(len(message) + 1).encode(), b" ", tag,
        b"\r\n", EXCEPTION_MARK, b"\r\n",
    ))  # fmt: skip
