"""Each stored event against the log's own record, field by field, as far back as the log is kept.

Finds what the balance and the checksums cannot: a row that was replaced together with its checksum, and properties that
were changed, which are in no checksum. It takes about a minute for a million events, so it has to be asked for (`sluice
audit --deep`).

Errors: KafkaError, OSError; ClickHouse's.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
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
from sinks.properties import storable
from sinks.writer import SETTINGS

CHUNK = 10_000
"""Offsets that are compared at once."""
STATEMENT = 4_000_000
"""Bytes of properties, and one event's more, that ClickHouse is asked about at once."""
_APART = ("fingerprint", "identity", "bet_key")
"""Fields without a column."""
FIELDS = [field["name"] for field in EVENT.latest.schema["fields"] if field["name"] not in _APART]
_read = EVENT.reader(*FIELDS)
_TENANT, _PLAYER = FIELDS.index("tenant"), FIELDS.index("player_id")
_PROPERTIES = FIELDS.index("properties")
_AMOUNTS = ("amount", "bet_result_amount")
_READ = {
    "event_time": "toUnixTimestamp64Milli(event_time)",
    "received_at": "toUnixTimestamp64Milli(received_at)",
    "properties": "toJSONString(properties)",
}
_SQL = f"""
SELECT ingest_offset, {", ".join(_READ.get(name, name) for name in FIELDS)}
FROM events
WHERE ingest_log = {{log:Int64}} AND ingest_partition = {{partition:UInt32}}
    AND ingest_offset >= {{start:UInt64}} AND ingest_offset < {{end:UInt64}}
"""  # noqa: S608 - made of constants
_JSON = "SELECT toJSONString(CAST(text, 'JSON(max_dynamic_paths = 32)')) FROM (SELECT arrayJoin(%(texts)s) AS text)"


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
    rows = client.query(_SQL, parameters=place, query_formats=formats).result_rows
    sent = {offset: _sent(records.get(offset), forgotten) for offset, *_ in rows}
    events = [fields for fields in sent.values() if fields is not None]
    properties = as_stored(client, (_bytes(fields[_PROPERTIES]) for fields in events))
    for fields, text in zip(events, properties, strict=True):
        fields[_PROPERTIES] = text
    found = []
    for offset, *row in rows:
        names = _differences(sent[offset], row)
        if names:
            stage = f"the row differs from the log in {', '.join(names)}"
            found.append(Difference("altered", place["partition"], offset, offset, stage))
    return found


def _differences(sent: Sequence[Any] | None, row: Sequence[Any]) -> list[str]:
    if sent is None:
        return ["everything: the log's record is no event"]
    pairs = zip(FIELDS, sent, row, strict=True)
    return [name for name, one, other in pairs if _plain(name, one) != _stored(name, other)]


def _sent(record: bytes | None, forgotten: Forgotten) -> list[Any] | None:
    """The record's fields as they are to be stored, but for the rounding of properties; None: it is no event."""
    try:
        return list(_erased(_read(record or b""), forgotten))
    except DecodeError:
        return None


def as_stored(client: Client, properties: Iterable[bytes]) -> list[str]:
    """Properties rounded and nested as ClickHouse did when it stored them: it is asked to do so again."""
    found: list[str] = []
    some: list[str] = []
    size = 0
    for text in storable(properties):
        some.append(text.decode())
        size += len(text)
        if size > STATEMENT:
            found += _asked(client, some)
            some, size = [], 0
    return found + (_asked(client, some) if some else [])


def _asked(client: Client, texts: list[str]) -> list[str]:
    settings = SETTINGS | {"max_query_size": 2**30}  # an address would be too short for the texts
    return [text for (text,) in client.query(_JSON, parameters={"texts": texts}, settings=settings).result_rows]


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
    if name == "properties":
        return json.loads(value)
    return _bytes(value) if isinstance(value, str) else value


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _stored(name: str, value: Any) -> Any:
    if name == "properties":
        return json.loads(value)  # the order of its keys is ClickHouse's
    if isinstance(value, Decimal):
        with localcontext() as context:
            context.prec = 100
            return int(value.scaleb(money.SCALE))
    return value.bytes if isinstance(value, UUID) else value
