"""The servers that the tests use: the embedded ones, or with ``--containers`` the official images."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.clickhouse import ClickHouse
from embedded.kafka import Kafka
from embedded.place import LOOPBACK, free_port
from schemas.topics import MAX_MESSAGE_BYTES

KAFKA_IMAGE = "apache/kafka:4.3.0"
CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:26.9"
START_LIMIT = 120.0


@contextmanager
def embedded_kafka() -> Iterator[str]:
    """The bootstrap address of a Kafka of its own, whose folder goes with it."""
    with tempfile.TemporaryDirectory(prefix="sluice-kafka-") as folder:
        server = Kafka(Path(folder))
        try:
            server.start()
            yield server.address
        finally:
            server.stop()


@contextmanager
def kafka_container() -> Iterator[str]:
    """The same from the official image: the port is chosen before, since Kafka has to tell its clients of it."""
    from testcontainers.core.container import DockerContainer

    port = free_port()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{LOOPBACK}:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_MESSAGE_MAX_BYTES": str(MAX_MESSAGE_BYTES),
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    }
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(9092, port)
    for name, value in settings.items():
        container = container.with_env(name, value)
    with container:
        await_port(port)
        yield f"{LOOPBACK}:{port}"


@contextmanager
def embedded_clickhouse() -> Iterator[str]:
    """The URL of a ClickHouse of its own, whose folder goes with it."""
    with tempfile.TemporaryDirectory(prefix="sluice-clickhouse-") as folder:
        server = ClickHouse(Path(folder))
        try:
            server.start()
            yield server.address
        finally:
            server.stop()


@contextmanager
def clickhouse_container() -> Iterator[str]:
    """The same from the official image, open without a password as the embedded one is."""
    from testcontainers.core.container import DockerContainer

    port = free_port()
    container = (
        DockerContainer(CLICKHOUSE_IMAGE).with_bind_ports(8123, port).with_env("CLICKHOUSE_SKIP_USER_SETUP", "1")
    )
    with container:
        await_port(port)
        yield f"http://{LOOPBACK}:{port}"


def await_port(port: int, limit: float = START_LIMIT) -> None:
    """Returns when something listens on ``port``; raises TimeoutError after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while True:
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing listens on port {port}") from None
            time.sleep(0.1)
        else:
            return


def has_docker() -> bool:
    """Whether a Docker engine answers."""
    ping = [sys.executable, "-c", "import docker; docker.from_env().ping()"]  # apart: it leaks a socket where it fails
    return subprocess.run(ping, capture_output=True, timeout=START_LIMIT, check=False).returncode == 0
