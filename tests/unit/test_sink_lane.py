"""When a lane of the sink inserts, by a clock that moves only where it waits and where an insert takes its time."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from runtime.agent import Record
from runtime.producer import SendFailed
from schemas.codec import DecodeError
from schemas.topics import EVENTS
from sinks import lane as module
from sinks import spacers
from sinks.copying import touched
from sinks.lane import Gap, Lane, Tools
from sinks.table import Stored, Table
from sinks.writer import Stop

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
    tables = (Table("events", ()),)
    restates = False
    copies = False

    def key_times(self, records: Sequence[Record]) -> tuple[list[int], int]:
        return [record.offset for record in records], 7


async def position() -> int:
    return 0


def begins(monkeypatch: pytest.MonkeyPatch, durations: list[float], restates: bool = False) -> list[float]:
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
    feed.restates = restates
    monkeypatch.setattr(module, "store", store)
    monkeypatch.setattr(module, "time", clock)
    lane = Lane(
        feed,
        Tools(anything, Inline(), Consumer, anything, anything, anything, position, anything, fail, buffer=1_000_000),
    )
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "wait_for", wait)
        asyncio.run(run())
    return begun


def test_quick_inserts_come_sooner_and_slow_ones_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    found = begins(monkeypatch, [0.01, 0.1, 0.25, 0.4, 3.0, 0.01, 0.01])
    gaps = [round(later - earlier, 3) for earlier, later in pairwise(found)]
    assert gaps == [0.5, 0.5, 0.75, 0.75, 3.2, 0.5, 0.5]


def test_rows_that_are_restated_wait_longer_under_load(monkeypatch: pytest.MonkeyPatch) -> None:
    found = begins(monkeypatch, [0.01, 0.25, 0.4, 0.8, 3.0, 0.01, 0.01], restates=True)
    gaps = [round(later - earlier, 3) for earlier, later in pairwise(found)]
    assert gaps == [0.5, 0.75, 1.2, 1.5, 3.2, 0.5, 0.5]


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
    lane = Lane(
        feed, Tools(anything, Inline(), Consumer, anything, anything, anything, position, anything, anything, buffer=1)
    )
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
            feed,
            Tools(anything, Inline(), lambda: consumer, anything, anything, anything, position, anything, anything, 9),
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


def run_of(*offsets: int) -> list[Record]:
    return [Record(EVENTS.name, 0, offset, 0, b"", b"x", ()) for offset in offsets]


class Log(Consumer):
    """Its partition begins at ``begin``."""

    def __init__(self, begin: int, committed: int) -> None:
        super().__init__()
        self.begin, self.stored, self.fails = begin, committed, False
        self.sought: list[int] = []

    def committed(self, tp: TP) -> int:
        return self.stored

    async def earliest_offsets(self, tp: TP) -> dict[TP, int]:
        if self.fails:
            raise KafkaConnectionError
        return {tp: self.begin}

    async def seek_wait(self, partitions: dict[TP, int]) -> None:
        self.sought.append(partitions[AT])


async def arrives(lane: Lane, *offsets: int) -> None:
    """As the sink hands it on."""
    try:
        lane.put(AT, run_of(*offsets))
    except Gap as gap:
        await lane.mend(gap)


def lane_over(log: Log, accepted_loss: tuple[int, int] | None = None, fails: list[Exception] | None = None) -> Lane:
    anything: Any = None

    async def accepts(tp: TP, start: int, end: int) -> bool:
        if fails:
            raise fails.pop()
        return (start, end) == accepted_loss

    feed: Any = Topic()
    return Lane(
        feed,
        Tools(
            anything,
            Inline(),
            lambda: log,
            anything,
            anything,
            anything,
            position,
            anything,
            anything,
            10**6,
            accepts,
        ),
    )


@pytest.mark.parametrize("stored", [0, 2])
def test_a_run_that_is_lost_before_others_is_fetched_again(stored: int) -> None:
    """At the log's begin too, where nothing says that the first record is not the first."""

    async def run() -> None:
        log = Log(0, stored)
        lane = lane_over(log)
        await arrives(lane, 5, 6)
        await arrives(lane, 7, 8)  # was fetched before the seek
        assert log.sought == [stored]
        await arrives(lane, *range(stored, 9))
        assert [record.offset for _, run in lane._take() for record in run] == list(range(stored, 9))

    asyncio.run(run())


def test_it_is_asked_for_again_where_kafka_did_not_answer() -> None:
    async def run() -> None:
        log = Log(0, 2)
        lane = lane_over(log)
        log.fails = True
        await arrives(lane, 5, 6)
        log.fails = False
        await arrives(lane, 7, 8)
        assert log.sought == [2]

    asyncio.run(run())


def test_what_the_log_no_longer_has_is_a_loss_that_is_accepted_by_name() -> None:
    async def run() -> None:
        with pytest.raises(Stop, match=r"begins at 4, and is stored only to 2: .* --accept-loss 2-4"):
            await arrives(lane_over(Log(4, 2)), 5, 6)
        with pytest.raises(Stop, match="--accept-loss 2-4"):
            await arrives(lane_over(Log(4, 2), (2, 5)), 5, 6)
        log = Log(4, 2)
        lane = lane_over(log, (2, 4))
        await arrives(lane, 5, 6)
        await arrives(lane, 4, 5, 6)
        assert (log.sought, lane._rows) == ([4], 3)

    asyncio.run(run())


def test_a_loss_that_cannot_be_recorded_is_not_stepped_over() -> None:
    async def run() -> None:
        log = Log(4, 2)
        lane = lane_over(log, (2, 4), [SendFailed("no producer")])
        await arrives(lane, 5, 6)
        assert log.sought == []
        await arrives(lane, 7, 8)
        assert log.sought == [4]

    asyncio.run(run())


def test_a_group_that_stored_nothing_begins_where_the_log_does() -> None:
    async def run() -> None:
        log = Log(4, 0)
        lane = lane_over(log)
        await arrives(lane, 4, 5, 6)
        await arrives(lane, 4, 5, 6)
        assert (log.sought, lane._rows) == ([4], 3)

    asyncio.run(run())


class Copied(Topic):
    """Of events, for whose sessions a copy has to be made."""

    copies = True

    def times(self, records: list[Record]) -> list[int]:
        if any(record.value == b"broken" for record in records):
            raise DecodeError("broken")
        return [record.timestamp for record in records]


class Settling(Consumer):
    def __init__(self) -> None:
        super().__init__()
        self.settled: list[int] = []

    def settle(self, tp: TP, offset: int) -> None:
        self.settled.append(offset)


class Asked:
    """In place of Copying: copies when it is told to."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.done: list[Any] = []
        self.hurried = False
        self.healthy = asyncio.Event()
        self.healthy.set()

    def ask(self, spans: Any, done: Any) -> None:
        self.spans.append(spans)
        self.done.append(done)

    def hurry(self) -> None:
        self.hurried = True
        while self.done:
            self.done.pop(0)()

    async def well(self) -> None:
        await self.healthy.wait()


def copying_lane(monkeypatch: pytest.MonkeyPatch) -> tuple[Lane, Settling, Asked]:
    anything: Any = None
    feed, consumer, asked = Copied(), Settling(), Asked()
    monkeypatch.setattr(module, "store", lambda *_: ([], []))
    tools: Any = (anything, Inline(), lambda: consumer, anything, asked, anything, position, anything, anything, 10**6)
    given: Any = feed
    return Lane(given, Tools(*tools)), consumer, asked


def a_batch(*values: bytes) -> list[Any]:
    return [(AT, [Record(EVENTS.name, 0, nth, 1000 * nth, b"", value, ()) for nth, value in enumerate(values)])]


def test_a_batch_is_settled_behind_its_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        lane, consumer, asked = copying_lane(monkeypatch)
        await lane._store(lane._turn, a_batch(b"x", b"x"))
        assert consumer.settled == []
        assert asked.spans == [[(0, 1099)]]
        asked.done.pop()()
        assert consumer.settled == [2]

    asyncio.run(run())


def test_a_batch_of_a_former_assignment_is_not_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        lane, consumer, asked = copying_lane(monkeypatch)
        await lane._store(lane._turn, a_batch(b"x"))
        lane.restart()
        asked.done.pop()()
        assert consumer.settled == []

    asyncio.run(run())


def test_before_partitions_go_what_waits_for_copies_is_copied_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        lane, consumer, asked = copying_lane(monkeypatch)
        await lane._store(lane._turn, a_batch(b"x"))
        await lane.drain()
        assert (asked.hurried, consumer.settled) == (True, [1])

    asyncio.run(run())


def test_a_lane_stands_still_while_copies_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        lane, _, asked = copying_lane(monkeypatch)
        asked.healthy.clear()
        lane.start()
        lane.put(AT, a_batch(b"x")[0][1])
        await asyncio.sleep(0.7)
        assert asked.spans == []
        asked.healthy.set()
        async with asyncio.timeout(30):
            while not asked.spans:
                await asyncio.sleep(0.01)
        await lane.stop()

    asyncio.run(run())


def test_a_record_that_cannot_be_read_takes_no_other_out_of_the_copy() -> None:
    feed: Any = Copied()
    ((_, records),) = a_batch(b"x", b"broken", b"x")
    assert touched(feed, records) == [(0, 99 + 2000)]
    records[2] = Record(EVENTS.name, 0, 2, 2**63 - 1, b"", b"x", ())
    assert max(high for _, high in touched(feed, records)) < 2**63 // 1000


def test_spacers_are_put_among_events_and_nothing_waits_for_one_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(spacers.SPACERS, "events", replace(spacers.SPACERS["events"], every=3))
    put: list[tuple[str, list[int], int]] = []
    settled: list[int] = []

    def space(view: str, times: Sequence[int], epoch: int) -> None:
        put.append((view, list(times), epoch))
        raise ConnectionError

    class Settling(Consumer):
        def settle(self, tp: TP, offset: int) -> None:
            settled.append(offset)

    def store(feed: Any, records: list[Record], *_: Any) -> Any:
        return [Stored("events", len(records), [record.offset * 1000 for record in records])], []

    anything: Any = None
    feed: Any = Topic()
    monkeypatch.setattr(module, "store", store)
    lane = Lane(
        feed,
        Tools(anything, Inline(), Settling, anything, anything, anything, position, anything, anything, 1, space=space),
    )
    for offset in range(7):
        asyncio.run(lane._store(0, [(AT, [Record(EVENTS.name, 0, offset, 0, b"", b"x", ())])]))
    assert put == [("events", [2], 7), ("events", [5], 7)]
    assert settled == [1, 2, 3, 4, 5, 6, 7]


def test_a_clickhouse_that_neither_answers_nor_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT", 0.01)
    go_on = threading.Event()

    def store(feed: Any, records: list[Record], *_: Any) -> Any:
        assert go_on.wait(30)
        return [Stored("events", len(records), ())], []

    monkeypatch.setattr(module, "store", store)
    anything: Any = None
    feed: Any = Topic()

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            tools = Tools(anything, pool, Consumer, anything, anything, anything, position, anything, anything, 1)
            lane = Lane(feed, tools)
            storing = asyncio.create_task(lane._store(0, a_batch(b"x")))
            async with asyncio.timeout(30):
                while not lane.waits:
                    await asyncio.sleep(0.01)
                assert lane.waits.startswith("ClickHouse has not answered for ")
                go_on.set()
                await storing
            assert lane.waits == ""

    asyncio.run(run())
