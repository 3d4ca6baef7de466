"""CPU time of each agent's step, state and output batches, without a broker: python -m bench.streams.agents [EVENTS]

The figures are seconds of CPU per million input records, which hold still where a shared machine's time does not. It
drives the production code (Stepper, Store, Outbox) over realistic traffic and leaves out only the sockets.
"""

import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import native
from runtime import memory
from runtime.agent import Agent, Record
from runtime.batches import fetched
from runtime.changelog import Marker, encode
from runtime.lane import BATCH
from runtime.producer import Batch
from runtime.step import Stepper
from runtime.store import Caches, Store
from schemas.keys import partition_of
from schemas.registry import EVENT
from schemas.topics import DEAD_LETTERS, EVENTS, INGEST_EVENTS, TOUCHES, WAGERS
from streams.agents import attribution, dedup, pairing, sessions, touches
from tests.events import T0, event, record_key

PARTITIONS, PLAYERS = 8, 600
"""PLAYERS are those of one partition of `events`, of some thousands in all."""
DAY = 86_400_000
KEPT = (EVENTS.name, WAGERS.name, TOUCHES.name)
LOG = 0x51A3_B2C1_D0E9_F807
"""As long as a log's number is: from here it goes into rows."""


def traffic(count: int) -> list[Record]:
    """Records of ingest.events: half of them wagers, 5 % repeats, one in a hundred out of order by minutes."""
    draw = random.Random(1)
    logs: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    for n in range(count):
        name = "register" if n % 60 == 59 else ("bet", "win", "login", "deposit", "bet", "click")[n % 6]
        late = draw.randrange(300_000) if draw.random() < 0.01 else 0
        each = event(
            event_name=name, event_time=T0 + n * 20 - late, received_at=T0 + n * 20, nth=n,
            player_id=f"player-{draw.randrange(PLAYERS)}",
            amount=5 if name in ("bet", "win", "deposit") else None, currency="USD", transaction_id=f"transaction-{n}",
            parent_transaction_id=f"transaction-{n - 1}" if name == "win" else None,
            dedup=n if draw.random() > 0.05 else draw.randrange(max(0, n - 1000), n + 1),
            click_id=f"click-{n // 60}", campaign="summer", game_type="slot", game_provider="EA",
            ip_address="203.0.113.1", user_agent="Mozilla/5.0 (X11; Linux x86_64)",
        )  # fmt: skip
        each["payload"] = b"x" * 300
        key = record_key(each)
        log = logs[partition_of(key, PARTITIONS)]
        log.append(Record(INGEST_EVENTS.name, 0, len(log), each["received_at"], key, EVENT.encode(each)))
    # As a worker that catches up reads them: a fetched run of one partition after the other.
    runs = range(0, max(map(len, logs)), BATCH)
    return [record for start in runs for log in logs for record in log[start : start + BATCH]]


class Box(native.Outbox):
    """As Outbox, but nothing is sent; what another agent reads is kept."""

    def __new__(cls) -> "Box":
        return super().__new__(cls, Batch)

    def build(self) -> list[tuple[str, bytes]]:
        """Topic and bytes of each batch, packed as those that are sent."""
        return [(topic, batch._build()) for (topic, _), batches in self.targets.items() for batch in batches]


class Log:
    """What one agent leaves for another, as one partition."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def extend(self, packed: bytes) -> None:
        """Takes in a batch as it was sent."""
        (batch,) = fetched(len(self.records).to_bytes(8, "big") + packed[8:])
        self.records += batch.records()


def measure(agent: Agent, records: list[Any], folder: Path) -> dict[str, list[Any]]:
    """Runs one agent as one partition and prints its figures; returns what it leaves for others, by topic."""
    store, logs = Store(folder / agent.name, Caches(64 << 20)), {name: Log() for name in KEPT}
    names = {topic.name for topic in (*agent.outputs, DEAD_LETTERS)}
    memory.settle()
    # What another agent reads is in order, in one partition.
    partitions = dict.fromkeys(names, PARTITIONS) | dict.fromkeys(KEPT, 1)
    stepper, marker = Stepper(agent, partitions, 0, 100), Marker(log=LOG)
    steps = outputs = states = 0.0
    objects: dict[bytes, Any] = {}
    for start in range(0, len(records), BATCH):
        boxes: list[Box] = []

        def box(boxes: list[Box] = boxes) -> Any:
            boxes.append(Box())
            return boxes[-1].add

        before = time.process_time()
        result = stepper.run(records[start : start + BATCH], marker, store, box, objects=objects)
        stepped = time.process_time()
        batches = boxes[-1].build()
        built = time.process_time()
        encode(result.changes.values(), result.marker, b"w" * 16, 1)
        store.write(result.changes.values(), result.marker, start, 0)
        marker = result.marker
        steps, outputs = steps + stepped - before, outputs + built - stepped
        states += time.process_time() - built
        assert not result.letters
        for topic, packed in batches:
            if topic in logs:
                logs[topic].extend(packed)
    million = 1e6 / len(records)
    total = (steps + outputs + states) * million
    print(
        f"{agent.name:11} {total:6.1f} s a million: steps {steps * million:5.1f}, outputs {outputs * million:5.1f}, "
        f"state {states * million:5.1f}"
    )
    store.close()
    return {name: log.records for name, log in logs.items()}


async def main(count: int) -> None:
    box = Box()
    for record in traffic(count):
        box.add(record.topic, 0, record.key, record.value, (), record.timestamp)
    log = Log()
    for _, packed in box.build():
        log.extend(packed)
    with tempfile.TemporaryDirectory() as folder:
        kept = measure(dedup.make(7 * DAY), log.records, Path(folder))
        measure(pairing.make(), kept[WAGERS.name], Path(folder))
        measure(sessions.make(1_800_000, DAY, PARTITIONS), kept[EVENTS.name], Path(folder))
        kept[TOUCHES.name] = measure(touches.make(), kept[EVENTS.name], Path(folder))[TOUCHES.name]
        measure(attribution.make(7 * DAY, DAY), kept[TOUCHES.name], Path(folder))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
