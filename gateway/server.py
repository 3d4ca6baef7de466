"""The gateway as a process: its parts put together, an HTTP server in front, and an orderly end.

Granian (Rust, hyper) reads HTTP on a thread of its own and hands requests to this process's one event loop. More
throughput is had by starting more gateways.

Errors: AddressTaken, IndexInUse.
"""

import asyncio
import errno
import json
import logging
import signal
import socket
from importlib.metadata import version
from pathlib import Path

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server as Granian

from gateway import openapi
from gateway.answers import JSON, Answer
from gateway.app import App, Page
from gateway.body import Patience
from gateway.budget import Budget
from gateway.dialects import registry as dialects
from gateway.dialects.base import Dialect
from gateway.entry import Entry
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
from runtime.settings import Settings
from schemas.topics import CONTROL_REGISTRY, INGEST_EVENTS, REJECTIONS

log = logging.getLogger("sluice.gateway")

REACH = 2.0
"""Seconds that /ready waits for Kafka."""
BACKLOG = 1024
WRITTEN = (INGEST_EVENTS.name, REJECTIONS.name, CONTROL_REGISTRY.name)


class AddressTaken(Exception):  # noqa: N818
    """Something listens on the port already."""


class Gateway:
    """All parts of a gateway; made and used within one running event loop."""

    def __init__(self, settings: Settings) -> None:
        kafka = settings.kafka_address()
        patience = settings.gateway_ack_timeout
        budget = Budget(settings.gateway_memory)
        self.patience = Patience(settings.gateway_body_timeout)
        self.settings = settings
        self.producer = Producer(kafka, WRITTEN, budget, patience)
        self.keys = Keys(kafka)
        self.registry = Registry(kafka, self.producer, patience)
        self.rejections = Rejections(self.producer, settings.gateway_rejections_bytes)
        self.store = _store(settings)
        spoken = {dialect.name: dialect for dialect in dialects.load(self.registry)}
        redis = settings.redis
        shared = shared_counters(redis.get_secret_value(), settings.redis_timeout) if redis else None
        self.entry = Entry(
            settings, spoken, self.keys, Limits(shared), self.producer,
            Index(self.store, patience * 2), self.rejections, budget, self.patience,
        )  # fmt: skip
        self.app = App(Routes(spoken.values(), dialects.SHARED), self.entry, self._pages(spoken))
        self._tables = (self.keys.table, self.registry.table)

    def start(self) -> None:
        """Begins to connect to Kafka, for as long as it takes; the HTTP side answers meanwhile."""
        self.producer.start()
        self.rejections.start()
        self.patience.start()
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
        self.patience.stop()
        await self.producer.stop()
        await self.store.close()

    def _pages(self, spoken: dict[str, Dialect]) -> dict[str, Page]:
        document = openapi.describe(spoken.values(), version("sluice"))
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


def _store(settings: Settings) -> Store:
    if settings.redis is not None:
        address = settings.redis.get_secret_value()
        return RedisStore(address, settings.dedup_window, settings.gateway_ack_timeout * 1.5, settings.redis_timeout)
    folder: Path = settings.data_dir / "gateway" / str(settings.gateway_port) / "idempotency"
    return DiskStore(folder, settings.dedup_window)


async def serve(settings: Settings) -> None:
    """Runs a gateway until SIGTERM or SIGINT, and returns when it is drained. Raises AddressTaken, IndexInUse."""
    _check_address(settings.gateway_host, settings.gateway_port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = Gateway(settings)
    gateway.start()
    http = _http(settings, gateway.app)
    listening = asyncio.create_task(http.serve())
    log.info("gateway listens", extra={"host": settings.gateway_host, "port": settings.gateway_port})
    await asyncio.wait([listening, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
    await gateway.drain()
    http.stop()  # type: ignore[no-untyped-call]
    await listening
    await gateway.stop()
    log.info("gateway is drained")


def _http(settings: Settings, app: App) -> Granian:
    return Granian(
        app,
        address=settings.gateway_host,
        port=settings.gateway_port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        backlog=BACKLOG,
        backpressure=settings.gateway_connections,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(settings.gateway_header_timeout * 1000),
            max_buffer_size=settings.gateway_header_bytes,
        ),
    )


def _check_address(host: str, port: int) -> None:
    """The HTTP server shares its port with whoever asks for it, so that a second gateway would start unnoticed."""
    probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    with probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror
            raise AddressTaken(f"the gateway cannot listen on {host}:{port}: {reason}") from error
