"""Every recorded request of every dialect over HTTP: the same answers, the same events, now in Kafka."""

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from schemas.keys import partition_of
from schemas.registry import EVENT
from tests.contract.recordings import Recording, Reply, Scene, Sent, check_events, load, play
from tests.gateways import Gateway, make_key
from tests.kafka import read_all

RECORDINGS = load()
CLOCKS = 60_000
PARTITIONS = 4


@dataclass
class Played:
    """What came of a recording."""

    scene: Scene
    request: Sent | None = None
    error: AssertionError | None = None
    trace: str = ""
    """Of the last request."""
    records: list[Any] = field(default_factory=list)


async def perform(one: Gateway, secret: str, recording: Recording, tenant: str) -> Played:
    played = Played(Scene(tenant, int(time.time() * 1000), CLOCKS))
    async with httpx.AsyncClient(base_url=one.url, timeout=30) as client:

        async def send(sent: Sent) -> Reply:
            played.trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
            headers = sent.headers | {"X-API-Key": secret, "traceparent": played.trace}
            reply = await client.request(sent.method, sent.path, headers=headers, content=sent.body)
            return Reply(reply.status_code, reply.content)

        try:
            played.request = await play(recording, send, played.scene)
        except AssertionError as error:
            played.error = error
    return played


@pytest.fixture(scope="module")
def results(broker: str, served: Gateway) -> dict[str, Played]:
    played = {}
    for recording in RECORDINGS:
        tenant = f"recorded-{recording}"
        secret = make_key(broker, [served], tenant=tenant)
        played[str(recording)] = asyncio.run(perform(served, secret, recording, tenant))
    by_trace: dict[str, list[Any]] = {}
    for record in read_all(broker, "ingest.events"):
        trace = dict(record.headers).get("traceparent", b"").decode()
        by_trace.setdefault(trace, []).append(record)
    for one in played.values():
        one.records = by_trace.get(one.trace, [])
    return played


@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
def test_recording(recording: Recording, results: dict[str, Played]) -> None:
    played = results[str(recording)]
    if played.error is not None:
        raise played.error
    assert played.request is not None
    body = played.request.body
    events = [(record, EVENT.decode(record.value)) for record in played.records]
    events.sort(key=lambda pair: (body.index(pair[1]["payload"]), pair[1]["dedup_key"] or "", pair[1]["event_id"]))
    check_events(recording, [event for _, event in events], played.scene)
    for record, event in events:
        assert record.timestamp == event["received_at"]
        key = event["dedup_key"]
        assert record.key == (None if key is None else key.encode())
        assert record.partition == partition_of(record.key or event["event_id"], PARTITIONS)
