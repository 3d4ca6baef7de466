"""The official images behind the fixtures that every test uses. Runs with --containers and a Docker engine only."""

import clickhouse_connect
import pytest

from tests.kafka import create_topics, produce, read_all


@pytest.mark.containers
def test_the_fixtures_are_the_official_servers(
    kafka: str, clickhouse: str, namespace: str, uses_containers: bool
) -> None:
    assert uses_containers
    create_topics(kafka, [namespace], 1)
    produce(kafka, namespace, [(b"k", b"v")])
    assert [record.value for record in read_all(kafka, namespace)] == [b"v"]
    with clickhouse_connect.get_client(dsn=clickhouse.replace("http://", "clickhouse://")) as client:
        assert client.command("SELECT count() > 0 FROM system.build_options") == 1
