"""What an agent is: a pure function from a record and the state before it to outputs and the state after it.

    def step(record, state, emit):
        seen = state.get(record.key)
        ...
        state.put(record.key, value)
        emit.record(EVENTS, key, record.value)

It must be deterministic: no clock, no randomness, no counter of the process. Time is the event's, or
``record.timestamp`` and ``state.clock``, which a replay sees again. What it emits may depend on the record and the
state before it, never on where a batch happened to end.

A record has ``offset, timestamp`` (milliseconds), ``key, value, headers``; its partition is the state's.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from operator import itemgetter
from typing import Any, Protocol

import native
from runtime.changelog import DELETE, Change, Marker
from runtime.store import OFFSET
from schemas.topics import MAX_MESSAGE_BYTES, Topic

MAX_RECORD = MAX_MESSAGE_BYTES - 128 * 1024
"""Bytes of an output's or a state's key and value, so that Kafka takes it with what is around it, compressed or not."""

Add = Callable[[str, int, bytes | None, bytes | None, list[tuple[str, bytes]], int], None]
"""(topic, partition, key, value, headers, timestamp in milliseconds)."""


@dataclass(frozen=True)
class Record:
    """A record for an agent, where it does not come from aiokafka. ``timestamp`` in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Cursor(Protocol):
    """A place among the stored keys, before the batch's changes; a key that is not there is given as b""."""

    def seek(self, key: bytes) -> bytes:
        """The first stored key at or behind ``key``."""

    def seek_back(self, key: bytes) -> bytes:
        """The last stored key at or before ``key``."""

    def previous(self) -> bytes:
        """The stored key before the one found last."""


class Reads(Protocol):
    """What the state is read from: a Store, or a dict in a test."""

    def get(self, key: bytes) -> bytes | None: ...
    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]: ...
    def scan_back(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]: ...
    def cursor(self) -> Cursor: ...


class State(native.State):
    """The agent's keys and values for one input partition, with the changes of the batch at hand in front."""

    __slots__ = ("_kept", "_objects")

    def __new__(
        cls, reads: Reads, meta: dict[str, Any], partition: int, log: int, objects: dict[bytes, Any] | None = None
    ) -> "State":
        """``objects`` outlives the batch if it is committed; whoever gives it clears it otherwise."""
        state = super().__new__(cls, reads, getattr(reads, "filter", None), meta, partition, log, MAX_RECORD, insort)
        state._objects = {} if objects is None else objects
        state._kept = {}
        return state

    _objects: dict[bytes, Any]
    _kept: dict[bytes, Callable[[Any], bytes]]

    def delete(self, key: bytes) -> None:
        """Removes a key, if it is there."""
        self.put(key, b"")  # refuses what is no key
        self.changes[key] = (DELETE, key, b"", self.offset)
        self._objects.pop(key, None)
        self._kept.pop(key, None)

    def load(self, key: bytes, unpack: Callable[[bytes], Any]) -> Any:
        """The value as the agent's own object, unpacked once and then kept in memory as long as there is room; or None.

        Change it only together with ``keep``, and never get or put the same key as bytes.
        """
        found = self._objects.get(key)
        if found is None:
            packed = self.get(key)
            if packed is not None:
                found = self._objects[key] = unpack(packed)
        return found

    def keep(self, key: bytes, value: Any, pack: Callable[[Any], bytes]) -> None:
        """Sets a key to an object, which is packed once, at the batch's end."""
        self._objects[key] = value
        self._kept[key] = pack

    def close(self) -> None:
        """Packs what was kept. Raises TooLarge."""
        for key, pack in self._kept.items():
            self.put(key, pack(self._objects[key]))
        self._kept.clear()

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with start <= key < stop, ascending. The state must not be changed while scanning."""
        changed = self._changed(start, stop)
        return _merge(self._reads.scan(start, stop), iter(changed), self.changes, 1)

    def scan_back(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The same, descending."""
        changed = self._changed(start, stop)
        return _merge(self._reads.scan_back(start, stop), reversed(changed), self.changes, -1)

    def cursor(self) -> Cursor:
        """A cursor over what is stored, without the batch's changes: many seeks for the price of one scan."""
        cursor: Cursor = self._reads.cursor()
        return cursor

    def _changed(self, start: bytes, stop: bytes) -> list[bytes]:
        if self._ordered is None:
            self._ordered = sorted(self.changes)
        return self._ordered[bisect_left(self._ordered, start) : bisect_left(self._ordered, stop)]


def _merge(
    stored: Iterator[tuple[bytes, bytes]], changed: Iterator[bytes], changes: dict[bytes, Change], direction: int
) -> Iterator[tuple[bytes, bytes]]:
    """Both in one order; a change hides what is stored."""
    pair, key = next(stored, None), next(changed, None)
    while pair is not None or key is not None:
        if key is None or (pair is not None and pair[0] != key and (pair[0] < key) == (direction > 0)):
            assert pair is not None
            if pair[0] not in changes:
                yield pair[0], pair[1][OFFSET:]
            pair = next(stored, None)
        else:
            if pair is not None and pair[0] == key:
                pair = next(stored, None)
            kind, _, value, _ = changes[key]
            if kind != DELETE:
                yield key, value
            key = next(changed, None)


Row = tuple[int, int, int, Topic, bytes, dict[str, Any] | bytes]
"""(offset, index, timestamp, topic, key, value) of a row of the batch at hand."""


class Emit(native.Emit):
    """Where a step's outputs go. Each carries its origin, by which the next agent knows a repeat."""

    __slots__ = ("_rows",)

    def __new__(cls, add: Add, source: bytes, partitions: dict[str, int], epoch: int = 0) -> "Emit":
        emit = super().__new__(cls, add, source, partitions, epoch, MAX_RECORD)
        emit._rows = {}
        return emit

    _rows: dict[tuple[str, bytes], Row]

    def row(self, topic: Topic, key: bytes, row_id: bytes, value: dict[str, Any]) -> None:
        """Sets the state of a row of ClickHouse; only the last of a batch is written, by the topic's schema.

        Its version is the value's ``epoch`` and ``offset``: the epoch of the agent, and the offset of the record that
        last touched the row, at hand or earlier in the batch.
        """
        index = self.index
        self.index = index + 1
        self._rows[topic.name, row_id] = (value["offset"], index, self.timestamp, topic, key, value)

    def encoded_row(self, topic: Topic, key: bytes, row_id: bytes, value: bytes, offset: int) -> None:
        """The same for a row that the agent has encoded, with the offset that stands in it."""
        index = self.index
        self.index = index + 1
        self._rows[topic.name, row_id] = (offset, index, self.timestamp, topic, key, value)

    def close(self) -> None:
        """Writes the rows, in the order of their origins. Raises TooLarge."""
        for offset, index, timestamp, topic, key, value in sorted(self._rows.values(), key=_order):
            if not isinstance(value, bytes):
                assert topic.value is not None
                value = topic.value.encode(value)
            self._write(topic.name, key, value, offset, index, timestamp)
        self._rows.clear()


_order = itemgetter(0, 1)
Step = Callable[[Any, State, Emit], None]


def _nothing(*_: Any) -> None:
    """An agent that prepares and closes nothing."""


@dataclass(frozen=True)
class Ageing:
    """When an entry of the state can have no effect any more, so that it may be removed, at any time or never."""

    horizon: Callable[[Marker], int]
    """Entries whose time is before this have none. Milliseconds; NEVER as long as that can't be said."""
    time: Callable[[bytes, bytes], int]
    """An entry's time, from key and value. Milliseconds."""


NEVER = -1 << 63


@dataclass(frozen=True)
class Agent:
    """An agent and what the runtime must know of it."""

    name: str
    source: Topic
    step: Step
    outputs: tuple[Topic, ...] = ()
    version: int = 1
    """Of the logic. A worker refuses state that another version wrote."""
    close: Callable[[State, Emit], None] = field(default=_nothing)
    """Called behind a batch's last step, to set rows from ``emit.scratch``."""
    ageing: Ageing | None = None
    """None: its state stays for ever."""
    retention: int | None = None
    """Milliseconds for which the changelog is kept; None: its owner truncates it, since the state does not age."""

    def __post_init__(self) -> None:
        for function in (self.step, self.close):
            if iscoroutinefunction(function) or isgeneratorfunction(function) or isasyncgenfunction(function):
                raise TypeError(
                    f"{function.__name__} of the agent {self.name} is called and not awaited: with async or yield "
                    "none of it would run"
                )
