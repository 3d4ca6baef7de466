"""A small compacted topic, read whole by every process that needs it and followed from then on.

The topic has one partition, so that its order is one order for everybody: where two writers race, the first in the log
is the first for all readers.
"""

import asyncio
import logging
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from runtime.ending import cancelled, end

log = logging.getLogger("sluice.table")

Apply = Callable[[bytes, bytes | None, int], None]
"""What to do with a record: its key, its value (None: a tombstone) and its offset. Must not raise."""

RETRY = 0.5
QUIET = 2.0
"""Compaction may leave nothing to read before the log's end; after this long without a record that is taken for so."""


class TableError(Exception):
    """The topic could not be read in time."""


class Table:
    """Reads a topic from its start and keeps following, through every outage of Kafka, until it is stopped."""

    def __init__(self, kafka: str, topic: str, apply: Apply, reset: Callable[[], None] = lambda: None) -> None:
        self._kafka, self._apply, self._reset = kafka, apply, reset
        self._partition = TopicPartition(topic, 0)
        self._task: asyncio.Task[None] | None = None
        self._moved = asyncio.Condition()
        self._asker: AIOKafkaConsumer | None = None
        self.position = 0
        """Every record before this offset has been applied."""
        self.loaded = asyncio.Event()
        """Set once everything that stood in the topic at the start has been applied."""

    def start(self) -> None:
        """Begins to read in the background."""
        self._task = asyncio.create_task(self._run(), name=f"table {self._partition.topic}")

    async def stop(self) -> None:
        """Ends the reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def refresh(self, within: float) -> None:
        """Returns when all that was written before the call is applied. Raises TableError after ``within`` seconds."""
        try:
            async with asyncio.timeout(within):
                await self.loaded.wait()
                await self.reached(await self._end())
        except (TimeoutError, KafkaError) as error:
            reason = str(error) or repr(error)
            raise TableError(
                f"{self._partition.topic} cannot be read: {reason} (`sluice topics --check` may say why)"
            ) from error

    async def reached(self, offset: int) -> None:
        """Returns when everything before ``offset`` has been applied; the caller bounds the wait."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.position >= offset)

    async def _end(self) -> int:
        asker = self._asker
        if asker is None:
            raise KafkaError("not connected")
        ends = await asker.end_offsets([self._partition])
        return int(ends[self._partition])

    async def _run(self) -> None:
        while True:
            # The broker answers a connection's requests in turn, so that a question would wait for the open fetch.
            consumer, asker = self._connection(), self._connection()
            try:
                await consumer.start()
                await asker.start()
                consumer.assign([self._partition])
                self._asker = asker
                await self._follow(consumer)
            except (KafkaError, OSError, asyncio.CancelledError) as error:
                if cancelled():
                    raise
                log.warning("table is not followed", extra={"topic": self._partition.topic, "reason": repr(error)})
                await asyncio.sleep(RETRY)
            finally:
                self._asker = None
                try:
                    await end(consumer)
                finally:  # though this be stopped meanwhile
                    await end(asker)

    def _connection(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=500,
            request_timeout_ms=10_000,
        )

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        await self._resume(consumer)
        end = await self._end()
        while True:
            if self.position >= end:
                self.loaded.set()
            got = await consumer.getmany(self._partition, timeout_ms=int(QUIET * 1000))
            for record in got.get(self._partition, ()):
                self._take(record)
            position = await consumer.position(self._partition)
            if not got:
                later = await self._end()  # raises where the broker itself is silent
                position, end = max(position, end), later
            await self._move(position)

    async def _resume(self, consumer: AIOKafkaConsumer) -> None:
        """Goes on where it stopped; from the start where the topic was made anew and is shorter than that."""
        if self.position > await self._end():
            self._reset()
            self.position = 0
        if self.position:
            consumer.seek(self._partition, self.position)
        else:
            await consumer.seek_to_beginning(self._partition)

    def _take(self, record: ConsumerRecord) -> None:
        self._apply(record.key or b"", record.value, record.offset)

    async def _move(self, position: int) -> None:
        async with self._moved:
            self.position = position
            self._moved.notify_all()
