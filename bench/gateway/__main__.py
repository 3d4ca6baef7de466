"""The gateway against the bare handler: `python -m bench.gateway`. Needs wrk (Debian: apt-get install wrk).

Ours and the bare one run in turn, so that a noisy machine is noisy for both, and medians of the runs are compared.
Beside the rates stand the processor times per request of the two processes: those are stable where time is not.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from embedded.place import LOOPBACK, free_port
from tests.gateways import gateway, make_key, standard_topics
from tests.servers import await_port, embedded_kafka

LOAD = Path(__file__).parent / "load.lua"
SINGLE, BATCH, TAIL = 0.75, 0.85, 1.5
"""What is asked: rates of single requests and of batches at least, the 99th percentile at half load at most."""
PARTITIONS = 8


@dataclass
class Target:
    """A server under load."""

    name: str
    port: int
    process: psutil.Process

    def seconds(self) -> float:
        """Processor time so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@dataclass
class Run:
    """What wrk saw."""

    rate: float
    p99: float
    cpu: float
    """Microseconds of the server's processor time per request."""


def load(
    target: Target, key: str, batch: int, connections: int, seconds: int, pause: float = 0, dialect: str = "revosurge"
) -> Run:
    """One run of wrk."""
    before = target.seconds()
    printed = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", LOAD, f"http://{LOOPBACK}:{target.port}"],
        env=os.environ | {"KEY": key, "BATCH": str(batch), "PAUSE": str(pause), "DIALECT": dialect},
        capture_output=True, text=True, check=True, timeout=seconds + 60,
    ).stdout  # fmt: skip
    if "Non-2xx" in printed or "Socket errors" in printed:
        raise SystemExit(f"{target.name} refused requests:\n{printed}")
    count = int(_found(r"(\d+) requests in", printed))
    cpu = (target.seconds() - before) / count * 1e6
    return Run(float(_found(r"Requests/sec:\s+([\d.]+)", printed)), _milliseconds(printed), cpu)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found, text
    return found[1]


def _milliseconds(text: str) -> float:
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def alternate(targets: Sequence[Target], rounds: int, **how: object) -> dict[str, list[Run]]:
    """Every target in turn, ``rounds`` times."""
    runs: dict[str, list[Run]] = {target.name: [] for target in targets}
    for _ in range(rounds):
        for target in targets:
            runs[target.name].append(load(target, **how))  # type: ignore[arg-type]
    return runs


@contextmanager
def bare(kafka: str) -> Iterator[Target]:
    """The bare handler."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.gateway.bare", kafka, str(port)])
    try:
        await_port(port)
        yield Target("bare", port, psutil.Process(process.pid))
    finally:
        process.kill()
        process.wait()


def tell(title: str, runs: dict[str, list[Run]], field: str, unit: str, scale: float = 1) -> float:
    """Prints the medians of both and returns ours over the bare one's."""
    middle = {name: median(getattr(run, field) for run in each) * scale for name, each in runs.items()}
    cpu = {name: median(run.cpu for run in each) for name, each in runs.items()}
    ratio = middle["ours"] / middle["bare"]
    print(
        f"{title:22} ours {middle['ours']:9,.1f} {unit:10} bare {middle['bare']:9,.1f} {unit:10} ratio {ratio:.2f}"
        f"   cpu per request: {cpu['ours']:.0f} and {cpu['bare']:.0f} us"
    )
    return float(ratio)


def main() -> int:
    """Exit code: 0 where every target of the issue holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=6, help="of each run")
    chosen = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not installed: apt-get install wrk", file=sys.stderr)
        return 2
    print(f"load average {os.getloadavg()[0]:.2f} before; {os.cpu_count()} cores; medians of {chosen.rounds} runs")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-bench-")))
        kafka = stack.enter_context(embedded_kafka())
        standard_topics(kafka, PARTITIONS)
        one = stack.enter_context(gateway(kafka, folder))
        key = make_key(kafka, [one])
        targets = (Target("ours", one.port, psutil.Process(one.running.pid)), stack.enter_context(bare(kafka)))
        for target in targets:
            load(target, key, 1, 64, 2)
        how = {"key": key, "seconds": chosen.seconds}
        single = alternate(targets, chosen.rounds, batch=1, connections=64, **how)
        ratios = {"single": tell("single events", single, "rate", "requests/s")}
        batches = alternate(targets, chosen.rounds, batch=100, connections=16, **how)
        ratios["batch"] = tell("batches, revosurge", batches, "rate", "events/s", 100)
        batches = alternate(targets, chosen.rounds, batch=100, connections=16, dialect="adwize", **how)
        ratios["adwize"] = tell("batches, adwize", batches, "rate", "events/s", 100)
        half = median(run.rate for run in single["ours"]) / 2
        tails = alternate(targets, chosen.rounds, batch=1, connections=64, pause=64 / half * 1000, **how)
        ratios["p99"] = tell(f"p99 at {half:,.0f}/s", tails, "p99", "ms")
        print(
            "rates at half load:",
            ", ".join(f"{name} {median(r.rate for r in runs):,.0f}/s" for name, runs in tails.items()),
        )
    print(json.dumps({name: round(ratio, 3) for name, ratio in ratios.items()}))
    return int(ratios["single"] < SINGLE or min(ratios["batch"], ratios["adwize"]) < BATCH or ratios["p99"] > TAIL)


if __name__ == "__main__":
    sys.exit(main())
