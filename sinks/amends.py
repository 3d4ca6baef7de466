"""What was stored of a person who was erased meanwhile is taken out again, by the sink that stored it.

A sink reads control.forgotten before it stores a batch; if it stands still behind that (a paused process, a stalled
machine), its rows may arrive after `sluice forget` rewrote the tables, and tell who it was. So a batch that took longer
than a person's erasure is gone through once more.

Errors: ClickHouse's.
"""

import threading
from collections.abc import Sequence
from typing import Any

from clickhouse_connect.driver.client import Client

from runtime.forgotten import Forgotten
from schemas.codec import DecodeError
from schemas.topics import DEAD_LETTERS, REJECTIONS, SESSIONS, Topic
from sinks.forgetting import Forgetting

_ONE_AT_A_TIME = threading.Lock()
"""Lanes rewrite the same tables."""


def amend(client: Client, topic: Topic, records: Sequence[Any], forgotten: Forgotten) -> None:
    """Takes the forgotten out of what these records of a topic became."""
    with _ONE_AT_A_TIME:
        forgetting = Forgetting(client)
        if topic == REJECTIONS:
            forgetting.rejections(forgotten, sorted(forgetting.tenants()), dry_run=False)
        elif topic == DEAD_LETTERS:
            forgetting.letters(forgotten, sorted(forgetting.tenants()), dry_run=False)
        else:
            _amend_rows(forgetting, topic, records, forgotten)


def _amend_rows(forgetting: Forgetting, topic: Topic, records: Sequence[Any], forgotten: Forgotten) -> None:
    found: dict[tuple[str, str], list[bytes]] = {}
    for record in records:
        for tenant, player, session in _named(topic, record):
            found.setdefault((tenant, player), []).append(session)
    for (tenant, player), sessions in found.items():
        person = forgotten.find(tenant.encode(), player.encode())
        if person is not None:
            if topic == SESSIONS:
                forgetting.move_assignments(tenant, person, sessions)
            forgetting.rewrite(tenant, person)


def _named(topic: Topic, record: Any) -> list[tuple[str, str, bytes]]:
    """Workspace and player of a record, and the session where it is about one; nothing where it is about nobody."""
    assert topic.value is not None
    try:
        fields = topic.value.decode(record.value or b"")
    except DecodeError:
        return []
    tenant, player = fields.get("tenant"), fields.get("player_id")
    return [(tenant, player, fields.get("session_id") or b"")] if tenant is not None and player is not None else []
