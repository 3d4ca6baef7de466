"""One input partition on its way through an agent: the protocol of design.md, rule 3, step by step.

A lane is a task with a queue, so that one partition's acknowledgements are awaited while another's records are
computed, and a hot partition holds up nobody else: it stops being fetched until it has caught up.

What happens to an error: one of the agent's becomes a dead letter of its record (``step``); Gap makes the consumer
seek; a system that fails is waited for with backoff, the state opened anew; what only a person can mend (Fatal) ends
the worker.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from faust.types import TP

from runtime.agent import Add, Agent
from runtime.carry import Carrier
from runtime.changelog import ChangelogError
from runtime.ending import cancelled
from runtime.kafka import RETRIABLE, LogReader
from runtime.ledger import Ledger
from runtime.losses import NowhereToRecord, none_accepted
from runtime.partition import PartitionState, Place
from runtime.producer import Outbox, Outlet, SendFailed
from runtime.step import Gap, Result, Stepper, TooManyLetters
from runtime.store import StateDamaged, StateFailed, StateInUse
from runtime.transport import Run
from schemas.registry import UnknownSchema

log = logging.getLogger(__name__)

BATCH = 8192
"""Records that are handled at once, at most: what is waited for is paid per batch."""
HIGH, LOW = 2 * BATCH, BATCH
"""Queued records at which a partition is no longer fetched, and is again."""
RUNS, FEW = 4, 512
"""So many runs are enough as well, unless they hold but few records: a run may have megabytes."""
PATIENCE = 5.0
"""Seconds for which a batch under way may go on when its partition is taken away."""
IDLE = 5.0
"""Seconds without a record after which a lane looks whether one was lost on its way here (runtime/transport.py)."""
FRESH = 6 * 3600 * 1000
"""Milliseconds after which an idle partition's marker is written again, so that its changelog never ages out whole."""


class Fatal(Exception):  # noqa: N818
    """Only a person can mend it; the worker ends with this sentence."""


Preload = Callable[[TP, int], AsyncIterator[Run]]
"""For a rebuild, what the log has lost of a partition: called with it and the first offset that is still there."""


class Behind(Exception):  # noqa: N818
    """The log ends before what was applied: a broker that is still catching up."""


PASSING = (SendFailed, Behind, StateDamaged, StateFailed, MemoryError, OSError, *RETRIABLE)
"""What is waited for: the system, not the records."""


@dataclass
class Tools:
    """What lanes share."""

    ledger: Ledger
    outlet: Outlet
    kafka: LogReader
    learn: Callable[[], Awaitable[None]]
    """Reads control.schemas to its end."""
    fail: Callable[[BaseException], None]
    """Ends the worker."""
    observe: Callable[[str, int, Result, float], None]
    """Told of every batch: agent, partition, result, seconds."""
    flowing: asyncio.Event
    """Set while the group's assignment stands and records are fetched."""
    preload: Preload | None = None
    rebuild: str | None = None
    """An agent whose changelog is gone, and whose state a person wants computed again."""
    accepts: Callable[[str, str, int, int, int], Awaitable[bool]] = none_accepted
    """Whether a person has accepted that an agent loses offsets of a deleted log, which is recorded by then: agent,
    topic, partition, first offset, the one behind the last."""


class Lane:
    """The task of one agent and partition."""

    def __init__(self, agent: Agent, tp: TP, place: Place, stepper: Stepper, tools: Tools, epoch: int = 0) -> None:
        self.agent, self.tp, self._stepper, self._tools = agent, tp, stepper, tools
        self.state = PartitionState(agent, tp.partition, place, epoch)
        self._carrier = None if agent.retention is not None else Carrier(self.state)
        self._queue: deque[Run] = deque()
        self._queued = 0
        self._arrived = asyncio.Event()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._input_log = 0
        self._gap: Gap | None = None
        self._missed = -1
        """What seemed to be lost when it was looked for last: the last offset fetched."""
        self.opened = False

    def start(self, input_log: int) -> None:
        """Opens the state (again) and goes on from where it is applied; what was queued is fetched anew."""
        self._input_log, self._gap = input_log, None
        self.opened = False
        self._clear()
        self._stop.clear()
        if self._task is None or self._task.done():
            self._spawn()

    def _spawn(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self.name)
        self._task.add_done_callback(self._ended)

    @property
    def name(self) -> str:
        """Agent and partition, for logs."""
        return f"{self.agent.name}-{self.tp.partition}"

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tools.fail(error)
        elif task is self._task and not self._stop.is_set():  # started again while it was about to end
            self._spawn()

    def put(self, run: Run) -> None:
        """Queues a run of records."""
        self._queue.append(run)
        self._queued += len(run)
        self._arrived.set()
        if self._queued >= HIGH or (len(self._queue) >= RUNS and self._queued >= FEW):
            self._tools.ledger.hold(self.agent.name, self.tp)

    async def pause(self) -> None:
        """Finishes the batch at hand, for a while, and begins no other until ``start``.

        A ``start`` may come before this returns: rebalances overlap. Two tasks on one state would tear it apart, so the
        one task goes on then.
        """
        self._stop.set()
        self._arrived.set()
        if self._task is not None:
            _, pending = await asyncio.wait([self._task], timeout=PATIENCE)
            if pending and self._stop.is_set():
                (task,) = pending
                task.cancel()
                await asyncio.wait([task])
        if self._stop.is_set():
            self._clear()

    def close(self) -> None:
        """Releases the state; the task ends."""
        self._stop.set()
        self.state.close()

    def _clear(self) -> None:
        self._queue.clear()
        self._queued = 0
        self._tools.ledger.release(self.agent.name, self.tp)

    async def _run(self) -> None:
        backoff = 0.1
        while not self._stop.is_set():
            try:
                if not self.opened:
                    await self._open()
                if self._gap is not None:
                    await self._seek(self._gap)
                    self._gap = None
                batch = await self._next()
                if batch:
                    await self._handle(batch)
                backoff = 0.1
            except Gap as gap:
                self._gap = gap
            except (TooManyLetters, StateInUse, ChangelogError, NowhereToRecord) as error:
                raise Fatal(str(error)) from error
            except (asyncio.CancelledError, *PASSING) as error:
                if isinstance(error, asyncio.CancelledError) and cancelled():
                    raise
                log.warning("%s waits %.1f s after %r", self.name, backoff, error)
                self.opened = False
                if isinstance(error, StateDamaged):
                    self.state.drop()
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, 10.0)

    async def _open(self) -> None:
        started = time.monotonic()
        # A rebuild sends again what it sent before: the same bytes, which every reader passes over by its watermark.
        rebuilt = self._tools.rebuild == self.agent.name
        marker = await self.state.open(self._tools.kafka, self._input_log, rebuilt)
        self.opened = True
        self._settle()
        log.info("%s is open at %d after %.2f s", self.name, marker.applied, time.monotonic() - started)
        # The start is what is applied, never the commit: a lost state is computed again, though no record comes.
        await self._tools.flowing.wait()
        position = await self._tools.ledger.position(self.tp)
        if position is not None and not self._queue and position != marker.applied + 1:
            self._gap = Gap(marker.applied + 1, position)

    async def _next(self) -> Run:
        """The queued records, up to a batch; empty when it is time for something else."""
        self._arrived.clear()
        if not self._queue:
            try:
                await asyncio.wait_for(self._arrived.wait(), IDLE)
            except TimeoutError:
                await self._freshen()
                self._look_back()
            if not self._queue or self._stop.is_set():
                return []
        batch = self._queue.popleft()
        while self._queue and len(batch) + len(self._queue[0]) <= BATCH:
            batch = batch + self._queue.popleft()
        self._queued -= len(batch)
        if self._queued < LOW and len(self._queue) < RUNS:
            self._tools.ledger.release(self.agent.name, self.tp)
        return batch

    async def _handle(self, records: Run) -> None:
        last = records[-1].offset
        while self.state.marker.applied < last and not self._stop.is_set():
            started = time.perf_counter()
            result = await self._step(records)
            self._tools.observe(self.agent.name, self.tp.partition, result, time.perf_counter() - started)
            self._settle()
            # While it is rebuilt nothing is too old: the replay of a dead letter stands far behind what it belongs to.
            self.state.tend(result.read, sweep=self._tools.preload is None)
            if self._carrier is not None and self._carrier.due():
                await self._carrier.advance(self._tools.outlet, self._tools.kafka)

    async def _step(self, records: Run) -> Result:
        """Rules 3.1 to 3.5: nothing is applied before every output is acknowledged."""
        result = await self._compute(records)
        await self._commit(result)
        return result

    async def _compute(self, records: Run, dense: bool = True) -> Result:
        state, outlet = self.state, self._tools.outlet
        assert state.store is not None
        producer = await outlet.producer()
        boxes: list[Outbox] = []

        def outputs() -> Add:
            boxes.append(Outbox(outlet, producer))
            return boxes[-1].add

        step = partial(
            self._stepper.run, records, state.marker, state.store, outputs, objects=state.objects, dense=dense
        )
        try:
            result = step(learnt=False)
        except UnknownSchema:
            await self._tools.learn()
            result = step()
        await boxes[-1].deliver()
        return result

    async def _commit(self, result: Result) -> None:
        result.marker.written = int(time.time() * 1000)
        await self.state.commit(result.changes.values(), result.marker, self._tools.outlet, self._tools.kafka)

    def _settle(self) -> None:
        self._tools.ledger.settle(self.agent.name, self.tp, self.state.marker.applied + 1)

    async def _seek(self, gap: Gap) -> None:
        """Fetches from where the state stands; what is no longer there is a loss that a person must accept."""
        begin, end = await self._tools.kafka.bounds(self.tp.topic, self.tp.partition)
        expected = gap.expected
        if expected > end:
            raise Behind(f"{self.tp.topic}-{self.tp.partition} ends at {end}, and {expected - 1} is applied")
        if expected < begin:
            # An agent that has applied nothing begins where the log does. For any other this is a loss.
            lost = (self.agent.name, self.tp.topic, self.tp.partition, expected, begin)
            if expected > 0 and not await self._tools.accepts(*lost):
                raise Fatal(
                    f"{self.tp.topic}-{self.tp.partition} begins at {begin}, and {self.agent.name} has read it only to "
                    f"{expected}: go on with --accept-loss {expected}-{begin}, which is recorded for the audit"
                )
            if self._tools.preload is not None:
                await self._load_lost(self._tools.preload, begin)
            elif self._tools.rebuild == self.agent.name and self.agent.retention is None:
                raise Fatal(
                    f"{self.tp.topic}-{self.tp.partition} begins at {begin}: the log no longer has all that the state "
                    f"of {self.agent.name} is made of; `sluice replay {self.agent.name}` takes the rest from ClickHouse"
                )
            await self._mark(begin - 1)
            expected = begin
        self._clear()
        await self._tools.ledger.seek(self.tp, expected)

    async def _load_lost(self, preload: Preload, begin: int) -> None:
        """Steps through records that stand for those before ``begin``; none of it counts before the last is in."""
        try:
            async for records in preload(self.tp, begin):
                while records:
                    result = await self._compute(records, dense=False)
                    result.marker.applied = result.marker.before = -1
                    await self._commit(result)
                    records = records[result.read :]  # fewer than all where one fails
        except (SendFailed, StateDamaged, StateFailed) as error:
            raise Fatal(f"the rebuild of {self.name} was interrupted, begin it again: {error}") from error

    def _look_back(self) -> None:
        """Raises Gap where records were fetched that never came, nor since it was looked for last."""
        applied, fetched = self.state.marker.applied, self._tools.ledger.fetched(self.tp)
        missed, self._missed = self._missed, fetched if fetched > applied else -1
        if not self._queue and self._tools.flowing.is_set() and fetched == missed > applied:
            log.warning("%s was fetched to %d and came to %s to %d: again", self.tp, fetched, self.name, applied)
            self._missed = -1
            raise Gap(applied + 1, fetched)

    async def _freshen(self) -> None:
        """Writes the marker again before the changelog's retention takes the last one."""
        marker = self.state.marker
        if self.opened and marker.applied >= 0 and time.time() * 1000 - marker.written > FRESH:
            await self._mark(marker.applied)

    async def _mark(self, applied: int) -> None:
        """Appends a group without changes."""
        before = self.state.marker
        marker = replace(before, applied=applied, before=before.applied, written=int(time.time() * 1000))
        await self.state.commit((), marker, self._tools.outlet, self._tools.kafka)
