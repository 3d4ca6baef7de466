"""Real worker processes on a real Kafka, and what tests do with them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from embedded.place import LOOPBACK, free_port
from runtime.agent import Record
from runtime.ending import end
from runtime.settings import load
from schemas.codec import Encode
from schemas.keys import partition_of
from schemas.registry import EVENT
from schemas.topics import INGEST_EVENTS, MAX_MESSAGE_BYTES, TOPICS, Topic, changelog
from streams.agents import exact_agents
from tests.events import record_key
from tests.kafka import create_topics, read_all, run


class Worker:
    """`sluice worker` as a process of its own; ``settings`` are those of runtime/settings.py."""

    def __init__(self, kafka: str, folder: Path, slot: int = 0, tree: Path | None = None, **settings: Any) -> None:
        """``tree`` is the checkout of another release."""
        self.port, self.slot, self.folder, self._tree = free_port(), slot, folder, tree
        self.log = folder / f"worker-{slot}.log"
        given = {"kafka": kafka, "data_dir": folder, "worker_port": self.port, "slot": slot} | settings
        own = {f"SLUICE_{name.upper()}": str(value) for name, value in given.items()}
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")} | own
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, poisoned: str = "") -> "Worker":
        """Starts it, without waiting; agents named in ``poisoned``, by commas, fail on b"poison" (tests/poison.py)."""
        module, environment = ("tests.poison", {"POISONED": poisoned}) if poisoned else ("cli.worker", {})
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=self._environment | environment,
                stdout=log,
                stderr=log,
                cwd=self._tree,
            )
        return self

    def ready(self) -> bool:
        """Whether it has its partitions and their state."""
        try:
            return httpx.get(f"http://{LOOPBACK}:{self.port}/ready", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it lives."""
        if self.alive:
            assert self.process is not None
            self.process.send_signal(number)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self, limit: float = 40) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        return self.process.wait(limit)

    def lose_disk(self) -> None:
        """Removes its state folder."""
        shutil.rmtree(self.folder / "state" / f"worker-{self.slot}", ignore_errors=True)


class Pipeline:
    """The topics of one Kafka, with the same reading interface as runtime.testing.Run."""

    def __init__(self, kafka: str, partitions: int, replication: int = 1) -> None:
        self.kafka, self.partitions = kafka, partitions
        topics = [*TOPICS, *(changelog(agent.name, agent.retention) for agent in exact_agents(load()))]
        for topic in topics:
            settings = {name.replace(".", "_"): value for name, value in topic.config().items()}
            settings["retention_ms"] = "-1"  # the tests' events are of a fixed day
            create_topics(kafka, [topic.name], 1 if topic.single else partitions, replication, **settings)

    def ingest(self, events: list[dict[str, Any]], encode: Encode = EVENT.encode) -> None:
        """Appends events as a gateway does and waits for the acknowledgements."""

        async def send() -> None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.kafka, enable_idempotence=True, linger_ms=5, max_request_size=MAX_MESSAGE_BYTES
            )
            try:
                await producer.start()
                sent = []
                for each in events:
                    key = record_key(each)
                    place = partition_of(key, self.partitions)
                    stamp = each["received_at"]
                    sent.append(await producer.send(INGEST_EVENTS.name, encode(each), key, place, timestamp_ms=stamp))
                for future in sent:
                    await future
            finally:
                await end(producer)

        run(send)

    def records(self, topic: Topic) -> list[Record]:
        """Every record of a topic, by partition and offset."""
        return [
            Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
            for r in read_all(self.kafka, topic.name)
        ]

    def lag(self, group: str = "worker", topics: Sequence[str] = ()) -> dict[str, int]:
        """Records that the group has not committed, by partition of ``topics``, or of the agents' inputs."""

        async def count() -> dict[str, int]:
            consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka, group_id=group, enable_auto_commit=False)
            await consumer.start()
            try:
                names = set(topics) or {agent.source.name for agent in exact_agents(load())}
                places = [TopicPartition(name, i) for name in names for i in range(self.partitions)]
                ends = await consumer.end_offsets(places)
                lags = {place: ends[place] - ((await consumer.committed(place)) or 0) for place in places}
                return {f"{place.topic}-{place.partition}": lag for place, lag in lags.items() if lag}
            finally:
                await consumer.stop()

        return run(count)

    def await_done(self, workers: list[Worker], limit: float = 120) -> None:
        """Returns when everything is committed, twice in a row, since a hop's outputs are the next one's inputs."""
        deadline, quiet = time.monotonic() + limit, 0
        while quiet < 2:
            quiet = quiet + 1 if not self.lag() else 0
            if time.monotonic() > deadline:
                logs = "\n".join(worker.log.read_text()[-3000:] for worker in workers)
                raise AssertionError(f"a lag of {self.lag()} after {limit} s:\n{logs}")
            time.sleep(0.2)
