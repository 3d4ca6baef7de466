"""Ending aiokafka's clients, whatever state they are in, without harm to who asks for it.

Their own ``stop`` cancels tasks of theirs and awaits them: one that had not begun raises its CancelledError through the
caller, which ends as if somebody had cancelled that, and connections stay open. That of a producer waits for what it
holds as long as Kafka is away, and what it gives up it tells nobody: whoever waits for it would wait for ever.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, NoReturn

from aiokafka.errors import KafkaError

log = logging.getLogger(__name__)

LIMIT = 10.0
"""Seconds for each part of an orderly end."""


def cancelled() -> bool:
    """Whether the CancelledError at hand is meant for this task: aiokafka lets out those of its own tasks as well."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def end(client: Any) -> None:
    """Stops a consumer, a producer or an admin client and closes its connections; raises nothing."""
    try:
        await _apart(client.stop() if hasattr(client, "stop") else client.close())
    finally:  # though the caller be cancelled meanwhile
        await _apart((client.client if hasattr(client, "client") else client._client).close())


async def abandon(producer: Any) -> None:
    """Ends a producer without waiting for what it holds: who awaits that gets a KafkaError. Raises nothing.

    So does who waits within ``send_batch`` for a topic's metadata, which a closed client would never get.
    """
    closed = KafkaError("the producer is closed")
    producer._message_accumulator.fail_all(closed)
    await end(producer)

    def never() -> NoReturn:
        raise closed

    producer.client.force_metadata_update = never
    awaited = producer.client._md_update_fut
    if awaited is not None and not awaited.done():
        awaited.set_exception(closed)
        awaited.exception()  # nobody may be waiting


async def _apart(ending: Coroutine[Any, Any, Any]) -> None:
    """Runs it in a task of its own, so that a CancelledError in there is not ours."""
    task = asyncio.get_running_loop().create_task(ending)
    _, pending = await asyncio.wait([task], timeout=LIMIT)
    if pending:
        task.cancel()
    elif not task.cancelled() and (error := task.exception()) is not None:
        log.debug("while a client ended: %r", error)
