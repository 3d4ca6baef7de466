"""The worker's exactness on real Kafka, while workers are killed, frozen past their session, and robbed of their disks,
and while the brokers beneath them are killed and frozen.

The rows in Kafka are held against the batch oracle, as in tests/property. FAULTS sets how many faults strike (10 in the
suite, 30 in `make faults`, 300 in `make soak`), SEED which; a failure prints both.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from embedded.kafka import Cluster, Kafka
from tests.events import T0, event
from tests.kafka import in_step
from tests.property.test_agents import MARKETING, check
from tests.sinks import until
from tests.workers import Pipeline, Worker

FAULTS = int(os.environ.get("FAULTS", "10"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
PARTITIONS = 4
BURST = 400
SETTINGS: dict[str, Any] = {
    "partitions": PARTITIONS, "session_timeout": 3, "session_gap": 60, "lateness": 600, "dedup_window": 1000,
    "produce_timeout": 10, "attribution_window": 100,
}  # fmt: skip


def traffic(draw: random.Random, n: int) -> dict[str, Any]:
    """Events of forty players, one in ten of them late, one in ten a repeat."""
    names = ["bet", "bet", "win", "loss", "login", "deposit", "session_stop", "session_end", *MARKETING]
    name = draw.choice(names)
    amount = {"bet": 5, "deposit": 3, "win": draw.randrange(1, 9), "loss": -draw.randrange(1, 9)}.get(name)
    back = draw.randrange(300) if draw.random() < 0.1 else 0
    bet = f"b{draw.randrange(max(0, n // 2 - 20), n // 2 + 2)}"
    player = f"m{n // 200}" if name in MARKETING else f"p{draw.randrange(40)}"  # the oracle ranks all of one's touches
    return event(
        event_name=name, event_time=T0 + (n - back) * 200, received_at=T0 + n * 200, player_id=player, nth=n,
        amount=amount, currency="USD", transaction_id=bet if name == "bet" else f"s{n}",
        parent_transaction_id=bet if name in ("win", "loss") else None,
        dedup=n if draw.random() > 0.1 else draw.randrange(max(0, n - 500), n + 1),
        click_id=f"c{n // 20}" if name in MARKETING else None, campaign=draw.choice([None, "x", "y"]),
    )  # fmt: skip


class Storm:
    """Two workers, one of which is struck every few seconds, and now and then a broker."""

    def __init__(self, kafka: str, folder: Path, draw: random.Random, brokers: Sequence[Kafka]) -> None:
        self._kafka, self._draw, self._brokers = kafka, draw, list(brokers)
        self.workers = [Worker(kafka, folder, slot, **SETTINGS).start() for slot in range(2)]
        self.struck: list[str] = []

    def rage(self, faults: int) -> None:
        """Strikes so many times."""
        for _ in range(faults):
            time.sleep(self._draw.uniform(0.5, 3))
            kinds = ["kill", "freeze", "lose disk", "leave"]
            kind = self._draw.choice([*kinds, *["kill broker", "freeze broker"] * (2 if len(self._brokers) > 1 else 1)])
            (self.strike_broker if "broker" in kind else self.strike)(kind)

    def strike(self, kind: str) -> None:
        worker = self._draw.choice(self.workers)
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

    def strike_broker(self, kind: str) -> None:
        """One in turn is away for a while; it is back in step before the next falls, as replication 3 can bear."""
        broker = self._brokers[0]
        self._brokers = [*self._brokers[1:], broker]
        self.struck.append(f"{kind} {broker.node}")
        assert broker.process is not None
        if kind == "kill broker":
            broker.kill()
        else:
            broker.process.send_signal(signal.SIGSTOP)
        time.sleep(self._draw.uniform(1, 8))
        if kind == "kill broker":
            broker.start()
        else:
            broker.process.send_signal(signal.SIGCONT)
        until(lambda: in_step(self._kafka, len(self._brokers)), 240)

    def end(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.kill()


@pytest.mark.slow
@pytest.mark.timeout(120 + 30 * FAULTS)
def test_a_storm_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """One broker, so that all wait for it when it falls, and go on when it is back."""
    with Cluster(tmp_path / "kafka", 1) as cluster:
        _weather(Pipeline(cluster.address, PARTITIONS), tmp_path, cluster.brokers)


@pytest.mark.slow
@pytest.mark.timeout(180 + 40 * FAULTS)
def test_a_storm_over_three_brokers(tmp_path: Path) -> None:
    """Replication 3, two must have a record, and the brokers are struck in turn beside the workers."""
    with Cluster(tmp_path / "kafka") as cluster:
        _weather(Pipeline(cluster.address, PARTITIONS, replication=3), tmp_path, cluster.brokers)


def _weather(pipeline: Pipeline, folder: Path, brokers: Sequence[Kafka]) -> None:
    print(f"SEED={SEED} FAULTS={FAULTS}")
    for broker in brokers:
        broker.start_limit = 240  # it is not its speed that is in question, on a machine with other work
    storm = Storm(pipeline.kafka, folder, random.Random(SEED), brokers)
    over = threading.Event()
    fed: list[int] = []
    feeder = threading.Thread(target=_feed, args=(pipeline, random.Random(SEED), over, fed))
    feeder.start()
    try:
        storm.rage(FAULTS)
        over.set()
        feeder.join()
        pipeline.await_done(storm.workers, limit=180)
        check(pipeline)
        print(f"{len(fed) * BURST} events, {FAULTS} faults: every row as the oracle has it")
    finally:
        over.set()
        feeder.join()
        storm.end()
        print(storm.struck)


def _feed(pipeline: Pipeline, draw: random.Random, over: threading.Event, fed: list[int]) -> None:
    while not over.wait(0.5):
        burst = [traffic(draw, len(fed) * BURST + i) for i in range(BURST)]
        while not _taken(pipeline, burst):
            time.sleep(0.2)
        fed.append(BURST)


def _taken(pipeline: Pipeline, burst: list[dict[str, Any]]) -> bool:
    """Whether Kafka has all of it; a part that it has already is then a repeat, as from any client that retries."""
    try:
        pipeline.ingest(burst)
    except (KafkaError, TimeoutError):
        return False
    return True
