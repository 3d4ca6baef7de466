"""Touches: impressions, clicks and conversions once more, by each key that may link them: click id, player, device.

`events` is keyed by player or device, so a click that knows only its click id and the registration that names it are in
different partitions. Here both come together, in the partition of the key that they share; what follows from that is
the agent attribution's.

No state: what is sent depends on the record alone.
"""

from typing import Any

from runtime.agent import Agent, Emit, State
from runtime.settings import Settings
from schemas.keys import CONVERSIONS, TOUCHES, link_keys
from schemas.registry import EVENT
from schemas.topics import EVENTS, INGEST_RETENTION
from schemas.topics import TOUCHES as TOPIC

_NAMES = frozenset(name.encode() for name in TOUCHES | CONVERSIONS)
_read_name = EVENT.reader("event_name", text=False)
_read = EVENT.reader("event_name", "event_id", "tenant", "click_id", "player_id", "device_id")


def step(record: Any, state: State, emit: Emit) -> None:
    """Sends the event on, under each of its keys, if it is a touch or a conversion; most events are neither."""
    if _read_name(record.value)[0] in _NAMES:
        for key in link_keys(*_read(record.value)):
            emit.record(TOPIC, key.encode(), record.value)


def make() -> Agent:
    """The agent. Its changelog holds nothing but how far it has read."""
    return Agent(name="touches", source=EVENTS, step=step, outputs=(TOPIC,), retention=INGEST_RETENTION)


def agent(_: Settings) -> Agent:
    """The agent, by its settings."""
    return make()
