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
from typing import Any

from runtime.agent import Agent, Emit, State
from runtime.changelog import Marker
from runtime.origin import PLACE, ingest_coordinates
from runtime.settings import Settings
from schemas import money
from schemas.keys import key, uuid5_bytes, uuid_text
from schemas.registry import EVENT
from schemas.topics import DAY, EVENTS, INGEST_RETENTION, SESSIONS
from streams.placing import EVENT as EVENT_ENTRY
from streams.placing import Arrival, Placing
from streams.sessionizing import SUMS, Coordinates, Fact, Session, coordinates_of, event_id_of, order_key, time_of

HASH = 16
MARGIN = 60 * 60 * 1000
_read = EVENT.reader(
    "event_id", "identity", "tenant", "event_name", "event_time", "received_at", "player_id", "device_id", "amount",
    "currency",
)  # fmt: skip


@dataclass(slots=True)
class Player:
    """What a batch brings for one identity."""

    tenant: str
    player_id: str | None
    device_id: str | None
    offset: int = -1
    """Of the last record: with the state behind it, the version of every row of the player's that the batch writes."""
    cause: Coordinates = (0, 0, 0)
    arrivals: list[Arrival] = field(default_factory=list)


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
        player.offset, player.cause = record.offset, ingest_coordinates(cause)
        unscaled = money.from_bytes(amount) if amount is not None and name in SUMS else None
        place = order_key(time, name, event_id, player.cause)
        player.arrivals.append((place, Fact(name, received, unscaled, currency or "")))

    def close(self, state: State, emit: Emit) -> None:
        """Places the batch's events, writes the sessions that they touch, and their rows."""
        seen: dict[str, int] = state.meta.setdefault("received", {})
        cursor = state.cursor()
        for name, note in emit.scratch.items():
            if isinstance(note, int):
                seen[name.hex()] = max(note, seen.get(name.hex(), note))
            else:
                placing = Placing(self._gap, state, cursor, uuid5_bytes(name))
                placing.run(note.arrivals)
                placing.save()
                self._rows(state, emit, name, note, placing)

    def _rows(self, state: State, emit: Emit, identity: str, player: Player, placed: Placing) -> None:
        log, partition, offset = player.cause
        same: dict[str, Any] = {
            "identity": identity,
            "tenant": player.tenant,
            "player_id": player.player_id,
            "device_id": player.device_id,
            "gap_ms": self._gap,
            "epoch": emit.epoch,
            "partition": state.partition,
            "offset": player.offset,
            "ingest_log": log,
            "ingest_partition": partition,
            "ingest_offset": offset,
        }
        for first in sorted(placed.gone):
            row = same | _fields(identity, Session(first, first), []) | {"withdrawn": True}
            emit.row(SESSIONS, identity.encode(), row["session_id"], row)
        for first in sorted(placed.touched):
            touched = placed.touched[first]
            row = same | _fields(identity, touched.session, placed.assigned(touched)) | {"withdrawn": False}
            emit.row(SESSIONS, identity.encode(), row["session_id"], row)

    def expired(self, entry: bytes, value: bytes, marker: Marker) -> bool:
        """Whether an entry is older than any event that may still come."""
        seen = marker.meta.get("received")
        if not seen:
            return False
        oldest = max(seen.values()) - INGEST_RETENTION  # what lags by more is gone from ingest.events
        if len(seen) >= self._sources:
            oldest = max(oldest, min(seen.values()))
        horizon = oldest - self._lateness - self._gap - MARGIN
        latest = time_of(entry[HASH + 1 :]) if entry[HASH : HASH + 1] == EVENT_ENTRY else time_of(value)
        return bool(latest < horizon)


def _fields(identity: str, session: Session, assigned: list[tuple[bytes, int]]) -> dict[str, Any]:
    first = session.first
    stake, deposits, withdrawals = (
        {currency: money.to_bytes(amount) for currency, (amount, _) in sums.items()} for sums in session.sums
    )
    return session.row() | {
        "session_id": uuid5_bytes(key(identity, time_of(first), uuid_text(event_id_of(first)))),
        "stake": stake,
        "deposits": deposits,
        "withdrawals": withdrawals,
        "assigned": [_assigned(place, received) for place, received in assigned],
    }


def _assigned(place: bytes, received: int) -> dict[str, int]:
    log, partition, offset = coordinates_of(place)
    return {"log": log, "partition": partition, "offset": offset, "received_at": received}


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


def agent(settings: Settings) -> Agent:
    """The agent, by its settings."""
    return make(round(settings.session_gap * 1000), round(settings.lateness * 1000), settings.partitions)
