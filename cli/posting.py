"""Requests on their way to a gateway: over kept connections, and again while it is in doubt whether they arrived.

In doubt is an answer of 5xx and none at all; 429 says to come back later. ``Retry-After`` is honoured. Everything else
is the answer, whatever it says.
"""

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from yarl import URL

from runtime.settings import Settings

TIMEOUT = 30.0
"""Seconds for one try."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
TOO_MANY = 429
LONGEST_RETRY_AFTER = 90.0
"""Seconds; a rate limit's window is a minute."""
KNOWN_WITHIN, POLL = 10.0, 0.05
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - asked, not listened on


class NoGateway(Exception):  # noqa: N818
    """No gateway answers, or none that knows the key; the message is a sentence for people."""


@dataclass(slots=True)
class Request:
    """What is sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Reply:
    """What came of it in the end."""

    status: int | None
    """None: no answer."""
    body: bytes
    tries: int
    doubtful: bool
    """An earlier try may have arrived as well."""

    @property
    def ok(self) -> bool:
        """Whether it was accepted."""
        return self.status is not None and 200 <= self.status < 300


def address_of(settings: Settings) -> str:
    """The gateway's URL, as this machine reaches it."""
    return f"http://{ANYWHERE.get(settings.gateway_host, settings.gateway_host)}:{settings.gateway_port}"


class Poster:
    """Posts to one gateway; use it in ``async with``."""

    def __init__(self, address: str, connections: int, tries: int) -> None:
        self.address = address
        self._tries = tries
        self._session = ClientSession(
            connector=TCPConnector(limit=connections),
            timeout=ClientTimeout(total=TIMEOUT),
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=("Content-Type", "User-Agent"),
        )

    async def __aenter__(self) -> "Poster":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, request: Request, key: str | None) -> Reply:
        """Sends it with ``key``, unless it has a key of its own, until it is answered or every try has been made."""
        headers = request.headers
        if key is not None and "x-api-key" not in map(str.lower, headers):
            headers = {**headers, "X-API-Key": key}
        reply, wait = Reply(None, b"", 0, False), FIRST_WAIT
        while True:
            reply.tries += 1
            asked = await self._try(request, headers, reply)
            if asked is None or reply.tries >= self._tries:
                return reply
            reply.doubtful |= reply.status != TOO_MANY
            await asyncio.sleep(min(max(wait, asked), LONGEST_RETRY_AFTER))
            wait = min(2 * wait, LONGEST_WAIT)

    async def _try(self, request: Request, headers: dict[str, str], reply: Reply) -> float | None:
        """Fills in the answer. Returns None where it stands, else how many seconds to wait at least."""
        url = URL(self.address + request.path, encoded=True)
        try:
            async with self._session.request(
                request.method, url, headers=headers, data=request.body or None, allow_redirects=False
            ) as answer:
                reply.status, reply.body = answer.status, await answer.read()
        except (ClientError, TimeoutError, OSError) as error:
            reply.status, reply.body = None, repr(error).encode()
            return 0.0
        if reply.status != TOO_MANY and reply.status < 500:
            return None
        asked = answer.headers.get("Retry-After", "")
        return float(asked) if asked.isdecimal() else 0.0

    async def await_key(self, key: str) -> None:
        """Returns once the gateway knows the key. Raises NoGateway."""
        asking, reply = Request("GET", "/events", {}, b""), Reply(None, b"", 0, False)
        deadline = time.monotonic() + KNOWN_WITHIN
        while time.monotonic() < deadline:
            await self._try(asking, {"X-API-Key": key}, reply)
            if reply.ok:
                return
            await asyncio.sleep(POLL)
        last = reply.body.decode(errors="replace")[:200] if reply.status is None else reply.status
        raise NoGateway(f"No gateway at {self.address} takes a new key within {KNOWN_WITHIN:.0f} s: {last}")
