"""The sink: a Faust app of its own, so that a ClickHouse outage stalls nobody else, with one lane per topic."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from clickhouse_connect.driver.client import Client
from faust.types import TP

from runtime.app import BatchApp, batch_app, raw_topic
from runtime.forgotten import Forgotten
from runtime.kafka import LogReader
from runtime.losses import SINK, Acceptance, NowhereToRecord
from runtime.positions import Positions
from runtime.producer import Outlet
from runtime.schemas_topic import follow, publish
from runtime.settings import Settings
from runtime.transport import Fetching
from runtime.worker import GROUP as WORKER
from schemas.topics import DEAD_LETTERS, EVENTS
from sinks.amends import amend
from sinks.burial import Burial
from sinks.clickhouse import Unreachable, connect
from sinks.copies import Copier, catch_up
from sinks.copying import Copying
from sinks.errors import Outcome, classify
from sinks.feed import Feed
from sinks.feeds import feeds
from sinks.freshness import Freshness
from sinks.lane import Gap, Lane, Tools
from sinks.spacers import put
from sinks.writer import BadRow, Stop, Writer, columns_of

GROUP = "sink"

FETCHING = Fetching(wait=100, least=256 * 1024)
"""Rows wait for the next insert anyway: few large answers cost broker and sink less than many small ones."""


class Sink:
    """One process's sink. ``connect``, ``start``, then wait for ``failed``, then ``stop``."""

    def __init__(self, settings: Settings, group: str = GROUP) -> None:
        self._settings, self._group = settings, group
        self.app: BatchApp = batch_app(group, settings, FETCHING)
        self._outlet = Outlet(settings.kafka_address(), settings.produce_timeout)
        self._kafka = LogReader(settings.kafka_address())
        self._acceptance = Acceptance(settings.accept_loss, self._outlet, self._kafka)
        self._schemas = follow(settings.kafka_address())
        self._forgotten = Forgotten(settings.kafka_address())
        self._client: Client | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._burial: Burial | None = None
        self._copying: Copying | None = None
        self._positions = Positions(settings.kafka_address())
        self._measuring: asyncio.Task[None] | None = None
        self.lanes: list[Lane] = []
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the error that ends it: one that only a person can mend, or a Crashed."""

    async def connect(self) -> None:
        """Meets ClickHouse, then Kafka; may be called again after an error.

        Raises Unreachable, KafkaError, SendFailed while one does not answer; Refused, MissingTable, Stop where a person
        must do something first.
        """
        settings = self._settings
        if self._client is None:
            self._client = await asyncio.to_thread(connect, settings)
        schema = await asyncio.to_thread(columns_of, self._client, settings.clickhouse_database)
        found = feeds(schema, settings, self._forgotten)
        await self._catch_up(self._client)
        logs = await self._kafka.logs([feed.topic.name for feed in found])
        letters = (await self._kafka.partitions([DEAD_LETTERS.name]))[DEAD_LETTERS.name]
        await publish(await self._outlet.producer())
        self._burial = Burial(self._outlet, logs, letters)
        self._pool = self._pool or ThreadPoolExecutor(len(found) + 1, "insert")
        self._copying = Copying(Copier(self._client), self._pool, self._fail)
        tools = Tools(
            writer=Writer(self._client, settings.dead_letters_in_a_row),
            pool=self._pool,
            consumer=lambda: self.app.consumer,
            bury=self._bury,
            copying=self._copying,
            learn=self._learn,
            recall=self._recall,
            amend=self._amend,
            fail=self._fail,
            buffer=settings.sink_buffer,
            accepts=self._accepts,
            space=partial(put, self._client),
        )
        self.lanes = [Lane(feed, tools) for feed in found]

    async def _catch_up(self, client: Client) -> None:
        try:
            await asyncio.to_thread(catch_up, client, int(self._settings.lateness * 1000))
        except Exception as error:
            outcome, reason = classify(error)
            if outcome is Outcome.STOP:
                raise Stop(f"ClickHouse refuses to copy sessions into events: {reason} ({error})") from error
            raise Unreachable(f"ClickHouse does not copy sessions into events yet: {reason} ({error})") from error

    async def start(self) -> None:
        """Joins the group and begins to work."""
        self._schemas.start()
        self._forgotten.table.start()
        for lane in self.lanes:
            self.app.agent(raw_topic(self.app, lane.name), name=f"sink.{lane.name}")(self._body(lane))
            lane.start()
        self.app.on_partitions_assigned.connect(self._assigned)
        self.app.consumer.quiesce = self._quiesce
        assert self._copying is not None
        self._copying.start()
        await self.app.start()
        self.app.watch(self._fail)
        assert self._client is not None
        freshness = Freshness(self._positions, self._client, WORKER, self._group, self._is_first)
        self._measuring = asyncio.create_task(freshness.run(), name="freshness")

    def _is_first(self) -> bool:
        """Whether this is the sink of the group that measures freshness."""
        return self.app.flowing.is_set() and TP(EVENTS.name, 0) in self.app.consumer.assignment()

    def _body(self, lane: Lane) -> Callable[[Any], Awaitable[None]]:
        async def body(stream: Any) -> None:
            async for event in stream.events():
                try:
                    lane.put(event.message.tp, event.value)
                except Gap as gap:
                    try:
                        await lane.mend(gap)
                    except Stop as error:
                        self._fail(error)
                        return

        return body

    async def _assigned(self, _: Any, assigned: set[TP], **__: Any) -> None:
        for lane in self.lanes:
            lane.restart()

    async def _quiesce(self) -> None:
        await asyncio.gather(*(lane.drain() for lane in self.lanes))

    async def _bury(self, rows: Sequence[tuple[BadRow, TP]]) -> None:
        assert self._burial is not None
        await self._burial.bury(rows)

    async def _accepts(self, tp: TP, start: int, end: int) -> bool:
        try:
            return await self._acceptance.covers(SINK, tp.topic, tp.partition, start, end)
        except NowhereToRecord as error:
            raise Stop(str(error)) from error

    async def _learn(self) -> None:
        await self._schemas.refresh(self._settings.produce_timeout)

    async def _recall(self) -> int:
        await self._forgotten.table.refresh(self._settings.produce_timeout)
        return self._forgotten.table.position

    async def _amend(self, feed: Feed, records: list[Any]) -> None:
        assert self._client is not None
        await asyncio.get_running_loop().run_in_executor(
            self._pool, amend, self._client, feed.topic, records, self._forgotten
        )

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def ready(self) -> str:
        """Empty, or why rows do not reach ClickHouse at the moment."""
        if not self.app.flowing.is_set():
            return "waiting for the group's assignment"
        waiting = [f"{lane.name}: {lane.waits}" for lane in self.lanes if lane.waits]
        if self._copying is not None and self._copying.waits:
            waiting.append(f"copies: {self._copying.waits}")
        return "; ".join(waiting)

    async def stop(self) -> None:
        """Stores what is buffered, commits and leaves the group."""
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.wait([self._measuring])
        if self.app.started:
            await self._quiesce()
            await self.app.end()
        for lane in self.lanes:
            await lane.stop()
        if self._copying is not None:
            await self._copying.stop()
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown)
        if self._client is not None:
            self._client.close()
        await self._positions.close()
        await self._schemas.stop()
        await self._forgotten.table.stop()
        await self._outlet.stop()
        await self._kafka.stop()
