"""Real sink processes on a real Kafka and ClickHouse, and what tests do with them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from clickhouse_connect.driver.client import Client

from embedded.clickhouse import ClickHouse
from embedded.place import LOOPBACK, free_port
from runtime.settings import Settings, load
from sinks.batch import store
from sinks.clickhouse import connect
from sinks.copies import Copier
from sinks.copying import touched
from sinks.feed import Feed
from sinks.feeds import feeds
from sinks.migrate import Migrator
from sinks.writer import BadRow, Writer, columns_of

SESSION = 4
"""Seconds after which the group gives away what a sink had that is gone for good. (A member with a name does not leave,
so that it has its partitions again at once when it comes back: runtime/app.py.)"""


class Warehouse:
    """A migrated database and the sink's own way into it, without Kafka."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        setup = connect(settings, database=False)
        Migrator(setup, settings.clickhouse_database).run()
        setup.close()
        self.client: Client = connect(settings)
        self.feeds: dict[str, Feed] = {
            feed.topic.name: feed for feed in feeds(columns_of(self.client, settings.clickhouse_database), settings)
        }
        self.writer = Writer(self.client)
        self.copier = Copier(self.client)

    def store(self, records: Sequence[Any], decoded: bool = False) -> list[BadRow]:
        """Inserts records of one topic as the sink does; ``decoded``, by the column."""
        feed = self.feeds[records[0].topic]
        _, bad = store(feed, records, self.writer, learnt=True, decoded=decoded)
        self.copier.copy(touched(feed, records))
        return bad

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """A query's rows by column name."""
        found = self.client.query(sql, parameters=parameters)
        return [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]

    def value(self, sql: str) -> Any:
        """A query's only value."""
        ((found,),) = self.client.query(sql).result_rows
        return found

    def drop(self) -> None:
        """Removes the database."""
        self.client.command(f"DROP DATABASE IF EXISTS {self.settings.clickhouse_database} SYNC")
        self.client.close()


@contextmanager
def warehouse(clickhouse: str, database: str) -> Iterator[Warehouse]:
    """A warehouse in a database of its own, which goes with it."""
    found = Warehouse(load(clickhouse=clickhouse, clickhouse_database=database))
    try:
        yield found
    finally:
        found.drop()


class SinkProcess:
    """`sluice sink` as a process of its own; ``settings`` are those of runtime/settings.py."""

    def __init__(
        self, kafka: str, clickhouse: str, folder: Path, slot: int = 0, tree: Path | None = None, **settings: Any
    ) -> None:
        """``tree`` is the checkout of another release."""
        self.port, self.folder, self._tree = free_port(), folder, tree
        self.log = folder / f"sink-{slot}.log"
        given = {"kafka": kafka, "clickhouse": clickhouse, "data_dir": folder, "sink_port": self.port, "slot": slot}
        given["session_timeout"] = SESSION
        own = {f"SLUICE_{name.upper()}": str(value) for name, value in (given | settings).items()}
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")} | own
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "SinkProcess":
        """Starts it, without waiting."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.sink"], env=self._environment, stdout=log, stderr=log, cwd=self._tree
            )
        return self

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to it."""
        assert self.process is not None
        self.process.send_signal(number)

    def ready(self) -> bool:
        """Whether it has its partitions and stores."""
        try:
            return httpx.get(f"http://{LOOPBACK}:{self.port}/ready", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        lines = httpx.get(f"http://{LOOPBACK}:{self.port}/metrics", timeout=30).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + "{", name + " ")))

    def memory(self) -> int:
        """Resident bytes."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self, limit: float = 90) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(limit)

    def wait(self, limit: float = 60) -> int:
        """The exit code once it ends by itself."""
        assert self.process is not None
        return self.process.wait(limit)


class FailingClickHouse(ClickHouse):
    """An embedded ClickHouse that fails when it is told to (embedded/clickhouse/faults.py)."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, free_port(), faults=True)

    def fail(self, **fault: Any) -> None:
        """Adds a fault."""
        httpx.post(f"{self.address}/_fault", json=fault, timeout=30).raise_for_status()

    def faults(self) -> list[dict[str, Any]]:
        """Those that have not struck as often as they are to."""
        return httpx.get(f"{self.address}/_fault", timeout=30).json()  # type: ignore[no-any-return]

    def mend(self) -> None:
        """Takes all faults away."""
        httpx.delete(f"{self.address}/_fault", timeout=30).raise_for_status()


def until(condition: Callable[[], Any], limit: float = 60, logs: Sequence[Path] = ()) -> Any:
    """What the condition gives once it is true. Raises AssertionError with the ends of ``logs``."""
    deadline = time.monotonic() + limit
    while not (found := condition()):
        if time.monotonic() > deadline:
            said = "\n".join(path.read_text()[-3000:] for path in logs if path.exists())
            raise AssertionError(f"not within {limit} s:\n{said}")
        time.sleep(0.05)
    return found
