"""The Faust app under every role that reads Kafka: the batch transport, and settings that the notes explain.

``batch_app`` gives an app whose agents get runs of records:

    app = batch_app("sink", settings)

    @app.agent(raw_topic(app, "bets"))
    async def bets(stream):
        async for event in stream.events():
            run, tp = event.value, event.message.tp
            ...
            app.consumer.settle(tp, run[-1].offset + 1)
"""

import asyncio
import logging
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import faust
import faust._cython.streams

from runtime.settings import Settings
from runtime.transport import BatchTransport, Fetching

FETCH = 1024 * 1024
"""Bytes of a partition that are fetched at once; a larger record comes alone."""


class Crashed(Exception):  # noqa: N818
    """Faust has given up, and nothing is read any more."""


class BatchApp(faust.App):
    """A Faust app that says when its assignment stands, and when it has given up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.flowing = asyncio.Event()
        """Set while the group's assignment stands, positions are set and records are fetched."""
        self._watching: asyncio.Task[None] | None = None

    def watch(self, fail: Callable[[BaseException], None]) -> None:
        """Has ``fail`` told, by a Crashed, when Faust gives up: it ends nothing then, and stands still for ever."""

        async def wait() -> None:
            await self.wait_until_stopped()
            if self.crash_reason is not None:
                fail(Crashed(f"Kafka is no longer read, start it again: {self.crash_reason!r}"))

        self._watching = asyncio.get_running_loop().create_task(wait(), name="watch")

    async def start(self) -> None:
        name_member(self)
        await super().start()

    async def end(self) -> None:
        """Commits and leaves the group. What fails from here on is no news."""
        if self._watching is not None:
            self._watching.cancel()
        if self.flowing.is_set() and self.crash_reason is None:
            await self.consumer.commit()
        await self.stop()

    def on_rebalance_start(self) -> None:
        self.flowing.clear()
        super().on_rebalance_start()

    def on_rebalance_end(self) -> None:
        super().on_rebalance_end()
        self.flowing.set()


def batch_app(group: str, settings: Settings, fetching: Fetching | None = None) -> BatchApp:
    """A new app in the consumer group ``group``. Create it in a running loop."""
    for talker in ("faust", "mode", "runtime.app", "runtime.transport"):
        logging.getLogger(talker).setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.getLogger("mode.timers").setLevel(logging.ERROR)  # it warns of every timer that a busy loop delays
    folder = settings.data_dir / "faust" / f"{group}-{settings.slot}"
    folder.mkdir(parents=True, exist_ok=True)
    app = BatchApp(group, **options(settings, folder))
    app.transport = transport = BatchTransport(app.conf.broker, app, loop=asyncio.get_running_loop())
    transport.fetching = fetching or transport.fetching
    return app


def options(settings: Settings, folder: Path) -> dict[str, Any]:
    """Faust's settings for any app of ours, also one with the stock transport."""
    return {
        "broker": ";".join(f"kafka://{address}" for address in settings.kafka_address().split(",")),
        "store": "memory://",
        "datadir": folder,
        "web_enabled": False,
        "topic_partitions": settings.partitions,
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "value_serializer": "raw",
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": FETCH,
        "stream_wait_empty": False,
        "table_standby_replicas": 0,
        "broker_commit_interval": 0.5,
        "broker_session_timeout": settings.session_timeout,
        "broker_heartbeat_interval": settings.session_timeout / 5,
        "broker_max_poll_interval": 86400.0,  # back-pressure is no reason to lose the partitions
        "broker_check_crcs": True,
        "loghandlers": [],
    }


def name_member(app: faust.App) -> None:
    """Names the app's member of its group; to be called when the app has its agents, before it starts.

    The name stays with the folder: a process that died and began anew gets its partitions back at once, where the group
    would wait out the dead member's session first. For a name that it knows Kafka does so without looking at what is
    read now, and a topic that came with a new agent would be nobody's for ever. So the name is another where it reads
    other topics.
    """
    folder = Path(app.conf.datadir)
    topics = {name for agent in app.agents.values() for name in agent.get_topic_names()} | set(app.tables)
    reads = sha256("\n".join(sorted(topics)).encode()).hexdigest()[:8]
    app.conf.consumer_group_instance_id = f"{folder.name}-{_own(folder)}-{reads}"


def _own(folder: Path) -> str:
    """What no other folder has."""
    file = folder / "member"
    if not file.exists():
        fresh = folder / f"member.{uuid4().hex}"
        fresh.write_text(fresh.suffix[1:])
        fresh.rename(file)
    return file.read_text()


def raw_topic(app: Any, name: str) -> Any:
    """A Faust topic whose keys and values are bytes; with the batch transport, a value is a run of records."""
    return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
