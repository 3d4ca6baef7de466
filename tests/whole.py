"""Everything but the gateway, as processes on a real Kafka and ClickHouse, and the `sluice` command on it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.settings import load
from tests import servers
from tests.sinks import FailingClickHouse, SinkProcess, Warehouse, until
from tests.workers import Pipeline, Worker


@dataclass
class Whole:
    """The stack."""

    kafka: str
    clickhouse: FailingClickHouse
    pipeline: Pipeline
    warehouse: Warehouse
    worker: Worker
    sink: SinkProcess

    def sluice(self, *arguments: str, **variables: str) -> tuple[int, Any, str]:
        """Exit code, JSON of what was printed where it was asked for, and all that was printed."""
        addresses = ["--kafka", self.kafka, "--clickhouse", self.clickhouse.address]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments, *addresses],
            capture_output=True, text=True, timeout=120, env=environment | variables, check=False,
        )  # fmt: skip
        found = json.loads(done.stdout) if "--json" in arguments and done.stdout else None
        return done.returncode, found, done.stdout + done.stderr

    def dlq(self, *arguments: str) -> Any:
        """JSON of a `sluice dlq` command that succeeds."""
        code, found, printed = self.sluice("dlq", *arguments, "--json")
        assert code == 0, printed
        return found

    def audit(self) -> dict[str, Any]:
        """The balance, which must hold."""
        code, found, printed = self.sluice("audit", "--json", "--wait", "60")
        logs = self.worker.log.read_text()[-1500:] + self.sink.log.read_text()[-1500:]
        assert (code, found["balanced"]) == (0, True), (printed, logs)
        return found  # type: ignore[no-any-return]

    def letters(self, count: int, *filters: str) -> list[dict[str, Any]]:
        """The letters that the filters find, once there are so many."""
        stored, found = self._stored(), self.dlq("list", *filters)["letters"]
        while len(found) < count:  # the command is started again once there is something new: it takes a second
            until(lambda: self._stored() != stored, 60, [self.worker.log, self.sink.log])  # noqa: B023 - of this round
            stored, found = self._stored(), self.dlq("list", *filters)["letters"]
        assert len(found) == count
        return found  # type: ignore[no-any-return]

    def _stored(self) -> list[dict[str, Any]]:
        """What changes with every letter, and with its fate."""
        return self.warehouse.rows("SELECT count(), max(stored_at), max(decided_at) FROM dead_letters")

    def change(self, poisoned: str) -> None:
        """The worker ends, and begins anew with other agents poisoned."""
        assert self.worker.stop() == 0
        self.worker.start(poisoned)

    def count(self, table: str, where: str) -> int:
        """Rows of a view."""
        return int(self.warehouse.value(f"SELECT count() FROM {table} WHERE {where}"))


@contextmanager
def whole(folder: Path, poisoned: str = "") -> Iterator[Whole]:
    """A stack of its own; agents named in ``poisoned`` fail on b"poison" (tests/poison.py)."""
    clickhouse = FailingClickHouse(folder / "clickhouse")
    clickhouse.start()
    with servers.embedded_kafka() as kafka:
        pipeline = Pipeline(kafka, 2)
        warehouse = Warehouse(load(clickhouse=clickhouse.address))
        worker, sink = Worker(kafka, folder), SinkProcess(kafka, clickhouse.address, folder)
        try:
            worker.start(poisoned)
            sink.start()
            yield Whole(kafka, clickhouse, pipeline, warehouse, worker, sink)
        finally:
            sink.stop()
            worker.stop()
            warehouse.client.close()
            clickhouse.stop()
