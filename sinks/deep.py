"""Each stored event against the log's own record, field by field, as far back as the log is kept.

Finds what the balance and the checksums cannot: a row that was replaced together with its checksum. It takes about a
minute for a million events, so it has to be asked for (`sluice audit --deep`).

Errors: KafkaError, OSError; ClickHouse's.
"""

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any
from uuid import UUID

from clickhouse_connect.driver.client import Client

from runtime.forgotten import Forgotten
from runtime.kafka import Log, LogReader
from schemas import money
from schemas.codec import DecodeError
from schemas.registry import EVENT
from sinks.audit import Difference
from sinks.erasure import replaced

CHUNK = 10_000
"""Offsets that are compared at once."""
_APART = ("fingerprint", "identity", "bet_key", "properties")
"""Fields without a column that holds the same: properties are rounded and nested, the payload is exact."""
FIELDS = [field["name"] for field in EVENT.latest.schema["fields"] if field["name"] not in _APART]
_read = EVENT.reader(*FIELDS)
_TENANT, _PLAYER = FIELDS.index("tenant"), FIELDS.index("player_id")
_AMOUNTS = ("amount", "bet_result_amount")
_TIMES = ("event_time", "received_at")
_SQL = f"""
SELECT ingest_offset, {", ".join(f"toUnixTimestamp64Milli({name})" if name in _TIMES else name for name in FIELDS)}
FROM events
WHERE ingest_log = {{log:Int64}} AND ingest_partition = {{partition:UInt32}}
    AND ingest_offset >= {{start:UInt64}} AND ingest_offset < {{end:UInt64}}
"""  # noqa: S608 - made of constants


async def differing(
    kafka: LogReader, client: Client, log: Log, ends: Mapping[int, int], forgotten: Forgotten
) -> list[Difference]:
    """Every stored event before ``ends`` that is not what the log says, but for what of it was erased."""
    found: list[Difference] = []
    for partition, end in ends.items():
        begin, _ = await kafka.bounds(log.topic, partition)
        for start in range(begin, end, CHUNK):
            stop = min(start + CHUNK, end)
            records = {at: value async for at, value in kafka.read(log.topic, partition, start, stop)}
            place = {"log": log.number, "partition": partition, "start": start, "end": stop}
            found += await asyncio.to_thread(_compare, client, records, place, forgotten)
    return found


def _compare(
    client: Client, records: dict[int, bytes], place: dict[str, int], forgotten: Forgotten
) -> list[Difference]:
    formats = {"String": "bytes"}  # exact, whatever the bytes
    found = []
    for offset, *row in client.query(_SQL, parameters=place, query_formats=formats).result_rows:
        names = _differences(records.get(offset, b""), row, forgotten)
        if names:
            stage = f"the row differs from the log in {', '.join(names)}"
            found.append(Difference("altered", place["partition"], offset, offset, stage))
    return found


def _differences(record: bytes, row: list[Any], forgotten: Forgotten) -> list[str]:
    try:
        sent = _erased(_read(record), forgotten)
    except DecodeError:
        return ["everything: the log's record is no event"]
    return [name for name, one, other in zip(FIELDS, sent, row, strict=True) if _plain(name, one) != _stored(other)]


def _erased(sent: Sequence[Any], forgotten: Forgotten) -> Sequence[Any]:
    """The record's fields as they are to be stored."""
    tenant, player = sent[_TENANT], sent[_PLAYER]
    if not forgotten or player is None:
        return sent
    person = forgotten.find(tenant.encode(), player.encode())
    return sent if person is None else [replaced(name, value, person) for name, value in zip(FIELDS, sent, strict=True)]


def _plain(name: str, value: Any) -> Any:
    """A field of the log in the form of ``_stored``."""
    if value is None:
        return None
    if name in _AMOUNTS:
        return money.from_bytes(value)
    return value.encode() if isinstance(value, str) else value


def _stored(value: Any) -> Any:
    if isinstance(value, Decimal):
        with localcontext() as context:
            context.prec = 100
            return int(value.scaleb(money.SCALE))
    return value.bytes if isinstance(value, UUID) else value
