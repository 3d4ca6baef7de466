"""When a lane of the sink inserts, by a clock that moves only where it waits and where an insert takes its time."""

import asyncio
from concurrent.futures import Executor, Future
from itertools import pairwise
from typing import Any

import pytest
from faust.types import TP

from runtime.agent import Record
from schemas.topics import EVENTS
from sinks import lane as module
from sinks.lane import Lane, Tools

AT = TP(EVENTS.name, 0)


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = time = monotonic


class Inline(Executor):
    """Runs a call where it is submitted."""

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Any:
        done: Future[Any] = Future()
        done.set_result(call(*args, **kwargs))
        return done


class Consumer:
    def __init__(self) -> None:
        self.fetched: dict[TP, int] = {}

    def assignment(self) -> set[TP]:
        return {AT}

    def committed(self, tp: TP) -> int:
        return 0

    def settle(self, tp: TP, offset: int) -> None: ...


class Topic:
    topic = EVENTS


async def position() -> int:
    return 0


def begins(monkeypatch: pytest.MonkeyPatch, durations: list[float]) -> list[float]:
    """When each insert begins, if the inserts take so long and records come all the time."""
    clock = Clock()
    begun: list[float] = []
    over = asyncio.Event()

    def store(*_: Any) -> Any:
        begun.append(clock.now)
        if len(begun) > len(durations):
            over.set()
        else:
            clock.now += durations[len(begun) - 1]
            lane.put(AT, [Record(EVENTS.name, 0, len(begun), 0, b"", b"x", ())])
        return [], []

    async def wait(event: Any, seconds: float | None) -> None:
        if seconds is None:
            await event
            return
        event.close()
        await asyncio.sleep(0)
        clock.now += seconds
        raise TimeoutError

    async def run() -> None:
        lane.start()
        lane.put(AT, [Record(EVENTS.name, 0, 0, 0, b"", b"x", ())])
        await over.wait()
        await lane.stop()

    def fail(error: BaseException) -> None:
        raise error

    anything: Any = None
    feed: Any = Topic()
    monkeypatch.setattr(module, "store", store)
    monkeypatch.setattr(module, "time", clock)
    lane = Lane(
        feed, Tools(anything, Inline(), Consumer, anything, anything, position, anything, fail, buffer=1_000_000)
    )
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "wait_for", wait)
        asyncio.run(run())
    return begun


def test_quick_inserts_come_sooner_and_slow_ones_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    found = begins(monkeypatch, [0.01, 0.1, 0.25, 0.4, 3.0, 0.01, 0.01])
    gaps = [round(later - earlier, 3) for earlier, later in pairwise(found)]
    assert gaps == [0.5, 0.5, 0.75, 1.0, 3.2, 0.5, 0.5]


def test_a_batch_that_failed_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """ClickHouse may have died of reading it as it is."""
    tried: list[bool] = []

    def store(*given: Any) -> Any:
        tried.append(given[-1])
        if len(tried) < 3:
            raise ConnectionError
        return [], []

    anything: Any = None
    feed: Any = Topic()
    monkeypatch.setattr(module, "store", store)
    lane = Lane(feed, Tools(anything, Inline(), Consumer, anything, anything, position, anything, anything, buffer=1))
    asyncio.run(lane._store(0, [(AT, [Record(EVENTS.name, 0, 0, 0, b"", b"x", ())])]))
    assert tried == [False, True, True]


def test_what_was_fetched_and_never_came_is_fetched_again() -> None:
    """As tests/unit/test_lane.py has it for agents."""
    sought: list[dict[TP, int]] = []

    class Seeking(Consumer):
        async def seek_wait(self, partitions: dict[TP, int]) -> None:
            sought.append(partitions)

    consumer = Seeking()
    anything: Any = None
    feed: Any = Topic()

    async def run() -> None:
        lane = Lane(
            feed, Tools(anything, Inline(), lambda: consumer, anything, anything, position, anything, anything, 9)
        )
        lane.put(AT, [Record(EVENTS.name, 0, 0, 0, b"", b"x", ())])
        for last in (0, 0, 2, 3):
            consumer.fetched = {AT: last, TP("another", 0): 9, TP(EVENTS.name, 1): 9}
            await lane._look_back()
            assert sought == []
        await lane._look_back()
        assert sought == [{AT: 1}]
        await lane._look_back()
        assert sought == [{AT: 1}], "it is being fetched"

    asyncio.run(run())
