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

_REPEATED = (
    "tenant", "dialect", "dedup_key", "event_id", "event_name", "transaction_id", "idempotency_key", "player_id",
    "event_time", "received_at", "payload",
)  # fmt: skip
_read_repeated = EVENT.reader(*_REPEATED)


def make(window: int) -> Agent:
    """The agent, for a window in milliseconds."""

    def step(record: Any, state: State, emit: Emit) -> None:
        value = record.value
        event_id, fingerprint, keyed, identity, bet_key = route(value)
        if keyed:
            seen = state.get(event_id)
            if seen is not None:
                first = _FIRST.unpack(seen)
                if state.clock - first[3] <= window:
                    _repeat(record, state, emit, first, fingerprint)
                    return
            state.put(event_id, _FIRST.pack(*_place(record, state, emit), state.clock, fingerprint))
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


def _place(record: Any, state: State, emit: Emit) -> tuple[int, int, int]:
    """Where the event stands in ingest.events; a replayed one where it stood at first."""
    if emit.cause is not None:
        return ingest_coordinates(emit.cause)
    return state.log, state.partition, record.offset


def _repeat(record: Any, state: State, emit: Emit, first: tuple[Any, ...], fingerprint: bytes) -> None:
    same = fingerprint == first[4]
    repeat: dict[str, Any] = dict(zip(_REPEATED, _read_repeated(record.value), strict=True))
    if same:
        repeat["payload"] = None
    names = ("ingest_log", "ingest_partition", "ingest_offset")
    repeat |= zip(names, _place(record, state, emit), strict=True)
    repeat |= dict(zip(("first_ingest_log", "first_ingest_partition", "first_ingest_offset"), first, strict=False))
    emit.record(DUPLICATES if same else CONFLICTS, record.key, REPEAT.encode(repeat))


def agent(settings: Settings) -> Agent:
    """The agent, by its settings."""
    return make(round(settings.dedup_window * 1000))
