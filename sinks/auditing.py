"""An audit from beginning to end: when to trust the balance, and what each difference means.

Traffic may flow: what was accepted when the audit began is judged, and nothing later. A balance that does not fit is
taken again until it does, until the time is over, or until every stage has gone past what is judged, since then nothing
will change any more.

Errors: KafkaError, TableError, OSError; ClickHouse's.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from clickhouse_connect.driver.client import Client

from runtime.forgotten import Forgotten
from runtime.kafka import Log, LogReader
from runtime.losses import Losses
from runtime.positions import Offsets, Positions
from runtime.schemas_topic import follow
from runtime.settings import Settings
from runtime.words import counted
from runtime.worker import GROUP as WORKER
from schemas.topics import CONFLICTS, DEAD_LETTERS, DUPLICATES, EVENTS, INGEST_EVENTS, TOPICS, WAGERS
from sinks.accepted import Spans, accept, concerning, suspicion
from sinks.audit import Auditor, Balance, Difference, ranges
from sinks.deep import differing
from sinks.derived import compare
from sinks.sink import GROUP as SINK
from sinks.unrecorded import replays

POLL = 0.5
READ_LIMIT = 30.0
_TO_TABLES = [topic.name for topic in (EVENTS, DUPLICATES, CONFLICTS)]
_TO_AGENTS = {topic.name for topic in (INGEST_EVENTS, EVENTS, WAGERS)}
_TO_SINK = {topic.name for topic in TOPICS if topic.table}
_ALL = sorted(_TO_AGENTS | _TO_SINK)


@dataclass(frozen=True)
class Progress:
    """How far the stages were, noted before the tables were read."""

    read: dict[int, int]
    """Offset that dedup has come to in each partition of ingest.events."""
    behind: int
    """Records between dedup and the tables."""
    suspicion: str = ""
    """What else may be why an event is lost (sinks/accepted.py)."""

    def is_past(self, ends: dict[int, int]) -> bool:
        """Whether everything before ``ends`` has gone through every stage that leads to the balance."""
        return not self.behind and all(self.read.get(partition, 0) >= end for partition, end in ends.items())

    def stage(self, partition: int, offset: int) -> str:
        """Where a missing offset is."""
        read = self.read.get(partition, 0)
        if offset >= read:
            return f"waits for dedup, which has come to {read}"
        if self.behind:
            return f"between dedup and the tables: {counted(self.behind, 'record')} waiting for the sink"
        return f"lost: dedup has handled it, and no table holds it{self.suspicion}"


class Audit:
    """One run of `sluice audit`."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self._client, self._bootstrap = client, settings.kafka_address()
        self._positions = Positions(settings.kafka_address())
        self._kafka = LogReader(settings.kafka_address())
        self._losses = Losses(settings.kafka_address())

    async def run(self, wait: float, deep: bool = False) -> Balance:
        """The balance of what was accepted up to now, taken again for up to ``wait`` seconds while it does not fit.

        With ``deep``, every stored event is also compared with the log's record.
        """
        until = time.monotonic() + wait
        log = (await self._kafka.logs([INGEST_EVENTS.name]))[INGEST_EVENTS.name]
        auditor = Auditor(self._client, log.number)
        ends = await self._ends()
        await self._losses.start(self._kafka)
        before = -1
        while True:
            progress = await self._progress()
            balance = await asyncio.to_thread(auditor.balance, ends)
            losses = concerning(await self._losses.read(READ_LIMIT), log.number)
            accepted = await asyncio.to_thread(accept, auditor, balance, losses, ends)
            if not (balance.offsets_balance or progress.is_past(ends) or time.monotonic() > until):
                await asyncio.sleep(POLL)
                continue
            missing = await self._missing(auditor, balance, ends, accepted) if balance.missing else {}
            # Where fewer are found than were counted, rows have come between the two looks.
            if balance.missing in (before, sum(map(len, missing.values()))):
                break
            before = balance.missing
        beyond = await asyncio.to_thread(auditor.beyond, ends)
        _judge_beyond(balance, beyond, await self._ends())
        progress = replace(progress, suspicion=suspicion(losses))
        await asyncio.to_thread(explain, auditor, balance, missing, progress)
        balance.derived, balance.waiting = await self._derived(until)
        if deep:
            known = {(each.partition, each.start) for each in balance.differences if each.what == "altered"}
            found = await self._differing(log, ends)
            balance.differences += found
            balance.altered += sum((each.partition, each.start) not in known for each in found)
        return balance

    async def _missing(
        self, auditor: Auditor, balance: Balance, ends: dict[int, int], accepted: Spans
    ) -> dict[int, list[int]]:
        """Offsets that nothing accounts for, by partition; replays among them are taken out of the balance."""
        found = {
            partition: await asyncio.to_thread(auditor.missing, partition, end, accepted.get(partition, ()))
            for partition, end in ends.items()
        }
        replayed = await replays(
            self._bootstrap, {partition: offsets for partition, offsets in found.items() if offsets}
        )
        count = sum(map(len, replayed.values()))
        balance.missing, balance.ingested = balance.missing - count, balance.ingested - count
        return {
            partition: [offset for offset in offsets if offset not in replayed.get(partition, ())]
            for partition, offsets in found.items()
        }

    async def _differing(self, log: Log, ends: dict[int, int]) -> list[Difference]:
        forgotten, schemas = Forgotten(self._bootstrap), follow(self._bootstrap)
        forgotten.table.start()
        schemas.start()  # the log may have a newer release's events
        try:
            await forgotten.table.refresh(READ_LIMIT)
            await schemas.refresh(READ_LIMIT)
            return await differing(self._kafka, self._client, log, ends, forgotten)
        finally:
            await forgotten.table.stop()
            await schemas.stop()

    async def _derived(self, until: float) -> tuple[dict[str, int] | None, dict[str, int]]:
        """Compared while nothing is on its way; None where that does not happen in time, and what was."""
        while True:
            before = await self._positions.ends(_ALL)
            waiting = await self._waiting(before)
            if not waiting:
                found = await asyncio.to_thread(compare, self._client)
                if await self._positions.ends(_ALL) == before:
                    return found, {}
            if time.monotonic() > until:
                return None, waiting
            await asyncio.sleep(POLL)

    async def _waiting(self, ends: Offsets) -> dict[str, int]:
        """How many records before ``ends`` wait, by reader and topic."""
        found: Counter[str] = Counter()
        for name, group, topics in (("worker", WORKER, _TO_AGENTS), ("sink", SINK, _TO_SINK)):
            committed = await self._positions.committed(group)
            for (topic, partition), end in ends.items():
                if topic in topics:
                    found[f"{name}: {topic}"] += max(0, end - committed.get((topic, partition), 0))
        return dict(+found)

    async def _ends(self) -> dict[int, int]:
        found = await self._positions.ends([INGEST_EVENTS.name])
        return {partition: end for (_, partition), end in found.items()}

    async def _progress(self) -> Progress:
        """In the order of the records' way, so that none is overlooked between two stages.

        Dead letters come last: the sink itself writes some, before it commits the records that they are about.
        """
        read = await self._positions.committed(WORKER)
        behind = 0
        for topics in (_TO_TABLES, [DEAD_LETTERS.name]):
            ends = await self._positions.ends(topics)
            stored = await self._positions.committed(SINK)
            behind += sum(max(0, end - stored.get(place, 0)) for place, end in ends.items())
        return Progress(_of(read, INGEST_EVENTS.name), behind)

    async def close(self) -> None:
        """Closes the connections to Kafka."""
        await self._positions.close()
        await self._losses.stop()
        await self._kafka.stop()


def _of(offsets: Offsets, topic: str) -> dict[int, int]:
    return {partition: offset for (name, partition), offset in offsets.items() if name == topic}


def _judge_beyond(balance: Balance, rows: dict[int, list[int]], ends: dict[int, int]) -> None:
    """Of rows that were accepted since the audit began, or never; ``ends`` are the log's after they were read."""
    for partition, offsets in rows.items():
        never = [offset for offset in offsets if offset >= ends.get(partition, 0)]
        balance.beyond += len(never)
        balance.differences += ranges("beyond", partition, never, "the log has never had this offset")


def explain(auditor: Auditor, balance: Balance, missing: dict[int, list[int]], progress: Progress) -> None:
    """Adds to the balance which offsets differ and why."""
    for partition, offsets in missing.items():
        balance.differences += _missing(offsets, partition, progress)
    if balance.doubled:
        balance.differences += auditor.repeated()
    for _, count, listed in auditor.altered():
        balance.altered += count
        balance.differences += listed


def _missing(offsets: list[int], partition: int, progress: Progress) -> Iterator[Difference]:
    stages: dict[str, list[int]] = {}
    for offset in offsets:
        stages.setdefault(progress.stage(partition, offset), []).append(offset)
    for stage, found in stages.items():
        yield from ranges("missing", partition, found, stage)
