"""The worker's exactness on real Kafka, while workers are killed, frozen past their session, and robbed of their disks.

The rows in Kafka are held against the batch oracle, as in tests/property. FAULTS sets how many faults strike (10 in the
suite, 30 in `make faults`, 300 in `make soak`), SEED which; a failure prints both.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.events import T0, event
from tests.property.test_agents import check
from tests.workers import Pipeline, Worker

FAULTS = int(os.environ.get("FAULTS", "10"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
PARTITIONS = 4
SETTINGS = {
    "partitions": PARTITIONS, "session_timeout": 3, "session_gap": 60, "lateness": 600, "dedup_window": 1000,
    "produce_timeout": 10,
}  # fmt: skip


@pytest.fixture
def own_kafka() -> Iterator[str]:
    with servers.embedded_kafka() as address:
        yield address


def traffic(draw: random.Random, n: int) -> dict[str, Any]:
    """Events of forty players, one in ten of them late, one in ten a repeat."""
    name = draw.choice(["bet", "bet", "win", "loss", "login", "deposit", "session_stop", "session_end"])
    amount = {"bet": 5, "deposit": 3, "win": draw.randrange(1, 9), "loss": -draw.randrange(1, 9)}.get(name)
    back = draw.randrange(300) if draw.random() < 0.1 else 0
    bet = f"b{draw.randrange(max(0, n // 2 - 20), n // 2 + 2)}"
    return event(
        event_name=name, event_time=T0 + (n - back) * 200, received_at=T0 + n * 200, player_id=f"p{draw.randrange(40)}",
        nth=n, amount=amount, currency="USD", transaction_id=bet if name == "bet" else f"s{n}",
        parent_transaction_id=bet if name in ("win", "loss") else None,
        dedup=n if draw.random() > 0.1 else draw.randrange(max(0, n - 500), n + 1),
    )  # fmt: skip


class Storm:
    """Two workers, one of which is struck every few seconds."""

    def __init__(self, kafka: str, folder: Path, draw: random.Random) -> None:
        self._draw = draw
        self.workers = [Worker(kafka, folder, slot, **SETTINGS).start() for slot in range(2)]
        self.struck: list[str] = []

    def strike(self) -> None:
        worker = self._draw.choice(self.workers)
        kind = self._draw.choice(["kill", "freeze", "lose disk", "leave"])
        self.struck.append(f"{kind} {worker.slot}")
        if kind == "freeze":  # past its session: its partitions move, and then it wakes up as a zombie
            worker.signal(signal.SIGSTOP)
            time.sleep(SETTINGS["session_timeout"] + 2)
            worker.signal(signal.SIGCONT)
            return
        if kind == "leave":
            worker.stop()
        else:
            worker.kill()
        if kind == "lose disk":
            worker.lose_disk()
        worker.start()

    def end(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.kill()


@pytest.mark.slow
@pytest.mark.timeout(120 + 30 * FAULTS)
def test_a_storm_loses_and_doubles_nothing(own_kafka: str, tmp_path: Path) -> None:
    print(f"SEED={SEED} FAULTS={FAULTS}")
    draw = random.Random(SEED)
    pipeline = Pipeline(own_kafka, PARTITIONS)
    storm = Storm(own_kafka, tmp_path, random.Random(SEED))
    over = threading.Event()
    feeder = threading.Thread(target=_feed, args=(pipeline, draw, over))
    feeder.start()
    try:
        for _ in range(FAULTS):
            time.sleep(storm._draw.uniform(0.5, 3))
            storm.strike()
        over.set()
        feeder.join()
        pipeline.await_done(storm.workers, limit=120)
        check(pipeline)
    finally:
        over.set()
        feeder.join()
        storm.end()
        print(storm.struck)


def _feed(pipeline: Pipeline, draw: random.Random, over: threading.Event) -> None:
    n = 0
    while not over.wait(0.5):
        pipeline.ingest([traffic(draw, n + i) for i in range(400)])
        n += 400
