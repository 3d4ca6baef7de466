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

from runtime.agent import Record
from runtime.letters import dead_letter
from runtime.settings import load
from schemas.topics import DEAD_LETTERS, INGEST_EVENTS
from tests import servers
from tests.kafka import produce_records
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
        done = self._run(arguments, variables)
        return done.returncode, _json(arguments, done.stdout), done.stdout + done.stderr

    def quietly(self, *arguments: str) -> tuple[int, Any, str]:
        """The same of a command that says nothing to stderr."""
        done = self._run(arguments, {})
        assert not done.stderr, done.stderr
        return done.returncode, _json(arguments, done.stdout), done.stdout

    def _run(self, arguments: tuple[str, ...], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        addresses = ["--kafka", self.kafka, "--clickhouse", self.clickhouse.address]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments, *addresses],
            capture_output=True, text=True, timeout=120, env=environment | variables, check=False,
        )  # fmt: skip

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

    def balance(self, wait: int = 0) -> dict[str, Any]:
        """What `sluice audit --json` says, whether it balances or not; its exit code is checked."""
        code, found, _ = self.quietly("audit", "--json", "--wait", str(wait))
        assert code == (0 if found["balanced"] else 1)
        print(found)  # shown where a test fails
        return found  # type: ignore[no-any-return]

    def settled(self) -> dict[str, Any]:
        """The audit once everything is stored, bets, sessions and attributions too; it must balance."""
        return until(lambda: (found := self.balance(60))["balanced"] and found["derived"] == {} and found, 90)  # type: ignore[no-any-return]

    def bury(self, stage: str, found: dict[str, Any], value: bytes = b"x") -> None:
        """A dead letter of the event in a row of `events`."""
        record = Record(INGEST_EVENTS.name, found["ingest_partition"], found["ingest_offset"], 1, None, value)
        key, letter = dead_letter(stage, record, found["ingest_log"], ValueError("x"))
        before = self.count("dead_letters", "1")
        produce_records(self.kafka, [(DEAD_LETTERS.name, 0, key, letter, [])])
        until(lambda: self.count("dead_letters", "1") == before + 1, 60)

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


def _json(arguments: tuple[str, ...], printed: str) -> Any:
    return json.loads(printed) if "--json" in arguments and printed else None


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
