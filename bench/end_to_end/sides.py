"""The two that are compared, each with servers of its own: `sluice up`, and the bare handler with the bare loop."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from clickhouse_connect.driver.client import Client

from embedded.place import LOOPBACK, free_port
from runtime.settings import load
from schemas.topics import INGEST_EVENTS
from sinks.clickhouse import connect
from sinks.spacers import LOG
from tests.kafka import create_topics
from tests.servers import await_port, embedded_clickhouse, embedded_kafka
from tests.stack import Stack

EVENTS = f"(SELECT received_at FROM events_rows WHERE ingest_log != {LOG})"
"""Without spacers."""


@dataclass
class Side:
    """One of both, running."""

    name: str
    url: str
    key: str
    client: Client
    table: str
    """Where its rows come to be."""
    processes: dict[str, psutil.Process]
    stack: Stack | None = None

    def seconds(self) -> dict[str, float]:
        """Processor time of each process so far."""
        times = {name: process.cpu_times() for name, process in self.processes.items()}
        return {name: float(each.user + each.system) for name, each in times.items()}

    def rows(self) -> int:
        """How many can be queried, without FINAL, so that asking costs next to nothing."""
        return int(self.client.command(f"SELECT count() FROM {self.table}"))  # type: ignore[arg-type]

    def received(self, since: float) -> list[int]:
        """When each event was received that came after ``since``, ascending; milliseconds since the epoch."""
        sql = f"""SELECT toUnixTimestamp64Milli(received_at) AS at FROM {self.table}
            WHERE at >= {{since:Int64}} ORDER BY at"""
        found = self.client.query(sql, parameters={"since": int(since * 1000)}).result_columns
        return list(found[0]) if found else []

    def audit(self) -> dict[str, object]:
        """What `sluice audit` says; nothing for the bare side, which has none."""
        if self.stack is None:
            return {}
        _, printed = self.stack.run("audit", "--json", "--wait", "90")
        return json.loads(printed)  # type: ignore[no-any-return]


@contextmanager
def ours() -> Iterator[Side]:
    """`sluice up` on a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        stack = Stack(Path(folder))
        try:
            code, said = stack.run("up", "--detach")
            if code:
                raise SystemExit(said)
            _, printed = stack.run("keys", "create", "--tenant", "bench", "--limit", "0", "--json")
            client = connect(load(clickhouse=f"http://{LOOPBACK}:{stack.clickhouse}"))
            url, key = f"http://{LOOPBACK}:{stack.gateway}", json.loads(printed)["key"]
            processes = {role: psutil.Process(row["pid"]) for role, row in stack.status().items()}
            yield Side("ours", url, key, client, EVENTS, processes, stack)
            client.close()
            stack.run("down")
        finally:
            stack.kill()


@contextmanager
def bare() -> Iterator[Side]:
    """bench/gateway/bare.py and bench/end_to_end/loop.py."""
    with ExitStack() as stack:
        kafka = stack.enter_context(embedded_kafka())
        clickhouse = stack.enter_context(embedded_clickhouse())
        create_topics(kafka, [INGEST_EVENTS.name], load().partitions)
        port = free_port()
        programs = (["bench.gateway.bare", kafka, str(port)], ["bench.end_to_end.loop", kafka, clickhouse])
        processes = {}
        for name, program in zip(("handler", "loop"), programs, strict=True):
            process = subprocess.Popen([sys.executable, "-m", *program])
            processes[name] = psutil.Process(process.pid)
            stack.callback(process.wait)
            stack.callback(process.kill)
        await_port(port)
        client = connect(load(clickhouse=clickhouse), database=False)
        stack.callback(client.close)
        client.database = "default"
        yield Side("bare", f"http://{LOOPBACK}:{port}", "", client, "bare_events", processes)
