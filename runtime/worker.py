"""Runs exact agents in a Faust app: one lane for every agent and assigned partition."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from faust.types import TP

from runtime import metrics
from runtime.agent import Agent
from runtime.app import BatchApp, batch_app, raw_topic
from runtime.epochs import Epochs
from runtime.kafka import Log, LogReader
from runtime.lane import Fatal, Lane, Preload, Tools
from runtime.ledger import Ledger
from runtime.losses import Acceptance
from runtime.partition import Place
from runtime.producer import Outlet
from runtime.schemas_topic import follow, publish
from runtime.settings import Settings
from runtime.step import Result, Stepper
from runtime.store import Caches
from runtime.watchdog import Watchdog
from schemas.topics import DEAD_LETTERS, changelog

log = logging.getLogger(__name__)

GROUP = "worker"


class Worker:
    """The exact agents of one process. ``connect`` until it succeeds, ``start``, wait for ``failed``, ``stop``."""

    def __init__(
        self,
        agents: Sequence[Agent],
        settings: Settings,
        group: str = GROUP,
        epoch: int | None = None,
        preload: Preload | None = None,
    ) -> None:
        """With ``epoch`` the agents are rebuilt under it, whatever counts; ``preload`` gives what the log lost."""
        self._agents, self._settings, self._epoch = agents, settings, epoch
        self._folder: Path = settings.data_dir / "state" / f"{group}-{settings.slot}"
        self.app: BatchApp = batch_app(group, settings)
        self._ledger = Ledger(self.app)
        self._outlet = Outlet(settings.kafka_address(), settings.produce_timeout)
        self._kafka = LogReader(settings.kafka_address())
        self._schemas = follow(settings.kafka_address())
        self._caches = Caches(settings.state_cache)
        self._epochs = Epochs(settings.kafka_address(), self._epoch_changed)
        self._switches: set[asyncio.Task[None]] = set()
        self._watchdog = Watchdog()
        self._lanes: dict[tuple[str, TP], Lane] = {}
        self._logs: dict[str, Log] = {}
        self._partitions: dict[str, int] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the error that ends it: one that only a person can mend, or a Crashed."""
        self._tools = Tools(
            ledger=self._ledger,
            outlet=self._outlet,
            kafka=self._kafka,
            learn=self._learn,
            fail=self._fail,
            observe=self._observe,
            flowing=self.app.flowing,
            preload=preload,
            rebuild=settings.rebuild,
            accepts=Acceptance(settings.accept_loss, self._outlet, self._kafka).covers,
        )

    async def connect(self) -> None:
        """Learns of the topics and publishes this release's schemas. Raises KafkaError, SendFailed; try again."""
        outputs = {topic.name for agent in self._agents for topic in (*agent.outputs, DEAD_LETTERS)}
        inputs = {agent.source.name for agent in self._agents}
        self._epochs.table.start()
        await self._epochs.table.refresh(self._settings.produce_timeout)
        changelogs = {self._changelog(agent) for agent in self._agents}
        self._logs = await self._kafka.logs(sorted(inputs | changelogs))
        self._partitions = await self._kafka.partitions(sorted(outputs))
        await publish(await self._outlet.producer())

    async def start(self) -> None:
        """Joins the group and begins to work."""
        metrics.LAG.measure = self.lags
        self._schemas.start()
        self._watchdog.start()
        for agent in self._agents:
            self._ledger.register(agent.name, agent.source.name)
            self.app.agent(raw_topic(self.app, agent.source.name), name=agent.name)(self._body(agent))
        self.app.on_partitions_assigned.connect(self._assigned)
        self.app.consumer.quiesce = self._quiesce
        await self.app.start()
        self.app.watch(self._fail)

    def _body(self, agent: Agent) -> Callable[[Any], Awaitable[None]]:
        async def body(stream: Any) -> None:
            async for event in stream.events():
                lane = self._lanes.get((agent.name, event.message.tp))
                if lane is not None:
                    lane.put(event.value)

        return body

    async def _assigned(self, _: Any, assigned: set[TP], **__: Any) -> None:
        wanted = {(agent.name, tp): agent for agent in self._agents for tp in assigned if tp.topic == agent.source.name}
        for key in self._lanes.keys() - wanted.keys():
            self._ledger.clear(key[1])
            self._lanes.pop(key).close()
        for key, agent in wanted.items():
            if key not in self._lanes:
                self._lanes[key] = self._lane(agent, key[1])
            self._lanes[key].start(self._logs[agent.source.name].number)

    def _lane(self, agent: Agent, tp: TP) -> Lane:
        epoch = self._epoch_of(agent)
        name = f"{agent.name}-{epoch}" if epoch else agent.name
        place = Place(self._folder / name / str(tp.partition), self._logs[self._changelog(agent)], self._caches)
        outputs = {topic.name: self._partitions[topic.name] for topic in (*agent.outputs, DEAD_LETTERS)}
        stepper = Stepper(agent, outputs, tp.partition, self._settings.dead_letters_in_a_row)
        return Lane(agent, tp, place, stepper, self._tools, epoch)

    def _epoch_of(self, agent: Agent) -> int:
        return self._epochs.current(agent.name) if self._epoch is None else self._epoch

    def _changelog(self, agent: Agent) -> str:
        return changelog(agent.name, agent.retention, self._epoch_of(agent)).name

    def _epoch_changed(self, name: str) -> None:
        """An agent was rebuilt: its lanes go on from the new state."""
        if self._epoch is None and self.app.started:
            task = asyncio.get_running_loop().create_task(self._switch(name))
            self._switches.add(task)
            task.add_done_callback(self._switches.discard)

    async def _switch(self, name: str) -> None:
        (agent,) = (agent for agent in self._agents if agent.name == name)
        log.info("%s goes on under epoch %d", name, self._epoch_of(agent))
        self._logs |= await self._kafka.logs([self._changelog(agent)])
        for key in [key for key in self._lanes if key[0] == name]:
            await self._lanes[key].pause()
            self._lanes[key].close()
            self._lanes[key] = self._lane(agent, key[1])
            self._lanes[key].start(self._logs[agent.source.name].number)

    async def _quiesce(self) -> None:
        await asyncio.gather(*(lane.pause() for lane in self._lanes.values()))

    async def _learn(self) -> None:
        await self._schemas.refresh(self._settings.produce_timeout)

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def _observe(self, agent: str, partition: int, result: Result, seconds: float) -> None:
        metrics.AGENT_RECORDS.labels(agent).inc(result.read)
        metrics.AGENT_REPEATS.labels(agent).inc(result.dropped)
        metrics.AGENT_LETTERS.labels(agent).inc(result.letters)
        metrics.AGENT_BATCH_SECONDS.labels(agent).observe(seconds)

    def ready(self) -> str:
        """Empty, or why it does no work yet."""
        if not self.app.flowing.is_set():
            return "waiting for the group's assignment"
        closed = [lane.name for lane in self._lanes.values() if not lane.opened]
        return f"opening {', '.join(closed)}" if closed else ""

    def applied(self, agent: str) -> dict[int, int]:
        """Offset of the last applied record, by input partition, of the agent's open lanes."""
        return {
            tp.partition: lane.state.marker.applied
            for (name, tp), lane in self._lanes.items()
            if name == agent and lane.opened
        }

    def lags(self) -> Iterator[tuple[str, int, int]]:
        """(agent, partition, records that it has yet to apply), of the open lanes whose log's end is known."""
        for (name, tp), lane in self._lanes.items():
            end = self._ledger.end(tp)
            if lane.opened and end is not None:
                yield name, tp.partition, max(0, end - lane.state.marker.applied - 1)

    async def stop(self) -> None:
        """Finishes the batches at hand, commits, leaves the group and closes the state."""
        self._watchdog.stop()
        if self.app.started:
            await self._quiesce()
            await self.app.end()
        for lane in self._lanes.values():
            lane.close()
        await self._epochs.table.stop()
        await self._schemas.stop()
        await self._outlet.stop()
        await self._kafka.stop()


__all__ = ["Fatal", "Worker"]
