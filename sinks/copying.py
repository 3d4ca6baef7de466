"""The task that copies sessions into the rows of events, for all lanes of a sink, at a pace of its own.

A copy takes some tenths of a second whatever its size, so that lanes go on meanwhile; what they have inserted is
settled behind it. While copies fail, lanes stand still, so that what is not settled stays bounded.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

from runtime import metrics
from schemas.codec import DecodeError
from sinks.copies import Copier, Span, merged, spans_of
from sinks.errors import UNKNOWN_TABLE, Outcome, classify
from sinks.feed import Feed
from sinks.writer import Stop

log = logging.getLogger("sluice.sink")

SHORTEST, LONGEST, SHARE = 0.3, 3.0, 10
"""Seconds from one copy's begin to the next: SHARE times what the last took, within these."""
SLOWEST = 5.0
"""Longest wait, in seconds, before ClickHouse is tried again."""
GRACE = 5.0
"""Seconds for the end of a copy that is under way when the sink ends. The next owner makes it again."""


class Copying:
    """One sink's. ``start``, then ``ask`` any number of times, then ``stop``."""

    def __init__(self, copier: Copier, pool: Executor, fail: Callable[[BaseException], None]) -> None:
        """``fail`` gets an error of the task itself, and a Stop; other errors of copies are waited for."""
        self._copier, self._pool, self._fail = copier, pool, fail
        self._asked: list[tuple[Sequence[Span], Callable[[], None]]] = []
        self._changed = asyncio.Event()
        self._well = asyncio.Event()
        self._well.set()
        self._hurry = False
        self._task: asyncio.Task[None] | None = None
        self._under_way: asyncio.Future[None] | None = None
        self.waits = ""
        """Why nothing is being copied at the moment; empty if all is well."""

    def start(self) -> None:
        """Begins to work."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="copies")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def ask(self, spans: Sequence[Span], done: Callable[[], None]) -> None:
        """Asks for a copy of what is assigned of the events received in ``spans``; then calls ``done``."""
        self._asked.append((spans, done))
        self._changed.set()

    def hurry(self) -> None:
        """Whatever was asked for is copied at once."""
        self._hurry = True
        self._changed.set()

    async def well(self) -> None:
        """Returns when copies do not fail."""
        await self._well.wait()

    async def stop(self) -> None:
        """Ends the task; a copy under way is finished by its thread, for which it waits a little."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._under_way is not None and not (await asyncio.wait([self._under_way], timeout=GRACE))[0]:
            return
        with suppress(Exception):  # ClickHouse may be down; the table holds nothing that is needed
            await asyncio.get_running_loop().run_in_executor(self._pool, self._copier.close)

    async def _run(self) -> None:
        while True:
            while not self._asked:
                self._changed.clear()
                await self._changed.wait()
            asked, self._asked, self._hurry = self._asked, [], False
            began = time.monotonic()
            await self._copy(merged(span for spans, _ in asked for span in spans))
            for _, done in asked:
                done()
            took = time.monotonic() - began
            await self._rest(began + min(max(took * SHARE, SHORTEST), LONGEST))

    async def _rest(self, end: float) -> None:
        """Returns at ``end``, or when there is a hurry."""
        while not self._hurry and (left := end - time.monotonic()) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    async def _copy(self, spans: Sequence[Span]) -> None:
        """Copies, whatever it takes."""
        backoff = 0.1
        while True:
            began = time.perf_counter()
            try:
                loop = asyncio.get_running_loop()
                self._under_way = asyncio.ensure_future(loop.run_in_executor(self._pool, self._copier.copy, spans))
                await asyncio.shield(self._under_way)
            except Exception as error:
                outcome, reason = classify(error)
                # Its own table may have been removed, by a sink that took it for a killed one's.
                if outcome is Outcome.STOP and getattr(error, "code", 0) != UNKNOWN_TABLE:
                    raise Stop(f"ClickHouse refuses to copy sessions into events: {reason} ({error})") from error
                self.waits = f"{type(error).__name__}: {error}"
                self._well.clear()
                log.warning("waits", extra={"topic": "copies", "seconds": round(backoff, 1), "reason": self.waits})
                metrics.SINK_FAILURES.labels("copies").inc()
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, SLOWEST)
            else:
                self.waits = ""
                self._well.set()
                metrics.SINK_INSERT_SECONDS.labels("copies").observe(time.perf_counter() - began)
                return


def touched(feed: Feed, records: Sequence[Any]) -> list[Span]:
    """When the events were received whose session these records may tell; some of them may be no rows."""
    try:
        times = feed.times(records)
    except DecodeError:
        times = []
        for record in records:
            with suppress(DecodeError):
                times += feed.times([record])
    return spans_of(times)
