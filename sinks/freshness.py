"""How far each table is complete: "everything accepted before this time is in it", also where nothing comes.

A measurement notes a time, then the ends of the logs that a table is fed from. What was accepted before the time stands
before those ends. Once every group has committed up to there, the ends of the next topics are noted, and so on to the
table; then the time is written down. Commits follow durability (design.md, rules 3.6 and 5), so what is claimed holds
whatever crashes. No record's timestamp is used: an idle partition is complete, a stalled one is not.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from clickhouse_connect.driver.client import Client

from runtime.kafka import RETRIABLE
from runtime.positions import Offsets, Positions
from schemas import topics

log = logging.getLogger("sluice.freshness")

INTERVAL, SHARE = 0.5, 20
"""Seconds between two looks at all logs, and how many times what a look took at least: it costs the more the less time
there is for it."""
SLOWEST = 2.0
"""Seconds from one to the next at most, where Kafka answers."""
Hop = tuple[tuple[str, str], ...]
"""(topic, group) of every log that must be read to its noted end before the next hop's ends are noted."""


def routes(worker: str, sink: str) -> dict[str, tuple[Hop, ...]]:
    """The way to each table, by the consumer groups of worker and sink; letters may come from everywhere on it."""
    others = [topic for topic in topics.TOPICS if topic.table and topic is not topics.DEAD_LETTERS]
    found = {
        topic.table or "": (*_before(topic, worker), _hop([topic], sink)) for topic in others if not topic.compacted
    }
    deepest = max(len(_before(topic, worker)) for topic in topics.INPUTS)
    inputs = [[topic for topic in topics.INPUTS if len(_before(topic, worker)) == n] for n in range(deepest + 1)]
    hops = [*(_hop(each, worker) for each in inputs), _hop(others, sink), _hop([topics.DEAD_LETTERS], sink)]
    return found | {"dead_letters": tuple(hops)}


def _before(topic: topics.Topic, worker: str) -> tuple[Hop, ...]:
    """The hops by which agents make the topic."""
    if topic.source is None:
        return ()
    source = topics.by_name()[topic.source]
    return (*_before(source, worker), _hop([source], worker))


def _hop(read: list[topics.Topic], group: str) -> Hop:
    return tuple((topic.name, group) for topic in read)


@dataclass
class Measurement:
    """One table's time on its way."""

    time: float
    hop: int
    ends: Offsets = field(repr=False)

    def is_over(self, hop: Hop, committed: dict[str, Offsets]) -> bool:
        """Whether the hop's groups have come to the noted ends."""
        groups = dict(hop)
        return all(committed[groups[topic]].get((topic, at), 0) >= end for (topic, at), end in self.ends.items())


class Freshness:
    """The measuring task. One sink of the group runs it at a time; two at once do no harm."""

    def __init__(
        self, positions: Positions, client: Client, worker: str, sink: str, is_mine: Callable[[], bool]
    ) -> None:
        self._positions, self._client, self._is_mine = positions, client, is_mine
        self._groups = (worker, sink)
        self._routes = routes(worker, sink)
        self._under_way: dict[str, Measurement] = {}

    async def run(self) -> None:
        """Measures until it is cancelled."""
        took = 0.0
        while True:
            await asyncio.sleep(max(INTERVAL, SHARE * took))
            if not self._is_mine():
                self._under_way.clear()
                continue
            began = time.perf_counter()
            try:
                async with asyncio.timeout(10):
                    found = await self.step(time.time())
                took = min(time.perf_counter() - began, SLOWEST / SHARE)
                if found:
                    await asyncio.to_thread(self._write, found)
            except RETRIABLE as error:
                log.warning("freshness is not measured", extra={"reason": repr(error)})
                await self._positions.close()
            except Exception as error:
                log.warning("freshness is not written", extra={"reason": repr(error)})

    async def step(self, now: float) -> dict[str, float]:
        """Moves every measurement on as far as it goes; returns the times of those that arrived."""
        committed = {group: await self._positions.committed(group) for group in self._groups}
        ends = await self._positions.ends(
            sorted({topic for hops in self._routes.values() for h in hops for topic, _ in h})
        )
        arrived = {}
        for table, hops in self._routes.items():
            at = self._under_way.get(table)
            if at is not None and at.is_over(hops[at.hop], committed):
                if at.hop + 1 < len(hops):
                    self._under_way[table] = Measurement(at.time, at.hop + 1, _ends_of(hops[at.hop + 1], ends))
                    continue
                arrived[table] = at.time
                at = None
            if at is None:
                self._under_way[table] = Measurement(now, 0, _ends_of(hops[0], ends))
        return arrived

    def _write(self, found: dict[str, float]) -> None:
        rows = [[table, int(moment * 1000)] for table, moment in found.items()]
        self._client.insert(
            "freshness_rows", rows, column_names=["stage", "complete_until"],
            column_type_names=["String", "DateTime64(3, 'UTC')"], settings={"async_insert": 0},
        )  # fmt: skip


def _ends_of(hop: Hop, ends: Offsets) -> Offsets:
    topics_of = {topic for topic, _ in hop}
    return {place: end for place, end in ends.items() if place[0] in topics_of}
