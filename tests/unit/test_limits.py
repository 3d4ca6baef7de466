"""Rate limits: fixed minutes of the epoch, counted exactly, and what the answer says of them."""

import asyncio
from typing import Any

import pytest
from limits.errors import StorageError

from gateway.keys import Key
from gateway.limits import Limits, headers_of, request_limit

TIERS = {"free": 100, "pro": 1000, "enterprise": None}
NOON = 1_767_268_800.0


def key(**changes: Any) -> Key:
    fields: dict[str, Any] = {"id": "k", "tenant": "t", "tier": "free", "limit": None, "events_limit": None}
    return Key(**(fields | {"dialects": None, "revoked": False} | changes))


@pytest.mark.parametrize(
    ("changes", "default", "limit"),
    [
        ({}, 60, 60),
        ({"limit": 5}, 60, 5),
        ({"limit": 0}, 60, None),
        ({}, TIERS, 100),
        ({"tier": "pro"}, TIERS, 1000),
        ({"tier": "enterprise"}, TIERS, None),
        ({"tier": "enterprise"}, 60, 60),
        ({"tier": "bronze"}, TIERS, 100),
        ({"tier": "enterprise", "limit": 7000}, TIERS, 7000),
    ],
)
def test_whose_number_counts(changes: dict[str, Any], default: Any, limit: int | None) -> None:
    assert request_limit(key(**changes), default) == limit


def test_the_window_is_a_minute_of_the_epoch() -> None:
    now = NOON + 58.5
    limits = Limits(clock=lambda: now)

    async def check() -> None:
        nonlocal now
        first = await limits.request(key(limit=2), "scrip", 1000)
        assert first is not None
        assert (first.remaining, first.reset, first.wait, first.exceeded) == (1, NOON + 60, 2, False)
        await limits.request(key(limit=2), "scrip", 1000)
        third = await limits.request(key(limit=2), "scrip", 1000)
        assert third is not None
        assert third.exceeded
        assert third.remaining == 0
        now = NOON + 60
        fourth = await limits.request(key(limit=2), "scrip", 1000)
        assert fourth is not None
        assert (fourth.remaining, fourth.reset, fourth.exceeded) == (1, NOON + 120, False)

    asyncio.run(check())


def test_keys_and_dialects_count_apart_and_looking_counts_nothing() -> None:
    limits = Limits(clock=lambda: NOON)

    async def check() -> None:
        for _ in range(3):
            await limits.request(key(), "scrip", 10)
        looked = [await limits.look(key(), "scrip", 10) for _ in range(2)]
        assert [standing.remaining for standing in looked if standing] == [7, 7]
        other = await limits.request(key(), "adwize", 10)
        another = await limits.request(key(id="k2"), "scrip", 10)
        assert other is not None
        assert another is not None
        assert other.remaining == another.remaining == 9

    asyncio.run(check())


def test_refused_events_are_not_counted() -> None:
    limits = Limits(clock=lambda: NOON)

    async def check() -> list[tuple[int, bool]]:
        standings = [await limits.events(key(events_limit=10), count) for count in (6, 5, 4, 1)]
        return [(standing.remaining, standing.exceeded) for standing in standings if standing]

    assert asyncio.run(check()) == [(4, False), (0, True), (0, False), (0, True)]


def test_headers() -> None:
    limits = Limits(clock=lambda: NOON + 1)

    async def check() -> None:
        requests = await limits.request(key(limit=100), "scrip", 1000)
        events = await limits.events(key(events_limit=50), 3)
        assert dict(headers_of(requests, events)) == {
            "x-ratelimit-limit": "100",
            "x-ratelimit-remaining": "99",
            "x-ratelimit-reset": str(int(NOON) + 60),
            "ratelimit-policy": '"scrip";q=100;w=60, "events";q=50;w=60',
            "ratelimit": '"scrip";r=99;t=59, "events";r=47;t=59',
        }
        assert headers_of(None, None) == []
        assert all(not name.startswith("x-") for name, _ in headers_of(None, events))

    asyncio.run(check())


class Broken:
    """A Redis that is away."""

    asked = 0

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        self.asked += 1
        raise StorageError(OSError("away"))

    async def get(self, key: str) -> int:
        return await self.incr(key, 0)


def test_without_redis_each_gateway_counts_for_itself_and_asks_redis_once_a_second() -> None:
    broken, now = Broken(), NOON
    limits = Limits(broken, lambda: now)

    async def check() -> list[bool]:
        nonlocal now
        found = []
        for _ in range(4):
            standing = await limits.request(key(limit=3), "scrip", 0)
            found.append(standing is not None and standing.exceeded)
        assert broken.asked == 1
        now += 1.5
        await limits.request(key(limit=3), "scrip", 0)
        assert broken.asked == 2
        return found

    assert asyncio.run(check()) == [False, False, False, True]
