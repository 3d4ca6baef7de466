"""Sends the demo's traffic at its rate, and counts what the gateway says."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import BinaryIO

from cli.demo.traffic import TICKS, Outgoing, Traffic
from cli.posting import Poster
from cli.send import as_line

UNDER_WAY = 256
"""Requests; more wait for their turn, so that a gateway that is too slow is not buried."""
SHOWN = 0.25
"""Seconds between two looks at the live figures."""
NOTED = 20


@dataclass
class Counts:
    """What was sent, and how it was answered."""

    requests: int = 0
    events: int = 0
    """In accepted requests, repeats included."""
    statuses: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    doubtful: int = 0
    """Events whose request was tried again after it may have arrived: each may be one more duplicate."""
    unexpected: int = 0
    """Requests that were not answered as they should be."""
    surprises: list[str] = field(default_factory=list)
    """The first of those."""
    telling: float = 0.0
    """Seconds in which new events were told."""
    seconds: float = 0.0


class Drive:
    """One run of the demo."""

    def __init__(
        self, poster: Poster, traffic: Sequence[Traffic], keys: Sequence[str], record: BinaryIO | None = None
    ) -> None:
        self.counts = Counts()
        self._poster, self._traffic, self._keys, self._record = poster, traffic, keys, record
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(UNDER_WAY)
        self._began = self._shown = 0.0

    def stop(self) -> None:
        """No new event; what is under way or held back is still sent."""
        for traffic in self._traffic:
            traffic.stopped = True

    async def run(self, total: int, rate: float) -> None:
        """Sends ``total`` new events of each tenant at a rate that they share."""
        share, told = rate / len(self._traffic), 0
        self._began = time.monotonic()
        for nth, tick in enumerate(zip_longest(*(one.ticks(total, share) for one in self._traffic), fillvalue=())):
            await self._until(nth / TICKS)
            if (now_told := sum(one.books.events for one in self._traffic)) > told:
                told, self.counts.telling = now_told, time.monotonic() - self._began + 1 / TICKS
            for key, outgoing in zip(self._keys, tick, strict=True):
                for one in outgoing:
                    await self._begin(one, key)
        await asyncio.gather(*self._tasks)
        self.counts.seconds = time.monotonic() - self._began
        self._show(done=True)

    async def _until(self, moment: float) -> None:
        """Waits for the tick's moment; one that comes late comes at once."""
        self._show()
        await asyncio.sleep(max(0.0, self._began + moment - time.monotonic()))

    async def _begin(self, one: Outgoing, key: str) -> None:
        if self._record is not None:
            self._record.write(as_line(one.request))
        await self._room.acquire()
        task = asyncio.create_task(self._send(one, key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, one: Outgoing, key: str) -> None:
        try:
            if one.after is not None:
                await one.after.answered.wait()
            reply = await self._poster.post(one.request, key)
        finally:
            self._room.release()
            one.answered.set()
        counts = self.counts
        counts.requests += 1
        counts.statuses[str(reply.status or "no answer")] += 1
        counts.retried += reply.tries > 1
        counts.doubtful += one.events * reply.doubtful
        if reply.ok:
            counts.events += one.events
        if not (reply.ok if one.refused is None else reply.status == one.refused):
            counts.unexpected += 1
            if len(counts.surprises) < NOTED:
                detail = reply.body.decode(errors="replace")[:300]
                counts.surprises.append(f"{one.request.path} {reply.status or 'no answer'}: {detail}")

    def _show(self, done: bool = False) -> None:
        """The live figures, on a terminal."""
        now = time.monotonic()
        if not sys.stderr.isatty() or (not done and now - self._shown < SHOWN):
            return
        self._shown, seconds, counts = now, now - self._began, self.counts
        parts = (
            f"{seconds:7.1f} s",
            f"{counts.events:>12,} events",
            f"{counts.events / max(seconds, 0.001):>9,.0f}/s",
            f"{counts.requests:>9,} requests",
            f"{len(self._tasks):>4} under way",
            f"{counts.retried:>4} retried",
        )
        sys.stderr.write(f"\r{''.join(parts)}\x1b[K" + ("\n" if done else ""))
        sys.stderr.flush()
