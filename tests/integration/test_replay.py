"""`sluice replay` beside a running worker and sink: the same rows under a new epoch, also of what the log has lost."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from runtime.settings import load
from schemas.topics import EVENTS, ROWS, TOUCHES, WAGERS
from tests import servers
from tests.faults.test_streams import traffic
from tests.kafka import run
from tests.sinks import FailingClickHouse, SinkProcess, Warehouse, until
from tests.workers import Pipeline, Worker

PARTITIONS = 2
SETTINGS: dict[str, Any] = {"partitions": PARTITIONS, "session_gap": 60, "lateness": 600}
BETS_SQL = "SELECT * EXCEPT (stored_at, first_received_at) FROM bets ORDER BY tenant, bet_id"
"""first_received_at is of the record that pairing saw first, of which records from two partitions may be either."""
SESSIONS_SQL = "SELECT * EXCEPT (is_open, stored_at) FROM sessions ORDER BY session_id"
ATTRIBUTED_SQL = """
SELECT * EXCEPT (stored_at) FROM attributions ORDER BY conversion_ingest_partition, conversion_ingest_offset
"""
ASSIGNED_SQL = "SELECT ingest_partition, ingest_offset, session_id FROM events ORDER BY ALL"


class Stack:
    """A Kafka, a ClickHouse, a worker and a sink of their own."""

    def __init__(self, kafka: str, clickhouse: FailingClickHouse, folder: Path) -> None:
        self.kafka, self.folder, self.clickhouse = kafka, folder, clickhouse
        self.warehouse = Warehouse(load(clickhouse=clickhouse.address))
        self.pipeline = Pipeline(kafka, PARTITIONS)
        self.worker = Worker(kafka, folder, **SETTINGS).start()
        self.sink = SinkProcess(kafka, clickhouse.address, folder, 0, **SETTINGS).start()
        self._draw, self._sent = random.Random(5), 0

    def ingest(self, count: int) -> None:
        """Sends events and returns when their rows are stored."""
        self.pipeline.ingest([traffic(self._draw, self._sent + i) for i in range(count)])
        self._sent += count
        self.pipeline.await_done([self.worker])
        topics = [EVENTS.name, *ROWS]
        until(lambda: not self.pipeline.lag("sink", topics), 60)

    def replay(self, agent: str) -> str:
        """Runs `sluice replay`; returns what it printed."""
        options = [f"--kafka={self.kafka}", f"--clickhouse={self.clickhouse.address}", f"--data-dir={self.folder}"]
        environment = {f"SLUICE_{name.upper()}": str(value) for name, value in SETTINGS.items()}
        command = [sys.executable, "-m", "cli.main", "replay", *options, "--limit=90", agent]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | environment)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    def stop(self) -> None:
        self.worker.kill()
        self.sink.stop()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    clickhouse = FailingClickHouse(tmp_path / "clickhouse")
    clickhouse.start()
    try:
        with servers.embedded_kafka() as kafka:
            found = Stack(kafka, clickhouse, tmp_path)
            try:
                yield found
            finally:
                found.stop()
    finally:
        clickhouse.stop()


def lose(kafka: str, topic: str) -> None:
    """Deletes the first half of each partition's records."""

    async def delete() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            for partition in range(PARTITIONS):
                await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=150)})
        finally:
            await admin.close()

    run(delete)


@pytest.mark.slow
def test_a_replay_gives_the_same_rows_and_the_worker_goes_on(stack: Stack) -> None:
    stack.ingest(1500)
    sql = {"pairing": BETS_SQL, "sessions": SESSIONS_SQL, "attribution": ATTRIBUTED_SQL}
    before = {agent: stack.warehouse.rows(query) for agent, query in sql.items()}
    assigned = stack.warehouse.rows(ASSIGNED_SQL)
    lose(stack.kafka, WAGERS.name)
    lose(stack.kafka, EVENTS.name)
    lose(stack.kafka, TOUCHES.name)
    for agent, query in sql.items():
        assert f"{agent} counts from epoch 1 on" in stack.replay(agent)
        assert changed(before[agent], stack.warehouse.rows(query)) == []
        assert stack.warehouse.rows(f"SELECT DISTINCT epoch FROM {agent_table(agent)}") == [{"epoch": 1}]
    assert stack.warehouse.rows(ASSIGNED_SQL) == assigned
    until(lambda: stack.worker.log.read_text().count("goes on under epoch 1") == 3, 60)
    stack.ingest(500)
    assert len(stack.warehouse.rows(BETS_SQL)) > len(before["pairing"])
    assert stack.warehouse.value("SELECT countIf(session_id IS NULL AND NOT is_late) FROM events") == 0
    assert "counts from epoch 2 on" in stack.replay("pairing")


def changed(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[Any]:
    """What differs, row by row."""
    names = [name for name in ("session_id", "bet_id", "conversion_id") if name in before[0]]
    ids = [{tuple(row[name] for name in names): row for row in rows} for rows in (before, after)]
    return [
        (name, {key: (one.get(key), other.get(key)) for key in one | other if one.get(key) != other.get(key)})
        for name in ids[0] | ids[1]
        if (one := ids[0].get(name, {})) != (other := ids[1].get(name, {}))
    ]


def agent_table(agent: str) -> str:
    return {"pairing": "bets_rows", "sessions": "sessions_rows", "attribution": "attributions_rows"}[agent]


def test_an_agent_that_others_read_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "replay", "dedup"], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 2
    assert "worker --rebuild dedup" in done.stderr
