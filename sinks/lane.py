"""A topic on its way into ClickHouse: buffered, inserted about once a second, settled behind the insert.

A record is buffered as it came and decoded in the thread that inserts it. What happens to an error: a row that is
refused alone becomes a dead letter; a system that fails (ClickHouse, Kafka, disk) is waited for with backoff, for ever,
while partitions are held so that memory stays bounded and the group is kept; what only a person can mend ends the sink.

Rows may be inserted twice, after a crash or a rebalance; they collapse by their keys. Rows are never settled before
they are inserted, and a block's partitions are settled only in the assignment under which it was read.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from aiokafka.errors import KafkaError
from faust.types import TP

from runtime import metrics
from runtime.losses import none_accepted
from runtime.producer import SendFailed
from runtime.transport import Run
from schemas.registry import UnknownSchema
from sinks.batch import store
from sinks.copying import Copying, touched
from sinks.feed import Feed
from sinks.spacers import Spacing, sample
from sinks.table import Stored
from sinks.writer import BadRow, Stop, Writer

log = logging.getLogger("sluice.sink")

LINGER = 0.2
"""Seconds for which the first record after a pause waits for company."""
SHORTEST, LONGEST, SHARE = 0.5, 0.75, 3
"""Seconds from one insert's begin to the next, unless a block is full: SHARE times what the last took, within these.

So rows are seen sooner where there is time for it, and under load, when an insert takes long, blocks are large and few.
"""
RESTATED = 1.5
"""Instead of LONGEST, where rows are restated: of what waits together only the last is kept."""
FULL_ROWS, FULL_BYTES = 100_000, 16 * 1024 * 1024
"""A block of so many records, or bytes of them, is inserted at once."""
PATIENCE = 5.0
"""Seconds for which buffered rows may still be inserted when partitions are taken away or the sink ends."""
IDLE = 5.0
"""Seconds without a record after which a lane looks whether one was lost on its way here (runtime/transport.py)."""
SLOWEST = 5.0
"""Longest wait, in seconds, before a system that fails is tried again."""

SILENT = 10.0
"""Seconds without an answer after which a lane is no longer ready, and says so."""
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Tools:
    """What lanes share."""

    writer: Writer
    pool: Executor
    consumer: Callable[[], Any]
    """The app's BatchConsumer, once there is one."""
    bury: Callable[[Sequence[tuple[BadRow, TP]]], Awaitable[None]]
    """Appends dead letters of rows, whose records are of these partitions; returns when they are acknowledged."""
    copying: Copying
    learn: Callable[[], Awaitable[None]]
    """Reads control.schemas to its end."""
    recall: Callable[[], Awaitable[int]]
    """Reads control.forgotten to its end; returns where that is."""
    amend: Callable[[Feed, list[Any]], Awaitable[None]]
    """Takes persons out of stored records who were forgotten since."""
    fail: Callable[[BaseException], None]
    """Ends the sink."""
    buffer: int
    """Bytes above which a topic is no longer fetched."""
    accepts: Callable[[TP, int, int], Awaitable[bool]] = none_accepted
    """Whether a person has accepted that offsets (from, to before) are lost, which is recorded by then."""
    space: Callable[[str, Sequence[int], int], None] = lambda view, times, epoch: None
    """Puts a spacer among rows of a view that have these times, and this epoch (sinks/spacers.py)."""


@dataclass(frozen=True)
class Gap(Exception):  # noqa: N818
    """Records from ``expected`` on did not come; others behind them did."""

    tp: TP
    expected: int


class Lane:
    """The task of one topic."""

    def __init__(self, feed: Feed, tools: Tools) -> None:
        self._feed, self._tools = feed, tools
        self.name = feed.topic.name
        self._queue: list[tuple[TP, Run, int]] = []
        self._rows = self._bytes = 0
        self._since = 0.0
        """When the oldest buffered record came."""
        self._next: dict[TP, int] = {}
        """Offset that comes next in each partition."""
        self._held: set[TP] = set()
        self._turn = 0
        """Counts assignments: what was read under an earlier one is not settled."""
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._hurry = False
        self._behind = 0
        """Batches that are inserted, and wait for copies to be settled."""
        self._last = 0.0
        """When the last insert began."""
        self._interval = SHORTEST
        self._mended: dict[Gap, float] = {}
        """When the consumer was sent back for it."""
        self._missed: dict[TP, int] = {}
        """What seemed to be lost when it was looked for last: the last offsets fetched."""
        self._spacing = Spacing(feed.tables[0].view)
        self._task: asyncio.Task[None] | None = None
        self.waits = ""
        """Why nothing is being stored at the moment; empty if all is well."""

    def start(self) -> None:
        """Begins to work."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"sink {self.name}")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tools.fail(error)

    def put(self, tp: TP, run: Run) -> None:
        """Buffers a run of records. Raises Gap where others should have come before it: see ``mend``."""
        if tp not in self._next:
            self._next[tp] = max(self._tools.consumer().committed(tp) or 0, 0)
        expected = self._next[tp]
        if run[0].offset > expected:
            raise Gap(tp, expected)
        run = [record for record in run if record.offset >= expected] if run[0].offset < expected else run
        if not run:
            return
        self._next[tp] = run[-1].offset + 1
        size = sum(len(record.value or b"") for record in run)
        if not self._queue:
            self._since = time.monotonic()
        self._queue.append((tp, run, size))
        self._count(len(run), size)
        if self._bytes > self._tools.buffer:
            self._held.add(tp)
            self._tools.consumer().hold(tp)
        self._changed.set()

    async def mend(self, gap: Gap) -> None:
        """Fetches again what is missing. Raises Stop where the log no longer has it, unless that loss is accepted."""
        consumer, turn, tp, expected = self._tools.consumer(), self._turn, gap.tp, gap.expected
        now = time.monotonic()
        if now - self._mended.get(gap, -IDLE) < IDLE:
            return  # this run was fetched before the consumer was sent back
        try:
            begin = (await consumer.earliest_offsets(tp))[tp]
            # A group that has stored nothing begins where the log does. For any other this is a loss.
            if begin > expected > 0 and not await self._tools.accepts(tp, expected, begin):
                raise Stop(
                    f"{tp.topic}-{tp.partition} begins at {begin}, and is stored only to {expected}: records were"
                    f" deleted before they were read. Go on with --accept-loss {expected}-{begin}, which is recorded"
                    " for the audit"
                )
            if turn == self._turn:
                log.warning("fetches again", extra={"partition": str(tp), "from": max(begin, expected)})
                self._mended[gap], self._next[tp] = now, max(begin, expected)
                await consumer.seek_wait({tp: self._next[tp]})
        except (KafkaError, SendFailed, TimeoutError) as error:
            # The partition is another's by now, or the next run asks again.
            log.info("was not fetched again", extra={"partition": str(tp), "reason": repr(error)})
            self._mended.pop(gap, None)

    def restart(self) -> None:
        """Forgets what is buffered: the assignment is another, and what is not settled is fetched again."""
        self._turn += 1
        self._queue.clear()
        self._count(-self._rows, -self._bytes)
        self._next.clear()
        self._mended.clear()
        self._held.clear()
        self._hurry = False
        self._changed.set()

    async def drain(self) -> None:
        """Inserts and settles what is buffered, as far as PATIENCE allows."""
        self._hurry = True
        self._changed.set()
        try:
            async with asyncio.timeout(PATIENCE):
                while self._queue or self._behind or not self._idle.is_set():
                    await self._idle.wait()
                    if self._behind:
                        self._tools.copying.hurry()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.warning("rows are left for the next owner", extra={"topic": self.name, "rows": self._rows})

    async def stop(self) -> None:
        """Ends the task; an insert under way is finished by its thread."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _count(self, rows: int, size: int) -> None:
        self._rows += rows
        self._bytes += size
        metrics.SINK_BUFFERED.labels(self.name).set(self._bytes)

    async def _run(self) -> None:
        while True:
            await self._due()
            if self._feed.copies:
                await self._tools.copying.well()
            turn, batch = self._turn, self._take()
            if batch:
                self._idle.clear()
                self._last = time.monotonic()
                try:
                    await self._store(turn, batch)
                finally:
                    self._idle.set()

    async def _due(self) -> None:
        """Returns when it is time for an insert, or nothing is buffered any more."""
        while True:
            self._changed.clear()
            if self._hurry or self._held or self._rows >= FULL_ROWS or self._bytes >= FULL_BYTES:
                if self._queue:
                    return
                wait = None
            elif self._queue:
                wait = max(self._since + LINGER, self._last + self._interval) - time.monotonic()
                if wait <= 0:
                    return
            else:
                wait = None
            try:
                await asyncio.wait_for(self._changed.wait(), IDLE if wait is None else wait)
            except TimeoutError:
                if wait is not None:
                    return
                await self._look_back()

    async def _look_back(self) -> None:
        """Fetches again what was fetched and never came, nor since it was looked for last."""
        consumer, before, self._missed = self._tools.consumer(), self._missed, {}
        for tp, last in list(consumer.fetched.items()):  # none before the consumer is started
            if tp.topic != self.name or tp not in consumer.assignment():
                continue
            expected = self._next.get(tp, max(consumer.committed(tp) or 0, 0))
            if last < expected:
                continue
            if before.get(tp) != last:
                self._missed[tp] = last
                continue
            log.warning("fetches again", extra={"partition": str(tp), "from": expected, "to": last})
            try:
                await consumer.seek_wait({tp: expected})
            except KafkaError as error:  # the partition is another's by now
                log.info("was not fetched again", extra={"partition": str(tp), "reason": repr(error)})

    def _take(self) -> list[tuple[TP, Run]]:
        """The oldest buffered runs, up to a block."""
        rows = size = count = 0
        for _, run, length in self._queue:
            if count and (rows + len(run) > FULL_ROWS or size + length > FULL_BYTES):
                break
            rows, size, count = rows + len(run), size + length, count + 1
        batch = [(tp, run) for tp, run, _ in self._queue[:count]]
        del self._queue[:count]
        self._since = time.monotonic()
        self._count(-rows, -size)
        return batch

    async def _store(self, turn: int, batch: list[tuple[TP, Run]]) -> None:
        """Stores the batch whatever it takes, unless the assignment changes meanwhile."""
        records = [record for _, run in batch for record in run]
        backoff, learnt, decoded = 0.1, False, False
        known: int | None = None
        while turn == self._turn:
            try:
                started = time.perf_counter()
                told = await self._tools.recall()  # `sluice forget` relies on it: what is stored then knows who it was
                known = told if known is None else known
                attempt = partial(store, self._feed, records, self._tools.writer, learnt, decoded)
                stored, bad = await self._answer(asyncio.get_running_loop().run_in_executor(self._tools.pool, attempt))
                if bad:
                    await self._tools.bury(_placed(bad, batch))
                await self._amend(records, known)
            except Stop:
                raise
            except UnknownSchema:
                await self._tools.learn()
                learnt = True
            except Exception as error:  # the system's: an unknown error is retried too, loudly (sinks.errors)
                self.waits = f"{type(error).__name__}: {error}"
                log.warning("waits", extra={"topic": self.name, "seconds": round(backoff, 1), "reason": self.waits})
                metrics.SINK_FAILURES.labels(self.name).inc()
                await asyncio.sleep(backoff)
                decoded = True
                backoff = min(backoff * 2, SLOWEST)
            else:
                self.waits = ""
                took = time.perf_counter() - started
                self._interval = min(max(took * SHARE, SHORTEST), RESTATED if self._feed.restates else LONGEST)
                self._observe(stored, bad, took)
                self._release(turn)
                await self._copy(turn, batch, records)
                await self._space(turn, records, stored)
                return
        if known is not None:  # what was tried and failed may have come through nevertheless
            await self._amend_at_last(records, known)

    async def _answer(self, call: asyncio.Future[Answer]) -> Answer:
        """Waits for what is asked of ClickHouse, and says so where that neither answers nor fails."""
        seconds = 0.0
        while not (await asyncio.wait([call], timeout=SILENT))[0]:
            seconds += SILENT
            self.waits = f"ClickHouse has not answered for {seconds:.0f} s"
            log.warning("waits", extra={"topic": self.name, "reason": self.waits})
        return call.result()

    async def _amend(self, records: list[Any], known: int) -> None:
        """Mends rows that were stored by a sink that stood still while `sluice forget` rewrote the tables."""
        if await self._tools.recall() > known:
            await self._tools.amend(self._feed, records)

    async def _amend_at_last(self, records: list[Any], known: int) -> None:
        try:
            await self._amend(records, known)
        except Exception as error:
            log.warning("run `sluice forget` again", extra={"topic": self.name, "reason": repr(error)})

    async def _copy(self, turn: int, batch: list[tuple[TP, Run]], records: list[Any]) -> None:
        """Settles the batch, behind copies where it has to do with any."""
        ends = [(tp, run[-1].offset + 1) for tp, run in batch]
        if not self._feed.copies:
            self._settle(turn, ends)
            return
        spans = await asyncio.get_running_loop().run_in_executor(self._tools.pool, touched, self._feed, records)
        self._behind += 1
        self._tools.copying.ask(spans, partial(self._copied, turn, ends))

    async def _space(self, turn: int, records: list[Any], stored: list[Stored]) -> None:
        """Puts a spacer where one is due. A query is dearer without it, and no less right."""
        if not self._spacing.due(sum(each.rows for each in stored[:1])) or self._hurry or turn != self._turn:
            return
        try:
            times, epoch = self._feed.key_times(sample(records))
            space = partial(self._tools.space, stored[0].view, times, epoch)
            await asyncio.get_running_loop().run_in_executor(self._tools.pool, space)
        except Exception as error:
            log.warning("puts no spacer", extra={"topic": self.name, "reason": repr(error)})

    def _copied(self, turn: int, ends: list[tuple[TP, int]]) -> None:
        self._behind -= 1
        self._settle(turn, ends)

    def _settle(self, turn: int, ends: list[tuple[TP, int]]) -> None:
        if turn == self._turn:
            for tp, end in ends:
                self._tools.consumer().settle(tp, end)

    def _release(self, turn: int) -> None:
        if turn == self._turn and self._held and self._bytes < self._tools.buffer / 2:
            for tp in self._held:
                self._tools.consumer().release(tp)
            self._held.clear()

    def _observe(self, stored: list[Stored], bad: list[BadRow], seconds: float) -> None:
        metrics.SINK_INSERT_SECONDS.labels(self.name).observe(seconds)
        metrics.SINK_LETTERS.labels(self.name).inc(len(bad))
        for each in stored:
            metrics.SINK_ROWS.labels(each.view).inc(each.rows)
            metrics.FRESHNESS.add(each.received, time.time() * 1000)


def _placed(rows: list[BadRow], batch: list[tuple[TP, Run]]) -> list[tuple[BadRow, TP]]:
    """With the partition of each, which a record itself does not know (runtime/transport.py, lean records)."""
    places = {id(record): tp for tp, run in batch for record in run}
    return [(row, places[id(row.cause)]) for row in rows]
