"""Whether Kafka answers, asked from outside of all clients: these find out late, and say so to nobody."""

import asyncio

from aiokafka.errors import KafkaConnectionError

from embedded.kafka import brokers_at
from runtime.settings import BROKER

PORT = 9092
"""Of an address without one, as for aiokafka."""
TRIES = 3


def is_broker(address: str) -> bool:
    """Whether a broker answers at host:port, or host, within a second."""
    found = BROKER.fullmatch(address)
    return found is not None and bool(brokers_at(found["host"].strip("[]"), int(found["port"] or PORT)))


async def reachable(kafka: str) -> bool:
    """Whether any of the bootstrap servers answers; they are asked at once."""
    asked = [asyncio.to_thread(is_broker, address) for address in kafka.split(",")]
    for answer in asyncio.as_completed(asked):
        if await answer:
            return True
    return False


async def require(kafka: str) -> None:
    """Returns when a broker answers. Raises KafkaConnectionError where none does: a client would try for long."""
    for _ in range(TRIES):
        if await reachable(kafka):
            return
    raise KafkaConnectionError(f"no broker said anything, {TRIES} times asked")
