"""The dialects' handlers, played to without a server."""

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from gateway.dialects import registry
from gateway.dialects.base import Accepted, Dialect, Event, Handler, Refusal, Request
from tests.contract.recordings import Reply, Sent


class MemoryRegistry:
    """Absinthe's registered events, in memory."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str | None, str], Mapping[str, Any]] = {}

    async def find(self, tenant: str, event_id: str) -> Mapping[str, Any] | None:
        found = (r for r in self.records.values() if (r["tenant"], r["event_id"]) == (tenant, event_id))
        return next(found, None)

    async def list(self, tenant: str, campaign: str | None) -> list[Mapping[str, Any]]:
        return [r for r in self.records.values() if r["tenant"] == tenant and campaign in (None, r["campaign"])]

    async def register(self, record: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
        key = (record["tenant"], record["campaign"], record["name"])
        made = key not in self.records
        return self.records.setdefault(key, record), made


def counting_ids() -> Iterator[bytes]:
    """Ids that are the same in every run."""
    number = 0
    while True:
        number += 1
        yield number.to_bytes(16, "big")


@dataclass
class Handlers:
    """Sends requests to the handlers, and keeps the events they made."""

    tenant: str = "acme"
    now: int = 1_767_225_600_000  # 2026-01-01
    events: Sequence[Event] = ()
    accepted: Accepted | None = None
    dialect: str = ""
    """Whose the last request was."""

    def __post_init__(self) -> None:
        self.dialects = registry.load(MemoryRegistry())
        self.ids = counting_ids()

    async def send(self, sent: Sent) -> Reply:
        found = self._find(sent)
        if found is None:
            return Reply(404, b"{}")
        dialect, route, params, handle = found
        headers = {name.lower(): value for name, value in sent.headers.items()}
        new_id = self.ids.__next__
        request = Request(route, params, headers, sent.body, self.tenant, self.now, new_id)
        for shared in registry.SHARED:
            if route == f"{shared.method} {shared.path}":
                self.dialect, handle = shared.decide(request)
                break
        else:
            self.dialect = dialect.name
        self.events, self.accepted = (), None
        try:
            answer = handle(request)
            self.accepted = await answer if isinstance(answer, Awaitable) else answer
        except Refusal as refusal:
            return Reply(refusal.status, refusal.body())
        self.events = self.accepted.events
        return Reply(self.accepted.status, self.accepted.body)

    def _find(self, sent: Sent) -> tuple[Dialect, str, dict[str, str], Handler] | None:
        best: tuple[Dialect, str, dict[str, str], Handler] | None = None
        for dialect in self.dialects:
            for route in dialect.routes:
                params = _params(route.path, sent.path) if route.method == sent.method else None
                if params is not None and (best is None or not params):
                    best = dialect, f"{route.method} {route.path}", params, route.handle
        return best


def _params(template: str, path: str) -> dict[str, str] | None:
    """What the template's names stand for in the path; None where it is another path."""
    names, parts = template.split("/"), path.split("/")
    if len(names) != len(parts):
        return None
    params = {}
    for name, part in zip(names, parts, strict=True):
        if name.startswith("{"):
            params[name[1:-1]] = unquote(part)
        elif name != part:
            return None
    return params
