"""When a sink copies sessions into the rows of events, and what it does while that fails."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from sinks import copying as module
from sinks.copies import Span
from sinks.copying import Copying
from sinks.errors import UNKNOWN_TABLE
from sinks.writer import Stop


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic


class Inline(Executor):
    """Runs a call where it is submitted."""

    def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Any:
        done: Future[Any] = Future()
        try:
            done.set_result(call(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class Copies:
    """In place of a Copier: takes so long, or fails so often."""

    def __init__(
        self, clock: Clock, durations: Sequence[float] = (), failures: int = 0, error: Exception | None = None
    ) -> None:
        self._clock, self._durations, self._failures = clock, list(durations), failures
        self._error = error or ConnectionError("gone")
        self.begun: list[float] = []
        self.copied: list[list[Span]] = []
        self.closed = False

    def copy(self, spans: list[Span]) -> None:
        self.begun.append(self._clock.now)
        if self._durations:
            self._clock.now += self._durations.pop(0)
        if self._failures:
            self._failures -= 1
            raise self._error
        self.copied.append(spans)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Moves where something is waited for with a limit, and nothing else comes first."""
    found = Clock()

    async def wait(event: Any, seconds: float) -> None:
        event.close()
        await pause()
        found.now += seconds
        raise TimeoutError

    monkeypatch.setattr(module, "time", found)
    monkeypatch.setattr(asyncio, "wait_for", wait)
    return found


pause: Callable[[], Any] = lambda: asyncio.sleep(0)  # noqa: E731


async def working(copies: Copies, failed: list[BaseException] | None = None) -> Copying:
    anything: Any = copies
    found = Copying(anything, Inline(), failed.append if failed is not None else anything)
    found.start()
    return found


def test_the_pace_is_a_tenth_of_the_time_within_limits(clock: Clock) -> None:
    copies = Copies(clock, [0.01, 0.1, 0.2, 1.0, 4.0, 0.01, 0.01])

    async def run() -> None:
        copying = await working(copies)

        def again() -> None:
            if len(copies.begun) < 8:
                copying.ask([(1, 2)], again)
            else:
                over.set()

        over = asyncio.Event()
        copying.ask([(1, 2)], again)
        await over.wait()
        await copying.stop()

    asyncio.run(run())
    gaps = [round(later - earlier, 3) for earlier, later in pairwise(copies.begun)]
    assert gaps == [0.3, 1.0, 2.0, 3.0, 4.0, 0.3, 0.3]
    assert copies.closed


def test_what_was_asked_for_meanwhile_is_one_copy_and_done_behind_it(clock: Clock) -> None:
    copies = Copies(clock)
    done: list[tuple[str, int]] = []

    async def run() -> None:
        copying = await working(copies)
        for name, spans in (("a", [(1, 5)]), ("b", [(3, 9), (10**6, 10**6)]), ("c", [])):
            copying.ask(spans, lambda name=name: done.append((name, len(copies.copied))))  # type: ignore[misc]
        assert not done
        while len(done) < 3:
            await pause()
        await copying.stop()

    asyncio.run(run())
    assert copies.copied == [[(1, 9), (10**6, 10**6)]]
    assert done == [("a", 1), ("b", 1), ("c", 1)]


def test_who_is_in_a_hurry_does_not_wait_for_the_pace(clock: Clock) -> None:
    copies = Copies(clock, [100.0])

    async def run() -> None:
        copying = await working(copies)
        for nth in (1, 2):
            copying.ask([], lambda: None)
            copying.hurry()
            while len(copies.copied) < nth:
                await pause()
        await copying.stop()

    asyncio.run(run())
    assert copies.begun == [1000.0, 1100.0]


def test_nothing_is_done_before_its_copy_however_often_that_fails(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = Copies(clock, failures=3)
    waited: list[float] = []
    seen: list[tuple[str, bool]] = []
    found: list[Copying] = []
    sleep = asyncio.sleep

    async def slept(seconds: float) -> None:
        if seconds:
            waited.append(seconds)
            (copying,) = found
            well = asyncio.ensure_future(copying.well())
            await sleep(0)
            seen.append((copying.waits, well.done()))
            well.cancel()
        await sleep(0)

    async def run() -> None:
        found.append(copying := await working(copies))
        await copying.well()
        over = asyncio.Event()
        copying.ask([(1, 2)], over.set)
        await over.wait()
        await copying.well()
        assert copying.waits == ""
        await copying.stop()

    monkeypatch.setattr(asyncio, "sleep", slept)
    asyncio.run(run())
    assert waited == [0.1, 0.2, 0.4]
    assert seen == [("ConnectionError: gone", False)] * 3
    assert copies.copied == [[(1, 2)]]


def test_a_hurry_is_over_with_the_copy_that_it_was_for(clock: Clock) -> None:
    copies = Copies(clock)

    async def run() -> None:
        copying = await working(copies)

        def again() -> None:  # so that there always is something to copy
            if len(copies.begun) < 4:
                copying.ask([(1, 2)], again)
            else:
                over.set()

        over = asyncio.Event()
        copying.ask([(1, 2)], again)
        copying.hurry()
        await over.wait()
        await copying.stop()

    asyncio.run(run())
    gaps = [round(later - earlier, 3) for earlier, later in pairwise(copies.begun)]
    assert gaps == [0.3, 0.3, 0.3]


@pytest.mark.parametrize(("code", "ends"), [(497, True), (UNKNOWN_TABLE, False)])
def test_what_only_a_person_can_mend_ends_the_sink(clock: Clock, code: int, ends: bool) -> None:
    """But its own table, if another sink has removed it, is made again."""
    copies = Copies(clock, failures=1, error=DatabaseError("no", code=code))
    failed: list[BaseException] = []

    async def run() -> None:
        copying = await working(copies, failed)
        over = asyncio.Event()
        copying.ask([(1, 2)], over.set)
        while not failed and not over.is_set():
            await pause()
        await copying.stop()

    asyncio.run(run())
    assert [type(error) for error in failed] == ([Stop] if ends else [])
    assert copies.copied == ([] if ends else [[(1, 2)]])


def test_the_end_waits_for_a_copy_under_way_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.05)
    for finishes in (True, False):
        begun, go = threading.Event(), threading.Event()

        class Slow(Copies):
            def copy(self, spans: list[Span], begun: threading.Event = begun, go: threading.Event = go) -> None:
                begun.set()
                go.wait(30)
                super().copy(spans)

        copies = Slow(Clock())

        async def run(copies: Any, begun: threading.Event, go: threading.Event, finishes: bool) -> None:
            with ThreadPoolExecutor(2) as pool:
                copying = Copying(copies, pool, lambda error: None)
                copying.start()
                copying.ask([(1, 2)], lambda: None)
                await asyncio.to_thread(begun.wait, 30)
                if finishes:
                    go.set()
                await copying.stop()
                go.set()

        asyncio.run(run(copies, begun, go, finishes))
        assert copies.closed == finishes


def test_an_error_of_what_is_done_behind_a_copy_ends_the_sink(clock: Clock) -> None:
    failed: list[BaseException] = []

    def broken() -> None:
        raise KeyError("settle")

    async def run() -> None:
        copying = await working(Copies(clock), failed)
        copying.ask([], broken)
        while not failed:
            await pause()
        await copying.stop()

    asyncio.run(run())
    assert isinstance(failed[0], KeyError)
