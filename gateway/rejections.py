"""Refused requests to the topic ``rejections``, behind the answer and never in its way.

What Kafka does not take waits, within a bound, and is produced once it does; what finds no room is counted.
"""

import asyncio
import logging
from collections import deque

from gateway.producer import THE_BROKERS, Producer, Record, Unavailable
from runtime.metrics import REJECTIONS as COUNT
from schemas.keys import partition_of, uuid7_bytes
from schemas.registry import REJECTION
from schemas.topics import REJECTIONS

log = logging.getLogger("sluice.rejections")

RECORDED = frozenset((400, 403, 404, 409, 413, 415, 422))
"""Statuses that are rejections (spec/warehouse.md); 401 and 429 are metrics only."""
BODY = 16 * 1024
ROUND = 1024 * 1024
"""Bytes written at once, about."""
RETRY = 0.5


class Rejections:
    """A bounded queue and the task that empties it."""

    def __init__(self, producer: Producer, room: int) -> None:
        self._producer, self._room = producer, room
        self._queue: deque[tuple[bytes, bytes]] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to write."""
        self._task = asyncio.create_task(self._run(), name="rejections")

    async def stop(self, within: float) -> None:
        """Writes what waits, for at most ``within`` seconds; the rest is counted as dropped."""
        try:
            async with asyncio.timeout(within):
                await self._empty.wait()
        except TimeoutError:
            COUNT.labels("dropped").inc(len(self._queue))
            log.warning("rejections are dropped", extra={"count": len(self._queue)})
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def add(
        self,
        *,
        received_at: int,
        tenant: str,
        dialect: str,
        route: str,
        status: int,
        errors: str,
        detail: str,
        body: bytes,
        request_id: str,
    ) -> None:
        """Queues one; returns at once."""
        identity = uuid7_bytes()
        value = REJECTION.encode(
            {
                "rejection_id": identity,
                "received_at": received_at,
                "tenant": tenant,
                "dialect": dialect,
                "route": route,
                "status": status,
                "errors": errors,
                "detail": detail,
                "body": body[:BODY],
                "request_id": request_id,
            }
        )
        if self._bytes + len(value) > self._room:
            COUNT.labels("dropped").inc()
            return
        self._bytes += len(value)
        self._queue.append((identity, value))
        self._empty.clear()
        self._filled.set()

    async def _run(self) -> None:
        while True:
            await self._filled.wait()
            taken = self._next()
            try:
                await self._write(taken)
            except Unavailable:
                await asyncio.sleep(RETRY)
                continue
            for _ in taken:
                self._bytes -= len(self._queue.popleft()[1])
            COUNT.labels("written").inc(len(taken))
            if not self._queue:
                self._filled.clear()
                self._empty.set()

    def _next(self) -> list[tuple[bytes, bytes]]:
        taken, size = [], 0
        for queued in self._queue:
            taken.append(queued)
            size += len(queued[1])
            if size > ROUND:
                break
        return taken

    async def _write(self, queued: list[tuple[bytes, bytes]]) -> None:
        partitions = self._producer.partitions(REJECTIONS.name)
        records: list[Record] = [(partition_of(key, partitions), key, value, THE_BROKERS, []) for key, value in queued]
        await self._producer.send(REJECTIONS.name, records)
