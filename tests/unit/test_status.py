"""How `sluice status` asks servers that are not its own."""

from typing import Any

import pytest

from cli import reach, status
from cli.stack import Role


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("one", [("one", 9092)]),
        ("one:19092,two:29092", [("one", 19092), ("two", 29092)]),
        ("[::1]:9092", [("::1", 9092)]),
    ],
)
def test_any_broker_of_an_outside_kafka_will_do(
    address: str, asked: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def brokers_at(host: str, port: int) -> set[int]:
        found.append((host, port))
        return {1} if (host, port) == asked[-1] else set()

    monkeypatch.setattr(reach, "brokers_at", brokers_at)
    assert status.state_of(Role("kafka", "outside", address=address)) == "up"
    assert found == asked


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("http://house", ("house", 8123, "/ping", False)),
        ("https://house", ("house", 8443, "/ping", True)),
        ("https://house:9000", ("house", 9000, "/ping", True)),
    ],
)
def test_an_outside_clickhouse_is_asked_where_it_is_used(
    address: str, asked: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "answers", lambda *given: given == asked)
    assert status.state_of(Role("clickhouse", "outside", address=address)) == "up"
