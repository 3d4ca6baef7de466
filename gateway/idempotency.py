"""The gateway's own index of idempotency keys (spec/semantics.md): a repeat gets the first answer, without an event.

A key is recorded only after Kafka's acknowledgement. A crash in between leaves it out, and the repeat is produced
again; the dedup agent settles that, as it does whatever else this index cannot see. So the index may fail open: where
it is away, requests pass, and nothing becomes wrong that is not put right downstream.

Requests with one key that are under way together have one leader, which produces; the others wait for its answer.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.dialects.base import Fault, Idempotency, Refusal
from runtime.metrics import IDEMPOTENT, INDEX_FAILURES

log = logging.getLogger("sluice.idempotency")

_HEAD = struct.Struct(">HB")


class IndexAway(Exception):  # noqa: N818 - a state, not a fault of the caller's
    """The store does not answer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The original answer, and the fingerprint of the request that got it."""

    fingerprint: bytes
    status: int
    body: bytes

    def pack(self) -> bytes:
        """As a store keeps it."""
        return _HEAD.pack(self.status, len(self.fingerprint)) + self.fingerprint + self.body

    @classmethod
    def unpack(cls, data: bytes) -> "Outcome":
        """From what `pack` made."""
        status, length = _HEAD.unpack_from(data)
        body = _HEAD.size + length
        return cls(data[_HEAD.size : body], status, data[body:])


class Store(Protocol):
    """Where outcomes are kept for the dedup window. Raises IndexAway."""

    async def get(self, key: str) -> bytes | None:
        """What was put, if it has not expired."""

    async def put(self, key: str, value: bytes) -> None:
        """Keeps the value for the window; the first one stays."""

    async def claim(self, key: str) -> str | None:
        """A claim on the key that no other gateway gets until it is released or has run out; None: another has it."""

    async def release(self, key: str, claim: str) -> None:
        """Gives a claim back."""

    async def close(self) -> None:
        """Lets go of files and connections."""


Produce = Callable[[], Awaitable[Outcome]]


class Index:
    """Answers repeats, and lets each key be produced once."""

    def __init__(self, store: Store, patience: float, poll: float = 0.02) -> None:
        """``patience``: how long to wait for another gateway's claim, a little over the time a claim lasts."""
        self._store, self._patience, self._poll = store, patience, poll
        self._leaders: dict[str, asyncio.Future[Outcome]] = {}

    async def once(self, dialect: str, wanted: Idempotency, produce: Produce) -> Outcome:
        """The outcome of the first request with this key, which may be this one.

        Raises Refusal where the first one had another payload, and whatever ``produce`` raises, in every waiting
        request alike.
        """
        leader = self._leaders.get(wanted.key)
        if leader is not None:
            return _judge(dialect, wanted, await asyncio.shield(leader))
        leader = self._leaders[wanted.key] = asyncio.get_running_loop().create_future()
        try:
            outcome, fresh = await self._lead(wanted.key, produce)
        except BaseException as error:
            leader.set_exception(error)
            leader.exception()  # there need not be a second request to fetch it
            raise
        finally:
            del self._leaders[wanted.key]
        leader.set_result(outcome)
        return outcome if fresh else _judge(dialect, wanted, outcome)

    async def _lead(self, key: str, produce: Produce) -> tuple[Outcome, bool]:
        """The outcome, and whether it was made here."""
        try:
            found, claim = await self._look_or_claim(key)
        except IndexAway as error:
            _away(error)
            return await produce(), True
        if found is not None:
            return Outcome.unpack(found), False
        try:
            outcome = await produce()
            await self._record(key, outcome)
        finally:
            await self._release(key, claim)
        return outcome, True

    async def _look_or_claim(self, key: str) -> tuple[bytes | None, str | None]:
        """What is recorded, else a claim; neither where another gateway's claim outlasts our patience."""
        deadline = asyncio.get_running_loop().time() + self._patience
        while True:
            if (found := await self._store.get(key)) is not None:
                return found, None
            if (claim := await self._store.claim(key)) is not None:
                found = await self._store.get(key)  # its last holder may have recorded just before it let go
                return found, claim
            if asyncio.get_running_loop().time() > deadline:
                return None, None
            await asyncio.sleep(self._poll)

    async def _record(self, key: str, outcome: Outcome) -> None:
        try:
            await self._store.put(key, outcome.pack())
        except IndexAway as error:
            _away(error)

    async def _release(self, key: str, claim: str | None) -> None:
        if claim is not None:
            try:
                await self._store.release(key, claim)
            except IndexAway as error:
                _away(error)


def _judge(dialect: str, wanted: Idempotency, first: Outcome) -> Outcome:
    if first.fingerprint == wanted.fingerprint:
        IDEMPOTENT.labels(dialect, "replayed").inc()
        return first
    IDEMPOTENT.labels(dialect, "conflict").inc()
    detail = "this idempotency key was used with another payload"
    told = f"{detail}: {wanted.sent}"  # behind the first colon, where sinks/trace.py looks for it among rejections
    if wanted.conflict == 409:
        raise Refusal(409, detail, [Fault("idempotency_key", told)], error="idempotency_conflict")
    raise Refusal(wanted.conflict, detail, [Fault("Idempotency-Key", told)])


def _away(error: IndexAway) -> None:
    INDEX_FAILURES.inc()
    log.warning("idempotency index is away", extra={"reason": str(error)})
