"""Reading logs outside of the consumer group: changelogs, bounds, incarnations.

Errors: aiokafka's KafkaError; a broker that is away is waited for.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError

from runtime.ending import end
from runtime.logid import log_ids


@dataclass(frozen=True)
class Log:
    """A topic and its incarnation."""

    topic: str
    number: int


class Logs(Protocol):
    """What a partition's recovery asks of Kafka; runtime/testing.py has its twin in memory."""

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]: ...
    def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[tuple[int, bytes]]: ...
    async def delete(self, topic: str, partition: int, before: int) -> None: ...


class LogReader:
    """Consumers without a group, a few at once."""

    def __init__(self, bootstrap: str, at_once: int = 4) -> None:
        self._bootstrap = bootstrap
        self._free: list[AIOKafkaConsumer] = []
        self._slots = asyncio.Semaphore(at_once)
        self._admin: AIOKafkaAdminClient | None = None

    async def logs(self, topics: list[str]) -> dict[str, Log]:
        """The incarnation of each topic. Raises KafkaError if one does not exist."""
        async with self._slots:
            consumer = await self._take()
            try:
                numbers = await log_ids(consumer._client, topics)
            finally:
                self._free.append(consumer)
        return {topic: Log(topic, number) for topic, number in numbers.items()}

    async def partitions(self, topics: list[str]) -> dict[str, int]:
        """The partition count of each topic. Raises KafkaError if one does not exist."""
        async with self._slots:
            consumer = await self._take()
            try:
                for topic in topics:
                    await consumer._client._wait_on_metadata(topic)
                found = {topic: consumer.partitions_for_topic(topic) for topic in topics}
            finally:
                self._free.append(consumer)
        return {topic: len(partitions) for topic, partitions in found.items()}

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """(first offset that is still there, offset of the next record)."""
        tp = TopicPartition(topic, partition)
        async with self._slots:
            consumer = await self._take()
            try:
                begin = await consumer.beginning_offsets([tp])
                end = await consumer.end_offsets([tp])
            finally:
                self._free.append(consumer)
        return begin[tp], end[tp]

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[tuple[int, bytes]]:
        """(offset, value) of the records from ``start`` to before ``end``."""
        if start >= end:
            return
        tp = TopicPartition(topic, partition)
        async with self._slots:
            consumer = await self._take()
            try:
                consumer.assign([tp])
                consumer.seek(tp, start)
                while start < end:
                    for record in (await consumer.getmany(tp, timeout_ms=1000)).get(tp, []):
                        if record.offset >= end:
                            return
                        start = record.offset + 1
                        yield record.offset, record.value
            finally:
                consumer.unsubscribe()
                self._free.append(consumer)

    async def delete(self, topic: str, partition: int, before: int) -> None:
        """Deletes the records before an offset."""
        if self._admin is None:
            self._admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
            await self._admin.start()
        await self._admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=before)})

    async def _take(self) -> AIOKafkaConsumer:
        if self._free:
            return self._free.pop()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            auto_offset_reset="none",
            enable_auto_commit=False,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        try:
            await consumer.start()
        except BaseException:
            await end(consumer)
            raise
        return consumer

    async def stop(self) -> None:
        """Closes all consumers."""
        free, self._free = self._free, []
        for client in (*free, *((self._admin,) if self._admin is not None else ())):
            await end(client)


RETRIABLE = (KafkaError, ConnectionError, TimeoutError)
"""What a broker that is away or changing makes of any call: wait and try again."""
