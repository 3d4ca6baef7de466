"""control.schemas: every released schema by its fingerprint, so that an old worker can read a newer one's records."""

import json
import logging

from aiokafka import AIOKafkaProducer

from runtime.table import Table
from schemas import registry
from schemas.codec import DecodeError
from schemas.topics import CONTROL_SCHEMAS

log = logging.getLogger("sluice.schemas")


async def publish(producer: AIOKafkaProducer) -> None:
    """Writes every schema of this release; to be awaited before the first record. Raises KafkaError."""
    for version in registry.released():
        source = json.dumps(version.source, separators=(",", ":")).encode()
        await producer.send_and_wait(CONTROL_SCHEMAS.name, source, key=version.header[2:].hex().encode(), partition=0)


def follow(kafka: str) -> Table:
    """A table that learns every schema that another release publishes; the caller starts and stops it."""
    return Table(kafka, CONTROL_SCHEMAS.name, _learn)


def _learn(key: bytes, value: bytes | None, offset: int) -> None:
    if value is None:
        return
    try:
        registry.learn(json.loads(value))
    except (DecodeError, ValueError) as error:
        log.warning("schema is not learnt", extra={"key": key.decode(errors="replace"), "reason": str(error)})
