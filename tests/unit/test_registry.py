"""Absinthe's registrations: the first in the log stands, whatever compaction leaves of the others."""

import asyncio
from typing import Any

from gateway.budget import Budget
from gateway.producer import Producer
from gateway.registry import Registry
from schemas.registry import REGISTERED_EVENT


def record(description: str, campaign: str | None = "c", name: str = "n", tenant: str = "t") -> dict[str, Any]:
    fields = {"event_id": f"{tenant}-{campaign}-{name}", "tenant": tenant, "campaign": campaign, "name": name}
    return fields | {"description": description, "created_at": 0}


def replayed(*log: tuple[bytes, dict[str, Any] | None]) -> dict[str, str]:
    """Descriptions by event_id after these records."""

    async def run() -> dict[str, str]:
        registry = Registry("nowhere:1", Producer("nowhere:1", (), Budget(1), 1), 1)
        for offset, (key, value) in enumerate(log):
            registry.table._apply(key, None if value is None else REGISTERED_EVENT.encode(value), offset)
        return {event_id: standing["description"] for (_, event_id), standing in registry._by_id.items()}

    return asyncio.run(run())


def test_the_first_stands() -> None:
    assert replayed((b"1", record("one")), (b"2", record("two"))) == {"t-c-n": "one"}


def test_a_losers_tombstone_takes_nothing_away() -> None:
    log = [(b"1", record("one")), (b"2", record("two")), (b"2", None)]
    assert replayed(*log) == {"t-c-n": "one"}
    compacted = [log[0], log[2]]
    assert replayed(*compacted) == {"t-c-n": "one"}


def test_scopes_are_apart() -> None:
    log = [(b"1", record("d")), (b"2", record("d", campaign=None)), (b"3", record("d", tenant="u"))]
    assert set(replayed(*log)) == {"t-c-n", "t-None-n", "u-c-n"}


def test_what_cannot_be_read_is_passed_over() -> None:
    async def run() -> None:
        registry = Registry("nowhere:1", Producer("nowhere:1", (), Budget(1), 1), 1)
        registry.table._apply(b"1", b"no Avro", 0)
        registry.table._apply(b"unknown", None, 1)
        assert not registry._by_id

    asyncio.run(run())
