"""Real gateway processes for tests, and what tests do with them."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from embedded.place import LOOPBACK, free_port
from gateway.keys import create, publish
from schemas.registry import EVENT, REJECTION
from schemas.topics import TOPICS
from tests.kafka import create_topics, read_all, run

START_LIMIT = 60.0
STOP_LIMIT = 40.0
JSON = {"content-type": "application/json"}


class Gateway:
    """`sluice gateway` as a process of its own; ``settings`` are those of runtime/settings.py."""

    def __init__(self, kafka: str, folder: Path, **settings: Any) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.log = folder / f"gateway-{self.port}.log"
        given = {"kafka": kafka, "data_dir": folder, "gateway_port": self.port, "log_format": "json"} | settings
        own = {f"SLUICE_{name.upper()}": str(value) for name, value in given.items()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        self._environment = kept | own
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, ready: bool = True) -> "Gateway":
        """Starts it and waits until it is ready, or only until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "gateway"], env=self._environment, stdout=log, stderr=log
            )
        await_that(lambda: self._answers("/ready" if ready else "/health"), START_LIMIT, self.log.read_text)
        return self

    def _answers(self, path: str) -> bool:
        if self.running.poll() is not None:
            raise AssertionError(f"the gateway has ended:\n{self.log.read_text()[-4000:]}")
        try:
            return httpx.get(self.url + path, timeout=30).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def running(self) -> subprocess.Popen[bytes]:
        """The process."""
        assert self.process is not None
        return self.process

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(STOP_LIMIT)

    def kill(self) -> None:
        """SIGKILL."""
        self.running.kill()
        self.running.wait()

    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.running.pid).memory_info().rss)

    def processor_time(self) -> float:
        """Seconds of a core that it has taken so far: unlike the clock's, they say the same beside other work."""
        times = psutil.Process(self.running.pid).cpu_times()
        return float(times.user + times.system)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        text = httpx.get(self.url + "/metrics", timeout=30).text
        lines = (line for line in text.splitlines() if line.startswith((name + " ", name + "{")))
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(each in line for each in wanted))


@contextmanager
def gateway(kafka: str, folder: Path, **settings: Any) -> Iterator[Gateway]:
    """A running gateway, ended on the way out whatever happened."""
    one = Gateway(kafka, folder, **settings).start()
    try:
        yield one
    finally:
        if one.running.poll() is None:
            one.kill()


def await_that(condition: Any, limit: float, detail: Any = lambda: "") -> None:
    """Returns once the condition holds; AssertionError after ``limit`` seconds.

    A Kafka that has just woken may not know its own brokers yet, and is asked again.
    """
    deadline = time.monotonic() + limit

    def holds() -> bool:
        try:
            return bool(condition())
        except KafkaError:
            return False

    while not holds():
        assert time.monotonic() < deadline, f"not within {limit} s: {detail()[-4000:]}"
        time.sleep(0.05)


def standard_topics(kafka: str, partitions: int = 4) -> None:
    """Every topic of schemas/topics, with its own settings."""
    for topic in TOPICS:
        config: dict[str, Any] = {name.replace(".", "_"): value for name, value in topic.config().items()}
        create_topics(kafka, [topic.name], 1 if topic.single else partitions, **config)


def write_keys(kafka: str, records: Sequence[dict[str, Any]]) -> None:
    """Puts records into control.keys."""

    async def write() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka)
        await producer.start()
        try:
            for record in records:
                await publish(producer, record)
        finally:
            await producer.stop()

    run(write)


def make_key(kafka: str, gateways: Sequence[Gateway] = (), tenant: str = "", **options: Any) -> str:
    """A new key, known to the gateways when this returns."""
    secret, record = create(tenant or f"tenant-{uuid.uuid4().hex[:8]}", **{"limit": 0} | options)
    write_keys(kafka, [record])
    for one in gateways:
        await_that(lambda one=one: known(one, secret), 60)
    return secret


def known(one: Gateway, secret: str) -> bool:
    """Whether the gateway lets the key in; asked where nothing is counted that a test counts."""
    return httpx.get(one.url + "/events", headers={"x-api-key": secret}, timeout=30).status_code != 401


def adwize(*names: str) -> bytes:
    """A body for POST /api/v1/events, one event for each name."""
    return json.dumps([{"source": "test", "event_type": name, "data": {}} for name in names]).encode()


def events_of(kafka: str, tenant: str) -> list[dict[str, Any]]:
    """The tenant's events in ingest.events."""
    decoded = (EVENT.decode(record.value) for record in read_all(kafka, "ingest.events"))
    return [event for event in decoded if event["tenant"] == tenant]


def rejections_of(kafka: str, tenant: str) -> list[dict[str, Any]]:
    """The tenant's rejections."""
    decoded = (REJECTION.decode(record.value) for record in read_all(kafka, "rejections"))
    return [rejection for rejection in decoded if rejection["tenant"] == tenant]
