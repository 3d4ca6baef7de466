"""The idempotency index: one event for a key, the first answer for every repeat, on either store."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.dialects.base import Idempotency, Refusal
from gateway.idempotency import Index, IndexAway, Outcome, Store
from gateway.index_disk import DAY, DiskStore
from gateway.index_redis import RedisStore
from gateway.producer import Unavailable
from tests.redis import KINDS, redis

ONE = Idempotency("k", b"f" * 16, 409, "sent")
OTHER = Idempotency("k", b"g" * 16, 409, "sent")
ANSWER = Outcome(ONE.fingerprint, 202, b'{"id":"1"}')


@pytest.fixture(params=["disk", *KINDS])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    if request.param == "disk":
        yield lambda: DiskStore(tmp_path / "index", 7 * DAY)
    else:
        with redis(request.param, tmp_path) as server:
            yield lambda: RedisStore(server.address, 7 * DAY, 5, 1)


@asynccontextmanager
async def index(opened: Callable[[], Store]) -> AsyncIterator[Index]:
    store = opened()
    try:
        yield Index(store, 10)
    finally:
        await store.close()


class Producing:
    """Counts how often it was asked to produce."""

    def __init__(self, fails: int = 0) -> None:
        self.calls, self._fails = 0, fails

    async def __call__(self) -> Outcome:
        self.calls += 1
        await asyncio.sleep(0.02)
        if self.calls <= self._fails:
            raise Unavailable("Kafka is away")
        return Outcome(ANSWER.fingerprint, 202, b'{"id":"%d"}' % self.calls)


def test_outcomes_are_kept_whole() -> None:
    assert Outcome.unpack(ANSWER.pack()) == ANSWER


def test_a_hundred_at_once_are_one_event_and_equal_answers(opened: Callable[[], Store]) -> None:
    async def check() -> None:
        produce = Producing()
        async with index(opened) as one:
            answers = await asyncio.gather(*(one.once("scrip", ONE, produce) for _ in range(100)))
            assert set(answers) == {ANSWER}
            assert await one.once("scrip", ONE, produce) == ANSWER
        assert produce.calls == 1

    asyncio.run(check())


def test_another_payload_is_a_conflict_also_while_the_first_is_under_way(opened: Callable[[], Store]) -> None:
    async def check() -> None:
        produce = Producing()
        async with index(opened) as one:
            first = asyncio.create_task(one.once("scrip", ONE, produce))
            await asyncio.sleep(0)
            for _ in range(2):
                with pytest.raises(Refusal) as caught:
                    await one.once("scrip", OTHER, produce)
                assert caught.value.status == 409
                assert caught.value.extra == {"error": "idempotency_conflict"}
                assert [fault.message for fault in caught.value.faults] == [f"{caught.value.detail}: sent"]
            assert await first == ANSWER
            with pytest.raises(Refusal) as caught:
                await one.once("adwize", Idempotency("k", b"h" * 16, 422, "sent"), produce)
            assert (caught.value.status, caught.value.extra) == (422, {})
            assert caught.value.detail == "this idempotency key was used with another payload"
            assert [fault.message for fault in caught.value.faults] == [f"{caught.value.detail}: sent"]
        assert produce.calls == 1

    asyncio.run(check())


def test_nothing_is_recorded_without_the_acknowledgement(opened: Callable[[], Store]) -> None:
    async def check() -> None:
        produce = Producing(fails=1)
        async with index(opened) as one:
            answers = await asyncio.gather(
                *(one.once("scrip", ONE, produce) for _ in range(10)), return_exceptions=True
            )
            assert {type(answer) for answer in answers} == {Unavailable}
            assert (await one.once("scrip", ONE, produce)).body == b'{"id":"2"}'

    asyncio.run(check())


def test_it_survives_being_opened_again(opened: Callable[[], Store]) -> None:
    async def check() -> None:
        produce = Producing()
        for _ in range(2):
            async with index(opened) as one:
                assert await one.once("scrip", ONE, produce) == ANSWER
        assert produce.calls == 1

    asyncio.run(check())


@pytest.mark.parametrize("kind", KINDS)
def test_four_gateways_on_one_redis_make_one_event(kind: str, tmp_path: Path) -> None:
    async def check() -> None:
        produce = Producing()
        with redis(kind, tmp_path) as server:
            stores = [RedisStore(server.address, 60, 5, 1) for _ in range(4)]
            gateways = [Index(store, 10) for store in stores]
            calls = [one.once("scrip", ONE, produce) for one in gateways for _ in range(25)]
            random.shuffle(calls)
            assert set(await asyncio.gather(*calls)) == {ANSWER}
            for store in stores:
                await store.close()
        assert produce.calls == 1

    asyncio.run(check())


@pytest.mark.parametrize("kind", KINDS)
def test_a_dead_gateways_claim_runs_out(kind: str, tmp_path: Path) -> None:
    async def check() -> None:
        with redis(kind, tmp_path) as server:
            dead, alive = (RedisStore(server.address, 60, 0.3, 1) for _ in range(2))
            assert await dead.claim("k")
            assert await alive.claim("k") is None
            assert await Index(alive, 5).once("scrip", ONE, Producing()) == ANSWER
            await dead.close()
            await alive.close()

    asyncio.run(check())


def test_without_redis_requests_pass(tmp_path: Path) -> None:
    async def check() -> None:
        with redis("valkey", tmp_path) as server:
            store = RedisStore(server.address, 60, 5, 0.3)
            one = Index(store, 1)
        with pytest.raises(IndexAway):
            await store.get("k")
        assert await one.once("scrip", ONE, Producing()) == ANSWER
        await store.close()

    asyncio.run(check())


def test_what_has_expired_is_gone_and_so_is_its_folder(tmp_path: Path) -> None:
    now = 20_000.0 * DAY
    store = DiskStore(tmp_path, 7 * DAY, lambda: now)

    async def check() -> None:
        nonlocal now, store
        await store.put("old", b"1")
        for _ in range(6):
            now += DAY
            await store.put(f"at {now}", b"2")
        assert await store.get("old") == b"1"
        now += DAY + 1
        assert await store.get("old") is None
        await store.put("new", b"3")
        assert len(list(tmp_path.iterdir())) == 8
        now += DAY
        await store.put("newer", b"4")
        assert sorted(int(path.name) for path in tmp_path.iterdir())[0] == 20_001
        await store.close()
        now += 30 * DAY
        store = DiskStore(tmp_path, 7 * DAY, lambda: now)
        assert list(tmp_path.iterdir()) == []
        await store.close()

    asyncio.run(check())
