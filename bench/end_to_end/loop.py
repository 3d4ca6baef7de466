"""The bare loop: records of one topic into one table, every second or 50,000. No dedup, no pairing, no sessions.

python -m bench.end_to_end.loop KAFKA CLICKHOUSE
"""

import asyncio
import sys
import time
from typing import Any

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer
from clickhouse_connect.driver.client import Client

from runtime.settings import load
from schemas.topics import INGEST_EVENTS
from sinks.clickhouse import connect

COLUMNS = ("transaction_id", "event_name", "player_id", "amount", "currency", "received_at", "payload")
TYPES = ("String", "String", "String", "Nullable(Float64)", "Nullable(String)", "DateTime64(3, 'UTC')", "String")
TABLE = """
CREATE TABLE IF NOT EXISTS bare_events
(
    transaction_id String, event_name LowCardinality(String), player_id String, amount Nullable(Decimal(38, 18)),
    currency LowCardinality(Nullable(String)), received_at DateTime64(3, 'UTC'), payload String CODEC(ZSTD(1))
)
ENGINE = MergeTree PARTITION BY toYYYYMM(received_at) ORDER BY (received_at, transaction_id)
"""
INTERVAL, FULL = 1.0, 50_000


def columns(records: list[Any]) -> list[list[Any]]:
    """The records' fields, by column."""
    events = [orjson.loads(record.value) for record in records]
    return [
        [event["transaction_id"] for event in events],
        [event["event_name"] for event in events],
        [event["client_user_id"] for event in events],
        [event.get("amount") for event in events],
        [event.get("currency") for event in events],
        [record.timestamp for record in records],
        [record.value.decode() for record in records],
    ]


def insert(client: Client, records: list[Any]) -> None:
    """One block."""
    client.insert(
        "bare_events", columns(records), COLUMNS, column_type_names=TYPES, column_oriented=True,
        settings={"async_insert": 0},
    )  # fmt: skip


async def main(kafka: str, clickhouse: str) -> None:
    """Runs until it is ended."""
    client = connect(load(clickhouse=clickhouse), database=False)
    client.database = "default"
    client.command(TABLE)
    consumer = AIOKafkaConsumer(
        INGEST_EVENTS.name, bootstrap_servers=kafka, group_id="bare", auto_offset_reset="earliest",
        enable_auto_commit=False, max_partition_fetch_bytes=1024 * 1024,
    )  # fmt: skip
    await consumer.start()
    buffer: list[Any] = []
    last = 0.0
    while True:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            buffer += records
        if buffer and (len(buffer) >= FULL or time.monotonic() - last >= INTERVAL):
            last = time.monotonic()
            taken, buffer = buffer, []
            await asyncio.to_thread(insert, client, taken)
            await consumer.commit()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2]))
