"""What can happen to an agent's state and its logs, each with its sentence or its cure, on real Kafka."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from embedded.kafka import Kafka
from embedded.place import free_port
from runtime.agent import Record
from runtime.origin import HEADER, ingest_coordinates
from schemas.keys import partition_of
from schemas.registry import LOSS
from schemas.topics import CONTROL_LOSSES, EVENTS, INGEST_EVENTS, changelog
from tests import servers
from tests.events import event, record_key
from tests.kafka import create_topics, read_all, run
from tests.property.test_agents import check
from tests.sinks import until
from tests.workers import Pipeline, Worker

PARTITIONS = 2
SETTINGS: dict[str, Any] = {
    "partitions": PARTITIONS, "session_timeout": 3, "session_gap": 60, "lateness": 600, "dedup_window": 1000,
}  # fmt: skip


@pytest.fixture
def kafka() -> Iterator[str]:
    with servers.embedded_kafka() as address:
        yield address


@pytest.fixture
def pipeline(kafka: str) -> Pipeline:
    return Pipeline(kafka, PARTITIONS)


@pytest.fixture
def worker(kafka: str, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    started: list[Worker] = []

    def start(slot: int = 0, **settings: Any) -> Worker:
        started.append(Worker(kafka, tmp_path, slot, **SETTINGS | settings).start())
        return started[-1]

    yield start
    for each in started:
        each.signal(signal.SIGCONT)
        each.kill()


def logins(start: int, stop: int) -> list[dict[str, Any]]:
    return [event(nth=n, dedup=n % 400, player_id=f"p{n % 7}") for n in range(start, stop)]


def admin(kafka: str, call: Callable[[Any], Any]) -> None:
    async def ask() -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await client.start()
        try:
            await call(client)
        finally:
            await client.close()

    run(ask)


def ended(each: Worker, code: int) -> str:
    """What a worker said that had to end."""
    until(lambda: not each.alive, 60, [each.log])
    assert each.process is not None
    assert each.process.returncode == code, each.log.read_text()[-3000:]
    return each.log.read_text()


def without_manifest(store: Path) -> None:
    """It does not open."""
    (manifest,) = store.glob("MANIFEST-*")
    manifest.write_bytes(b"not a manifest" + bytes(100))


def with_a_damaged_block(store: Path) -> None:
    """It opens, and much of it can be read."""
    for table in store.glob("*.sst"):
        content = table.read_bytes()
        third = len(content) // 3
        table.write_bytes(content[:third] + bytes(64) + content[third + 64 :])


@pytest.mark.parametrize(("damage", "said"), [(without_manifest, "dropped"), (with_a_damaged_block, "Corruption")])
def test_a_corrupt_folder_is_dropped_and_rebuilt(
    pipeline: Pipeline, worker: Callable[..., Worker], tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    pipeline.ingest(logins(0, 500))
    first = worker()
    pipeline.await_done([first])
    assert first.stop() == 0
    stores = [each.parent for each in (tmp_path / "state" / "worker-0").glob("*/*/CURRENT")]
    assert stores
    for store in stores:
        damage(store)
    second = worker()
    pipeline.ingest(logins(500, 1000))
    pipeline.await_done([second])
    assert said in second.log.read_text()
    check(pipeline)


def test_two_workers_with_one_slot(pipeline: Pipeline, worker: Callable[..., Worker]) -> None:
    first = worker()
    until(first.ready, 60, [first.log])
    assert "Give each worker a slot of its own" in ended(worker(), 1)
    assert first.alive


def test_a_changelog_made_anew_is_no_silent_loss(kafka: str, pipeline: Pipeline, worker: Callable[..., Worker]) -> None:
    pipeline.ingest(logins(0, 500))
    first = worker()
    pipeline.await_done([first])
    assert first.stop() == 0
    name = changelog("dedup", 1).name
    admin(kafka, lambda client: client.delete_topics([name]))
    until(lambda: recreated(kafka, name), 60)
    assert "worker --rebuild dedup" in ended(worker(), 1)
    pipeline.ingest(logins(500, 1000))
    third = worker(rebuild="dedup")
    pipeline.await_done([third])
    check(pipeline)


def recreated(kafka: str, name: str) -> bool:
    try:
        create_topics(kafka, [name], PARTITIONS)
    except AssertionError:  # the deletion is still under way
        return False
    return True


def test_input_deleted_before_it_was_read_stops_it_until_a_person_accepts(
    kafka: str, pipeline: Pipeline, worker: Callable[..., Worker]
) -> None:
    pipeline.ingest(logins(0, 300))
    first = worker()
    pipeline.await_done([first])
    assert first.stop() == 0
    pipeline.ingest(logins(300, 900))
    place = TopicPartition(INGEST_EVENTS.name, 0)
    read, cut = ends(pipeline, 300), ends(pipeline, 450)
    admin(kafka, lambda client: client.delete_records({place: RecordsToDelete(before_offset=cut)}))
    assert f"--accept-loss {read}-{cut}" in ended(worker(), 1)
    second = worker(accept_loss=f"{read}-{cut}")
    pipeline.await_done([second])
    kept = {place for _, partition, place in map(origin, pipeline.records(EVENTS)) if partition == 0}
    assert kept.isdisjoint(range(read, cut))
    assert max(kept, default=0) >= cut, "nothing was read behind the loss"
    (lost,) = (LOSS.decode(record.value) for record in read_all(kafka, CONTROL_LOSSES.name))
    assert (lost["reader"], lost["topic"], lost["partition"]) == ("dedup", INGEST_EVENTS.name, 0)
    assert (lost["from"], lost["to"]) == (read, cut)


def origin(record: Record) -> tuple[int, int, int]:
    return ingest_coordinates(dict(record.headers)[HEADER])


def ends(pipeline: Pipeline, sent: int) -> int:
    """Where partition 0 of ingest.events stood when so many of ``logins`` had been sent."""
    return sum(partition_of(record_key(each), PARTITIONS) == 0 for each in logins(0, sent))


def test_the_broker_comes_and_goes(tmp_path: Path) -> None:
    """The worker waits for Kafka at its start, through a SIGKILL of it, and while it is frozen."""
    broker = Kafka(tmp_path / "kafka", free_port())
    each = Worker(broker.address, tmp_path, **SETTINGS, produce_timeout=5).start()
    try:
        broker.start()
        pipeline = Pipeline(broker.address, PARTITIONS)
        pipeline.ingest(logins(0, 300))
        pipeline.await_done([each])
        broker.kill()
        broker.start()
        pipeline.ingest(logins(300, 600))
        pipeline.await_done([each])
        assert broker.process is not None
        broker.process.send_signal(signal.SIGSTOP)
        broker.process.send_signal(signal.SIGCONT)
        pipeline.ingest(logins(600, 900))
        pipeline.await_done([each])
        check(pipeline)
        assert each.alive
    finally:
        each.kill()
        broker.stop()
