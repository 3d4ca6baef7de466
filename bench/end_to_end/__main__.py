"""From the gateway to a row that can be queried: `python -m bench.end_to_end`. Needs wrk (Debian: apt-get install wrk).

In each round `sluice up` and the bare way (bare handler, Kafka, a loop that inserts) run one after the other, with the
same requests. First at full speed: events over the time from the first request to the last row. Then at half of that
rate: how long each event takes until it can be queried. The k-th event received counts as there when k rows are there,
asked every few milliseconds. At the end `sluice audit` must balance.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.end_to_end.sides import Side, bare, ours

LOAD = Path(__file__).parent / "load.lua"
RATE, TAIL = 0.5, 2.0
"""What is asked: our rate over the bare way's at least, and the 99th percentile of freshness in seconds at most."""
CONNECTIONS = 8
DRAIN = 300.0
"""Seconds in which the rows of a run must arrive."""
POLL = 0.1
"""Seconds between two counts: each takes 5 ms of the processor, which all else needs too."""


@dataclass
class Run:
    """What one side did in one round."""

    rate: float = 0.0
    half: float = 0.0
    """Events a second that were really sent in the second phase."""
    p50: float = 0.0
    p99: float = 0.0
    balanced: bool = True
    cpu: dict[str, float] = field(default_factory=dict)
    """Microseconds of each process's time per event, at full speed: stable where rates are not."""


@dataclass
class Watch:
    """How many rows could be queried when."""

    times: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def seen(self, count: int) -> float:
        """When so many rows were first seen; seconds since the epoch."""
        return self.times[bisect_left(self.counts, count)]


@contextmanager
def watching(side: Side) -> Iterator[Watch]:
    """Counts rows in the background."""
    watch, over = Watch(), threading.Event()

    def count() -> None:
        while not over.is_set():
            rows = side.rows()
            watch.times.append(time.time())
            watch.counts.append(max(rows, watch.counts[-1] if watch.counts else 0))
            over.wait(POLL)

    thread = threading.Thread(target=count, name="watch")
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()


def send(side: Side, batch: int, seconds: int, pause: float = 0.0) -> int:
    """Lets wrk send batches; returns how many events were accepted."""
    printed = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", LOAD, side.url],
        env=os.environ | {"KEY": side.key, "BATCH": str(batch), "PAUSE": str(pause)},
        capture_output=True, text=True, check=True, timeout=seconds + 120,
    ).stdout  # fmt: skip
    if "Non-2xx" in printed or "Socket errors" in printed:
        raise SystemExit(f"{side.name} refused requests:\n{printed}")
    found = re.search(r"(\d+) requests in", printed)
    assert found, printed
    return int(found[1]) * batch


def await_still(side: Side, least: int) -> int:
    """The rows once no more come; at least so many must. (What wrk has sent when it ends, it does not count.)"""
    deadline, rows, since = time.monotonic() + DRAIN, -1, time.monotonic()
    while rows < least or time.monotonic() - since < 4:
        if time.monotonic() > deadline:
            raise SystemExit(f"{side.name}: {rows:,} of {least:,} rows after {DRAIN:.0f} s")
        now = side.rows()
        if now != rows:
            rows, since = now, time.monotonic()
        time.sleep(0.1)
    return rows


def measure(side: Side, batch: int, seconds: int) -> Run:
    """Full speed, then half of it."""
    send(side, batch, 3)  # warm
    before = await_still(side, 1)
    with watching(side) as watch:
        started, spent = time.time(), side.seconds()
        accepted = send(side, batch, seconds)
        rows = await_still(side, before + accepted)
    cpu = {name: round((now - spent[name]) / (rows - before) * 1e6, 1) for name, now in side.seconds().items()}
    run = Run(rate=(rows - before) / (watch.seen(rows) - started), cpu=cpu)
    pause = CONNECTIONS * batch / (run.rate / 2) * 1000
    with watching(side) as watch:
        started = time.time()
        accepted = send(side, batch, seconds, pause)
        await_still(side, rows + accepted)
    received = side.received(started)
    delays = sorted(watch.seen(rows + nth) - at / 1000 for nth, at in enumerate(received, start=1))
    run.half = len(received) / seconds
    run.p50, run.p99 = delays[len(delays) // 2], delays[int(len(delays) * 0.99)]
    run.balanced = bool(side.audit().get("balanced", True))
    return run


def main() -> int:
    """Exit code: 0 where every target of the issue holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=20, help="of each phase")
    parser.add_argument("--batch", type=int, default=100, help="events a request")
    chosen = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not installed: apt-get install wrk", file=sys.stderr)
        return 2
    print(f"load average {os.getloadavg()[0]:.2f} before; {os.cpu_count()} cores; medians of {chosen.rounds} rounds")
    runs: dict[str, list[Run]] = {"ours": [], "bare": []}
    for _ in range(chosen.rounds):
        for start in (ours, bare):
            with start() as side:
                run = measure(side, chosen.batch, chosen.seconds)
            runs[side.name].append(run)
            print(f"  {side.name}: {run}", flush=True)
    middle = {
        name: {each: median(getattr(run, each) for run in found) for each in ("rate", "half", "p50", "p99")}
        for name, found in runs.items()
    }
    for name, found in middle.items():
        print(
            f"{name:5} sustained {found['rate']:9,.0f} events/s; at {found['half']:8,.0f}/s queryable after"
            f" {found['p50']:.2f} s (median), {found['p99']:.2f} s (99th percentile)"
        )
    ratio = middle["ours"]["rate"] / middle["bare"]["rate"]
    balanced = all(run.balanced for run in runs["ours"])
    print(json.dumps({"ratio": round(ratio, 3), "p99": round(middle["ours"]["p99"], 2), "balanced": balanced}))
    return int(ratio < RATE or middle["ours"]["p99"] > TAIL or not balanced)


if __name__ == "__main__":
    sys.exit(main())
