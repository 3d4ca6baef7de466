"""The steps of `sluice replay`, in order; until the last nothing of it counts, so it can be given up at any time.

1. an epoch above all that were ever begun, and a changelog for it;
2. a worker of this agent alone, in a consumer group of its own, from the log's start;
3. when it has caught up, its rows are awaited in ClickHouse;
4. the epoch is declared complete: views and workers turn to it; of sessions, the rows of events follow at once;
5. the rows of former epochs are removed.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import islice

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from clickhouse_connect.driver.client import Client
from faust.types import TP

from runtime.agent import Agent, Record
from runtime.epochs import Epochs, complete
from runtime.lane import Fatal
from runtime.origin import HEADER, ingest_coordinates
from runtime.positions import Positions
from runtime.settings import Settings
from runtime.topics import Topics
from runtime.words import counted
from runtime.worker import Worker
from schemas.topics import INGEST_EVENTS, changelog
from sinks import epochs as stored_epochs
from sinks.copies import copy_all
from sinks.sink import GROUP as SINK
from sinks.stored import can_rebuild, records

POLL = 1.0
CHUNK = 2000
END = sys.maxsize


class Refusal(Exception):  # noqa: N818
    """The agent cannot be rebuilt; the message says why and what to do instead."""


class Rebuild:
    """One rebuild of one agent."""

    def __init__(self, settings: Settings, agent: Agent, client: Client, say: Callable[[str], None]) -> None:
        self._settings, self._agent, self._client, self._say = settings, agent, client, say
        self._positions = Positions(settings.kafka_address())
        self._epochs = Epochs(settings.kafka_address())
        self._worker: Worker | None = None

    async def run(self, keep: bool = False) -> int:
        """Returns the new epoch. Raises Fatal, SendFailed, KafkaError, ClickHouse's errors."""
        agent = self._agent
        epoch = await self._begin()
        self._say(f"rebuilding {agent.name} under epoch {epoch}")
        ends = await self._positions.ends([agent.source.name])
        lost = Lost(self._settings, self._client, agent, len(ends))
        group = f"replay-{agent.name}-{epoch}"
        self._worker = worker = Worker([agent], self._settings, group, epoch, lost.load)
        await worker.connect()
        await worker.start()
        await self._caught_up(worker)
        await self._stored()
        producer = AIOKafkaProducer(bootstrap_servers=self._settings.kafka_address(), acks="all")
        await producer.start()
        try:
            await complete(producer, agent.name, epoch, len(ends))
        finally:
            await producer.stop()
        await self._counts(epoch)
        if agent.name == "sessions":
            await asyncio.to_thread(copy_all, self._client)
        if not keep:
            tables = [f"{topic.table}_rows" for topic in agent.outputs if topic.table]
            tables += stored_epochs.TABLES.get(agent.name, ())
            await asyncio.to_thread(stored_epochs.drop_before, self._client, tables, epoch)
        return epoch

    async def _begin(self) -> int:
        self._epochs.table.start()
        await self._epochs.table.refresh(self._settings.produce_timeout)
        agent, epoch = self._agent, self._epochs.highest(self._agent.name) + 1
        while True:  # past those that were given up
            found = Topics([changelog(agent.name, agent.retention, epoch)], self._settings)
            (state,) = await found.check()
            if state.partitions is None:
                await found.ensure()
                return epoch
            epoch += 1

    async def _caught_up(self, worker: Worker) -> None:
        """Returns when everything that stood in the input a moment ago is applied."""
        name = self._agent.source.name
        while True:
            ends = await self._positions.ends([name])
            await self._pause(worker)
            applied = worker.applied(self._agent.name)
            left = sum(max(0, end - 1 - applied.get(partition, -1)) for (_, partition), end in ends.items())
            self._say(f"{counted(left, 'record')} to go")
            if not left and len(applied) == len(ends):
                return

    async def _stored(self) -> None:
        """Returns when the sink has stored every row that the rebuild has written by now."""
        outputs = [topic.name for topic in self._agent.outputs if topic.table]
        ends = await self._positions.ends(outputs)
        while True:
            committed = await self._positions.committed(SINK)
            left = sum(max(0, end - committed.get(place, 0)) for place, end in ends.items())
            if not left:
                return
            self._say(f"{counted(left, 'row')} under way into ClickHouse")
            await self._pause(self._worker)

    async def _counts(self, epoch: int) -> None:
        """Returns when the views show the epoch."""
        while await asyncio.to_thread(stored_epochs.counts, self._client, self._agent.name) < epoch:
            await self._pause(self._worker)

    async def _pause(self, worker: Worker | None) -> None:
        """Waits a moment, or raises what ended the worker."""
        assert worker is not None
        await asyncio.wait([worker.failed], timeout=POLL)
        if worker.failed.done():
            worker.failed.result()

    async def close(self) -> None:
        """Ends what runs."""
        if self._worker is not None:
            await self._worker.stop()
        await self._epochs.table.stop()
        await self._positions.close()


class Lost:
    """What a partition of the log has lost, from stored events.

    An event is taken if its place in ingest.events lies before the first one of that ingest partition that the log
    still has. That holds for what dedup writes, in the order of each ingest partition, but for dead letters that were
    replayed. A topic further on has them in another order; of it all are taken. What then comes again, of these or by
    a letter, agents take for the same, by its coordinates.
    """

    def __init__(self, settings: Settings, client: Client, agent: Agent, partitions: int) -> None:
        self._kafka = settings.kafka_address()
        self._client, self._agent, self._partitions = client, agent, partitions

    async def load(self, tp: TP, begin: int) -> AsyncIterator[list[Record]]:
        """Chunks of records that stand for those before ``begin``."""
        if not can_rebuild(self._agent.source):
            raise Fatal(f"{tp.topic} has lost its records before {begin}, and ClickHouse does not hold them")
        ordered = self._agent.source.source == INGEST_EVENTS.name
        kept = await self._kept(tp, begin) if ordered else {}
        found = records(self._client, self._agent.source, tp.partition, self._partitions, begin - 1)
        lost = (record for (log, partition, offset), record in found if offset < kept.get((log, partition), END))
        while chunk := await asyncio.to_thread(_chunk, lost):
            yield chunk

    async def _kept(self, tp: TP, begin: int) -> dict[tuple[int, int], int]:
        """For each ingest partition, the first offset whose record the log still has."""
        first: dict[tuple[int, int], int] = {}
        place = TopicPartition(tp.topic, tp.partition)
        consumer = AIOKafkaConsumer(bootstrap_servers=self._kafka, enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign([place])
            consumer.seek(place, begin)
            end = (await consumer.end_offsets([place]))[place]
            while await consumer.position(place) < end and len(first) < self._partitions:
                for record in (await consumer.getmany(place, timeout_ms=1000)).get(place, ()):
                    if (found := in_order(record.headers)) is not None:
                        log, partition, offset = found
                        first.setdefault((log, partition), offset)
        finally:
            await consumer.stop()
        return first


def in_order(headers: Iterable[tuple[str, bytes]]) -> tuple[int, int, int] | None:
    """The place in ingest.events that a record of dedup's has in the order of its partition: where dedup stood.

    Not its cause, which for the replay of a dead letter is where its event once was; and none for a letter of the agent
    at hand, which stands anywhere.
    """
    origin = dict(headers).get(HEADER)
    return ingest_coordinates(origin) if origin else None


def _chunk(found: Iterator[Record]) -> list[Record]:
    return list(islice(found, CHUNK))
