"""What a dialect is: routes, each a function from a request to canonical events and the answer.

A handler is pure: no clock, no socket, no Kafka. It checks the whole request and either returns ``Accepted`` or raises
``Refusal`` with every fault at once. What surrounds it (keys, limits, body size, idempotency, Kafka) is the server's.
``gateway.dialects.registry.load(registry)`` returns every Dialect; a route that two of them declare stands once more in
``SHARED`` there, which says whose a request is (spec/dialects.md, The shared route).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from schemas.keys import uuid7_bytes

Event = dict[str, Any]
"""A canonical event: every field of schemas/avro/event, in Avro's primitive values."""


@dataclass(slots=True)
class Request:
    """A request whose key is known and whose body is within the limits."""

    route: str
    """Method and path template, as in the documentation: ``POST /events/{event_id}/data``."""
    params: Mapping[str, str]
    """What the template's names stand for."""
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    """Unpacked."""
    tenant: str
    received_at: int
    """Milliseconds of the epoch, by the gateway's clock."""
    new_id: Callable[[], bytes] = uuid7_bytes
    """Where an event without a dedup key takes its id from: 16 bytes."""


@dataclass(slots=True)
class Fault:
    """One thing to mend in a request."""

    field: str
    """Path within the event, as ``payload.amount``; empty for the whole."""
    message: str
    index: int | None = None
    """Position in the batch; None where the request is one event."""


class Refusal(Exception):  # noqa: N818 - it is an answer, not an error of ours
    """The request is answered with a 4xx; nothing of it is produced."""

    def __init__(self, status: int, detail: str, faults: Sequence[Fault] = (), **extra: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.faults, self.extra = status, detail, list(faults), extra

    def body(self) -> bytes:
        """The answer's body: ``{"detail", "errors": [{"index", "field", "message"}]}`` and what else was said."""
        errors = [{"index": fault.index, "field": fault.field, "message": fault.message} for fault in self.faults]
        return orjson.dumps({"detail": self.detail, "errors": errors, **self.extra})


class Malformed(Refusal):
    """A 400 because the body is no JSON: syntax or encoding.

    Apart from other refusals since on the shared route such a body belongs to no dialect and is answered as adwize.
    """

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(400, message, faults or [Fault("", message)])


@dataclass(slots=True)
class Idempotency:
    """What the gateway's own index remembers of a request (spec/semantics.md)."""

    key: str
    fingerprint: bytes
    conflict: int
    """Status for the same key with another payload: 409 for scrip, 422 for the header."""
    sent: str
    """The client's own part of the key."""


@dataclass(slots=True)
class Accepted:
    """The events to produce, and the answer once Kafka has them all."""

    status: int
    body: bytes
    events: Sequence[Event] = ()
    idempotency: Idempotency | None = None


class Registry(Protocol):
    """Absinthe's registered events, shared by all gateways."""

    async def find(self, tenant: str, event_id: str) -> Mapping[str, Any] | None:
        """The registered event (a record of schemas/avro/registered_event), or None."""

    async def list(self, tenant: str, campaign: str | None) -> list[Mapping[str, Any]]:
        """Those of a campaign, or of the whole workspace, in the order of registration."""

    async def register(self, record: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
        """The record that now stands under its (tenant, campaign, name), and whether this call made it."""


Handler = Callable[[Request], Accepted | Awaitable[Accepted]]
"""A plain function, or an ``async def`` where it asks the registry."""


@dataclass(frozen=True)
class Route:
    """One route of a dialect."""

    method: str
    path: str
    handle: Handler
    summary: str = ""
    """One sentence for the API's description."""
    body: Mapping[str, Any] | None = None
    """JSON schema of the request's body, for /openapi.json; None: no body."""
    answers: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """JSON schema of each answer that is a success, by status."""
    example: Any = None
    """A body that is accepted."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Request headers that the route reads, and what they mean."""
    media_type: str = "application/json"
    """Content-Type of the example."""
    any_media_type: bool = False
    """True: the handler judges Content-Type itself (CloudEvents' binary mode); else only JSON passes."""


@dataclass(frozen=True)
class Shared:
    """A route of several dialects: whose a request is, only its body tells."""

    method: str
    path: str
    decide: Callable[[Request], tuple[str, Handler]]
    """Parses the body and returns the dialect's name and the handler of this one request, to be called once key and
    limit are judged. Never raises: for malformed JSON it is the handler that refuses."""


@dataclass(frozen=True)
class Dialect:
    """A vendor's API."""

    name: str
    routes: tuple[Route, ...]
    limit: int | Mapping[str, int | None]
    """Requests a minute by default, or by tier; None: unlimited but for the key's own limit. "free" is always one."""
    forbidden: int = 401
    """Status for a revoked key or a dialect that the key may not use: 403 where the document names it."""
    refusals: tuple[int, ...] = (400, 401, 429)
    """Error statuses that the document names."""
    unavailable: int = 503
    """Status while Kafka does not acknowledge: 500 where the document tells clients to retry on it."""
