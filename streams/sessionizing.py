"""What a session is, as arithmetic on its events; nothing here knows of state, Kafka or batches.

Rule: spec/semantics.md, Sessions. Whether a session begins between two neighbours depends on these two alone, and all
that a session row says is a sum over its events and over its pairs of neighbours. So an event that arrives in the
middle changes at most the sessions on its two sides, and only a split has to look at events again.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from runtime.origin import PACKED
from schemas import money

_ORDER = struct.Struct(f">QB16s{PACKED.size}s")
ORDER = _ORDER.size
_TIME = 8
_COORDINATES = ORDER - PACKED.size
_BIAS = 1 << 63
START, OTHER, STOP, END = 0, 1, 2, 3
RANK = {b"session_start": START, b"session_stop": STOP, b"session_end": END}
SUMS = {b"bet": 0, b"deposit": 1, b"withdraw": 2}
"""Which sum an event's amount goes to."""

Sum = dict[bytes, tuple[int, int]]
"""By currency, the sum and how many amounts are in it: without any, the currency is not there."""


def order_key(time: int, rank: int, event_id: bytes, coordinates: bytes) -> bytes:
    """An event's place among those of its player, as bytes that sort like it.

    (event_time, rank, event_id); the coordinates, packed, tell an event from the same one accepted again after its
    dedup window.
    """
    return _ORDER.pack(time + _BIAS, rank, event_id, coordinates)


def time_of(key: bytes) -> int:
    """event_time in milliseconds."""
    return int.from_bytes(key[:_TIME]) - _BIAS


def event_id_of(key: bytes) -> bytes:
    """The event's id."""
    return key[_TIME + 1 : _COORDINATES]


def coordinates_of(key: bytes) -> tuple[int, int, int]:
    """The event's coordinates in ingest.events: (log, partition, offset)."""
    return PACKED.unpack_from(key, _COORDINATES)


def begins(before: bytes, after: bytes, gap: int) -> bool:
    """Whether a new session begins between two neighbours."""
    if int.from_bytes(after[:_TIME]) - int.from_bytes(before[:_TIME]) > gap:
        return True
    rank = before[_TIME]
    return rank == END or (after[_TIME] == START and rank != STOP)


def is_repeat(before: bytes | None, after: bytes) -> bool:
    """Whether two neighbours are one event, accepted again after its dedup window."""
    return before is not None and before[:_COORDINATES] == after[:_COORDINATES]


def pause(before: bytes, after: bytes) -> int:
    """Milliseconds between two neighbours of one session that are not active time."""
    return time_of(after) - time_of(before) if before[_TIME] == STOP else 0


_HEAD = struct.Struct(">qIi")


class Event(NamedTuple):
    """An event's place, and what a session sums up of it. Texts are UTF-8 bytes, as they came."""

    place: bytes
    name: bytes
    received: int
    """received_at, milliseconds: leads the key of the warehouse's table of assignments."""
    amount: bytes | None
    """Avro's decimal, of an event that has a sum."""
    currency: bytes

    def pack(self) -> bytes:
        """All but the place."""
        _, name, received, amount, currency = self
        if amount is None:
            return _HEAD.pack(received, len(name), -1) + name
        return _HEAD.pack(received, len(name), len(amount)) + name + amount + currency

    @classmethod
    def unpack(cls, place: bytes, packed: bytes) -> "Event":
        received, names, amounts = _HEAD.unpack_from(packed)
        middle = _HEAD.size + names
        name = packed[_HEAD.size : middle]
        if amounts < 0:
            return cls(place, name, received, None, b"")
        end = middle + amounts
        return cls(place, name, received, packed[middle:end], packed[end:])


def _add(sums: Sum, currency: bytes, amount: int, count: int) -> None:
    before, known = sums.get(currency, (0, 0))
    if known + count:
        sums[currency] = (before + amount, known + count)
    else:
        del sums[currency]


def _packed(sums: Sum) -> dict[str, tuple[str, int]]:
    """Sums as JSON has them."""
    return {currency.decode(): (str(amount), count) for currency, (amount, count) in sums.items()} if sums else {}


def _amounts(sums: Sum) -> dict[bytes, bytes]:
    """Sums as Avro's decimals."""
    return {currency: money.to_bytes(amount) for currency, (amount, _) in sums.items()} if sums else {}


@dataclass(slots=True)
class Session:
    """A session: the places of its first and last event, and its sums."""

    first: bytes
    last: bytes
    paused: int = 0
    events: int = 0
    counts: dict[bytes, int] = field(default_factory=dict)
    sums: tuple[Sum, Sum, Sum] = field(default_factory=lambda: ({}, {}, {}))
    """Stake, deposits and withdrawals."""
    repeats: bool = False
    """Its first event is a repeat of the one before it, which begins the session that has the id by the rule."""
    id: bytes = b""
    """Once it was asked for: it follows from the first event."""

    def is_plain(self) -> bool:
        """Whether time alone can part two of its events, or the last from one behind it."""
        return b"session_stop" not in self.counts and self.last[_TIME] == OTHER

    def surrounds(self, place: bytes) -> bool:
        """Whether an event there, before the last, belongs to the session whatever its neighbours, and nothing else
        changes by it: where no event has a rank of its own, only time could part it from them, and they are near.
        """
        return place > self.first and place[_TIME] == OTHER and b"session_stop" not in self.counts

    def count(self, event: Event) -> None:
        """Adds an event, but for its place."""
        _, name, _, amount, currency = event
        self.events += 1
        self.counts[name] = self.counts.get(name, 0) + 1
        if amount is not None:
            _add(self.sums[SUMS[name]], currency, money.from_bytes(amount), 1)

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
    def of(cls, events: Iterable[Event]) -> "Session":
        """The session of these events, in their order, which are known to be one."""
        session: Session | None = None
        for event in events:
            place = event.place
            if session is None:
                session = cls(place, place)
            else:
                session.paused += pause(session.last, place)
                session.last = place
            session.count(event)
        if session is None:
            raise ValueError("a session has at least one event")
        return session

    def pack(self) -> bytes:
        stake, deposits, withdrawals = self.sums
        counts = {name.decode(): count for name, count in self.counts.items()}
        sums = _packed(stake), _packed(deposits), _packed(withdrawals)
        repeats = (True,) if self.repeats else ()
        return self.last + self.first + orjson.dumps((self.paused, self.events, counts, *sums, *repeats))

    @classmethod
    def unpack(cls, data: bytes) -> "Session":
        paused, events, counts, *sums = orjson.loads(data[2 * ORDER :])
        stake, deposits, withdrawals = (
            {currency.encode(): (int(amount), count) for currency, (amount, count) in part.items()} for part in sums[:3]
        )
        return cls(
            data[ORDER : 2 * ORDER], data[:ORDER], paused, events,
            {name.encode(): count for name, count in counts.items()}, (stake, deposits, withdrawals), len(sums) > 3,
        )  # fmt: skip

    def row(self, gap: int, assigned: Sequence[tuple[int, ...]]) -> tuple[Any, ...]:
        """The fields of schemas/avro/session from started_at to assigned, as a row; ``gap`` in milliseconds."""
        started, ended, counts = time_of(self.first), time_of(self.last), self.counts
        stake, deposits, withdrawals = self.sums
        return (
            started, ended, _REASONS.get(self.last[_TIME], b"idle"), ended - started - self.paused, gap, self.events,
            counts, counts.get(b"bet", 0), _amounts(stake), _amounts(deposits), _amounts(withdrawals), assigned,
        )  # fmt: skip


_REASONS = {END: b"ended", STOP: b"stopped"}
