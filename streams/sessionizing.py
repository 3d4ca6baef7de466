"""What a session is, as arithmetic on its events; nothing here knows of state, Kafka or batches.

Rule: spec/semantics.md, Sessions. Whether a session begins between two neighbours depends on these two alone, and all
that a session row says is a sum over its events and over its pairs of neighbours. So an event that arrives in the
middle changes at most the sessions on its two sides, and only a split has to look at events again.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

_ORDER = struct.Struct(">QB16sQIQ")
ORDER = _ORDER.size
_BIAS = 1 << 63
RANK = {"session_start": 0, "session_stop": 2, "session_end": 3}
START, OTHER, STOP, END = 0, 1, 2, 3
SUMS = {"bet": 0, "deposit": 1, "withdraw": 2}
"""Which sum an event's amount goes to."""

Sum = dict[str, tuple[int, int]]
"""By currency, the sum and how many amounts are in it: without any, the currency is not there."""
Coordinates = tuple[int, int, int]
"""(log, partition, offset) in ingest.events."""


def order_key(time: int, name: str, event_id: bytes, coordinates: Coordinates) -> bytes:
    """An event's place among those of its player, as bytes that sort like it.

    (event_time, rank, event_id); the coordinates tell an event from the same one accepted again after its dedup window.
    """
    log, partition, offset = coordinates
    return _ORDER.pack(time + _BIAS, RANK.get(name, OTHER), event_id, log + _BIAS, partition, offset)


def time_of(key: bytes) -> int:
    """event_time in milliseconds."""
    return int.from_bytes(key[:8], "big") - _BIAS


def event_id_of(key: bytes) -> bytes:
    """The event's id."""
    return key[9:25]


def coordinates_of(key: bytes) -> Coordinates:
    """The event's coordinates in ingest.events."""
    _, _, _, log, partition, offset = _ORDER.unpack(key)
    return log - _BIAS, partition, offset


def begins(before: bytes, after: bytes, gap: int) -> bool:
    """Whether a new session begins between two neighbours."""
    if time_of(after) - time_of(before) > gap:
        return True
    return before[8] == END or (after[8] == START and before[8] != STOP)


def pause(before: bytes, after: bytes) -> int:
    """Milliseconds between two neighbours of one session that are not active time."""
    return time_of(after) - time_of(before) if before[8] == STOP else 0


@dataclass(slots=True)
class Fact:
    """What a session sums up of an event, beside its place."""

    name: str
    received: int
    """received_at, milliseconds: leads the key of the warehouse's table of assignments."""
    amount: int | None
    currency: str

    def pack(self) -> bytes:
        if self.amount is None:
            return orjson.dumps([self.name, self.received])
        return orjson.dumps([self.name, self.received, str(self.amount), self.currency])

    @classmethod
    def unpack(cls, data: bytes) -> "Fact":
        name, received, *amount = orjson.loads(data)
        return cls(name, received, int(amount[0]), amount[1]) if amount else cls(name, received, None, "")


def _add(sums: Sum, currency: str, amount: int, count: int) -> None:
    before, known = sums.get(currency, (0, 0))
    if known + count:
        sums[currency] = (before + amount, known + count)
    else:
        del sums[currency]


@dataclass(slots=True)
class Session:
    """A session: the places of its first and last event, and its sums."""

    first: bytes
    last: bytes
    paused: int = 0
    events: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    sums: tuple[Sum, Sum, Sum] = field(default_factory=lambda: ({}, {}, {}))
    """Stake, deposits and withdrawals."""

    def count(self, fact: Fact) -> None:
        """Adds an event's facts."""
        self.events += 1
        self.counts[fact.name] = self.counts.get(fact.name, 0) + 1
        which = SUMS.get(fact.name)
        if which is not None and fact.amount is not None:
            _add(self.sums[which], fact.currency, fact.amount, 1)

    def absorb(self, other: "Session", sign: int = 1) -> None:
        """Adds (or takes away) all of another's sums."""
        self.paused += sign * other.paused
        self.events += sign * other.events
        for name, count in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + sign * count
        self.counts = {name: count for name, count in self.counts.items() if count}
        for mine, theirs in zip(self.sums, other.sums, strict=True):
            for currency, (amount, count) in theirs.items():
                _add(mine, currency, sign * amount, sign * count)

    @classmethod
    def of(cls, events: Iterable[tuple[bytes, Fact]]) -> "Session":
        """The session of these events, in their order, which are known to be one."""
        session: Session | None = None
        for key, fact in events:
            if session is None:
                session = cls(key, key)
            else:
                session.paused += pause(session.last, key)
                session.last = key
            session.count(fact)
        if session is None:
            raise ValueError("a session has at least one event")
        return session

    def pack(self) -> bytes:
        sums = [{name: (str(amount), count) for name, (amount, count) in part.items()} for part in self.sums]
        return self.last + self.first + orjson.dumps([self.paused, self.events, self.counts, *sums])

    @classmethod
    def unpack(cls, data: bytes) -> "Session":
        paused, events, counts, *sums = orjson.loads(data[2 * ORDER :])
        stake, deposits, withdrawals = (
            {currency: (int(amount), count) for currency, (amount, count) in part.items()} for part in sums
        )  # fmt: skip
        return cls(data[ORDER : 2 * ORDER], data[:ORDER], paused, events, counts, (stake, deposits, withdrawals))

    def row(self) -> dict[str, Any]:
        """The fields of schemas/avro/session that follow from the events."""
        started, ended = time_of(self.first), time_of(self.last)
        return {
            "started_at": started,
            "ended_at": ended,
            "end_reason": {END: "ended", STOP: "stopped"}.get(self.last[8], "idle"),
            "active_ms": ended - started - self.paused,
            "events": self.events,
            "event_counts": self.counts,
            "bets": self.counts.get("bet", 0),
        }
