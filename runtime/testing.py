"""Agents without servers: logs, producer and stores in memory, under the runtime's own code, with faults on demand.

    run = Run([agent], partitions=2)
    run.append(EVENTS, key, value)
    run.work("agent")                       # to the end of its input
    run.work("agent", crash=3)              # dies at its third durable operation: a send, or a write to its store
    run.fork("agent")                       # a worker on another machine takes over; the old one is a zombie now
    run.work("agent", zombie=1)
    run.records(BETS)

What counts as in production: Stepper, PartitionState, Outbox, the changelog's format, origins. What is simulated is
Kafka's log, the disk, and the death of a process.
"""

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any, ClassVar

from runtime.agent import Agent, Record
from runtime.carry import Carrier
from runtime.changelog import DELETE, Marker
from runtime.kafka import Log
from runtime.partition import PartitionState, Place
from runtime.producer import Outbox
from runtime.step import Stepper
from runtime.store import META, OFFSET, StateDamaged, Store
from schemas.keys import partition_of
from schemas.topics import DEAD_LETTERS, Topic, changelog


class Crash(BaseException):
    """The simulated process is dead; nothing of it may run on."""


class Broker:
    """Logs in memory."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._logs: dict[tuple[str, int], list[Record]] = {}
        self.begins: dict[tuple[str, int], int] = {}

    def log(self, topic: str, partition: int) -> list[Record]:
        """A partition's records."""
        return self._logs.setdefault((topic, partition), [])

    def append(self, topic: str, partition: int, key: Any, value: Any, headers: Any, timestamp: int) -> int:
        """Appends a record and returns its offset."""
        log = self.log(topic, partition)
        log.append(Record(topic, partition, len(log), timestamp, key, value, tuple(headers)))
        return len(log) - 1

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """As LogReader's."""
        return self.begins.get((topic, partition), 0), len(self.log(topic, partition))

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[tuple[int, bytes]]:
        """As LogReader's."""
        assert start >= self.begins.get((topic, partition), 0)
        for record in self.log(topic, partition)[start:end]:
            assert record.value is not None
            yield record.offset, record.value

    async def delete(self, topic: str, partition: int, before: int) -> None:
        """As LogReader's."""
        self.begins[topic, partition] = max(before, self.begins.get((topic, partition), 0))


class MemoryStore(Store):
    """A store whose "disk" is a dict by folder, so that it survives its process, or not."""

    disks: ClassVar[dict[Path, dict[bytes, bytes]]] = {}

    def __init__(self, folder: Path, caches: Any) -> None:
        self.folder, self.fault = folder, caches
        self._data = self.disks.setdefault(folder, {})
        self._get = self._data.get
        self._begin_filter()

    def _keys(self, start: bytes, count: int) -> list[bytes]:
        return [key for key, _ in islice(self.scan(start, b"\xff" * 64), count)]

    def entries(self, start: bytes, count: int) -> list[tuple[bytes, bytes]]:
        return list(islice(self.scan(start, b"\xff" * 64), count))

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter([(key, self._data[key]) for key in sorted(self._data) if start <= key < stop and key != META])

    def scan_back(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(self.scan(start, stop))[::-1])

    def cursor(self) -> Any:
        return _Cursor(sorted(key for key in self._data if key != META))

    def write(self, changes: Any, marker: Marker, position: int, log: int) -> None:
        self.fault.operation()
        super().write(changes, marker, position, log)
        self.fault.operation()

    def _apply(self, batch: Any) -> None:
        for name, key, value in batch.operations:
            if name == DELETE:
                self._data.pop(key, None)
            else:
                self._data[key] = value

    def size(self) -> int:
        return len(self._data)

    def close(self) -> None:
        pass

    def batch(self) -> Any:
        return _Batch()

    @classmethod
    def drop(cls, folder: Path) -> None:
        cls.disks.pop(folder, None)


class _Cursor:
    def __init__(self, keys: list[bytes]) -> None:
        self._keys, self._at = keys, 0

    def seek(self, key: bytes) -> bytes:
        return self._found(bisect_left(self._keys, key))

    def seek_back(self, key: bytes) -> bytes:
        return self._found(bisect_right(self._keys, key) - 1)

    def previous(self) -> bytes:
        return self._found(self._at - 1)

    def _found(self, at: int) -> bytes:
        self._at = at
        return self._keys[at] if 0 <= at < len(self._keys) else b""


class _Batch:
    def __init__(self) -> None:
        self.operations: list[tuple[int, bytes, bytes]] = []

    def put(self, key: bytes, value: bytes) -> None:
        self.operations.append((0, key, value))

    def delete(self, key: bytes) -> None:
        self.operations.append((DELETE, key, b""))


class Fault:
    """Counts durable operations and crashes at the one that is asked for; odd points lie behind the operation."""

    def __init__(self) -> None:
        self.left: int | None = None

    def operation(self) -> None:
        """One is about to happen, or has just happened."""
        if self.left is not None:
            if self.left <= 0:
                raise Crash
            self.left -= 1


class _Batches(list[Any]):
    """A producer's batch."""

    def add(self, *record: Any) -> bool:
        if len(self) >= 3:  # small, so that targets need several batches in order
            return False
        self.append(record)
        return True


class MemoryOutlet:
    """As Outlet, into a Broker."""

    def __init__(self, broker: Broker, fault: Fault) -> None:
        self._broker, self.fault = broker, fault

    async def producer(self) -> Any:
        return self

    def batch(self) -> Any:
        return _Batches()

    async def send(self, _: Any, topic: str, partition: int, batch: Any) -> int:
        self.fault.operation()
        offsets = [
            self._broker.append(topic, partition, key, value, headers, timestamp)
            for timestamp, key, value, headers in batch
        ]
        self.fault.operation()
        return offsets[0]


@dataclass
class Member:
    """One worker process with its own disk, on one agent."""

    agent: Agent
    folder: Path
    states: dict[int, PartitionState] = field(default_factory=dict)
    carriers: dict[int, Carrier | None] = field(default_factory=dict)
    fault: Fault = field(default_factory=Fault)


class _Eager(Carrier):
    """Carries however short the log is: a worker may have been paused just when it was about to."""

    def due(self) -> bool:
        return self._state.store is not None


_MACHINES = count()


class Run:
    """Agents on logs in memory."""

    def __init__(self, agents: list[Agent], partitions: int = 2, limit: int = 100, log: int = 7) -> None:
        self.broker, self._limit, self._log = Broker(partitions), limit, log
        self._agents = {agent.name: agent for agent in agents}
        self._members: dict[str, list[Member]] = {name: [self._member(name)] for name in self._agents}

    def _member(self, name: str) -> Member:
        folder = Path(f"/{next(_MACHINES)}/{name}")
        return Member(self._agents[name], folder)

    def append(self, topic: Topic, key: bytes, value: bytes, timestamp: int, headers: Any = ()) -> None:
        """Appends an input, in the partition of its key."""
        partition = partition_of(key, self.broker.partitions)
        self.broker.append(topic.name, partition, key, value, headers, timestamp)

    def fork(self, name: str) -> None:
        """Another worker, with an empty disk, takes over; what was the worker goes on as a zombie when told to."""
        self._members[name].append(self._member(name))

    def restart(self, name: str, lose_disk: bool = False) -> None:
        """The current worker's process begins anew, on its disk or an empty one."""
        member = self._members[name][-1]
        self._members[name][-1] = self._member(name) if lose_disk else Member(member.agent, member.folder)

    def work(self, name: str, most: int = 10**9, batch: int = 10**9, crash: int | None = None, zombie: int = 0) -> None:
        """Lets a worker handle up to ``most`` records of each partition, in batches; ``zombie`` counts back from it.

        With ``crash`` it dies at that point of its durable operations, and begins anew on its disk.
        """
        self._act(name, zombie, crash, lambda member: self._work(member, most, batch))

    def carry(self, name: str, crash: int | None = None, zombie: int = 0) -> None:
        """Lets a worker carry its changelogs' tails forward, as it does between batches, with what it knows by now."""
        self._act(name, zombie, crash, self._carry)

    def _act(
        self, name: str, zombie: int, crash: int | None, act: Callable[[Member], Coroutine[Any, Any, None]]
    ) -> None:
        members = self._members[name]
        member = members[max(0, len(members) - 1 - zombie)]
        member.fault.left = crash
        try:
            asyncio.run(act(member))
        except Crash:
            members[members.index(member)] = Member(member.agent, member.folder)

    async def _carry(self, member: Member) -> None:
        outlet: Any = MemoryOutlet(self.broker, member.fault)
        for partition, carrier in member.carriers.items():
            state = member.states[partition]
            if carrier is not None and state.store is not None:
                try:
                    await _Eager(state).advance(outlet, self.broker)
                except StateDamaged:
                    state.drop()
                    await state.open(self.broker, self._log)

    async def _work(self, member: Member, most: int, batch: int) -> None:
        agent = member.agent
        outlet: Any = MemoryOutlet(self.broker, member.fault)
        names = {topic.name for topic in (*agent.outputs, DEAD_LETTERS)}
        for partition in range(self.broker.partitions):
            state = member.states.get(partition)
            log = Log(changelog(agent.name, agent.retention).name, 1)
            if state is None:
                place = Place(member.folder / str(partition), log, member.fault, MemoryStore)  # type: ignore[arg-type]
                state = member.states[partition] = PartitionState(agent, partition, place)
                member.carriers[partition] = None if agent.retention is not None else Carrier(state)
                await state.open(self.broker, self._log)
            stepper = Stepper(agent, dict.fromkeys(names, self.broker.partitions), partition, self._limit)
            start = state.marker.applied + 1
            records = self.broker.log(agent.source.name, partition)[start : start + most]
            for first in range(0, len(records), batch):
                carrier = member.carriers[partition]
                await self._handle(state, stepper, records[first : first + batch], outlet, carrier)

    async def _handle(
        self, state: PartitionState, stepper: Stepper, records: list[Record], outlet: Any, carrier: Carrier | None
    ) -> None:
        while records and state.marker.applied < records[-1].offset:
            boxes: list[Outbox] = []

            def outputs(boxes: list[Outbox] = boxes) -> Any:
                boxes.append(Outbox(outlet, outlet))
                return boxes[-1].add

            assert state.store is not None
            result = stepper.run(records, state.marker, state.store, outputs, objects=state.objects)
            await boxes[-1].deliver()
            try:
                await state.commit(result.changes.values(), result.marker, outlet, self.broker)
                state.tend(result.read)
                if carrier is not None and carrier.due():
                    await carrier.advance(outlet, self.broker)
            except StateDamaged:
                state.drop()
                await state.open(self.broker, self._log)

    def records(self, topic: Topic) -> list[Record]:
        """What stands in a topic, partition by partition."""
        return [record for i in range(self.broker.partitions) for record in self.broker.log(topic.name, i)]

    def state(self, name: str, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in the state of an agent's current worker."""
        store = self._members[name][-1].states[partition].store
        assert store is not None
        return ((key, value[OFFSET:]) for key, value in store.scan(b"\x01", b"\xff" * 64))

    def rows(self, topic: Topic, *by: str) -> list[dict[str, Any]]:
        """A topic's rows as ClickHouse collapses them: the highest version of each, told apart by ``by``."""
        assert topic.value is not None
        decode = topic.value.decode
        return latest((decode(record.value or b"") for record in self.records(topic)), *by)


def latest(rows: Iterable[dict[str, Any]], *by: str) -> list[dict[str, Any]]:
    """Of each row, told apart by the fields ``by``, the highest version, without those that were withdrawn."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        name = tuple(row[field] for field in by)
        if name not in found or (row["epoch"], row["offset"]) >= (found[name]["epoch"], found[name]["offset"]):
            found[name] = row
    return [row for row in found.values() if not row.get("withdrawn")]
