"""A lane has one task at most, however starts and pauses overlap: two on one state would tear it apart."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import pytest
from faust.types import TP

from runtime import lane as module
from runtime.agent import Agent, Record
from runtime.changelog import Marker
from runtime.lane import Lane
from runtime.producer import SendFailed
from runtime.step import Gap, Result
from runtime.transport import Run
from schemas.topics import WAGERS


class Ledger:
    def release(self, *_: Any) -> None: ...


class Tools:
    ledger = Ledger()

    def fail(self, error: BaseException) -> None:
        raise error


class Working(Lane):
    """Works in batches that take a moment each, whatever it is told meanwhile."""

    running = most = batches = 0

    async def _run(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            while not self._stop.is_set():
                await asyncio.sleep(0.03)
                self.batches += 1
        finally:
            self.running -= 1


def lane() -> Working:
    agent = Agent("any", WAGERS, lambda *_: None, retention=1)
    parts: Any = (None, None, Tools())
    return Working(agent, TP("wagers", 0), *parts)


def test_a_start_in_the_middle_of_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)

    async def run() -> None:
        each = lane()
        each.start(1)
        for after in (0.0, 0.001, 0.01, 0.029, 0.031, 0.05):
            await asyncio.sleep(0.02)
            pausing = asyncio.create_task(each.pause())
            await asyncio.sleep(after)
            each.start(1)
            await pausing
            done = each.batches
            await asyncio.sleep(0.1)
            assert each.batches > done, f"it stands still after {after}"
        assert each.most == 1
        await each.pause()
        await asyncio.sleep(0.05)
        assert each.running == 0

    asyncio.run(run())


def test_a_pause_that_loses_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(module, "PATIENCE", 0.001)
        each = lane()
        for _ in range(5):
            each.start(1)
            await asyncio.sleep(0.01)
            await each.pause()
            assert each.running == 0
        each.start(1)
        await asyncio.sleep(0.05)
        assert (each.running, each.most) == (1, 1)
        await each.pause()

    asyncio.run(run())


class Deleted(Tools):
    """Over a log of which 3 and 4 are deleted, and a person has accepted that; it is recorded at the second try."""

    preload = rebuild = None

    def __init__(self) -> None:
        self.kafka = self.ledger = self  # type: ignore[assignment]
        self.asked: list[tuple[Any, ...]] = []
        self.sought: list[int] = []

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 5, 9

    async def accepts(self, *lost: Any) -> bool:
        self.asked.append(lost)
        if len(self.asked) == 1:
            raise SendFailed("no producer")
        return True

    def release(self, *_: Any) -> None: ...

    async def seek(self, tp: TP, offset: int) -> None:
        self.sought.append(offset)


def test_an_accepted_loss_is_recorded_before_it_is_stepped_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        each, tools, marked = lane(), Deleted(), []

        async def mark(applied: int) -> None:
            marked.append(applied)

        each._tools = tools  # type: ignore[assignment]
        monkeypatch.setattr(each, "_mark", mark)
        with pytest.raises(SendFailed):
            await each._seek(Gap(3, 5))
        assert (marked, tools.sought) == ([], [])
        await each._seek(Gap(3, 5))
        assert (marked, tools.sought) == ([4], [5])
        assert tools.asked == [("any", "wagers", 0, 3, 5)] * 2

    asyncio.run(run())


class Fetched(Ledger):
    """A consumer that has fetched to an offset, whatever came of it."""

    offset = -1

    def fetched(self, tp: TP) -> int:
        return self.offset


def test_what_was_fetched_and_never_came_is_fetched_again() -> None:
    """Faust empties its queues when the flow begins anew; of the last records nobody would ever ask again."""

    async def run() -> None:
        each, ledger, flowing = lane(), Fetched(), asyncio.Event()
        tools: Any = each._tools
        tools.ledger, tools.flowing = ledger, flowing
        each.state.marker.applied = 7

        def look_back() -> tuple[int, int] | None:
            try:
                each._look_back()
            except Gap as gap:
                return gap.expected, gap.found
            return None

        flowing.set()
        ledger.offset = 7
        assert [look_back() for _ in range(3)] == [None] * 3
        ledger.offset = 9
        assert look_back() is None, "it may be on its way"
        ledger.offset = 12
        assert look_back() is None, "more has come"
        assert look_back() == (8, 12)
        assert look_back() is None, "it is being fetched"
        flowing.clear()
        assert [look_back() for _ in range(3)] == [None] * 3, "nothing is fetched in a rebalance"

    asyncio.run(run())


def test_nothing_expires_while_it_is_rebuilt() -> None:
    """The replay of a dead letter stands days behind what it belongs to, which must be there still."""

    class Once(Lane):
        async def _step(self, records: Run) -> Result:
            self.state.marker.applied = records[-1].offset
            return Result(self.state.marker, {}, len(records))

    async def run(preload: Any) -> list[Any]:
        tools: Any = Tools()
        tools.preload, tools.observe, tools.ledger = preload, lambda *_: None, Mock()
        parts: Any = (None, None, tools)
        each = Once(Agent("any", WAGERS, lambda *_: None, retention=1), TP("wagers", 0), *parts)
        swept: list[Any] = []
        state: Any = each.state
        state.store, state.sweep = Mock(), swept.append
        await each._handle([Record("wagers", 0, 0, 0, None, None)])
        return swept

    assert asyncio.run(run(None)) == [1]
    assert asyncio.run(run(lambda *_: None)) == []


def test_behind_a_record_that_fails_what_the_log_has_lost_is_loaded_to_its_end() -> None:
    """A batch is handled only to where a record fails; those behind it were left out of the rebuild."""
    loaded: list[bytes | None] = []

    class Halting(Lane):
        async def _compute(self, records: Run, dense: bool = True) -> Result:
            first = records[:2]
            loaded.extend(record.value for record in first)
            return Result(Marker(), {}, len(first))

        async def _commit(self, result: Result) -> None:
            assert (result.marker.applied, result.marker.before) == (-1, -1)

    async def lost(_tp: TP, begin: int) -> AsyncIterator[Run]:
        for start in (0, 5):
            yield [Record("wagers", 0, begin - 1, 0, None, b"%d" % n) for n in range(start, start + 5)]

    parts: Any = (None, None, Tools())
    each = Halting(Agent("any", WAGERS, lambda *_: None, retention=1), TP("wagers", 0), *parts)
    asyncio.run(each._load_lost(lost, 8))
    assert loaded == [b"%d" % n for n in range(10)]
