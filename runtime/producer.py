"""The producer that agents write with: acks=all, idempotent, whole batches, and dropped after its first failure.

A send that failed may still arrive later, or may not; what was to follow it must not overtake it. So after any failure
every waiting writer gets ``SendFailed``, opens its state anew and computes again, with a new producer.
"""

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBase

from runtime.ending import abandon, end

log = logging.getLogger(__name__)

MAX_BATCH = 1024 * 1024
"""Bytes of one batch before compression; a single larger record has a batch of its own."""
MAX_REQUEST = 9 * 1024 * 1024
"""Above what the topics allow for one message (8 MiB), so that it is the broker who judges."""


class SendFailed(Exception):  # noqa: N818
    """The system, not the records: what was sent may or may not arrive. Open the state anew and try again."""


class Batch(BatchBuilder):
    """aiokafka's, without what stands between a record that is bytes already and the C code."""

    _relative_offset: int

    def __init__(self) -> None:
        # aiokafka's lz4 is of level 9: eight times as long, for a tenth less
        super().__init__(MAX_BATCH, DefaultRecordBase.CODEC_SNAPPY)

    def add(self, timestamp: int, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> bool:
        """Whether there was room; the first record always finds some."""
        count = self._relative_offset
        if self._builder.append(count, timestamp, key, value, headers) is None:
            return False
        self._relative_offset = count + 1
        return True


class Outlet:
    """The shared producer of a process, replaced when it fails."""

    def __init__(self, bootstrap: str, request_timeout: float) -> None:
        self._bootstrap, self._timeout = bootstrap, request_timeout
        self._producer: Any = None
        self._lock = asyncio.Lock()

    async def producer(self) -> Any:
        """The current producer, started. Raises SendFailed while no broker answers."""
        async with self._lock:
            if self._producer is None:
                self._producer = await self._start()
            return self._producer

    async def _start(self) -> Any:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            compression_type="snappy",
            max_request_size=MAX_REQUEST,
            request_timeout_ms=int(self._timeout * 1000),
        )
        try:
            await producer.start()
        except (KafkaError, OSError) as error:
            await abandon(producer)
            raise SendFailed(f"no producer: {error!r}") from error
        return producer

    def batch(self) -> Any:
        """An empty batch."""
        return Batch()

    async def send(self, producer: Any, topic: str, partition: int, batch: Any) -> int:
        """Sends a batch and waits for its acknowledgement; returns its first offset, -1 where the broker won't say.

        Raises SendFailed; the producer is then gone for everybody.
        """
        if producer is not self._producer:
            raise SendFailed("this producer failed before")
        try:
            future = await producer.send_batch(batch, topic, partition=partition)
            metadata = await future
        except Exception as error:
            self._drop(producer, error)
            raise SendFailed(f"{topic}-{partition}: {error!r}") from error
        return -1 if metadata is None or metadata.offset is None else int(metadata.offset)

    def _drop(self, producer: Any, error: BaseException) -> None:
        if producer is self._producer:
            log.warning("producer dropped after %r", error)
            self._producer = None
            task = asyncio.get_running_loop().create_task(abandon(producer))
            _STOPPING.add(task)
            task.add_done_callback(_STOPPING.discard)

    async def stop(self) -> None:
        """Waits for what is under way, within the request time-out, and closes."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await end(producer)
        await asyncio.gather(*_STOPPING)


_STOPPING: set[asyncio.Task[None]] = set()


class Outbox:
    """The records that one batch of input gives, by target partition, in order; nothing is sent before ``deliver``."""

    def __init__(self, outlet: Outlet, producer: Any) -> None:
        self._outlet, self._producer = outlet, producer
        self._targets: dict[tuple[str, int], list[Any]] = {}

    def add(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]],
        timestamp: int,
    ) -> None:
        """Adds a record; ``timestamp`` in milliseconds."""
        target = (topic, partition)
        batches = self._targets.get(target)
        if batches is None:
            batches = self._targets[target] = [self._outlet.batch()]
        if not batches[-1].add(timestamp, key, value, headers):
            batches.append(self._outlet.batch())
            batches[-1].add(timestamp, key, value, headers)

    async def deliver(self) -> dict[tuple[str, int], list[int]]:
        """Sends everything and returns each target's batch offsets once all is acknowledged. Raises SendFailed.

        Towards one partition a batch is handed over only after the one before it is acknowledged: a failed one that is
        retried behind its successor would fall under the reader's watermark, and be lost.
        """
        results = await asyncio.gather(
            *(self._in_order(topic, partition, batches) for (topic, partition), batches in self._targets.items()),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return dict(zip(self._targets, results, strict=True))  # type: ignore[arg-type]

    async def _in_order(self, topic: str, partition: int, batches: list[Any]) -> list[int]:
        return [await self._outlet.send(self._producer, topic, partition, batch) for batch in batches]
