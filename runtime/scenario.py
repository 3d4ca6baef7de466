"""An agent tested by a list: events as they arrive, and among them what happens to its worker.

    run = play([dedup.make(WEEK), sessions.make(GAP, DAY, 1)], [
        event(player_id="p", event_time=T0),
        crash(3),                            # the worker dies at its third durable operation on what came so far
        event(player_id="p", event_time=T0 + MINUTE),
        LOSE_DISK,                           # it begins anew, on another machine's empty disk
        TAKEOVER, ZOMBIE,                    # another takes over; the first, who does not know it, works on
    ])
    run.rows(SESSIONS, "session_id")

Everything but Kafka, the disk and the process is the production's code (runtime/testing.py). At the end every agent has
read all that there is; whatever the faults, the rows must be those that the events give without them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.agent import Agent
from runtime.testing import Run
from schemas.registry import EVENT
from schemas.topics import INGEST_EVENTS

Event = Mapping[str, Any]
"""All fields of a canonical event (schemas/avro/event)."""


@dataclass(frozen=True)
class Fault:
    """What happens to the worker of an agent, or of each."""

    kind: str
    point: int = 0
    agent: str | None = None

    def of(self, agent: str) -> "Fault":
        """The same for this agent alone."""
        return Fault(self.kind, self.point, agent)


RESTART = Fault("restart")
"""It works off what has come, ends, and begins anew on its disk."""
LOSE_DISK = Fault("lose disk")
"""It works off what has come, ends, and begins anew on an empty disk."""
TAKEOVER = Fault("takeover")
"""Another worker gets its partitions before it has worked off what has come."""
ZOMBIE = Fault("zombie")
"""The worker from before the last takeover wakes up and works on, as if nothing had happened."""


def crash(point: int) -> Fault:
    """It dies while it works off what has come, before or behind a durable operation: an acknowledgement, a write."""
    return Fault("crash", point)


def play(agents: Sequence[Agent], items: Sequence[Event | Fault], partitions: int = 1, batch: int = 10**9) -> Run:
    """Plays the items in their order and lets every agent finish, in the order given, each by batches of ``batch``.

    Events enter at ingest.events, so the first agent is dedup, as in production.
    """
    run = Run(list(agents), partitions)
    for item in items:
        if isinstance(item, Fault):
            for agent in agents:
                if item.agent in (None, agent.name):
                    _strike(run, agent.name, item, batch)
        else:
            key = item["dedup_key"].encode() if item["dedup_key"] else item["event_id"]
            run.append(INGEST_EVENTS, key, EVENT.encode(item), item["received_at"])
    for agent in agents:
        run.work(agent.name, batch=batch)
    return run


def _strike(run: Run, name: str, fault: Fault, batch: int) -> None:
    if fault.kind == "crash":
        run.work(name, batch=batch, crash=fault.point)
    elif fault.kind == "takeover":
        run.fork(name)
    elif fault.kind == "zombie":
        run.work(name, batch=batch, zombie=1)
    else:
        run.work(name, batch=batch)
        run.restart(name, lose_disk=fault.kind == "lose disk")
