"""State: python -m bench.streams.state [KEYS]. Recovery from the changelog alone, and dedup over many live keys.

Recovery is PartitionState.open with an empty disk, from a changelog on a real broker. Dedup's rate is that of its step,
its outputs packed, and its store, on one partition, without a broker, when it knows a hundred thousand keys and when it
knows all; memory is what the process holds in the end.
"""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.streams.agents import Box
from embedded.kafka import Kafka
from runtime import memory
from runtime.agent import Record
from runtime.changelog import PUT, Marker, encode
from runtime.kafka import Log, LogReader
from runtime.partition import PACE, PartitionState, Place
from runtime.producer import Outbox, Outlet
from runtime.step import Stepper
from runtime.store import Caches, Store
from schemas.registry import EVENT, HEADER
from schemas.topics import DAY, DEAD_LETTERS, changelog
from streams.agents import dedup
from tests.events import T0, event
from tests.kafka import create_topics

BATCH, FEW = 4096, 100_000
GROUPS = 25
"""Of changes, between two waits for the broker."""
RECOVERY, RATE, MEMORY = 100_000, 0.7, 1 << 30
"""What is asked: keys/s at least, the rate with all keys over that with few at least, bytes at most."""


async def recovery(kafka: str, keys: int, folder: Path) -> float:
    """Keys/s."""
    agent = dedup.make(7 * DAY)
    topic = changelog(agent.name, agent.retention).name
    outlet, reader = Outlet(kafka, 30), LogReader(kafka)
    marker = Marker(log=1, version=agent.version)
    for start in range(0, keys, BATCH * GROUPS):
        outbox = Outbox(outlet, await outlet.producer())
        for first in range(start, min(keys, start + BATCH * GROUPS), BATCH):
            offsets = range(first, min(keys, first + BATCH))
            marker.before, marker.applied = marker.applied, offsets[-1]
            changes = ((PUT, os.urandom(16), bytes(44), offset) for offset in offsets)
            for part in encode(changes, marker, b"w" * 16, first):
                outbox.add(topic, 0, None, part, [], 0)
        await outbox.deliver()
    (log,) = (await reader.logs([topic])).values()
    state = PartitionState(agent, 0, Place(folder, Log(topic, log.number), Caches(64 << 20)))
    started = time.perf_counter()
    found = await state.open(reader, 1)
    seconds = time.perf_counter() - started
    assert found.applied == keys - 1
    state.close()
    await reader.stop()
    await outlet.stop()
    return keys / seconds


def batches(keys: int) -> Any:
    """Runs of events with a key each, all different."""
    value = EVENT.encode(event(dedup="any", player_id="player", received_at=T0) | {"payload": b"x" * 300})
    head, tail = value[:HEADER], value[HEADER + 16 :]
    for start in range(0, keys, BATCH):
        offsets = range(start, min(keys, start + BATCH))
        yield [Record("", 0, n, T0 + n // 10, b"key", head + os.urandom(16) + tail) for n in offsets]


def many_keys(keys: int, folder: Path) -> tuple[float, float, int]:
    """(events/s with few keys, with all, resident bytes); a rate is over the last tenth up to the number."""
    agent = dedup.make(7 * DAY)
    stepper = Stepper(agent, dict.fromkeys((topic.name for topic in (*agent.outputs, DEAD_LETTERS)), 8), 0, 100)
    store, marker = Store(folder, Caches(256 << 20)), Marker(version=agent.version)
    spans = {FEW: [0, 0.0], keys: [0, 0.0]}
    for records in batches(keys):
        before = time.perf_counter()
        box = Box()
        result = stepper.run(records, marker, store, lambda box=box: box.add, objects={})  # type: ignore[misc]
        box.build()
        encode(result.changes.values(), result.marker, b"w" * 16, 1)
        store.write(result.changes.values(), result.marker, 0, 0)
        store.learn(PACE * len(records))
        marker, spent = result.marker, time.perf_counter() - before
        for known, span in spans.items():
            if known * 0.9 < marker.applied <= known:
                span[0] += len(records)
                span[1] += spent
    held = psutil.Process().memory_info().rss
    store.close()
    few, many = (count / seconds for count, seconds in spans.values())
    return few, many, held


def main(keys: int) -> int:
    """Exit code: 0 where every target of the issue holds."""
    memory.settle()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        few, many, held = many_keys(keys, Path(folder) / "many")
        print(f"dedup, {FEW:,} keys {few:,.0f} events/s, {keys:,} keys {many:,.0f}: ratio {many / few:.2f}")
        print(f"memory with {keys:,} keys: {held >> 20:,} MiB", flush=True)
        kafka = Kafka(Path(folder) / "kafka")
        kafka.start()
        try:
            create_topics(kafka.address, ["dedup-changelog"], 1)
            rate = asyncio.run(recovery(kafka.address, keys // 5, Path(folder) / "state"))
        finally:
            kafka.stop()
        print(f"recovery of {keys // 5:,} keys from the changelog alone: {rate:,.0f} keys/s")
    return int(rate < RECOVERY or many / few < RATE or held > MEMORY)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000))
