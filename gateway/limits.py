"""Rate limits: requests, and where a key says so events, in fixed minutes of the epoch (spec/dialects.md).

The minute is part of the counter's name, so that all gateways agree on the window whatever the moment of its first
request. One atomic increment per request makes the limit exact, also over many gateways on one Redis. While Redis is
away each gateway counts for itself: a limit that is too generous for a minute does less harm than a stopped ingest.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from limits.errors import StorageError
from limits.storage import storage_from_string

from gateway.keys import Key
from runtime.metrics import LIMIT_FAILURES

log = logging.getLogger("sluice.limits")

MINUTE = 60
REST = 1.0
"""After a failure Redis is left alone for this long, so that its absence costs one request a second, not each."""


class Counters(Protocol):
    """The part of the ``limits`` library's storages that is used here."""

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Adds and returns the new count."""

    async def get(self, key: str) -> int:
        """The count."""


class Memory:
    """Counters of this process, for the running minute. The library's own starts a task for every hit."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._minute = ""

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        minute = key.rpartition("/")[2]
        if minute > self._minute:
            self._counts, self._minute = {}, minute
        count = self._counts[key] = self._counts.get(key, 0) + amount
        return count

    async def get(self, key: str) -> int:
        return self._counts.get(key, 0)


@dataclass(slots=True)
class Standing:
    """Where a key stands after this request."""

    name: str
    limit: int
    remaining: int
    reset: int
    """Epoch second at which the window ends."""
    wait: int
    """Seconds until then, at least 1."""
    exceeded: bool


def headers_of(requests: Standing | None, events: Standing | None) -> list[tuple[str, str]]:
    """The vendors' three headers and the IETF's two (draft-ietf-httpapi-ratelimit-headers); none where unlimited."""
    if requests is None and events is None:
        return []
    known = [standing for standing in (requests, events) if standing is not None]
    headers = [
        ("ratelimit-policy", ", ".join(f'"{s.name}";q={s.limit};w={MINUTE}' for s in known)),
        ("ratelimit", ", ".join(f'"{s.name}";r={s.remaining};t={s.wait}' for s in known)),
    ]
    if requests is not None:
        headers += [
            ("x-ratelimit-limit", str(requests.limit)),
            ("x-ratelimit-remaining", str(requests.remaining)),
            ("x-ratelimit-reset", str(requests.reset)),
        ]
    return headers


class Limits:
    """Counts requests and events by key."""

    def __init__(self, shared: Counters | None = None, clock: Callable[[], float] = time.time) -> None:
        self._shared, self._clock = shared, clock
        self._own = Memory()
        self._rest_until = 0.0

    async def request(self, key: Key, dialect: str, default: int | Mapping[str, int | None]) -> Standing | None:
        """Counts one request, refused or not; None: unlimited."""
        limit = request_limit(key, default)
        return None if limit is None else await self._count(f"requests/{key.id}/{dialect}", dialect, limit, 1)

    async def look(self, key: Key, dialect: str, default: int | Mapping[str, int | None]) -> Standing | None:
        """As `request`, without counting: for an answer that comes before the limit is judged."""
        limit = request_limit(key, default)
        return None if limit is None else await self._count(f"requests/{key.id}/{dialect}", dialect, limit, 0)

    async def events(self, key: Key, count: int) -> Standing | None:
        """Counts events, of all dialects together; what is refused is not counted. None: no such limit."""
        if key.events_limit is None:
            return None
        name = f"events/{key.id}"
        standing = await self._count(name, "events", key.events_limit, count)
        if standing.exceeded:
            await self._count(name, "events", key.events_limit, -count)
        return standing

    async def _count(self, counter: str, name: str, limit: int, amount: int) -> Standing:
        now = self._clock()
        minute = int(now // MINUTE)
        count = await self._add(f"{counter}/{minute}", amount)
        reset = (minute + 1) * MINUTE
        wait = max(1, -int(-(reset - now) // 1))
        return Standing(name, limit, max(0, limit - count), reset, wait, count > limit)

    async def _add(self, counter: str, amount: int) -> int:
        shared = self._shared
        if shared is not None and self._clock() >= self._rest_until:
            try:
                return await (shared.incr(counter, 2 * MINUTE, amount) if amount else shared.get(counter))
            except (StorageError, OSError, TimeoutError) as error:
                self._rest_until = self._clock() + REST
                log.warning("shared limits are away", extra={"reason": repr(error)})
        if shared is not None:
            LIMIT_FAILURES.inc()
        return await self._own.incr(counter, 2 * MINUTE, amount)


def request_limit(key: Key, default: int | Mapping[str, int | None]) -> int | None:
    """Requests per minute; None: unlimited, as is a tier without a number (enterprise) until its key is given a limit.

    A tier that the dialect does not know is free.
    """
    if key.limit is not None:
        return key.limit or None
    return default if isinstance(default, int) else default.get(key.tier, default["free"])


def shared_counters(address: str, within: float) -> Counters:
    """Counters in Redis or Valkey at a ``redis://`` or ``rediss://`` address. Raises ConfigurationError."""
    storage: Any = storage_from_string(
        f"async+{address}",
        implementation="redispy",
        wrap_exceptions=True,
        key_prefix="sluice:limit",
        socket_timeout=within,
        socket_connect_timeout=within,
    )
    counters: Counters = storage
    return counters
