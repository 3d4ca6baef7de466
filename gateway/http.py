"""HTTP/1.1 on asyncio: llhttp (httptools) parses, one task answers one request, nothing waits without a limit.

Measured against granian (docs/performance/gateway.md): under half the processor time per request, since nothing is
handed between threads that share the interpreter's lock.

What a client can do wrong ends in a 4xx and a closed connection: a head that is too large (431) or never ends, a body
that never ends (408), more requests in a pipeline than anyone needs, bytes that are no HTTP (400).
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from math import inf
from typing import Any

import httptools

from gateway.answers import CLOSE, Answer
from gateway.dialects.base import Refusal
from gateway.heads import name_of, path_of, without_upgrade
from gateway.incoming import Body, ClientGone, Garbled, Incoming
from runtime.settings import Settings

PIPELINE = 32
"""Requests of one connection that may wait behind the one being answered."""
HEADERS = 100
SWEEP = 0.5
LINGER = 2.0
"""After an answer that ends the connection early, so that the client reads it before it meets a reset."""
WRITE_LIMIT = 30.0
"""A client must take its answer within this time."""

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


def _bare(status: int, detail: str) -> bytes:
    """The answer to what never became a request."""
    body = Refusal(status, detail).body()
    head = f"{_LINES[status]}content-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


_BARE = {
    400: _bare(400, "this is no HTTP/1.1 request"),
    408: _bare(408, "the request's head was not complete in time"),
    431: _bare(431, "the request's head is too large, or has too many headers"),
    503: _bare(503, "there are too many connections at once"),
}


Application = Callable[[Incoming], Awaitable[Answer | None]]
"""From a request to its answer; None where its client has gone. Must not raise."""


class Connection(asyncio.Protocol):
    """A client's connection: its requests are answered one after the other, in their order."""

    def __init__(self, server: "HttpServer") -> None:
        self._server = server
        self._loop = server.loop
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Incoming] = deque()
        self._task: asyncio.Task[None] | None = None
        self._transport: Any = None
        self._url, self._headers, self._count = b"", {}, 0  # type: ignore[var-annotated]
        self._parsing: Incoming | None = None
        self._head_bytes = 0
        self._in_head = False
        self._one_ended = False
        self._trailer_bytes = 0
        self._large = False
        self._current: Incoming | None = None
        self._deaf = False
        self._paused = False
        self._full = False
        self._fault = 400
        self._again = b""
        self._body_limit = server.settings.gateway_body_bytes
        self.deadline = inf
        """When it has taken too long, whatever it is doing."""

    # The transport's side

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.deadline = self._loop.time() + self._server.settings.gateway_header_timeout
        if not self._server.admit(self):
            transport.write(_BARE[503])
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.forget(self)
        self._transport = None
        self._queue.clear()
        if self._parsing is not None:
            self._parsing.body.fail(ClientGone())

    def eof_received(self) -> bool:
        if self._task is None:
            return False
        if self._parsing is not None:
            self._parsing.body.fail(ClientGone())
        return True  # a client may close its side and still wait for its answer

    def pause_writing(self) -> None:
        self._full = True
        self.deadline = self._loop.time() + WRITE_LIMIT
        self._pause()

    def resume_writing(self) -> None:
        self._full = False
        self._go_on()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._large = self._head_bytes + len(data) > self._server.settings.gateway_header_bytes
        body = None if self._parsing is None else self._parsing.body
        size = 0 if body is None else body.size
        self._one_ended = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._parser, again = httptools.HttpRequestParser(self), self._again
            self._again = b""
            self.data_received(again + data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._fail(self._fault)
            return
        if self._in_head:
            self._judge_head(1 if self._one_ended else len(data))  # how much of it is the head's, only the parser knows
        elif body is not None and self._parsing is not None and self._parsing.body is body:
            self._judge_trailer(len(data) if body.size == size else 0)
        if self._task is None and self._queue and not self._full:
            self._serve_next()
        elif len(self._queue) > PIPELINE // 2:
            self._pause()

    def _judge_head(self, size: int) -> None:
        """The next head has begun but not ended."""
        if not self._head_bytes:
            self.deadline = self._loop.time() + self._server.settings.gateway_header_timeout
        self._head_bytes += size
        if self._head_bytes > self._server.settings.gateway_header_bytes:
            self._fail(431)

    def _judge_trailer(self, size: int) -> None:
        """The fields behind a body in chunks, whose bytes are not the body's, may be as large as a head.

        ``size`` is 0 where more of the body has come, since then they have not begun.
        """
        self._trailer_bytes = self._trailer_bytes + size if size else 0
        if self._trailer_bytes > self._server.settings.gateway_header_bytes:
            self._fail(431)

    # The parser's side

    def on_message_begin(self) -> None:
        self._in_head = True

    def on_url(self, part: bytes) -> None:
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._parsing is not None:
            return  # it stands behind a body in chunks: nobody reads it, least of all as one of the next request's
        self._count += 1
        if self._count > HEADERS:
            self._fault = 431
            raise OverflowError("too many headers")
        value = value.rstrip(b" \t")  # the parser leaves the white space behind a value, which is no part of it
        try:
            self._headers[name_of(name)] = value.decode()
        except UnicodeDecodeError:
            self._headers[name_of(name)] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if len(self._queue) >= PIPELINE:
            raise OverflowError("too many requests in a pipeline")
        if (
            self._large
            and len(self._url) + sum(map(len, self._headers.values())) > self._server.settings.gateway_header_bytes
        ):
            self._fault = 431
            raise OverflowError("too large a head")
        self._in_head = False
        parser, headers, path = self._parser, self._headers, path_of(self._url)
        if parser.should_upgrade():
            self._again = without_upgrade(parser.get_method(), self._url, headers)
        self._url, self._headers, self._count, self._head_bytes = b"", {}, 0, 0
        if self._again:
            return
        self._trailer_bytes = 0
        body = Body(self, self._body_limit)
        # A client of HTTP/1.0 waits for the end where the answer does not say keep-alive as it is used to (ab -k).
        keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        self._parsing = Incoming(parser.get_method().decode(), path, headers, body, keep_alive)
        self._queue.append(self._parsing)

    def on_body(self, part: bytes) -> None:
        self._parsing.body.feed(part)  # type: ignore[union-attr]

    def on_message_complete(self) -> None:
        self._one_ended = True
        if self._parsing is not None:
            self._parsing.body.finish()
            self._parsing = None

    # Answering

    def _serve_next(self) -> None:
        incoming = self._current = self._queue.popleft()
        self.deadline = inf
        if not incoming.body.done:
            self._pause()  # until somebody wants the body
        self._task = self._loop.create_task(self._serve(incoming))

    async def _serve(self, incoming: Incoming) -> None:
        answer = await self._server.application(incoming)
        self._task = self._current = None
        if self._transport is None:
            return
        if answer is None:
            self._transport.close()
        else:
            self._reply(incoming, answer)

    def _reply(self, incoming: Incoming, answer: Answer) -> None:
        close = CLOSE in answer.headers or not incoming.keep_alive or not incoming.body.done
        head = _LINES[answer.status] + self._server.date()
        for name, value in answer.headers:
            head += f"{name}: {value}\r\n"
        if close and CLOSE not in answer.headers:
            head += "connection: close\r\n"
        head += f"content-length: {len(answer.body)}\r\n\r\n"
        body = b"" if incoming.method == "HEAD" else answer.body
        self._transport.write(head.encode("latin-1", "replace") + body)
        if close:
            self._leave(incoming.body.done)
            return
        if not self._full:
            self._go_on()

    def _go_on(self) -> None:
        """To the next request, once the last one is answered and the client has taken it."""
        if self._task is not None:
            return
        if not self._deaf:
            self._rest()
            self._resume()
        if self._queue:
            self._serve_next()

    def _rest(self) -> None:
        self.deadline = self._loop.time() + self._server.settings.gateway_idle_timeout

    def _leave(self, clean: bool) -> None:
        """Ends the connection; a client that is still sending is given time to read its answer first."""
        self._queue.clear()
        if clean or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._deaf = True
        self.deadline = self._loop.time() + LINGER
        self._transport.write_eof()
        self._resume()

    def _fail(self, status: int) -> None:
        """What came is no request of ours; what was asked before it is still answered."""
        if self._parsing is not None:
            self._parsing.body.fail(Garbled() if status == 400 else ClientGone())
        last = self._queue[-1] if self._queue else self._current
        if last is None:
            self._transport.write(_BARE[status])
            self._leave(clean=False)
            return
        last.keep_alive = False
        self._deaf = True
        if self._task is None:
            self._serve_next()

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # Bodies and time

    def expect_body(self, within: float) -> None:
        """Lets more of the body in."""
        parsing = self._parsing
        if self._transport is None:
            raise ClientGone
        if (
            parsing is not None
            and parsing.body.size == 0
            and parsing.headers.get("expect", "").lower() == "100-continue"
        ):
            parsing.headers["expect"] = "continued"
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.deadline == inf:
            self.deadline = self._loop.time() + within
        self._resume()

    def hold_body(self) -> None:
        """Lets no more in: nobody waits for it."""
        if self._parsing is None:
            self.deadline = inf
        elif self._transport is not None:
            self._pause()

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = inf
        if self._deaf or self._transport.get_write_buffer_size():
            self._transport.abort()
        elif self._task is not None and self._parsing is not None:
            self._parsing.body.late()
        elif self._task is None:
            if self._head_bytes:
                self._transport.write(_BARE[408])
            self._transport.close()

    def shut(self) -> None:
        """Closes it unless a request is being answered."""
        if self._task is None and self._transport is not None:
            self._transport.close()


class HttpServer:
    """Listens, and keeps account of the connections."""

    application: Application
    """Who answers; to be set in the same step of the loop in which `start` returns."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._date, self._second = "", 0

    async def start(self) -> None:
        """Listens. Raises OSError where the address is taken."""
        settings = self.settings
        self._server = await self.loop.create_server(
            lambda: Connection(self), settings.gateway_host, settings.gateway_port, backlog=1024
        )
        self._sweeper = self.loop.create_task(self._sweep(), name="http sweep")

    async def stop(self, within: float) -> None:
        """Takes no more connections and closes those there are, when they are answered or ``within`` is over."""
        if self._server is not None:
            self._server.close()
        deadline = self.loop.time() + within
        while self._connections and self.loop.time() < deadline:
            for connection in tuple(self._connections):
                connection.shut()
            await asyncio.sleep(0.02)
        if self._sweeper is not None:
            self._sweeper.cancel()

    def admit(self, connection: Connection) -> bool:
        """Whether there is room for one more."""
        self._connections.add(connection)
        return len(self._connections) <= self.settings.gateway_connections

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self._connections.discard(connection)

    def date(self) -> str:
        """The Date header's line."""
        now = int(time.time())
        if now != self._second:
            self._date, self._second = f"date: {formatdate(now, usegmt=True)}\r\n", now
        return self._date

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            now = self.loop.time()
            for connection in [each for each in self._connections if each.deadline < now]:
                connection.expire()
