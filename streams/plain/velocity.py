"""Velocity: tells of a player who deposits often, as a hint for whoever watches over play that gets out of hand.

Five deposits within ten minutes of event time, in the order of arrival. A hint may come twice, and after a crash it may
be one deposit off: that is what a plain agent costs, and why it is one.
"""

import logging
from typing import Any

import faust

from runtime import metrics
from runtime.plain import PlainAgent, decoded, table
from schemas.topics import EVENTS

log = logging.getLogger("sluice.velocity")

DEPOSITS, WITHIN = 5, 10 * 60 * 1000
"""So many, within so many milliseconds."""


def often(times: list[int], time: int) -> list[int]:
    """The times of the last deposits, one more included; of ``DEPOSITS`` of them it is too often."""
    return [*(earlier for earlier in times if earlier > time - WITHIN), time][-DEPOSITS:]


def register(app: faust.App) -> None:
    """Adds the table and the agent."""
    deposits = table(app, "deposits", list)

    @app.agent(decoded(app, EVENTS), name="velocity")  # type: ignore[untyped-decorator]
    async def velocity(stream: Any) -> None:
        async for event in stream.filter(_is_deposit).events():
            times = often(deposits[event.key], event.value["event_time"])
            deposits[event.key] = times
            if len(times) == DEPOSITS:
                metrics.PLAIN_ALERTS.labels("velocity").inc()
                log.warning("a player deposits often", extra={"tenant": event.value["tenant"]})


def _is_deposit(event: dict[str, Any]) -> bool:
    return event["event_name"] == "deposit" and bool(event["identity"])


AGENT = PlainAgent("velocity", register, tables=("deposits",))
