"""From a dialect's request to its answer, in the order of checks that spec/dialects.md gives.

401, 403, rate limit, 413, 415, 400, 404, 409 or 422; on the shared route 413, 415 and parsing come before 403 and the
limit, since only the body tells whose request it is.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import orjson

from gateway import body as bodies
from gateway.answers import CLOSE, JSON, UNAVAILABLE, Answer, Denied, Header, Limited
from gateway.budget import Budget
from gateway.columns import Columns
from gateway.dialects.base import Accepted, Dialect, Event, Fault, Handler, Refusal, Request
from gateway.idempotency import Index, Outcome
from gateway.incoming import Garbled, Incoming, TooSlow
from gateway.keys import Key, Keys
from gateway.limits import Limits, Standing, headers_of
from gateway.producer import Headers, Producer, Record, Unavailable
from gateway.rejections import BODY, RECORDED, Rejections
from gateway.routes import Endpoint
from runtime.metrics import REQUESTS
from runtime.settings import Settings
from schemas.keys import partition_of
from schemas.registry import EVENT
from schemas.topics import INGEST_EVENTS

_TRACE = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Call:
    """One request on its way to its answer."""

    endpoint: Endpoint
    params: Mapping[str, str]
    headers: Mapping[str, str]
    incoming: Incoming
    request_id: str
    dialect: Dialect
    """By which it is answered; on a shared route this may change once the body is known."""
    key: Key | None = None
    standing: Standing | None = None
    events_standing: Standing | None = None
    judged: bool = False
    """The limit has been asked."""
    body: bytes = b""
    held: int = 0
    """Bytes of the memory budget."""
    more: list[Header] = field(default_factory=list)


@dataclass(slots=True)
class Entry:
    """All that a request meets between the router and its answer."""

    settings: Settings
    dialects: Mapping[str, Dialect]
    keys: Keys
    limits: Limits
    producer: Producer
    index: Index
    rejections: Rejections
    budget: Budget
    clock: Callable[[], float] = time.time

    async def answer(self, call: Call) -> Answer:
        """The answer, whatever happens to the request. Raises ClientGone."""
        try:
            status, body = await self._accept(call)
        except Refusal as refusal:
            status, body = await self._refuse(call, refusal)
        except Unavailable:
            call.more.append(("retry-after", str(self.settings.gateway_retry_after)))
            await self._tell_limit(call)
            await self._let_go(call, 0)
            status, body = call.dialect.unavailable, UNAVAILABLE
        finally:
            self.budget.give(call.held)
        return Answer(status, body, [JSON, *headers_of(call.standing, call.events_standing), *call.more])

    async def standing(self, headers: Mapping[str, str], dialect: Dialect) -> list[Header]:
        """What an answer says of a known key's limit where no route is reached; that is not counted."""
        key = self.keys.find(headers.get("x-api-key"))
        return [] if key is None else headers_of(await self.limits.look(key, dialect.name, dialect.limit), None)

    # The way in

    async def _accept(self, call: Call) -> tuple[int, bytes]:
        call.key = key = self._key(call)
        handle = await self._shared(call, key) if call.endpoint.shared else await self._own(call, key)
        accepted = handle()
        if not isinstance(accepted, Accepted):
            accepted = await accepted
        wanted = accepted.idempotency
        if wanted is None:
            await self._produce(call, key, accepted)
            return accepted.status, accepted.body

        async def produce() -> Outcome:
            await self._produce(call, key, accepted)
            return Outcome(wanted.fingerprint, accepted.status, accepted.body)

        outcome = await self.index.once(call.dialect.name, wanted, produce)
        return outcome.status, outcome.body

    def _key(self, call: Call) -> Key:
        if not self.keys.table.loaded.is_set():
            raise Unavailable("the keys are not known yet")
        key = self.keys.find(call.headers.get("x-api-key"))
        if key is None:
            raise Denied(401)
        return key

    async def _own(self, call: Call, key: Key) -> Callable[[], Any]:
        await self._admit(call, key)
        request = await self._request(call, key)
        handle: Handler = call.endpoint.handle  # type: ignore[assignment]
        return lambda: handle(request)

    async def _shared(self, call: Call, key: Key) -> Callable[[], Any]:
        try:
            request = await self._request(call, key)
        except Refusal as refusal:
            if refusal.status == 400:
                await self._admit(call, key)
            raise
        name, handle = call.endpoint.shared.decide(request)  # type: ignore[union-attr]
        call.dialect = self.dialects[name]
        await self._admit(call, key)
        return lambda: handle(request)

    async def _admit(self, call: Call, key: Key) -> None:
        dialect = call.dialect
        if not key.may_use(dialect.name):
            raise Denied(dialect.forbidden)
        call.judged = True
        call.standing = standing = await self.limits.request(key, dialect.name, dialect.limit)
        if standing is not None and standing.exceeded:
            raise Limited(standing, "requests")

    async def _request(self, call: Call, key: Key) -> Request:
        endpoint = call.endpoint
        if endpoint.has_body:
            await self._body(call)
        now = int(self.clock() * 1000)
        return Request(endpoint.name, call.params, call.headers, call.body, key.tenant, now)

    async def _body(self, call: Call) -> None:
        settings, headers = self.settings, call.headers
        limit = settings.gateway_body_bytes
        incoming = call.incoming
        size, encoding = incoming.declared_size(), headers.get("content-encoding", "")
        if size is not None and size > limit:
            raise bodies.too_large(limit)
        call.held = limit if size is None or encoding else size
        if not self.budget.take(call.held):
            call.held = 0
            raise Unavailable("too many bodies at once")
        try:
            whole = await incoming.body.complete(settings.gateway_body_timeout)
        except TooSlow:
            call.more.append(CLOSE)
            raise Refusal(408, "the request body was not complete in time") from None
        except Garbled:
            call.more.append(CLOSE)
            message = "the body's chunks are not as Transfer-Encoding: chunked has them"
            raise Refusal(400, message, [Fault("", message)]) from None
        if not whole:
            raise bodies.too_large(limit)
        call.body = incoming.body.bytes()
        malformed = None
        if encoding:
            try:
                call.body = bodies.unpack(call.body, encoding, limit)
            except Refusal as refusal:
                if refusal.status != 400:
                    raise
                malformed = refusal
        if not call.endpoint.any_media_type and not bodies.is_json(headers.get("content-type")):
            raise Refusal(415, "Content-Type must be application/json")
        if malformed is not None:
            raise malformed

    async def _produce(self, call: Call, key: Key, accepted: Accepted) -> None:
        """Returns once Kafka has all events. Raises Limited, Unavailable."""
        events = accepted.events
        if not events:
            return
        if key.events_limit is not None:
            call.events_standing = standing = await self.limits.events(key, len(events))
            if standing is not None and standing.exceeded:
                raise Limited(standing, "events")
        partitions = self.producer.partitions(INGEST_EVENTS.name)
        trace = _trace(call.headers)
        await self.producer.send(INGEST_EVENTS.name, records(events, partitions, trace))
        REQUESTS.add_events(call.dialect.name, len(events))

    # The way out for what is refused

    async def _refuse(self, call: Call, refusal: Refusal) -> tuple[int, bytes]:
        await self._tell_limit(call)
        if isinstance(refusal, Limited):
            call.more.append(("retry-after", str(refusal.standing.wait)))
        await self._let_go(call, BODY if refusal.status in RECORDED else 0)
        if call.key is not None and refusal.status in RECORDED:
            self._reject(call, call.key, refusal)
        return refusal.status, refusal.body()

    async def _tell_limit(self, call: Call) -> None:
        """What comes before the limit is judged is not counted, but says where a known key stands."""
        if call.key is not None and not call.judged:
            call.standing = await self.limits.look(call.key, call.dialect.name, call.dialect.limit)

    async def _let_go(self, call: Call, keep: int) -> None:
        """Takes what is left of the body off the connection: a client that is still sending would not read its answer.

        One that waits to be asked (Expect) is not; one that is known may send more before it is cut off.
        """
        body, settings = call.incoming.body, self.settings
        if not body.done and CLOSE not in call.more and "expect" not in call.headers:
            most = settings.gateway_drain_bytes if call.key is not None else settings.gateway_body_bytes
            await body.discard(keep, most, settings.gateway_body_timeout)
        if keep and not call.body:
            call.body = body.bytes()[:keep]

    def _reject(self, call: Call, key: Key, refusal: Refusal) -> None:
        faults = [{"index": fault.index, "field": fault.field, "message": fault.message} for fault in refusal.faults]
        self.rejections.add(
            received_at=int(self.clock() * 1000),
            tenant=key.tenant,
            dialect=call.dialect.name,
            route=call.endpoint.name,
            status=refusal.status,
            errors=orjson.dumps(faults).decode(),
            detail=refusal.detail,
            body=call.body,
            request_id=call.request_id,
        )


def records(events: Sequence[Event], partitions: int, trace: Headers) -> list[Record]:
    """The records of a request's events, in their order; ``trace`` are the headers of each.

    A record goes by its dedup key; an event without one goes by its id, and its record has no key.
    """
    if isinstance(events, Columns):
        return list(map(_record, *events.records(), repeat(partitions), repeat(trace)))
    return [
        _record(event["dedup_key"], event["event_id"], event["received_at"], EVENT.encode(event), partitions, trace)
        for event in events
    ]


def _record(
    dedup_key: str | None, event_id: bytes, received_at: int, value: bytes, partitions: int, trace: Headers
) -> Record:
    key = None if dedup_key is None else dedup_key.encode()
    return partition_of(event_id if key is None else key, partitions), key, value, received_at, trace


def _trace(headers: Mapping[str, str]) -> Headers:
    """W3C Trace Context, for the record's headers."""
    parent = headers.get("traceparent")
    if parent is None or _TRACE.fullmatch(parent) is None:
        return []
    return [("traceparent", parent.encode())]
