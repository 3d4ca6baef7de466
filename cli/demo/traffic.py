"""The story as requests: in batches where vendors have them, some again, some out of order, some that are refused.

A tick is a twentieth of a second. What a tick brings depends on the seed and the rate alone.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from random import Random
from typing import Any

import orjson

from cli.demo.books import Books
from cli.demo.event import Event
from cli.demo.mishaps import REFUSED, altered
from cli.posting import Request

TICKS = 20
"""In a second."""
AGAIN, HELD, ALONE, ALTERED = 0.04, 0.08, 0.05, 0.05
"""How often a request is repeated; an event held back, sent beside its batch, sent again with other contents."""
LATER = 30
"""Ticks by which something is held back at most."""
REFUSED_EVERY = 300
"""Events."""


def _events(bodies: list[Any]) -> Any:
    return {"events": bodies}


BATCHES: dict[str, tuple[str, int, Callable[[list[Any]], Any]]] = {
    "/v2/s2s/event": ("/v2/s2s/batch", 1000, list),
    "/api/v1/event": ("/api/v1/events", 100, _events),
    "/api/v1/events": ("/api/v1/events", 1000, list),
}
"""Of a route for single events: the vendor's batch route, how many it takes, and their envelope."""
ARRAYS = frozenset(("/api/v1/events",))
"""Routes that take an array always."""
OWN_KEY = frozenset(("revosurge", "scrip"))
"""Vendors whose events are known again without an Idempotency-Key."""


@dataclass(slots=True, eq=False)
class Outgoing:
    """A request, and what is to become of it."""

    request: Request
    events: int
    refused: int | None = None
    """The status with which it is refused; None: it is accepted."""
    after: "Outgoing | None" = None
    """It is sent once this one has been answered."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)


class Traffic:
    """One tenant's requests, and what analysts should find of them."""

    def __init__(self, story: Iterable[Event], books: Books, seed: str) -> None:
        self.books = books
        self.stopped = False
        """Set it, and no new event is told; what is held back still comes."""
        self._story = iter(story)
        self._rng = Random(seed)  # noqa: S311 - no secret
        self._keys = count(1)
        self._held: dict[int, list[Event]] = defaultdict(list)
        self._later: dict[int, list[Outgoing]] = defaultdict(list)
        self._tick = 0

    def ticks(self, total: int, rate: float) -> Iterator[list[Outgoing]]:
        """The requests of each tick, for so many events at so many a second; repeats come on top."""
        told = 0
        while (told < total and not self.stopped) or self._held or self._later:
            self._tick += 1
            due = 0 if self.stopped else min(total, int(self._tick * rate / TICKS)) - told
            new = list(islice(self._story, due))
            told += due
            refused = [
                self._refused(nth) for nth in range(told - due, told) if nth % REFUSED_EVERY == REFUSED_EVERY - 1
            ]
            events = [*self._in_time(new), *self._held.pop(self._tick, ())]
            yield [*self._requests(events), *refused, *self._later.pop(self._tick, ())]

    def _in_time(self, events: list[Event]) -> Iterator[Event]:
        """Those that are not held back for a later tick."""
        for event in events:
            self.books.note(event)
            if self._rng.random() < HELD:
                self._held[self._soon()].append(event)
            else:
                yield event

    def _soon(self) -> int:
        return self._tick + self._rng.randint(1, LATER)

    def _requests(self, events: Iterable[Event]) -> Iterator[Outgoing]:
        """Events of one batch route together, all others alone."""
        groups: dict[tuple[str, str], list[Event]] = defaultdict(list)
        for event in events:
            other = altered(event) if self._rng.random() < ALTERED else None
            if other is None and event.path in BATCHES and self._rng.random() >= ALONE:
                groups[event.dialect, event.path].append(event)
                continue
            alone = self._request([event])
            if other is not None:
                self._alter(alone, *other)
            yield alone
        for group in groups.values():
            most = BATCHES[group[0].path][1]
            for start in range(0, len(group), most):
                yield self._request(group[start : start + most])

    def _request(self, events: list[Event]) -> Outgoing:
        first, bodies = events[0], [event.body for event in events]
        path, content = first.path, bodies[0]
        if len(events) > 1 or path in ARRAYS:
            path, _, envelope = BATCHES[first.path]
            content = envelope(bodies)
        headers = {"Content-Type": "application/json"}
        if first.dialect not in OWN_KEY:
            headers["Idempotency-Key"] = f"demo-{next(self._keys)}"
        if first.campaign is not None:
            headers["X-Campaign-ID"] = first.campaign
        outgoing = Outgoing(Request("POST", path, headers, orjson.dumps(content)), len(events))
        self._repeat(outgoing, first.dialect)
        return outgoing

    def _repeat(self, first: Outgoing, dialect: str) -> None:
        """The same request again, as a client does that has not seen the answer."""
        if self._rng.random() >= AGAIN:
            return
        self._later[self._soon()].append(Outgoing(first.request, first.events, after=first))
        if dialect == "revosurge":
            self.books.duplicates += first.events
        else:
            self.books.replayed += first.events  # the gateway knows the key, and answers by itself

    def _alter(self, first: Outgoing, body: Any, refused: int | None) -> None:
        """The same key with other contents: a conflict, which the gateway itself refuses where it knows the key."""
        request = Request("POST", first.request.path, first.request.headers, orjson.dumps(body))
        self._later[self._soon()].append(Outgoing(request, 1, refused, after=first))
        if refused is None:
            self.books.conflicts += 1
        else:
            self.books.rejections += 1

    def _refused(self, nth: int) -> Outgoing:
        path, body, status = REFUSED[nth // REFUSED_EVERY % len(REFUSED)]
        self.books.rejections += 1
        return Outgoing(Request("POST", path, {"Content-Type": "application/json"}, body), 0, status)
