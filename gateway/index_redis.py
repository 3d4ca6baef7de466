"""The idempotency index in a Redis or Valkey that gateways share: a repeat is known whichever gateway it meets."""

import secrets
from collections.abc import Awaitable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.idempotency import IndexAway

_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end"


class RedisStore:
    """A store for all gateways with the same address."""

    def __init__(self, address: str, window: float, claim_time: float, within: float) -> None:
        """``claim_time``: seconds after which a claim whose gateway died is free again."""
        self._redis = Redis.from_url(address, socket_timeout=within, socket_connect_timeout=within)
        self._window, self._claim_time = int(window * 1000), int(claim_time * 1000)

    async def get(self, key: str) -> bytes | None:
        found: bytes | None = await _answer(self._redis.get(f"sluice:answer:{key}"))
        return found

    async def put(self, key: str, value: bytes) -> None:
        await _answer(self._redis.set(f"sluice:answer:{key}", value, nx=True, px=self._window))

    async def claim(self, key: str) -> str | None:
        token = secrets.token_hex(8)
        taken = await _answer(self._redis.set(f"sluice:claim:{key}", token, nx=True, px=self._claim_time))
        return token if taken else None

    async def release(self, key: str, claim: str) -> None:
        await _answer(self._redis.eval(_RELEASE, 1, f"sluice:claim:{key}", claim))

    async def close(self) -> None:
        await self._redis.aclose()


async def _answer(call: Awaitable[Any] | Any) -> Any:
    try:
        return await call
    except (RedisError, OSError) as error:
        raise IndexAway(repr(error)) from error
