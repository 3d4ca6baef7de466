"""One run of our agents over a filled topic: python -m bench.streams.ours BROKER EVENTS AGENT,AGENT|all PARTITIONS

Prints a JSON object: events/s from the first record's step to the last's durable state, and CPU seconds per million
events in that span. The state and the group are new; exactness, changelogs and origins are on, as in production.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import uvloop

from runtime import logs, memory
from runtime.settings import load
from runtime.step import Result
from runtime.worker import Worker
from streams.agents import exact_agents

QUIET = 1.0
"""Seconds without a batch after which nothing more comes through the later hops."""


class Meter:
    """Takes the place of the worker's metrics."""

    def __init__(self) -> None:
        self.handled: dict[str, int] = {}
        self.first = self.last = self.cpu = self.cpu_first = 0.0

    def __call__(self, agent: str, _: int, result: Result, seconds: float) -> None:
        self.last, self.cpu = time.perf_counter(), time.process_time()
        if not self.first:
            self.first, self.cpu_first = self.last - seconds, self.cpu - seconds
        self.handled[agent] = self.handled.get(agent, 0) + result.read


async def main(broker: str, events: int, which: str, partitions: int) -> None:
    settings = load(kafka=broker, data_dir=Path(tempfile.mkdtemp(prefix="sluice-bench-")), partitions=partitions)
    agents = [agent for agent in exact_agents(settings) if which == "all" or agent.name in which.split(",")]
    worker, meter = Worker(agents, settings, group=f"bench-{uuid4().hex}"), Meter()
    worker._tools.observe = meter
    await worker.connect()
    await worker.start()
    while meter.handled.get("dedup", 0) < events:
        await asyncio.sleep(0.01)
        if worker.failed.done():
            worker.failed.result()
    while len(agents) > 1 and time.perf_counter() - meter.last < QUIET:
        await asyncio.sleep(0.1)
    seconds, cpu = meter.last - meter.first, meter.cpu - meter.cpu_first
    print(json.dumps({"rate": events / seconds, "cpu": cpu / events * 1e6}), flush=True)
    os._exit(0)  # what remains is only to leave the group


if __name__ == "__main__":
    logs.configure("warning", "text")
    memory.settle()
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
