"""Plain Faust agents in the worker of the exact ones, on real Kafka: they get every event, their table survives a kill,
their commits are theirs, and the others stay exact."""

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faust
import httpx
import pytest

from cli.main import main
from cli.topics import all_topics
from embedded.place import LOOPBACK
from runtime.plain import PlainWorker, decoded
from runtime.settings import load
from schemas.registry import EVENT
from schemas.topics import EVENTS
from streams.plain import plain_agents, velocity
from tests import servers
from tests.events import T0, event
from tests.faults.test_streams import traffic
from tests.kafka import create_topics, read_all
from tests.property.test_agents import check
from tests.sinks import until
from tests.workers import Pipeline, Worker

PARTITIONS = 4
SETTINGS: dict[str, Any] = {
    "partitions": PARTITIONS, "session_timeout": 10, "session_gap": 60, "lateness": 600, "dedup_window": 1000,
    "attribution_window": 100, "plain": "velocity,pulse",
}  # fmt: skip


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    with servers.embedded_kafka() as kafka:
        yield Pipeline(kafka, PARTITIONS)


def metric(worker: Worker, name: str) -> float:
    lines = httpx.get(f"http://{LOOPBACK}:{worker.port}/metrics", timeout=30).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))


def deposit(n: int, player: str = "often") -> dict[str, Any]:
    return event(event_name="deposit", event_time=T0 + n * 1000, player_id=player, nth=n, amount=5, currency="USD")


@pytest.mark.slow
def test_plain_agents_work_beside_the_exact_ones(pipeline: Pipeline, tmp_path: Path) -> None:
    names = [topic.name for agent in plain_agents(load(plain="velocity")) for topic in agent.changelogs()]
    create_topics(pipeline.kafka, names, PARTITIONS, cleanup_policy="compact")
    draw = random.Random(3)
    ordinary = [each for n in range(3000) if (each := traffic(draw, n))["event_name"] != "deposit"]
    worker = Worker(pipeline.kafka, tmp_path, **SETTINGS).start()
    try:
        pipeline.ingest(ordinary[:1500] + [deposit(n) for n in range(velocity.DEPOSITS - 1)])
        pipeline.await_done([worker])
        until(lambda: not pipeline.lag("plain", [EVENTS.name]), 120, [worker.log])
        stored = len(read_all(pipeline.kafka, EVENTS.name))
        until(lambda: metric(worker, "sluice_agent_plain_events_total") >= stored)  # at least once
        assert metric(worker, "sluice_agent_plain_alerts_total") == 0
        worker.kill()  # what the table knows of the player is in its changelog alone
        pipeline.ingest([*ordinary[1500:], deposit(velocity.DEPOSITS - 1)])
        worker.start()
        pipeline.await_done([worker])
        until(lambda: not pipeline.lag("plain", [EVENTS.name]), 120, [worker.log])
        more = len(read_all(pipeline.kafka, EVENTS.name)) - stored
        until(lambda: metric(worker, "sluice_agent_plain_events_total") >= more)  # Faust may commit what is under way
        until(lambda: metric(worker, "sluice_agent_plain_alerts_total") >= 1)
        assert worker.stop() == 0
    finally:
        worker.kill()
    check(pipeline)


@pytest.mark.slow
def test_a_plain_agent_that_fails_is_alone(pipeline: Pipeline, tmp_path: Path) -> None:
    """The changelog of its table is not there, so it gets nowhere; the exact agents do not notice."""
    worker = Worker(pipeline.kafka, tmp_path, **SETTINGS | {"plain": "velocity"}).start()
    draw = random.Random(4)
    try:
        pipeline.ingest([traffic(draw, n) for n in range(500)])
        pipeline.await_done([worker])
        assert pipeline.lag("plain", [EVENTS.name])
        assert worker.stop() == 0
    finally:
        worker.kill()
    check(pipeline)


def test_a_hint_takes_so_many_in_so_short_a_time() -> None:
    times: list[int] = []
    for n in range(velocity.DEPOSITS):
        times = velocity.often(times, T0 + n)
    assert len(times) == velocity.DEPOSITS
    assert len(velocity.often(times, T0 + n + 1)) == velocity.DEPOSITS
    assert velocity.often(times, T0 + velocity.WITHIN + n) == [T0 + velocity.WITHIN + n]


def test_its_topics_are_known_and_its_name_is_checked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["topics", "--data-dir", str(tmp_path), "--kafka", "localhost:1", "--plain", "nobody"])
    assert ended.value.code == 2
    assert "there is no plain agent 'nobody'; there are pulse, velocity" in capsys.readouterr().err
    names = [topic.name for topic in all_topics(load(plain="velocity,pulse"))]
    assert [name for name in names if name.startswith("plain")] == ["plain-deposits-changelog"]


class Count(faust.Record):
    """A model of an agent's own, as Faust's documentation writes one."""

    name: str
    events: int


def test_what_it_sends_is_as_faust_says(tmp_path: Path) -> None:
    """JSON in a topic of its own, also of a model; in one of ours, where group_by sends it again, Avro."""

    def sent(topic: Any, value: Any) -> Any:
        return topic.prepare_value(value, None)[0]

    async def made() -> tuple[Any, ...]:
        app = PlainWorker([], load(data_dir=tmp_path, kafka=f"{LOOPBACK}:1"))._made()
        own = app.topic("counts", value_type=Count)
        return (
            sent(own, Count(name="bet", events=2)),
            sent(app.topic("any"), [1]),
            sent(decoded(app, EVENTS), deposit(1)),
        )

    model, value, again = asyncio.run(made())
    assert json.loads(model) == {"name": "bet", "events": 2, "__faust": {"ns": Count._options.namespace}}
    assert json.loads(value) == [1]
    assert EVENT.decode(again) == deposit(1)
