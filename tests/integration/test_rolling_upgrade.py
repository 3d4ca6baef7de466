"""A release whose events have a field more, rolled out worker by worker on real Kafka, while both kinds of event come.

The next release is a copy of the tree with ``event.2.avsc``, whose new field has a default. Its producers write by that
schema; who has not got it learns it from control.schemas, where it is published first.
"""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas import registry
from schemas.evolution import RELEASED, checksum, present
from schemas.registry import EVENT, RecordType, Version
from schemas.topics import CONTROL_SCHEMAS, EVENTS, INGEST_EVENTS
from tests import servers
from tests.faults.test_streams import traffic
from tests.integration.test_new import NOT_SOURCE, ROOT
from tests.kafka import produce
from tests.property.test_agents import check
from tests.sinks import until
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
