"""Our agents against the peers, on one broker, in turn: `python -m bench.streams [--events N] [--rounds R]`.

dedup: our first hop, with exactness and changelog, against the same job on Quix Streams and Kafka Streams. worker:
dedup, pairing and sessions with all of their outputs on realistic traffic, against Quix Streams' dedup alone; and all
five of our agents, for comparison. Everybody reads one filled topic, keyed by the dedup key, with 5 % repeats, on one
process and thread of its own; ours also with as many workers as there are cores, which is how it is run. The peers run
in turn with ours, so that a noisy machine is noisy for all, and medians are compared; beside the rates stand CPU
seconds per million events of the whole process, start included, which hold still where time does not.

Quix Streams needs an environment of its own, Kafka Streams a JDK and Maven; what is not there is left out, and said so.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from bench.streams.peers import Peer, peers
from embedded.kafka import Kafka
from runtime.settings import load
from schemas.keys import partition_of
from schemas.registry import EVENT
from schemas.topics import INGEST_EVENTS, TOPICS, changelog
from streams.agents import exact_agents
from tests.events import T0, event, record_key
from tests.kafka import create_topics, run

PARTITIONS = 4
LIMIT = 300
"""Seconds for one run."""
TARGETS = {"quix": 4.0, "kafka streams, exactly once": 1.5, "kafka streams, at least once": 1.2}
WORKER = "dedup,pairing,sessions"
WORKERS = max(2, os.cpu_count() or 2)
WORKER_TARGET = 1.0

Traffic = Callable[[random.Random, int], dict[str, Any]]


def plain(draw: random.Random, n: int) -> dict[str, Any]:
    """What gives one output each in our dedup, as in the peers' job."""
    return _event(draw, n, ("login", "deposit", "click")[n % 3])


def realistic(draw: random.Random, n: int) -> dict[str, Any]:
    """Half of them wagers, of five thousand players."""
    return _event(draw, n, ("bet", "win", "login", "deposit", "bet", "page_view")[n % 6])


def _event(draw: random.Random, n: int, name: str) -> dict[str, Any]:
    found = event(
        event_name=name, event_time=T0 + n * 20, received_at=T0 + n * 20, nth=n, currency="USD",
        player_id=f"player-{draw.randrange(5000)}", amount=5 if name in ("bet", "win", "deposit") else None,
        transaction_id=f"transaction-{n}", parent_transaction_id=f"transaction-{n - 1}" if name == "win" else None,
        dedup=n if draw.random() > 0.05 else draw.randrange(max(0, n - 1000), n + 1), game_type="slot",
        game_provider="EA", ip_address="203.0.113.1", user_agent="Mozilla/5.0 (X11; Linux x86_64)",
    )  # fmt: skip
    found["payload"] = b'{"client_user_id":"%s","note":"%s"}' % (
        found["player_id"].encode(),
        draw.randbytes(80).hex().encode(),
    )
    return found


class Arena:
    """A broker with a filled topic, on which one after the other runs."""

    def __init__(self, kafka: str, events: int) -> None:
        self.kafka, self._events = kafka, events

    def fill(self, traffic: Traffic) -> None:
        """Makes the topics and fills ingest.events."""
        self._create()
        inputs = [INGEST_EVENTS.name, f"{INGEST_EVENTS.name}-streams"]
        create_topics(self.kafka, inputs, PARTITIONS, retention_ms="-1")  # the events are of a fixed day

        async def send() -> None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.kafka, linger_ms=10, compression_type="snappy", max_batch_size=1 << 18
            )
            await producer.start()
            draw, sent = random.Random(1), []
            for n in range(self._events):
                each = traffic(draw, n)
                key = record_key(each)
                sent.append(
                    await producer.send(
                        INGEST_EVENTS.name, EVENT.encode(each), key, partition_of(key, PARTITIONS),
                        timestamp_ms=each["received_at"],
                    )
                )  # fmt: skip
                if len(sent) >= 10_000:
                    await asyncio.gather(*sent)
                    sent.clear()
            await asyncio.gather(*sent)
            await producer.stop()

        run(send, LIMIT)

    def _topics(self) -> list[Any]:
        agents = exact_agents(load(partitions=PARTITIONS))
        return [*(topic for topic in TOPICS if topic is not INGEST_EVENTS), *(changelog(a.name, None) for a in agents)]

    def _create(self) -> None:
        for topic in self._topics():
            config = {name.replace(".", "_"): value for name, value in topic.config().items()}
            create_topics(self.kafka, [topic.name], 1 if topic.single else PARTITIONS, 1, **config)

    def renew(self) -> None:
        """Our outputs and changelogs, empty again."""

        async def drop() -> None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
            await admin.start()
            names = [topic.name for topic in self._topics()]
            try:
                await admin.delete_topics(names)
                while set(names) & set(await admin.list_topics()):
                    await asyncio.sleep(0.1)
            finally:
                await admin.close()

        run(drop)
        self._create()

    def ours(self, which: str, workers: int = 1) -> tuple[float, float]:
        """(events/s, CPU seconds per million) of one run."""
        self.renew()
        command = [sys.executable, "-m", "bench.streams.ours", self.kafka, str(self._events), which, str(PARTITIONS)]
        return self._run(command + ([str(workers)] if workers > 1 else []))

    def peer(self, peer: Peer) -> tuple[float, float]:
        """The same for a peer."""
        return self._run([*peer.command, self.kafka, INGEST_EVENTS.name, str(self._events), peer.guarantee])

    def _run(self, command: list[str]) -> tuple[float, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        numbers = [line for line in done.stdout.splitlines() if line[:1].isdigit() or line.startswith("{")]
        if not numbers:
            raise SystemExit(f"{' '.join(command)} printed no rate:\n{done.stdout[-500:]}{done.stderr[-2000:]}")
        last = json.loads(numbers[-1])
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return float(last["rate"] if isinstance(last, dict) else last), cpu / self._events * 1e6


@contextmanager
def arena(events: int, traffic: Traffic) -> Iterator[Arena]:
    """An arena of its own."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        kafka = Kafka(Path(folder), heap=1 << 30)
        try:
            kafka.start()
            found = Arena(kafka.address, events)
            found.fill(traffic)
            yield found
        finally:
            kafka.stop()


def compare(title: str, runs: dict[str, Callable[[], tuple[float, float]]], rounds: int) -> dict[str, float]:
    """Runs all in turn and prints medians; the first is ours. Returns ours over each other's."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, start in runs.items():
            found[name].append(start())
    rates = {name: median(rate for rate, _ in each) for name, each in found.items()}
    ours = next(iter(rates))
    print(f"{title}, medians of {rounds}:")
    for name, each in found.items():
        spread = f"{min(rate for rate, _ in each):,.0f}-{max(rate for rate, _ in each):,.0f}"
        cpu = median(cpu for _, cpu in each)
        ratio = rates[ours] / rates[name]
        print(
            f"  {name:30} {rates[name]:9,.0f} events/s ({spread:>17})  {cpu:6.1f} CPU s a million  ours is {ratio:.2f}",
            flush=True,
        )
    return {name: rates[ours] / rate for name, rate in rates.items() if name != ours}


def main() -> int:
    """Exit code: 0 where every target of the issue holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["dedup", "worker"])
    chosen = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.2f} before, {os.cpu_count()} cores, {chosen.events:,} events")
    rivals = peers()
    missed = []
    if chosen.only != "worker":
        with arena(chosen.events, plain) as field:
            runs = {"sluice dedup": lambda: field.ours("dedup")}
            runs |= {f"sluice dedup, {WORKERS} workers": lambda: field.ours("dedup", WORKERS)}
            runs |= {peer.name: lambda peer=peer: field.peer(peer) for peer in rivals}  # type: ignore[misc]
            ratios = compare("dedup", runs, chosen.rounds)
        missed += [name for name, least in TARGETS.items() if ratios.get(name, least) < least]
    if chosen.only != "dedup":
        with arena(chosen.events, realistic) as field:
            runs = {"sluice worker": lambda: field.ours(WORKER), "sluice, all five agents": lambda: field.ours("all")}
            runs |= {f"sluice, {WORKERS} workers": lambda: field.ours(WORKER, WORKERS)}
            runs |= {p.name: lambda p=p: field.peer(p) for p in rivals if p.name == "quix"}  # type: ignore[misc]
            ratios = compare("worker", runs, chosen.rounds)
        missed += ["worker against quix"] if ratios.get("quix", WORKER_TARGET) < WORKER_TARGET else []
    print("missed:", ", ".join(missed) or "none")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
