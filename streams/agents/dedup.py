"""Dedup: the first event of each key goes on, a repeat goes to duplicates, or to conflicts if it says something else.

Rule: spec/semantics.md, Dedup. A key is remembered for the window from its first sighting, by stream time, and is not
refreshed by repeats. Events without a key all count.

State: event_id (for an event with a key, the UUIDv5 of that key) -> first sighting.
"""

import struct
from typing import Any

from runtime.agent import Ageing, Agent, Emit, State
from runtime.origin import ingest_coordinates
from runtime.settings import Settings
from schemas.registry import EVENT, REPEAT
from schemas.routing import route
from schemas.topics import CONFLICTS, DAY, DUPLICATES, EVENTS, INGEST_EVENTS, INGEST_RETENTION, WAGERS

_FIRST = struct.Struct(">qIqq16s")
"""log, partition and offset of the first sighting; stream time then; fingerprint."""

# In the order of a repeat's schema; between the last two stand the coordinates.
_read_repeated = EVENT.reader(
    "tenant", "dialect", "dedup_key", "event_id", "event_name", "transaction_id", "idempotency_key", "player_id",
    "event_time", "received_at", "payload", text=False,
)  # fmt: skip
_encode_repeat = REPEAT.encode


def make(window: int) -> Agent:
    """The agent, for a window in milliseconds."""
    pack = _FIRST.pack

    def step(record: Any, state: State, emit: Emit) -> None:
        value = record.value
        event_id, fingerprint, dedup_key, identity, bet_key = route(value)
        if dedup_key is not None:
            # Where it stands in ingest.events; a replayed one where it stood at first.
            place = (state.log, state.partition, state.offset) if emit.cause is None else ingest_coordinates(emit.cause)
            seen = state.get(event_id)
            if seen is not None:
                first = _FIRST.unpack(seen)
                if state.clock - first[3] <= window:
                    _repeat(record, place, emit, first, fingerprint)
                    return
            state.put(event_id, pack(*place, state.clock, fingerprint))
        emit.record(EVENTS, identity or event_id, value)
        if bet_key:
            emit.record(WAGERS, bet_key, value)

    return Agent(
        name="dedup",
        source=INGEST_EVENTS,
        step=step,
        outputs=(EVENTS, WAGERS, DUPLICATES, CONFLICTS),
        ageing=Ageing(lambda marker: marker.clock - window, _sighted),
        retention=window + INGEST_RETENTION + DAY,
    )


def _sighted(_: bytes, value: bytes) -> int:
    """Stream time of the first sighting."""
    return int(_FIRST.unpack(value)[3])


def _repeat(record: Any, place: tuple[int, int, int], emit: Emit, first: tuple[Any, ...], fingerprint: bytes) -> None:
    same = fingerprint == first[4]
    *event, payload = _read_repeated(record.value)
    repeat = (*event, *place, *first[:3], None if same else payload)
    emit.record(DUPLICATES if same else CONFLICTS, record.key, _encode_repeat(repeat))


def agent(settings: Settings) -> Agent:
    """The agent, by its settings."""
    return make(round(settings.dedup_window * 1000))
