"""Kafka frozen, killed, away; the gateway killed, drained: what was answered with success is in Kafka, always."""

import asyncio
import itertools
import json
import secrets
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded.kafka import Kafka
from tests.gateways import (
    JSON,
    Gateway,
    adwize,
    await_that,
    events_of,
    gateway,
    make_key,
    rejections_of,
    standard_topics,
)

ACK = 2.0
SCRIP: dict[str, Any] = {
    "program_id": "550e8400-e29b-41d4-a716-446655440000",
    "event_timestamp": "2026-01-15T10:30:00Z",
    "external_id": "u1",
    "event_data": {},
}


@pytest.fixture
def kafka_server(tmp_path: Path) -> Iterator[Kafka]:
    server = Kafka(tmp_path / "kafka")
    with server:
        standard_topics(server.address)
        yield server


@pytest.fixture
def one(kafka_server: Kafka, tmp_path: Path) -> Iterator[Gateway]:
    with gateway(kafka_server.address, tmp_path, gateway_ack_timeout=ACK) as running:
        yield running


@dataclass
class Load:
    """Clients that send one event after the other, each with a name of its own, until they are told to stop."""

    url: str
    key: str
    clients: int = 24
    statuses: Counter[int] = field(default_factory=Counter)
    stored: set[str] = field(default_factory=set)
    """Names that were answered with success."""
    broken: int = 0
    """Requests that got no answer."""
    slowest: float = 0
    retry_after: set[str | None] = field(default_factory=set)
    running: bool = True
    names: Iterator[str] = field(default_factory=lambda: map("event-{}".format, itertools.count()))

    async def run(self, during: Any) -> None:
        """Sends while ``during`` runs."""
        limits = httpx.Limits(max_connections=self.clients)
        headers = JSON | {"X-API-Key": self.key}
        async with httpx.AsyncClient(timeout=60, limits=limits, headers=headers) as client:
            senders = [asyncio.create_task(self._send(client)) for _ in range(self.clients)]
            try:
                await during
            finally:
                self.running = False
                await asyncio.gather(*senders)

    async def _send(self, client: httpx.AsyncClient) -> None:
        while self.running:
            name, began = next(self.names), time.monotonic()
            try:
                reply = await client.post(self.url + "/api/v1/events", content=adwize(name))
            except httpx.TransportError:
                self.broken += 1
                await asyncio.sleep(0.05)
                continue
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.statuses[reply.status_code] += 1
            if reply.status_code == 201:
                self.stored.add(name)
            else:
                self.retry_after.add(reply.headers.get("retry-after"))
                await asyncio.sleep(0.02)

    async def more(self, count: int, limit: float = 60) -> None:
        """Returns once ``count`` more events were answered with success."""
        wanted = len(self.stored) + count
        async with asyncio.timeout(limit):
            while len(self.stored) < wanted:
                await asyncio.sleep(0.05)

    async def refused(self, count: int, limit: float = 60) -> None:
        """Returns once ``count`` more answers were 503."""
        wanted = self.statuses[503] + count
        async with asyncio.timeout(limit):
            while self.statuses[503] < wanted:
                await asyncio.sleep(0.05)


def names_of(kafka: str, tenant: str) -> Counter[str]:
    return Counter(event["event_name"] for event in events_of(kafka, tenant))


def new_load(server: Kafka, running: Gateway) -> tuple[Load, str]:
    tenant = f"tenant-{uuid.uuid4().hex}"
    return Load(running.url, make_key(server.address, [running], tenant=tenant)), tenant


@pytest.mark.slow
def test_kafka_frozen_under_load(kafka_server: Kafka, one: Gateway) -> None:
    load, tenant = new_load(kafka_server, one)

    async def during() -> None:
        await load.more(200)
        kafka_server.freeze()
        await load.refused(48)
        kafka_server.thaw()
        await load.more(200)

    asyncio.run(load.run(during()))
    assert set(load.statuses) == {201, 503}
    assert load.retry_after == {"2"}
    assert load.slowest < ACK + 7, "a wait is bounded"
    assert not load.broken
    found = names_of(kafka_server.address, tenant)
    assert load.stored <= set(found)
    assert set(found.values()) == {1}, "the idempotent producer repeats nothing"


@pytest.mark.slow
def test_kafka_killed_and_started_under_load(kafka_server: Kafka, one: Gateway) -> None:
    load, tenant = new_load(kafka_server, one)

    async def during() -> None:
        for _ in range(2):
            await load.more(200)
            await asyncio.to_thread(kafka_server.kill)
            await load.refused(24)
            kafka_server.start()  # not on another thread: Kafka ends with the thread that started it
            await load.more(200)

    asyncio.run(load.run(during()))
    assert set(load.statuses) == {201, 503}
    assert not load.broken
    assert load.stored <= set(names_of(kafka_server.address, tenant))
    assert one.running.poll() is None, "without a restart"


@pytest.mark.slow
def test_memory_is_bounded_while_kafka_is_away(kafka_server: Kafka, tmp_path: Path) -> None:
    budget = 32 * 1024 * 1024
    with gateway(kafka_server.address, tmp_path, gateway_ack_timeout=5, gateway_memory=budget) as running:
        secret = make_key(kafka_server.address, [running])
        body = json.dumps([{"source": "s", "event_type": "e", "data": {"text": "x" * 900_000}}]).encode()
        headers = JSON | {"X-API-Key": secret}
        before = running.memory()
        kafka_server.freeze()

        async def flood() -> list[tuple[int, float]]:
            limits = httpx.Limits(max_connections=150)
            async with httpx.AsyncClient(timeout=60, limits=limits, headers=headers) as client:

                async def send() -> tuple[int, float]:
                    began = time.monotonic()
                    reply = await client.post(running.url + "/api/v1/events", content=body)
                    return reply.status_code, time.monotonic() - began

                return await asyncio.gather(*(send() for _ in range(150)))

        replies = asyncio.run(flood())
        assert {status for status, _ in replies} == {503}
        assert running.metric("sluice_gateway_producer_failures_total", reason="full") > 0
        assert running.memory() - before < 6 * budget, "bodies, their records, and what Python keeps of both"
        kafka_server.thaw()
        await_that(
            lambda: (
                httpx.post(running.url + "/api/v1/events", content=adwize("a"), headers=headers, timeout=30).status_code
                == 201
            ),
            30,
        )
        await_that(lambda: running.metric("sluice_gateway_held_bytes") < 10_000, 60)


def test_a_gateway_that_starts_before_kafka_waits_for_it(tmp_path: Path) -> None:
    server = Kafka(tmp_path / "kafka")
    with server:
        standard_topics(server.address)
        address, secret = server.address, make_key(server.address)
    running = Gateway(address, tmp_path).start(ready=False)
    try:
        assert httpx.get(running.url + "/ready", timeout=30).status_code == 503
        reply = httpx.post(running.url + "/v2/s2s/event", headers={"X-API-Key": secret}, timeout=30)
        assert (reply.status_code, reply.headers["retry-after"]) == (500, "2"), "no 401 before the keys are known"
        server.start()
        await_that(lambda: httpx.get(running.url + "/ready", timeout=30).status_code == 200, 60)
        reply = httpx.post(
            running.url + "/api/v1/events", headers=JSON | {"X-API-Key": secret}, content=adwize("a"), timeout=30
        )
        assert reply.status_code == 201
    finally:
        running.kill()
        server.stop()


def test_rejections_wait_for_kafka(kafka_server: Kafka, one: Gateway) -> None:
    tenant = f"tenant-{uuid.uuid4().hex}"
    secret = make_key(kafka_server.address, [one], tenant=tenant)
    kafka_server.freeze()
    took = []
    for _ in range(5):
        began = time.monotonic()
        reply = httpx.post(one.url + "/v1/events", headers=JSON | {"X-API-Key": secret}, content=b"{}", timeout=30)
        took.append(time.monotonic() - began)
        assert reply.status_code == 400
    assert sorted(took)[2] < 1, "they never delay the answer"
    time.sleep(ACK + 1)
    kafka_server.thaw()
    await_that(lambda: len({r["rejection_id"] for r in rejections_of(kafka_server.address, tenant)}) == 5, 60)


def test_killed_between_kafkas_acknowledgement_and_the_answer(kafka_server: Kafka, one: Gateway) -> None:
    tenant = f"tenant-{uuid.uuid4().hex}"
    secret = make_key(kafka_server.address, [one], tenant=tenant)
    body = json.dumps(SCRIP | {"idempotency_key": "order-1"}).encode()

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(timeout=30, headers=JSON | {"X-API-Key": secret}) as client:
            return await client.post(one.url + "/v1/events", content=body)

    async def unanswered() -> None:
        kafka_server.freeze()
        request = asyncio.create_task(send())
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(one.metric, "sluice_gateway_held_bytes"):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)  # the record is now on its way to a Kafka that does not answer
        one.running.send_signal(signal.SIGSTOP)
        kafka_server.thaw()
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(events_of, kafka_server.address, tenant):
                await asyncio.sleep(0.1)
        one.kill()
        with pytest.raises(httpx.TransportError):
            await request

    asyncio.run(unanswered())
    one.start()
    retried, again = asyncio.run(send()), asyncio.run(send())
    assert retried.status_code == 202
    assert retried.content == again.content
    stored = events_of(kafka_server.address, tenant)
    assert len(stored) == 2, "the retry was produced again, for the dedup agent to drop; the second one was not"
    assert len({(event["event_id"], event["dedup_key"], event["fingerprint"]) for event in stored}) == 1
    assert retried.json()["id"] == str(uuid.UUID(bytes=stored[0]["event_id"]))


def test_the_index_survives_sigkill(kafka_server: Kafka, one: Gateway) -> None:
    tenant = f"tenant-{uuid.uuid4().hex}"
    secret = make_key(kafka_server.address, [one], tenant=tenant)
    headers = JSON | {"X-API-Key": secret, "Idempotency-Key": "k"}
    for _ in range(2):
        reply = httpx.post(one.url + "/api/v1/events", headers=headers, content=adwize("a"), timeout=30)
        assert reply.status_code == 201
        assert (
            httpx.post(one.url + "/api/v1/events", headers=headers, content=adwize("b"), timeout=30).status_code == 422
        )
        one.kill()
        one.start()
    assert names_of(kafka_server.address, tenant) == {"a": 1}


@pytest.mark.slow
def test_drain_under_load(kafka_server: Kafka, one: Gateway) -> None:
    load, tenant = new_load(kafka_server, one)
    codes: list[int] = []

    async def during() -> None:
        await load.more(500)
        codes.append(await asyncio.to_thread(one.stop))
        load.running = False

    asyncio.run(load.run(during()))
    assert codes == [0]
    found = names_of(kafka_server.address, tenant)
    assert load.stored == set(found), "none lost, none stored without its answer"
    assert set(load.statuses) <= {201, 503}


def test_drain_waits_for_what_was_begun(kafka_server: Kafka, tmp_path: Path) -> None:
    with gateway(kafka_server.address, tmp_path, gateway_ack_timeout=40, gateway_drain_timeout=60) as one:
        tenant = f"tenant-{uuid.uuid4().hex}"
        secret = make_key(kafka_server.address, [one], tenant=tenant)

        async def check() -> None:
            async with httpx.AsyncClient(timeout=60, headers=JSON | {"X-API-Key": secret}) as client:
                kafka_server.freeze()
                begun = asyncio.create_task(client.post(one.url + "/api/v1/events", content=adwize("begun")))
                async with asyncio.timeout(30):
                    while not await asyncio.to_thread(one.metric, "sluice_gateway_held_bytes"):
                        await asyncio.sleep(0.05)
                    one.running.send_signal(signal.SIGTERM)
                    while "draining" not in (ready := await client.get(one.url + "/ready")).text:
                        await asyncio.sleep(0.05)
                assert ready.status_code == 503
                assert (await client.get(one.url + "/health")).status_code == 200
                late = await client.post(one.url + "/api/v1/events", content=adwize("late"))
                assert (late.status_code, late.headers["connection"]) == (503, "close")
                kafka_server.thaw()
                assert (await begun).status_code == 201

        asyncio.run(check())
        assert one.running.wait(90) == 0
        assert names_of(kafka_server.address, tenant) == {"begun": 1}


def test_clients_that_go_away_leave_nothing_behind(kafka_server: Kafka, one: Gateway) -> None:
    secret = make_key(kafka_server.address, [one])
    head = f"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-API-Key: {secret}\r\n"
    body = adwize("gone")

    async def leave() -> None:
        for sent in (body[:5], body) * 50:
            _, writer = await asyncio.open_connection("127.0.0.1", one.port)
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + sent)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    asyncio.run(leave())
    await_that(lambda: one.metric("sluice_gateway_requests_in_progress") == 1, 60)
    await_that(lambda: one.metric("sluice_gateway_held_bytes") == 0, 60)


def test_a_producer_that_failed_is_replaced(tmp_path: Path) -> None:
    with Kafka(tmp_path / "kafka") as server:
        standard_topics(server.address)
        _limit_messages(server.address, 20_000)
        with gateway(server.address, tmp_path) as running:
            headers = JSON | {"X-API-Key": make_key(server.address, [running])}
            url = running.url + "/api/v1/events"
            noise = secrets.token_hex(100_000)  # too large also when it is compressed
            big = json.dumps([{"source": "s", "event_type": "e", "data": {"noise": noise}}]).encode()
            assert httpx.post(url, headers=headers, content=big, timeout=30).status_code == 503
            await_that(lambda: httpx.post(url, headers=headers, content=adwize("a"), timeout=30).status_code == 201, 60)
            assert running.metric("sluice_gateway_producers_replaced_total") == 1


def _limit_messages(address: str, size: int) -> None:
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    from tests.kafka import run

    async def alter() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        try:
            change = {"max.message.bytes": str(size), "message.timestamp.type": "CreateTime"}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, "ingest.events", change)])
        finally:
            await admin.close()

    run(alter)
