"""Faust's aiokafka transport, changed in four ways.

**Runs.** A stock consumer makes a message, four tasks and an event of every record. Here an agent gets one message per
fetched run of one partition's records (``message.value`` is the list), which is worth a factor of ten.

**Commits.** What is committed is what was settled, ``consumer.settle(...)``, never what Faust derives from acks: an ack
of the generation before a rebalance counts for Faust as an ack of the same offset fetched again after it, and then it
commits past records in flight.

**Lean records**: native.Record (``offset, timestamp, key, value, headers``), not aiokafka's ConsumerRecord, which takes
as long as all else on the way from Kafka to an agent. They do not know their partition.

**Short waits** in the broker, ``FETCH_WAIT``.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvloop
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from faust.transport.consumer import ConsumerMessage
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from runtime.batches import Answer, fetched

Run = list[Any]
"""Lean records of one partition with ascending offsets."""

FETCH_WAIT = 50
"""Milliseconds for which a broker holds back its answer to a fetch that finds nothing; Faust says 1,500.

A broker is asked one thing at a time, and not for a partition whose last records nobody has taken yet. So records that
come to such a partition wait until the others' fetch is over.
"""


@dataclass(frozen=True)
class Fetching:
    """How a consumer fetches; Faust has no settings for it."""

    wait: int = FETCH_WAIT
    """Milliseconds for which a broker holds back an answer that is smaller than ``least``."""
    least: int = 1
    """Bytes for which it does not wait any longer."""


_LEAN: set[asyncio.AbstractEventLoop] = set()
"""Loops whose consumers want lean records: a Faust consumer has a loop, in a thread, of its own."""


class _LeanRecords(fetcher.PartitionRecords):
    """All of a fetched partition at once; nobody asks for a part of it here."""

    _records: Answer

    def __iter__(self) -> Iterator[Any]:
        found: list[Any] = []
        self.next_fetch_offset: int
        data, start = self._records.data, self.next_fetch_offset
        for batch in fetched(data):
            if self._check_crcs and not batch.is_whole():
                # What stands behind would be taken next, though nothing before it was delivered.
                self._records, self.next_fetch_offset = Answer(b""), start
                place = f"{self._tp.topic}-{self._tp.partition}@{batch.base_offset}"
                raise CorruptRecordException(f"the checksum of {place} is wrong")
            if not batch.is_control:
                found += batch.records()
            self.next_fetch_offset = batch.next_offset
        self._records = Answer(b"")
        if found and found[0].offset < start:  # a batch is fetched whole
            found = [record for record in found if record.offset >= start]
        return iter(found)


def _partition_records(*args: Any) -> Any:
    lean = asyncio.get_running_loop() in _LEAN
    return (_LeanRecords if lean else _ordinary_records)(*args)


def _answer(data: bytes) -> Any:
    lean = asyncio.get_running_loop() in _LEAN
    return (Answer if lean else _ordinary_answer)(data)


# aiokafka's fetcher looks these classes up by their names; there is no other place to say which it should use.
_ordinary_records, _ordinary_answer = fetcher.PartitionRecords, fetcher.MemoryRecords
fetcher.PartitionRecords, fetcher.MemoryRecords = _partition_records, _answer


class _Thread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms, consumer._fetch_min_bytes = transport.fetching.wait, transport.fetching.least
        return consumer


class BatchConsumer(driver.Consumer):
    """Delivers runs and commits what was settled."""

    quiesce: Callable[[], Awaitable[None]] | None = None
    """Awaited before partitions are given up, so that what is under way can be finished and committed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settled: dict[TP, int] = {}
        self._known: dict[TP, int] = {}
        self._held: set[TP] = set()
        self._caught_up: dict[TP, float] = {}
        """When each partition was last seen with nothing to do, or first seen."""
        self.fetched: dict[TP, int] = {}
        """Offset of the last record that was fetched. Whether it came to whom it is for is theirs to see: Faust empties
        its queues when the flow begins anew, and after a rebalance upon a rebalance that happens twice."""

    def _new_consumer_thread(self) -> Any:
        thread: Any = _Thread(self, loop=self.loop, thread_loop=uvloop.new_event_loop(), beacon=self.beacon)
        thread._close_thread_loop_on_stop = True  # as one that mode has made itself
        _LEAN.add(thread.thread_loop)
        return thread

    def settle(self, tp: TP, offset: int) -> None:
        """Every record before ``offset`` is durable downstream. Kafka refuses it if the partition has moved."""
        if offset > self._settled.get(tp, -1):
            self._settled[tp] = offset
        self._acked[tp]  # Faust looks only at partitions that are listed here when it commits

    def committed(self, tp: TP) -> int | None:
        """Where the group stood in this partition when it was assigned, or stands by now; None: nowhere yet."""
        return self._committed_offset.get(tp)  # type: ignore[no-any-return]

    def hold(self, tp: TP) -> None:
        """Fetch no more of this partition for now; what was fetched is still delivered."""
        self._held.add(tp)

    def release(self, tp: TP) -> None:
        """Fetch from it again."""
        self._held.discard(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        if self.quiesce is not None:
            await self.quiesce()
            await self.commit()
        for tp in revoked:
            self._settled.pop(tp, None)
            self._known.pop(tp, None)
            self._held.discard(tp)
            self.fetched.pop(tp, None)
            self._caught_up.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    async def verify_all_partitions_active(self) -> None:
        """Faust's look for a partition that stands still, which it logs: without a task and a timer for each.

        Faust takes a record that waits for a moment, after minutes in which there was none, for one that has waited all
        the time. So it is asked about agents and commits only where there has been something to do for that long.
        """
        now, patience = time.monotonic(), self.app.conf.stream_processing_timeout
        for tp in self.assignment():
            if self._has_caught_up(tp):
                self._caught_up[tp] = now
            if now - self._caught_up.setdefault(tp, now) >= patience:
                self.verify_event_path(now, tp)
            else:
                self.verify_recovery_event_path(now, tp)  # whether it is fetched from, which is asked always

    def _has_caught_up(self, tp: TP) -> bool:
        """Whether nothing waits in the broker, and all that was fetched is committed."""
        assignment = self._thread._ensure_consumer()._fetcher._subscriptions.subscription.assignment
        state = assignment.state_value(TopicPartition(*tp)) if assignment else None
        if state is None or state.highwater is None or not state.has_valid_position:
            return False
        return state.highwater <= state.position and self._known.get(tp, 0) > self.fetched.get(tp, -1)

    async def _commit(self, offsets: dict[TP, int]) -> bool:
        committed: bool = await super()._commit(offsets)
        if committed:
            self._known.update(offsets)
        return committed

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return self._known.get(tp) != offset  # Faust takes a failed commit for a commit

    async def _getmany(self, active_partitions: set[TP], timeout: float) -> dict[TP, Run]:  # noqa: ASYNC109 - Faust's
        wanted = active_partitions - self._held
        if not wanted:
            await asyncio.sleep(0.01)  # asked for nothing, aiokafka would give whatever it has
            return {}
        found: dict[TP, Run] = await super()._getmany(wanted, min(timeout, 0.1) if self._held else timeout)
        return found

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self._settled.get(tp)

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                records, _ = await self._wait_next_records(1.0)
                generation = self.app.consumer_generation_id
                await asyncio.sleep(0)  # an empty answer may come at once, again and again
                self.fetched |= {tp: run[-1].offset for tp, run in (records or {}).items()}
                for tp, run in (records or {}).items():
                    if not self.flow_active or self.app.consumer_generation_id != generation:
                        break  # the partitions may have moved: fetched again where they belong
                    await self._deliver(tp, run, generation)
        except self.consumer_stopped_errors:
            if not self.transport.app.should_stop:
                raise

    async def _deliver(self, tp: TP, run: Run, generation: int) -> None:
        last = run[-1]
        stamp = last.timestamp / 1000.0
        message = ConsumerMessage(
            tp.topic, tp.partition, last.offset, stamp, 0, [], None, run, None, 0, 0, tp,
            generation_id=generation,
        )  # fmt: skip
        await self.wait_first(self.callback(message), self.suspend_flow.wait())
        self._read_offset[tp] = last.offset


class DurableProducer(driver.Producer):
    """Faust's own producer, made idempotent and patient (it is not, by default)."""

    def _settings_extra(self) -> dict[str, Any]:
        return {"enable_idempotence": True, "acks": "all"}


class BatchTransport(driver.Transport):
    """Use as ``app.transport = BatchTransport(app.conf.broker, app, loop=app.loop)``."""

    Consumer = BatchConsumer
    Producer = DurableProducer
    fetching = Fetching()
