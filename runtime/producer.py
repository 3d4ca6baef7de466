"""The producer that agents write with: acks=all, idempotent, whole batches, and dropped after its first failure.

A send that failed may still arrive later, or may not; what was to follow it must not overtake it. So after any failure
every waiting writer gets ``SendFailed``, opens its state anew and computes again, with a new producer.
"""

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

import native
from runtime import batches
from runtime.ending import abandon, end

log = logging.getLogger(__name__)

MAX_BATCH = 1024 * 1024
"""Bytes of one batch before compression; a single larger record has a batch of its own."""
MAX_REQUEST = 9 * 1024 * 1024
"""Above what the topics allow for one message (8 MiB), so that it is the broker who judges."""


class SendFailed(Exception):  # noqa: N818
    """The system, not the records: what was sent may or may not arrive. Open the state anew and try again."""


class Batch(native.Batch):
    """A batch of records as aiokafka's sender takes it, in place of its BatchBuilder."""

    __slots__ = ("_built", "_closed", "_producer")

    def __new__(cls) -> "Batch":
        batch = super().__new__(cls, MAX_BATCH)
        batch._built, batch._closed, batch._producer = None, False, (-1, -1, 0)
        return batch

    _built: bytes | None
    _closed: bool
    _producer: tuple[int, int, int]

    def close(self) -> None:
        """No more is added: it is about to be sent."""
        self._closed = True

    def closed(self) -> bool:
        return self._closed

    def record_count(self) -> int:
        return self.count

    def _set_producer_state(self, producer_id: int, epoch: int, sequence: int) -> None:
        self._producer = (producer_id, epoch, sequence)

    def _build(self) -> bytes:
        if self._built is None:
            self._built = batches.seal(self, self._producer)
        return self._built


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


class Outbox(native.Outbox):
    """The records that one batch of input gives, by target partition, in order; nothing is sent before ``deliver``."""

    __slots__ = ("_outlet", "_producer")

    def __new__(cls, outlet: Outlet, producer: Any) -> "Outbox":
        box = super().__new__(cls, outlet.batch)
        box._outlet, box._producer = outlet, producer
        return box

    _outlet: Outlet
    _producer: Any

    async def deliver(self) -> dict[tuple[str, int], list[int]]:
        """Sends everything and returns each target's batch offsets once all is acknowledged. Raises SendFailed.

        Towards one partition a batch is handed over only after the one before it is acknowledged: a failed one that is
        retried behind its successor would fall under the reader's watermark, and be lost.
        """
        results = await asyncio.gather(
            *(self._in_order(topic, partition, found) for (topic, partition), found in self.targets.items()),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return dict(zip(self.targets, results, strict=True))  # type: ignore[arg-type]

    async def _in_order(self, topic: str, partition: int, found: list[Any]) -> list[int]:
        return [await self._outlet.send(self._producer, topic, partition, batch) for batch in found]
