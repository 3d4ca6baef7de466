"""The embedded Kafka: durable, on loopback only, gone with its parent, and plain about what stops it."""

import shutil
import signal
import socket
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from embedded.kafka import Cluster, Kafka
from embedded.place import PlaceError, free_port
from embedded.server import StartError
from schemas.topics import MAX_MESSAGE_BYTES
from tests.kafka import create_topics, in_step, produce, read_all
from tests.sinks import until

RECORDS = [(b"key-%d" % n, b"value-%d" % n) for n in range(1000)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Kafka]:
    server = Kafka(tmp_path / "kafka")
    yield server
    server.kill()


def test_keeps_acknowledged_records_over_sigkill(server: Kafka) -> None:
    server.start()
    create_topics(server.address, ["t"], 2)
    produce(server.address, "t", RECORDS)
    server.kill()
    server.start()
    assert {(record.key, record.value) for record in read_all(server.address, "t")} == set(RECORDS)


def test_starts_again_after_a_format_that_was_cut_off(server: Kafka) -> None:
    server.start()
    server.kill()
    (server.folder / "data" / "meta.properties").unlink()
    server.start()
    assert server.brokers() == {1}


def test_keeps_all_it_has_in_its_folder_whatever_its_name_and_the_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what a former release had put into a folder beside it."""
    monkeypatch.setenv("LC_ALL", "C")
    home = tmp_path / "J\u00f6rg \u65e5\u672c \U0001f3b0 \\new"
    with Kafka(home / "kafka") as server:
        create_topics(server.address, ["t"], 1)
        produce(server.address, "t", RECORDS)
    assert list(tmp_path.iterdir()) == [home]
    misread = tmp_path / home.name.encode().decode("latin-1") / "kafka" / "data"
    misread.parent.mkdir(parents=True)
    (home / "kafka" / "data").rename(misread)
    with Kafka(home / "kafka") as server:
        assert {(record.key, record.value) for record in read_all(server.address, "t")} == set(RECORDS)
    assert not misread.exists()


def test_a_folder_with_a_comma_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=r"^Kafka takes the comma in .*: use another folder\.$"):
        Kafka(tmp_path / "a,b").start()


def test_stops_in_order_and_gives_folder_and_port_back(server: Kafka) -> None:
    server.start()
    process = server.process
    assert process is not None
    server.stop()
    assert process.returncode == 128 + signal.SIGTERM  # the JVM's own way to end after its shutdown hooks
    server.start()
    server.stop()


def test_listens_on_loopback_only(server: Kafka) -> None:
    server.start()
    assert server.process is not None
    listening = [
        c.laddr.ip.removeprefix("::ffff:")
        for c in psutil.Process(server.process.pid).net_connections("inet")
        if c.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert set(listening) == {"127.0.0.1"}


def test_takes_a_record_of_nearly_eight_mebibytes(
    kafka: str, namespace: str, create_topics: Callable[..., None]
) -> None:
    create_topics([namespace], 1, max_message_bytes=str(MAX_MESSAGE_BYTES))
    value = b"x" * (MAX_MESSAGE_BYTES - 4096)
    produce(kafka, namespace, [(None, value)])
    assert [len(record.value) for record in read_all(kafka, namespace)] == [len(value)]


def test_a_folder_in_use_is_refused(server: Kafka) -> None:
    server.start()
    second = Kafka(server.folder)
    second._claim_wait = 0
    with pytest.raises(PlaceError, match=r"^The data folder .* is in use by another process \(pid \d+\)\.$"):
        second.start()
    assert server.brokers() == {1}


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port()))
        other.listen()
        port = other.getsockname()[1]
        server = Kafka(tmp_path, port)
        with pytest.raises(PlaceError, match=rf"^Port {port} for Kafka is taken .* --kafka-port\.$"):
            server.start()


def test_too_little_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 40, 1 << 40, 1 << 20))
    with pytest.raises(PlaceError, match=r"^Too little disk space for .*: 1 MiB are free, 256 MiB are needed"):
        Kafka(tmp_path).start()


def test_a_broken_configuration_shows_the_log(tmp_path: Path) -> None:
    server = Kafka(tmp_path, settings={"num.io.threads": "0"})
    with pytest.raises(StartError, match=r"num\.io\.threads"):
        server.start()
    assert server.process is None


PARENT = """
import sys
from pathlib import Path
from embedded.kafka import Kafka
server = Kafka(Path(sys.argv[1]))
server.start()
print(server.process.pid, flush=True)
sys.stdin.read()
"""


def test_ends_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
    child.wait(timeout=30)
    again = Kafka(tmp_path)  # the claim went with the processes
    again.start()
    again.kill()


@pytest.mark.slow
def test_three_brokers_lose_nothing_when_one_is_killed_and_one_frozen(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        create_topics(cluster.address, ["t"], 3, 3, min_insync_replicas="2")
        produce(cluster.address, "t", RECORDS[:300])
        cluster.brokers[0].kill()
        produce(cluster.address, "t", RECORDS[300:600])
        cluster.brokers[0].start()
        until(lambda: in_step(cluster.address, 3), 60)  # else no two would be left to acknowledge
        cluster.brokers[1].freeze()
        until(lambda: 2 not in cluster.brokers[2].brokers(), 60)
        produce(cluster.address, "t", RECORDS[600:])
        cluster.brokers[1].thaw()
        # The one that wakes up takes itself for a leader for a moment, and knows nothing of what came meanwhile.
        until(lambda: {(record.key, record.value) for record in read_all(cluster.address, "t")} == set(RECORDS), 60)
