"""A release whose events have a field more, rolled out process by process, while both kinds of event come: on real
Kafka and ClickHouse, workers and sinks.

The next release is a copy of the tree with ``event.2.avsc``, whose new field has a default. Its producers write by that
schema; who has not got it learns it from control.schemas, where it is published first.
"""

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.settings import load
from schemas import registry
from schemas.evolution import RELEASED, checksum, present
from schemas.registry import EVENT, RecordType, Version
from schemas.topics import CONTROL_SCHEMAS, EVENTS, INGEST_EVENTS
from sinks.migrate import FOLDER as MIGRATIONS
from sinks.migrate import Migrator
from sinks.migrate import load as migrations
from tests import servers
from tests.events import T0
from tests.faults.test_streams import traffic
from tests.integration.test_new import NOT_SOURCE, ROOT
from tests.kafka import produce
from tests.property.test_agents import check
from tests.sinks import FailingClickHouse, SinkProcess, Warehouse, until
from tests.whole import Whole
from tests.workers import Pipeline, Worker

PARTITIONS = 4
SETTINGS: dict[str, Any] = {
    "partitions": PARTITIONS, "session_timeout": 3, "session_gap": 60, "lateness": 600, "dedup_window": 1000,
    "attribution_window": 100,
}  # fmt: skip
EVENT_1 = present()["event.1"]
EVENT_2 = EVENT_1 | {"fields": [*EVENT_1["fields"], {"name": "channel", "type": ["null", "string"], "default": None}]}


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    tree = tmp_path / "next"
    shutil.copytree(ROOT, tree, ignore=NOT_SOURCE)
    folder = tree / RELEASED.parent.relative_to(ROOT)
    (folder / "event.2.avsc").write_text(json.dumps(EVENT_2))
    with (folder / RELEASED.name).open("a") as file:
        file.write(f"event.2 {checksum(EVENT_2)}\n")
    migration = tree / MIGRATIONS.relative_to(ROOT) / f"{len(migrations()) + 1:04}_channel.sql"
    migration.write_text("ALTER TABLE events_rows ADD COLUMN channel Nullable(String) COMMENT 'where it was done';\n")
    return tree


@pytest.fixture
def newer() -> Iterator[RecordType]:
    """The events of the next release; this process, which is of the old one, forgets them again."""
    found = RecordType([Version.of(EVENT_1, 1), Version.of(EVENT_2, 2)])
    yield found
    EVENT.versions.pop(found.latest.header, None)


def _events(draw: random.Random, start: int, count: int) -> list[dict[str, Any]]:
    return [traffic(draw, n) | {"channel": "web"} for n in range(start, start + count)]


@pytest.mark.slow
def test_old_and_new_workers_side_by_side(next_release: Path, newer: RecordType, tmp_path: Path) -> None:
    draw = random.Random(8)
    with servers.embedded_kafka() as kafka:
        pipeline = Pipeline(kafka, PARTITIONS)
        old = Worker(kafka, tmp_path, 0, **SETTINGS).start()
        new = Worker(kafka, tmp_path, 1, next_release, **SETTINGS)
        try:
            pipeline.ingest(_events(draw, 0, 400))
            pipeline.await_done([old])
            header = newer.latest.header
            produce(kafka, CONTROL_SCHEMAS.name, [(header[2:].hex().encode(), json.dumps(EVENT_2).encode())])
            pipeline.ingest(_events(draw, 400, 400), newer.encode)  # the old worker, alone, is sent the new events
            pipeline.await_done([old])
            new.start()
            until(new.ready, 60, [new.log])
            for n in range(4):  # and both of them both
                pipeline.ingest(_events(draw, 800 + 200 * n, 100), newer.encode)
                pipeline.ingest(_events(draw, 900 + 200 * n, 100))
            pipeline.await_done([old, new])
            assert old.stop() == 0
            pipeline.ingest(_events(draw, 1600, 200))  # the new worker reads what the old one left, and old events
            pipeline.ingest(_events(draw, 1800, 200), newer.encode)
            pipeline.await_done([new])
            assert new.stop() == 0
        finally:
            old.kill()
            new.kill()
        registry.learn(EVENT_2)
        check(pipeline)
        written = [record.value or b"" for record in pipeline.records(INGEST_EVENTS)]
        passed_on = [record.value or b"" for record in pipeline.records(EVENTS)]
        assert {value[:10] for value in written} == {EVENT.latest.header, newer.latest.header}
        assert set(passed_on) <= set(written)  # byte for byte: the old worker drops no field that it does not know
        assert {newer.decode(value)["channel"] for value in passed_on} == {None, "web"}


@pytest.mark.slow
def test_old_and_new_sinks_side_by_side(next_release: Path, newer: RecordType, tmp_path: Path) -> None:
    """Every event is stored once, whichever sink has it; the new column is filled by those that know it."""
    draw = random.Random(9)
    clickhouse = FailingClickHouse(tmp_path / "clickhouse")
    clickhouse.start()
    with servers.embedded_kafka() as kafka:
        pipeline, warehouse = Pipeline(kafka, PARTITIONS), Warehouse(load(clickhouse=clickhouse.address))
        worker = Worker(kafka, tmp_path).start()
        old = SinkProcess(kafka, clickhouse.address, tmp_path).start()
        new = SinkProcess(kafka, clickhouse.address, tmp_path, 1, next_release)
        stack = Whole(kafka, clickhouse, pipeline, warehouse, worker, old)
        try:
            pipeline.ingest(_events(draw, 0, 200))
            stack.audit()
            produce(
                kafka, CONTROL_SCHEMAS.name, [(newer.latest.header[2:].hex().encode(), json.dumps(EVENT_2).encode())]
            )
            pipeline.ingest(_events(draw, 200, 200), newer.encode)  # the old sink, alone, is sent the new events
            stack.audit()
            Migrator(warehouse.client, "sluice", migrations=migrations(next_release / "sinks" / "migrations")).run()
            new.start()
            until(lambda: new.ready() and old.ready(), 60, [new.log, old.log])
            for n in range(4):  # and both of them both
                pipeline.ingest(_events(draw, 400 + 200 * n, 100), newer.encode)
                pipeline.ingest(_events(draw, 500 + 200 * n, 100))
            stack.audit()
            assert new.metric("sluice_sink_rows_total") > 0
            assert old.metric("sluice_sink_rows_total") > 0
            assert old.stop() == 0
            pipeline.ingest(_events(draw, 1200, 200))  # the new sink stores old events, and every field of the new ones
            pipeline.ingest(_events(draw, 1400, 200), newer.encode)
            found = stack.audit()
            assert (found["ingested"], found["dead_letters"], found["later_stages"]) == (1600, 0, {})
            code, deep, printed = stack.sluice("audit", "--deep", "--json")  # of the old release, on events of both
            assert (code, deep and deep["differences"]) == (0, []), printed
            assert new.stop() == 0
            begun = T0 + 1200 * 200
            rows = warehouse.rows(
                "SELECT channel, count() AS c FROM events_rows FINAL"
                " WHERE received_at >= fromUnixTimestamp64Milli({begun:Int64}) GROUP BY channel",
                begun=begun,
            )
            stored = {row["channel"]: row["c"] for row in rows}
            accepted = [newer.decode(record.value or b"") for record in pipeline.records(EVENTS)]
            assert stored == Counter(each["channel"] for each in accepted if each["received_at"] >= begun)
            assert stored["web"] > 100
        finally:
            old.kill()
            new.kill()
            worker.stop()
            warehouse.client.close()
            clickhouse.stop()
