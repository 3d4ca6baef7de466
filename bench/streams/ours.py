"""One run of our agents over a filled topic: python -m bench.streams.ours BROKER EVENTS AGENT,AGENT|all PARTITIONS
[WORKERS]

Prints a JSON object: events/s from the first record's step to the last's durable state, and CPU seconds per million
events in that span. The state and the group are new; exactness, changelogs and origins are on, as in production.
With more than one worker each is a process, as with ``sluice up --workers``, and the group's joining is in the span.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
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
    """Takes the place of the worker's metrics. Seconds; times by the machine's one monotonic clock."""

    def __init__(self) -> None:
        self.handled: dict[str, int] = {}
        self.first = self.last = self.cpu = self.cpu_first = 0.0

    def __call__(self, agent: str, _: int, result: Result, seconds: float) -> None:
        self.last, self.cpu = time.perf_counter(), time.process_time()
        if not self.first:
            self.first, self.cpu_first = self.last - seconds, self.cpu - seconds
        self.handled[agent] = self.handled.get(agent, 0) + result.read


async def work(meter: Meter, broker: str, which: str, partitions: int, group: str, slot: int) -> tuple[Worker, int]:
    """Starts a worker, and says how many agents it has."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    settings = load(kafka=broker, data_dir=folder, partitions=partitions, slot=slot)
    agents = [agent for agent in exact_agents(settings) if which == "all" or agent.name in which.split(",")]
    worker = Worker(agents, settings, group=group)
    worker._tools.observe = meter
    await worker.connect()
    await worker.start()
    return worker, len(agents)


async def alone(broker: str, events: int, which: str, partitions: int) -> dict[str, float]:
    """One worker, this process."""
    meter = Meter()
    worker, agents = await work(meter, broker, which, partitions, f"bench-{uuid4().hex}", 0)
    while meter.handled.get("dedup", 0) < events:
        await asyncio.sleep(0.01)
        if worker.failed.done():
            worker.failed.result()
    while agents > 1 and time.perf_counter() - meter.last < QUIET:
        await asyncio.sleep(0.1)
    return {
        "rate": events / (meter.last - meter.first),
        "cpu": (meter.cpu - meter.cpu_first) / events * 1e6,
    }


async def one_of_many(broker: str, which: str, partitions: int, group: str, slot: int) -> None:
    """A worker that prints what it has done, every now and then, until it is killed."""
    meter = Meter()
    worker, _ = await work(meter, broker, which, partitions, group, slot)
    while not worker.failed.done():
        await asyncio.sleep(0.05)
        print(json.dumps(vars(meter)), flush=True)
    worker.failed.result()


async def together(broker: str, events: int, which: str, partitions: int, workers: int) -> dict[str, float]:
    """So many workers, each a process."""
    group = f"bench-{uuid4().hex}"
    command = [sys.executable, "-m", "bench.streams.ours", broker, "-", which, str(partitions), group]
    children = [
        await asyncio.create_subprocess_exec(*command, str(slot), stdout=asyncio.subprocess.PIPE)
        for slot in range(workers)
    ]
    found: dict[int, dict[str, Any]] = {}

    async def listen(slot: int) -> None:
        stream = children[slot].stdout
        assert stream is not None
        async for line in stream:
            found[slot] = json.loads(line)
        raise RuntimeError(f"worker {slot} ended")

    def done() -> bool:
        busy = [each for each in found.values() if each["first"]]
        if sum(each["handled"].get("dedup", 0) for each in busy) < events:
            return False
        return which == "dedup" or time.perf_counter() - max(each["last"] for each in busy) > QUIET

    try:
        async with asyncio.TaskGroup() as tasks:
            listeners = [tasks.create_task(listen(slot)) for slot in range(workers)]
            while not done():
                await asyncio.sleep(0.02)
            for listener in listeners:
                listener.cancel()
    finally:
        for child in children:
            child.kill()
            await child.wait()
    busy = [each for each in found.values() if each["first"]]
    seconds = max(each["last"] for each in busy) - min(each["first"] for each in busy)
    cpu = sum(each["cpu"] - each["cpu_first"] for each in busy)
    return {"rate": events / seconds, "cpu": cpu / events * 1e6}


async def main(broker: str, events: str, which: str, partitions: str, *more: str) -> None:
    if events == "-":
        group, slot = more
        await one_of_many(broker, which, int(partitions), group, int(slot))
        return
    if more:
        measured = await together(broker, int(events), which, int(partitions), int(more[0]))
    else:
        measured = await alone(broker, int(events), which, int(partitions))
    print(json.dumps(measured), flush=True)
    os._exit(0)  # what remains is only to leave the group


if __name__ == "__main__":
    logs.configure("warning", "text")
    memory.settle()
    uvloop.run(main(*sys.argv[1:]))
