"""Sessions: a player's (or device's) events cut into sessions, exact for every event that is not late.

Rule: spec/semantics.md, Sessions; the arithmetic is in streams/sessionizing.py. An event that belongs at the end, as
nearly all do, touches the session before it and nothing else. Any other is placed between its neighbours: it may extend
a session, join two, or split one.

State, all keys behind 16 bytes of the identity's hash:

    h              -> place of the last event, place of its session's first
    s first place  -> that session
    e place        -> what is summed up of an event

Entries older than any event that may still come are removed: that is the least over the ingest partitions of the
highest received_at seen from them, less lateness and gap (and a margin for gateways that overtake each other).
"""

from dataclasses import dataclass, field
from typing import Any

from runtime.agent import Agent, Emit, State
from runtime.changelog import Marker
from runtime.origin import PLACE, ingest_coordinates
from schemas import money
from schemas.keys import key, uuid5_bytes, uuid_text
from schemas.registry import EVENT
from schemas.topics import DAY, EVENTS, INGEST_RETENTION, SESSIONS
from streams.sessionizing import (
    SUMS,
    Coordinates,
    Fact,
    Session,
    begins,
    coordinates_of,
    event_id_of,
    order_key,
    pause,
    time_of,
)

HASH = 16
HEAD, SESSION_, EVENT_ = b"h", b"s", b"e"
_COORDINATE = ("log", "partition", "offset", "received_at")
MARGIN = 60 * 60 * 1000
_read = EVENT.reader(
    "event_id", "identity", "tenant", "event_name", "event_time", "received_at", "player_id", "device_id", "amount",
    "currency",
)  # fmt: skip


@dataclass(slots=True)
class Player:
    """One identity in the batch at hand."""

    hash: bytes
    identity: str
    tenant: str
    player_id: str | None
    device_id: str | None
    last: bytes | None = None
    """Place of the last event."""
    current: Session | None = None
    """Its session."""
    sessions: dict[bytes, "Touched"] = field(default_factory=dict)
    """Those that the batch has touched, by their first event's place."""
    gone: dict[bytes, tuple[int, Coordinates]] = field(default_factory=dict)
    """Withdrawn ids, with offset and coordinates of the event that did it."""


@dataclass(slots=True)
class Touched:
    """A session that the batch has changed."""

    session: Session
    offset: int
    cause: Coordinates
    assigned: list[tuple[bytes, int]] = field(default_factory=list)
    """Place and received_at of events that came to belong to it; some may have left it by the batch's end."""
    all: bool = False
    """Every event of it came to belong to it: its first event, and with it its id, is new."""


class Sessionizer:
    """The agent's functions."""

    def __init__(self, gap: int, lateness: int, sources: int) -> None:
        self._gap, self._lateness, self._sources = gap, lateness, sources

    def step(self, record: Any, state: State, emit: Emit) -> None:
        """Places one event."""
        event_id, identity, tenant, name, time, received, player_id, device_id, amount, currency = _read(record.value)
        if emit.cause is None:
            raise ValueError("an event without its coordinates: the header origin is missing")
        self._received(emit, received)
        if not identity or received - time > self._lateness:
            return
        cause = ingest_coordinates(emit.cause)
        place = order_key(time, name, event_id, cause)
        player = self._player(state, emit, identity, tenant, player_id, device_id)
        unscaled = money.from_bytes(amount) if amount is not None and name in SUMS else None
        fact = Fact(name, received, unscaled, currency or "")
        if player.last is None or place > player.last:
            self._append(state, player, place, fact, cause)
        else:
            self._insert(state, player, place, fact, cause)
        state.put(player.hash + EVENT_ + place, fact.pack())

    def _received(self, emit: Emit, received: int) -> None:
        """Notes the highest received_at of each ingest partition."""
        assert emit.cause is not None
        source = emit.cause[:-PLACE]
        seen = emit.scratch.get(source)
        if seen is None or received > seen:
            emit.scratch[source] = received

    def _player(
        self, state: State, emit: Emit, identity: str, tenant: str, player_id: str | None, device_id: str | None
    ) -> Player:
        player: Player | None = emit.scratch.get(identity)
        if player is None:
            device = device_id if player_id is None else None
            player = Player(uuid5_bytes(identity), identity, tenant, player_id, device)
            head = state.get(player.hash + HEAD)
            if head is not None:
                half = len(head) // 2
                player.last = head[:half]
                player.current = self._load(state, player, head[half:])  # None: expired, so nothing joins it any more
            emit.scratch[identity] = player
        return player

    def _load(self, state: State, player: Player, first: bytes) -> Session | None:
        touched = player.sessions.get(first)
        if touched is not None:
            return touched.session
        packed = state.get(player.hash + SESSION_ + first)
        return None if packed is None else Session.unpack(first, packed)

    def _append(self, state: State, player: Player, place: bytes, fact: Fact, cause: Coordinates) -> None:
        """The event is the last: it goes on with the current session or begins one."""
        session = player.current
        if session is None or player.last is None or begins(player.last, place, self._gap):
            session = self._new(state, player, Session(place, place))
        else:
            session.paused += pause(player.last, place)
            session.last = place
        session.count(fact)
        player.last, player.current = place, session
        self._touch(state, player, session, cause).assigned.append((place, fact.received))

    def _insert(self, state: State, player: Player, place: bytes, fact: Fact, cause: Coordinates) -> None:
        """The event belongs between two that are known, or before all of them: it joins each side, or neither."""
        before, after = self._neighbours(state, player, place)
        to_left = before is not None and not begins(before, place, self._gap)
        to_right = not begins(place, after, self._gap)
        right = self._holding(state, player, after)
        left: Session | None
        if before is not None and right.first <= before:  # both neighbours are of one session
            if to_left and to_right:
                right.paused += pause(before, place) + pause(place, after) - pause(before, after)
                right.count(fact)
                self._touch(state, player, right, cause).assigned.append((place, fact.received))
                return
            left, right = right, self._split(state, player, right, before, after, cause)
        else:
            left = self._holding(state, player, before) if before is not None and to_left else None
        if to_left and before is not None and left is not None:
            target = left
            target.paused += pause(before, place)
            target.last = place
        else:
            target = self._new(state, player, Session(place, place))
            self._touch(state, player, target, cause).all = True
        target.count(fact)
        touched = self._touch(state, player, target, cause)
        touched.assigned.append((place, fact.received))
        if to_right:
            self._join(state, player, touched, right, pause(place, after), cause)

    def _split(
        self, state: State, player: Player, session: Session, before: bytes, after: bytes, cause: Coordinates
    ) -> Session:
        """Cuts a session between two of its neighbours; returns what comes behind."""
        tail = Session.of(self._events(state, player, after, session.last))
        session.absorb(tail, -1)
        session.paused -= pause(before, after)
        session.last = before
        self._touch(state, player, session, cause)
        self._new(state, player, tail)
        self._touch(state, player, tail, cause).all = True
        if player.current is session:
            player.current = tail
        return tail

    def _join(
        self, state: State, player: Player, into: Touched, right: Session, paused: int, cause: Coordinates
    ) -> None:
        """The session behind becomes part of this one, and is withdrawn."""
        target = into.session
        target.paused += paused
        target.absorb(right)
        if not into.all:
            into.assigned.extend(self._assignable(state, player, right))
        target.last = right.last
        player.sessions.pop(right.first, None)
        player.gone[right.first] = (state.offset, cause)
        state.delete(player.hash + SESSION_ + right.first)
        if player.current is right:
            player.current = target

    def _new(self, state: State, player: Player, session: Session) -> Session:
        """Registers a session, so that it is found by its first event; its value is written at the batch's end."""
        state.put(player.hash + SESSION_ + session.first, b"")
        player.gone.pop(session.first, None)
        return session

    def _touch(self, state: State, player: Player, session: Session, cause: Coordinates) -> Touched:
        touched = player.sessions.get(session.first)
        if touched is None:
            touched = player.sessions[session.first] = Touched(session, state.offset, cause)
        touched.offset, touched.cause = state.offset, cause
        return touched

    def _neighbours(self, state: State, player: Player, place: bytes) -> tuple[bytes | None, bytes]:
        """The events next to a place that is not the last."""
        start = player.hash + EVENT_
        cut = len(start)
        before = next((at[cut:] for at, _ in state.scan_back(start, start + place)), None)
        after = next((at[cut:] for at, _ in state.scan(start + place, start + b"\xff" * 64)), player.last)
        assert after is not None
        return before, after

    def _holding(self, state: State, player: Player, place: bytes) -> Session:
        """The session of a known event: the last that begins at or before it."""
        start = player.hash + SESSION_
        first = next((at[len(start) :] for at, _ in state.scan_back(start, start + place + b"\x00")), None)
        if player.current is not None and player.current.first == first:
            return player.current
        session = None if first is None else self._load(state, player, first)
        if session is None:
            raise LookupError("older than what the state still holds; `sluice replay sessions` places it")
        return session

    def _events(self, state: State, player: Player, first: bytes, last: bytes) -> list[tuple[bytes, Fact]]:
        start = player.hash + EVENT_
        found = state.scan(start + first, start + last + b"\x00")
        return [(at[len(start) :], Fact.unpack(packed)) for at, packed in found]

    def _assignable(self, state: State, player: Player, session: Session) -> list[tuple[bytes, int]]:
        found = self._events(state, player, session.first, session.last)
        return [(place, fact.received) for place, fact in found]

    def close(self, state: State, emit: Emit) -> None:
        """Writes the sessions that the batch has touched, and their rows."""
        seen: dict[str, int] = state.meta.setdefault("received", {})
        for name, note in emit.scratch.items():
            if isinstance(name, bytes):
                seen[name.hex()] = max(note, seen.get(name.hex(), note))
            else:
                self._close(state, emit, note)

    def _close(self, state: State, emit: Emit, player: Player) -> None:
        if player.last is None or player.current is None:
            return
        state.put(player.hash + HEAD, player.last + player.current.first)
        for first, (offset, cause) in player.gone.items():
            self._row(emit, player, Session(first, first), state.partition, offset, cause, [], withdrawn=True)
        for first, touched in player.sessions.items():
            session = touched.session
            state.put(player.hash + SESSION_ + first, session.pack())
            if touched.all:
                assigned = self._assignable(state, player, session)
            else:
                assigned = [item for item in touched.assigned if session.first <= item[0] <= session.last]
            self._row(emit, player, session, state.partition, touched.offset, touched.cause, assigned)

    def _row(
        self,
        emit: Emit,
        player: Player,
        session: Session,
        partition: int,
        offset: int,
        cause: Coordinates,
        assigned: list[tuple[bytes, int]],
        withdrawn: bool = False,
    ) -> None:
        first = session.first
        session_id = uuid5_bytes(key(player.identity, time_of(first), uuid_text(event_id_of(first))))
        stake, deposits, withdrawals = (
            {currency: money.to_bytes(amount) for currency, (amount, _) in sums.items()} for sums in session.sums
        )
        row = {
            "session_id": session_id,
            "identity": player.identity,
            "tenant": player.tenant,
            "player_id": player.player_id,
            "device_id": player.device_id,
            "withdrawn": withdrawn,
            **session.row(),
            "gap_ms": self._gap,
            "stake": stake,
            "deposits": deposits,
            "withdrawals": withdrawals,
            "assigned": [
                dict(zip(_COORDINATE, (*coordinates_of(place), received), strict=True)) for place, received in assigned
            ],
            "epoch": emit.epoch,
            "partition": partition,
            "offset": offset,
            "ingest_log": cause[0],
            "ingest_partition": cause[1],
            "ingest_offset": cause[2],
        }
        emit.row(SESSIONS, player.identity.encode(), session_id, row)

    def expired(self, entry: bytes, value: bytes, marker: Marker) -> bool:
        """Whether an entry is older than any event that may still come."""
        seen = marker.meta.get("received")
        if not seen:
            return False
        oldest = max(seen.values()) - INGEST_RETENTION  # what lags by more is gone from ingest.events
        if len(seen) >= self._sources:
            oldest = max(oldest, min(seen.values()))
        horizon = oldest - self._lateness - self._gap - MARGIN
        kind = entry[HASH : HASH + 1]
        latest = time_of(entry[HASH + 1 :]) if kind == EVENT_ else time_of(value)
        return bool(latest < horizon)


def make(gap: int, lateness: int, sources: int) -> Agent:
    """The agent, for a gap and a lateness in milliseconds and so many partitions of ingest.events."""
    sessionizer = Sessionizer(gap, lateness, sources)
    return Agent(
        name="sessions",
        source=EVENTS,
        step=sessionizer.step,
        outputs=(SESSIONS,),
        close=sessionizer.close,
        expired=sessionizer.expired,
        retention=lateness + gap + INGEST_RETENTION + DAY,
    )
