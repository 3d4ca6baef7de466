"""What commands refuse before they do anything, and what they say of a Kafka or ClickHouse that cannot answer."""

import asyncio
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock
from uuid import UUID

import pytest
from aiokafka.errors import KafkaConnectionError, UnknownTopicOrPartitionError
from clickhouse_connect.driver.exceptions import DatabaseError

from cli import dlq, migrate, redelivery, topics
from cli.main import main
from runtime import logs, memory
from runtime.settings import load
from runtime.table import Table, TableError
from sinks.letters import Filter, Letters
from sinks.migrate import Migrator
from streams.plain import plain_agents

ID = UUID(int=7)


@pytest.fixture(autouse=True)
def stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A role sets up its process, which here is that of all tests: logs would go to this test's standard error."""
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.setattr(memory, "settle", lambda *_: None)


@pytest.fixture
def abroad(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose time is not UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "given",
    [
        ["forget", "--player", ""],
        ["forget", "--player", "p", "--tenant", ""],
        *(["forget", "--player", "p", "--wait", wait] for wait in ("-1", "nan", "inf", "x")),
        *(["dlq", "discard", name, "", "--tenant", "acme"] for name in ("--stage", "--topic", "--error")),
        ["dlq", "list", "--limit", "-1"],
        ["dlq", "replay", "--limit", "-5", "--all"],
        ["dlq", "discard", "--limit", "0", "--all"],
        ["trace", ""],
        ["trace", "\udcff"],
        ["forget", "--player", "\udcff"],
        *(["dlq", "replay", "--all", name, "\udcff"] for name in ("--tenant", "--error", "--reason", "--by")),
        ["dlq", "list", "--since", "0001-01-01T00:00:00+05:00"],
        *(["send", "--tenant", tenant, "x"] for tenant in ("", "\udcff", "a\nb")),
        *(["send", "--key", key, "x"] for key in ("", "\udcff", "a\nb")),
        *(["replay", "sessions", "--limit", limit] for limit in ("-1", "nan", "inf")),
    ],
)
def test_what_nobody_means_is_refused(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("dlq", "forget", "replay", "send", "trace"):
        monkeypatch.setattr(f"cli.{module}.run", lambda *_, **__: pytest.fail("it was run"))
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    assert "error: argument " in capsys.readouterr().err


def test_a_filter_that_is_given_holds() -> None:
    assert Filter(stage="", tenant="acme").given == {"stage": "", "tenant": "acme"}
    assert Filter(tenant="").sql() == "ifNull(tenant, '') = {tenant:String}"
    assert Filter().given == {}


@pytest.mark.parametrize(("given", "taken"), [("0001-01-01", "1900-01-01"), ("9999-12-31T23:00:00", "2299-12-31")])
def test_a_time_outside_of_clickhouses_is_its_nearest(given: str, taken: str) -> None:
    assert dlq._time(given) == datetime.fromisoformat(taken).replace(tzinfo=UTC)


def test_times_of_letters_are_utc(abroad: None) -> None:
    naive = datetime(2026, 7, 1, 12, 0, 0, 123000)  # noqa: DTZ001 - as the client gives it
    found = SimpleNamespace(column_names=["timestamp", "decided_at"], result_rows=[(naive, None)])
    client: Any = SimpleNamespace(query=lambda *_, **__: found)
    (letter,) = Letters(client).find(Filter(), 1)
    assert letter == {"timestamp": naive.replace(tzinfo=UTC), "decided_at": None}
    assert Letters(client).replays(ID) == [letter]
    assert redelivery.millis(letter["timestamp"]) == 1782907200123


def test_why_a_named_letter_is_not_taken() -> None:
    done = {"fate": "discarded", "decided_at": datetime(2026, 7, 1, tzinfo=UTC), "decided_by": "anna"}
    waiting = Filter(fate="waiting")
    assert dlq._why(None, waiting) == "no dead letter has the id"
    assert dlq._why(done, waiting) == "it was discarded already, at 2026-07-01 00:00:00+00:00 by anna"
    assert dlq._why(done, Filter(fate="discarded")) == "another filter does not hold for it"
    assert dlq._why({"fate": "waiting"}, Filter(fate="replayed")) == "it waits for a decision"


def test_a_kafka_without_our_topics_is_said() -> None:
    settings = load(kafka="host:1")
    assert "`sluice topics` makes them" in topics.unreachable(settings, UnknownTopicOrPartitionError())
    assert (
        topics.unreachable(settings, KafkaConnectionError(""))
        == "Kafka at host:1 does not answer: KafkaConnectionError: "
    )


def test_a_topic_that_is_not_read_in_time_is_said() -> None:
    with pytest.raises(TableError, match=r"x cannot be read: TimeoutError\(\) \(`sluice topics --check`"):
        asyncio.run(Table("localhost:1", "x", lambda key, value, offset: None).refresh(0.01))


def test_migrations_that_clickhouse_refuses_are_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DatabaseError("READONLY")

    monkeypatch.setattr(migrate, "connect", lambda *_, **__: None)
    monkeypatch.setattr(Migrator, "run", refuse)
    assert migrate.run(load()) == 1
    assert "cannot answer: READONLY" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["up", "--detach"], ["gateway", "--gateway-port", "1"]])
def test_a_data_folder_that_cannot_be_is_said(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("gateway.http.HttpServer.start", AsyncMock())
    with pytest.raises(SystemExit) as ended:
        main([*given, "--data-dir", str(tmp_path / "file" / "data")])
    assert ended.value.code == 2
    assert re.search("^data_dir / SLUICE_DATA_DIR: .* cannot be used: Not a directory$", capsys.readouterr().err, re.M)


def test_an_agent_that_there_is_not_is_not_rebuilt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["worker", "--rebuild", "sesions", "--data-dir", str(tmp_path), "--kafka", "127.0.0.1:1"])
    assert ended.value.code == 2
    assert "rebuild / SLUICE_REBUILD: there is no agent 'sesions'; there are attribution, " in capsys.readouterr().err


def test_a_plain_agent_that_is_named_twice_runs_once() -> None:
    assert [agent.name for agent in plain_agents(load(plain="pulse,velocity,pulse"))] == ["pulse", "velocity"]
