"""The HTTP application: each request to its place, with an id, a line in the metrics and, if it failed, in the log."""

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.answers import CLOSE, DRAINING, FAULT, JSON, NOT_ALLOWED, NOT_FOUND, Answer
from gateway.body import ClientGone
from gateway.entry import Call, Entry
from gateway.routes import Routes
from runtime.metrics import IN_PROGRESS, REQUESTS

log = logging.getLogger("sluice.gateway")

Page = Callable[[], Awaitable[Answer]]

_SANE_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")


@dataclass(slots=True)
class Told:
    """What the metrics and the log say of a request."""

    dialect: str = ""
    route: str = "unknown"


class App:
    """An RSGI application."""

    def __init__(self, routes: Routes, entry: Entry, pages: Mapping[str, Page]) -> None:
        self._routes, self._entry, self._pages = routes, entry, pages
        self._ids = map(f"{secrets.token_hex(6)}-{{:x}}".format, itertools.count(1))
        self.in_progress = 0
        """Requests that are not answered yet."""
        self.draining = False
        """True: no new work is taken on."""
        self._idle = asyncio.Event()
        IN_PROGRESS.set_function(lambda: self.in_progress)

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        """One request."""
        began = time.perf_counter()
        self.in_progress += 1
        told = Told()
        headers = dict(scope.headers.items())
        given = headers.get("x-request-id")
        request_id = given if given is not None and _SANE_ID.fullmatch(given) else next(self._ids)
        try:
            answer = await self._answer(scope, proto, headers, request_id, told)
            answer.headers.append(("x-request-id", request_id))
            proto.response_bytes(answer.status, answer.headers, answer.body)
            self._tell(told, answer.status, request_id, time.perf_counter() - began)
        except ClientGone:
            proto.response_empty(499, [])
            self._tell(told, 499, request_id, time.perf_counter() - began)
        finally:
            self.in_progress -= 1
            if self.draining and not self.in_progress:
                self._idle.set()

    async def drain(self) -> None:
        """Takes no new work on from now, and returns when what was begun is answered."""
        self.draining = True
        if self.in_progress:
            await self._idle.wait()

    async def _answer(self, scope: Any, proto: Any, headers: Mapping[str, str], request_id: str, told: Told) -> Answer:
        method, path = scope.method, scope.path
        found = self._routes.find(method, path)
        if isinstance(found, list):
            return await self._page(method, path, found, told)
        endpoint, params = found
        told.route, told.dialect = endpoint.name, endpoint.dialect.name
        if self.draining:
            return Answer(endpoint.dialect.unavailable, DRAINING, [JSON, CLOSE, ("retry-after", "1")])
        call = Call(endpoint, params, headers, proto, request_id, endpoint.dialect)
        try:
            return await self._entry.answer(call)
        except ClientGone:
            raise
        except Exception:
            log.exception("request failed", extra={"request_id": request_id, "route": endpoint.name})
            return Answer(500, FAULT)
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
        if status >= 400:
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
