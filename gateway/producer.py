"""Records to Kafka, acknowledged: acks=all, idempotent, batched without lingering.

While a request to a broker is under way, records for its partitions collect; the moment it is answered they leave
together. A lone record therefore leaves at once, and under load batches grow by themselves.

A batch that fails for good takes its producer with it: an idempotent producer with a gap in its sequence cannot go on.

Errors: Unavailable.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from gateway.budget import Budget
from gateway.delivery import Batch, deliver
from runtime import schemas_topic
from runtime.ending import abandon
from runtime.metrics import ACK_SECONDS, PRODUCER_FAILURES, PRODUCERS_REPLACED

log = logging.getLogger("sluice.producer")

BATCH_BYTES = 1024 * 1024
RECORD_OVERHEAD = 200
"""Bytes that a waiting record costs beside its key and value, about."""
SWEEP = 0.2
BACKOFF = (0.1, 0.2, 0.5, 1.0)

Headers = list[tuple[str, bytes]]


class Unavailable(Exception):  # noqa: N818 - the state it names is Kafka's
    """Kafka has not acknowledged in time, or there is no room to wait. The records may still arrive."""


Record = tuple[int, bytes | None, bytes | None, int, Headers]
"""What is sent: partition, key, value, timestamp (milliseconds of the epoch) and headers."""
THE_BROKERS = 0
"""The timestamp of a record to a topic where the broker's own counts (LogAppendTime)."""


class Delivery:
    """A request's records on their way: ``future`` ends once Kafka has them all."""

    __slots__ = ("deadline", "future", "size", "waiting")

    def __init__(self, future: asyncio.Future[None], waiting: int, size: int, deadline: float) -> None:
        self.future, self.waiting, self.size, self.deadline = future, waiting, size, deadline


Entry = tuple[Delivery, Record]


class Producer:
    """One per gateway; survives every outage of Kafka without a restart."""

    def __init__(self, kafka: str, topics: Sequence[str], budget: Budget, timeout: float) -> None:
        """``topics``: all that will be written to; ``timeout``: seconds that a request waits for Kafka."""
        self._kafka_address, self._topics, self._budget, self._timeout = kafka, topics, budget, timeout
        self._loop = asyncio.get_running_loop()
        self._kafka: AIOKafkaProducer | None = None
        self._queues: dict[str, list[deque[Entry]]] = {}
        self._busy: set[Any] = set()
        self._open: dict[Delivery, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pumping = False
        self.started = asyncio.Event()
        """Set once Kafka has been reached and this release's schemas are published."""

    def start(self) -> None:
        """Begins to connect, for as long as it takes."""
        self._spawn(self._connect())
        self._spawn(self._sweep())

    async def stop(self) -> None:
        """Ends at once what is still under way."""
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._kafka is not None:
            await abandon(self._kafka)

    def partitions(self, topic: str) -> int:
        """The topic's partition count, which is fixed for ever. Raises Unavailable until Kafka has told it."""
        if not self.started.is_set():
            raise Unavailable("Kafka has not been reached yet")
        return len(self._queues[topic])

    def send(self, topic: str, records: Sequence[Record]) -> asyncio.Future[None]:
        """Queues the records; the future ends once all are acknowledged, or with Unavailable.

        Raises Unavailable at once where there is no room.
        """
        size = sum([len(record[2] or b"") for record in records]) + RECORD_OVERHEAD * len(records)
        if not self._budget.take(size):
            PRODUCER_FAILURES.labels("full").inc()
            raise Unavailable("too much waits for Kafka already")
        future: asyncio.Future[None] = self._loop.create_future()
        delivery = Delivery(future, len(records), size, self._loop.time() + self._timeout)
        self._open[delivery] = None
        queues = self._queues[topic]
        for record in records:
            queues[record[0]].append((delivery, record))
        self._pump_soon()
        return future

    async def reachable(self, within: float) -> bool:
        """Whether Kafka answers now."""
        kafka = self._kafka
        if kafka is None or not self.started.is_set():
            return False
        try:
            async with asyncio.timeout(within):
                await kafka.client.fetch_all_metadata()
        except (TimeoutError, KafkaError):
            return False
        return True

    def _waiting(self) -> Iterator[tuple[TopicPartition, deque[Entry]]]:
        """The queues that are not empty."""
        for topic, queues in self._queues.items():
            for partition, queue in enumerate(queues):
                if queue:
                    yield TopicPartition(topic, partition), queue

    # Rounds: what has collected for a broker leaves when its last request was answered.

    def _pump_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        kafka = self._kafka
        if kafka is None:
            return
        rounds: dict[Any, list[TopicPartition]] = {}
        for place, _ in self._waiting():
            leader = kafka.client.cluster.leader_for_partition(place)
            lane = place if leader is None or leader < 0 else leader
            if lane not in self._busy and place not in self._busy:  # its leader may have changed meanwhile
                rounds.setdefault(lane, []).append(place)
        for lane, places in rounds.items():
            self._busy.update((lane, *places))
            self._spawn(self._round(kafka, lane, places))

    async def _round(self, kafka: AIOKafkaProducer, lane: Any, places: list[TopicPartition]) -> None:
        began = time.perf_counter()
        entries: dict[TopicPartition, list[Entry]] = {}
        batches: dict[TopicPartition, bytes] = {}

        def settle(place: TopicPartition, error: BaseException | None) -> None:
            self._settle(kafka, entries.pop(place), error)

        try:
            for place in places:
                found, batch = self._fill(kafka, place)
                if found:
                    entries[place] = found
                    batches[place] = batch.seal()
            await deliver(kafka, batches, self._timeout, lambda: kafka is self._kafka, settle)
        except Exception as error:
            log.exception("round failed")
            for place in tuple(entries):
                settle(place, error)
        finally:
            self._busy.difference_update((lane, *places))
            self._pump_soon()
        ACK_SECONDS.observe(time.perf_counter() - began)

    def _fill(self, kafka: AIOKafkaProducer, place: TopicPartition) -> tuple[list[Entry], Batch]:
        """As many waiting records as a batch holds; those whose request has given up are dropped."""
        queue, batch = self._queues[place.topic][place.partition], Batch(kafka, place, BATCH_BYTES)
        entries: list[Entry] = []
        while queue:
            delivery, (_, key, value, timestamp, headers) = queue[0]
            if delivery.future.done():
                self._settled(queue.popleft()[0])
                continue
            try:
                taken = batch.append(timestamp, key, value, headers)
            except Exception as error:  # one of ours, and no reason to hold up what stands behind it
                log.exception("record cannot be sent")
                self._fail(delivery, "error", repr(error))
                continue
            if not taken:
                break
            entries.append(queue.popleft())
        return entries, batch

    def _settle(self, kafka: AIOKafkaProducer, entries: list[Entry], error: BaseException | None) -> None:
        for delivery, _ in entries:
            self._settled(delivery)
            if error is not None:
                self._fail(delivery, "error", repr(error))
            elif not delivery.waiting and self._open.pop(delivery, delivery) is None:
                delivery.future.set_result(None)
        if error is not None:
            self._replace(kafka, error)

    def _settled(self, delivery: Delivery) -> None:
        """One record less; with the last one, the memory of all is given back."""
        delivery.waiting -= 1
        if not delivery.waiting:
            self._budget.give(delivery.size)

    # Failure: requests end in time, and a broken producer gives way to a new one.

    def _fail(self, delivery: Delivery, reason: str, detail: str) -> None:
        if self._open.pop(delivery, delivery) is None and not delivery.future.done():
            PRODUCER_FAILURES.labels(reason).inc()
            delivery.future.set_exception(Unavailable(detail))

    async def _sweep(self) -> None:
        """Ends what has waited too long, and frees what it held and was not yet handed to Kafka."""
        while True:
            await asyncio.sleep(SWEEP)
            now = self._loop.time()
            while self._open and (oldest := next(iter(self._open))).deadline < now:
                self._fail(oldest, "timeout", "no acknowledgement in time")
            for _, queue in self._waiting():
                while queue and queue[0][0].future.done():
                    self._settled(queue.popleft()[0])

    def _replace(self, kafka: AIOKafkaProducer, error: BaseException) -> None:
        if kafka is not self._kafka:
            return
        log.warning("producer is replaced", extra={"reason": repr(error)})
        PRODUCERS_REPLACED.inc()
        self._kafka = None
        self._spawn(abandon(kafka))
        self._spawn(self._connect())

    async def _connect(self) -> None:
        for attempt in range(1_000_000_000):
            kafka = AIOKafkaProducer(
                bootstrap_servers=self._kafka_address,
                acks="all",
                enable_idempotence=True,
                request_timeout_ms=int(self._timeout * 1000),
                metadata_max_age_ms=30_000,
            )
            try:
                await kafka.start()
                await kafka.client.set_topics(self._topics)  # whose leaders it follows from now on
                for topic in self._topics:
                    count = len(await kafka.partitions_for(topic))
                    self._queues.setdefault(topic, [deque() for _ in range(count)])
                if not self.started.is_set():
                    await schemas_topic.publish(kafka)
            except (KafkaError, OSError) as error:
                log.warning("Kafka is not reached", extra={"reason": repr(error)})
                await abandon(kafka)
                await asyncio.sleep(BACKOFF[min(attempt, len(BACKOFF) - 1)])
            else:
                self._kafka = kafka
                self.started.set()
                self._pump_soon()
                return

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("producer task failed", exc_info=error)
