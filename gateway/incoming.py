"""A request on its way in: its head is complete, its body comes when somebody asks for it."""

import asyncio
from typing import Protocol


class ClientGone(Exception):  # noqa: N818
    """The client has left before its request was complete; nobody waits for an answer."""


class TooSlow(Exception):  # noqa: N818
    """The body was not complete in time."""


class Garbled(Exception):  # noqa: N818
    """What came of the body is none: its chunks are not as HTTP has them."""


class Flow(Protocol):
    """The connection, as a body needs it."""

    def expect_body(self, within: float) -> None:
        """Lets more of the body in, for so many seconds. Raises ClientGone."""

    def hold_body(self) -> None:
        """Lets no more in."""


class Body:
    """A request's body, on its way in. What is not kept is counted and dropped, so that it never fills memory."""

    __slots__ = ("_connection", "_failure", "_keep", "_parts", "_waiter", "_wanted", "done", "size")

    def __init__(self, connection: Flow, keep: int) -> None:
        self._connection, self._keep, self._wanted = connection, keep, keep
        self._parts: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self.done = False
        """All of it has come."""
        self.size = 0
        """Bytes that have come."""

    def feed(self, part: bytes) -> None:
        """More of it."""
        room = self._keep - self.size
        if room > 0:
            self._parts.append(part if len(part) <= room else part[:room])
        self.size += len(part)
        if self._waiter is not None and self.size > self._wanted:
            self._wake()

    def finish(self) -> None:
        """That was all."""
        self.done = True
        if self._waiter is not None:
            self._wake()

    def fail(self, error: Exception) -> None:
        """No more will come; who asks for it later is told so too."""
        self._failure = error
        self._stop(error)

    def late(self) -> None:
        """It has taken too long for whoever waits for it."""
        self._stop(TooSlow())

    def _stop(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def bytes(self) -> bytes:
        """What was kept."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    async def complete(self, within: float) -> bool:
        """Waits for all of it; False as soon as it is larger than what is kept.

        Raises TooSlow, Garbled, ClientGone.
        """
        if not self.done:
            await self._arrive(self._keep, within)
        return self.size <= self._keep

    async def discard(self, keep: int, most: int, within: float) -> bool:
        """Takes the rest off the connection, at most ``most`` bytes, and keeps ``keep`` of all; whether it is done.

        Raises ClientGone.
        """
        self._parts = [self.bytes()[:keep]]
        self._keep = keep
        try:
            while not self.done and self.size <= most:
                await self._arrive(self.size, within)
        except (TooSlow, Garbled):
            return False
        return self.done

    async def _arrive(self, size: int, within: float) -> None:
        """Waits until it is done or larger than ``size``."""
        while not self.done and self.size <= size:
            if self._failure is not None:
                raise self._failure
            self._waiter, self._wanted = asyncio.get_running_loop().create_future(), size
            self._connection.expect_body(within)
            try:
                await self._waiter
            finally:
                self._waiter = None
                self._connection.hold_body()


class Incoming:
    """A request whose head is complete."""

    __slots__ = ("body", "headers", "keep_alive", "method", "path")

    def __init__(self, method: str, path: str, headers: dict[str, str], body: Body, keep_alive: bool) -> None:
        self.method, self.path, self.headers = method, path, headers
        self.body, self.keep_alive = body, keep_alive

    def declared_size(self) -> int | None:
        """Content-Length, which the parser has checked; None where the body comes in chunks."""
        text = self.headers.get("content-length")
        if text is not None:
            return int(text)
        return None if "transfer-encoding" in self.headers else 0
