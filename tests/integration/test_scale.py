"""Workers share the partitions, a hot one holds nobody else up, and each partition's lag is told."""

import asyncio
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded.place import LOOPBACK
from runtime.app import batch_app, raw_topic
from runtime.origin import HEADER, place, source
from runtime.settings import load
from schemas.registry import EVENT
from schemas.topics import EVENTS, SESSIONS
from tests import servers
from tests.events import event
from tests.kafka import create_topics, produce_records, read_all
from tests.property.test_agents import check
from tests.sinks import until
from tests.workers import Pipeline, Worker

PARTITIONS = 4
HOT, COLD = 60_000, 200
SETTINGS: dict[str, Any] = {
    "partitions": PARTITIONS, "session_timeout": 3, "session_gap": 60, "lateness": 600, "dedup_window": 1000,
}  # fmt: skip


@pytest.fixture
def kafka() -> Iterator[str]:
    with servers.embedded_kafka() as address:
        yield address


@pytest.fixture
def start(kafka: str, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    started: list[Worker] = []

    def one(slot: int = 0) -> Worker:
        started.append(Worker(kafka, tmp_path, slot, **SETTINGS).start())
        return started[-1]

    yield one
    for each in started:
        each.kill()


def lags(worker: Worker) -> dict[tuple[str, int], int]:
    """By agent and partition, as its metrics say."""
    text = httpx.get(f"http://{LOOPBACK}:{worker.port}/metrics", timeout=30).text
    found = re.findall(r'sluice_agent_lag\{agent="(\w+)",partition="(\d+)"\} ([\d.]+)', text)
    return {(agent, int(partition)): int(float(lag)) for agent, partition, lag in found}


def test_a_hot_player_holds_up_no_other_partition(kafka: str, start: Callable[..., Worker]) -> None:
    Pipeline(kafka, PARTITIONS)
    for partition, count in ((0, HOT), (1, COLD)):
        origin = source("dedup", 0, 1, partition)
        produce_records(
            kafka,
            (
                (EVENTS.name, partition, b"k", EVENT.encode(each), [(HEADER, origin + place(n, 0))])
                for n, each in enumerate(event(nth=n, player_id=f"p{partition}") for n in range(count))
            ),
        )
    worker = start()
    until(lambda: lags(worker).get(("sessions", 1)) == 0 if worker.ready() else None, 60, [worker.log])
    assert lags(worker)[("sessions", 0)] > 0, "nobody was hot any more"
    until(lambda: lags(worker)[("sessions", 0)] == 0, 60, [worker.log])
    assert len({record.key for record in read_all(kafka, SESSIONS.name)}) == 2


def test_partitions_move_as_workers_come_and_go(kafka: str, start: Callable[..., Worker]) -> None:
    pipeline = Pipeline(kafka, PARTITIONS)
    sent = iter(range(10**6))

    def more() -> None:
        pipeline.ingest([event(nth=n, dedup=n, player_id=f"p{n % 50}") for n, _ in zip(sent, range(500), strict=False)])

    first = start(0)
    more()
    pipeline.await_done([first])
    assert {partition for _, partition in lags(first)} == set(range(PARTITIONS))
    second = start(1)
    more()
    until(lambda: shared(first, second), 60, [first.log, second.log])
    more()
    pipeline.await_done([first, second])
    first.signal(signal.SIGTERM)
    more()
    until(lambda: second.ready() and lags(second).keys() >= known(PARTITIONS), 60, [second.log])
    pipeline.await_done([second])
    check(pipeline)


def known(partitions: int) -> set[tuple[str, int]]:
    return {(agent, n) for agent in ("dedup", "pairing", "sessions") for n in range(partitions)}


def shared(first: Worker, second: Worker) -> bool:
    """Whether both have some of every agent's partitions, and together all of them."""
    if not (first.ready() and second.ready()):
        return False
    mine, theirs = lags(first).keys() & known(PARTITIONS), lags(second).keys() & known(PARTITIONS)
    return bool(mine) and bool(theirs) and not mine & theirs and mine | theirs == known(PARTITIONS)


def test_a_member_that_comes_back_has_the_partitions_of_a_topic_that_is_new_to_it(kafka: str, tmp_path: Path) -> None:
    """Kafka gives a member that it knows by name what it had before, whatever is read now."""
    topics = ["first", "second"]
    create_topics(kafka, topics, PARTITIONS)
    settings = load(kafka=kafka, data_dir=tmp_path, **SETTINGS)

    async def assigned(names: list[str]) -> set[Any]:
        app = batch_app("members", settings)
        for name in names:
            app.agent(raw_topic(app, name), name=name)(_take)
        await app.start()
        try:
            async with asyncio.timeout(60):
                await app.flowing.wait()
            return {(tp.topic, tp.partition) for tp in app.consumer.assignment()}
        finally:
            await app.end()

    for names in (topics[:1], topics):
        assert asyncio.run(assigned(names)) == {(name, n) for name in names for n in range(PARTITIONS)}


async def _take(stream: Any) -> None:
    async for _ in stream.events():
        pass
