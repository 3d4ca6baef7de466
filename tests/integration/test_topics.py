"""`sluice topics` on a real Kafka: creates what is missing, says what differs, changes nothing unasked."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from cli.topics import all_topics
from embedded.kafka import Kafka
from runtime.settings import Settings, load
from runtime.topics import Found, Topics
from schemas.topics import CONTROL_KEYS, INGEST_EVENTS, MAX_MESSAGE_BYTES, Topic
from tests.kafka import create_topics, partitions_of, run


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Kafka of its own: the names of topics are fixed."""
    with Kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server.address


def _sluice(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    output = capsys.readouterr()
    return int(ended.value.code or 0), output.out + output.err


def test_creates_checks_and_refuses(broker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("topics", "--kafka", broker, "--data-dir", str(tmp_path), "--partitions", "3")
    code, output = _sluice(capsys, *common, "--check", "--json")
    assert code == 1
    assert {row["state"] for row in json.loads(output)["topics"]} == {"missing"}

    code, output = _sluice(capsys, *common, "--json")
    rows = {row["topic"]: row for row in json.loads(output)["topics"]}
    assert code == 0
    assert set(rows) == {topic.name for topic in all_topics(load())}
    assert {row["state"] for row in rows.values()} == {"created"}
    assert (rows["ingest.events"]["partitions"], rows["control.keys"]["partitions"]) == (3, 1)
    assert run(lambda: partitions_of(broker, "ingest.events")) == [0, 1, 2]

    code, output = _sluice(capsys, *common)
    assert (code, output.count(" ok\n"), "created" in output) == (0, len(rows), False)

    code, output = _sluice(capsys, *common[:-1], "4")
    assert code == 1
    assert "has 3 partitions, not 4, and the count cannot be changed" in output
    code, output = _sluice(capsys, *common[:-1], "4", "--apply")
    assert code == 1
    assert run(lambda: partitions_of(broker, "ingest.events")) == [0, 1, 2]


def test_corrects_other_settings_only_when_asked(broker: str, namespace: str) -> None:
    settings = load(kafka=broker, partitions=2)
    short = Topic(namespace, None, "a test's", retention=1000)
    config: Any = short.config() | {"min.insync.replicas": "1"}
    create_topics(broker, [namespace], 2, **config)
    longer = Topic(namespace, None, "a test's", retention=2000)

    def ensure(apply: bool) -> Found:
        (found,) = asyncio.run(Topics([longer], settings).ensure(apply))
        return found

    assert (ensure(False).state, ensure(False).faults) == ("differs", ["retention.ms is 1000, not 2000"])
    assert ensure(True).state == "changed"
    assert ensure(False).state == "ok"


def test_two_at_once_make_one_set_of_topics(broker: str, namespace: str) -> None:
    settings = load(kafka=broker, partitions=2)
    topics = [Topic(f"{namespace}-{n}", None, "a test's") for n in range(5)]

    async def both() -> list[Any]:
        return await asyncio.gather(*(Topics(topics, settings).ensure() for _ in range(2)))

    for found in run(both):
        assert all(item.state in ("created", "ok") for item in found)


def test_every_topic_is_as_the_specification_says() -> None:
    settings: Settings = load()
    topics = Topics(all_topics(settings), settings)
    for topic in all_topics(settings):
        config = topics.config(topic)
        assert config["max.message.bytes"] == str(MAX_MESSAGE_BYTES)
        stamped = "CreateTime" if topic is INGEST_EVENTS else "LogAppendTime"
        assert config["message.timestamp.type"] == stamped
    assert topics.config(CONTROL_KEYS)["cleanup.policy"] == "compact"
    assert topics.config(INGEST_EVENTS)["retention.ms"] == str(30 * 24 * 60 * 60 * 1000)


def test_a_kafka_that_is_away_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = _sluice(capsys, "topics", "--kafka", "127.0.0.1:1", "--data-dir", str(tmp_path))
    assert code == 1
    assert output.startswith("Kafka at 127.0.0.1:1 does not answer: ")
