"""The HTTP application: each request to its place, with an id, a line in the metrics and, if it failed, in the log."""

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from gateway.answers import CLOSE, DRAINING, FAULT, JSON, NOT_ALLOWED, NOT_FOUND, Answer
from gateway.entry import Call, Entry
from gateway.incoming import ClientGone, Incoming
from gateway.routes import Routes
from runtime.metrics import IN_PROGRESS, REQUESTS

log = logging.getLogger("sluice.gateway")

Page = Callable[[], Awaitable[Answer]]

GONE = 499
"""What the metrics call a request whose client left before it was complete."""

READY = "GET /ready"
"""A probe, whose answer is nobody's failure: no line in the log."""

_SANE_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")


@dataclass(slots=True)
class Told:
    """What the metrics and the log say of a request."""

    dialect: str = ""
    route: str = "unknown"


class App:
    """From a request to its answer."""

    def __init__(self, routes: Routes, entry: Entry, pages: Mapping[str, Page]) -> None:
        self._routes, self._entry, self._pages = routes, entry, pages
        self._ids = map(f"{secrets.token_hex(6)}-{{:x}}".format, itertools.count(1))
        self.in_progress = 0
        """Requests that are not answered yet."""
        self.draining = False
        """True: no new work is taken on."""
        self._idle = asyncio.Event()
        IN_PROGRESS.set_function(lambda: self.in_progress)

    async def __call__(self, incoming: Incoming) -> Answer | None:
        """The answer; None where nobody waits for it any more."""
        began = time.perf_counter()
        self.in_progress += 1
        told = Told()
        given = incoming.headers.get("x-request-id")
        request_id = given if given is not None and _SANE_ID.fullmatch(given) else next(self._ids)
        answer: Answer | None = None
        try:
            answer = await self._answer(incoming, request_id, told)
            answer.headers.append(("x-request-id", request_id))
        except ClientGone:
            pass
        except Exception:
            log.exception("request failed", extra={"request_id": request_id, "route": told.route})
            answer = Answer(500, FAULT)
        finally:
            self.in_progress -= 1
            if self.draining and not self.in_progress:
                self._idle.set()
        self._tell(told, GONE if answer is None else answer.status, request_id, time.perf_counter() - began)
        return answer

    async def drain(self) -> None:
        """Takes no new work on from now, and returns when what was begun is answered."""
        self.draining = True
        if self.in_progress:
            await self._idle.wait()

    async def _answer(self, incoming: Incoming, request_id: str, told: Told) -> Answer:
        found = self._routes.find(incoming.method, incoming.path)
        if isinstance(found, list):
            answer = await self._page(incoming.method, incoming.path, found, told)
            owner = self._routes.owner(incoming.path) if answer.status in (404, 405) else None
            if owner is not None:
                answer.headers += await self._entry.standing(incoming.headers, owner)
            return answer
        endpoint, params = found
        told.route, told.dialect = endpoint.name, endpoint.dialect.name
        if self.draining:
            standing = await self._entry.standing(incoming.headers, endpoint.dialect)
            return Answer(endpoint.dialect.unavailable, DRAINING, [JSON, CLOSE, ("retry-after", "1"), *standing])
        call = Call(endpoint, params, incoming.headers, incoming, request_id, endpoint.dialect)
        try:
            return await self._entry.answer(call)
        finally:
            told.dialect = call.dialect.name

    async def _page(self, method: str, path: str, allowed: list[str], told: Told) -> Answer:
        page = self._pages.get(path)
        if page is not None:
            told.route = f"GET {path}"
            if method in ("GET", "HEAD"):
                return await page()
            allowed = ["GET", "HEAD"]
        if not allowed:
            return Answer(404, NOT_FOUND)
        return Answer(405, NOT_ALLOWED, [JSON, ("allow", ", ".join(allowed))])

    def _tell(self, told: Told, status: int, request_id: str, seconds: float) -> None:
        REQUESTS.add(told.dialect, told.route, status, seconds)
        if status >= 400 and told.route != READY:
            level = logging.WARNING if status >= 500 and told.dialect else logging.INFO
            log.log(
                level,
                "refused" if status < 500 else "failed",
                extra={
                    "request_id": request_id,
                    "dialect": told.dialect,
                    "route": told.route,
                    "status": status,
                    "ms": round(seconds * 1000, 1),
                },
            )
