"""Absinthe's registered events, in the compacted topic control.registry, one view for all gateways.

The first record in the log with a (tenant, campaign, name) is the registration. Every attempt writes under a record key
of its own, since compaction keeps the last record of a key and would let a loser's stand; a loser removes its own. To
look up what this gateway does not have, and to list, the log is read to its end first, so that what any gateway has
answered is seen by all.

Errors: Unavailable.
"""

import logging
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from gateway.producer import THE_BROKERS, Producer, Unavailable
from runtime.table import Table, TableError
from schemas.codec import DecodeError
from schemas.keys import key
from schemas.registry import REGISTERED_EVENT
from schemas.topics import CONTROL_REGISTRY

log = logging.getLogger("sluice.registry")

Registered = Mapping[str, Any]
Name = tuple[str, str | None, str]


class Registry:
    """What dialects see as base.Registry."""

    def __init__(self, kafka: str, producer: Producer, patience: float) -> None:
        self._producer, self._patience = producer, patience
        self.table = Table(kafka, CONTROL_REGISTRY.name, self._apply, self._reset)
        self._reset()

    def _reset(self) -> None:
        self._attempts: dict[bytes, Name] = {}
        self._standing: dict[Name, tuple[bytes, Registered]] = {}
        self._by_id: dict[tuple[str, str], Registered] = {}

    async def find(self, tenant: str, event_id: str) -> Registered | None:
        """The tenant's registered event. An unknown id costs a look at the log's end."""
        found = self._by_id.get((tenant, event_id))
        if found is None:
            await self._refresh()
            found = self._by_id.get((tenant, event_id))
        return found

    async def list(self, tenant: str, campaign: str | None) -> list[Registered]:
        """Those of a campaign, or all of the workspace, in the order of registration."""
        await self._refresh()
        return [
            record
            for (owner, scope, _), (_, record) in self._standing.items()
            if owner == tenant and campaign in (None, scope)
        ]

    async def register(self, record: Registered) -> tuple[Registered, bool]:
        """The record that stands under this (tenant, campaign, name) now, and whether it is this one."""
        name = (record["tenant"], record["campaign"], record["name"])
        if name not in self._standing:
            await self._refresh()
        if name in self._standing:
            return self._standing[name][1], False
        attempt = key(*name, str(uuid4())).encode()
        await self._write(attempt, REGISTERED_EVENT.encode(record))
        await self._refresh()
        winner, standing = self._standing[name]
        if winner != attempt:
            await self._write(attempt, None)
        return standing, winner == attempt

    async def _write(self, attempt: bytes, value: bytes | None) -> None:
        await self._producer.send(CONTROL_REGISTRY.name, [(0, attempt, value, THE_BROKERS, [])])

    async def _refresh(self) -> None:
        try:
            await self.table.refresh(self._patience)
        except TableError as error:
            raise Unavailable(str(error)) from error

    def _apply(self, attempt: bytes, value: bytes | None, offset: int) -> None:
        if value is None:
            self._remove(attempt)
            return
        try:
            record = REGISTERED_EVENT.decode(value)
        except DecodeError as error:
            log.warning("registration is not read", extra={"offset": offset, "reason": str(error)})
            return
        name = (record["tenant"], record["campaign"], record["name"])
        self._attempts[attempt] = name
        if name not in self._standing:
            self._standing[name] = attempt, record
            self._by_id[record["tenant"], record["event_id"]] = record

    def _remove(self, attempt: bytes) -> None:
        name = self._attempts.pop(attempt, None)
        if name is not None and self._standing[name][0] == attempt:
            del self._by_id[name[0], self._standing.pop(name)[1]["event_id"]]
