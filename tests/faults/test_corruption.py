"""A rotten byte in Kafka's log: its readers end with a sentence, pass over nothing, and go on once it is mended."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.clickhouse import ClickHouse
from embedded.kafka import Kafka
from runtime.settings import load
from schemas.registry import EVENT
from schemas.topics import EVENTS, INGEST_EVENTS
from tests.events import T0, event
from tests.kafka import read_all
from tests.sinks import SinkProcess, Warehouse, until
from tests.workers import Pipeline, Worker

COUNT = 60


@contextmanager
def rotten(folder: Path, topic: str) -> Iterator[None]:
    """Another last byte in the second of partition 0's batches."""
    (log,) = (folder / "data" / f"{topic}-0").glob("*.log")

    def flip() -> None:
        with log.open("r+b") as file:
            first = file.read(12)
            file.seek(12 + struct.unpack(">qi", first)[1])
            start = file.tell()
            at = start + 11 + struct.unpack(">qi", file.read(12))[1]
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes([byte ^ 1]))

    flip()
    yield
    flip()


def ended(role: Worker | SinkProcess, topic: str) -> None:
    """It ends by itself, saying which record it cannot read."""
    process = role.process
    assert process is not None
    until(lambda: process.poll() is not None, 120, [role.log])
    assert process.returncode == 1
    said = role.log.read_text()
    assert "Kafka is no longer read" in said
    assert f"{topic}-0@" in said


def test_a_rotten_record_ends_its_readers_and_is_not_passed_over(tmp_path: Path) -> None:
    with Kafka(tmp_path / "kafka") as server:
        pipeline = Pipeline(server.address, 1)
        for part in range(3):  # a batch each, at least
            made = range(part * COUNT // 3, (part + 1) * COUNT // 3)
            pipeline.ingest([event(player_id="p", nth=n, dedup=n, event_time=T0 + n) for n in made])
        worker = Worker(server.address, tmp_path)
        clickhouse = ClickHouse(tmp_path / "clickhouse")
        sink = SinkProcess(server.address, clickhouse.address, tmp_path)
        try:
            with rotten(tmp_path / "kafka", INGEST_EVENTS.name):
                ended(worker.start(), INGEST_EVENTS.name)
            pipeline.await_done([worker.start()])
            passed = [EVENT.decode(record.value)["event_id"] for record in read_all(server.address, EVENTS.name)]
            assert len(passed) == len(set(passed)) == COUNT

            clickhouse.start()
            warehouse = Warehouse(load(clickhouse=clickhouse.address))
            pipeline.ingest([event(player_id="p", nth=COUNT, dedup=COUNT, event_time=T0 + COUNT)])
            pipeline.await_done([worker])
            with rotten(tmp_path / "kafka", EVENTS.name):
                ended(sink.start(), EVENTS.name)
            sink.start()
            until(lambda: warehouse.value("SELECT count() FROM events") == COUNT + 1, 60, [sink.log])
            warehouse.client.close()
        finally:
            sink.kill()
            worker.kill()
            clickhouse.kill()
