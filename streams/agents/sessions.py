"""Sessions: a player's (or device's) events cut into sessions, exact for every event that is not late.

Rule: spec/semantics.md, Sessions. What a session is stands in streams/sessionizing.py, how events find their place in
streams/placing.py.

State, all keys behind 16 bytes of the identity's hash:

    h              -> the current session, which has the last event
    s first place  -> an earlier session
    e place        -> what is summed up of an event

Entries older than any event that may still come are removed: that is the least over the ingest partitions of the
highest received_at seen from them, less lateness and gap (and a margin for gateways that overtake each other).
"""

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha1
from typing import Any

from runtime.agent import NEVER, Ageing, Agent, Emit, State
from runtime.changelog import Marker
from runtime.origin import PLACE
from runtime.settings import Settings
from schemas.keys import key, uuid5_bytes, uuid_text
from schemas.registry import EVENT, SESSION
from schemas.topics import DAY, EVENTS, INGEST_RETENTION, SESSIONS
from streams.placing import EVENT as EVENT_ENTRY
from streams.placing import HEAD, Placing, extended, unplaced
from streams.sessionizing import OTHER, RANK, SUMS, Event, Session, coordinates_of, event_id_of, order_key, time_of

HASH = 16
MARGIN = 60 * 60 * 1000
_read = EVENT.reader(
    "event_id", "identity", "tenant", "event_name", "event_time", "received_at", "player_id", "device_id", "amount",
    "currency", text=False,
)  # fmt: skip
_encode = SESSION.encode


@dataclass(slots=True)
class Player:
    """What a batch brings for one identity."""

    tenant: bytes
    player_id: bytes | None
    device_id: bytes | None
    offset: int = -1
    """Of the last record: with the state behind it, the version of every row of the player's that the batch writes."""
    events: list[Event] = field(default_factory=list)
    """In the order in which they came."""


class Sessionizer:
    """The agent's functions."""

    def __init__(self, gap: int, lateness: int, sources: int) -> None:
        self._gap, self._lateness, self._sources = gap, lateness, sources

    def step(self, record: Any, state: State, emit: Emit) -> None:
        """Notes an event for the batch's end, where each player's are placed together."""
        event_id, identity, tenant, name, time, received, player_id, device_id, amount, currency = _read(record.value)
        cause = emit.cause
        if cause is None:
            raise ValueError("an event without its coordinates: the header origin is missing")
        scratch = emit.scratch
        source = cause[:-PLACE]
        if received > scratch.get(source, -1):
            scratch[source] = received
        if not identity or received - time > self._lateness:
            return
        player = scratch.get(identity)
        if player is None:
            player = scratch[identity] = Player(tenant, player_id, device_id if player_id is None else None)
        player.offset = record.offset
        place = order_key(time, RANK.get(name, OTHER), event_id, emit.coordinates or b"")
        player.events.append(Event(place, name, received, amount if name in SUMS else None, currency or b""))

    def close(self, state: State, emit: Emit) -> None:
        """Places the batch's events, writes the sessions that they touch, and their rows."""
        seen: dict[str, int] = state.meta.setdefault("received", {})
        cursor = state.cursor()
        for name, note in emit.scratch.items():
            if isinstance(note, int):
                seen[name.hex()] = max(note, seen.get(name.hex(), note))
                continue
            prefix = _prefix(name)
            current = state.load(prefix + HEAD, Session.unpack)
            note.events = unplaced(note.events, current, state, prefix)
            if not note.events:
                continue
            rows = _Rows(self._gap, state, emit, name, note)
            if current is not None and extended(current, note.events, self._gap):
                for event in note.events:
                    state.put(prefix + EVENT_ENTRY + event.place, event.pack())
                state.keep(prefix + HEAD, current, Session.pack)
                rows.write(current, note.events)
            else:
                placing = Placing(self._gap, state, cursor, prefix)
                placing.run(note.events)
                placing.save()
                for first in sorted(placing.gone):
                    rows.withdraw(first)
                for first in sorted(placing.touched):
                    touched = placing.touched[first]
                    rows.write(touched.session, placing.assigned(touched))

    def horizon(self, marker: Marker) -> int:
        """No event may still come that is as old as this, or has to do with one that is."""
        seen = marker.meta.get("received")
        if not seen:
            return NEVER
        oldest = max(seen.values()) - INGEST_RETENTION  # what lags by more is gone from ingest.events
        if len(seen) >= self._sources:
            oldest = max(oldest, min(seen.values()))
        return int(oldest - self._lateness - self._gap - MARGIN)


class _Rows:
    """The rows of one player's sessions."""

    __slots__ = ("_after", "_before", "_emit", "_gap", "_identity", "_offset")

    def __init__(self, gap: int, state: State, emit: Emit, identity: bytes, player: Player) -> None:
        self._gap, self._emit, self._identity, self._offset = gap, emit, identity, player.offset
        self._before = (identity, player.tenant, player.player_id, player.device_id)
        cause = coordinates_of(player.events[-1].place)
        self._after = (emit.epoch, state.partition, player.offset, *cause)

    def write(self, session: Session, assigned: list[Event]) -> None:
        """The session's row, with the events that came to belong to it."""
        session_id = _id(self._identity, session)
        placed = [(*coordinates_of(event.place), event.received) for event in assigned]
        row = (session_id, *self._before, False, *session.row(self._gap, placed), *self._after)
        self._emit.encoded_row(SESSIONS, self._identity, session_id, _encode(row), self._offset)

    def withdraw(self, first: bytes) -> None:
        """The row of a session that is no more."""
        session = Session(first, first)
        session_id = _id(self._identity, session)
        row = (session_id, *self._before, True, *session.row(self._gap, []), *self._after)
        self._emit.encoded_row(SESSIONS, self._identity, session_id, _encode(row), self._offset)


@lru_cache(1 << 16)
def _prefix(identity: bytes) -> bytes:
    """What the keys of an identity's state begin with."""
    return sha1(identity, usedforsecurity=False).digest()[:HASH]


def _latest(entry: bytes, value: bytes) -> int:
    """Time of an event, or of a session's last one."""
    return time_of(entry[HASH + 1 :]) if entry[HASH : HASH + 1] == EVENT_ENTRY else time_of(value)


def _id(identity: bytes, session: Session) -> bytes:
    """As the rule has it, but where another session has that id: such a one's is made of the place, too."""
    if not session.id:
        first = session.first
        place = coordinates_of(first) if session.repeats else ()
        session.id = uuid5_bytes(key(identity.decode(), time_of(first), uuid_text(event_id_of(first)), *place))
    return session.id


def make(gap: int, lateness: int, sources: int) -> Agent:
    """The agent, for a gap and a lateness in milliseconds and so many partitions of ingest.events."""
    sessionizer = Sessionizer(gap, lateness, sources)
    return Agent(
        name="sessions",
        source=EVENTS,
        step=sessionizer.step,
        outputs=(SESSIONS,),
        version=2,
        close=sessionizer.close,
        ageing=Ageing(sessionizer.horizon, _latest),
        retention=lateness + gap + INGEST_RETENTION + DAY,
    )


def agent(settings: Settings) -> Agent:
    """The agent, by its settings."""
    return make(round(settings.session_gap * 1000), round(settings.lateness * 1000), settings.partitions)
