"""The bare handler: parses JSON, produces, awaits the acknowledgements, answers. No key, no check, no limit, no Avro.

    python -m bench.gateway.bare KAFKA PORT

Same HTTP server, event loop, topic and producer settings as the gateway; aiokafka's own ``send``.
"""

import asyncio
import sys

import orjson
import uvloop
from aiokafka import AIOKafkaProducer
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server as Granian

from schemas.topics import INGEST_EVENTS

HEADERS = [("content-type", "application/json")]


class Bare:
    """An RSGI application."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def __rsgi__(self, scope, proto) -> None:  # type: ignore[no-untyped-def]
        body = orjson.loads(await proto())
        events = body if isinstance(body, list) else [body]
        send = self._producer.send
        acks = [
            await send(
                INGEST_EVENTS.name, orjson.dumps(event), key=(event.get("data") or event)["transaction_id"].encode()
            )
            for event in events
        ]
        if len(acks) == 1:
            await acks[0]
        else:
            await asyncio.gather(*acks)
        proto.response_bytes(200, HEADERS, b'{"accepted":%d}' % len(events))


async def main(kafka: str, port: int) -> None:
    """Serves until it is ended."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka,
        acks="all",
        enable_idempotence=True,
        compression_type="snappy",
        max_batch_size=1024 * 1024,
    )
    await producer.start()
    server = Granian(
        Bare(producer),
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        backlog=1024,
        backpressure=4096,
    )
    await server.serve()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
