"""Plain Faust agents in a worker's process: a Faust app of their own beside the exact agents'.

What stands here is all that Faust is given: `async for event in stream`, tables and `take` are its own. It guarantees
less than the exact agents' runtime: each event at least once, unless the agent's body raises or the value does not
decode; then Faust passes over it (docs/agents.md, Plain agents). The app has a consumer group of its own, so
nothing that happens in it holds up the others' records or commits; it shares their processor.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import faust
from faust.serializers.codecs import Codec
from faust.transport.drivers import aiokafka as driver

from runtime.app import name_member, options
from runtime.redelivery import RedeliveringConsumer
from runtime.settings import Settings
from runtime.transport import DurableProducer
from schemas.registry import RecordType
from schemas.topics import Topic

log = logging.getLogger("sluice.plain")

GROUP = "plain"
BACKOFF = 1.0, 30.0
"""Seconds until an app that failed is begun anew, the first time and at most."""


@dataclass(frozen=True)
class PlainAgent:
    """A plain agent: ``register(app)`` adds its tables and Faust agents to an app."""

    name: str
    register: Callable[[faust.App], None]
    tables: tuple[str, ...] = ()
    """Names of its tables, of which each has a changelog."""

    def changelogs(self) -> list[Topic]:
        """The topics that Faust keeps its tables in; it reads them whole at each start."""
        doc = f"a table of the plain agent {self.name}"
        return [Topic(f"{GROUP}-{table}-changelog", None, doc, None, compacted=True) for table in self.tables]


class _Transport(driver.Transport):
    """The stock one, with a consumer and a producer that lose nothing."""

    Consumer = RedeliveringConsumer
    Producer = DurableProducer


class _Decoded(Codec):
    """Values by the newest version of their schema."""

    def __init__(self, kind: RecordType) -> None:
        super().__init__()
        self._kind = kind

    def _loads(self, s: bytes) -> Any:
        return self._kind.decode(s)

    def _dumps(self, obj: Any) -> bytes:
        return self._kind.encode(obj)


def decoded(app: faust.App, topic: Topic) -> Any:
    """A Faust topic with the values as dicts, and the keys as bytes."""
    assert topic.value is not None
    return app.topic(topic.name, key_type=bytes, key_serializer="raw", value_serializer=_Decoded(topic.value))


def table(app: faust.App, name: str, default: Callable[[], Any]) -> Any:
    """A Faust table whose keys are bytes, as those of ``decoded`` topics, and whose values are JSON.

    (With a schema in place of ``key_type`` Faust takes the keys for JSON when it reads the changelog again.)
    """
    return app.Table(name, default=default, key_type=bytes)


class PlainWorker:
    """The plain agents of one process: ``start``, then ``stop``. An app that fails is begun anew."""

    def __init__(self, agents: Sequence[PlainAgent], settings: Settings) -> None:
        self._agents, self._settings = agents, settings
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to work, in the background. Raises what ``register`` does."""
        if self._agents:
            self._task = asyncio.get_running_loop().create_task(self._run(self._made()), name=GROUP)

    async def _run(self, app: faust.App) -> None:
        backoff, longest = BACKOFF
        while True:
            try:
                await app.start()
                await app.wait_until_stopped()
                reason: Any = app.crash_reason
            except Exception as error:
                reason = error
            finally:
                await app.stop()
            log.error("the plain agents failed and begin anew", extra={"reason": repr(reason), "seconds": backoff})
            await asyncio.sleep(backoff)
            backoff, app = min(backoff * 2, longest), self._made()

    def _made(self) -> faust.App:
        settings = self._settings
        folder = settings.data_dir / "faust" / f"{GROUP}-{settings.slot}"
        folder.mkdir(parents=True, exist_ok=True)
        app = faust.App(GROUP, **options(settings, folder) | {"value_serializer": "json"})
        app.transport = _Transport(app.conf.broker, app, loop=asyncio.get_running_loop())
        for agent in self._agents:
            agent.register(app)
        name_member(app)
        return app

    async def stop(self) -> None:
        """Lets Faust commit what was handled, and ends."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
