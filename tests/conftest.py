"""Fixtures that every test may use. A session has one Kafka and one ClickHouse, on ports of their own."""

import functools
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests import servers
from tests.kafka import create_topics as create


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--containers", action="store_true", help="use the official images of Kafka and ClickHouse (needs Docker)"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--containers") and not servers.has_docker():
        config.stash[_missing] = "no Docker engine answers here"


_missing: pytest.StashKey[str] = pytest.StashKey()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--containers"):
        reason = "needs --containers (make test-containers)"
    else:
        reason = config.stash.get(_missing, "")
    for item in items:
        if reason and item.get_closest_marker("containers"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def uses_containers(pytestconfig: pytest.Config) -> bool:
    """Whether the servers come from the official images."""
    return bool(pytestconfig.getoption("--containers")) and _missing not in pytestconfig.stash


@pytest.fixture(scope="session")
def kafka(uses_containers: bool) -> Iterator[str]:
    """Bootstrap address of a Kafka that the whole session shares: use names of your own (``namespace``)."""
    with servers.kafka_container() if uses_containers else servers.embedded_kafka() as address:
        yield address


@pytest.fixture(scope="session")
def clickhouse(uses_containers: bool) -> Iterator[str]:
    """URL of a ClickHouse that the whole session shares: make a database of your own (``namespace``)."""
    with servers.clickhouse_container() if uses_containers else servers.embedded_clickhouse() as address:
        yield address


@pytest.fixture
def namespace() -> str:
    """A text that no other test has, for topics, groups, databases."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def create_topics(kafka: str) -> Callable[..., None]:
    """``create_topics(names, partitions=4, **config)`` on the shared Kafka."""
    return functools.partial(create, kafka)
