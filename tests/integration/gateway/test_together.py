"""Many requests at once, and several gateways beside each other."""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateways import JSON, Gateway, adwize, await_that, events_of, gateway, make_key
from tests.redis import KINDS, Redis, redis

SCRIP: dict[str, Any] = {
    "program_id": "550e8400-e29b-41d4-a716-446655440000",
    "idempotency_key": "order-1",
    "event_timestamp": "2026-01-15T10:30:00Z",
    "external_id": "u1",
    "event_data": {"type": "purchase"},
}


def at_once(
    gateways: Sequence[Gateway], count: int, path: str, key: str, bodies: Sequence[bytes], **headers: str
) -> list[httpx.Response]:
    """``count`` requests together, over the gateways and bodies in turn."""

    async def send() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=count)
        async with httpx.AsyncClient(timeout=60, limits=limits, headers=JSON | {"X-API-Key": key} | headers) as client:
            return await asyncio.gather(
                *(
                    client.post(gateways[i % len(gateways)].url + path, content=bodies[i % len(bodies)])
                    for i in range(count)
                )
            )

    return asyncio.run(send())


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Redis]:
    with redis(request.param, tmp_path) as one:
        yield one


@pytest.fixture
def four(broker: str, tmp_path: Path, server: Redis) -> Iterator[list[Gateway]]:
    with ExitStack() as stack:
        yield [stack.enter_context(gateway(broker, tmp_path, redis=server.address)) for _ in range(4)]


@pytest.fixture
def two(broker: str, tmp_path: Path) -> Iterator[list[Gateway]]:
    with ExitStack() as stack:
        yield [stack.enter_context(gateway(broker, tmp_path)) for _ in range(2)]


def wait_for_a_fresh_minute(needed: float = 15) -> None:
    """The window must not end in the middle of a count."""
    left = 60 - time.time() % 60
    if left < needed:
        time.sleep(left)


def test_a_limit_is_exact_under_concurrency(broker: str, served: Gateway) -> None:
    secret = make_key(broker, [served], limit=50, dialects=["adwize"])
    wait_for_a_fresh_minute()
    replies = at_once([served], 100, "/api/v1/events", secret, [adwize("a")])
    assert Counter(reply.status_code for reply in replies) == {201: 50, 429: 50}
    left = sorted(int(reply.headers["x-ratelimit-remaining"]) for reply in replies if reply.status_code == 201)
    assert left == list(range(50))


@pytest.mark.slow
def test_four_gateways_on_one_redis_share_limits_and_idempotency(
    broker: str, four: list[Gateway], server: Redis
) -> None:
    secret = make_key(broker, four, limit=60, dialects=["adwize"])
    wait_for_a_fresh_minute()
    replies = at_once(four, 120, "/api/v1/events", secret, [adwize("a")])
    assert Counter(reply.status_code for reply in replies) == {201: 60, 429: 60}
    left = sorted(int(reply.headers["x-ratelimit-remaining"]) for reply in replies if reply.status_code == 201)
    assert left == list(range(60))

    tenant = f"tenant-{uuid.uuid4().hex}"
    secret = make_key(broker, four, tenant=tenant)
    replies = at_once(four, 100, "/v1/events", secret, [json.dumps(SCRIP).encode()])
    assert {reply.status_code for reply in replies} == {202}
    assert len({reply.content for reply in replies}) == 1
    assert len(events_of(broker, tenant)) == 1

    server.kill()
    secret = make_key(broker, four, limit=1000)
    replies = at_once(four, 40, "/api/v1/events", secret, [adwize("a")])
    assert {reply.status_code for reply in replies} == {201}, "Redis away: each gateway goes on alone"
    replies = at_once(four, 8, "/v1/events", secret, [json.dumps(SCRIP).encode()])
    assert len({reply.content for reply in replies}) == 1, "the id does not depend on the index"
    server.start()
    await_that(lambda: _shares_again(four, broker), 60)


def _shares_again(gateways: list[Gateway], broker: str) -> bool:
    secret = make_key(broker, gateways, limit=3, dialects=["adwize"])
    replies = at_once(gateways, 8, "/api/v1/events", secret, [adwize("a")])
    return Counter(reply.status_code for reply in replies) == {201: 3, 429: 5}


def test_a_hundred_identical_requests_are_one_event_and_equal_answers(broker: str, served: Gateway) -> None:
    tenant = f"tenant-{uuid.uuid4().hex}"
    secret = make_key(broker, [served], tenant=tenant)
    replies = at_once([served], 100, "/v1/events", secret, [json.dumps(SCRIP).encode()])
    assert {reply.status_code for reply in replies} == {202}
    assert len({reply.content for reply in replies}) == 1
    with_header = at_once([served], 100, "/api/v1/events", secret, [adwize("a", "b")], **{"Idempotency-Key": "b-1"})
    assert {(reply.status_code, reply.content) for reply in with_header} == {(201, b'{"ingested":2}')}
    assert len(events_of(broker, tenant)) == 3
    assert served.metric("sluice_gateway_idempotent_total", outcome="replayed") >= 198


def test_one_key_with_two_payloads_at_once(broker: str, served: Gateway) -> None:
    tenant = f"tenant-{uuid.uuid4().hex}"
    secret = make_key(broker, [served], tenant=tenant)
    bodies = [json.dumps(SCRIP | {"external_id": who}).encode() for who in ("u1", "u2")]
    replies = at_once([served], 60, "/v1/events", secret, bodies)
    assert Counter(reply.status_code for reply in replies) == {202: 30, 409: 30}
    assert {reply.json()["error"] for reply in replies if reply.status_code == 409} == {"idempotency_conflict"}
    replies = at_once([served], 60, "/api/v1/events", secret, [adwize("a"), adwize("b")], **{"Idempotency-Key": "c-1"})
    assert Counter(reply.status_code for reply in replies) == {201: 30, 422: 30}
    assert len(events_of(broker, tenant)) == 2


def test_one_gateways_key_is_all_gateways(broker: str, two: list[Gateway]) -> None:
    secret = make_key(broker, two)
    for one in two:
        assert at_once([one], 1, "/api/v1/events", secret, [adwize("a")])[0].status_code == 201


def test_a_registration_is_seen_by_every_gateway_at_once(broker: str, two: list[Gateway]) -> None:
    secret = make_key(broker, two)
    first, second = two
    for number in range(20):
        made = httpx.post(
            first.url + "/events",
            json={"name": f"e{number}"},
            headers={"X-API-Key": secret, "X-Campaign-ID": "c"},
            timeout=30,
        )
        assert made.status_code == 201
        path = f"/events/{made.json()['event_id']}/data"
        assert at_once([second], 1, path, secret, [b'{"identity":"u","amount":1}'])[0].status_code == 202
        first, second = second, first
    listed = httpx.get(first.url + "/events", headers={"X-API-Key": secret, "X-Campaign-ID": "c"}, timeout=30).json()
    assert [event["name"] for event in listed["events"]] == [f"e{number}" for number in range(20)]


def test_two_gateways_racing_for_a_name_agree(broker: str, two: list[Gateway], tmp_path: Path) -> None:
    secret = make_key(broker, two)
    bodies = [json.dumps({"name": "contested", "description": text}).encode() for text in ("one", "two")]
    replies = at_once(two, 20, "/events", secret, bodies)
    count = Counter(reply.status_code for reply in replies)
    assert count == {201: 1, 200: 9, 409: 10}
    assert len({reply.json()["event_id"] for reply in replies if reply.status_code < 300}) == 1
    described = {_description(one, secret) for one in two}
    assert len(described) == 1
    with gateway(broker, tmp_path) as third:
        assert {_description(third, secret)} == described, "also for one that reads the log anew"


def _description(one: Gateway, secret: str) -> str:
    (event,) = httpx.get(one.url + "/events", headers={"X-API-Key": secret}, timeout=30).json()["events"]
    return str(event["description"])


@pytest.mark.parametrize("wrong", ["port", "redis"])
def test_what_cannot_start_says_why(broker: str, served: Gateway, wrong: str) -> None:
    folder = served.log.parent
    if wrong == "port":
        other, sentence = Gateway(broker, folder, gateway_port=served.port), "the port is taken"
    else:
        other, sentence = Gateway(broker, folder, redis="memcached://x"), "must begin with redis://"
    with pytest.raises(AssertionError, match=sentence):
        other.start()
    assert other.running.returncode == 2
