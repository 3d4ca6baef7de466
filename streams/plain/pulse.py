"""Pulse: how many events come, in a metric, by batches of up to a thousand or half a second."""

from typing import Any

import faust

from runtime import metrics
from runtime.plain import PlainAgent, decoded
from schemas.topics import EVENTS


def register(app: faust.App) -> None:
    """Adds the agent."""

    @app.agent(decoded(app, EVENTS), name="pulse")  # type: ignore[untyped-decorator]
    async def pulse(stream: Any) -> None:
        async for events in stream.take(1000, within=0.5):
            metrics.PLAIN_EVENTS.labels("pulse").inc(len(events))


AGENT = PlainAgent("pulse", register)
