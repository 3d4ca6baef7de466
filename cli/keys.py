"""API keys. Only a key's SHA-256 is kept, so a key is shown once: when it is created."""

import argparse
import asyncio
import json as as_json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from cli.topics import unreachable
from gateway.dialects.registry import NAMES
from gateway.keys import create, publish, withdraw
from runtime.settings import Settings
from runtime.table import Table, TableError
from schemas.codec import DecodeError
from schemas.registry import API_KEY
from schemas.topics import CONTROL_KEYS

TIERS = ("free", "pro", "enterprise")
LONGEST_TENANT = 128
READ_LIMIT = 30.0
DEMO, DEMO_FILE, DEMO_KEYS = "demo", "demo-keys", 5
"""Tenant of the demo keys; the file in the data folder with their SHA-256, oldest first; and how many stay valid, so
that a shell from before a restart or two still works."""

Record = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="create | list | revoke")
    new = actions.add_parser("create", help="makes a key and prints it, once")
    new.add_argument("--tenant", required=True, type=tenant, help="workspace of the key")
    new.add_argument("--tier", choices=TIERS, default="free", help="(default: free)")
    new.add_argument("--limit", type=_count, help="requests per minute, 0 = unlimited (default: the dialect's)")
    new.add_argument("--events-limit", type=_count, help="events per minute (default: none)")
    new.add_argument("--dialects", type=_dialects, help=f"allowed dialects, by commas, of {', '.join(NAMES)}")
    every = actions.add_parser("list", help="all keys, revoked ones too")
    gone = actions.add_parser("revoke", help="a key is no longer valid, at once and for ever")
    gone.add_argument("id", help="the key's id, as create and list print it")
    for action in (new, every, gone):
        action.add_argument("--json", action="store_true", help="machine-readable output")


def tenant(text: str) -> str:
    """The name of a workspace, as an argument."""
    if not text.strip() or not text.isprintable() or len(text) > LONGEST_TENANT:
        raise argparse.ArgumentTypeError(f"a tenant is 1 to {LONGEST_TENANT} printable characters")
    return text


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >= 1 << 63:
        raise argparse.ArgumentTypeError(f"{text!r} is no count")
    return int(text)


def _dialects(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in NAMES]:
        raise argparse.ArgumentTypeError(f"no dialect is called {', '.join(map(repr, unknown))}")
    return sorted(set(names))


def run(settings: Settings, action: str, json: bool = False, **options: Any) -> int:
    """Exit code: 0 done, 1 where Kafka does not answer or there is no such key."""
    try:
        if action == "create":
            return asyncio.run(_create(settings, json, **options))
        if action == "list":
            return asyncio.run(_list(settings, json))
        return asyncio.run(_revoke(settings, json, **options))
    except KafkaError as error:
        print(unreachable(settings, error), file=sys.stderr)
    except TableError as error:
        print(error, file=sys.stderr)
    return 1


async def issue(settings: Settings, tenant: str, **options: Any) -> tuple[str, Record]:
    """Makes a key and makes it known; returns the key and its record. Raises KafkaError."""
    secret, record = create(tenant, **options)
    await _publish(settings, record)
    return secret, record


async def known(settings: Settings) -> list[Record]:
    """Every key's record, oldest first. Raises KafkaError where Kafka is away, TableError where it does not go on."""
    records: dict[bytes, Record] = {}
    unread: dict[bytes, str] = {}

    def apply(key: bytes, value: bytes | None, offset: int) -> None:
        records.pop(key, None)
        unread.pop(key, None)
        if value is None:
            return
        try:
            records[key] = API_KEY.decode(value)
        except DecodeError as error:  # a newer release's, which the gateways of this one do not know either
            unread[key] = f"The key at {CONTROL_KEYS.name}@{offset} is left out, since it cannot be read: {error}"

    async with _producer(settings):
        pass  # a table waits for a Kafka that is away
    table = Table(settings.kafka_address(), CONTROL_KEYS.name, apply)
    table.start()
    try:
        await table.refresh(READ_LIMIT)
    finally:
        await table.stop()
    for sentence in unread.values():
        print(sentence, file=sys.stderr)
    return sorted(records.values(), key=lambda record: (record["created_at"], record["id"]))


async def revoke(settings: Settings, record: Record) -> None:
    """The key of this record is no longer valid. Raises KafkaError."""
    await _publish(settings, record | {"revoked": True})


async def demo_key(settings: Settings) -> str:
    """A new key of the tenant ``demo``: a former one cannot be shown again. Raises KafkaError.

    All but the newest few that the data folder had are removed. A hash is noted before its key is made, so that none is
    ever left over.
    """
    note = settings.data_dir / DEMO_FILE
    secret, record = create(DEMO, limit=0)
    hashes = [*(note.read_text().split() if note.exists() else ()), record["key_hash"]]
    async with _producer(settings) as producer:
        for former in hashes[:-DEMO_KEYS]:
            await withdraw(producer, former)
        note.write_text("\n".join(hashes[-DEMO_KEYS:]))
        await publish(producer, record)
    return secret


@asynccontextmanager
async def borrowed(settings: Settings, tenant: str) -> AsyncIterator[str]:
    """A key without a limit for the length of a ``with``; no trace of it is left. Raises KafkaError."""
    secret, record = await issue(settings, tenant, limit=0)
    try:
        yield secret
    finally:
        async with _producer(settings) as producer:
            await withdraw(producer, record["key_hash"])


async def _publish(settings: Settings, record: Record) -> None:
    async with _producer(settings) as producer:
        await publish(producer, record)


@asynccontextmanager
async def _producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_address(), acks="all", enable_idempotence=True)
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


async def _create(settings: Settings, json: bool, tenant: str, **options: Any) -> int:
    secret, record = await issue(settings, tenant, **options)
    if json:
        print(as_json.dumps({"id": record["id"], "key": secret, "tenant": tenant}))
    else:
        print(f"id      {record['id']}\ntenant  {tenant}\nkey     {secret}\nIt is shown this once only.")
    return 0


async def _list(settings: Settings, json: bool) -> int:
    shown = ("id", "tenant", "tier", "limit", "dialects", "revoked")
    rows = [{name: record[name] for name in shown} for record in await known(settings)]
    if json:
        print(as_json.dumps({"keys": rows}))
        return 0
    texts = [[_text(row[name], "all" if name == "dialects" else "default") for name in shown] for row in rows]
    _table([[name.upper() for name in shown], *texts])
    return 0


async def _revoke(settings: Settings, json: bool, id: str) -> int:
    found = [record for record in await known(settings) if record["id"] == id]
    if not found:
        print(f"No key has the id {id}: sluice keys list shows them all.", file=sys.stderr)
        return 1
    for record in found:
        await revoke(settings, record)
    print(as_json.dumps({"id": id, "revoked": True}) if json else f"{id} is revoked.")
    return 0


def _text(value: Any, missing: str) -> str:
    if value is None:
        return missing
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, list) else str(value)


def _table(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
