"""A Kafka with Sluice's own topics and a gateway on it, shared by the tests of this folder; tenants keep them apart."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.gateways import Gateway, gateway, standard_topics


@pytest.fixture(scope="session")
def broker(uses_containers: bool) -> Iterator[str]:
    with servers.kafka_container() if uses_containers else servers.embedded_kafka() as address:
        standard_topics(address)
        yield address


@pytest.fixture(scope="session")
def served(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(broker, tmp_path_factory.mktemp("gateway")) as one:
        yield one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
