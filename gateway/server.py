"""The gateway as a process: its parts put together, an HTTP server in front, and an orderly end.

More throughput is had by starting more gateways.

Errors: AddressTaken, SettingsError.
"""

import asyncio
import errno
import json
import logging
import signal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gateway import openapi
from gateway.answers import JSON, Answer
from gateway.app import App, Page
from gateway.budget import Budget
from gateway.dialects import registry as dialects
from gateway.dialects.base import Dialect
from gateway.entry import Entry
from gateway.http import HttpServer
from gateway.idempotency import Index, Store
from gateway.index_disk import DiskStore
from gateway.index_redis import RedisStore
from gateway.keys import Keys
from gateway.limits import Limits, shared_counters
from gateway.producer import Producer
from gateway.registry import Registry
from gateway.rejections import Rejections
from gateway.routes import Routes
from runtime import metrics
from runtime.settings import Settings, SettingsError
from schemas.topics import CONTROL_REGISTRY, INGEST_EVENTS, REJECTIONS

log = logging.getLogger("sluice.gateway")

REACH = 2.0
"""Seconds that /ready waits for Kafka."""
LAST_WORDS = 2.0
"""Seconds in which clients must take their last answers."""
WRITTEN = (INGEST_EVENTS.name, REJECTIONS.name, CONTROL_REGISTRY.name)


class AddressTaken(Exception):  # noqa: N818
    """Something listens on the port already."""


class Gateway:
    """All parts of a gateway; made and used within one running event loop."""

    def __init__(self, settings: Settings) -> None:
        kafka = settings.kafka_address()
        patience = settings.gateway_ack_timeout
        budget = Budget(settings.gateway_memory)
        self.settings = settings
        self.producer = Producer(kafka, WRITTEN, budget, patience)
        self.keys = Keys(kafka)
        self.registry = Registry(kafka, self.producer, patience)
        self.rejections = Rejections(self.producer, settings.gateway_rejections_bytes)
        self.store = _store(settings)
        spoken = {dialect.name: dialect for dialect in dialects.load(self.registry)}
        redis = _redis(settings)
        shared = shared_counters(redis, settings.redis_timeout) if redis else None
        self.entry = Entry(
            settings, spoken, self.keys, Limits(shared), self.producer,
            Index(self.store, patience * 2), self.rejections, budget,
        )  # fmt: skip
        self.app = App(Routes(spoken.values(), dialects.SHARED), self.entry, self._pages(spoken))
        self._tables = (self.keys.table, self.registry.table)

    def start(self) -> None:
        """Begins to connect to Kafka, for as long as it takes; the HTTP side answers meanwhile."""
        self.producer.start()
        self.rejections.start()
        for table in self._tables:
            table.start()

    async def drain(self) -> None:
        """Takes no new work on, finishes what was begun, and writes what waits, all within the setting's time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.gateway_drain_timeout
        try:
            async with asyncio.timeout_at(deadline):
                await self.app.drain()
        except TimeoutError:
            log.warning("requests are cut off", extra={"count": self.app.in_progress})
        await self.rejections.stop(max(0.1, deadline - loop.time()))

    async def stop(self) -> None:
        """Lets go of Kafka, disk and Redis."""
        for table in self._tables:
            await table.stop()
        await self.producer.stop()
        await self.store.close()

    def _pages(self, spoken: dict[str, Dialect]) -> dict[str, Page]:
        document = openapi.describe(spoken.values(), _version())
        text, page = json.dumps(document).encode(), openapi.page(document).encode()

        async def health() -> Answer:
            return Answer(200, b'{"status":"ok"}')

        async def exposition() -> Answer:
            content_type, body = metrics.exposition()
            return Answer(200, body, [("content-type", content_type)])

        async def description() -> Answer:
            return Answer(200, text)

        async def docs() -> Answer:
            return Answer(200, page, [("content-type", "text/html; charset=utf-8")])

        return {
            "/health": health,
            "/ready": self._ready,
            "/metrics": exposition,
            "/openapi.json": description,
            "/docs": docs,
        }

    async def _ready(self) -> Answer:
        reason = ""
        if self.app.draining:
            reason = "draining"
        elif not self.keys.table.loaded.is_set() or not self.registry.table.loaded.is_set():
            reason = "the keys are not read yet"
        elif not await self.producer.reachable(REACH):
            reason = "Kafka is not reachable"
        if reason:
            return Answer(503, json.dumps({"status": "not ready", "detail": reason}).encode(), [JSON])
        return Answer(200, b'{"status":"ready"}')


def _version() -> str:
    try:
        return version("sluice")
    except PackageNotFoundError:  # run from its folder, as in the container image
        return "0"


def _redis(settings: Settings) -> str | None:
    return None if settings.redis is None else settings.redis.get_secret_value()


def _store(settings: Settings) -> Store:
    address = _redis(settings)
    if address is not None:
        return RedisStore(address, settings.dedup_window, settings.gateway_ack_timeout * 1.5, settings.redis_timeout)
    folder: Path = settings.data_dir / "gateway" / str(settings.gateway_port) / "idempotency"
    try:
        return DiskStore(folder, settings.dedup_window)
    except OSError as error:
        raise SettingsError(f"data_dir / SLUICE_DATA_DIR: {folder} cannot be used: {error.strerror}") from error


async def serve(settings: Settings) -> None:
    """Runs a gateway until SIGTERM or SIGINT, and returns when it is drained. Raises AddressTaken, SettingsError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    http = HttpServer(settings)
    await _listen(http, settings)  # first of all: who has the port has the folder named after it
    gateway = Gateway(settings)
    http.application = gateway.app
    gateway.start()
    log.info("gateway listens", extra={"host": settings.gateway_host, "port": settings.gateway_port})
    await stop.wait()
    await gateway.drain()
    await http.stop(LAST_WORDS)
    await gateway.stop()
    log.info("gateway is drained")


async def _listen(http: HttpServer, settings: Settings) -> None:
    try:
        await http.start()
    except OSError as error:
        reason = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror
        place = f"{settings.gateway_host}:{settings.gateway_port}"
        raise AddressTaken(f"the gateway cannot listen on {place}: {reason}") from error
