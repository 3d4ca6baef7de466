"""What a plain agent's consumer hands over and commits, driven by hand: no record is passed over that no agent saw."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from runtime.plain import PlainWorker
from runtime.settings import load

P = TP("events", 0)


class Driven:
    """A consumer whose log holds ``log``, and whose position is where it was last sought or read."""

    def __init__(self, consumer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.consumer = consumer
        self.log = list(range(20))
        self.committed: int | None = None
        self.position = 0
        monkeypatch.setattr(driver.Consumer, "getmany", lambda _self, _timeout: self._fetch())
        for name in ("seek_to_committed", "seek_wait", "earliest_offsets"):
            monkeypatch.setattr(consumer, name, getattr(self, "_" + name))
        monkeypatch.setattr(consumer, "assignment", lambda: {P})
        monkeypatch.setattr(consumer, "_is_changelog_tp", lambda _tp: False)

    async def _seek_to_committed(self) -> dict[TP, int | None]:
        if self.committed:
            self.position = self.committed
        return {P: self.committed}

    async def _seek_wait(self, where: dict[TP, int]) -> None:
        self.position = where[P]

    async def _earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, self.log[0])

    async def _fetch(self) -> AsyncIterator[tuple[TP, Any]]:
        fetched = [offset for offset in self.log if offset >= self.position]
        self.position = fetched[-1] + 1 if fetched else self.position
        for offset in fetched:
            yield P, SimpleNamespace(offset=offset)

    async def handed(self) -> list[int]:
        """What one fetch hands over, as Faust's own loop takes it: without what is before the last that was read."""
        found = []
        async for tp, message in self.consumer.getmany(1.0):
            read = self.consumer._read_offset[tp]
            assert read == message.offset, "Faust would drop it, or take what is before it for a gap"
            found.append(message.offset)
        return found

    async def begin(self) -> None:
        await self.consumer.perform_seek()
        self.consumer.resume_flow()

    def handle(self, *offsets: int) -> None:
        for offset in offsets:
            self.consumer._acked[P].append(offset)
            self.consumer._acked_index[P].add(offset)


Drive = Callable[[Callable[[Driven], Awaitable[None]]], None]


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drive:
    def run(scene: Callable[[Driven], Awaitable[None]]) -> None:
        async def main() -> None:
            consumer: Any = PlainWorker([], load(data_dir=tmp_path))._made().consumer
            try:
                await scene(Driven(consumer, monkeypatch))
            finally:
                consumer._thread.thread_loop.close()

        asyncio.run(main())

    return run


def test_a_group_that_committed_nothing_begins_at_the_first_record(drive: Drive) -> None:
    async def scene(it: Driven) -> None:
        assert await it.handed() == []  # fetched before Faust seeks
        await it.begin()
        assert await it.handed() == it.log

    drive(scene)


@pytest.mark.parametrize("committed", [None, 0, 5])
def test_what_is_fetched_around_the_seek_is_fetched_again(drive: Drive, committed: int | None) -> None:
    async def scene(it: Driven) -> None:
        it.committed = committed
        early = it.consumer.getmany(1.0)  # Faust's loop is in the middle of a fetch
        await anext(early, None)
        await it.consumer.perform_seek()
        assert [message.offset async for _, message in early] == []
        assert await it.handed() == []  # would come into a queue that is emptied now
        it.consumer.resume_flow()
        assert await it.handed() == it.log[committed or 0 :]

    drive(scene)


def test_a_fetch_under_way_at_a_seek_hands_over_no_more_of_it(drive: Drive) -> None:
    async def scene(it: Driven) -> None:
        await it.begin()
        under_way = it.consumer.getmany(1.0)
        assert [(await anext(under_way))[1].offset for _ in range(8)] == it.log[:8]
        it.committed = 3
        await it.begin()
        assert [message.offset async for _, message in under_way] == []
        assert await it.handed() == it.log[3:]

    drive(scene)


def test_a_gap_is_believed_when_it_is_still_there(drive: Drive) -> None:
    async def scene(it: Driven) -> None:
        await it.begin()
        it.log = [0, 1, 2, 7, 8]
        assert await it.handed() == [0, 1, 2]
        assert await it.handed() == [7, 8]
        it.handle(0, 1, 2, 7, 8)
        assert it.consumer._new_offset(P) == 9

    drive(scene)


def test_what_was_lost_on_the_way_is_fetched_again(drive: Drive) -> None:
    async def scene(it: Driven) -> None:
        await it.begin()
        assert await it.handed() == list(range(20))
        it.log += range(20, 40)
        it.position = 24  # 20 to 23 were fetched and came to nobody
        assert await it.handed() == []
        assert await it.handed() == it.log[20:]

    drive(scene)


def test_a_fetch_that_cannot_be_repeated_yet_is_tried_again(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(it: Driven) -> None:
        await it.begin()
        assert await it.handed() == list(range(20))
        it.log += range(20, 40)
        it.position = 24
        assert await it.handed() == []
        seek, failing = it.consumer.seek_wait, [TimeoutError()]

        async def unsteady(where: dict[TP, int]) -> None:
            if failing:
                raise failing.pop()
            await seek(where)

        monkeypatch.setattr(it.consumer, "seek_wait", unsteady)
        assert await it.handed() == []
        it.log.append(40)
        assert await it.handed() == it.log[20:]

    drive(scene)


def test_what_is_handed_over_between_two_seeks_is_committed(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust's fetcher seeks when it begins anew, and recovery seeks: one may end in the middle of the other."""

    async def scene(it: Driven) -> None:
        it.committed = 5
        await it.begin()
        seek = it.consumer.seek_to_committed

        async def overlapped() -> Any:
            where = await seek()
            it.consumer.resume_flow()  # the other one has ended by now
            assert await it.handed() == it.log[5:]
            return where

        monkeypatch.setattr(it.consumer, "seek_to_committed", overlapped)
        await it.begin()
        assert await it.handed() == it.log[5:]
        it.handle(*it.log[5:])
        assert it.consumer._new_offset(P) == 20

    drive(scene)


def test_only_what_was_handled_from_the_first_on_is_committed(drive: Drive) -> None:
    async def scene(it: Driven) -> None:
        await it.begin()
        await it.handed()
        assert it.consumer._new_offset(P) is None
        it.handle(1, 2)
        assert it.consumer._new_offset(P) is None  # stock Faust commits 3 here, where nobody handled 0
        it.handle(0, 2, 1)  # around a rebalance a record may be acknowledged twice
        assert it.consumer._new_offset(P) == 3
        it.handle(4)
        assert it.consumer._new_offset(P) is None
        it.handle(3)
        assert it.consumer._new_offset(P) == 5

    drive(scene)


def test_of_a_partition_that_is_gone_nothing_is_handed_over(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_self: Any, _revoked: set[TP]) -> None:
        pass

    async def scene(it: Driven) -> None:
        await it.begin()
        monkeypatch.setattr(driver.Consumer, "on_partitions_revoked", nothing)
        await it.consumer.on_partitions_revoked({P})
        assert await it.handed() == []

    drive(scene)


def test_stock_faust_still_needs_it(drive: Drive) -> None:
    async def scene(it: Driven) -> None:
        await it.begin()
        it.consumer._committed_offset[P] = 10
        it.handle(11)
        assert driver.Consumer._new_offset(it.consumer, P) == 12, "it waits for record 10 now: read its changes"

    drive(scene)
